//! Statistics of a container, in the shape of runc's `events --stats`.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod model;
mod parse;
mod v1;
mod v2;

pub use model::*;

use rustix::io::Errno;

use crate::cgroup::{Cgroup, Node};
use crate::error::Error;
use crate::hierarchy::Mode;

impl Cgroup {
    /// Reads all statistics. What the kernel or the host does not count is absent.
    ///
    /// # Errors
    /// `NotFound` if the cgroup is gone; `Internal` for a file that is not as documented.
    pub fn stats(&self) -> Result<Stats, Error> {
        match self.mode {
            Mode::V2 => v2::read(self),
            _ => v1::read(self),
        }
    }
}

/// The files of one directory.
struct Source<'a> {
    node: &'a Node,
}

impl Source<'_> {
    /// The content of a file, if the kernel has it.
    fn text(&self, file: &str) -> Result<Option<String>, Error> {
        match self.node.dir().and_then(|dir| dir.read(file)) {
            Ok(text) => Ok(Some(text)),
            // Pressure files exist and refuse where the kernel was told not to count.
            Err(Errno::NOENT | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(self.node.error("reading the statistics of")(errno)),
        }
    }

    fn parsed<T>(&self, file: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Error> {
        let Some(text) = self.text(file)? else { return Ok(None) };
        let malformed = || Error::Malformed { path: self.node.path.clone(), file: file.to_owned() };
        parse(&text).map(Some).ok_or_else(malformed)
    }

    fn number(&self, file: &str) -> Result<Option<u64>, Error> {
        self.parsed(file, parse::number)
    }

    /// The files are the same in both versions.
    fn rdma(&self) -> Result<Rdma, Error> {
        let entries = |file| Ok::<_, Error>(self.parsed(file, parse::rdma)?.unwrap_or_default());
        Ok(Rdma { current: entries("rdma.current")?, limit: entries("rdma.max")? })
    }
}

/// The sizes of huge pages that the kernel has, as they stand in file names.
fn huge_page_sizes() -> Vec<String> {
    let Ok(dir) = crate::dir::Dir::open(std::path::Path::new("/sys/kernel/mm/hugepages")) else {
        return Vec::new();
    };
    let names = dir.children().unwrap_or_default();
    let mut sizes: Vec<u64> = names
        .iter()
        .filter_map(|name| name.to_str().ok()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok())
        .collect();
    sizes.sort_unstable();
    sizes
        .into_iter()
        .map(|kib| match kib {
            0..1024 => format!("{kib}KB"),
            1024..1_048_576 => format!("{}MB", kib >> 10),
            _ => format!("{}GB", kib >> 20),
        })
        .collect()
}
