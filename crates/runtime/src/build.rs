//! From a configuration to a plan.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use gantry_cgroup::{CgroupSpec, Hierarchy};
use gantry_sys::Errno;
use gantry_types::oci::{IdMapping, Linux, Mount, Seccomp, Spec};
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::config::Bundle;
use crate::error::Error;
use crate::host::Host;
use crate::plan::identity::ProcessPlan;
use crate::plan::mounts::{
    self, CgroupMount, LegacyHierarchy, MAX_MOUNTS, MountContext, Parameter, settle_tree,
};
use crate::plan::namespaces::{NEWCGROUP, NEWNS, NEWPID, NEWUSER, NEWUTS, NamespacePlan, is_single};
use crate::plan::options::MountOptions;
use crate::plan::rootfs::{self, Entry, RootfsPlan};
use crate::plan::{Gate, HookOutput, HookPlan, Plan, c_string};
use crate::seccomp::Program;
use crate::state::ExecDefaults;

/// How the process of a container is made, beyond its configuration.
#[derive(Debug, Default)]
pub(crate) struct Choices {
    /// The root as a mount that is attached nowhere; otherwise it is the directory.
    pub(crate) root: Option<OwnedFd>,
    pub(crate) no_pivot: bool,
    pub(crate) no_new_keyring: bool,
    pub(crate) preserve_fds: u32,
}

/// Where a seccomp listener goes.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) path: PathBuf,
    pub(crate) metadata: String,
}

/// A plan, and what its parent must know besides.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) plan: Plan,
    pub(crate) listener: Option<Listener>,
    pub(crate) rootfs: PathBuf,
    pub(crate) exec: ExecDefaults,
    pub(crate) net_devices: Vec<crate::netdev::NetDevicePlan>,
}

/// Builds the plan of a container's first process.
pub(crate) fn container(
    host: &Host,
    id: &str,
    bundle: &Bundle,
    choices: Choices,
    cgroups: (&Hierarchy, &CgroupSpec),
) -> Result<Built, Error> {
    let spec = &bundle.spec;
    check_version(&spec.oci_version)?;
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    let process = spec.process.as_ref().ok_or_else(|| Error::config("process", "must be set"))?;
    let mut namespaces = NamespacePlan::prepare(linux)?;
    // Root of a user namespace cannot come back from another pid namespace: its own belongs to the host.
    namespaces.intermediate |= host.in_user_namespace && namespaces.join_pid.is_some();
    let own = namespaces.new | namespaces.joined;
    let private_pids = namespaces.new & NEWPID != 0;
    let traceable = own & NEWUSER == 0 && (may_trace(spec.process.as_ref()) || !private_pids);
    let mut plan = ProcessPlan::prepare(process)?;
    plan.tell(&host.notices);
    warn_of_ambient(host, &plan);
    let (seccomp, listener) = seccomp(host, linux, &spec.annotations)?;
    plan.seccomp = seccomp;
    if let Some(program) = &plan.seccomp {
        host.notices.debug(format_args!("seccomp filter flags: {}", program.flags));
    }
    plan.keyring = (!choices.no_new_keyring).then(|| c_string(&format!("_ses.{id}"), "id")).transpose()?;
    plan.personality = linux.personality.as_ref().map(crate::sched::personality).transpose()?;
    plan.memory_policy = linux.memory_policy.as_ref().map(crate::sched::memory_policy).transpose()?;
    plan.preserve_fds = choices.preserve_fds;
    if keeps_groups(spec) {
        plan.groups = None;
    } else if denies_groups(&namespaces, host) && plan.groups.take().is_some_and(|groups| !groups.is_empty())
    {
        return Err(Error::config(
            "process.user.additionalGids",
            "cannot set any additional groups in a user namespace that has a single one",
        ));
    }
    let new_keyring = !choices.no_new_keyring;
    let exec = ExecDefaults {
        namespaces: own,
        user_namespace: own & NEWUSER != 0,
        pid_namespace: own & NEWPID != 0,
        traceable,
        new_keyring,
        personality: plan.personality,
    };
    let (rootfs_path, rootfs) = rootfs_plan(bundle, linux, &namespaces, choices, cgroups)?;
    let hooks = spec.hooks.clone().unwrap_or_default();
    let create_container_hooks = HookPlan::prepare(&hooks.create_container, "createContainer", None)?;
    let start_container_hooks =
        HookPlan::prepare(&hooks.start_container, "startContainer", Some(&process.env))?;
    let hooks_inside = !create_container_hooks.is_empty() || !start_container_hooks.is_empty();
    let own_uts = own & NEWUTS != 0;
    let net_devices = crate::netdev::prepare(linux, own, host.rootless)?;
    let plan = Plan {
        hostname: name(&spec.hostname, "hostname", own_uts)?,
        domainname: name(&spec.domainname, "domainname", own_uts)?,
        hook_output: hooks_inside.then(|| HookOutput::prepare(&spec.annotations)).transpose()?,
        create_container_hooks,
        start_container_hooks,
        runtime_hooks: !(hooks.prestart.is_empty() && hooks.create_runtime.is_empty()),
        rootfs: Some(rootfs),
        namespaces,
        process: plan,
        gate: Gate::Socket,
        await_cgroup: false,
        entrances: Vec::new(),
        traceable,
        leaves_binary: false,
        failpoint: crate::failpoint::Failpoint::from_environment(),
    };
    Ok(Built { plan, listener, rootfs: rootfs_path, exec, net_devices })
}

/// The root of a container that exists, for checkpoint: which of its mounts are the host's.
pub(crate) fn rootfs_of(bundle: &Bundle, cgroups: (&Hierarchy, &CgroupSpec)) -> Result<RootfsPlan, Error> {
    let none = Linux::default();
    let linux = bundle.spec.linux.as_ref().unwrap_or(&none);
    let namespaces = NamespacePlan::prepare(linux)?;
    rootfs_plan(bundle, linux, &namespaces, Choices::default(), cgroups).map(|(_, plan)| plan)
}

/// Whether a process may trace others of its user namespace.
pub(crate) fn may_trace(process: Option<&gantry_types::oci::Process>) -> bool {
    const NAME: &str = "CAP_SYS_PTRACE";
    let capabilities = process.and_then(|process| process.capabilities.as_ref());
    capabilities.is_some_and(|sets| {
        [&sets.bounding, &sets.permitted, &sets.effective]
            .iter()
            .any(|set| set.iter().any(|name| name == NAME))
    })
}

/// Ambient capabilities must be permitted and inheritable, too: capabilities(7). Others are left out, as in runc.
fn warn_of_ambient(host: &Host, plan: &ProcessPlan) {
    let Some(sets) = plan.capabilities else { return };
    let refused = sets.ambient & !(sets.permitted & sets.inheritable);
    for (number, name) in crate::plan::identity::CAPABILITIES.iter().enumerate() {
        if refused & 1 << number != 0 {
            host.notices.warn(format_args!("can't raise ambient capability {name}: operation not permitted"));
        }
    }
}

/// Versions 1.x of the specification, as runc checks them.
pub(crate) fn check_version(version: &str) -> Result<(), Error> {
    let mut parts = version.splitn(3, '.');
    let number = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok());
    match (number(parts.next()), number(parts.next()), parts.next()) {
        (Some(1), Some(_), Some(patch)) if patch.starts_with(|c: char| c.is_ascii_digit()) => Ok(()),
        _ => Err(Error::config(
            "ociVersion",
            format!("{version:?} is not a version 1.x of the runtime specification"),
        )),
    }
}

/// A name for sethostname(2) or setdomainname(2).
pub(crate) fn name(text: &str, field: &str, own_uts: bool) -> Result<Option<Vec<u8>>, Error> {
    const MAX_NAME: usize = 64;
    if text.is_empty() {
        return Ok(None);
    }
    if !own_uts {
        return Err(Error::config(field, format!("unable to set {field} without a private UTS namespace")));
    }
    if text.len() > MAX_NAME || text.contains(['\0', '\n']) {
        return Err(Error::config(field, format!("not a name of at most {MAX_NAME} bytes")));
    }
    Ok(Some(text.as_bytes().to_vec()))
}

/// Whether setgroups(2) will be denied: in a user namespace that an ordinary user maps one id into.
fn denies_groups(namespaces: &NamespacePlan, host: &Host) -> bool {
    host.rootless && namespaces.new & NEWUSER != 0 && is_single(&namespaces.gid_map)
}

/// crun's annotation for podman's `--group-add keep-groups`.
fn keeps_groups(spec: &Spec) -> bool {
    spec.annotations.get("run.oci.keep_original_groups").is_some_and(|value| value == "1")
}

/// The filter, from the cache where it has been compiled before.
pub(crate) fn seccomp(
    host: &Host,
    linux: &Linux,
    annotations: &BTreeMap<String, String>,
) -> Result<(Option<Program>, Option<Listener>), Error> {
    let Some(raw) = &linux.seccomp else { return Ok((None, None)) };
    let text = raw.get();
    if text.trim() == "null" {
        return Ok((None, None));
    }
    if annotations.contains_key("run.oci.seccomp_fail_unknown_syscall") {
        let profile: Seccomp = crate::config::parse_json(text.as_bytes(), "linux.seccomp")?;
        if let Some(name) = crate::seccomp::unknown_syscalls(&profile).next() {
            return Err(Error::config("linux.seccomp.syscalls", format!("unknown system call {name:?}")));
        }
    }
    let (program, profile) = crate::seccomp_profile::program(host, text)?;
    if program.instructions.is_empty() {
        return Ok((None, None));
    }
    let listener = if program.listener {
        let profile = match profile {
            Some(profile) => profile,
            None => crate::config::parse_json::<Seccomp>(text.as_bytes(), "linux.seccomp")?,
        };
        // crun's annotation stands in for a path that the engine's profile lacks.
        let receiver = annotations.get("run.oci.seccomp.receiver").cloned().unwrap_or_default();
        let path = if profile.listener_path.is_empty() { receiver } else { profile.listener_path };
        if path.is_empty() {
            return Err(Error::config(
                "linux.seccomp.listenerPath",
                "must be set when SCMP_ACT_NOTIFY is used",
            ));
        }
        Some(Listener { path: path.into(), metadata: profile.listener_metadata })
    } else {
        None
    };
    Ok((Some(program), listener))
}

fn rootfs_plan(
    bundle: &Bundle,
    linux: &Linux,
    namespaces: &NamespacePlan,
    choices: Choices,
    cgroups: (&Hierarchy, &CgroupSpec),
) -> Result<(PathBuf, RootfsPlan), Error> {
    let spec = &bundle.spec;
    let root = spec.root.as_ref().ok_or_else(|| Error::config("root", "must be set"))?;
    let path = bundle.path.join(&root.path);
    let path = path.canonicalize().map_err(|error| {
        Error::io(format!("root.path: invalid rootfs {}", path.display()))(crate::config::errno(&error))
    })?;
    if !path.is_dir() {
        return Err(Error::config(
            "root.path",
            format!("invalid rootfs: {} is not a directory", path.display()),
        ));
    }
    if path == Path::new("/") {
        return Err(Error::config("root.path", "the host's root cannot be a container's"));
    }
    if spec.mounts.len() > MAX_MOUNTS {
        return Err(Error::config(
            "mounts",
            format!("{} mounts are more than {MAX_MOUNTS}", spec.mounts.len()),
        ));
    }
    let own = namespaces.new | namespaces.joined;
    let (host_propagation, root_propagation) = rootfs::root_propagation(linux)?;
    let default_propagation = rootfs::bind_propagation(root_propagation);
    let c_path = c_string(&path.to_string_lossy(), "root.path")?;
    let has_mount_namespace = own & NEWNS != 0;
    let tree = match choices.root {
        Some(tree) if has_mount_namespace => {
            settle_tree(&tree, true, Some(host_propagation))
                .map_err(Error::io("mount_setattr of the root"))?;
            Some(tree)
        }
        _ if has_mount_namespace => open_root(&c_path, host_propagation)?,
        _ => None,
    };
    let own_maps = if namespaces.new & NEWUSER != 0 {
        (&namespaces.uid_map, &namespaces.gid_map)
    } else {
        (&linux.uid_mappings, &linux.gid_mappings)
    };
    let joined_user = namespaces.join.iter().find(|join| join.flag == NEWUSER);
    let mut id_maps =
        |mount: &Mount, options: &MountOptions| id_map_namespace(mount, options, own_maps, joined_user);
    let own_cgroup = own & NEWCGROUP != 0;
    let cgroup = || cgroup_mount(cgroups.0, cgroups.1, own_cgroup);
    let mut context = MountContext {
        bundle: &bundle.path,
        root: &path,
        mount_label: &linux.mount_label,
        label_option: label_option(&spec.annotations)?,
        default_propagation,
        user_namespace: own & NEWUSER != 0,
        id_maps: &mut id_maps,
        cgroup: &cgroup,
    };
    let mut mounts = Vec::with_capacity(spec.mounts.len());
    for (index, mount) in spec.mounts.iter().enumerate() {
        mounts.push(mounts::prepare(index, mount, &mut context)?);
    }
    let fills_dev = !mounts.iter().any(|mount| {
        mount.target.as_bytes() == b"/dev"
            && matches!(mount.kind, mounts::MountKind::Bind { .. } | mounts::MountKind::Link(_))
    });
    let readonly_dev = mounts.iter_mut().filter(|_| fills_dev).any(take_readonly_dev);
    let plan = RootfsPlan {
        path: c_path,
        readonly_dev,
        tree,
        host_propagation,
        root_propagation,
        mounts,
        entry: if !has_mount_namespace {
            Entry::Chroot
        } else if choices.no_pivot {
            Entry::Move
        } else {
            Entry::Pivot
        },
        readonly: root.readonly,
        fills_dev,
        devices: if own & NEWUSER == 0 { rootfs::devices(linux)? } else { host_nodes(linux, own_maps)? },
        masked: rootfs::paths(&linux.masked_paths, "linux.maskedPaths")?,
        readonly_paths: rootfs::paths(&linux.readonly_paths, "linux.readonlyPaths")?,
        sysctls: rootfs::sysctls(spec, linux, own)?,
        mount_label: (!linux.mount_label.is_empty())
            .then(|| c_string(&linux.mount_label, "linux.mountLabel"))
            .transpose()?,
    };
    let restricts = !plan.masked.is_empty() || !plan.readonly_paths.is_empty();
    if restricts && !has_mount_namespace {
        return Err(Error::config(
            "linux.maskedPaths",
            "unable to restrict sys entries without a private MNT namespace",
        ));
    }
    Ok((path, plan))
}

/// Adds a bind mount of the runtime's own to a plan.
pub(crate) fn add_bind(plan: &mut Plan, mount: &Mount) -> Result<(), Error> {
    let Some(rootfs) = &mut plan.rootfs else { return Ok(()) };
    let refuse = || Error::Unsupported("a mount of the runtime's own is plain".into());
    let path = PathBuf::from(rootfs.path.to_string_lossy().into_owned());
    let mut context = MountContext {
        bundle: Path::new("/"),
        root: &path,
        mount_label: "",
        label_option: "context",
        default_propagation: rootfs::bind_propagation(rootfs.root_propagation),
        user_namespace: false,
        id_maps: &mut |_, _| Err(refuse()),
        cgroup: &|| Err(refuse()),
    };
    rootfs.mounts.push(mounts::prepare(rootfs.mounts.len(), mount, &mut context)?);
    Ok(())
}

/// Takes the attribute read-only from a mount at /dev; whether it had it.
fn take_readonly_dev(mount: &mut mounts::MountPlan) -> bool {
    let file_system = matches!(mount.kind, mounts::MountKind::FileSystem { .. });
    let readonly = file_system
        && mount.target.as_bytes() == b"/dev"
        && mount.attributes.set & gantry_sys::mount::ATTR_RDONLY != 0;
    if readonly {
        mount.attributes.set &= !gantry_sys::mount::ATTR_RDONLY;
    }
    readonly
}

/// The option by which a mount gets its SELinux label: mount(8), crun's annotation.
pub(crate) fn label_option(annotations: &BTreeMap<String, String>) -> Result<&'static str, Error> {
    const NAME: &str = "run.oci.mount_context_type";
    const OPTIONS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];
    let Some(value) = annotations.get(NAME) else { return Ok(OPTIONS[0]) };
    OPTIONS.into_iter().find(|option| option == value).ok_or_else(|| {
        Error::config(format!("annotations.{NAME}"), format!("{value:?} is none of {}", OPTIONS.join(", ")))
    })
}

/// The device nodes of a user namespace, where mknod(2) is refused.
fn host_nodes(
    linux: &Linux,
    maps: (&Vec<IdMapping>, &Vec<IdMapping>),
) -> Result<Vec<rootfs::DevicePlan>, Error> {
    let mut devices = rootfs::devices(linux)?;
    crate::plan::nodes::open(&mut devices, maps);
    Ok(devices)
}

/// The root as a detached tree that shares nothing with the host.
fn open_root(path: &std::ffi::CStr, propagation: u64) -> Result<Option<OwnedFd>, Error> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let named = || format!("root.path: open_tree {}", path.to_string_lossy());
    match open_tree(CWD, path, flags) {
        Ok(tree) => {
            settle_tree(&tree, true, Some(propagation)).map_err(Error::io(named()))?;
            Ok(Some(tree))
        }
        Err(Errno::PERM) => Ok(None),
        Err(errno) => Err(Error::io(named())(errno)),
    }
}

/// The user namespace of an id-mapped mount: with mappings of its own, or with the container's.
fn id_map_namespace(
    mount: &Mount,
    options: &MountOptions,
    own: (&Vec<IdMapping>, &Vec<IdMapping>),
    joined: Option<&crate::plan::namespaces::Join>,
) -> Result<OwnedFd, Error> {
    if let Some(text) = &options.id_map_text {
        let (uid, gid) = crate::idmap::parse_option(text, own)?;
        return crate::idmap::namespace_with(&uid, &gid);
    }
    // Most are mapped as the container is, whose namespace is at hand where it is joined.
    let is_own = joined.is_some() && (&mount.uid_mappings, &mount.gid_mappings) == own;
    match (mount.uid_mappings.is_empty() || is_own, mount.gid_mappings.is_empty() || is_own) {
        (false, false) => crate::idmap::namespace_with(&mount.uid_mappings, &mount.gid_mappings),
        (true, true) => match joined {
            Some(join) => join.fd.try_clone().map_err(|error| {
                Error::io("duplicate the user namespace's descriptor")(crate::config::errno(&error))
            }),
            None => crate::idmap::namespace_with(own.0, own.1),
        },
        _ => Err(Error::config("mounts[].uidMappings", "uidMappings and gidMappings go together")),
    }
}

/// What the container sees at its cgroup mount.
fn cgroup_mount(hierarchy: &Hierarchy, spec: &CgroupSpec, own_namespace: bool) -> Result<CgroupMount, Error> {
    let path = |mount: &gantry_cgroup::Mount| -> Result<PathBuf, Error> {
        let target = spec.targets.iter().find(|target| target.controllers == mount.controllers);
        Ok(match target {
            Some(target) => target.mount.join(&target.path),
            None => mount.point.join(hierarchy.own(mount).map_err(gantry_cgroup::Error::from)?),
        })
    };
    if hierarchy.mode() == gantry_cgroup::Mode::V2 {
        let mount = hierarchy
            .mounts()
            .first()
            .ok_or_else(|| Error::Unsupported("no cgroup hierarchy is mounted".into()))?;
        // Without a namespace of its own the container sees what the host sees.
        let source = if own_namespace { path(mount)? } else { mount.point.clone() };
        return Ok(CgroupMount::Unified {
            fallback: c_string(&source.to_string_lossy(), "linux.cgroupsPath")?,
        });
    }
    let mut hierarchies = Vec::new();
    let mut links = Vec::new();
    for mount in hierarchy.mounts() {
        let Some(name) = mount.point.file_name().and_then(|name| name.to_str()) else { continue };
        let unified = mount.controllers.is_unified();
        let names: Vec<&str> = mount.controllers.iter().map(gantry_cgroup::Controller::as_str).collect();
        for controller in names.iter().filter(|controller| names.len() > 1 && **controller != name) {
            links.push((c_string(controller, "cgroup")?, c_string(name, "cgroup")?));
        }
        hierarchies.push(LegacyHierarchy {
            name: c_string(name, "cgroup")?,
            parameters: if unified { Vec::new() } else { controller_parameters(&names)? },
            fstype: if unified { c"cgroup2" } else { c"cgroup" },
            bind_source: c_string(&path(mount)?.to_string_lossy(), "linux.cgroupsPath")?,
        });
    }
    Ok(CgroupMount::Legacy { hierarchies, links, own_namespace })
}

fn controller_parameters(names: &[&str]) -> Result<Vec<Parameter>, Error> {
    let mut parameters = vec![Parameter { key: c"source".to_owned(), value: Some(c"cgroup".to_owned()) }];
    for name in names {
        match name.strip_prefix("name=") {
            Some(name) => {
                parameters.push(Parameter { key: c"none".to_owned(), value: None });
                parameters
                    .push(Parameter { key: c"name".to_owned(), value: Some(c_string(name, "cgroup")?) });
            }
            None => parameters.push(Parameter { key: c_string(name, "cgroup")?, value: None }),
        }
    }
    Ok(parameters)
}
