//! Routing messages to the kernel: rtnetlink(7), netlink(7).
//!
//! Only what a runtime needs to move a network device: messages of a fixed head and attributes, their acknowledgement,
//! and dumps. A socket speaks to the network namespace in which it was made, wherever its owner goes.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

use crate::syscall::received_errno;

/// Bytes of `struct nlmsghdr` and of `struct rtattr`.
const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;
/// The kernel's own bound on one part of a dump is 32 KiB.
const BUFFER: usize = 64 << 10;
/// How many messages a dump may have, by which a kernel that never ends is told from a large one.
const MAX_MESSAGES: usize = 1 << 20;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
/// With [`Request::new`]: make something, which must not exist yet.
pub const CREATE_EXCLUSIVELY: u16 = 0x400 | 0x200;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// A message under construction.
#[derive(Debug, Clone)]
pub struct Request(Vec<u8>);

impl Request {
    /// A message of `kind`, such as `RTM_NEWLINK`, with its fixed part, such as an `ifinfomsg`.
    pub fn new(kind: u16, flags: u16, head: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(head);
        Request(bytes)
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let len = (ATTRIBUTE + value.len()) as u16;
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self, flags: u16) -> Vec<u8> {
        let len = self.0.len() as u32;
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        let flags = u16::from_ne_bytes([self.0[6], self.0[7]]) | flags;
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.0
    }
}

/// A socket to the routing part of the kernel.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens one in the caller's network namespace.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` from kernels without networks.
    pub fn open() -> Result<Self, Errno> {
        // No protocol is number 0, NETLINK_ROUTE.
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).map(Netlink)
    }

    /// The index of a device, by its name: netdevice(7), `SIOCGIFINDEX`.
    ///
    /// # Errors
    /// `ENODEV`.
    pub fn index_of(&self, name: &str) -> Result<u32, Errno> {
        rustix::net::netdevice::name_to_index(&self.0, name)
    }

    /// Sends a request and waits until the kernel has acknowledged it.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn execute(&self, request: Request) -> Result<(), Errno> {
        self.converse(request.finish(NLM_F_ACK), &mut |_| {})
    }

    /// Asks for everything of a kind; gives each message without its header to `each`.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn dump(&self, request: Request, each: &mut dyn FnMut(&[u8])) -> Result<(), Errno> {
        self.converse(request.finish(NLM_F_DUMP), each)
    }

    fn converse(&self, message: Vec<u8>, each: &mut dyn FnMut(&[u8])) -> Result<(), Errno> {
        rustix::io::retry_on_intr(|| send(&self.0, &message, SendFlags::empty()))?;
        let mut buffer = vec![0u8; BUFFER];
        for _ in 0..MAX_MESSAGES {
            let (len, full) =
                rustix::io::retry_on_intr(|| recv(&self.0, buffer.as_mut_slice(), RecvFlags::TRUNC))?;
            if full > len {
                return Err(Errno::MSGSIZE);
            }
            if read_datagram(&buffer[..len], each)? {
                return Ok(());
            }
        }
        Err(Errno::OVERFLOW)
    }
}

/// Reads the messages of one datagram; whether they were the last.
fn read_datagram(mut rest: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<bool, Errno> {
    while rest.len() >= HEADER {
        let len = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        if len < HEADER || len > rest.len() {
            return Err(Errno::BADMSG);
        }
        let payload = &rest[HEADER..len];
        match u16::from_ne_bytes([rest[4], rest[5]]) {
            NLMSG_ERROR => return answer(payload).map(|()| true),
            NLMSG_DONE if payload.is_empty() => return Ok(true),
            NLMSG_DONE => return answer(payload).map(|()| true),
            _ => each(payload),
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// The negative errno at the head of an acknowledgement.
fn answer(payload: &[u8]) -> Result<(), Errno> {
    let code = payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::BADMSG)?;
    match code {
        0 => Ok(()),
        code => Err(received_errno(code.checked_neg().unwrap_or(0))),
    }
}

/// The attributes behind a message's fixed part, as kind and value; what is cut off ends them.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes([*rest.get(2)?, *rest.get(3)?]);
        let value = rest.get(ATTRIBUTE..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        // The two upper bits tell of nesting and byte order.
        Some((kind & 0x3fff, value))
    })
}

/// Reads a datagram and the attributes of its messages, whoever sent it; for fuzzing.
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub fn fuzz_datagram(bytes: &[u8]) {
    let _ = read_datagram(bytes, &mut |message| {
        let read: usize = attributes(message).map(|(_, value)| ATTRIBUTE + value.len()).sum();
        assert!(read <= message.len());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_kernels_shape() {
        let bytes = Request::new(16, CREATE_EXCLUSIVELY, &[0; 16]).with(3, b"eth0\0").finish(NLM_F_ACK);
        assert_eq!(bytes.len(), 16 + 16 + 4 + 8);
        assert_eq!(bytes[..4], 44u32.to_ne_bytes());
        assert_eq!(bytes[6..8], 0x605u16.to_ne_bytes());
        let read: Vec<_> = attributes(&bytes[32..]).collect();
        assert_eq!(read, [(3, b"eth0\0".as_slice())]);
    }

    #[test]
    fn answers_are_read() {
        let message = |kind: u16, payload: &[u8]| Request::new(kind, 0, payload).finish(0);
        let read = |bytes: &[u8]| {
            let mut seen = 0;
            read_datagram(bytes, &mut |_| seen += 1).map(|end| (end, seen))
        };
        assert_eq!(read(&message(NLMSG_ERROR, &0i32.to_ne_bytes())), Ok((true, 0)));
        assert_eq!(read(&message(NLMSG_ERROR, &(-17i32).to_ne_bytes())), Err(Errno::EXIST));
        assert_eq!(read(&message(NLMSG_DONE, &0i32.to_ne_bytes())), Ok((true, 0)));
        assert_eq!(read(&[message(20, b"abcd"), message(20, b"efgh")].concat()), Ok((false, 2)));
    }

    #[test]
    fn damaged_messages_end_the_reading() {
        assert_eq!(read_datagram(&[0; 16], &mut |_| {}), Err(Errno::BADMSG));
        assert_eq!(read_datagram(&[0xff; 16], &mut |_| {}), Err(Errno::BADMSG));
        assert_eq!(answer(&[]), Err(Errno::BADMSG));
        for code in [i32::MIN, i32::MAX, -4096, -65_519] {
            assert_eq!(answer(&code.to_ne_bytes()), Err(Errno::IO), "{code}");
        }
        assert_eq!(attributes(&[1, 0, 0, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 1, 0, 5]).count(), 0);
        assert_eq!(attributes(&[]).count(), 0);
    }

    #[test]
    fn the_loopback_device_is_found() {
        let socket = Netlink::open().unwrap();
        assert_eq!(socket.index_of("lo"), Ok(1));
        assert_eq!(socket.index_of("nothing-here"), Err(Errno::NODEV));
    }
}
