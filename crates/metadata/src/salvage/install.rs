//! The new database in the place of the damaged one.
//!
//! ```text
//!   link aside ─► new file as meta.db.repaired ═╪═► the old log goes ─► meta.db.repaired as meta.db
//!                                               └ from here on, the next open does the rest
//! ```

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::source::failed;
use super::{Report, Salvage};
use crate::database::{FILE, SUSPECT};
use crate::time::Timestamp;
use crate::{Error, connection};

/// What is put after its name for a new database that waits for its place.
const REPAIRED: &str = ".repaired";
const LOG: &str = "-wal";

impl Salvage {
    /// Keeps the damaged files aside, and puts the new database in their place. Tells where they are now, if there were any.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn install(self) -> Result<(Report, Option<PathBuf>), Error> {
        let Self { new, directory, report, work, .. } = self;
        // The log is written back by the last connection.
        new.close().map_err(|(_, error)| error)?;
        let (path, made) = (directory.join(FILE), work.0.join(FILE));
        File::open(&made).and_then(|file| file.sync_all()).map_err(failed(&made))?;
        let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let mut names = (1_u32..).map(|count| match count {
            1 => connection::beside(&path, &format!(".damaged-{stamp}")),
            count => connection::beside(&path, &format!(".damaged-{stamp}.{count}")),
        });
        let aside = names.find(|aside| !aside.exists()).unwrap_or_default();
        let kept = link(&path, &aside)?;
        link(&connection::beside(&path, LOG), &connection::beside(&aside, LOG))?;
        sync(&directory)?;
        let repaired = connection::beside(&path, REPAIRED);
        fs::rename(&made, &repaired).map_err(failed(&repaired))?;
        sync(&directory)?;
        finish(&directory)?;
        Ok((report, kept.then_some(aside)))
    }
}

/// Ends an installation that was cut off.
pub(crate) fn finish(directory: &Path) -> Result<(), Error> {
    let path = directory.join(FILE);
    let repaired = connection::beside(&path, REPAIRED);
    if !repaired.exists() {
        return Ok(());
    }
    // Before the rename: the log of one database must not meet another.
    for suffix in [LOG, "-shm", SUSPECT] {
        remove(&connection::beside(&path, suffix))?;
    }
    sync(directory)?;
    fs::rename(&repaired, &path).map_err(failed(&path))?;
    sync(directory)
}

/// Gives a file a second name; whether it is there.
fn link(from: &Path, to: &Path) -> Result<bool, Error> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(to)(error)),
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

fn sync(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed(directory))
}
