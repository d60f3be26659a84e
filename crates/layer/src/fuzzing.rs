//! Entry points of the fuzz targets in `fuzz/`. Each panics where a promise is broken.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use crate::{
    ApplyOptions, Archive, Compression, Devices, DiffOptions, EntryKind, Inflate, InflateLimits, Limits,
    Target, Whiteouts, apply, diff, rebase,
};

/// Small enough for a million runs.
const LIMITS: Limits = Limits {
    entries: 200,
    archive_bytes: 1 << 20,
    file_bytes: 1 << 20,
    path_bytes: 1024,
    depth: 64,
    pax_bytes: 1 << 16,
    xattrs: 16,
    xattr_bytes: 4096,
    links: 100,
    sparse_parts: 64,
    names_bytes: 1 << 20,
};

/// Headers, pax records and sparse maps: what is given is within its limits.
pub fn archive(bytes: &[u8]) {
    let mut source = bytes;
    let mut archive = Archive::new(&mut source, &LIMITS);
    while let Ok(Some(entry)) = archive.next_entry() {
        assert!(!entry.path.contains(&0) && !entry.link.contains(&0));
        assert!(entry.mode <= 0o7777 && entry.uid != u32::MAX && entry.gid != u32::MAX);
        assert!(entry.size <= LIMITS.file_bytes && entry.xattrs.len() <= LIMITS.xattrs);
        assert!(entry.mtime.nanoseconds < 1_000_000_000);
        let mut stored = 0;
        while let Ok(piece) = archive.piece() {
            if piece.is_empty() {
                break;
            }
            stored += piece.len() as u64;
        }
        let whole = entry.sparse.map_or(entry.size, |parts| parts.iter().map(|part| part.length).sum());
        assert!(stored <= whole && (entry.kind == EntryKind::File || stored == 0));
    }
}

/// An archive onto a directory, both ways; `outside` is the directory that holds it, in which nothing else may appear.
pub fn apply_into(root: BorrowedFd<'_>, outside: BorrowedFd<'_>, bytes: &[u8]) {
    let before = crate::attributes::list(outside).expect("the directory can be read");
    let options = ApplyOptions { limits: LIMITS, devices: Devices::Skip, ..ApplyOptions::default() };
    for whiteouts in [Whiteouts::Overlay { userxattr: true }, Whiteouts::Delete] {
        let mut source = bytes;
        let target = Target { root, whiteouts, lower: &[] };
        if let Ok(applied) = apply(&mut source, &target, &options) {
            let _ = rebase(root, &[], &applied.implied);
            let _ = diff(None, root, &mut std::io::sink(), &DiffOptions::default());
        }
        let names = crate::attributes::reopen_dir(root).and_then(|dir| crate::attributes::list(dir.as_fd()));
        for name in names.expect("the root can be read") {
            crate::remove::remove(root, &name).expect("what was made can be removed");
        }
    }
    assert_eq!(before, crate::attributes::list(outside).expect("the directory can be read"));
}

/// A compressed stream: it ends, within its limits, and whatever the pieces are that it comes in.
pub fn inflate(bytes: &[u8]) {
    let limits = InflateLimits { output_bytes: 1 << 20, window_log: 20, ..InflateLimits::archives() };
    let read = |chunk: u64| {
        let mut inflate = Inflate::new(Pieces(bytes, chunk), Compression::Detect, limits);
        let mut out = Vec::new();
        let result = inflate.read_to_end(&mut out).map_err(|error| error.kind());
        (result.is_ok(), out)
    };
    let (whole, parts) = (read(1 << 20), read(1 + bytes.len() as u64 % 7));
    assert!(whole.1.len() <= 1 << 20 || !whole.0);
    assert_eq!(whole.0, parts.0);
    if whole.0 {
        assert_eq!(whole.1, parts.1);
    }
}

struct Pieces<'a>(&'a [u8], u64);

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        (&mut self.0).take(self.1).read(out)
    }
}
