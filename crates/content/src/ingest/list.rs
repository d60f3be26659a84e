//! Ingests from outside: status, abort, clean-up.

use std::path::PathBuf;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;

use super::Status;
use super::record::Record;
use crate::Error;
use crate::failpoint::hit;
use crate::layout::Layout;
use crate::lock::{End, Taken, directory_of};
use crate::store::{Shared, modified, size};

/// How long the name of an ingest's directory is.
const NAME_LENGTH: usize = 64;

pub(crate) fn status(store: &Shared, key: &str) -> Result<Status, Error> {
    let found = status_in(&store.layout, &directory_of(key))?;
    found.filter(|status| status.key == key).ok_or_else(|| Error::NoIngest(key.to_owned()))
}

pub(crate) fn statuses(store: &Shared) -> Result<Vec<Status>, Error> {
    let mut all = Vec::new();
    for name in names(&store.layout)? {
        all.extend(status_in(&store.layout, &name)?);
    }
    Ok(all)
}

pub(crate) fn abort(store: &Shared, key: &str) -> Result<(), Error> {
    let name = directory_of(key);
    let error = || Error::file("removing", &store.layout.ingest_path(&name));
    match store.locks.take(key, None) {
        Ok(lock) => {
            lock.unpark();
            status(store, key)?;
            remove(&store.layout, &name).map_err(error())
        }
        Err(Taken::By(held)) => {
            let ended = held.end(End::Aborted, || remove(&store.layout, &name)).map_err(error())?;
            ended.map_or(Ok(()), |_| Err(Error::NoIngest(key.to_owned())))
        }
        Err(taken) => Err(taken.into()),
    }
}

pub(crate) fn remove_idle(store: &Shared, keep: impl Fn(&Status) -> bool) -> Result<Vec<String>, Error> {
    let now = SystemTime::now();
    let is_idle = |status: &Status| {
        now.duration_since(status.updated_at).is_ok_and(|age| age >= store.options.idle_ingest_age)
    };
    let mut removed = Vec::new();
    for status in statuses(store)? {
        if !is_idle(&status) || keep(&status) {
            continue;
        }
        // Whoever writes to it, however slowly, keeps it. Somebody may have come since it was listed.
        let Ok(lock) = store.locks.take(&status.key, None) else { continue };
        if self::status(store, &status.key).is_ok_and(|status| is_idle(&status)) {
            lock.unpark();
            remove(&store.layout, lock.name()).map_err(Error::file("removing", &path(store, lock.name())))?;
            removed.push(status.key);
        }
    }
    Ok(removed)
}

/// Removes directories that a killed process had not finished making, or not finished removing. Only while nobody else has
/// the store.
pub(crate) fn remove_broken(store: &Shared) -> Result<(), Error> {
    for name in names(&store.layout)? {
        if status_in(&store.layout, &name)?.is_none() {
            remove(&store.layout, &name).map_err(Error::file("removing", &path(store, &name)))?;
        }
    }
    Ok(())
}

/// Removes the files of an ingest, and its directory. The status goes first: without it, there is no ingest.
pub(crate) fn remove(layout: &Layout, name: &str) -> Result<(), Errno> {
    for file in ["status", "status.new", "data"] {
        match rustix::fs::unlinkat(layout.ingest(), format!("{name}/{file}").as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => hit("remove.file"),
            Err(errno) => return Err(errno),
        }
    }
    match rustix::fs::unlinkat(layout.ingest(), name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn path(store: &Shared, name: &str) -> PathBuf {
    store.layout.ingest_path(name)
}

/// Nothing if the directory holds no ingest, or not any more.
fn status_in(layout: &Layout, name: &str) -> Result<Option<Status>, Error> {
    let error = || Error::file("reading", &layout.ingest_path(name));
    let Some(record) = Record::read(layout, name).map_err(error())? else { return Ok(None) };
    match rustix::fs::statat(layout.ingest(), format!("{name}/data").as_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(record.status(size(&stat), modified(&stat)))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(error()(errno)),
    }
}

/// The names of all directories of ingests.
fn names(layout: &Layout) -> Result<Vec<String>, Error> {
    let list = || -> Result<Vec<String>, Errno> {
        let mut names = Vec::new();
        for entry in Dir::read_from(layout.ingest())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.len() == NAME_LENGTH && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                names.push(name);
            }
        }
        Ok(names)
    };
    list().map_err(Error::file("listing", &layout.ingest_path("")))
}
