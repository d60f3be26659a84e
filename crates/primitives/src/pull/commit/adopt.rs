//! A snapshot that becomes that of the layer that was made of it: nothing is unpacked that is there.

use std::sync::Arc;

use gantry_metadata::snapshots;
use gantry_snapshot::SnapshotNumber;
use gantry_types::{ChainId, ErrorKind, Labels};

use crate::store::Inner;
use crate::{Context, Error, Result, Store};

/// What becomes of an active snapshot.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// The snapshotter; empty for the usual one.
    pub snapshotter: String,
    /// The name of the active snapshot, which is gone then.
    pub key: String,
    /// The chain that it stands on; None for nothing.
    pub parent: Option<ChainId>,
    /// The chain with the layer that was made of it.
    pub chain: ChainId,
}

impl Store {
    /// Makes of an active snapshot, whose layer is stored, the snapshot of that layer. Nothing may write to it any more. Where the
    /// chain has a snapshot already, the active one is removed.
    ///
    /// # Errors
    /// NotFound for the key; FailedPrecondition for one that is not active, or stands on something else.
    pub async fn snapshot_adopt(&self, context: Context, adoption: Adoption) -> Result<()> {
        self.blocking(move |inner| inner.adopt(&context, &adoption)).await
    }
}

impl Inner {
    fn adopt(&self, context: &Context, adoption: &Adoption) -> Result<()> {
        let driver = Arc::clone(self.driver(&adoption.snapshotter)?);
        let name = driver.name().to_owned();
        let _guard = self.chains.lock(&name, &adoption.chain);
        let stack = self.stack(&context.namespace, &name, &adoption.key)?;
        let parent = adoption.parent.as_ref().map(|parent| parent.as_str().to_owned());
        if stack.snapshot.parent != parent {
            let reason = "stands on another one than its layer".to_owned();
            return Err(Error::Refused { what: "snapshot", name: adoption.key.clone(), reason });
        }
        let (context, key) = (context.clone(), adoption.key.clone());
        if self.hold_chain(&context, &name, &adoption.chain)? {
            return self.write(move |change| {
                let lease = context.lease.as_deref();
                match snapshots::remove(change, &context.namespace, &name, &key, lease) {
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                    result => Ok(result.map(drop)?),
                }
            });
        }
        let number = SnapshotNumber(stack.snapshot.number);
        let _lock = self.snapshot_locks.lock(number);
        let usage = driver.commit(number, &stack.parents)?;
        let chain = adoption.chain.clone();
        self.write(move |change| {
            let commit = snapshots::Commit {
                driver: &name,
                key: &key,
                name: chain.as_str(),
                parent: parent.as_deref(),
                labels: &Labels::new(),
                usage: gantry_metadata::Usage { size: usage.size, inodes: usage.inodes },
                chain: Some(&chain),
                lease: context.lease.as_deref(),
            };
            snapshots::commit(change, &context.namespace, &commit)?;
            Ok(())
        })
    }
}
