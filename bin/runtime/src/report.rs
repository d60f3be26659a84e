//! What `state` and `list` tell of a container.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use gantry_runtime::{Snapshot, Status};
use serde::Serialize;

/// The user database of the host, and how much of it is read.
const PASSWD: &str = "/etc/passwd";
const MAX_PASSWD_BYTES: u64 = 4 << 20;

/// One container, in runc's words and order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report<'a> {
    pub(crate) oci_version: &'a str,
    pub(crate) id: &'a str,
    pub(crate) pid: i32,
    pub(crate) status: String,
    pub(crate) bundle: &'a Path,
    pub(crate) rootfs: &'a Path,
    pub(crate) created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: &'a BTreeMap<String, String>,
    pub(crate) owner: String,
}

impl<'a> Report<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot, owner: String) -> Self {
        let Snapshot { record, status } = snapshot;
        Self {
            oci_version: &record.oci_version,
            id: &record.id,
            pid: if *status == Status::Stopped { 0 } else { record.pid },
            status: status.to_string(),
            bundle: &record.bundle,
            rootfs: &record.rootfs,
            created: &record.created,
            annotations: &record.annotations,
            owner,
        }
    }
}

/// The text that Go's encoder gives with two spaces, without a newline at its end: as runc prints it.
pub(crate) fn to_pretty_json(report: &Report<'_>) -> String {
    serde_json::to_string_pretty(report).expect("plain data has a form in JSON")
}

/// The names of the host's users, read at most once and only when somebody asks.
#[derive(Default)]
pub(crate) struct Users {
    text: Option<String>,
}

impl Users {
    /// The name of a user, or `#` and his number if he has none.
    pub(crate) fn name(&mut self, uid: u32) -> String {
        let text = self.text.get_or_insert_with(read_passwd);
        find_name(text, uid).map_or_else(|| format!("#{uid}"), str::to_owned)
    }
}

fn read_passwd() -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(PASSWD) {
        // Half a table is better than none: the name is for people's eyes.
        let _ = file.take(MAX_PASSWD_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Finds a user in the format of passwd(5): `name:password:uid:…`.
fn find_name(table: &str, uid: u32) -> Option<&str> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(annotations: &BTreeMap<String, String>) -> Report<'_> {
        Report {
            oci_version: "1.3.0",
            id: "a",
            pid: 7,
            status: "running".to_owned(),
            bundle: Path::new("/b"),
            rootfs: Path::new("/b/r"),
            created: "2026-11-21T01:38:20.5Z",
            annotations,
            owner: "root".to_owned(),
        }
    }

    #[test]
    fn reports_have_the_order_of_runc() {
        let mut annotations = BTreeMap::new();
        assert_eq!(
            serde_json::to_string(&report(&annotations)).unwrap(),
            r#"{"ociVersion":"1.3.0","id":"a","pid":7,"status":"running","bundle":"/b","rootfs":"/b/r","created":"2026-11-21T01:38:20.5Z","owner":"root"}"#
        );
        annotations.insert("k".to_owned(), "v".to_owned());
        let text = to_pretty_json(&report(&annotations));
        assert!(
            text.ends_with("  \"annotations\": {\n    \"k\": \"v\"\n  },\n  \"owner\": \"root\"\n}"),
            "{text}"
        );
    }

    #[test]
    fn users_are_found_by_number() {
        let table = "root:x:0:0:root:/root:/bin/sh\nodd line\nu:x:1000:1000::/:\n";
        for (uid, expect) in [(0, Some("root")), (1000, Some("u")), (1, None)] {
            assert_eq!(find_name(table, uid), expect);
        }
    }
}
