use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::leaks;

/// A directory of the host that no container may touch: what escapes aim at.
#[derive(Debug)]
pub struct Canary {
    dir: TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Canary {
    /// Makes the directory, with a file and a directory in it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("gantry-canary.").tempdir().expect("a temporary directory");
        fs::write(dir.path().join("file"), "canary\n").expect("a file");
        fs::create_dir(dir.path().join("dir")).expect("a directory");
        fs::write(dir.path().join("dir/file"), "canary\n").expect("a file");
        let before = contents(dir.path());
        Self { dir, before }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path that leads to it from any depth: `../../../…/tmp/gantry-canary.x`.
    pub fn dotted(&self) -> PathBuf {
        let up = "../".repeat(16);
        Path::new(&up).join(self.path().strip_prefix("/").expect("an absolute path"))
    }

    /// What changed since it was made: entries made, removed or changed, and mounts upon it.
    pub fn changes(&self) -> Vec<String> {
        let after = contents(self.path());
        let mut changes = Vec::new();
        for (path, was) in &self.before {
            match after.get(path) {
                None => changes.push(format!("removed {}", path.display())),
                Some(is) if is != was => changes.push(format!("changed {}: {was} -> {is}", path.display())),
                Some(_) => {}
            }
        }
        let new = after.keys().filter(|path| !self.before.contains_key(*path));
        changes.extend(new.map(|path| format!("made {}", path.display())));
        changes.extend(leaks::mounts_below(self.path()).iter().map(|mount| format!("mounted {mount}")));
        changes
    }

    /// # Panics
    /// When anything changed.
    #[track_caller]
    pub fn assert_untouched(&self) {
        let changes = self.changes();
        assert!(changes.is_empty(), "the host was touched: {changes:#?}");
    }
}

impl Default for Canary {
    fn default() -> Self {
        Self::new()
    }
}

fn contents(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let mut what = format!("mode {:o} owner {}:{}", meta.mode(), meta.uid(), meta.gid());
        if meta.is_dir() {
            left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else if meta.is_file() {
            what.push_str(&format!(" contents {:?}", fs::read(&path).unwrap_or_default()));
        } else if meta.is_symlink() {
            what.push_str(&format!(" to {:?}", fs::read_link(&path).unwrap_or_default()));
        }
        found.insert(path, what);
    }
    found
}
