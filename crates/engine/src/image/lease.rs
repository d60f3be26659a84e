//! Leases of what an operation makes, until it has its name.

use gantry_primitives::Context;
use gantry_types::{Labels, labels};
use jiff::{SignedDuration, Timestamp};

use crate::{Engine, Result, names};

/// Marks leases that do not outlive the daemon, as the store's own transfers do.
const TRANSFER_LABEL: &str = "io.gantry/transfer";
/// How long one lasts if nobody ends it.
const LASTS: SignedDuration = SignedDuration::from_hours(24);

/// Keeps what is made with its context. Dropping it ends it in the background.
pub(crate) struct Lease {
    engine: Engine,
    id: Option<String>,
    /// For whatever makes something.
    pub(crate) context: Context,
}

impl Engine {
    /// Begins a lease.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn lease(&self) -> Result<Lease> {
        let id = format!("engine-{}", names::id());
        let expires = Timestamp::now().checked_add(LASTS).unwrap_or(Timestamp::MAX);
        let marks = [(labels::GC_EXPIRE, expires.to_string()), (TRANSFER_LABEL, "true".to_owned())];
        let labels: Labels = marks.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let lease =
            Lease { engine: self.clone(), context: self.context().with_lease(&id), id: Some(id.clone()) };
        self.shared.store.lease_create(self.shared.namespace.clone(), id, labels).await?;
        Ok(lease)
    }
}

impl Lease {
    /// Ends it, and waits for that.
    pub(crate) async fn end(mut self) {
        if let Some(id) = self.id.take() {
            end(&self.engine, id).await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(id) = self.id.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let engine = self.engine.clone();
            runtime.spawn(async move { end(&engine, id).await });
        }
    }
}

async fn end(engine: &Engine, id: String) {
    let ended = engine.shared.store.lease_delete(engine.shared.namespace.clone(), id, false).await;
    if let Err(error) = ended {
        tracing::warn!(%error, "the lease of an image stays until it expires");
    }
}
