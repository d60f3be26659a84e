//! Messages to the kernel's network: netlink(7), rtnetlink(7), and nfnetlink's transactions (Linux 3.13).
//!
//! Only what a runtime and an engine need to move and make network devices and rules: messages of a fixed head and
//! attributes, their acknowledgements, several of them at once, and dumps. A socket speaks to the network namespace in
//! which it was made, wherever its owner goes.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
    sockopt,
};

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
/// The mark of an attribute whose value is attributes.
const NESTED: u16 = 0x8000;
/// What one transaction may have. The kernel takes a datagram of less than the socket's send buffer.
const MAX_TRANSACTION: usize = 16 << 20;

const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;

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
    ///
    /// # Panics
    /// If it is longer than an attribute can be, 64 KiB: its length would be another's (CVE-2021-43784).
    #[must_use]
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let len = u16::try_from(ATTRIBUTE + value.len()).expect("attributes are shorter than 64 KiB");
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an attribute whose value is what `build` adds.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[must_use]
    pub fn nest(mut self, kind: u16, build: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        let mut built = build(self);
        let len = u16::try_from(built.0.len() - start).expect("attributes are shorter than 64 KiB");
        built.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        built
    }

    /// Adds bytes as they are: the fixed part of what is nested, such as the `ifinfomsg` of a veth's other end.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// How many bytes it has so far.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    fn finish(self, flags: u16) -> Vec<u8> {
        self.numbered(flags, 0)
    }

    fn numbered(mut self, flags: u16, sequence: u32) -> Vec<u8> {
        let len = self.0.len() as u32;
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        let flags = u16::from_ne_bytes([self.0[6], self.0[7]]) | flags;
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// Which of several requests the kernel refused first, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// Its place among them; none if it was not a single one.
    pub index: Option<usize>,
    /// The kernel's answer.
    pub errno: Errno,
}

impl From<Errno> for Rejected {
    fn from(errno: Errno) -> Self {
        Rejected { index: None, errno }
    }
}

/// A socket to the kernel's network.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens one in the caller's network namespace.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` from kernels without networks.
    pub fn open() -> Result<Self, Errno> {
        // No protocol is number 0, NETLINK_ROUTE.
        Self::of(None)
    }

    /// Opens one to the packet filter and its connections, NETLINK_NETFILTER, in the caller's network namespace.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` from kernels without it.
    pub fn open_netfilter() -> Result<Self, Errno> {
        Self::of(Some(netlink::NETFILTER))
    }

    fn of(protocol: Option<Protocol>) -> Result<Self, Errno> {
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol).map(Netlink)
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

    /// Asks for one thing; gives what comes before the acknowledgement, without its header, to `each`.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn query(&self, request: Request, each: &mut dyn FnMut(&[u8])) -> Result<(), Errno> {
        self.converse(request.finish(NLM_F_ACK), each)
    }

    /// Asks for everything of a kind; gives each message without its header to `each`.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn dump(&self, request: Request, each: &mut dyn FnMut(&[u8])) -> Result<(), Errno> {
        self.converse(request.finish(NLM_F_DUMP), each)
    }

    /// Sends requests in one datagram, and waits for the answer to each. The kernel goes on after one that it refuses.
    ///
    /// # Errors
    /// The first that was refused.
    pub fn execute_all(&self, requests: Vec<Request>) -> Result<(), Rejected> {
        let count = requests.len();
        let numbered = requests.into_iter().zip(0..);
        let message: Vec<u8> = numbered.flat_map(|(request, n)| request.numbered(NLM_F_ACK, n)).collect();
        if count == 0 {
            return Ok(());
        }
        self.send(&message)?;
        let mut first: Option<Rejected> = None;
        let mut answered = 0;
        self.answers(&mut |sequence, answer| {
            answered += 1;
            if let (Err(errno), None) = (answer, first) {
                first = Some(Rejected { index: Some(sequence as usize), errno });
            }
            answered == count
        })?;
        first.map_or(Ok(()), Err)
    }

    /// Sends requests to a subsystem of nfnetlink as one transaction: all of them take effect at once, or none.
    ///
    /// # Errors
    /// The first that was refused, or the whole; `EMSGSIZE` for more than 16 MiB; `EPERM` without `CAP_NET_ADMIN`.
    pub fn transact(&self, subsystem: u8, requests: Vec<Request>) -> Result<(), Rejected> {
        let frame = |kind| Request::new(kind, 0, &[0, 0, 0, subsystem]);
        let count = requests.len() as u32;
        if count == 0 {
            return Ok(());
        }
        let mut message = frame(NFNL_MSG_BATCH_BEGIN).numbered(0, 0);
        for (request, number) in requests.into_iter().zip(1..) {
            // Errors are told in any case. The answer to the last request comes after all of them, and after the commit.
            let flags = if number == count { NLM_F_ACK } else { 0 };
            message.extend(request.numbered(flags, number));
        }
        message.extend(frame(NFNL_MSG_BATCH_END).numbered(0, count + 1));
        if message.len() > MAX_TRANSACTION {
            return Err(Errno::MSGSIZE.into());
        }
        if message.len() > BUFFER {
            sockopt::set_socket_send_buffer_size_force(&self.0, message.len() * 2)?;
        }
        self.send(&message)?;
        let mut first: Option<Rejected> = None;
        self.answers(&mut |sequence, answer| {
            if let (Err(errno), None) = (answer, first) {
                first = Some(Rejected { index: (sequence as usize).checked_sub(1), errno });
            }
            // What is said of the beginning is said of the whole.
            sequence == count || (sequence == 0 && answer.is_err())
        })?;
        first.map_or(Ok(()), Err)
    }

    /// Gives acknowledgements to `each` until that has had enough.
    fn answers(&self, each: &mut dyn FnMut(u32, Result<(), Errno>) -> bool) -> Result<(), Errno> {
        let mut buffer = vec![0u8; BUFFER];
        for _ in 0..MAX_MESSAGES {
            // A refusal repeats the request, which may be larger than the buffer; only its head is read.
            let (len, _) =
                rustix::io::retry_on_intr(|| recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty()))?;
            if read_answers(&buffer[..len], each)? {
                return Ok(());
            }
        }
        Err(Errno::OVERFLOW)
    }

    fn send(&self, message: &[u8]) -> Result<(), Errno> {
        rustix::io::retry_on_intr(|| send(&self.0, message, SendFlags::empty())).map(drop)
    }

    fn converse(&self, message: Vec<u8>, each: &mut dyn FnMut(&[u8])) -> Result<(), Errno> {
        self.send(&message)?;
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

/// Reads the acknowledgements of one datagram, of which the last may be cut off; whether that was enough.
fn read_answers(
    mut rest: &[u8],
    each: &mut dyn FnMut(u32, Result<(), Errno>) -> bool,
) -> Result<bool, Errno> {
    while rest.len() >= HEADER {
        let len = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        if len < HEADER {
            return Err(Errno::BADMSG);
        }
        let sequence = u32::from_ne_bytes([rest[8], rest[9], rest[10], rest[11]]);
        if u16::from_ne_bytes([rest[4], rest[5]]) == NLMSG_ERROR {
            let outcome = match rest[HEADER..].first_chunk() {
                Some(code) => errno_of(i32::from_ne_bytes(*code)),
                None => return Err(Errno::BADMSG),
            };
            if each(sequence, outcome) {
                return Ok(true);
            }
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// The negative errno at the head of an acknowledgement.
fn answer(payload: &[u8]) -> Result<(), Errno> {
    let code = payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::BADMSG)?;
    errno_of(code)
}

fn errno_of(code: i32) -> Result<(), Errno> {
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
    let _ = read_answers(bytes, &mut |_, _| false);
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
    fn nested_attributes_have_the_length_of_what_is_in_them() {
        let bytes = Request::new(16, 0, &[])
            .nest(18, |inner| inner.with(1, b"veth").nest(2, |i| i.raw(&[7; 5])))
            .finish(0);
        let outer: Vec<_> = attributes(&bytes[16..]).collect();
        assert_eq!(outer.len(), 1);
        assert_eq!(outer[0].0, 18);
        let inner: Vec<_> = attributes(outer[0].1).map(|(kind, value)| (kind, value.len())).collect();
        assert_eq!(inner, [(1, 4), (2, 8)]);
    }

    #[test]
    #[should_panic(expected = "64 KiB")]
    fn an_attribute_never_says_less_than_its_length() {
        let _ = Request::new(16, 0, &[]).with(1, &[0; 1 << 16]);
    }

    #[test]
    fn answers_are_told_apart_by_their_numbers() {
        let ack = |number, code: i32| Request::new(NLMSG_ERROR, 0, &code.to_ne_bytes()).numbered(0, number);
        let mut seen = Vec::new();
        let bytes = [ack(1, 0), ack(2, -17), ack(3, 0)].concat();
        let mut each = |number, answer| {
            seen.push((number, answer));
            number == 2
        };
        assert_eq!(read_answers(&bytes, &mut each), Ok(true));
        assert_eq!(seen, [(1, Ok(())), (2, Err(Errno::EXIST))]);
        // One that repeats a long request, cut off behind its code.
        let mut long = ack(4, -2);
        long[..4].copy_from_slice(&100_000u32.to_ne_bytes());
        assert_eq!(read_answers(&long, &mut |_, answer| answer == Err(Errno::NOENT)), Ok(true));
        assert_eq!(read_answers(&long[..18], &mut |_, _| true), Err(Errno::BADMSG));
    }

    #[test]
    fn the_first_of_several_refusals_is_told() {
        // RTM_GETLINK for devices that are not there.
        let request = |index: i32| {
            let mut head = [0; 16];
            head[4..8].copy_from_slice(&index.to_ne_bytes());
            Request::new(18, 0, &head)
        };
        let socket = Netlink::open().unwrap();
        let rejected = socket.execute_all(vec![request(1), request(i32::MAX), request(i32::MAX - 1)]);
        assert_eq!(rejected, Err(Rejected { index: Some(1), errno: Errno::NODEV }));
        assert_eq!(socket.execute_all(vec![request(1)]), Ok(()));
        assert_eq!(socket.execute_all(Vec::new()), Ok(()));
    }

    #[test]
    fn the_loopback_device_is_found() {
        let socket = Netlink::open().unwrap();
        assert_eq!(socket.index_of("lo"), Ok(1));
        assert_eq!(socket.index_of("nothing-here"), Err(Errno::NODEV));
    }
}
