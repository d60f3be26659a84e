//! A file: read strictly, as the reference implementation does, and checked.

use std::collections::{BTreeMap, BTreeSet};

use gantry_types::oci::{Hook, IntelRdt, from_json};
use serde::{Deserialize, Deserializer};

use super::name::{is_kind, is_name};
use super::{Error, MAX_DEVICES, MAX_ENTRIES, MAX_FILE_BYTES, at_most};

/// Versions that add nothing to what is read here.
const VERSIONS: [&str; 8] = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];
const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
/// How deep a file may nest: twice of what its shape needs.
const MAX_DEPTH: usize = 32;
/// The most nodes of a file's YAML, with everything that aliases repeat.
const MAX_NODES: usize = 1 << 20;
/// The longest path or name of anything.
const MAX_TEXT_BYTES: usize = 4096;

/// `null` is what Go writes for an empty list.
fn nullable<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    #[serde(default, deserialize_with = "nullable")]
    cdi_version: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "nullable")]
    annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) devices: Vec<Device>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) container_edits: ContainerEdits,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "nullable")]
    annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) container_edits: ContainerEdits,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ContainerEdits {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) env: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) device_nodes: Vec<DeviceNode>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) net_devices: Vec<NetDevice>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) hooks: Vec<NamedHook>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) mounts: Vec<Mount>,
    #[serde(default)]
    pub(super) intel_rdt: Option<Rdt>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) additional_gids: Vec<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceNode {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) path: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) host_path: String,
    #[serde(default, rename = "type", deserialize_with = "nullable")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) major: i64,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) minor: i64,
    #[serde(default)]
    pub(super) file_mode: Option<u32>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) permissions: String,
    #[serde(default)]
    pub(super) uid: Option<u32>,
    #[serde(default)]
    pub(super) gid: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NetDevice {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) host_interface_name: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NamedHook {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) hook_name: String,
    #[serde(default, deserialize_with = "nullable")]
    path: String,
    #[serde(default, deserialize_with = "nullable")]
    args: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    env: Vec<String>,
    #[serde(default)]
    timeout: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) host_path: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) container_path: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) options: Vec<String>,
    #[serde(default, rename = "type", deserialize_with = "nullable")]
    pub(super) kind: String,
}

/// Intel's Resource Director Technology; the last two fields were in versions before 1.1.0.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rdt {
    #[serde(default, rename = "closID", deserialize_with = "nullable")]
    clos_id: String,
    #[serde(default, deserialize_with = "nullable")]
    l3_cache_schema: String,
    #[serde(default, deserialize_with = "nullable")]
    mem_bw_schema: String,
    #[serde(default, deserialize_with = "nullable")]
    schemata: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    enable_monitoring: bool,
    #[serde(default, rename = "enableCMT", deserialize_with = "nullable")]
    enable_cmt: bool,
    #[serde(default, rename = "enableMBM", deserialize_with = "nullable")]
    enable_mbm: bool,
}

impl Document {
    /// Reads a file: JSON if that is how its name ends, else YAML.
    pub(super) fn parse(path: &str, bytes: &[u8]) -> Result<Self, Error> {
        at_most("bytes", bytes.len(), MAX_FILE_BYTES)?;
        let document: Self =
            if path.ends_with(".json") { from_json(bytes).map_err(Error::Json)? } else { yaml(bytes)? };
        document.check()?;
        Ok(document)
    }

    /// The kind's two parts.
    pub(super) fn vendor_and_class(&self) -> (&str, &str) {
        self.kind.split_once('/').unwrap_or_default()
    }

    fn check(&self) -> Result<(), Error> {
        if !VERSIONS.contains(&self.cdi_version.trim_start_matches('v')) {
            return Err(Error::Version(self.cdi_version.chars().take(64).collect()));
        }
        let (vendor, class) = self.vendor_and_class();
        if !is_kind(vendor) || !is_kind(class) {
            return Err(Error::invalid("kind", &self.kind, "it is vendor/class"));
        }
        at_most("devices of a file", self.devices.len(), MAX_DEVICES)?;
        at_most("annotations", self.annotations.len(), MAX_ENTRIES)?;
        if self.devices.is_empty() {
            return Err(Error::invalid("kind", &self.kind, "there are no devices"));
        }
        self.container_edits.check()?;
        let mut names = BTreeSet::new();
        for device in &self.devices {
            at_most("annotations", device.annotations.len(), MAX_ENTRIES)?;
            if !is_name(&device.name) || device.name.len() > MAX_TEXT_BYTES {
                return Err(Error::invalid("device name", &device.name, "it is no name"));
            }
            if !names.insert(&device.name) {
                return Err(Error::invalid("device name", &device.name, "there are two of it"));
            }
            if device.container_edits == ContainerEdits::default() {
                return Err(Error::invalid("device", &device.name, "it has no edits"));
            }
            device.container_edits.check()?;
        }
        Ok(())
    }
}

fn yaml(bytes: &[u8]) -> Result<Document, Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_total_scalar_bytes: 2 * MAX_FILE_BYTES,
            max_documents: 1,
        },
        // `fileMode: 0660` is meant, and read by others, as YAML 1.1.
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_slice_with_options(bytes, options).map_err(|error| Error::Yaml(Box::new(error)))
}

fn text(what: &'static str, value: &str) -> Result<(), Error> {
    if value.is_empty() {
        return Err(Error::invalid(what, value, "it is empty"));
    }
    if value.len() > MAX_TEXT_BYTES || value.contains('\0') {
        return Err(Error::invalid(what, value, "it is too long, or has a zero byte"));
    }
    Ok(())
}

fn path(what: &'static str, value: &str) -> Result<(), Error> {
    text(what, value)?;
    if value.starts_with('/') { Ok(()) } else { Err(Error::invalid(what, value, "it is not absolute")) }
}

fn env(list: &[String]) -> Result<(), Error> {
    at_most("variables", list.len(), MAX_ENTRIES)?;
    match list.iter().find(|entry| entry.find('=').is_none_or(|at| at == 0) || entry.contains('\0')) {
        Some(entry) => Err(Error::invalid("variable", entry, "it is not KEY=value")),
        None => Ok(()),
    }
}

impl ContainerEdits {
    fn check(&self) -> Result<(), Error> {
        env(&self.env)?;
        at_most("device nodes", self.device_nodes.len(), MAX_ENTRIES)?;
        at_most("mounts", self.mounts.len(), MAX_ENTRIES)?;
        at_most("hooks", self.hooks.len(), MAX_ENTRIES)?;
        at_most("groups", self.additional_gids.len(), MAX_ENTRIES)?;
        at_most("network devices", self.net_devices.len(), MAX_ENTRIES)?;
        self.device_nodes.iter().try_for_each(DeviceNode::check)?;
        self.hooks.iter().try_for_each(NamedHook::check)?;
        self.mounts.iter().try_for_each(Mount::check)?;
        self.intel_rdt.iter().try_for_each(Rdt::check)?;
        let mut seen = BTreeSet::new();
        for device in &self.net_devices {
            text("network device", &device.host_interface_name)?;
            text("network device", &device.name)?;
            if !seen.insert((0, &device.host_interface_name)) || !seen.insert((1, &device.name)) {
                return Err(Error::invalid("network device", &device.name, "there are two of it"));
            }
        }
        Ok(())
    }
}

impl DeviceNode {
    fn check(&self) -> Result<(), Error> {
        path("device node", &self.path)?;
        if !self.host_path.is_empty() {
            path("device node", &self.host_path)?;
        }
        if !matches!(self.kind.as_str(), "" | "b" | "c" | "u" | "p") {
            return Err(Error::invalid("device type", &self.kind, "it is b, c, u or p"));
        }
        if !self.permissions.is_empty() && !crate::devices::is_access(&self.permissions) {
            return Err(Error::invalid("device permissions", &self.permissions, "it is of the letters rwm"));
        }
        Ok(())
    }
}

impl NamedHook {
    fn check(&self) -> Result<(), Error> {
        if !HOOKS.contains(&self.hook_name.as_str()) {
            return Err(Error::invalid("hook", &self.hook_name, "there is no such point"));
        }
        path("hook", &self.path)?;
        env(&self.env)?;
        at_most("arguments", self.args.len(), MAX_ENTRIES)?;
        if self.args.iter().any(|arg| arg.contains('\0')) {
            return Err(Error::invalid("hook", &self.path, "an argument has a zero byte"));
        }
        match self.timeout {
            Some(..=0) => Err(Error::invalid("hook", &self.path, "its timeout is not positive")),
            _ => Ok(()),
        }
    }

    pub(super) fn hook(&self) -> Hook {
        Hook {
            path: self.path.clone(),
            args: self.args.clone(),
            env: self.env.clone(),
            timeout: self.timeout,
        }
    }
}

impl Mount {
    fn check(&self) -> Result<(), Error> {
        text("mount", &self.host_path)?;
        path("mount", &self.container_path)?;
        at_most("options of a mount", self.options.len(), MAX_ENTRIES)?;
        self.options.iter().try_for_each(|option| text("mount option", option))
    }
}

impl Rdt {
    /// The group is a directory below /sys/fs/resctrl, or that itself.
    fn check(&self) -> Result<(), Error> {
        let name = self.clos_id.as_str();
        let whole = name == "/" || name.is_empty();
        if !whole && (matches!(name, "." | "..") || name.contains(['/', '\n'])) {
            return Err(Error::invalid("closID", name, "it is no file name"));
        }
        let lines = self.schemata.iter().chain([&self.l3_cache_schema, &self.mem_bw_schema, &self.clos_id]);
        let long = lines.clone().find(|line| line.len() > MAX_TEXT_BYTES || line.contains('\0'));
        match long.or_else(|| self.schemata.iter().find(|line| line.contains('\n'))) {
            Some(line) => Err(Error::invalid("schema", line, "it is too long, or not one line")),
            None => at_most("schemata", self.schemata.len(), MAX_ENTRIES),
        }
    }

    pub(super) fn settings(&self) -> IntelRdt {
        IntelRdt {
            clos_id: self.clos_id.clone(),
            schemata: self.schemata.clone(),
            l3_cache_schema: self.l3_cache_schema.clone(),
            mem_bw_schema: self.mem_bw_schema.clone(),
            enable_monitoring: self.enable_monitoring || self.enable_cmt || self.enable_mbm,
        }
    }
}
