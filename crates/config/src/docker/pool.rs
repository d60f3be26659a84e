//! Ranges that networks get their subnets from.

use std::fmt;

use ipnet::IpNet;

/// The most subnets of one pool: 2 to this.
const MAX_SUBNET_BITS: u8 = 24;
/// Docker's pools (moby `daemon/libnetwork/ipamutils` at v28.5.2).
const DEFAULT: &[&str] = &[
    "base=172.17.0.0/16,size=16",
    "base=172.18.0.0/16,size=16",
    "base=172.19.0.0/16,size=16",
    "base=172.20.0.0/14,size=16",
    "base=172.24.0.0/14,size=16",
    "base=172.28.0.0/14,size=16",
    "base=192.168.0.0/16,size=20",
];

/// A range, and how long the prefixes of the subnets in it are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    /// The range, without bits of a host.
    pub base: IpNet,
    /// The prefix length of each subnet.
    pub size: u8,
}

impl AddressPool {
    /// What a pool may be, for errors and for the documentation.
    pub(crate) const ALLOWED: &str =
        "a list of texts such as \"base=10.10.0.0/16,size=24\" whose subnets fit in their range";

    /// None for subnets that are larger than the range, or too many.
    pub fn new(base: IpNet, size: u8) -> Option<Self> {
        let fits = size <= base.max_prefix_len() && size >= base.prefix_len();
        (fits && size - base.prefix_len() <= MAX_SUBNET_BITS).then(|| Self { base: base.trunc(), size })
    }

    /// Reads `base=10.10.0.0/16,size=24`, as `dockerd --default-address-pool` has it.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut base, mut size) = (None, None);
        for part in text.split(',') {
            match part.split_once('=')? {
                ("base", value) if base.is_none() => base = Some(value.parse().ok()?),
                ("size", value) if size.is_none() => size = Some(value.parse().ok()?),
                _ => return None,
            }
        }
        Self::new(base?, size?)
    }

    /// Docker's.
    pub fn defaults() -> Vec<Self> {
        DEFAULT.iter().filter_map(|text| Self::parse(text)).collect()
    }
}

impl fmt::Display for AddressPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "base={},size={}", self.base, self.size)
    }
}
