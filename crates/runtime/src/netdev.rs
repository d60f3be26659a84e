//! Network devices of the host that move into the container: config-linux.md, Network devices (runtime-spec 1.3).
//!
//! The parent moves them, because only it has privileges on both sides, once the container's network namespace exists
//! and before any hook runs. A device keeps its permanent addresses of global scope. The kernel takes all addresses
//! from a device that moves, so they are read before and added after. When the namespace goes, the kernel gives
//! physical devices back to the host, without addresses, and removes virtual ones.

use std::os::fd::{AsFd, BorrowedFd};

use gantry_sys::netlink::{CREATE_EXCLUSIVELY, Netlink, Request, attributes};
use gantry_sys::{Errno, ns};
use gantry_types::oci::Linux;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::error::Error;
use crate::plan::namespaces::NEWNET;

/// How many devices a container may be given.
const MAX_DEVICES: usize = 4096;
/// The longest name of a device: the kernel's IFNAMSIZ without its end.
const MAX_NAME: usize = 15;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
/// Flags of an address that somebody chose: NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN.
const CHOSEN_FLAGS: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;
const RT_SCOPE_UNIVERSE: u8 = 0;
const IFF_UP: u32 = 1;

/// A device to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetDevicePlan {
    /// Its name on the host.
    pub(crate) name: String,
    /// Its name in the container.
    pub(crate) new_name: String,
}

/// Checks the configuration's devices. `own` has the namespaces that differ from the caller's.
///
/// # Errors
/// InvalidArgument for names that no device can have, two devices of one name, or no network namespace.
pub(crate) fn prepare(linux: &Linux, own: u64, rootless: bool) -> Result<Vec<NetDevicePlan>, Error> {
    const FIELD: &str = "linux.netDevices";
    let devices = &linux.net_devices;
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    if devices.len() > MAX_DEVICES {
        return Err(Error::config(FIELD, format!("{} devices are more than {MAX_DEVICES}", devices.len())));
    }
    if own & NEWNET == 0 {
        return Err(Error::config(FIELD, "unable to move network devices without a NET namespace"));
    }
    if rootless {
        return Err(Error::config(FIELD, "network devices are not supported for rootless containers"));
    }
    let mut plans: Vec<NetDevicePlan> = Vec::with_capacity(devices.len());
    for (name, device) in devices {
        let new_name = if device.name.is_empty() { name } else { &device.name };
        for name in [name, new_name] {
            if !is_name(name) {
                return Err(Error::config(FIELD, format!("invalid network device name {name:?}")));
            }
        }
        if plans.iter().any(|plan| plan.new_name == *new_name) {
            return Err(Error::config(FIELD, format!("two network devices would be named {new_name:?}")));
        }
        plans.push(NetDevicePlan { name: name.clone(), new_name: new_name.clone() });
    }
    Ok(plans)
}

/// What the kernel takes for a name: dev_valid_name. A `%` would make it choose a number.
fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= MAX_NAME
        && !name.bytes().any(|b| matches!(b, b'/' | b':' | b'%' | 0 | 0x0b) || b.is_ascii_whitespace())
}

/// Moves the devices into the network namespace `target`.
///
/// # Errors
/// `ENODEV` for a device that does not exist; `EEXIST` for a name that is taken; what the kernel refuses.
pub(crate) fn move_all(devices: &[NetDevicePlan], target: BorrowedFd<'_>) -> Result<(), Error> {
    if devices.is_empty() {
        return Ok(());
    }
    let host = Netlink::open().map_err(Error::io("open a netlink socket"))?;
    let container = socket_in(target)?;
    devices.iter().try_for_each(|device| move_device(device, &host, &container, target))
}

/// A socket that speaks to another network namespace.
fn socket_in(target: BorrowedFd<'_>) -> Result<Netlink, Error> {
    let own = openat(CWD, "/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::io("open /proc/self/ns/net"))?;
    ns::setns(target, NEWNET).map_err(Error::io("setns into the container's network namespace"))?;
    let socket = Netlink::open();
    ns::setns(own.as_fd(), NEWNET).map_err(Error::io("setns back to the own network namespace"))?;
    socket.map_err(Error::io("open a netlink socket in the container"))
}

fn move_device(
    device: &NetDevicePlan,
    host: &Netlink,
    container: &Netlink,
    target: BorrowedFd<'_>,
) -> Result<(), Error> {
    let NetDevicePlan { name, new_name } = device;
    let failed = |what: &str| Error::io(format!("network device {name}: {what}"));
    let index = host.index_of(name).map_err(failed("find it on the host"))?;
    let addresses = addresses(host, index).map_err(failed("read its addresses"))?;
    // Name and namespace change in one step, so that a name that is taken on the host is no obstacle.
    let fd = std::os::fd::AsRawFd::as_raw_fd(&target) as u32;
    let request = Request::new(RTM_NEWLINK, 0, &ifinfomsg(index, 0, 0))
        .with(IFLA_IFNAME, format!("{new_name}\0").as_bytes())
        .with(IFLA_NET_NS_FD, &fd.to_ne_bytes());
    host.execute(request).map_err(failed("move it into the container's network namespace"))?;
    let index = container.index_of(new_name).map_err(failed("find it in the container"))?;
    for address in &addresses {
        match container.execute(address.request(index)) {
            // The kernel may have made it itself.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("set its address in the container")(errno)),
        }
    }
    let up = Request::new(RTM_NEWLINK, 0, &ifinfomsg(index, IFF_UP, IFF_UP));
    container.execute(up).map_err(failed("bring it up in the container"))
}

/// `struct ifinfomsg` of rtnetlink(7).
fn ifinfomsg(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut head = [0; 16];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..12].copy_from_slice(&flags.to_ne_bytes());
    head[12..].copy_from_slice(&change.to_ne_bytes());
    head
}

/// An address of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    family: u8,
    prefix_len: u8,
    flags: u32,
    /// The attributes that are the same on every device.
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Reads an RTM_NEWADDR message; `None` for what does not move along: addresses of other devices, of limited scope,
    /// or of limited life, which depend on the network that the device leaves.
    fn parse(message: &[u8], device: u32) -> Option<Self> {
        // struct ifaddrmsg: family, prefix length, flags, scope, index.
        let (&[family, prefix_len, flags, scope, a, b, c, d], rest) = message.split_first_chunk()?;
        let mut address = Address { family, prefix_len, flags: flags.into(), attributes: Vec::new() };
        for (kind, value) in attributes(rest) {
            match kind {
                IFA_FLAGS => address.flags = u32::from_ne_bytes(value.try_into().ok()?),
                IFA_ADDRESS | IFA_LOCAL | IFA_BROADCAST => address.attributes.push((kind, value.to_vec())),
                _ => {}
            }
        }
        let ours = u32::from_ne_bytes([a, b, c, d]) == device;
        let moves = scope == RT_SCOPE_UNIVERSE && address.flags & IFA_F_PERMANENT != 0;
        (ours && moves).then_some(address)
    }

    /// The message that gives a device this address.
    fn request(&self, device: u32) -> Request {
        let mut head = [self.family, self.prefix_len, 0, RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
        head[4..].copy_from_slice(&device.to_ne_bytes());
        let flags = self.flags & CHOSEN_FLAGS;
        let request =
            Request::new(RTM_NEWADDR, CREATE_EXCLUSIVELY, &head).with(IFA_FLAGS, &flags.to_ne_bytes());
        self.attributes.iter().fold(request, |request, (kind, value)| request.with(*kind, value))
    }
}

fn addresses(host: &Netlink, device: u32) -> Result<Vec<Address>, Errno> {
    let mut found = Vec::new();
    let request = Request::new(RTM_GETADDR, 0, &[0; 8]);
    host.dump(request, &mut |message| found.extend(Address::parse(message, device)))?;
    Ok(found)
}

/// Addresses as the kernel lists them; for fuzzing.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_addresses(message: &[u8]) {
    if let Some(address) = Address::parse(message, 1) {
        let _ = address.request(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(text: &str) -> Linux {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn devices_keep_or_change_their_names() {
        let linux = linux(r#"{"netDevices":{"eth0":{},"eth1":{"name":"ct0"}}}"#);
        let plans = prepare(&linux, NEWNET, false).unwrap();
        let names: Vec<_> = plans.iter().map(|p| (p.name.as_str(), p.new_name.as_str())).collect();
        assert_eq!(names, [("eth0", "eth0"), ("eth1", "ct0")]);
        assert!(prepare(&linux, 0, false).is_err());
        assert!(prepare(&linux, NEWNET, true).is_err());
        assert!(prepare(&Linux::default(), 0, true).unwrap().is_empty());
    }

    #[test]
    fn names_that_no_device_can_have_are_refused() {
        for bad in
            [".", "..", "a b", "a/b", "a:b", "a\\tb", "eth%d", "\\u0000", "\\u000b", "0123456789abcdef"]
        {
            for text in [
                format!(r#"{{"netDevices":{{"{bad}":{{}}}}}}"#),
                format!(r#"{{"netDevices":{{"eth0":{{"name":"{bad}"}}}}}}"#),
            ] {
                assert!(prepare(&linux(&text), NEWNET, false).is_err(), "{text}");
            }
        }
        assert!(prepare(&linux(r#"{"netDevices":{"":{}}}"#), NEWNET, false).is_err());
        let twice = r#"{"netDevices":{"eth0":{"name":"x"},"eth1":{"name":"x"}}}"#;
        assert!(prepare(&linux(twice), NEWNET, false).is_err());
    }

    /// An RTM_NEWADDR message as the kernel sends it.
    fn message(scope: u8, flags: u32, device: u32) -> Vec<u8> {
        let mut bytes = vec![2, 24, flags as u8, scope];
        bytes.extend(device.to_ne_bytes());
        for (kind, value) in [(IFA_ADDRESS, [10, 0, 0, 1]), (IFA_LOCAL, [10, 0, 0, 1]), (3, *b"et0\0")] {
            bytes.extend([8, 0]);
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
        }
        bytes.extend([8, 0, 8, 0]);
        bytes.extend(flags.to_ne_bytes());
        bytes
    }

    #[test]
    fn permanent_global_addresses_move() {
        let address = Address::parse(&message(0, IFA_F_PERMANENT | 0x200, 7), 7).unwrap();
        assert_eq!((address.family, address.prefix_len, address.attributes.len()), (2, 24, 2));
        for (scope, flags, device) in [(0, 0x80, 8), (253, 0x80, 7), (0, 0, 7)] {
            assert_eq!(Address::parse(&message(scope, flags, device), 7), None);
        }
        assert_eq!(Address::parse(&[2, 24], 7), None);
    }
}
