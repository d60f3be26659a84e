use gantry_types::oci::{Device, Hooks, IntelRdt, Mount, NetDevice, OCI_VERSION, Spec};

use crate::devices::rule_of;
use crate::process::overlay_env;

/// What devices change in a container's configuration, complete but for the container's user.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edits {
    /// Variables, which replace their likes.
    pub env: Vec<String>,
    /// Device nodes, which replace those of the same path.
    pub nodes: Vec<Node>,
    /// Network devices: the host's name, and the container's.
    pub net_devices: Vec<(String, String)>,
    /// Mounts, which replace those of the same place.
    pub mounts: Vec<Mount>,
    /// Hooks, which follow those that are there.
    pub hooks: Hooks,
    /// Shares of caches and of memory bandwidth.
    pub intel_rdt: Option<IntelRdt>,
    /// Groups of the process; 0 is left out.
    pub additional_gids: Vec<u32>,
}

/// A device node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// Its path in the container.
    pub path: String,
    /// `c`, `b`, `u` or `p`.
    pub kind: String,
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner; the container's user if it is not said.
    pub uid: Option<u32>,
    /// Group; the container's if it is not said.
    pub gid: Option<u32>,
    /// Letters of `rwm`; all of them when empty.
    pub access: String,
}

/// Applies edits to a configuration.
pub(crate) fn apply(spec: &mut Spec, edits: &Edits) {
    process(spec, edits);
    linux(spec, edits);
    if !edits.mounts.is_empty() {
        for mount in &edits.mounts {
            spec.mounts.retain(|other| other.destination != mount.destination);
            spec.mounts.push(mount.clone());
        }
        // Stable: parents come before children, and the order is as it was where there are none.
        spec.mounts.sort_by_key(|mount| mount.destination.split('/').filter(|part| !part.is_empty()).count());
    }
    if edits.hooks != Hooks::default() {
        let hooks = spec.hooks.get_or_insert_default();
        hooks.prestart.extend(edits.hooks.prestart.iter().cloned());
        hooks.create_runtime.extend(edits.hooks.create_runtime.iter().cloned());
        hooks.create_container.extend(edits.hooks.create_container.iter().cloned());
        hooks.start_container.extend(edits.hooks.start_container.iter().cloned());
        hooks.poststart.extend(edits.hooks.poststart.iter().cloned());
        hooks.poststop.extend(edits.hooks.poststop.iter().cloned());
    }
}

fn process(spec: &mut Spec, edits: &Edits) {
    let Some(process) = &mut spec.process else { return };
    if !edits.env.is_empty() {
        process.env = overlay_env(std::mem::take(&mut process.env), &edits.env);
    }
    for gid in edits.additional_gids.iter().filter(|gid| **gid != 0) {
        if !process.user.additional_gids.contains(gid) {
            process.user.additional_gids.push(*gid);
        }
    }
}

fn linux(spec: &mut Spec, edits: &Edits) {
    let user = spec.process.as_ref().map(|process| &process.user);
    let (uid, gid) = user.map_or((0, 0), |user| (user.uid, user.gid));
    let own = |id: u32| (id > 0).then_some(id);
    let linux = spec.linux.get_or_insert_default();
    for node in &edits.nodes {
        let device = Device {
            path: node.path.clone(),
            type_: node.kind.clone(),
            major: node.major,
            minor: node.minor,
            file_mode: node.mode,
            uid: node.uid.or(own(uid)),
            gid: node.gid.or(own(gid)),
        };
        if matches!(device.type_.as_str(), "b" | "c") {
            let access = if node.access.is_empty() { "rwm" } else { &node.access };
            linux.resources.get_or_insert_default().devices.push(rule_of(&device, access.to_owned()));
        }
        linux.devices.retain(|other| other.path != device.path);
        linux.devices.push(device);
    }
    for (host, name) in &edits.net_devices {
        linux.net_devices.insert(host.clone(), NetDevice { name: name.clone() });
    }
    let newer = !edits.net_devices.is_empty()
        || edits.intel_rdt.as_ref().is_some_and(|rdt| !rdt.schemata.is_empty() || rdt.enable_monitoring);
    if let Some(rdt) = &edits.intel_rdt {
        linux.intel_rdt = Some(rdt.clone());
    }
    if newer {
        // These came with runtime-spec 1.3.0.
        OCI_VERSION.clone_into(&mut spec.oci_version);
    }
}
