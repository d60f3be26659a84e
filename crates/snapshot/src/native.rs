//! Snapshots as whole copies, for where overlayfs does not work: every active snapshot has all files of its parent,
//! with blocks shared where the file system can share them.

use std::path::Path;

use gantry_types::Mount;

use crate::root::Root;
use crate::{ApplyTarget, Capabilities, Driver, Error, Format, Kind, Request, SnapshotNumber, Usage, tree};

/// The name of the driver, in containerd's words.
const NAME: &str = "native";
/// The directory of a snapshot's files.
const FILES: &str = "fs";

/// The driver.
#[derive(Debug)]
pub struct Native {
    root: Root,
    /// The root's path, as mounts have it.
    path: String,
}

impl Native {
    /// Opens the driver's directory, after making it where it is missing.
    ///
    /// # Errors
    /// InvalidArgument for a path that cannot stand in a mount; what making the directory gives.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let path = root.to_str().filter(|_| root.is_absolute()).ok_or_else(|| Error::Invalid {
            what: "directory of snapshots",
            text: root.to_string_lossy().into_owned(),
            reason: "it is not an absolute path in UTF-8",
        })?;
        let path = path.trim_end_matches('/').to_owned();
        Ok(Self { root: Root::open(root)?, path })
    }
}

impl Driver for Native {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn root(&self) -> &Path {
        self.root.path()
    }

    fn prepare(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        request: &Request<'_>,
    ) -> Result<(), Error> {
        // A view of a parent is the parent: it needs nothing of its own.
        if request.kind == Kind::View && !parents.is_empty() {
            return Ok(());
        }
        let from = parents.first().map(|parent| self.root.open_part(*parent, FILES)).transpose()?;
        self.root.make(number, |dir| {
            let make = || {
                let files = tree::make_directory(dir, FILES, 0o755)?;
                from.map_or(Ok(()), |from| tree::copy(from, files))
            };
            make().map_err(Error::io("copy files to", self.root.path_of(number, FILES)))
        })
    }

    fn mounts(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        request: &Request<'_>,
    ) -> Result<Vec<Mount>, Error> {
        let (source, access) = match (request.kind, parents) {
            (Kind::Active, _) => (number, "rw"),
            (_, []) => (number, "ro"),
            (_, [parent, ..]) => (*parent, "ro"),
        };
        Ok(vec![Mount {
            kind: "bind".to_owned(),
            source: format!("{}/{source}/{FILES}", self.path),
            target: String::new(),
            options: vec!["rbind".to_owned(), access.to_owned()],
        }])
    }

    fn commit(&self, number: SnapshotNumber, _parents: &[SnapshotNumber]) -> Result<Usage, Error> {
        self.usage(number)
    }

    fn usage(&self, number: SnapshotNumber) -> Result<Usage, Error> {
        let files = self.root.open_part(number, FILES)?;
        tree::usage(files).map_err(Error::io("count the files of", self.root.path_of(number, FILES)))
    }

    fn remove(&self, numbers: &[SnapshotNumber]) -> Result<(), Error> {
        self.root.remove(numbers)
    }

    fn collect(&self) -> Result<u64, Error> {
        self.root.collect()
    }

    fn cleanup(&self, known: &dyn Fn(SnapshotNumber) -> bool) -> Result<Vec<SnapshotNumber>, Error> {
        self.root.cleanup(known)
    }

    fn highest(&self) -> Result<Option<SnapshotNumber>, Error> {
        self.root.highest()
    }

    fn layers(&self, number: SnapshotNumber, _parents: &[SnapshotNumber]) -> Result<ApplyTarget, Error> {
        let upper = self.root.open_part(number, FILES)?;
        Ok(ApplyTarget { upper, lower: Vec::new(), format: Format::Plain })
    }

    fn sync(&self, number: SnapshotNumber) -> Result<(), Error> {
        self.root.sync(number)
    }

    fn shown_label(&self, _number: SnapshotNumber) -> Option<(&'static str, String)> {
        None
    }
}
