use std::io::{Read, Write};

use super::*;
use crate::{Compressor, Level};

/// Everything that is undone.
const ALL: [Compression; 4] = [Compression::Gzip, Compression::Zstd, Compression::Bzip2, Compression::Xz];

fn compress(bytes: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::Bzip2 => {
            return read(::bzip2::read::BzEncoder::new(bytes, ::bzip2::Compression::best()));
        }
        Compression::Xz => return read(liblzma::read::XzEncoder::new(bytes, 6)),
        _ => {}
    }
    let mut compressor = Compressor::new(Vec::new(), compression, Level::Default).unwrap();
    compressor.write_all(bytes).unwrap();
    compressor.finish().unwrap()
}

fn read(mut reader: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    all
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, InflateError> {
    inflate_within(bytes, InflateLimits::archives(), 4096)
}

/// Pulls through a reader that gives one piece of `chunk` bytes at a time.
fn inflate_within(bytes: &[u8], limits: InflateLimits, chunk: usize) -> Result<Vec<u8>, InflateError> {
    struct Pieces<'a>(&'a [u8], usize);
    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(out.len());
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }
    let mut inflate = Inflate::new(Pieces(bytes, chunk), Compression::Detect, limits);
    let mut out = Vec::new();
    match inflate.read_to_end(&mut out) {
        Ok(_) => Ok(out),
        Err(error) => Err(error.downcast::<InflateError>().unwrap()),
    }
}

fn text() -> Vec<u8> {
    (0..200_000u32).flat_map(|number| (number % 997).to_le_bytes()).collect()
}

#[test]
fn every_format_is_found_by_its_magic_and_comes_back() {
    for compression in [Compression::None].into_iter().chain(ALL) {
        let packed = compress(&text(), compression);
        for chunk in [1, 7, 4096, 1 << 20] {
            assert!(inflate_within(&packed, InflateLimits::archives(), chunk).unwrap() == text());
        }
        let mut inflate = Inflate::new(&packed[..], Compression::Gzip, InflateLimits::archives());
        inflate.read_exact(&mut [0]).unwrap();
        assert_eq!(inflate.found(), Some(compression));
        assert_eq!(inflate.is_mislabelled(), compression != Compression::Gzip);
    }
}

#[test]
fn short_and_empty_streams_are_what_they_are() {
    assert_eq!(inflate(b"").unwrap(), b"");
    assert_eq!(inflate(b"abc").unwrap(), b"abc");
    for compression in ALL {
        assert_eq!(inflate(&compress(b"", compression)).unwrap(), b"", "{compression:?}");
    }
}

#[test]
fn members_and_frames_follow_one_another() {
    for compression in ALL {
        let mut packed = Vec::new();
        for part in [&b"one"[..], b"", b"two", &[b'x'; 70_000]] {
            packed.extend(compress(part, compression));
        }
        if compression == Compression::Zstd {
            packed.splice(0..0, [0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
            packed.extend([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
        }
        let mut wanted = b"onetwo".to_vec();
        wanted.extend([b'x'; 70_000]);
        assert_eq!(inflate(&packed).unwrap(), wanted);
        assert_eq!(inflate_within(&packed, InflateLimits::archives(), 1).unwrap(), wanted);
    }
}

#[test]
fn zeros_may_follow_gzip_but_nothing_else() {
    let mut packed = compress(b"data", Compression::Gzip);
    packed.extend([0; 1000]);
    assert_eq!(inflate(&packed).unwrap(), b"data");
    packed.push(1);
    assert!(matches!(inflate(&packed), Err(InflateError::Corrupt { .. })));
    let mut packed = compress(b"data", Compression::Zstd);
    packed.extend(b"tail");
    assert!(matches!(inflate(&packed), Err(InflateError::Corrupt { .. })));
}

#[test]
fn a_stream_cut_anywhere_is_an_error() {
    for compression in ALL {
        let packed = compress(&text()[..2000], compression);
        for end in 9..packed.len() {
            let error = inflate(&packed[..end]).unwrap_err();
            assert!(matches!(error, InflateError::Truncated { .. }), "{compression:?} {end}: {error}");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }
}

#[test]
fn a_flipped_bit_is_an_error() {
    for compression in ALL {
        let mut packed = compress(&text(), compression);
        let last = packed.len() - 2;
        packed[last] ^= 1;
        assert!(matches!(inflate(&packed), Err(InflateError::Corrupt { .. })), "{compression:?}");
    }
}

#[test]
fn cve_2017_14992_a_bomb_stops_at_the_limits() {
    let limits = InflateLimits { output_bytes: 1 << 20, ..InflateLimits::archives() };
    for compression in [Compression::None].into_iter().chain(ALL) {
        let packed = compress(&vec![0; 2 << 20], compression);
        let error = inflate_within(&packed, limits, 4096).unwrap_err();
        assert_eq!(error, InflateError::Limit { what: "bytes of output", limit: 1 << 20 });
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    }
    let limits = InflateLimits { ratio: 100, ratio_grace_bytes: 1 << 16, ..InflateLimits::archives() };
    for compression in ALL {
        let packed = compress(&vec![0; 2 << 20], compression);
        assert!(matches!(inflate_within(&packed, limits, 4096), Err(InflateError::Limit { limit: 100, .. })));
        let text = &text()[..60_000];
        assert_eq!(inflate_within(&compress(text, compression), limits, 4096).unwrap(), text);
    }
}

#[test]
fn a_zstd_window_over_the_limit_is_refused_before_it_is_allocated() {
    // A frame header: magic, no single segment, window of 2^30, then a raw block.
    let packed = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 20 << 3, 0x09, 0, 0, b'x'];
    assert_eq!(
        inflate(&packed).unwrap_err(),
        InflateError::Limit { what: "bytes of zstd window", limit: 1 << 27 }
    );
}

#[test]
fn an_xz_dictionary_over_the_limit_is_refused_before_it_is_allocated() {
    // -9: 64 MiB.
    let packed = read(liblzma::read::XzEncoder::new(&b"x"[..], 9));
    assert_eq!(inflate(&packed).unwrap(), b"x");
    let limits = InflateLimits { window_log: 20, ..InflateLimits::archives() };
    let error = inflate_within(&packed, limits, 4096).unwrap_err();
    assert_eq!(error, InflateError::Limit { what: "bytes of memory", limit: 2 << 20 });
}

#[test]
fn zeros_in_fours_may_stand_between_streams_of_xz() {
    let one = compress(b"one", Compression::Xz);
    let with = |zeros: usize, rest: &[u8]| [&one[..], &vec![0; zeros], rest].concat();
    assert_eq!(inflate(&with(0, &one)).unwrap(), b"oneone");
    assert_eq!(inflate(&with(8, &one)).unwrap(), b"oneone");
    assert_eq!(inflate(&with(12, b"")).unwrap(), b"one");
    assert!(matches!(inflate(&with(3, &one)), Err(InflateError::Corrupt { .. })));
    assert!(matches!(inflate(&with(3, b"")), Err(InflateError::Truncated { .. })));
    assert!(matches!(inflate(&with(4, b"tail of a tape")), Err(InflateError::Corrupt { .. })));
}

#[test]
fn layers_are_not_of_bzip2_or_xz() {
    for compression in [Compression::Bzip2, Compression::Xz] {
        let packed = compress(b"data", compression);
        assert_eq!(inflate_within(&packed, InflateLimits::default(), 4096).unwrap(), packed);
        assert!(Compressor::new(Vec::new(), compression, Level::Default).is_err());
    }
}

#[test]
fn the_compressed_bytes_are_the_same_each_time() {
    let gzip = compress(&text(), Compression::Gzip);
    assert_eq!(&gzip[..10], &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    assert!(gzip == compress(&text(), Compression::Gzip));
    assert!(compress(&text(), Compression::Zstd) == compress(&text(), Compression::Zstd));
}
