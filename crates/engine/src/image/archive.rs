//! Archives that clients send: whatever their compression, as far as it can be undone.

use std::io::{self, Chain, Cursor, Read};

use gantry_layer::{Compression, Inflate, InflateLimits};

use crate::{Error, Result};

/// The first bytes of what is not understood, and its name.
const OTHERS: [(&[u8], &str); 2] = [(b"\xfd7zXZ\x00", "xz"), (b"BZh", "bzip2")];
/// How many bytes tell.
const MAGIC_BYTES: usize = 6;

/// What an archive is once it is inflated.
pub(crate) type Inflated<R> = Inflate<Chain<Cursor<Vec<u8>>, R>>;

/// Undoes gzip or zstd, if the bytes are either. Blocks.
///
/// # Errors
/// Unsupported for xz and bzip2; what the reader says.
pub(crate) fn inflate<R: Read>(mut reader: R) -> Result<Inflated<R>> {
    let mut head = Vec::with_capacity(MAGIC_BYTES);
    let taken = (&mut reader).take(MAGIC_BYTES as u64).read_to_end(&mut head);
    taken.map_err(read_error)?;
    if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        let text =
            format!("archives that {name} has compressed are not supported: use gzip, zstd or neither");
        return Err(Error::Unsupported(text));
    }
    let whole = Cursor::new(head).chain(reader);
    Ok(Inflate::new(whole, Compression::Detect, InflateLimits::default()))
}

/// What reading a client's archive has ended with.
pub(crate) fn read_error(source: io::Error) -> Error {
    Error::io("reading", "the archive")(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_named() {
        let error = inflate(&b"\xfd7zXZ\x00abc"[..]).err().unwrap();
        assert!(error.to_string().contains("xz"), "{error}");
        for short in [&b""[..], b"ab", b"no compression at all"] {
            let mut all = Vec::new();
            inflate(short).unwrap().read_to_end(&mut all).unwrap();
            assert_eq!(all, short);
        }
    }
}
