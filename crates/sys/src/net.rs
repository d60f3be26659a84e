//! The little of networking that a runtime does itself.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::syscall::check;

/// Brings the loopback interface of the caller's network namespace up: SIOCSIFFLAGS of netdevice(7).
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` over the network namespace.
pub fn loopback_up() -> Result<(), Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: ifreq is plain data for which all zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request reads one ifreq, which is live and names its interface with a NUL at the end.
    check(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into())
        .map(drop)
}

/// The most groups of a peer that are asked for (NGROUPS_MAX of limits.h).
const MAX_GROUPS: usize = 65536;

/// The supplementary groups that the other end of a connected Unix socket had when it connected: SO_PEERGROUPS of unix(7), Linux 4.13.
///
/// # Errors
/// `ENODATA` for a socket that is not connected.
pub fn peer_groups(socket: impl AsFd) -> Result<Vec<u32>, Errno> {
    let mut groups = vec![0_u32; 64];
    loop {
        let mut bytes = (groups.len() * size_of::<u32>()) as libc::socklen_t;
        // SAFETY: the kernel writes at most as many bytes as the vector has, and says how many these were.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / size_of::<u32>();
        match check(result.into()) {
            Ok(_) => {
                groups.truncate(count);
                return Ok(groups);
            }
            // It says how much room there should be.
            Err(Errno::RANGE) if count > groups.len() && count <= MAX_GROUPS => groups.resize(count, 0),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_a_peer_are_those_of_its_process() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut theirs = peer_groups(&one).unwrap();
        let mut ours = crate::process::groups().unwrap();
        theirs.sort_unstable();
        ours.sort_unstable();
        assert_eq!(theirs, ours);
    }
}
