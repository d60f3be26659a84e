//! One header block: 512 bytes of v7, ustar, GNU or star form.

use super::Time;

pub(super) const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// A header as it stands, without what extended headers change.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) size: u64,
    pub(super) mtime: Time,
    pub(super) flag: u8,
    pub(super) device: (i64, i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    V7,
    Ustar,
    Gnu,
    Star,
}

fn form(block: &[u8; BLOCK]) -> Form {
    match &block[257..265] {
        b"ustar  \0" => Form::Gnu,
        magic if magic.starts_with(b"ustar\0") && &block[508..512] == b"tar\0" => Form::Star,
        magic if magic.starts_with(b"ustar\0") => Form::Ustar,
        _ => Form::V7,
    }
}

pub(super) fn is_zero(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|&byte| byte == 0)
}

/// Reads a header block.
pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Header, &'static str> {
    check_sum(block)?;
    let form = form(block);
    let path = match form {
        Form::Ustar => joined(text(&block[345..500]), text(&block[..100])),
        Form::Star => joined(text(&block[345..476]), text(&block[..100])),
        Form::V7 | Form::Gnu => text(&block[..100]).to_vec(),
    };
    let device = match form {
        Form::V7 => (0, 0),
        _ => (number(&block[329..337])?, number(&block[337..345])?),
    };
    let size = number(&block[124..136])?;
    Ok(Header {
        path,
        link: text(&block[157..257]).to_vec(),
        mode: (number(&block[100..108])? & 0o7777) as u32,
        uid: number(&block[108..116])?,
        gid: number(&block[116..124])?,
        size: u64::try_from(size).map_err(|_| "negative size")?,
        mtime: Time { seconds: number(&block[136..148])?, nanoseconds: 0 },
        flag: block[156],
        device,
    })
}

fn joined(prefix: &[u8], name: &[u8]) -> Vec<u8> {
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// Both sums are in use: some old writers added signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<(), &'static str> {
    let expected = number(&block[CHECKSUM]).map_err(|_| "bad checksum")?;
    let (mut unsigned, mut signed) = (8 * i64::from(b' '), 8 * i64::from(b' '));
    for part in [&block[..CHECKSUM.start], &block[CHECKSUM.end..]] {
        unsigned += part.iter().map(|&byte| u32::from(byte)).sum::<u32>() as i64;
        signed += part.iter().map(|&byte| i32::from(byte as i8)).sum::<i32>() as i64;
    }
    if expected == unsigned || expected == signed { Ok(()) } else { Err("bad checksum") }
}

/// A field up to its first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    &field[..memchr::memchr(0, field).unwrap_or(field.len())]
}

/// A number in octal digits, or in base 256 if the first bit is set.
pub(super) fn number(field: &[u8]) -> Result<i64, &'static str> {
    match field[0] {
        first if first & 0x80 != 0 => binary(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Result<i64, &'static str> {
    let pad = |byte: &u8| *byte == b' ' || *byte == 0;
    let Some(start) = field.iter().position(|byte| !pad(byte)) else { return Ok(0) };
    let digits = &field[start..];
    let end = digits.iter().position(pad).unwrap_or(digits.len());
    if !digits[end..].iter().all(pad) {
        return Err("bad number");
    }
    digits[..end].iter().try_fold(0i64, |value, &digit| match digit {
        b'0'..=b'7' => value
            .checked_mul(8)
            .and_then(|value| value.checked_add(i64::from(digit - b'0')))
            .ok_or("number too large"),
        _ => Err("bad number"),
    })
}

/// Two's complement, the first bit apart, the second one the sign.
fn binary(field: &[u8]) -> Result<i64, &'static str> {
    let negative = field[0] & 0x40 != 0;
    let fill = if negative { 0xff } else { 0 };
    let first = if negative { field[0] | 0x80 } else { field[0] & 0x7f };
    let mut bytes = [fill; 8];
    let low = field.len().min(8);
    bytes[8 - low..].copy_from_slice(&field[field.len() - low..]);
    if field.len() <= 8 {
        bytes[8 - low] = first;
    } else if first != fill || field[1..field.len() - 8].iter().any(|&byte| byte != fill) {
        return Err("number too large");
    }
    let value = i64::from_be_bytes(bytes);
    if (value < 0) == negative { Ok(value) } else { Err("number too large") }
}

/// The sparse map in an old GNU header.
pub(super) struct GnuSparse {
    /// Offsets and lengths, four at most.
    pub(super) parts: Vec<(i64, i64)>,
    /// Whether a block with more follows.
    pub(super) more: bool,
    /// The size with holes.
    pub(super) size: i64,
}

pub(super) fn gnu_sparse(block: &[u8; BLOCK]) -> Result<GnuSparse, &'static str> {
    let mut parts = Vec::new();
    parts_of(&block[386..482], &mut parts)?;
    Ok(GnuSparse { parts, more: block[482] != 0, size: number(&block[483..495])? })
}

/// The parts in a block that follows an old GNU header, and whether another one follows.
pub(super) fn gnu_sparse_more(
    block: &[u8; BLOCK],
    parts: &mut Vec<(i64, i64)>,
) -> Result<bool, &'static str> {
    parts_of(&block[..504], parts)?;
    Ok(block[504] != 0)
}

fn parts_of(fields: &[u8], parts: &mut Vec<(i64, i64)>) -> Result<(), &'static str> {
    for pair in fields.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        parts.push((number(&pair[..12])?, number(&pair[12..])?));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        let check = |field: &[u8], value: Result<i64, &str>| assert_eq!(number(field), value, "{field:?}");
        check(b"0000644\0", Ok(0o644));
        check(b"   644 \0", Ok(0o644));
        check(b"77777777", Ok(0o77_777_777));
        check(b"\0\0\0\0\0\0\0\0", Ok(0));
        check(b"        ", Ok(0));
        check(b"0000648\0", Err("bad number"));
        check(b"-000001\0", Err("bad number"));
        check(b"64 4    ", Err("bad number"));
        check(&[0x80, 0, 0, 0, 0, 0x20, 0, 0], Ok(0x20_0000));
        check(&[0xff; 12], Ok(-1));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], Ok(-2));
        check(&[0x80, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], Ok(1 << 56));
        check(&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], Err("number too large"));
        check(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Err("number too large"));
        check(b"7777777777777777777777777", Err("number too large"));
    }

    #[test]
    fn both_checksums_are_taken_and_no_other() {
        let mut block = [0u8; BLOCK];
        block[..3].copy_from_slice(b"n\xe9e");
        let sum =
            |block: &[u8; BLOCK]| -> u32 { block.iter().map(|&byte| u32::from(byte)).sum::<u32>() + 256 };
        let unsigned = sum(&block);
        block[CHECKSUM].copy_from_slice(format!("{unsigned:06o}\0 ").as_bytes());
        assert_eq!(parse(&block).unwrap().path, b"n\xe9e");
        block[CHECKSUM].copy_from_slice(format!("{:06o}\0 ", unsigned - 256).as_bytes());
        assert!(parse(&block).is_ok());
        block[CHECKSUM].copy_from_slice(format!("{:06o}\0 ", unsigned - 1).as_bytes());
        assert_eq!(parse(&block).unwrap_err(), "bad checksum");
    }
}
