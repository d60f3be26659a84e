//! Create, and restore from a checkpoint.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use gantry_runtime::config::Bundle;
use gantry_runtime::rootfs::{self, Place};
use gantry_runtime::{Console, CreateRequest, Created, ImageOptions, RestoreOptions, create_loaded, respawn};
use gantry_types::ContainerId;
use gantry_types::oci::Mount;

use super::{External, Made, Subject};
use crate::failure::Failure;
use crate::options::RuntimeOptions;
use crate::stdio::{Context, Opened, Role, Stdio};
use crate::worker::Done;

/// What a container is made from.
#[derive(Debug, Clone)]
pub(crate) struct Creation {
    pub(crate) id: ContainerId,
    pub(crate) namespace: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: Vec<gantry_proto_shim::mount::Mount>,
    pub(crate) stdio: Stdio,
    pub(crate) options: RuntimeOptions,
}

impl Creation {
    fn mounts(&self) -> Vec<Mount> {
        self.rootfs
            .iter()
            .map(|mount| Mount {
                destination: mount.target.clone(),
                type_: mount.r#type.clone(),
                source: mount.source.clone(),
                options: mount.options.clone(),
                ..Mount::default()
            })
            .collect()
    }

    pub(super) fn subject(&self) -> Subject {
        Subject {
            id: self.id.clone(),
            namespace: self.namespace.clone(),
            bundle: self.bundle.clone(),
            options: self.options.clone(),
            root_on_host: false,
            cgroup: None,
        }
    }

    fn request(&self) -> CreateRequest {
        CreateRequest {
            bundle: self.bundle.clone(),
            console: if self.stdio.terminal { Console::Caller } else { Console::Foreground },
            no_pivot: self.options.no_pivot_root,
            no_new_keyring: self.options.no_new_keyring,
            ..CreateRequest::default()
        }
    }

    fn open(&self, bundle: &Bundle) -> Result<Opened, Failure> {
        let label = bundle.spec.process.as_ref().is_some_and(|process| !process.selinux_label.is_empty());
        let mut opened = self.stdio.open(Context {
            id: self.id.as_str(),
            namespace: &self.namespace,
            owner: (self.options.io_uid, self.options.io_gid),
            confined: label,
        })?;
        opened.install()?;
        Ok(opened)
    }
}

/// Makes a container, whose process waits for its start.
pub(crate) fn create(creation: &Creation) -> Result<Done, Failure> {
    let bundle = Bundle::load(&creation.bundle, None)?;
    let mounts = creation.mounts();
    let external = !creation.options.binary_name.is_empty();
    let mut root = Root::Directory;
    if !mounts.is_empty() {
        let place = if external { Place::Host } else { Place::of(&bundle.spec, &mounts) };
        root = Root::make(&creation.rootfs_dir(), &mounts, place)?;
    }
    let made = if external {
        create_external(creation, &bundle)
    } else {
        create_linked(creation, bundle, &mut root)
    };
    match made {
        Ok((mut made, opened, fds)) => {
            made.root_on_host = root.keep();
            made.options = creation.options.clone();
            made.into_done(opened, fds)
        }
        Err(failure) => Err(root.undo(failure)),
    }
}

type Parts = (Made, Opened, Vec<(Role, OwnedFd)>);

fn create_linked(creation: &Creation, bundle: Bundle, root: &mut Root) -> Result<Parts, Failure> {
    let opened = creation.open(&bundle)?;
    let host = creation.options.host(&creation.namespace);
    let created = create_loaded(&host, &creation.id, &creation.request(), bundle, root.take_tree())?;
    let (made, fds) = parts(created);
    Ok((made, opened, fds))
}

fn parts(created: Created) -> (Made, Vec<(Role, OwnedFd)>) {
    let Created { child, console, record, .. } = created;
    let made = Made {
        pid: child.pid,
        start_time: record.start_time,
        own_pids: record.exec.pid_namespace,
        poststart: !record.poststart.is_empty(),
        cgroup: record.cgroup,
        ..Made::default()
    };
    let mut fds = vec![(Role::Pidfd, child.pidfd)];
    fds.extend(console.map(|master| (Role::Console, master)));
    (made, fds)
}

fn create_external(creation: &Creation, bundle: &Bundle) -> Result<Parts, Failure> {
    let opened = creation.open(bundle)?;
    let subject = creation.subject();
    let external = External { subject: &subject };
    let (mut made, fds) = external.create(creation.stdio.terminal)?;
    let namespaces = bundle.spec.linux.as_ref().map(|linux| linux.namespaces.as_slice()).unwrap_or_default();
    made.own_pids = namespaces.iter().any(|namespace| namespace.type_ == "pid");
    Ok((made, opened, fds))
}

/// Makes a container from a checkpoint's images, running.
pub(crate) fn restore(creation: &Creation, images: &std::path::Path) -> Result<Done, Failure> {
    let bundle = Bundle::load(&creation.bundle, None)?;
    let mounts = creation.mounts();
    let root = Root::make(&creation.rootfs_dir(), &mounts, Place::Host)?;
    let restored = creation.open(&bundle).and_then(|opened| {
        if !creation.options.binary_name.is_empty() {
            let subject = creation.subject();
            let (made, fds) = External { subject: &subject }.restore(images, creation.stdio.terminal)?;
            return Ok((made, opened, fds));
        }
        let work = &creation.options.criu_work_path;
        let image = ImageOptions {
            images: images.to_owned(),
            work: Some(if work.is_empty() { creation.bundle.join("work") } else { work.into() })
                .filter(|path| path.is_dir()),
            tcp_established: true,
            external_unix_sockets: true,
            shell_job: creation.stdio.terminal,
            file_locks: true,
            ..ImageOptions::default()
        };
        let options = RestoreOptions { image, ..RestoreOptions::default() };
        let host = creation.options.host(&creation.namespace);
        let created = respawn(&host, &creation.id, &creation.request(), &options)?;
        let (made, fds) = parts(created);
        Ok((made, opened, fds))
    });
    match restored {
        Ok((mut made, opened, fds)) => {
            made.root_on_host = root.keep();
            made.options = creation.options.clone();
            made.into_done(opened, fds)
        }
        Err(failure) => Err(root.undo(failure)),
    }
}

impl Creation {
    fn rootfs_dir(&self) -> PathBuf {
        super::rootfs(&self.bundle)
    }
}

/// A root that is being made.
enum Root {
    /// The bundle's directory as it is.
    Directory,
    /// A mount for the container alone.
    Tree(Option<OwnedFd>),
    /// Mounted on the host, here.
    Host(PathBuf),
}

impl Root {
    fn make(target: &std::path::Path, mounts: &[Mount], place: Place) -> Result<Self, Failure> {
        match std::fs::create_dir(target) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Failure::io(format!("mkdir {}", target.display()))(error));
            }
            _ => {}
        }
        if mounts.is_empty() {
            return Ok(Root::Directory);
        }
        if let (Place::Container, [mount]) = (place, mounts)
            && let Some(tree) = rootfs::tree(mount)?
        {
            return Ok(Root::Tree(Some(tree)));
        }
        rootfs::mount(target, mounts)?;
        Ok(Root::Host(target.to_owned()))
    }

    fn take_tree(&mut self) -> Option<OwnedFd> {
        match self {
            Root::Tree(tree) => tree.take(),
            _ => None,
        }
    }

    /// Leaves it; whether it is on the host.
    fn keep(self) -> bool {
        matches!(self, Root::Host(_))
    }

    fn undo(self, mut cause: Failure) -> Failure {
        if let Root::Host(target) = self
            && let Err(error) = rootfs::remove(&target)
        {
            cause.message.push_str(&format!("; and unmounting the root failed: {error}"));
        }
        cause
    }
}
