use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::controller::{Controller, Controllers};
use crate::dir::Dir;
use crate::error::Error;
use crate::hierarchy::Mode;
use crate::resolve::Driver;
use crate::systemd::{Bus, Pending, Unit};

/// What the kernel can do and the caller may do. Found once per boot by the caller: nothing here probes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// `cgroup.kill`: Linux 5.14.
    pub cgroup_kill: bool,
    /// `CLONE_INTO_CGROUP`: Linux 5.7.
    pub clone_into: bool,
    /// Whether this process is in a user namespace of its own, where device rules can be neither set nor needed:
    /// devices of the host are out of its reach.
    pub in_user_namespace: bool,
}

/// The cgroup of a container, in every hierarchy.
///
/// Directories are opened when they are first used, so that an operation on a recorded cgroup costs no more than what
/// it touches.
#[derive(Debug)]
pub struct Cgroup {
    pub(crate) mode: Mode,
    pub(crate) driver: Driver,
    pub(crate) rootless: bool,
    /// Whether the configuration named a path, so that a missing privilege is an error.
    pub(crate) explicit: bool,
    /// In the order in which processes are attached; the unified one is last.
    pub(crate) nodes: Vec<Node>,
    /// Where the unified hierarchy is mounted.
    pub(crate) unified_mount: PathBuf,
    pub(crate) unit: Option<Unit>,
    /// The connection to systemd, once there is one.
    pub(crate) bus: RefCell<Option<Box<Bus>>>,
    pub(crate) pending: Option<Box<Pending>>,
    /// False while a scope waits for its first process.
    pub(crate) started: bool,
    pub(crate) features: Features,
}

/// The cgroup in one hierarchy.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) controllers: Controllers,
    pub(crate) path: PathBuf,
    /// Whether this process has made it and put no device rules on it yet, so that there is nothing to ask for.
    pub(crate) is_new: Cell<bool>,
    dir: OnceCell<Dir>,
}

impl Node {
    pub(crate) fn new(controllers: Controllers, path: PathBuf) -> Self {
        Self { controllers, path, is_new: Cell::new(false), dir: OnceCell::new() }
    }

    pub(crate) fn opened(controllers: Controllers, path: PathBuf, is_new: bool, dir: Dir) -> Self {
        Self { controllers, path, is_new: Cell::new(is_new), dir: OnceCell::from(dir) }
    }

    pub(crate) fn dir(&self) -> Result<&Dir, Errno> {
        match self.dir.get() {
            Some(dir) => Ok(dir),
            None => {
                let dir = Dir::open(&self.path)?;
                Ok(self.dir.get_or_init(|| dir))
            }
        }
    }

    pub(crate) fn error(&self, action: &'static str) -> impl Fn(Errno) -> Error {
        move |errno| Error::Cgroup { action, path: self.path.clone(), errno }
    }
}

impl Cgroup {
    /// How the host's cgroups are mounted.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Who made it.
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// The unit, with the systemd driver.
    pub fn unit(&self) -> Option<&Unit> {
        self.unit.as_ref()
    }

    /// The directory that has a controller: of v2, the only one.
    pub fn path(&self, controller: Controller) -> Option<&Path> {
        self.node(controller).map(|node| node.path.as_path())
    }

    /// The directory in the unified hierarchy.
    pub fn unified_path(&self) -> Option<&Path> {
        self.unified().map(|node| node.path.as_path())
    }

    /// Every directory, in the order in which processes are attached.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.nodes.iter().map(|node| node.path.as_path())
    }

    /// The target of `CLONE_INTO_CGROUP`, where the kernel and the driver allow it. On a hybrid host the v1
    /// hierarchies remain for [`Cgroup::attach`].
    pub fn clone_target(&self) -> Option<BorrowedFd<'_>> {
        if !self.features.clone_into || !self.started {
            return None;
        }
        self.unified()?.dir().ok().map(AsFd::as_fd)
    }

    /// Whether it has no directory, because the driver is disabled or because privilege is lacking.
    pub fn is_absent(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(crate) fn node(&self, controller: Controller) -> Option<&Node> {
        match self.mode {
            Mode::V2 => self.unified(),
            _ => self.nodes.iter().find(|node| node.controllers.contains(controller)),
        }
    }

    pub(crate) fn unified(&self) -> Option<&Node> {
        self.nodes.last().filter(|node| node.controllers.is_unified())
    }

    /// The hierarchy that knows every process: the unified one, or that of a controller that containers always have.
    pub(crate) fn members(&self) -> Option<&Node> {
        match self.mode {
            Mode::V2 => self.unified(),
            _ => self
                .node(Controller::Devices)
                .or_else(|| self.node(Controller::Freezer))
                .or_else(|| self.nodes.first()),
        }
    }
}
