use std::path::Path;

use gantry_types::Mount;

use super::{FILES, Overlayfs, WORK};
use crate::{Error, Kind, Request, SnapshotNumber, labels};

/// What separates paths and options in the string that mount(2) takes, and what escapes.
const SEPARATORS: [char; 3] = [',', ':', '\\'];

/// The path as a string that needs no escapes in mount options.
pub(super) fn checked_path(root: &Path) -> Result<String, Error> {
    let invalid = |reason| Error::Invalid {
        what: "directory of snapshots",
        text: root.to_string_lossy().into_owned(),
        reason,
    };
    let text = root.to_str().ok_or_else(|| invalid("it is not UTF-8"))?;
    if !root.is_absolute() {
        return Err(invalid("it is not an absolute path"));
    }
    if text.contains(SEPARATORS) {
        return Err(invalid("mount options cannot carry a comma, a colon or a backslash"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

impl Overlayfs {
    /// Where a part of a snapshot lies.
    pub(super) fn part(&self, number: SnapshotNumber, part: &str) -> String {
        format!("{}/{number}/{part}", self.path)
    }

    pub(super) fn mounts_of(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        request: &Request<'_>,
    ) -> Result<Vec<Mount>, Error> {
        let mapping = self.mapping(request);
        let mount = match (request.kind, parents) {
            (Kind::Committed, _) => {
                return Err(Error::Invalid {
                    what: "kind of snapshot",
                    text: Kind::Committed.as_str().to_owned(),
                    reason: "only an active snapshot or a view is mounted",
                });
            }
            // overlayfs cannot be of one directory.
            (Kind::Active, []) => bind(self.part(number, FILES), mapping, "rw"),
            (Kind::View, []) => bind(self.part(number, FILES), mapping, "ro"),
            (Kind::View, [parent]) => bind(self.part(*parent, FILES), mapping, "ro"),
            (kind, parents) => self.overlay(number, kind, parents, mapping, request.volatile),
        };
        Ok(vec![mount])
    }

    fn overlay(
        &self,
        number: SnapshotNumber,
        kind: Kind,
        parents: &[SnapshotNumber],
        mut options: Vec<String>,
        volatile: bool,
    ) -> Mount {
        if kind == Kind::Active {
            options.push(format!("workdir={}", self.part(number, WORK)));
            options.push(format!("upperdir={}", self.part(number, FILES)));
        }
        let layers = parents.iter().map(|parent| self.part(*parent, FILES)).collect::<Vec<_>>();
        options.push(format!("lowerdir={}", layers.join(":")));
        options.extend(self.options.mount_options.iter().cloned());
        let written = kind == Kind::Active && volatile;
        if written && !super::has_option(&self.options.mount_options, "volatile") {
            options.push("volatile".to_owned());
        }
        Mount { kind: "overlay".to_owned(), source: "overlay".to_owned(), target: String::new(), options }
    }

    /// The options by which a client maps the ids of the layers.
    fn mapping(&self, request: &Request<'_>) -> Vec<String> {
        if !self.capabilities.remap_ids {
            return Vec::new();
        }
        let options = [("uidmap", labels::UID_MAPPING), ("gidmap", labels::GID_MAPPING)];
        options
            .into_iter()
            .filter_map(|(option, label)| request.labels.get(label).map(|value| format!("{option}={value}")))
            .collect()
    }
}

fn bind(source: String, mut options: Vec<String>, access: &str) -> Mount {
    options.extend([access.to_owned(), "rbind".to_owned()]);
    Mount { kind: "bind".to_owned(), source, target: String::new(), options }
}
