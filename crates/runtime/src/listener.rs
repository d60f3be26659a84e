//! Handing the seccomp listener to its agent: config-linux.md, The Container Process State.

use std::os::fd::{AsFd, OwnedFd};

use gantry_sys::fdpass;
use gantry_types::oci::ContainerProcessState;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::build::Listener;
use crate::error::Error;
use crate::state::{Record, Status};

/// The name of the listener among the descriptors: the specification's.
const FD_NAME: &str = "seccompFd";

/// Sends the listener, with the container's state, to the profile's socket.
pub(crate) fn hand_over(
    listener: &Listener,
    fd: &OwnedFd,
    pid: i32,
    record: &Record,
    status: Status,
) -> Result<(), Error> {
    let state = ContainerProcessState {
        oci_version: record.oci_version.clone(),
        fds: vec![FD_NAME.to_owned()],
        pid,
        metadata: listener.metadata.clone(),
        state: record.oci_state(status),
    };
    let text = serde_json::to_vec(&state).map_err(|error| {
        Error::config("linux.seccomp.listenerMetadata", format!("cannot be written as JSON: {error}"))
    })?;
    let named =
        |call: &str| Error::io(format!("linux.seccomp.listenerPath: {call} {}", listener.path.display()));
    let socket = connect_unix(&listener.path).map_err(Error::io(format!(
        "linux.seccomp.listenerPath: failed to connect with seccomp agent specified in the seccomp profile: {}",
        listener.path.display()
    )))?;
    fdpass::send(socket.as_fd(), &text, &[fd.as_fd()]).map_err(named("send"))
}

/// Connects to a stream socket of the file system.
pub(crate) fn connect_unix(path: &std::path::Path) -> Result<OwnedFd, gantry_sys::Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}
