//! Archives may come compressed; their first bytes tell.

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

/// RFC 1952.
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
/// RFC 8878.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// How much is read at once.
const BUFFER_BYTES: usize = 64 << 10;

type Whole<R> = BufReader<io::Chain<Cursor<Vec<u8>>, R>>;

/// The uncompressed bytes of a reader. Nothing is read before something is asked for.
pub(super) enum Inflate<R: Read> {
    Unknown(Option<R>),
    Plain(Whole<R>),
    Gzip(Box<MultiGzDecoder<Whole<R>>>),
    Zstd(Box<zstd::Decoder<'static, Whole<R>>>),
}

impl<R: Read> Inflate<R> {
    pub(super) fn new(source: R) -> Self {
        Self::Unknown(Some(source))
    }

    fn detect(mut source: R) -> io::Result<Self> {
        let mut first = Vec::with_capacity(ZSTD.len());
        (&mut source).take(ZSTD.len() as u64).read_to_end(&mut first)?;
        let (is_gzip, is_zstd) = (first.starts_with(&GZIP), first.starts_with(&ZSTD));
        let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(first).chain(source));
        Ok(match (is_gzip, is_zstd) {
            (true, _) => Self::Gzip(Box::new(MultiGzDecoder::new(whole))),
            (_, true) => Self::Zstd(Box::new(zstd::Decoder::with_buffer(whole)?)),
            _ => Self::Plain(whole),
        })
    }
}

impl<R: Read> Read for Inflate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Self::Unknown(source) = self {
            let source = source.take().ok_or_else(|| io::Error::other("the archive cannot be read"))?;
            *self = Self::detect(source)?;
        }
        match self {
            Self::Unknown(_) => Ok(0),
            Self::Plain(source) => source.read(buffer),
            Self::Gzip(source) => source.read(buffer),
            Self::Zstd(source) => source.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn inflated(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Inflate::new(bytes).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn archives_come_in_three_forms() {
        let plain = b"ustar, more or less".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        assert_eq!(inflated(&gzip.finish().unwrap()), plain);
        assert_eq!(inflated(&zstd::encode_all(plain.as_slice(), 1).unwrap()), plain);
        assert_eq!(inflated(&plain), plain);
        assert_eq!(inflated(b"x"), b"x");
        assert_eq!(inflated(b""), b"");
    }

    #[test]
    fn a_truncated_archive_is_an_error() {
        let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let bytes = gzip.finish().unwrap();
        assert!(Inflate::new(&bytes[..bytes.len() - 4]).read_to_end(&mut Vec::new()).is_err());
    }
}
