//! The embedded database: namespaces, records, leases, references, the event journal.
#![forbid(unsafe_code)]
