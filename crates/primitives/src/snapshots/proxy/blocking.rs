use std::future::Future;

use gantry_snapshot::{Each, Error, Info, Snapshotter, Usage};
use gantry_types::{Labels, Mount};
use tokio::runtime::Handle;

use super::Proxy;

/// A [`Proxy`] for callers on blocking threads. It must not be called on a thread of the runtime.
#[derive(Debug, Clone)]
pub struct Blocking {
    proxy: Proxy,
    runtime: Handle,
}

impl Blocking {
    /// Carries out the proxy's calls on `runtime`.
    #[must_use]
    pub fn new(proxy: Proxy, runtime: Handle) -> Self {
        Self { proxy, runtime }
    }

    fn wait<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }
}

impl Snapshotter for Blocking {
    fn stat(&self, key: &str) -> Result<Info, Error> {
        self.wait(self.proxy.stat(key))
    }

    fn update(&self, info: &Info, fields: &[String]) -> Result<Info, Error> {
        self.wait(self.proxy.update(info, fields))
    }

    fn usage(&self, key: &str) -> Result<Usage, Error> {
        self.wait(self.proxy.usage(key))
    }

    fn mounts(&self, key: &str) -> Result<Vec<Mount>, Error> {
        self.wait(self.proxy.mounts(key))
    }

    fn prepare(&self, key: &str, parent: Option<&str>, labels: &Labels) -> Result<Vec<Mount>, Error> {
        self.wait(self.proxy.prepare(key, parent, labels))
    }

    fn view(&self, key: &str, parent: Option<&str>, labels: &Labels) -> Result<Vec<Mount>, Error> {
        self.wait(self.proxy.view(key, parent, labels))
    }

    fn commit(&self, name: &str, key: &str, parent: Option<&str>, labels: &Labels) -> Result<(), Error> {
        self.wait(self.proxy.commit(name, key, parent, labels))
    }

    fn remove(&self, key: &str) -> Result<(), Error> {
        self.wait(self.proxy.remove(key))
    }

    fn walk(&self, filters: &[String], each: &mut Each<'_>) -> Result<(), Error> {
        let mut listing = self.wait(self.proxy.list(filters))?;
        // `each` may call us: it is not called inside the runtime.
        while let Some(batch) = self.wait(listing.next())? {
            batch.iter().try_for_each(&mut *each)?;
        }
        Ok(())
    }

    fn cleanup(&self) -> Result<(), Error> {
        self.wait(self.proxy.cleanup())
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}
