//! Names of entries, made harmless.

use crate::{Error, Limits};

/// NAME_MAX.
const NAME_BYTES: usize = 255;

/// A name relative to the root, without empty components, `.` and `..`. A name that climbs out of the root begins again at
/// the root, as containerd has it.
pub(super) fn clean(path: &[u8], limits: &Limits) -> Result<Vec<u8>, Error> {
    if path.len() > limits.path_bytes {
        return Err(Error::Limit { what: "bytes in a name", limit: limits.path_bytes as u64 });
    }
    let mut clean = Vec::with_capacity(path.len());
    let mut depth = 0;
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                depth = usize::saturating_sub(depth, 1);
                clean.truncate(split(&clean).0.len());
            }
            _ => {
                depth += 1;
                if component.len() > NAME_BYTES {
                    return Err(Error::invalid(path, "a component of the name is too long"));
                }
                if depth > limits.depth {
                    return Err(Error::Limit { what: "components in a name", limit: limits.depth as u64 });
                }
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(component);
            }
        }
    }
    Ok(clean)
}

/// The directory and the last component of a clean name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memrchr(b'/', path) {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// A directory's name and one in it.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

/// What a name says beyond naming a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// Nothing.
    File,
    /// This name in the same directory goes.
    Whiteout(&'a [u8]),
    /// What is below the directory goes.
    Opaque,
    /// One of aufs's own files, which mean nothing here.
    Aufs,
    /// Not allowed.
    Invalid,
}

const WHITEOUT: &[u8] = b".wh.";
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a clean name means.
pub(super) fn meaning(path: &[u8]) -> Meaning<'_> {
    if memchr::memmem::find(path, WHITEOUT).is_none() {
        return Meaning::File;
    }
    let (dir, name) = split(path);
    let above = || dir.split(|&byte| byte == b'/');
    if above().any(|component| component.starts_with(AUFS)) {
        return Meaning::Aufs;
    }
    if above().any(|component| component.starts_with(WHITEOUT)) {
        return Meaning::Invalid;
    }
    match name.strip_prefix(WHITEOUT) {
        None => Meaning::File,
        Some(_) if name == OPAQUE => Meaning::Opaque,
        Some(_) if name.starts_with(AUFS) => Meaning::Aufs,
        Some(b"" | b"." | b"..") => Meaning::Invalid,
        Some(hidden) => Meaning::Whiteout(hidden),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_root() {
        let check = |path: &str, wanted: &str| {
            assert_eq!(clean(path.as_bytes(), &Limits::default()).unwrap(), wanted.as_bytes(), "{path}");
        };
        check("a/b", "a/b");
        check("./a//b/./", "a/b");
        check("/", "");
        check(".", "");
        check("..", "");
        check("../../etc/passwd", "etc/passwd");
        check("/a/../../b/..", "");
        check("a/b/../c", "a/c");
        check("...", "...");
    }

    #[test]
    fn long_and_deep_names_are_refused() {
        let limits = Limits::default();
        assert!(clean(&[b'a'; 255], &limits).is_ok());
        assert!(matches!(clean(&[b'a'; 256], &limits), Err(Error::Invalid { .. })));
        assert!(matches!(clean(&b"a/".repeat(10_000), &limits), Err(Error::Limit { .. })));
        let shallow = Limits { depth: 2, ..limits };
        assert!(clean(b"a/b/../c", &shallow).is_ok());
        assert!(matches!(clean(b"a/b/c", &shallow), Err(Error::Limit { limit: 2, .. })));
    }

    #[test]
    fn whiteouts_are_told_from_files() {
        let check = |path: &str, wanted: Meaning<'_>| assert_eq!(meaning(path.as_bytes()), wanted, "{path}");
        check("a/b", Meaning::File);
        check("a/b.wh.c", Meaning::File);
        check("a/.wh.b", Meaning::Whiteout(b"b"));
        check(".wh...x", Meaning::Whiteout(b"..x"));
        check("a/.wh..wh..opq", Meaning::Opaque);
        check(".wh..wh.plnk", Meaning::Aufs);
        check(".wh..wh.plnk/12.34", Meaning::Aufs);
        check("a/.wh..wh.orph", Meaning::Aufs);
        check("a/.wh.", Meaning::Invalid);
        check("a/.wh..", Meaning::Invalid);
        check("a/.wh...", Meaning::Invalid);
        check(".wh.a/b", Meaning::Invalid);
    }
}
