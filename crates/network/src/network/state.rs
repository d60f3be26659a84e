//! What is taken: addresses, ports, ids. In memory only; the kernel and the owners of [`Endpoint`]s know it, too.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use crate::address::Addresses;
use crate::endpoint::Endpoint;
use crate::ports::Ports;

/// The state of a [`Network`](super::Network).
#[derive(Debug)]
pub(super) struct State {
    /// There are none while the bridge has no network.
    pub(super) addresses: Option<Addresses>,
    pub(super) ports: Ports,
    /// What is attached, by id.
    pub(super) endpoints: HashMap<String, Endpoint>,
    /// The ids of those that are being attached.
    pub(super) arriving: HashSet<String>,
}

impl State {
    pub(super) fn new(ephemeral: Option<RangeInclusive<u16>>) -> Self {
        State {
            addresses: None,
            ports: Ports::new(ephemeral),
            endpoints: HashMap::new(),
            arriving: HashSet::new(),
        }
    }
}
