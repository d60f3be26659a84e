use gantry_types::Labels;

use crate::{Error, labels};

/// The largest id: what follows is nobody.
const INVALID_ID: u32 = u32::MAX;

/// How ids of a container are mapped, as the labels of its snapshot say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMapping {
    uids: Vec<Range>,
    gids: Vec<Range>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    container: u32,
    host: u32,
    size: u32,
}

impl IdMapping {
    /// Reads the mapping of a snapshot, where its labels have one.
    ///
    /// # Errors
    /// InvalidArgument.
    pub fn of(labels: &Labels) -> Result<Option<Self>, Error> {
        let (uids, gids) = (labels.get(labels::UID_MAPPING), labels.get(labels::GID_MAPPING));
        if uids.is_none() && gids.is_none() {
            return Ok(None);
        }
        let parse = |text: Option<&String>| text.map_or(Ok(Vec::new()), |text| ranges(text));
        Ok(Some(Self { uids: parse(uids)?, gids: parse(gids)? }))
    }

    /// The user and group of the host that the container's root is. Without ranges an id is itself.
    ///
    /// # Errors
    /// InvalidArgument, if id 0 is not mapped.
    pub fn root(&self) -> Result<(u32, u32), Error> {
        Ok((to_host(0, &self.uids)?, to_host(0, &self.gids)?))
    }
}

fn invalid(text: &str, reason: &'static str) -> Error {
    Error::Invalid { what: "mapping of ids", text: text.to_owned(), reason }
}

fn ranges(text: &str) -> Result<Vec<Range>, Error> {
    text.split(',').filter(|part| !part.is_empty()).map(range).collect()
}

fn range(text: &str) -> Result<Range, Error> {
    let mut numbers = text.split(':').map(|part| match part.parse::<u32>() {
        Ok(number) if number != INVALID_ID && part.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        _ => Err(invalid(text, "an id or size is not a number below 4294967295")),
    });
    let mut next = || numbers.next().unwrap_or_else(|| Err(invalid(text, "it is not container:host:size")));
    let range = Range { container: next()?, host: next()?, size: next()? };
    if numbers.next().is_some() {
        return Err(invalid(text, "it is not container:host:size"));
    }
    Ok(range)
}

fn to_host(id: u32, ranges: &[Range]) -> Result<u32, Error> {
    if ranges.is_empty() {
        return Ok(id);
    }
    ranges
        .iter()
        .find_map(|range| {
            let offset = id.checked_sub(range.container).filter(|offset| *offset < range.size)?;
            range.host.checked_add(offset).filter(|host| *host != INVALID_ID)
        })
        .ok_or_else(|| invalid(&id.to_string(), "it is in no range of the mapping"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(uids: &str, gids: &str) -> Labels {
        let pairs = [(labels::UID_MAPPING, uids), (labels::GID_MAPPING, gids)];
        pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn no_label_is_no_mapping() {
        assert_eq!(IdMapping::of(&Labels::new()).unwrap(), None);
    }

    #[test]
    fn root_is_what_zero_is_mapped_to() {
        let check = |uids, gids, expect: Option<(u32, u32)>| {
            let root = IdMapping::of(&labels(uids, gids)).and_then(|mapping| mapping.unwrap().root());
            assert_eq!(root.ok(), expect, "{uids} {gids}");
        };
        check("0:100000:65536", "0:200000:65536", Some((100_000, 200_000)));
        check("1:5:10,0:7:1", "0:9:1", Some((7, 9)));
        check("", "0:9:1", Some((0, 9)));
        check("1:100000:65536", "0:200000:65536", None);
        check("0:100000:0", "0:0:1", None);
        check("0:4294967295:1", "0:0:1", None);
        check("0:1", "0:0:1", None);
        check("0:1:2:3", "0:0:1", None);
        check("0:-1:2", "0:0:1", None);
        check("+0:1:2", "0:0:1", None);
        check("0:1:x", "0:0:1", None);
    }

    #[test]
    fn one_label_alone_maps_the_other_ids_to_themselves() {
        let mut labels = labels("0:100000:65536", "");
        labels.remove(labels::GID_MAPPING);
        assert_eq!(IdMapping::of(&labels).unwrap().unwrap().root().unwrap(), (100_000, 0));
    }
}
