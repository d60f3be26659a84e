//! Content-addressed blobs: ingest, verify, commit, read.
#![forbid(unsafe_code)]
