use std::collections::BTreeMap;

use gantry_types::oci::{Linux, Process, Root, Spec};

use crate::error::at_most;
use crate::host::Host;
use crate::namespaces::{Network, Uts};
use crate::options::Options;
use crate::process::{INIT_PATH, Terminal};
use crate::{
    Error, capabilities, cdi, devices, exec, mounts, namespaces, paths, process, resources, seccomp, sysctl,
};

/// The version of runtime-spec that the configurations follow: nothing newer is in them, and older runtimes refuse newer
/// ones.
pub const SPEC_VERSION: &str = "1.1.0";

/// The longest host name: HOST_NAME_MAX.
const MAX_HOSTNAME_BYTES: usize = 64;
/// The most annotations.
const MAX_ANNOTATIONS: usize = 4096;
/// The AppArmor profile that is none.
const UNCONFINED: &str = "unconfined";
/// Annotations that turn into properties of systemd's unit (CVE-2024-3154): not for clients to give.
const SYSTEMD_PROPERTY: &str = "org.systemd.property.";

/// Makes the configuration of a container.
///
/// # Errors
/// [`Error`]: options that mean nothing, exclude each other, or ask for what the host does not give.
pub fn generate(options: &Options, host: &Host) -> Result<Spec, Error> {
    conflicts(options)?;
    let bounding = capabilities(&options.confinement, host)?;
    let mut linux = linux(options, host, &bounding)?;
    let mounts = mounts::apply(options, host, &mut linux)?;
    let mut spec = Spec {
        oci_version: SPEC_VERSION.to_owned(),
        root: Some(Root { path: root(options)?, readonly: options.read_only_root }),
        hostname: hostname(options)?,
        process: Some(process(options, host, bounding)?),
        mounts,
        annotations: annotations(options)?,
        linux: Some(linux),
        ..Spec::default()
    };
    cdi::apply(&mut spec, &options.cdi);
    Ok(spec)
}

/// What docker refuses, and what would be a hole.
fn conflicts(options: &Options) -> Result<(), Error> {
    let namespaces = &options.namespaces;
    let refuse =
        |first, second| Err(Error::Conflict { first, second, hint: ": ask for the host's user namespace" });
    if !namespaces.user.is_host() {
        if options.confinement.privileged {
            return refuse("a privileged container", "a user namespace");
        }
        if namespaces.network == Network::Host {
            return refuse("the host's network", "a user namespace");
        }
        if namespaces.pid == crate::Pid::Host {
            return refuse("the host's processes", "a user namespace");
        }
        if options.writable_cgroups.is_some() {
            return refuse("writable cgroups", "a user namespace");
        }
    }
    Ok(())
}

fn root(options: &Options) -> Result<String, Error> {
    let path = if options.root.is_empty() { "rootfs" } else { &options.root };
    if path.contains('\0') {
        return Err(Error::invalid("root", path, "it contains a zero byte"));
    }
    Ok(path.to_owned())
}

fn hostname(options: &Options) -> Result<String, Error> {
    let bad = |name: &str| {
        name.len() > MAX_HOSTNAME_BYTES
            || name.chars().any(|c| c.is_control() || c.is_whitespace() || c == '/')
    };
    for (field, name) in [("host name", &options.hostname), ("domain name", &options.domainname)] {
        if bad(name) {
            return Err(Error::invalid(
                field,
                name,
                "it has at most 64 bytes, and neither spaces nor slashes",
            ));
        }
    }
    // Only what is the container's own can be named.
    Ok(if options.namespaces.uts == Uts::Private { options.hostname.clone() } else { String::new() })
}

fn process(options: &Options, host: &Host, bounding: Vec<String>) -> Result<Process, Error> {
    let terminal = if options.tty { Terminal::Attached } else { Terminal::None };
    let env = process::process_env(&options.env, &options.hostname, terminal);
    process::check_env(&env)?;
    let wanted = &options.confinement;
    Ok(Process {
        terminal: options.tty,
        console_size: if options.tty { exec::size(&options.console_size) } else { None },
        user: exec::identity(&options.user, &options.group_add)?,
        args: args(options)?,
        env,
        cwd: exec::directory(&options.cwd)?,
        capabilities: Some(capabilities::sets(bounding)),
        rlimits: process::rlimits(&options.ulimits, host)?,
        no_new_privileges: wanted.no_new_privileges,
        apparmor_profile: apparmor(options, host)?,
        oom_score_adj: Some(process::oom_score_adj(options.oom_score_adj, host)?),
        selinux_label: wanted.process_label.clone(),
        ..Process::default()
    })
}

fn args(options: &Options) -> Result<Vec<String>, Error> {
    process::check_strings("arguments", &options.args)?;
    if options.args.is_empty() {
        return Err(Error::NoCommand);
    }
    let init = options.init.is_some() && options.namespaces.pid.is_private();
    let before: &[&str] = if init { &[INIT_PATH, "--"] } else { &[] };
    Ok(before.iter().map(|word| (*word).to_owned()).chain(options.args.iter().cloned()).collect())
}

fn apparmor(options: &Options, host: &Host) -> Result<String, Error> {
    // Without AppArmor a name is ignored, as it is by docker.
    let Some(default) = &host.apparmor else { return Ok(String::new()) };
    let wanted = &options.confinement;
    let profile = match &wanted.apparmor {
        Some(name) if !name.is_empty() => name,
        _ if wanted.privileged => UNCONFINED,
        _ => default,
    };
    // Written to a file of procfs, behind a word of ours.
    if profile.contains(['\0', '\n']) {
        return Err(Error::invalid("AppArmor profile", profile, "it contains a line break"));
    }
    Ok(profile.to_owned())
}

fn annotations(options: &Options) -> Result<BTreeMap<String, String>, Error> {
    at_most("annotations", options.annotations.len(), MAX_ANNOTATIONS)?;
    for key in options.annotations.keys() {
        if key.is_empty() {
            return Err(Error::invalid("annotation", key, "it has no name"));
        }
        if key.starts_with(SYSTEMD_PROPERTY) {
            return Err(Error::invalid(
                "annotation",
                key,
                "properties of the unit are not for containers to set",
            ));
        }
    }
    Ok(options.annotations.clone())
}

fn linux(options: &Options, host: &Host, bounding: &[String]) -> Result<Linux, Error> {
    let (masked_paths, readonly_paths) = paths::of(&options.confinement, host)?;
    let (nodes, rules) = devices::of(options, host)?;
    let mut limits = resources::resources(&options.resources)?;
    limits.devices = rules;
    let mut linux = Linux {
        sysctl: sysctl::of(options, host)?,
        resources: Some(limits),
        cgroups_path: cgroups_path(options)?,
        devices: nodes,
        seccomp: seccomp::of(&options.confinement, host, bounding).map_err(Error::Seccomp)?,
        masked_paths,
        readonly_paths,
        mount_label: options.confinement.mount_label.clone(),
        ..Linux::default()
    };
    namespaces::apply(&mut linux, &options.namespaces)?;
    Ok(linux)
}

/// CVE-2025-47291 and its like: a path never leaves the place that it is given.
fn cgroups_path(options: &Options) -> Result<String, Error> {
    let path = &options.cgroups_path;
    if path.contains(['\0', '\n']) || path.split(['/', ':']).any(|part| part == "..") {
        return Err(Error::invalid("cgroup path", path, "it has \"..\", a zero byte or a line break"));
    }
    Ok(path.clone())
}
