//! Sparse files in their four spellings: old GNU headers, and pax 0.0, 0.1 and 1.0.

use super::pax::{Refused, unsigned};
use crate::{Error, Limits};

/// A piece of a sparse file that is not a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

/// What pax records say of a sparse file.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) parts: Vec<Part>,
    offset: Option<u64>,
    major: Option<u64>,
    minor: Option<u64>,
    has_map: bool,
}

impl PaxSparse {
    pub(super) fn take(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<(), Refused> {
        match key {
            b"major" => self.major = Some(unsigned(value)?),
            b"minor" => self.minor = Some(unsigned(value)?),
            b"name" if value.contains(&0) => return Err("a name with a NUL".into()),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(unsigned(value)?),
            b"numblocks" => {
                self.has_map = true;
                self.parts.clear();
            }
            b"offset" => self.offset = Some(unsigned(value)?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or("sparse part without an offset")?;
                self.push(Part { offset, length: unsigned(value)? }, limits)?;
            }
            b"map" => {
                self.has_map = true;
                self.parts.clear();
                let mut numbers = value.split(|&byte| byte == b',');
                while let Some(offset) = numbers.next().filter(|text| !text.is_empty()) {
                    let length = numbers.next().ok_or("bad sparse map")?;
                    self.push(Part { offset: unsigned(offset)?, length: unsigned(length)? }, limits)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, part: Part, limits: &Limits) -> Result<(), Refused> {
        check_count(self.parts.len(), limits).map_err(Refused::Limit)?;
        self.parts.push(part);
        Ok(())
    }

    /// Whether the map is in the data: version 1.0.
    pub(super) fn is_in_data(&self) -> bool {
        (self.major, self.minor) == (Some(1), Some(0))
    }

    pub(super) fn is_sparse(&self) -> bool {
        self.has_map || self.is_in_data()
    }
}

/// One more part is allowed.
pub(super) fn check_count(parts: usize, limits: &Limits) -> Result<(), Error> {
    if parts < limits.sparse_parts {
        return Ok(());
    }
    Err(Error::Limit { what: "parts of a sparse file", limit: limits.sparse_parts as u64 })
}

/// The parts are in order, inside the file, and exactly what is stored.
pub(super) fn check(parts: &[Part], size: u64, stored: u64) -> Result<(), &'static str> {
    let (mut end, mut total) = (0u64, 0u64);
    for part in parts {
        if part.offset < end {
            return Err("sparse parts overlap");
        }
        end = part
            .offset
            .checked_add(part.length)
            .filter(|&end| end <= size)
            .ok_or("sparse part beyond the end")?;
        total += part.length;
    }
    if total == stored { Ok(()) } else { Err("sparse map and size differ") }
}

/// Reads the decimal lines of a map of version 1.0 one byte at a time.
#[derive(Debug, Default)]
pub(super) struct MapReader {
    number: Option<u64>,
    wanted: Option<u64>,
    offset: Option<u64>,
    pub(super) parts: Vec<Part>,
}

impl MapReader {
    /// Takes bytes; how many, once the map is whole.
    pub(super) fn feed(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Refused> {
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                b'0'..=b'9' => {
                    let value = self.number.unwrap_or(0).checked_mul(10);
                    let value = value.and_then(|value| value.checked_add(u64::from(byte - b'0')));
                    self.number = Some(value.ok_or("bad sparse map")?);
                }
                b'\n' => {
                    let number = self.number.take().ok_or("bad sparse map")?;
                    if self.line(number, limits)? {
                        return Ok(Some(at + 1));
                    }
                }
                _ => return Err("bad sparse map".into()),
            }
        }
        Ok(None)
    }

    /// Takes a number; whether it was the last.
    fn line(&mut self, number: u64, limits: &Limits) -> Result<bool, Refused> {
        match (self.wanted, self.offset.take()) {
            (None, _) => self.wanted = Some(number),
            (Some(_), None) => self.offset = Some(number),
            (Some(_), Some(offset)) => {
                check_count(self.parts.len(), limits).map_err(Refused::Limit)?;
                self.parts.push(Part { offset, length: number });
            }
        }
        Ok(self.offset.is_none() && self.wanted == Some(self.parts.len() as u64))
    }
}
