use std::fs;
use std::path::{Path, PathBuf};

/// What is mounted at `/sys/fs/cgroup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// One directory per controller.
    V1,
    /// One directory per controller, and the unified hierarchy at `unified`.
    Hybrid,
    /// The unified hierarchy alone.
    V2,
}

/// The cgroup hierarchies as this process sees them.
#[derive(Debug, Clone)]
pub struct Cgroups {
    /// Which kind.
    pub hierarchy: Hierarchy,
    roots: Vec<PathBuf>,
}

const MOUNT: &str = "/sys/fs/cgroup";

impl Cgroups {
    /// Looks at what is mounted.
    pub fn detect() -> Self {
        let root = PathBuf::from(MOUNT);
        if root.join("cgroup.controllers").exists() {
            return Self { hierarchy: Hierarchy::V2, roots: vec![root] };
        }
        let mut roots = Vec::new();
        for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
            // Some hosts link `cpu` and `cpuacct` to `cpu,cpuacct`: the same directory must not count twice.
            let path = fs::canonicalize(entry.path()).unwrap_or_else(|_| entry.path());
            if path.join("cgroup.procs").exists() && !roots.contains(&path) {
                roots.push(path);
            }
        }
        let unified = root.join("unified/cgroup.controllers").exists();
        Self { hierarchy: if unified { Hierarchy::Hybrid } else { Hierarchy::V1 }, roots }
    }

    /// Whether the unified hierarchy is the only one.
    pub fn is_v2(&self) -> bool {
        self.hierarchy == Hierarchy::V2
    }

    /// Whether `controller` can limit anything here.
    pub fn has(&self, controller: &str) -> bool {
        if self.is_v2() {
            let list =
                fs::read_to_string(Path::new(MOUNT).join("cgroup.subtree_control")).unwrap_or_default();
            return list.split_whitespace().any(|name| name == controller);
        }
        Path::new(MOUNT).join(controller).join("cgroup.procs").exists()
    }

    /// The file `name` of `controller` in the cgroup `path`.
    pub fn file(&self, controller: &str, path: &str, name: &str) -> PathBuf {
        let root = if self.is_v2() { PathBuf::from(MOUNT) } else { Path::new(MOUNT).join(controller) };
        root.join(path.trim_start_matches('/')).join(name)
    }

    /// The trimmed contents of [`Self::file`].
    ///
    /// # Panics
    /// When it cannot be read.
    #[track_caller]
    pub fn read(&self, controller: &str, path: &str, name: &str) -> String {
        let file = self.file(controller, path, name);
        match fs::read_to_string(&file) {
            Ok(text) => text.trim().to_owned(),
            Err(error) => panic!("{}: {error}", file.display()),
        }
    }

    /// The directories of the cgroup `path` that exist, one per hierarchy.
    pub fn dirs(&self, path: &str) -> Vec<PathBuf> {
        let path = path.trim_start_matches('/');
        self.roots.iter().map(|root| root.join(path)).filter(|dir| dir.is_dir()).collect()
    }

    /// The processes in the cgroup `path` and below it, in any hierarchy.
    pub fn processes(&self, path: &str) -> Vec<i32> {
        let mut pids = Vec::new();
        for dir in self.dirs(path) {
            collect_processes(&dir, &mut pids);
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// The directories below the cgroup `path`, in any hierarchy.
    pub fn below(&self, path: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for dir in self.dirs(path) {
            collect_directories(&dir, &mut found);
        }
        found
    }

    /// The top-level cgroups whose names begin with `prefix`, as paths like `/name`.
    pub(crate) fn top_level(&self, prefix: &str) -> Vec<String> {
        let mut names = Vec::new();
        for root in &self.roots {
            for entry in fs::read_dir(root).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = format!("/{name}");
                if name.starts_with(prefix) && entry.path().is_dir() && !names.contains(&path) {
                    names.push(path);
                }
            }
        }
        names
    }

    /// Removes the cgroup `path` and everything below it, as far as no process is left in them.
    pub(crate) fn remove(&self, path: &str) {
        for dir in self.dirs(path) {
            let mut below = Vec::new();
            collect_directories(&dir, &mut below);
            // Deepest first: a cgroup with children cannot be removed.
            for child in below.iter().rev() {
                let _ = fs::remove_dir(child);
            }
            let _ = fs::remove_dir(&dir);
        }
    }
}

fn collect_processes(dir: &Path, into: &mut Vec<i32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    into.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_processes(&entry.path(), into);
        }
    }
}

fn collect_directories(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            into.push(entry.path());
            collect_directories(&entry.path(), into);
        }
    }
}
