//! Readiness of the container's service: sd_notify(3).
//!
//! A container cannot reach the socket of the host's service manager, and its processes have other ids than the manager
//! knows. So it gets a socket of ours, and what it says of its readiness goes on to the manager's with the id of its first
//! process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use gantry_types::ContainerId;
use gantry_types::oci::{Mount, Process};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, recv, sendto,
    socket_with,
};

use crate::error::Error;
use crate::host::Host;

/// Where the container sees the socket: runc's place.
const IN_CONTAINER: &str = "/run/notify";
const SOCKET: &str = "notify.sock";
/// The longest message that is read.
const MAX_MESSAGE: usize = 4096;

/// The socket that the container writes to.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
}

/// The directory of the socket on the host.
pub(crate) fn directory(host: &Host, id: &ContainerId) -> PathBuf {
    host.root.join(id.as_str()).join("notify")
}

/// Tells the container's process the socket's name.
pub(crate) fn add_to(process: &mut Process) {
    process.env.push(format!("NOTIFY_SOCKET={IN_CONTAINER}/{SOCKET}"));
}

/// The mount of the socket's directory.
pub(crate) fn mount(directory: &Path) -> Mount {
    Mount {
        destination: IN_CONTAINER.to_owned(),
        source: directory.to_string_lossy().into_owned(),
        options: ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec(),
        ..Mount::default()
    }
}

/// Makes the socket's directory.
pub(crate) fn make_directory(directory: &Path) -> Result<(), Error> {
    let named = Error::io(format!("mkdir {}", directory.display()));
    rustix::fs::mkdir(directory, rustix::fs::Mode::from_raw_mode(0o755)).map_err(named)
}

impl Listener {
    /// Makes the socket, to which the container's users may write.
    pub(crate) fn bind(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(SOCKET);
        let named = |call: &str| Error::io(format!("{call} {}", path.display()));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).map_err(named("socket for"))?;
        let address = SocketAddrUnix::new(&path).map_err(named("address"))?;
        bind(&socket, &address).map_err(named("bind"))?;
        rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o777)).map_err(named("chmod"))?;
        Ok(Listener { socket })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Passes on what was written; whether the service is ready now.
    pub(crate) fn forward(&self, manager: &Path, pid: i32) -> Result<bool, Error> {
        let mut message = [0; MAX_MESSAGE];
        while let Ok((len, _)) = recv(&self.socket, &mut message, RecvFlags::empty()) {
            let ready = message[..len.min(MAX_MESSAGE)].split(|&b| b == b'\n').any(|line| line == b"READY=1");
            if ready {
                tell(manager, &format!("READY=1\nMAINPID={pid}\n"))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Passes on until the service is ready or its process has ended.
    pub(crate) fn forward_until_ready(
        &self,
        manager: &Path,
        pid: i32,
        pidfd: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        loop {
            let mut fds =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut fds, None)).map_err(Error::io("poll"))?;
            let ended = !fds[1].revents().is_empty();
            if self.forward(manager, pid)? || ended {
                return Ok(());
            }
        }
    }
}

fn tell(manager: &Path, text: &str) -> Result<(), Error> {
    let named = |call: &str| Error::io(format!("NOTIFY_SOCKET: {call} {}", manager.display()));
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(named("socket for"))?;
    // systemd may listen in the abstract name space, which it writes with an @.
    let bytes = manager.as_os_str().as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name),
        None => SocketAddrUnix::new(manager),
    }
    .map_err(named("address"))?;
    sendto(&socket, text.as_bytes(), SendFlags::NOSIGNAL, &address).map_err(named("send to")).map(drop)
}
