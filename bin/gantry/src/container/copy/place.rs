//! What goes where: the rules of `cp -a`, as docker has them.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// What is copied.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Without a slash or `/.` at its end.
    pub(super) path: String,
    /// `/.`: what is in it, not it.
    pub(super) is_content: bool,
    /// A slash: it has to be a directory.
    pub(super) is_directory_asserted: bool,
    /// The name that it was asked for by; of a link that is followed, the link's.
    pub(super) name: String,
}

impl Source {
    pub(super) fn new(path: &str) -> Self {
        let is_content = path == "." || path.ends_with("/.");
        let bare = if path.ends_with("/.") { &path[..path.len() - 1] } else { path };
        let trimmed = bare.trim_end_matches('/');
        let path = if trimmed.is_empty() && bare.starts_with('/') { "/" } else { trimmed };
        let mut source = Self {
            path: path.to_owned(),
            is_content,
            is_directory_asserted: is_content
                || bare.len() > trimmed.len() && trimmed != path
                || bare.ends_with('/'),
            name: String::new(),
        };
        source.name = source.base_name();
        source
    }

    pub(super) fn base_name(&self) -> String {
        let last = Path::new(&self.path).components().next_back();
        match last {
            Some(Component::Normal(name)) => name.to_string_lossy().into_owned(),
            _ => String::new(),
        }
    }

    /// The name that the archive's entries begin with: what the engine says, without what is no name.
    pub(super) fn base(&self, told: &str) -> Option<String> {
        let name = if told.is_empty() { self.base_name() } else { told.to_owned() };
        (!matches!(name.as_str(), "" | "/" | "." | "..")).then_some(name)
    }
}

/// Where in a container something goes.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) path: String,
    pub(super) exists: bool,
    pub(super) is_dir: bool,
}

/// A link's target, from where the link is.
pub(super) fn resolve(link: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    let dir = link.trim_end_matches('/').rsplit_once('/').map_or("", |(dir, _)| dir);
    format!("{dir}/{target}")
}

/// The directory that is written to, and the name there; without one, into the directory itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) name: Option<String>,
}

/// Where a source goes on our own machine.
pub(super) fn local_target(target: &str, source: &Source, is_dir: bool) -> Result<Place> {
    ensure!(!target.is_empty(), "the destination path cannot be empty");
    let path = Path::new(target);
    match fs::metadata(path) {
        Ok(status) if status.is_dir() => {
            let name = if source.is_content && is_dir {
                None
            } else {
                Some(source.name.clone()).filter(|it| !it.is_empty())
            };
            Ok(Place { dir: path.to_owned(), name })
        }
        Ok(_) => {
            ensure!(!is_dir, "cannot copy directory");
            ensure!(!target.ends_with('/'), "{target}: not a directory");
            // A link leads to the file that is replaced.
            let real = fs::canonicalize(path).with_context(|| target.to_owned())?;
            split(&real)
        }
        Err(_) if !is_dir && target.ends_with('/') => bail!("no such directory"),
        Err(_) => {
            let place = split(Path::new(target.trim_end_matches('/')))?;
            ensure!(
                place.dir.is_dir(),
                "invalid output path: directory {:?} does not exist",
                place.dir.display().to_string()
            );
            Ok(place)
        }
    }
}

fn split(path: &Path) -> Result<Place> {
    let name = path.file_name().and_then(|name| name.to_str()).context("the destination has no name")?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(Place { dir: dir.to_owned(), name: Some(name.to_owned()) })
}

/// The directory in the container that the archive is unpacked in, and the name that its entries begin with.
pub(super) fn remote(target: &Target, source: &Source, is_dir: bool) -> Result<(String, String)> {
    if target.exists && target.is_dir {
        let name = if source.is_content { ".".to_owned() } else { source.name.clone() };
        let name = if name.is_empty() { ".".to_owned() } else { name };
        return Ok((target.path.clone(), name));
    }
    ensure!(!(target.exists && is_dir), "cannot copy directory");
    ensure!(is_dir || !target.path.ends_with('/'), "no such directory");
    let trimmed = target.path.trim_end_matches('/');
    let (dir, name) = trimmed.rsplit_once('/').unwrap_or((".", trimmed));
    ensure!(!matches!(name, "" | "." | ".."), "the destination {:?} has no name", target.path);
    Ok((if dir.is_empty() { "/".to_owned() } else { dir.to_owned() }, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read() {
        for (text, path, name, is_content, asserts) in [
            ("/a/b", "/a/b", "b", false, false),
            ("/a/b/", "/a/b", "b", false, true),
            ("/a/b/.", "/a/b", "b", true, true),
            ("/", "/", "", false, true),
            (".", ".", "", true, true),
            ("b", "b", "b", false, false),
        ] {
            let source = Source::new(text);
            let found =
                (source.path.as_str(), source.name.as_str(), source.is_content, source.is_directory_asserted);
            assert_eq!(found, (path, name, is_content, asserts), "{text}");
        }
        assert_eq!(Source::new("/a").base("/"), None);
        assert_eq!(resolve("/a/b", "c"), "/a/c");
        assert_eq!(resolve("/a/b", "/c"), "/c");
    }

    #[test]
    fn local_targets_are_where_cp_would_put_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::write(root.join("file"), "").unwrap();
        let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
        let place = |target: &str, source: &str, is_dir| local_target(target, &Source::new(source), is_dir);
        let expect =
            |dir: &Path, name: Option<&str>| Place { dir: dir.into(), name: name.map(str::to_owned) };
        assert_eq!(place(&at(""), "/x", false).unwrap(), expect(&root.join(""), Some("x")));
        assert_eq!(place(&at("new"), "/x", false).unwrap(), expect(root, Some("new")));
        assert_eq!(place(&at("new/"), "/x", true).unwrap(), expect(root, Some("new")));
        assert_eq!(place(&at(""), "/x/.", true).unwrap(), expect(&root.join(""), None));
        assert_eq!(place(&at("file"), "/x", false).unwrap().name.unwrap(), "file");
        for (target, is_dir) in [("file", true), ("new/", false), ("no/where", false), ("file/", false)] {
            assert!(place(&at(target), "/x", is_dir).is_err(), "{target}");
        }
    }

    #[test]
    fn remote_targets_are_where_cp_would_put_them() {
        let remote = |path: &str, exists, is_dir, source: &str, source_is_dir| {
            let target = Target { path: path.into(), exists, is_dir };
            super::remote(&target, &Source::new(source), source_is_dir)
        };
        assert_eq!(remote("/d", true, true, "/x", false).unwrap(), ("/d".into(), "x".into()));
        assert_eq!(remote("/d", true, true, "/x/.", true).unwrap(), ("/d".into(), ".".into()));
        assert_eq!(remote("/d/n", false, false, "/x", false).unwrap(), ("/d".into(), "n".into()));
        assert_eq!(remote("/n", true, false, "/x", false).unwrap(), ("/".into(), "n".into()));
        assert!(remote("/d", true, false, "/x", true).is_err());
        assert!(remote("/n/", false, false, "/x", false).is_err());
    }
}
