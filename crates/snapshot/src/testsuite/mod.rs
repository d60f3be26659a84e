//! Holds any snapshotter against the contract: what containerd's own suite asks of one, and what its clients rely on.
//!
//! Called by the tests of whoever has a snapshotter, of ours and of foreign ones: it is proven on containerd's. It needs
//! root, mounts in the mount namespace of the calling thread ([`in_private_mounts`] gives it one of its own), and leaves
//! nothing mounted.

mod bench;
mod chains;
mod files;
mod layers;
mod lifecycle;
mod mounted;
mod names;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rustix::mount::{MountPropagationFlags, mount_change};

use crate::Snapshotter;
use bench::Bench;
pub use mounted::Mounted;

/// `CLONE_NEWNS`.
const NEW_MOUNTS: u64 = 0x0002_0000;

/// What not every snapshotter has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Features {
    /// A directory of a lower layer can be renamed (not by overlayfs).
    pub renames_lower_directories: bool,
    /// A snapshot can be given a parent at its commit.
    pub rebase: bool,
    /// [`Snapshotter::walk`] takes filters.
    pub filters: bool,
    /// A snapshot's root has the mode of its parent's, not only the owner.
    pub inherits_root_mode: bool,
    /// A snapshot's usage is what differs from its parent, and not all that it holds.
    pub counts_changes_only: bool,
}

/// One question to a snapshotter.
type Case = (&'static str, fn(&Bench<'_>));

/// Asks a new snapshotter each, which `make` makes in an empty directory, everything.
///
/// # Panics
/// With the names of the questions that were not answered right, after all were asked.
pub fn run(features: Features, make: &mut dyn FnMut(&Path) -> Box<dyn Snapshotter>) {
    run_some(features, make, &|_| true);
}

/// As [`run`], for the questions that are `wanted` by name.
///
/// # Panics
/// As [`run`].
pub fn run_some(
    features: Features,
    make: &mut dyn FnMut(&Path) -> Box<dyn Snapshotter>,
    wanted: &dyn Fn(&str) -> bool,
) {
    let cases = [lifecycle::CASES, names::CASES, layers::CASES, chains::CASES].concat();
    let mut failed = Vec::new();
    for (name, case) in cases.into_iter().filter(|(name, _)| wanted(name)) {
        let scratch = Scratch::make(name);
        let snapshotter = make(&scratch.path("root"));
        let bench = Bench::new(&*snapshotter, scratch.path("work"), features);
        // Whoever panics has said why: this only goes on to the next.
        if catch_unwind(AssertUnwindSafe(|| case(&bench))).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "the snapshotter fails: {failed:?}");
}

/// Runs `act` on a thread with a mount namespace of its own, from which no mount spreads.
///
/// # Panics
/// Without the privilege, and when `act` does.
pub fn in_private_mounts<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            gantry_sys::ns::unshare(NEW_MOUNTS).expect("root can make a mount namespace");
            let flags = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
            mount_change("/", flags).expect("a new namespace's mounts can be made private");
            act()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A directory of one question's own, deleted in the end.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn make(name: &str) -> Self {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("gantry-snapshots-{}-{count}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("the temporary directory can be written");
        Self(path)
    }

    fn path(&self, part: &str) -> std::path::PathBuf {
        let path = self.0.join(part);
        std::fs::create_dir_all(&path).expect("the temporary directory can be written");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: a failed question may have left a mount, which goes with the namespace.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
