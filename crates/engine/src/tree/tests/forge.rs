//! Archives made by hand.

/// A header and its data, with names as they are.
pub(super) fn entry(flag: u8, name: &str, link: &str, mode: u32, data: &[u8]) -> Vec<u8> {
    let mut block = vec![0u8; 512];
    let mut text = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    text(0, name.as_bytes());
    text(100, format!("{mode:07o}").as_bytes());
    text(108, b"0000000");
    text(116, b"0000000");
    text(124, format!("{:011o}", data.len()).as_bytes());
    text(136, b"00000001000");
    text(148, b"        ");
    text(156, &[flag]);
    text(157, link.as_bytes());
    text(257, b"ustar\x0000");
    text(329, b"0000001");
    text(337, b"0000003");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    block[154] = 0;
    block.extend_from_slice(data);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

pub(super) fn file(name: &str, data: &[u8]) -> Vec<u8> {
    entry(b'0', name, "", 0o644, data)
}

pub(super) fn dir(name: &str, mode: u32) -> Vec<u8> {
    entry(b'5', name, "", mode, b"")
}

pub(super) fn symlink(name: &str, target: &str) -> Vec<u8> {
    entry(b'2', name, target, 0o777, b"")
}

pub(super) fn hard_link(name: &str, target: &str) -> Vec<u8> {
    entry(b'1', name, target, 0o644, b"")
}

/// The archive of entries.
pub(super) fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut all = entries.concat();
    all.resize(all.len() + 1024, 0);
    all
}
