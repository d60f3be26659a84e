//! Bridges, veth pairs, addresses and published ports of containers.
#![forbid(unsafe_code)]
