//! The records of a pax extended header.

use super::Time;
use super::sparse::PaxSparse;
use crate::{Error, Limits};

const SCHILY: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE: &[u8] = b"LIBARCHIVE.xattr.";

/// What extended headers say of the entry that follows.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<Time>,
    pub(super) atime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: PaxSparse,
}

/// Why records were not taken: malformed, or too much.
pub(super) enum Refused {
    Malformed(&'static str),
    Limit(Error),
}

impl From<&'static str> for Refused {
    fn from(reason: &'static str) -> Self {
        Self::Malformed(reason)
    }
}

impl Extensions {
    /// Reads all records of one extended header.
    pub(super) fn parse(mut records: &[u8], limits: &Limits) -> Result<Self, Refused> {
        let mut extensions = Self::default();
        while !records.is_empty() {
            let record = first_record(records)?;
            extensions.take(record.key, record.value, limits)?;
            records = record.rest;
        }
        Ok(extensions)
    }

    fn take(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<(), Refused> {
        match key {
            b"path" => self.path = name(value)?,
            b"linkpath" => self.link = name(value)?,
            b"size" => self.size = optional(value, unsigned)?,
            b"uid" => self.uid = optional(value, signed)?,
            b"gid" => self.gid = optional(value, signed)?,
            b"mtime" => self.mtime = optional(value, time)?,
            b"atime" => self.atime = optional(value, time)?,
            _ if key.starts_with(SCHILY) => {
                self.xattr(key[SCHILY.len()..].to_vec(), value.to_vec(), limits)?
            }
            _ if key.starts_with(LIBARCHIVE) => {
                let name = percent_decoded(&key[LIBARCHIVE.len()..])?;
                // Where both are, the one that needs no decoding counts.
                if !self.xattrs.iter().any(|(known, _)| *known == name) {
                    self.xattr(name, base64_decoded(value)?, limits)?;
                }
            }
            _ if key.starts_with(b"GNU.sparse.") => {
                self.sparse.take(&key[b"GNU.sparse.".len()..], value, limits)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn xattr(&mut self, name: Vec<u8>, value: Vec<u8>, limits: &Limits) -> Result<(), Refused> {
        if name.is_empty() || name.contains(&0) {
            return Err("bad name of an extended attribute".into());
        }
        if value.len() > limits.xattr_bytes {
            let (what, limit) = ("bytes of an extended attribute", limits.xattr_bytes as u64);
            return Err(Refused::Limit(Error::Limit { what, limit }));
        }
        if let Some(known) = self.xattrs.iter_mut().find(|(known, _)| *known == name) {
            known.1 = value;
        } else if self.xattrs.len() == limits.xattrs {
            let (what, limit) = ("extended attributes of an entry", limits.xattrs as u64);
            return Err(Refused::Limit(Error::Limit { what, limit }));
        } else {
            self.xattrs.push((name, value));
        }
        Ok(())
    }
}

/// `length key=value\n`, and what follows it.
struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

fn first_record(bytes: &[u8]) -> Result<Record<'_>, &'static str> {
    const BAD: &str = "bad pax record";
    let space = bytes.iter().take(20).position(|&byte| byte == b' ').ok_or(BAD)?;
    let length = usize::try_from(unsigned(&bytes[..space])?).map_err(|_| BAD)?;
    if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
        return Err(BAD);
    }
    let text = &bytes[space + 1..length - 1];
    let equals = memchr::memchr(b'=', text).filter(|&at| at > 0).ok_or(BAD)?;
    Ok(Record { key: &text[..equals], value: &text[equals + 1..], rest: &bytes[length..] })
}

/// An empty value takes the record back: what the header says counts.
fn optional<T>(
    value: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, &'static str>,
) -> Result<Option<T>, &'static str> {
    if value.is_empty() { Ok(None) } else { parse(value).map(Some) }
}

fn name(value: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    if value.contains(&0) {
        return Err("a name with a NUL");
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

/// A decimal number.
pub(super) fn unsigned(digits: &[u8]) -> Result<u64, &'static str> {
    const BAD: &str = "bad decimal number";
    if digits.is_empty() || digits.len() > 19 {
        return Err(BAD);
    }
    let value = digits.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    });
    value.filter(|&value| i64::try_from(value).is_ok()).ok_or(BAD)
}

fn signed(text: &[u8]) -> Result<i64, &'static str> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value = unsigned(digits)? as i64;
    Ok(if negative { -value } else { value })
}

/// Seconds with a fraction, of which nine digits count.
fn time(text: &[u8]) -> Result<Time, &'static str> {
    let (whole, fraction) = match memchr::memchr(b'.', text) {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err("bad time");
    }
    let seconds = signed(whole)?;
    let nanoseconds =
        (0..9).fold(0, |value, at| value * 10 + fraction.get(at).map_or(0, |&digit| u32::from(digit - b'0')));
    if whole.starts_with(b"-") && nanoseconds > 0 {
        return Ok(Time { seconds: seconds.saturating_sub(1), nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Ok(Time { seconds, nanoseconds })
}

fn percent_decoded(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let hex = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let value = hex.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        out.push(value.ok_or("bad name of an extended attribute")?);
        rest = &after[2..];
    }
    Ok(out)
}

/// libarchive's base64 has no padding.
fn base64_decoded(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0u32, 0);
    for &byte in text.iter().filter(|&&byte| byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err("bad base64"),
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(records: &[u8]) -> Result<Extensions, &'static str> {
        Extensions::parse(records, &Limits::default()).map_err(|refused| match refused {
            Refused::Malformed(reason) => reason,
            Refused::Limit(_) => "limit",
        })
    }

    fn records(pairs: &[(&str, &[u8])]) -> Vec<u8> {
        let one = |(key, value): &(&str, &[u8])| {
            let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
            let length =
                (rest.len()..).find(|length| rest.len() + length.to_string().len() == *length).unwrap();
            [length.to_string().as_bytes(), &rest].concat()
        };
        pairs.iter().flat_map(one).collect()
    }

    #[test]
    fn records_are_read_and_the_last_of_a_key_counts() {
        let bytes = records(&[
            ("path", b"a"),
            ("path", b"bb"),
            ("uid", b"99999999"),
            ("mtime", b"-1.25"),
            ("gid", b""),
            ("comment", b"x"),
        ]);
        let found = parse(&bytes).unwrap();
        assert_eq!(found.path.unwrap(), b"bb");
        assert_eq!((found.uid, found.gid), (Some(99_999_999), None));
        assert_eq!(found.mtime, Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"5 a=b\n"[..],
            b"7 a=b\n",
            b"6 =ab\n",
            b"x a=b\n",
            b"0 a=b\n",
            b"99999999999999999999 a=b\n",
            b"6 a=b",
            b"12 path=a\0b\n",
            b"11 size=-1\n",
            b"11 mtime=x\n",
        ] {
            assert!(parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn attributes_come_in_two_spellings() {
        let bytes = records(&[("SCHILY.xattr.user.a", b"\0\n\xff"), ("LIBARCHIVE.xattr.user.b%3D", b"aGkh")]);
        let found = parse(&bytes).unwrap();
        assert_eq!(found.xattrs[0], (b"user.a".to_vec(), b"\0\n\xff".to_vec()));
        assert_eq!(found.xattrs[1], (b"user.b=".to_vec(), b"hi!".to_vec()));
        let many = Limits { xattrs: 1, ..Limits::default() };
        let records = records(&[("SCHILY.xattr.user.a", b""), ("SCHILY.xattr.user.b", b"")]);
        assert!(matches!(Extensions::parse(&records, &many), Err(Refused::Limit(_))));
    }
}
