//! Which addresses of the bridge's network are containers'.
//!
//! They are given in ascending order, and the search goes on behind the last one: an address comes back as late as
//! it can, when nobody remembers who had it.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::error::Error;

/// The allocator.
#[derive(Debug)]
pub(crate) struct Addresses {
    subnet: Ipv4Net,
    /// Where addresses come from that nobody asked for.
    range: Ipv4Net,
    gateway: Ipv4Addr,
    used: HashSet<u32>,
    /// The last one given.
    last: Option<u32>,
}

impl Addresses {
    pub(crate) fn new(subnet: Ipv4Net, range: Option<Ipv4Net>, gateway: Ipv4Addr) -> Self {
        Addresses { subnet, range: range.unwrap_or(subnet), gateway, used: HashSet::new(), last: None }
    }

    fn is_for_containers(&self, address: Ipv4Addr) -> bool {
        self.subnet.contains(&address)
            && address != self.gateway
            && address != self.subnet.network()
            && address != self.subnet.broadcast()
    }

    /// Takes the next free address.
    pub(crate) fn take(&mut self) -> Result<Ipv4Addr, Error> {
        let (first, last) = (u32::from(self.range.network()), u32::from(self.range.broadcast()));
        let start = self.last.map_or(first, |last| last.wrapping_add(1));
        let free = |candidate: &u32| {
            !self.used.contains(candidate) && self.is_for_containers(Ipv4Addr::from(*candidate))
        };
        // Among one more than are used, and the three that are nobody's, one is free, or none is.
        let tries = self.used.len() + 4;
        let found = (start..=last).chain(first..=last).take(tries).find(free);
        let found = found.ok_or(Error::AddressesExhausted { subnet: self.range })?;
        self.used.insert(found);
        self.last = Some(found);
        Ok(found.into())
    }

    /// Takes one address.
    pub(crate) fn take_this(&mut self, address: Ipv4Addr) -> Result<(), Error> {
        if !self.is_for_containers(address) {
            return Err(Error::AddressOutside { address, subnet: self.subnet });
        }
        if self.used.insert(address.into()) { Ok(()) } else { Err(Error::AddressInUse { address }) }
    }

    /// Gives an address back.
    pub(crate) fn release(&mut self, address: Ipv4Addr) {
        self.used.remove(&address.into());
    }

    /// Goes on behind the highest that is used: after a start, addresses of the recently gone are not the first to be given.
    pub(crate) fn resume(&mut self) {
        let (first, last) = (u32::from(self.range.network()), u32::from(self.range.broadcast()));
        self.last = self.used.iter().copied().filter(|used| (first..=last).contains(used)).max();
    }

    /// How many are taken.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.used.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(range: Option<&str>) -> Addresses {
        let range = range.map(|range| range.parse().unwrap());
        Addresses::new("10.0.0.0/29".parse().unwrap(), range, Ipv4Addr::new(10, 0, 0, 1))
    }

    fn last_octet(address: Result<Ipv4Addr, Error>) -> Option<u8> {
        address.ok().map(|address| address.octets()[3])
    }

    #[test]
    fn addresses_ascend_and_come_back_last() {
        let mut addresses = addresses(None);
        assert_eq!(last_octet(addresses.take()), Some(2));
        assert_eq!(last_octet(addresses.take()), Some(3));
        addresses.release(Ipv4Addr::new(10, 0, 0, 2));
        for expected in [4, 5, 6, 2] {
            assert_eq!(last_octet(addresses.take()), Some(expected));
        }
        assert!(matches!(addresses.take(), Err(Error::AddressesExhausted { .. })));
        addresses.release(Ipv4Addr::new(10, 0, 0, 4));
        assert_eq!(last_octet(addresses.take()), Some(4));
        assert_eq!(addresses.len(), 5);
    }

    #[test]
    fn the_range_bounds_what_is_given_but_not_what_is_asked_for() {
        let mut addresses = addresses(Some("10.0.0.4/31"));
        assert!(addresses.take_this(Ipv4Addr::new(10, 0, 0, 2)).is_ok());
        assert_eq!(last_octet(addresses.take()), Some(4));
        assert_eq!(last_octet(addresses.take()), Some(5));
        assert!(addresses.take().is_err());
    }

    #[test]
    fn what_is_not_for_containers_is_refused() {
        let mut addresses = addresses(None);
        for octet in [0, 1, 7, 8] {
            let refused = addresses.take_this(Ipv4Addr::new(10, 0, 0, octet));
            assert!(matches!(refused, Err(Error::AddressOutside { .. })), "{octet}");
        }
        assert!(addresses.take_this(Ipv4Addr::new(10, 0, 0, 2)).is_ok());
        assert!(matches!(addresses.take_this(Ipv4Addr::new(10, 0, 0, 2)), Err(Error::AddressInUse { .. })));
    }

    #[test]
    fn after_a_start_the_search_goes_on_behind_the_highest() {
        let mut addresses = addresses(None);
        addresses.take_this(Ipv4Addr::new(10, 0, 0, 4)).unwrap();
        addresses.resume();
        assert_eq!(last_octet(addresses.take()), Some(5));
    }

    #[test]
    fn the_ends_of_all_addresses_are_no_trap() {
        let mut addresses =
            Addresses::new("255.255.255.252/30".parse().unwrap(), None, Ipv4Addr::new(255, 255, 255, 253));
        assert_eq!(last_octet(addresses.take()), Some(254));
        assert!(addresses.take().is_err());
        addresses.release(Ipv4Addr::new(255, 255, 255, 254));
        assert_eq!(last_octet(addresses.take()), Some(254));
    }
}
