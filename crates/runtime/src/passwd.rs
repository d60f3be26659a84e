//! The container's user database, read as the hostile input that it is.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::AsFd;

use gantry_sys::path::open_in_root;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

/// How much of /etc/passwd is read, in bytes (CVE-2026-47262, CVE-2025-4437).
const MAX_BYTES: u64 = 1 << 20;

/// The home directory of a user id in the caller's own root; `None` when it has no usable entry.
pub(crate) fn home_of(uid: u32) -> Option<CString> {
    let root = openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    // A FIFO or device in its place must not hold us up.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open_in_root(root.as_fd(), c"/etc/passwd", flags).ok()?;
    if FileType::from_raw_mode(fstat(&file).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    std::fs::File::from(file).take(MAX_BYTES).read_to_end(&mut text).ok()?;
    find_home(&text, uid)
}

pub(crate) fn find_home(text: &[u8], uid: u32) -> Option<CString> {
    // name:password:uid:gid:comment:home:shell
    for line in text.split(|&b| b == b'\n') {
        let mut fields = line.split(|&b| b == b':');
        let id =
            fields.nth(2).and_then(|id| std::str::from_utf8(id).ok()).and_then(|id| id.parse::<u32>().ok());
        if id == Some(uid) {
            let home = fields.nth(2)?;
            return CString::new(home).ok().filter(|home| !home.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_found_by_id_and_never_by_name() {
        let text =
            b"#x\nroot:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/evil:\nu:x:1000:1000:,,:/home/u:/bin/sh\nbad\n";
        assert_eq!(find_home(text, 0).unwrap(), c"/root".to_owned());
        assert_eq!(find_home(text, 1000).unwrap(), c"/home/u".to_owned());
        assert_eq!(find_home(text, 5), None);
        assert_eq!(find_home(b"u:x:7:7", 7), None);
    }
}
