//! Making the directories of a container.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use gantry_types::oci::Resources;
use rustix::io::Errno;

use crate::cgroup::{Cgroup, Features, Node};
use crate::controller::Controller;
use crate::dir::Dir;
use crate::error::Error;
use crate::hierarchy::Mode;
use crate::limits;
use crate::resolve::{CgroupSpec, Driver, Target, parent};
use crate::systemd::Pending;
use crate::walk;

/// A new cgroup, which disappears again with this value unless it is kept.
#[derive(Debug)]
pub struct Created {
    cgroup: Option<Cgroup>,
    made: Made,
}

impl Created {
    /// Ends the guard: the cgroup stays.
    pub fn keep(mut self) -> Cgroup {
        self.made.0.clear();
        self.cgroup.take().expect("taken only here and by drop")
    }
}

impl Deref for Created {
    type Target = Cgroup;

    fn deref(&self) -> &Cgroup {
        self.cgroup.as_ref().expect("taken only by keep and by drop")
    }
}

impl DerefMut for Created {
    fn deref_mut(&mut self) -> &mut Cgroup {
        self.cgroup.as_mut().expect("taken only by keep and by drop")
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        // A scope belongs to systemd from its first process on; everything else is undone by `made`.
        if let Some(cgroup) = self.cgroup.take()
            && cgroup.unit.is_some()
            && cgroup.started
        {
            let _ = cgroup.delete();
        }
    }
}

/// Directories that this process made, parents first.
#[derive(Debug, Default)]
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.drain(..).rev() {
            // Somebody else's child, or a process that is still leaving: not ours to force.
            let _ = rustix::fs::rmdir(&path);
        }
    }
}

impl Cgroup {
    /// Makes the cgroup of a container. With the systemd driver nothing is made before the first process is attached:
    /// a scope cannot be empty.
    ///
    /// `resources` decides what is inherited (`cpuset` of v1) and whether lacking privilege is an error.
    ///
    /// # Errors
    /// `FailedPrecondition` if there is such a cgroup and it has processes or is frozen, `PermissionDenied` if limits
    /// are asked for and there is no cgroup to put them on. Nothing that was made stays.
    ///
    /// # Privilege
    /// Write access to the hierarchies. Without it, `rootless` and with neither a path nor limits, the container has
    /// no cgroup: [`Cgroup::is_absent`].
    pub fn create(spec: &CgroupSpec, resources: &Resources, features: Features) -> Result<Created, Error> {
        let mut made = Made::default();
        let mut cgroup = Cgroup {
            mode: spec.mode,
            driver: spec.driver,
            rootless: spec.rootless,
            explicit: spec.explicit,
            nodes: Vec::with_capacity(spec.targets.len()),
            unified_mount: spec.targets.last().map(|target| target.mount.clone()).unwrap_or_default(),
            unit: spec.unit.clone(),
            bus: RefCell::default(),
            pending: None,
            started: spec.driver == Driver::Fs,
            features,
        };
        for target in &spec.targets {
            let path = target.mount.join(&target.path);
            let node = if spec.driver == Driver::Fs {
                match make(spec, target, resources, &mut made) {
                    Ok((dir, existed)) => {
                        let node = Node::opened(target.controllers, path, existed == Existed::No, dir);
                        if existed == Existed::Yes {
                            check_existing(&node, spec.mode)?;
                        }
                        node
                    }
                    Err(errno) if is_tolerable(spec, errno) => {
                        if spec.mode == Mode::V2 && limits::any_asked(resources) {
                            return Err(Error::RootlessLimits { path, errno });
                        }
                        continue;
                    }
                    Err(errno) => return Err(Error::Cgroup { action: "creating", path, errno }),
                }
            } else {
                Node::new(target.controllers, path)
            };
            if spec.mode == Mode::V2 && spec.driver == Driver::Fs {
                check_type(&node, resources)?;
            }
            cgroup.nodes.push(node);
        }
        if matches!(spec.driver, Driver::Systemd { .. }) {
            cgroup.pending = Some(Box::new(Pending { spec: spec.clone(), resources: resources.clone() }));
            cgroup.locate_scope()?;
            for node in &cgroup.nodes {
                check_existing(node, spec.mode)?;
            }
        }
        Ok(Created { cgroup: Some(cgroup), made })
    }
}

/// Whether this container may do without a cgroup.
pub(crate) fn is_tolerable(spec: &CgroupSpec, errno: Errno) -> bool {
    spec.rootless && !spec.explicit && matches!(errno, Errno::PERM | Errno::ACCESS | Errno::ROFS)
}

#[derive(PartialEq)]
enum Existed {
    Yes,
    No,
}

fn make(
    spec: &CgroupSpec,
    target: &Target,
    resources: &Resources,
    made: &mut Made,
) -> Result<(Dir, Existed), Errno> {
    let root = Dir::open(&target.mount)?;
    if spec.mode == Mode::V2 {
        delegate_controllers(&root, target, made)?;
    }
    let existed = make_with_parents(&root, target, made)?;
    let dir = root.open_below(&target.path)?;
    give_cpus(&root, &dir, target, resources, &existed)?;
    Ok((dir, existed))
}

/// Makes a directory of v1 that systemd does not make, to stay.
pub(crate) fn make_v1(target: &Target, resources: &Resources) -> Result<(), Errno> {
    let root = Dir::open(&target.mount)?;
    let mut made = Made::default();
    let result = make_with_parents(&root, target, &mut made)
        .and_then(|existed| give_cpus(&root, &root.open_below(&target.path)?, target, resources, &existed));
    if result.is_ok() {
        made.0.clear();
    }
    result
}

/// Enables the controllers that systemd does not, for a cgroup that it has made.
pub(crate) fn delegate_in(target: &Target) -> Result<(), Errno> {
    delegate_controllers(&Dir::open(&target.mount)?, target, &mut Made::default())
}

/// Gives a cgroup of the v1 cpuset hierarchy CPUs and memory nodes: no process can enter without.
fn give_cpus(
    root: &Dir,
    dir: &Dir,
    target: &Target,
    resources: &Resources,
    existed: &Existed,
) -> Result<(), Errno> {
    if !target.controllers.contains(Controller::Cpuset) {
        return Ok(());
    }
    let cpu = resources.cpu.as_ref();
    let up = inherit_cpuset(root, parent(&target.path))?;
    for (file, asked, inherited) in [
        ("cpuset.cpus", cpu.map_or("", |cpu| cpu.cpus.as_str()), &up.0),
        ("cpuset.mems", cpu.map_or("", |cpu| cpu.mems.as_str()), &up.1),
    ] {
        match (asked, existed) {
            ("", Existed::Yes) => drop(fill_cpuset(dir, file, inherited)?),
            ("", Existed::No) => dir.write(file, inherited.as_bytes())?,
            (asked, _) => dir.write(file, asked.as_bytes())?,
        }
    }
    Ok(())
}

/// One mkdir(2) when the parent exists, which is the case for all but the first container of a pod or an engine.
fn make_with_parents(root: &Dir, target: &Target, made: &mut Made) -> Result<Existed, Errno> {
    match root.make_child(&target.path) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(Existed::Yes),
        Err(Errno::NOENT) => {
            for (at, _) in target.path.match_indices('/') {
                let ancestor = &target.path[..at];
                match root.make_child(ancestor) {
                    Ok(()) => made.0.push(target.mount.join(ancestor)),
                    Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
            }
            match root.make_child(&target.path) {
                Ok(()) => {}
                Err(Errno::EXIST) => return Ok(Existed::Yes),
                Err(errno) => return Err(errno),
            }
        }
        Err(errno) => return Err(errno),
    }
    made.0.push(target.mount.join(&target.path));
    Ok(Existed::No)
}

/// Enables in every ancestor what the root has, so that limits and statistics of any kind work, as runc does.
///
/// Ancestors that cannot be changed are left: without delegation, or with processes of their own (the "no internal
/// processes" rule), a limit that needs the controller fails with its own error.
fn delegate_controllers(root: &Dir, target: &Target, made: &mut Made) -> Result<(), Errno> {
    let available = root.read("cgroup.controllers")?;
    if let Ok(up) = root.open_below(parent(&target.path))
        && is_delegated(&up, &available)
    {
        return Ok(());
    }
    enable(root, &available);
    for (at, _) in target.path.match_indices('/') {
        let ancestor = &target.path[..at];
        match root.make_child(ancestor) {
            Ok(()) => made.0.push(target.mount.join(ancestor)),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        enable(&root.open_below(ancestor)?, &available);
    }
    Ok(())
}

fn is_delegated(dir: &Dir, available: &str) -> bool {
    dir.read("cgroup.subtree_control").is_ok_and(|enabled| {
        available.split_whitespace().all(|name| enabled.split_whitespace().any(|other| other == name))
    })
}

/// Enables controllers for the cgroups below, each as far as it can be.
pub(crate) fn enable(dir: &Dir, available: &str) {
    if available.trim_ascii().is_empty() || is_delegated(dir, available) {
        return;
    }
    let all: Vec<String> = available.split_whitespace().map(|name| format!("+{name}")).collect();
    if dir.write("cgroup.subtree_control", all.join(" ").as_bytes()).is_err() {
        // One that cannot be enabled (cpu, with real-time processes about) must not cost the others.
        for one in all {
            let _ = dir.write("cgroup.subtree_control", one.as_bytes());
        }
    }
}

/// Makes sure that a cgroup of the v1 cpuset hierarchy has CPUs and memory nodes, taking those of its parent, and
/// returns them. Without them no process can enter.
fn inherit_cpuset(root: &Dir, path: &str) -> Result<(String, String), Errno> {
    let dir = root.open_below(path)?;
    let own = (dir.read("cpuset.cpus")?, dir.read("cpuset.mems")?);
    if path.is_empty() || (!own.0.trim_ascii().is_empty() && !own.1.trim_ascii().is_empty()) {
        return Ok(own);
    }
    let up = inherit_cpuset(root, parent(path))?;
    let cpus = fill_cpuset(&dir, "cpuset.cpus", &up.0)?;
    let mems = fill_cpuset(&dir, "cpuset.mems", &up.1)?;
    Ok((cpus, mems))
}

/// Gives a cpuset file what the parent has if it is empty, and returns what it then holds.
fn fill_cpuset(dir: &Dir, file: &str, inherited: &str) -> Result<String, Errno> {
    let own = dir.read(file)?;
    if !own.trim_ascii().is_empty() {
        return Ok(own);
    }
    dir.write(file, inherited.as_bytes())?;
    Ok(inherited.to_owned())
}

/// Refuses a cgroup that somebody uses. On v1 one hierarchy stands for all, as in runc.
fn check_existing(node: &Node, mode: Mode) -> Result<(), Error> {
    let unified = mode == Mode::V2 && node.controllers.is_unified();
    if unified || node.controllers.contains(Controller::Devices) {
        match node.dir().and_then(|dir| walk::pids(dir, walk::Depth::Tree)) {
            Ok(pids) if pids.is_empty() => {}
            Ok(pids) => return Err(Error::NotEmpty { path: node.path.clone(), count: pids.len() }),
            Err(Errno::NOENT | Errno::NODEV) => {}
            Err(errno) => return Err(node.error("reading the processes of")(errno)),
        }
    }
    let frozen = if unified {
        is_one(node, "cgroup.freeze")?
    } else {
        node.controllers.contains(Controller::Freezer) && is_one(node, "freezer.self_freezing")?
    };
    if frozen { Err(Error::Frozen(node.path.clone())) } else { Ok(()) }
}

fn is_one(node: &Node, file: &str) -> Result<bool, Error> {
    match node.dir().and_then(|dir| dir.read(file)) {
        Ok(text) => Ok(text.trim_ascii() == "1"),
        Err(Errno::NOENT | Errno::NODEV) => Ok(false),
        Err(errno) => Err(node.error("reading the freezer state of")(errno)),
    }
}

/// A cgroup below one that has processes and enabled threaded controllers is "domain invalid": it takes processes
/// only as a threaded cgroup, which has no memory or I/O controller.
fn check_type(node: &Node, resources: &Resources) -> Result<(), Error> {
    let dir = node.dir().map_err(node.error("opening"))?;
    // A cgroup with one of these has a parent that gives it, and a parent that gives it is no threaded domain.
    if let Ok(controllers) = dir.read("cgroup.controllers")
        && controllers.split_whitespace().any(|name| matches!(name, "memory" | "io" | "hugetlb" | "rdma"))
    {
        return Ok(());
    }
    let Ok(state) = dir.read("cgroup.type") else { return Ok(()) };
    let state = state.trim_ascii();
    match state {
        "domain" => Ok(()),
        _ if limits::needs_domain(resources) => {
            Err(Error::Threaded { path: node.path.clone(), state: state.to_owned() })
        }
        "domain invalid" => dir.write("cgroup.type", b"threaded").map_err(node.error("making threaded the")),
        _ => Ok(()),
    }
}
