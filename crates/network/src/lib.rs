//! Networks of containers: network namespaces, the default bridge, addresses and published ports.
//!
//! Called by `engine` on blocking threads; everything here is synchronous. It speaks to the kernel by netlink and never
//! executes a helper. What it makes on the host is a bridge, veth pairs on it, the table `ip gantry` of nf_tables, and
//! files below its directory; it never changes another table, device or file. It keeps no file of its own: an
//! [`Endpoint`] is all that a later daemon needs, and its owner stores it.
//!
//! `docs/design/0008-network.md` says who owns what, in which order, and what is left when a daemon dies.
#![forbid(unsafe_code)]

mod address;
mod conntrack;
mod endpoint;
mod error;
mod facts;
mod filter;
pub mod hosts;
mod link;
mod netns;
mod network;
mod options;
mod pools;
mod ports;
mod proxy;
pub mod resolv;
mod setting;

pub use endpoint::{Attach, Counters, Endpoint, MacAddress, PortRequest, Protocol, PublishedPort};
pub use error::Error;
pub use facts::{Chain, HostFacts};
pub use network::{Bridge, Network};
pub use options::{Firewall, Forwarding, Ipv6Ports, Masquerade, Neighbours, Options};
