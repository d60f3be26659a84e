//! Mounts, as they are.

use gantry_docker_api::container::{HostConfig, MountPoint as ApiPoint};
use gantry_engine::{MountKind, MountPoint, Record};

/// The mounts of a container. Those of `--tmpfs` are docker's secret.
pub(super) fn mounts(record: &Record, host: &HostConfig) -> Vec<ApiPoint> {
    let is_shown = |point: &&MountPoint| {
        point.kind != MountKind::Tmpfs || !host.tmpfs.keys().any(|target| same_path(target, &point.target))
    };
    record.mounts.iter().filter(is_shown).map(mount).collect()
}

/// Whether two texts name the same place: the engine's are cleaned.
fn same_path(asked: &str, clean: &str) -> bool {
    let parts = |path: &str| {
        path.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect::<Vec<_>>()
    };
    parts(asked) == parts(clean)
}

fn mount(point: &MountPoint) -> ApiPoint {
    let kind = match point.kind {
        MountKind::Bind => "bind",
        MountKind::Volume => "volume",
        MountKind::Tmpfs => "tmpfs",
        MountKind::Image => "image",
    };
    ApiPoint {
        kind: kind.to_owned(),
        name: point.name.clone(),
        source: point.source.clone(),
        destination: point.target.clone(),
        driver: point.driver.clone(),
        mode: point.mode.clone(),
        rw: point.writable,
        propagation: point.propagation.clone(),
    }
}
