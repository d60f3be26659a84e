use std::ffi::CString;
use std::path::{Path, PathBuf};

use gantry_types::Mount;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind_recursive, mount_remount, unmount};

/// How long the options of one mount(2) may be: a page, less what the kernel adds.
const MAX_OPTIONS_BYTES: usize = 4096 - 512;

/// A snapshot that is mounted as containerd's clients do it, until it is dropped.
#[derive(Debug)]
pub struct Mounted {
    target: PathBuf,
}

impl Mounted {
    /// Mounts a snapshot on a directory.
    ///
    /// The calling thread must not share its working directory: the paths of many layers are too long for mount(2), and
    /// are made relative to what they have in common.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[must_use]
    pub fn new(mounts: &[Mount], target: &Path) -> Self {
        assert!(!mounts.is_empty(), "no mounts");
        std::fs::create_dir_all(target).expect("a place to mount");
        let mounted = Self { target: target.to_owned() };
        for mount in mounts {
            mount_one(mount, target).unwrap_or_else(|errno| panic!("{errno}: {mount:?}"));
        }
        mounted
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.target
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.target, UnmountFlags::DETACH);
    }
}

fn mount_one(wanted: &Mount, target: &Path) -> Result<(), rustix::io::Errno> {
    let (mut flags, mut bind, mut data) = (MountFlags::empty(), false, Vec::new());
    for option in &wanted.options {
        match option.as_str() {
            "ro" => flags |= MountFlags::RDONLY,
            "rw" => flags -= MountFlags::RDONLY,
            "nodev" => flags |= MountFlags::NODEV,
            "nosuid" => flags |= MountFlags::NOSUID,
            "noexec" => flags |= MountFlags::NOEXEC,
            "bind" | "rbind" => bind = true,
            _ => data.push(option.clone()),
        }
    }
    if bind {
        mount_bind_recursive(wanted.source.as_str(), target)?;
        if flags.contains(MountFlags::RDONLY) {
            mount_remount(target, MountFlags::BIND | flags, "")?;
        }
        return Ok(());
    }
    if data.iter().map(|option| option.len() + 1).sum::<usize>() > MAX_OPTIONS_BYTES {
        shorten(&mut data)?;
    }
    let data = CString::new(data.join(",")).expect("options have no NUL");
    let result = mount(wanted.source.as_str(), target, wanted.kind.as_str(), flags, data.as_c_str());
    rustix::process::chdir("/")?;
    result
}

/// Makes the paths of layers relative to the directory that they have in common, and goes there.
fn shorten(options: &mut [String]) -> Result<(), rustix::io::Errno> {
    for option in options {
        let Some(layers) = option.strip_prefix("lowerdir=") else { continue };
        let first = layers.split(':').next().unwrap_or_default();
        let common = layers.split(':').fold(first, |common, layer| {
            let same = common.bytes().zip(layer.bytes()).take_while(|(a, b)| a == b).count();
            &common[..same]
        });
        let common = &common[..=common.rfind('/').unwrap_or(0)];
        rustix::process::chdir(common)?;
        let relative = layers.split(':').map(|layer| &layer[common.len()..]).collect::<Vec<_>>();
        *option = format!("lowerdir={}", relative.join(":"));
    }
    Ok(())
}
