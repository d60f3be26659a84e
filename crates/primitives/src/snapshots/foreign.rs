//! A snapshotter of another program as a driver: it is asked by keys that are made of our numbers.
//!
//! ```text
//!   number 7, active ──► "gantry/7"      committed ──► "gantry/7/committed"
//! ```
//! Its records know nothing of our namespaces and names, which are ours alone. It is asked only when somebody asks us: a peer
//! that does not run stops no start of the daemon.

use std::path::{Path, PathBuf};

use gantry_snapshot::{
    ApplyTarget, Capabilities, Driver, Error, Format, Kind, Request, SnapshotNumber, Snapshotter, Usage,
};
use gantry_types::labels::SNAPSHOT_REF;
use gantry_types::{ErrorKind, Labels, Mount};

use super::proxy::{Blocking, Proxy};
use crate::diff::view;

/// What all our keys begin with.
const PREFIX: &str = "gantry/";
/// What the name of a committed snapshot ends with.
const COMMITTED: &str = "/committed";

/// A snapshotter behind a socket.
pub(crate) struct Foreign {
    name: String,
    socket: PathBuf,
    capabilities: Capabilities,
    peer: Blocking,
}

impl Foreign {
    /// The snapshotter `name` behind `socket`, which has these capabilities. Needs a tokio runtime; connects later.
    pub(crate) fn new(
        name: &str,
        socket: &Path,
        capabilities: Capabilities,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let peer = Blocking::new(Proxy::new(socket, name), runtime);
        Self { name: name.to_owned(), socket: socket.to_owned(), capabilities, peer }
    }

    fn parent(parents: &[SnapshotNumber]) -> Option<String> {
        parents.first().map(|parent| committed_key(*parent))
    }

    /// Removes a snapshot, whatever it has become.
    fn remove_one(&self, number: SnapshotNumber) -> Result<(), Error> {
        for key in [committed_key(number), active_key(number)] {
            match self.peer.remove(&key) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => return result,
            }
        }
        Ok(())
    }

    fn unsupported(&self, what: &'static str) -> Error {
        Error::Unsupported { driver: self.name.clone(), what }
    }
}

fn active_key(number: SnapshotNumber) -> String {
    format!("{PREFIX}{number}")
}

fn committed_key(number: SnapshotNumber) -> String {
    format!("{PREFIX}{number}{COMMITTED}")
}

/// The number that a key of ours is made of.
fn number_of(key: &str) -> Option<SnapshotNumber> {
    let rest = key.strip_prefix(PREFIX)?;
    rest.strip_suffix(COMMITTED).unwrap_or(rest).parse().ok().map(SnapshotNumber)
}

impl Driver for Foreign {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn root(&self) -> &Path {
        &self.socket
    }

    fn prepare(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        request: &Request<'_>,
    ) -> Result<(), Error> {
        let mut labels = gantry_snapshot::labels::inherited(request.labels);
        if let Some(name) = labels.get_mut(SNAPSHOT_REF) {
            *name = committed_key(number);
        }
        let (key, parent) = (active_key(number), Self::parent(parents));
        let made = match request.kind {
            Kind::View => self.peer.view(&key, parent.as_deref(), &labels),
            _ => self.peer.prepare(&key, parent.as_deref(), &labels),
        };
        made.map(drop)
    }

    fn mounts(
        &self,
        number: SnapshotNumber,
        _parents: &[SnapshotNumber],
        _request: &Request<'_>,
    ) -> Result<Vec<Mount>, Error> {
        self.peer.mounts(&active_key(number))
    }

    fn commit(&self, number: SnapshotNumber, parents: &[SnapshotNumber]) -> Result<Usage, Error> {
        let name = committed_key(number);
        let parent = Self::parent(parents).filter(|_| self.capabilities.rebase);
        match self.peer.commit(&name, &active_key(number), parent.as_deref(), &Labels::new()) {
            // A remote snapshotter has committed what it has by itself.
            Err(error)
                if [ErrorKind::NotFound, ErrorKind::AlreadyExists].contains(&error.kind())
                    && self.peer.stat(&name).is_ok() => {}
            result => result?,
        }
        self.peer.usage(&name)
    }

    fn usage(&self, number: SnapshotNumber) -> Result<Usage, Error> {
        self.peer.usage(&active_key(number))
    }

    fn remove(&self, numbers: &[SnapshotNumber]) -> Result<(), Error> {
        // Children have larger numbers than parents, but for rebased ones: those are tried again.
        let mut left = numbers.to_vec();
        left.sort_by_key(|number| std::cmp::Reverse(*number));
        while !left.is_empty() {
            let before = left.len();
            let mut refused = None;
            left.retain(|number| match self.remove_one(*number) {
                Ok(()) => false,
                Err(error) => {
                    refused = Some(error);
                    true
                }
            });
            match refused {
                Some(error) if left.len() == before => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn collect(&self) -> Result<u64, Error> {
        Ok(0)
    }

    fn cleanup(&self, known: &dyn Fn(SnapshotNumber) -> bool) -> Result<Vec<SnapshotNumber>, Error> {
        let mut unknown = Vec::new();
        self.peer.walk(&[], &mut |info| {
            unknown.extend(number_of(&info.name).filter(|number| !known(*number)));
            Ok(())
        })?;
        self.remove(&unknown)?;
        match self.peer.cleanup() {
            Err(error) if error.kind() != ErrorKind::Unimplemented => Err(error),
            _ => Ok(unknown),
        }
    }

    fn highest(&self) -> Result<Option<SnapshotNumber>, Error> {
        // Numbers that were given out are on record; the peer is not asked at the start.
        Ok(None)
    }

    fn layers(&self, number: SnapshotNumber, _parents: &[SnapshotNumber]) -> Result<ApplyTarget, Error> {
        let mounts = self.peer.mounts(&active_key(number))?;
        let unfit = |_| self.unsupported("give mounts that a layer can be applied to");
        let [mount] = mounts.as_slice() else { return Err(self.unsupported("give one mount")) };
        let parts = view::parts(mount).map_err(unfit)?;
        let upper = parts.upper.ok_or_else(|| self.unsupported("give a mount to write to"))?;
        let open = |path: &String| view::open_directory(path).map_err(unfit);
        let lower = parts.lower.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let format = match mount.kind.as_str() {
            "overlay" => Format::Overlay { user_xattr: parts.user_xattr },
            _ => Format::Plain,
        };
        Ok(ApplyTarget { upper: open(&upper)?, lower, format })
    }

    fn sync(&self, _number: SnapshotNumber) -> Result<(), Error> {
        // The contract has no word for it: the peer answers for its own files.
        Ok(())
    }

    fn shown_label(&self, _number: SnapshotNumber) -> Option<(&'static str, String)> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_of_numbers_and_read_again() {
        let number = SnapshotNumber(7);
        assert_eq!(number_of(&active_key(number)), Some(number));
        assert_eq!(number_of(&committed_key(number)), Some(number));
        for key in ["gantry/", "gantry/x", "gantry/7/other", "other/7"] {
            assert_eq!(number_of(key), None, "{key}");
        }
    }
}
