//! How a container's runtime is to be run: what a daemon's configuration says of it.

use std::path::{Path, PathBuf};

use gantry_proto_shim::any::Any;
use gantry_proto_shim::options::{GenericOptions, Options};
use gantry_runtime::{CgroupDriver, Host, Parent};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The largest configuration text that is read, in bytes.
const MAX_TEXT_BYTES: usize = 64 << 10;
/// Where the linked runtime keeps its containers, below it one directory a namespace.
pub(crate) const RUNTIME_ROOT: &str = "/run/gantry/runtime";
/// Where external runtimes keep theirs, as containerd has it.
const EXTERNAL_ROOT: &str = "/run/containerd/runc";

/// The options of `containerd.runc.v1.Options`, or of the same names in a TOML section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RuntimeOptions {
    /// Enter the root by moving it.
    #[serde(alias = "NoPivotRoot")]
    pub(crate) no_pivot_root: bool,
    /// Keep the shim's session keyring.
    #[serde(alias = "NoNewKeyring")]
    pub(crate) no_new_keyring: bool,
    /// The cgroup that the shim moves to.
    #[serde(alias = "ShimCgroup")]
    pub(crate) shim_cgroup: String,
    /// The user and group that own the standard streams.
    #[serde(alias = "IoUid")]
    pub(crate) io_uid: u32,
    #[serde(alias = "IoGid")]
    pub(crate) io_gid: u32,
    /// An external runtime; empty for the linked one.
    #[serde(alias = "BinaryName")]
    pub(crate) binary_name: String,
    /// The runtime's state directory.
    #[serde(alias = "Root")]
    pub(crate) root: String,
    /// Whether systemd keeps the cgroups.
    #[serde(alias = "SystemdCgroup")]
    pub(crate) systemd_cgroup: bool,
    /// Where images of checkpoints, and criu's own files, are.
    #[serde(alias = "CriuImagePath")]
    pub(crate) criu_image_path: String,
    #[serde(alias = "CriuWorkPath")]
    pub(crate) criu_work_path: String,
}

impl RuntimeOptions {
    /// Reads a request's options; none are the default ones.
    ///
    /// # Errors
    /// InvalidArgument for options of a type that is not known, or that cannot be read.
    pub(crate) fn decode(any: Option<&Any>) -> Result<Self, Failure> {
        let Some(any) = any.filter(|any| !any.type_url.is_empty()) else { return Ok(Self::default()) };
        if any.is::<Options>() {
            let options = any.unpack::<Options>().map_err(|error| Failure::invalid(error.to_string()))?;
            return Ok(options.into());
        }
        if any.is::<GenericOptions>() {
            let generic =
                any.unpack::<GenericOptions>().map_err(|error| Failure::invalid(error.to_string()))?;
            return Self::from_generic(&generic);
        }
        Err(Failure::invalid(format!("runtime options of the unknown type {:?}", any.type_url)))
    }

    /// What can be read of a request's options without a file: for the record of a container that is being made.
    pub(crate) fn in_memory(any: Option<&Any>) -> Self {
        let by_path = any
            .and_then(|any| any.unpack::<GenericOptions>().ok())
            .is_some_and(|generic| generic.config_body.is_empty() && !generic.config_path.is_empty());
        if by_path { Self::default() } else { Self::decode(any).unwrap_or_default() }
    }

    fn from_generic(generic: &GenericOptions) -> Result<Self, Failure> {
        let text = if !generic.config_body.is_empty() {
            String::from_utf8_lossy(&generic.config_body).into_owned()
        } else if generic.config_path.is_empty() {
            return Ok(Self::default());
        } else {
            read_text(Path::new(&generic.config_path))?
        };
        if text.len() > MAX_TEXT_BYTES {
            return Err(Failure::invalid(format!("runtime options larger than {MAX_TEXT_BYTES} bytes")));
        }
        toml::from_str(&text).map_err(|error| Failure::invalid(format!("runtime options: {error}")))
    }

    /// The directory of the runtime's containers of a namespace.
    pub(crate) fn state_root(&self, namespace: &str) -> PathBuf {
        let default = if self.binary_name.is_empty() { RUNTIME_ROOT } else { EXTERNAL_ROOT };
        let root = if self.root.is_empty() { default } else { &self.root };
        Path::new(root).join(namespace)
    }

    /// The linked runtime's host.
    pub(crate) fn host(&self, namespace: &str) -> Host {
        let mut host = Host::new(self.state_root(namespace));
        if self.systemd_cgroup {
            host.cgroup_driver = CgroupDriver::Systemd;
        }
        host.parent = Parent::CallersParent;
        host
    }
}

fn read_text(path: &Path) -> Result<String, Failure> {
    use std::io::Read;
    let named = || format!("runtime options {}", path.display());
    let file = std::fs::File::open(path).map_err(Failure::io(named()))?;
    let mut text = String::new();
    file.take(MAX_TEXT_BYTES as u64 + 1).read_to_string(&mut text).map_err(Failure::io(named()))?;
    Ok(text)
}

impl From<Options> for RuntimeOptions {
    fn from(options: Options) -> Self {
        RuntimeOptions {
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            shim_cgroup: options.shim_cgroup,
            io_uid: options.io_uid,
            io_gid: options.io_gid,
            binary_name: options.binary_name,
            root: options.root,
            systemd_cgroup: options.systemd_cgroup,
            criu_image_path: options.criu_image_path,
            criu_work_path: options.criu_work_path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_as_messages_and_as_text() {
        let given = Options { systemd_cgroup: true, root: "/r".into(), ..Options::default() };
        let options = RuntimeOptions::decode(Some(&Any::pack(&given))).unwrap();
        assert!(options.systemd_cgroup && options.state_root("n") == Path::new("/r/n"));
        let body = b"SystemdCgroup = true\nBinaryName = \"/usr/bin/crun\"\n".to_vec();
        let generic = GenericOptions { config_body: body, ..GenericOptions::default() };
        let options = RuntimeOptions::decode(Some(&Any::pack(&generic))).unwrap();
        assert!(options.systemd_cgroup && options.binary_name == "/usr/bin/crun");
        assert_eq!(options.state_root("n"), Path::new("/run/containerd/runc/n"));
        assert_eq!(RuntimeOptions::decode(None).unwrap(), RuntimeOptions::default());
        let unknown = Any { type_url: "x.Options".into(), value: Vec::new() };
        assert!(RuntimeOptions::decode(Some(&unknown)).is_err());
        let broken = GenericOptions { config_body: b"= =".to_vec(), ..GenericOptions::default() };
        assert!(RuntimeOptions::decode(Some(&Any::pack(&broken))).is_err());
    }
}
