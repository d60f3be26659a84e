//! Joins bytes and shims: namespaced content, images, snapshots, leases, events, pull, unpack, collection.
#![forbid(unsafe_code)]
