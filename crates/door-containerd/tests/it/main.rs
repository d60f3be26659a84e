//! The door as clients meet it: a real store, a real socket, gRPC's own client.
#![forbid(unsafe_code)]

mod containers;
mod content;
mod events;
mod forward;
mod harness;
mod images;
mod introspection;
mod leases;
mod namespaces;
mod sandboxes;
mod snapshots;
mod transfer;
