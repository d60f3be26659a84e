//! What is put right at the start: what a power cut or a kill left.

use std::sync::Arc;

use gantry_metadata::{contents, ingests, leases, namespaces, snapshots};
use gantry_types::{Digest, ErrorKind};

use crate::Result;
use crate::content::ingest_key;
use crate::pull::TRANSFER_LABEL;
use crate::store::Inner;

/// The keys of ingests that no record names and that resume nevertheless: those of pulls.
pub(crate) const PULL_KEY: &str = "pull/";

/// Puts the store right. Blocks.
pub(crate) fn recover(inner: &Arc<Inner>) -> Result<()> {
    verify_blobs(inner)?;
    remove_unrecorded(inner)?;
    end_transfers(inner)?;
    inner.recover_mounts()?;
    for driver in inner.drivers.values() {
        let name = driver.name().to_owned();
        let forgotten = inner.write(move |change| Ok(snapshots::forget_unsynced(change, &name)?))?;
        if !forgotten.dropped.is_empty() {
            let count = forgotten.dropped.len();
            tracing::warn!(
                snapshotter = driver.name(),
                count,
                "unpacked layers were not yet on the disk when the machine stopped: they are unpacked again when they are needed"
            );
        }
        for (number, chain) in &forgotten.suspect {
            tracing::warn!(snapshotter = driver.name(), number, %chain, "a layer below a container was not yet on the disk when the machine stopped: its files may be damaged; remove the container and pull the image again");
        }
        if !forgotten.unsure.is_empty() {
            let count = forgotten.unsure.len();
            tracing::warn!(
                snapshotter = driver.name(),
                count,
                "containers' files that were not synced when the machine stopped may be lost"
            );
        }
        if !inner.is_foreign(driver.name()) {
            inner.remove_orphans(driver)?;
        }
    }
    Ok(())
}

/// Ends the leases of transfers that ended with the process before.
fn end_transfers(inner: &Inner) -> Result<()> {
    inner.write(|change| {
        for (namespace, _) in namespaces::list(change)? {
            for lease in leases::list(change, &namespace)? {
                if lease.labels.contains_key(TRANSFER_LABEL) {
                    leases::delete(change, &namespace, &lease.id)?;
                }
            }
        }
        Ok(())
    })
}

/// Looks at blobs whose bytes may not have reached the disk before the machine stopped.
fn verify_blobs(inner: &Inner) -> Result<()> {
    let unsure = inner.read(|view| Ok(contents::unsynced(view)?))?;
    let (mut whole, mut lost): (Vec<Digest>, usize) = (Vec::new(), 0);
    for (digest, size) in unsure {
        let right = match inner.content.info(&digest) {
            Ok(info) if info.size == size => inner.content.verify(&digest)?,
            Ok(_) => false,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error.into()),
        };
        if right {
            whole.push(digest);
        } else {
            lost += 1;
            inner.write(move |change| Ok(contents::forget(change, &digest)?))?;
        }
    }
    if lost > 0 {
        tracing::warn!(count = lost, "content was not yet on the disk when the machine stopped, and is gone");
    }
    if !whole.is_empty() {
        inner.content.sync(&whole)?;
        inner.write(move |change| Ok(contents::mark_synced(change, &whole)?))?;
    }
    Ok(())
}

/// Removes blobs and ingests that no record names. Bytes of interrupted pulls stay, to be resumed, until they are old.
fn remove_unrecorded(inner: &Inner) -> Result<()> {
    let mut removed = 0u64;
    for digest in inner.content.blobs()? {
        let digest = digest?.digest;
        if !inner.read(|view| Ok(contents::is_known(view, &digest)?))? {
            inner.content.remove(&digest)?;
            removed += 1;
        }
    }
    let known: std::collections::BTreeSet<String> = inner
        .read(|view| Ok(ingests::list_all(view)?))?
        .iter()
        .map(|(_, ingest)| ingest_key(ingest.id, &ingest.reference))
        .collect();
    for status in inner.content.statuses()? {
        if !status.key.starts_with(PULL_KEY) && !known.contains(&status.key) {
            inner.content.abort(&status.key)?;
            removed += 1;
        }
    }
    if removed > 0 {
        tracing::info!(count = removed, "content without a record was removed");
    }
    Ok(())
}
