//! `start`: finds the group's shim, or becomes one.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use gantry_proto_shim::options::{GenericOptions, Options};
use gantry_sys::clone::{CloneArgs, spawn};
use gantry_sys::{process, seal};
use gantry_types::ErrorKind;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use crate::bootstrap::{Bootstrap, MAX_INPUT_BYTES};
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::options::RuntimeOptions;
use crate::place::{Place, Taken, group, make_directory};
use crate::pod::{Identity, Pod};

/// How many clients may wait to be connected.
const BACKLOG: i32 = 128;

/// Starts a shim for the bundle in the working directory, and gives back what to print.
///
/// # Errors
/// InvalidArgument for a damaged configuration; what making the socket gives.
///
/// # Privilege
/// Root.
pub fn start(invocation: &Invocation) -> Result<String, Failure> {
    seal_self()?;
    let mut input = Vec::new();
    if !rustix::termios::isatty(rustix::stdio::stdin()) {
        std::io::stdin()
            .take(MAX_INPUT_BYTES)
            .read_to_end(&mut input)
            .map_err(Failure::io("read the standard input"))?;
    }
    let bootstrap = Bootstrap::decode(&input, invocation)?;
    let bundle = std::env::current_dir().map_err(Failure::io("the working directory"))?;
    let sockets = match &bootstrap {
        Bootstrap::Params(params) => params.socket_dir.as_deref(),
        _ => None,
    };
    let group = match group(&bundle, &invocation.id) {
        // The bundle of a sandbox has no configuration.
        Err(failure) if failure.kind == ErrorKind::NotFound && bootstrap.version() >= 3 => {
            invocation.id.clone()
        }
        group => group?,
    };
    let place = Place::of(&invocation.address, &invocation.namespace, &group, sockets);
    let answer = answer(&bootstrap, &place);
    if bootstrap.version() < 3 {
        // Where containerd 1.6 looks for the shim when it comes back; newer ones write what they need themselves.
        crate::pod::replace(&bundle.join("address"), place.address().as_bytes())?;
    }
    let lock = match place.take()? {
        Taken::Served => return Ok(answer),
        Taken::Ours(lock) => lock,
    };
    let listener = listener(&place.socket)?;
    share_cores()?;
    let identity = Identity {
        namespace: invocation.namespace.clone(),
        socket: place.socket,
        directory: place.directory,
        events: events_address(&bootstrap),
        bundle,
        options: options(&bootstrap),
        debug: invocation.debug,
    };
    become_shim(identity, listener, lock)?;
    Ok(answer)
}

/// Sees to it that containers never see a binary that they could write to (CVE-2019-5736). First of all, because the last
/// resort executes the binary anew.
pub(crate) fn seal_self() -> Result<(), Failure> {
    if seal::is_sealed().map_err(Failure::call("/proc/self/exe"))? || seal::seal_in_place().is_ok() {
        return Ok(());
    }
    match seal::exec_sealed_copy() {
        Err(errno) => Err(Failure::call("execute a sealed copy of the shim")(errno)),
    }
}

/// Gives the pod cores of its own, if the daemon says so: the shim inherits it, and so do its containers.
pub(crate) fn share_cores() -> Result<(), Failure> {
    if std::env::var_os("SCHED_CORE").is_some_and(|value| !value.is_empty()) {
        gantry_sys::sched::create_core_cookie().map_err(Failure::call("core scheduling (SCHED_CORE)"))?;
    }
    Ok(())
}

/// What the daemon is told: JSON, or the bare address for one that is too old for that (containerd 1.6), which sets no
/// `MAX_SHIM_VERSION`.
fn answer(bootstrap: &Bootstrap, place: &Place) -> String {
    let (version, address) = (bootstrap.version(), place.address());
    if version < 3 && std::env::var_os("MAX_SHIM_VERSION").is_none() {
        return address;
    }
    format!(r#"{{"version":{version},"address":"{address}","protocol":"ttrpc"}}"#)
}

/// The daemon's socket for events.
pub(crate) fn events_address(bootstrap: &Bootstrap) -> String {
    let given = match bootstrap {
        Bootstrap::Params(params) => params.containerd_ttrpc_address.clone(),
        _ => String::new(),
    };
    if given.is_empty() { std::env::var("TTRPC_ADDRESS").unwrap_or_default() } else { given }
}

/// The runtime options that came with the start. Broken ones are refused by the call that needs them.
pub(crate) fn options(bootstrap: &Bootstrap) -> RuntimeOptions {
    let given = match bootstrap {
        Bootstrap::None => None,
        Bootstrap::Options(any) => Some(any),
        Bootstrap::Params(params) => {
            let values = params.extensions.iter().filter_map(|extension| extension.value.as_ref());
            values.into_iter().find(|any| any.is::<Options>() || any.is::<GenericOptions>())
        }
    };
    RuntimeOptions::decode(given).unwrap_or_default()
}

/// Makes the socket, in the place of one that nobody serves.
fn listener(path: &Path) -> Result<OwnedFd, Failure> {
    let named = |call: &str| Failure::call(format!("{call} {}", path.display()));
    if let Some(directory) = path.parent() {
        make_directory(directory, 0o700)?;
    }
    match rustix::fs::unlink(path) {
        Ok(()) | Err(gantry_sys::Errno::NOENT) => {}
        Err(errno) => return Err(named("unlink")(errno)),
    }
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(named("socket"))?;
    let address = SocketAddrUnix::new(path).map_err(named("address"))?;
    // Never in the abstract name space, and for our own user alone (CVE-2020-15257).
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = bind(&socket, &address);
    rustix::process::umask(before);
    bound.map_err(named("bind"))?;
    listen(&socket, BACKLOG).map_err(named("listen"))?;
    Ok(socket)
}

/// Forks the shim, which lives on without its starter.
fn become_shim(identity: Identity, listener: OwnedFd, lock: OwnedFd) -> Result<(), Failure> {
    let null = openat(CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(Failure::call("open /dev/null"))?;
    let child = || {
        let _ = rustix::process::setsid();
        let _ = rustix::process::chdir(c"/");
        for number in 0..3 {
            let _ = process::dup_onto(null.as_fd(), number);
        }
        drop(null);
        raise_oom_score();
        join_cgroup(&identity.options.shim_cgroup);
        i32::from(Pod::open(identity, listener, lock).map(Pod::live).is_err())
    };
    spawn(&CloneArgs::default(), child).map(drop).map_err(Failure::call("clone3"))
}

/// The kernel's choice falls on the shim before the daemon, as containerd arranges it.
pub(crate) fn raise_oom_score() {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let Ok(file) = openat(CWD, c"/proc/self/oom_score_adj", flags, Mode::empty()) else { return };
    let mut text = [0; 16];
    let score = rustix::io::read(&file, &mut text[..])
        .ok()
        .and_then(|len| std::str::from_utf8(&text[..len]).ok()?.trim().parse::<i32>().ok());
    if let Some(score) = score {
        let _ = rustix::io::pwrite(&file, (score + 1).min(1000).to_string().as_bytes(), 0);
    }
}

/// Moves to the cgroup that the options name; where there is none, the shim stays where it is.
pub(crate) fn join_cgroup(path: &str) {
    if path.is_empty() {
        return;
    }
    let Ok(hierarchy) = gantry_cgroup::Hierarchy::detect() else { return };
    for mount in hierarchy.mounts() {
        let directory = mount.point.join(path.trim_start_matches('/'));
        if std::fs::create_dir_all(&directory).is_ok() {
            let _ = std::fs::write(directory.join("cgroup.procs"), "0");
        }
    }
}
