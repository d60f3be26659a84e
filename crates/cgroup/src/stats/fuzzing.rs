use super::parse;

/// The text of any file of statistics.
pub fn statistics(text: &str) {
    let _ = parse::number(text);
    let _ = parse::numbers(text);
    let _ = parse::key_values(text, |_, _| {});
    let _ = parse::ranges(text);
    let _ = parse::psi(text);
    let _ = parse::blkio(text);
    let _ = parse::io_stat(text);
    let _ = parse::rdma(text);
    let _ = parse::table(text);
}
