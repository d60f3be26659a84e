//! A path that a client asks for.

use std::ffi::CString;

use crate::{Error, Result};

/// PATH_MAX, with its last zero.
const MAX_PATH_BYTES: usize = 4096;

/// A path in a container, clean but for what its end says: with a slash or `/.` there, a link is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// As the client said it, for errors.
    pub(super) text: String,
    /// Absolute.
    pub(super) path: CString,
    /// What the file is called in answers and archives: its last component, `.` for what ends so, `/` for the root.
    pub(super) name: String,
}

impl Asked {
    /// Makes a path absolute and clean by its text, as docker does: `..` takes away the component before it.
    ///
    /// # Errors
    /// Invalid for an empty or too long one, and for one with a zero byte.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() >= MAX_PATH_BYTES {
            return Err(Error::Invalid(format!(
                "a path has 1 to {} bytes, not {}",
                MAX_PATH_BYTES - 1,
                text.len()
            )));
        }
        let mut components = Vec::new();
        for component in text.split('/') {
            match component {
                "" | "." => {}
                ".." => drop(components.pop()),
                name => components.push(name),
            }
        }
        let last = text.trim_end_matches('/').rsplit('/').next();
        let is_current = last == Some(".") && text != "/";
        let mut path = format!("/{}", components.join("/"));
        let name = match (is_current, components.last()) {
            (true, _) => ".",
            (false, Some(name)) => name,
            (false, None) => "/",
        };
        let name = name.to_owned();
        if is_current {
            path.push_str(if components.is_empty() { "." } else { "/." });
        }
        if text.ends_with('/') && !path.ends_with('/') {
            path.push('/');
        }
        let path = CString::new(path).map_err(|_| Error::Invalid("a path has a zero byte".to_owned()))?;
        Ok(Self { text: text.to_owned(), path, name })
    }

    /// Whether it is the root, by its text.
    pub(super) fn is_root(&self) -> bool {
        self.path.to_bytes().iter().all(|byte| matches!(byte, b'/' | b'.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_clean_and_keep_their_ends() {
        let check = |text: &str, path: &str, name: &str| {
            let asked = Asked::parse(text).unwrap();
            assert_eq!((asked.path.to_str().unwrap(), asked.name.as_str()), (path, name), "{text}");
            assert_eq!(asked.is_root(), path.trim_matches(['/', '.']).is_empty(), "{text}");
        };
        check("/etc/passwd", "/etc/passwd", "passwd");
        check("etc/passwd", "/etc/passwd", "passwd");
        check("/etc/", "/etc/", "etc");
        check("/etc/.", "/etc/.", ".");
        check("/etc/./", "/etc/./", ".");
        check("/", "/", "/");
        check("//", "/", "/");
        check("/.", "/.", ".");
        check(".", "/.", ".");
        check("/a/../../b/./c", "/b/c", "c");
        check("../../..", "/", "/");
        check("/a/..", "/", "/");
        for wrong in ["", "a\0b", &"x/".repeat(3000)] {
            assert!(Asked::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
