//! The parts of rules: what is read into a register, compared, and done.
//!
//! Registers of four bytes are numbered from 8; number 1 is the first four of them as one.

use ipnet::Ipv4Net;

use super::message::{DATA_VALUE, Expression, number, text};

/// The first register, 16 bytes of it.
const REGISTER: u32 = 1;
/// The same place as a register of four bytes, and those behind it.
const PART: [u32; 3] = [8, 9, 10];
/// How long the kernel keeps a device's name.
const DEVICE_NAME: usize = 16;

const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// What conntrack knows of the connection, as bits of its state.
const ESTABLISHED: u32 = 0x2;
const RELATED: u32 = 0x4;
/// The bit of a connection whose destination was changed.
const DESTINATION_CHANGED: u32 = 0x20;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// Where an IPv4 header has its addresses, and TCP's, UDP's and SCTP's the destination's port.
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;
const DESTINATION_PORT: u32 = 2;
const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_OF_DESTINATION: u32 = 2;
/// `RTN_LOCAL`: an address of the host.
const LOCAL: u32 = 2;
const NAT_DESTINATION: u32 = 1;
const FAMILY_IPV4: u32 = 2;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(&'static str),
}

fn expression(
    name: &'static str,
    build: impl FnOnce(gantry_sys::netlink::Request) -> gantry_sys::netlink::Request + 'static,
) -> Expression {
    Expression { name, build: Box::new(build) }
}

fn meta(key: u32, register: u32) -> Expression {
    expression("meta", move |r| number(number(r, 1, register), 2, key))
}

fn ct(key: u32) -> Expression {
    expression("ct", move |r| number(number(r, 1, REGISTER), 2, key))
}

fn payload(base: u32, offset: u32, len: u32, register: u32) -> Expression {
    expression("payload", move |r| number(number(number(number(r, 1, register), 2, base), 3, offset), 4, len))
}

fn compare(operation: u32, value: Vec<u8>) -> Expression {
    expression("cmp", move |r| {
        number(number(r, 1, REGISTER), 2, operation).nest(3, |data| data.with(DATA_VALUE, &value))
    })
}

fn mask(mask: Vec<u8>) -> Expression {
    expression("bitwise", move |r| {
        let r = number(number(number(r, 1, REGISTER), 2, REGISTER), 3, mask.len() as u32);
        let zeros = vec![0; mask.len()];
        r.nest(4, |data| data.with(DATA_VALUE, &mask)).nest(5, |data| data.with(DATA_VALUE, &zeros))
    })
}

/// A device's name as the kernel compares it: to the end of its room.
pub(super) fn device(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(DEVICE_NAME, 0);
    bytes
}

/// It came in at the device.
pub(super) fn from_device(name: &str) -> Vec<Expression> {
    vec![meta(META_IIFNAME, REGISTER), compare(EQUAL, device(name))]
}

/// It goes out at the device.
pub(super) fn to_device(name: &str) -> Vec<Expression> {
    vec![meta(META_OIFNAME, REGISTER), compare(EQUAL, device(name))]
}

/// It goes out at another device.
pub(super) fn not_to_device(name: &str) -> Vec<Expression> {
    vec![meta(META_OIFNAME, REGISTER), compare(UNEQUAL, device(name))]
}

/// It came in at a device of the set.
pub(super) fn from_device_of(set: &'static str) -> Vec<Expression> {
    vec![meta(META_IIFNAME, REGISTER), member(set)]
}

/// It goes out at a device of the set.
pub(super) fn to_device_of(set: &'static str) -> Vec<Expression> {
    vec![meta(META_OIFNAME, REGISTER), member(set)]
}

fn member(set: &'static str) -> Expression {
    expression("lookup", move |r| number(text(r, 1, set), 2, REGISTER))
}

/// Its source is of the network.
pub(super) fn source_of(network: Ipv4Net) -> Vec<Expression> {
    address(SOURCE, network)
}

/// Its destination is of the network.
pub(super) fn destination_of(network: Ipv4Net) -> Vec<Expression> {
    address(DESTINATION, network)
}

fn address(offset: u32, network: Ipv4Net) -> Vec<Expression> {
    vec![
        payload(NETWORK_HEADER, offset, 4, REGISTER),
        mask(network.netmask().octets().to_vec()),
        compare(EQUAL, network.network().octets().to_vec()),
    ]
}

/// Its destination is an address of the host.
pub(super) fn destination_local() -> Vec<Expression> {
    let fib = expression("fib", |r| {
        number(number(number(r, 1, REGISTER), 2, FIB_ADDRESS_TYPE), 3, FIB_OF_DESTINATION)
    });
    vec![fib, compare(EQUAL, LOCAL.to_ne_bytes().to_vec())]
}

/// It belongs to a connection that was let through, or to one that such a one caused.
pub(super) fn established() -> Vec<Expression> {
    any_bit(CT_STATE, ESTABLISHED | RELATED)
}

/// Its connection came for another destination than it has now: for a published port.
pub(super) fn redirected() -> Vec<Expression> {
    any_bit(CT_STATUS, DESTINATION_CHANGED)
}

fn any_bit(key: u32, bits: u32) -> Vec<Expression> {
    vec![ct(key), mask(bits.to_ne_bytes().to_vec()), compare(UNEQUAL, vec![0; 4])]
}

/// Its protocol, destination and port are a key of the map; whose value becomes the destination.
pub(super) fn redirect_by_address(map: &'static str) -> Vec<Expression> {
    vec![
        meta(META_L4PROTO, PART[0]),
        payload(NETWORK_HEADER, DESTINATION, 4, PART[1]),
        payload(TRANSPORT_HEADER, DESTINATION_PORT, 2, PART[2]),
        value_of(map),
        destination_from_registers(),
    ]
}

/// The same, with its protocol and port alone.
pub(super) fn redirect_by_port(map: &'static str) -> Vec<Expression> {
    vec![
        meta(META_L4PROTO, PART[0]),
        payload(TRANSPORT_HEADER, DESTINATION_PORT, 2, PART[1]),
        value_of(map),
        destination_from_registers(),
    ]
}

fn value_of(map: &'static str) -> Expression {
    expression("lookup", move |r| number(number(text(r, 1, map), 2, REGISTER), 3, REGISTER))
}

fn destination_from_registers() -> Expression {
    expression("nat", |r| {
        let r = number(number(r, 1, NAT_DESTINATION), 2, FAMILY_IPV4);
        number(number(r, 3, PART[0]), 5, PART[1])
    })
}

/// Its source becomes the address of the device that it goes out at.
pub(super) fn masquerade() -> Vec<Expression> {
    vec![expression("masq", |r| r)]
}

/// What becomes of it.
pub(super) fn verdict(verdict: Verdict) -> Vec<Expression> {
    const VERDICT: u16 = 2;
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Return => (-5, None),
    };
    // The register of verdicts is number 0.
    vec![expression("immediate", move |r| {
        number(r, 1, 0).nest(2, |data| {
            data.nest(VERDICT, |inner| {
                let inner = number(inner, 1, code as u32);
                chain.map(|chain| text(inner.clone(), 2, chain)).unwrap_or(inner)
            })
        })
    })]
}
