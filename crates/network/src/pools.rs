//! Which network a new bridge gets: the first of docker's default pools that no route of the host overlaps.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Docker's default address pools: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in parts of /20.
fn candidates() -> impl Iterator<Item = Ipv4Net> {
    let wide = (17..=31).map(|second| Ipv4Net::new_assert(Ipv4Addr::new(172, second, 0, 0), 16));
    let narrow =
        (0..=240).step_by(16).map(|third| Ipv4Net::new_assert(Ipv4Addr::new(192, 168, third, 0), 20));
    wide.chain(narrow)
}

fn overlap(one: &Ipv4Net, other: &Ipv4Net) -> bool {
    one.contains(other) || other.contains(one)
}

/// The first network that nothing in `taken` overlaps.
pub(crate) fn first_free(taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    candidates().find(|candidate| !taken.iter().any(|taken| overlap(candidate, taken)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(taken: &[&str], expected: Option<&str>) {
        let taken: Vec<Ipv4Net> = taken.iter().map(|network| network.parse().unwrap()).collect();
        assert_eq!(first_free(&taken), expected.map(|network| network.parse().unwrap()), "{taken:?}");
    }

    #[test]
    fn the_first_network_that_nothing_overlaps_is_chosen() {
        check(&[], Some("172.17.0.0/16"));
        check(&["10.0.0.0/8"], Some("172.17.0.0/16"));
        check(&["172.17.0.0/16"], Some("172.18.0.0/16"));
        check(&["172.17.3.4/32", "172.18.0.0/15"], Some("172.20.0.0/16"));
        check(&["172.16.0.0/12"], Some("192.168.0.0/20"));
        check(&["172.16.0.0/12", "192.168.0.0/24"], Some("192.168.16.0/20"));
        check(&["172.16.0.0/12", "192.168.0.0/16"], None);
    }
}
