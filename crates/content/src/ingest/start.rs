//! The beginning of an ingest, or its resumption.

use std::fs::File;
use std::sync::Arc;
use std::time::SystemTime;

use gantry_types::{Algorithm, Digest, Hasher};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::record::Record;
use super::{Ingest, hash, list};
use crate::Error;
use crate::failpoint::hit;
use crate::layout::GROWING;
use crate::lock::Lock;
use crate::store::{Shared, size};

/// The longest key whatever the options say: its status, with up to six bytes for each, is read to 64 KiB.
const MOST_KEY_BYTES: usize = 8 << 10;

/// What an ingest goes on from.
struct Begun {
    file: File,
    hasher: Hasher,
    offset: u64,
    record: Record,
}

pub(crate) fn start(
    store: &Arc<Shared>,
    key: &str,
    total: Option<u64>,
    expected: Option<&Digest>,
) -> Result<Ingest, Error> {
    let options = &store.options;
    let limit = options.max_key_bytes.min(MOST_KEY_BYTES);
    if key.is_empty() || key.len() > limit {
        return Err(Error::Key { length: key.len(), limit });
    }
    if total.is_some_and(|total| total > options.max_blob_bytes) {
        return Err(Error::TooLarge(options.max_blob_bytes));
    }
    if let Some(digest) = expected {
        match store.layout.stat_blob(digest) {
            Err(Error::NoBlob(_)) => {}
            Err(error) => return Err(error),
            Ok(_) if store.flusher.is_damaged(digest) => {}
            Ok(_) => return Err(Error::Exists(digest.clone())),
        }
    }
    let lock = store.locks.take(key, Some(options.max_ingests))?;
    let error = |action| Error::file(action, &store.layout.ingest_path(lock.name()));
    let resumed = resume(store, &lock, total, expected).map_err(error("resuming"))?;
    let begun = match resumed {
        Some(begun) => begun,
        None => create(store, &lock, total, expected).map_err(error("creating"))?,
    };
    Ok(Ingest {
        store: Arc::clone(store),
        file: Arc::new(begun.file),
        hasher: begun.hasher,
        offset: begun.offset,
        written_back: begun.offset,
        noted: begun.offset,
        record: begun.record,
        announced: (total, expected.cloned()),
        over: false,
        lock,
    })
}

/// Goes on where the last writer stopped; nothing if there was none, or its bytes are worth nothing.
fn resume(
    store: &Shared,
    lock: &Lock,
    total: Option<u64>,
    expected: Option<&Digest>,
) -> Result<Option<Begun>, Errno> {
    let parked = lock.unpark();
    let Some(old) = Record::read(&store.layout, lock.name())? else { return Ok(None) };
    let other_total = total.is_some() && old.total.is_some() && total != old.total;
    if old.key != lock.key() || other_total {
        return Ok(None);
    }
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = format!("{}/data", lock.name());
    let file = match rustix::fs::openat(store.layout.ingest(), path.as_str(), flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::LOOP | Errno::ISDIR) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let stat = rustix::fs::fstat(&file)?;
    // A second name would be a blob whose rename a power cut split in two.
    let is_ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1;
    if !is_ours || size(&stat) > store.options.max_blob_bytes {
        return Ok(None);
    }
    let mut record = old.clone();
    record.total = total.or(old.total);
    record.expected = expected.or(old.expected.as_ref()).cloned();
    record.boot.clone_from(&store.boot);
    let algorithm = expected.map_or(Algorithm::Sha256, Digest::algorithm);

    let length = if old.boot == store.boot { size(&stat) } else { proven(&file, &old, size(&stat))? };
    if length != size(&stat) {
        rustix::fs::ftruncate(&file, length)?;
    }
    let hasher = match parked {
        Some((offset, hasher)) if offset == length && hasher.clone().finish().algorithm() == algorithm => {
            hasher
        }
        _ => hash(&file, algorithm, length)?,
    };
    if record != old {
        record.replace(&store.layout, lock.name())?;
    }
    Ok(Some(Begun { file, hasher, offset: length, record }))
}

/// How many of the bytes that another boot wrote are what was written.
fn proven(file: &File, old: &Record, size: u64) -> Result<u64, Errno> {
    let Some(checkpoint) = old.checkpoint.as_ref().filter(|checkpoint| checkpoint.offset <= size) else {
        return Ok(0);
    };
    let found = hash(file, checkpoint.digest.algorithm(), checkpoint.offset)?.finish();
    Ok(if found == checkpoint.digest { checkpoint.offset } else { 0 })
}

/// Begins anew, whatever is there.
fn create(
    store: &Shared,
    lock: &Lock,
    total: Option<u64>,
    expected: Option<&Digest>,
) -> Result<Begun, Errno> {
    let (layout, name) = (&store.layout, lock.name());
    match rustix::fs::mkdirat(layout.ingest(), name, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            list::remove(layout, name)?;
            rustix::fs::mkdirat(layout.ingest(), name, Mode::RWXU)?;
        }
        Err(errno) => return Err(errno),
    }
    hit("start.directory");
    let now = SystemTime::now();
    let record = Record {
        key: lock.key().to_owned(),
        total,
        expected: expected.cloned(),
        started_at: now,
        updated_at: now,
        boot: store.boot.clone(),
        checkpoint: None,
    };
    let open = || {
        record.create(layout, name)?;
        hit("start.status");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::openat(layout.ingest(), format!("{name}/data").as_str(), flags, GROWING)
    };
    let file = match open() {
        Ok(file) => File::from(file),
        Err(errno) => {
            // A full disk: it leaves nothing behind.
            let _ = list::remove(layout, name);
            return Err(errno);
        }
    };
    hit("start.data");
    let algorithm = expected.map_or(Algorithm::Sha256, Digest::algorithm);
    Ok(Begun { file, hasher: Hasher::new(algorithm), offset: 0, record })
}
