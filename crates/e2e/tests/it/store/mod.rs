//! The daemon's store behind its containerd door, driven by Debian's real `ctr`, with real registries and archives.
//!
//! Proven on the reference: `GANTRY_DAEMON=containerd`.

mod archives;
mod containers;
mod content;
mod crash;
mod images;
mod mounts;
mod namespaces;
mod pull;
#[cfg(debug_assertions)]
mod server;
mod snapshots;
mod traces;
mod trees;

use gantry_e2e::images::samples;
use gantry_e2e::{Access, Gantryd, Registry, Tenant};
use gantry_testkit::Invocation;

/// The registry with that access, and the name under which it has the sample image.
fn sample(access: Access, tag: &str) -> (&'static Registry, String) {
    let registry = Registry::shared(access);
    let repository = format!("samples:{tag}");
    static PUSHED: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
    let mut pushed = PUSHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let name = registry.name(&repository);
    if !pushed.contains(&name) {
        registry.push(&samples().layout.name(tag), &repository);
        pushed.push(name.clone());
    }
    (registry, name)
}

/// `images pull` from the plain registry.
fn pull(tenant: &Tenant<'_>, name: &str) -> Invocation {
    tenant.ctr(["images", "pull", "--plain-http", name])
}

/// A namespace of the shared daemon with a sample image in it.
fn pulled(namespace: &'static str, tag: &str) -> (Tenant<'static>, String) {
    let tenant = Gantryd::shared().namespace(namespace);
    let (_, name) = sample(Access::Plain, tag);
    pull(&tenant, &name).run().ok();
    (tenant, name)
}
