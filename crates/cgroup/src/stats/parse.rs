//! The formats of the kernel's statistics.

use std::collections::BTreeMap;

use super::model::{Blkio, BlkioEntry, Psi, PsiData, RdmaEntry};

/// One number, or `max`. Some counters of memory are negative for a moment, which counts as nothing.
pub(super) fn number(text: &str) -> Option<u64> {
    match text.trim_ascii() {
        "max" => Some(u64::MAX),
        text => match text.strip_prefix('-') {
            Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(0),
            None => text.parse().ok(),
        },
    }
}

/// Lines of `key number`.
pub(super) fn key_values(text: &str, mut each: impl FnMut(&str, u64)) -> Option<()> {
    for line in text.lines() {
        let (key, value) = line.split_once(' ')?;
        each(key, number(value)?);
    }
    Some(())
}

/// Lines of `key number`, as a table.
pub(super) fn table(text: &str) -> Option<BTreeMap<String, u64>> {
    let mut out = BTreeMap::new();
    key_values(text, |key, value| {
        out.insert(key.to_owned(), value);
    })?;
    Some(out)
}

/// Lines of `mlx4_0 hca_handle=2 hca_object=max`.
pub(super) fn rdma(text: &str) -> Option<Vec<RdmaEntry>> {
    text.lines().filter(|line| !line.is_empty()).map(rdma_device).collect()
}

fn rdma_device(line: &str) -> Option<RdmaEntry> {
    let mut words = line.split_ascii_whitespace();
    let mut entry = RdmaEntry { device: words.next()?.to_owned(), ..RdmaEntry::default() };
    for word in words {
        let (key, value) = word.split_once('=')?;
        let value = if value == "max" { u32::MAX } else { value.parse().ok()? };
        match key {
            "hca_handle" => entry.hca_handles = value,
            "hca_object" => entry.hca_objects = value,
            _ => {}
        }
    }
    Some(entry)
}

/// Numbers with spaces between them.
pub(super) fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split_ascii_whitespace().map(|word| word.parse().ok()).collect()
}

/// A list of CPUs or nodes, as `0-2,5`.
pub(super) fn ranges(text: &str) -> Option<Vec<u16>> {
    let mut out = Vec::new();
    for range in text.trim_ascii().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        if first > last {
            return None;
        }
        out.extend(first..=last);
    }
    Some(out)
}

/// Pressure: lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full …`.
pub(super) fn psi(text: &str) -> Option<Psi> {
    let mut psi = Psi::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let data = match words.next()? {
            "some" => &mut psi.some,
            "full" => &mut psi.full,
            _ => continue,
        };
        *data = psi_data(words)?;
    }
    Some(psi)
}

fn psi_data<'a>(words: impl Iterator<Item = &'a str>) -> Option<PsiData> {
    let mut data = PsiData::default();
    for word in words {
        let (key, value) = word.split_once('=')?;
        match key {
            "avg10" => data.avg10 = value.parse().ok()?,
            "avg60" => data.avg60 = value.parse().ok()?,
            "avg300" => data.avg300 = value.parse().ok()?,
            "total" => data.total = value.parse().ok()?,
            _ => {}
        }
    }
    Some(data)
}

/// A blkio file of v1: lines `8:0 Read 5` or `8:0 5`, and a total.
pub(super) fn blkio(text: &str) -> Option<Vec<BlkioEntry>> {
    let mut out = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split([' ', ':']).filter(|field| !field.is_empty()).collect();
        let (major, minor, op, value) = match fields.as_slice() {
            ["Total", _] => continue,
            [major, minor, value] => (major, minor, "", value),
            [major, minor, op, value] => (major, minor, *op, value),
            _ => return None,
        };
        out.push(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        });
    }
    Some(out)
}

/// `io.stat` of v2, in the tables of v1: lines `8:0 rbytes=1 wbytes=2 rios=3 …`.
pub(super) fn io_stat(text: &str) -> Option<Blkio> {
    let mut out = Blkio::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        // Some kernels print a device without a number, or without figures.
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        for word in words {
            let Some((key, value)) = word.split_once('=') else { continue };
            let (op, table) = match key {
                "rbytes" => ("Read", &mut out.io_service_bytes_recursive),
                "wbytes" => ("Write", &mut out.io_service_bytes_recursive),
                "rios" => ("Read", &mut out.io_serviced_recursive),
                "wios" => ("Write", &mut out.io_serviced_recursive),
                _ => continue,
            };
            table.push(BlkioEntry { major, minor, op: op.into(), value: value.parse().ok()? });
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read() {
        for (text, value) in
            [("5\n", Some(5)), ("max\n", Some(u64::MAX)), ("-3", Some(0)), ("", None), ("-x", None)]
        {
            assert_eq!(number(text), value, "{text:?}");
        }
        assert_eq!(numbers("1 22 \n3\n"), Some(vec![1, 22, 3]));
        assert_eq!(numbers("1 a"), None);
    }

    #[test]
    fn rdma_devices_are_read() {
        let read = rdma("mlx4_0 hca_handle=2 hca_object=max\nocrdma1 hca_handle=1 hca_object=5\n").unwrap();
        let entry = |device: &str, hca_handles, hca_objects| RdmaEntry {
            device: device.into(),
            hca_handles,
            hca_objects,
        };
        assert_eq!(read, [entry("mlx4_0", 2, u32::MAX), entry("ocrdma1", 1, 5)]);
        assert_eq!(rdma(""), Some(Vec::new()));
        assert!(rdma("mlx4_0 hca_handle").is_none() && rdma("mlx4_0 hca_handle=-1").is_none());
    }

    #[test]
    fn lists_are_expanded() {
        assert_eq!(ranges("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(ranges("\n"), Some(vec![]));
        for bad in ["2-1", "a", "1-", "70000"] {
            assert_eq!(ranges(bad), None, "{bad}");
        }
    }

    #[test]
    fn pressure_is_read() {
        let text = "some avg10=1.50 avg60=0.20 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
        let psi = psi(text).unwrap();
        assert_eq!((psi.some.avg10, psi.some.total, psi.full.total), (1.5, 77, 3));
        assert!(super::psi("some avg10").is_none());
    }

    #[test]
    fn block_io_of_both_versions_fills_the_same_tables() {
        let v1 = blkio("8:0 Read 5\n8:0 Write 6\nTotal 11\n").unwrap();
        let v2 = io_stat("8:0 rbytes=5 wbytes=6 rios=1 wios=2 dbytes=0 dios=0\n7:0 \nnonsense\n").unwrap();
        assert_eq!(v2.io_service_bytes_recursive, v1);
        assert_eq!(v2.io_serviced_recursive[1].value, 2);
        assert_eq!(blkio("8:0 7\n").unwrap()[0].op, "");
        assert!(
            blkio("8:0\n").is_none()
                && io_stat("8:x rbytes=1").is_none()
                && io_stat("8:0 rbytes=x").is_none()
        );
    }
}
