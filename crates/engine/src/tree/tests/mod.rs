//! The roots of containers, and advisories on copies from and to them, by their numbers. Most need root.

mod advisories;
mod filling;
mod forge;
mod roots;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use gantry_layer::ApplyOptions;
use gantry_types::Mount;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::OpenTreeFlags;

use super::asked::Asked;
use super::root::{Root, Wanted};
use super::stopped::{Plan, Point, Writable};

/// A directory as the root of a container, whose processes may be at work in it.
fn root_of(path: &Path) -> Root {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Root::new(openat(CWD, path, flags, Mode::empty()).unwrap(), None)
}

fn put(root: &Root, base: &str, archive: &[u8]) -> crate::Result<()> {
    let base = Asked::parse(base)?.path.into_bytes();
    super::put::put(
        std::os::fd::AsFd::as_fd(root),
        archive,
        &ApplyOptions { base, ..ApplyOptions::default() },
    )
}

fn get(root: &Root, path: &str) -> crate::Result<Vec<u8>> {
    let asked = Asked::parse(path)?;
    let (pinned, _): (OwnedFd, _) = super::stat::find(std::os::fd::AsFd::as_fd(root), &asked, "c")?;
    let mut out = Vec::new();
    let (fd, name) = (std::os::fd::AsFd::as_fd(&pinned), asked.name.as_bytes());
    gantry_layer::pack(fd, name, &mut out, &gantry_layer::PackOptions::default()).map_err(super::archive)?;
    Ok(out)
}

/// A container that does not run: an image, what it changed, and where it is mounted.
struct Stopped {
    directory: tempfile::TempDir,
    plan: Plan,
}

impl Stopped {
    fn new(wanted: Wanted) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["image/etc", "upper", "work", "anchor", "volume"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::write(at("image/etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        let options = ["lowerdir", "upperdir", "workdir"].iter().zip(["image", "upper", "work"]);
        let options = options.map(|(option, name)| format!("{option}={}", at(name).display())).collect();
        let overlay =
            Mount { kind: "overlay".into(), source: "overlay".into(), target: String::new(), options };
        let plan = Plan {
            mounts: vec![overlay],
            anchor: at("anchor"),
            volumes: Vec::new(),
            points: Vec::new(),
            root: Writable::Yes,
            wanted,
        };
        Self { directory, plan }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn point(mut self, source: &Path, target: &str, writable: Writable) -> Self {
        self.plan.points.push(Point {
            source: source.to_owned(),
            subpath: String::new(),
            target: target.to_owned(),
            writable,
            recursion: OpenTreeFlags::AT_RECURSIVE,
        });
        self
    }

    fn mount(&self) -> crate::Result<Root> {
        super::stopped::mount(self.plan.clone())
    }
}
