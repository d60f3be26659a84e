//! Archives that clients send, whatever their compression.

use std::io::{self, Read};

use gantry_layer::{Compression, Inflate, InflateLimits};

use crate::Error;

/// Undoes gzip, zstd, bzip2 or xz, if the bytes are any of them.
pub(crate) fn inflate<R: Read>(reader: R) -> Inflate<R> {
    Inflate::new(reader, Compression::Detect, InflateLimits::archives())
}

/// What reading a client's archive has ended with.
pub(crate) fn read_error(source: io::Error) -> Error {
    Error::io("reading", "the archive")(source)
}
