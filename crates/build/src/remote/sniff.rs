//! What a context at an address is: a Dockerfile, or an archive.

/// How much of it tells.
pub(super) const HEAD_BYTES: usize = 100;
/// The type that says nothing.
const ANYTHING: &str = "application/octet-stream";
/// Types of archives. Compressions are told by the bytes.
const ARCHIVES: [&str; 12] = [
    "application/tar",
    "application/x-tar",
    ANYTHING,
    "application/gzip",
    "application/x-gzip",
    "application/bzip",
    "application/bzip2",
    "application/x-bzip",
    "application/x-bzip2",
    "application/xz",
    "application/x-xz",
    "application/zstd",
];

/// What a context is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A Dockerfile alone.
    Dockerfile,
    /// An archive of files.
    Archive,
}

/// What the server's type says; where that says nothing, the first bytes.
///
/// # Errors
/// The text of an error, for types that are neither.
pub(super) fn kind(declared: Option<&str>, head: &[u8]) -> Result<Kind, String> {
    let declared = declared.unwrap_or_default().to_ascii_lowercase();
    match declared.as_str() {
        "" | ANYTHING if is_page(head) => Err("unsupported Content-Type \"text/html\"".to_owned()),
        "" | ANYTHING if is_text(head) => Ok(Kind::Dockerfile),
        "" | "text/plain" if declared.is_empty() => Ok(Kind::Archive),
        "text/plain" => Ok(Kind::Dockerfile),
        known if ARCHIVES.contains(&known) => Ok(Kind::Archive),
        other => Err(format!("unsupported Content-Type {other:?}")),
    }
}

fn is_page(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    ["<!doctype html", "<html", "<head", "<body"]
        .iter()
        .any(|tag| head.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag.as_bytes())))
}

/// No byte is one that only binary data has (WHATWG MIME sniffing, 3).
fn is_text(head: &[u8]) -> bool {
    !head.iter().any(|byte| matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_count_unless_they_say_nothing() {
        let text: &[u8] = b"FROM scratch\n";
        let tar: &[u8] = b"Dockerfile\0\0\0\0";
        let gzip: &[u8] = b"\x1f\x8b\x08\0";
        for declared in [None, Some(""), Some(ANYTHING)] {
            assert_eq!(kind(declared, text), Ok(Kind::Dockerfile), "{declared:?}");
            assert_eq!(kind(declared, tar), Ok(Kind::Archive), "{declared:?}");
            assert_eq!(kind(declared, gzip), Ok(Kind::Archive), "{declared:?}");
            assert!(kind(declared, b" <!DOCTYPE html><p>").is_err());
        }
        assert_eq!(kind(Some("Text/Plain"), tar), Ok(Kind::Dockerfile));
        assert_eq!(kind(Some("application/x-tar"), text), Ok(Kind::Archive));
        assert_eq!(kind(Some("text/html"), text), Err("unsupported Content-Type \"text/html\"".to_owned()));
    }
}
