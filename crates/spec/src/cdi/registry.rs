use std::collections::BTreeMap;

use super::document::{Document, NamedHook};
use super::edits::{Edits, Node};
use super::name::DeviceName;
use super::{Error, MAX_ENTRIES, MAX_FILES, MAX_NAMES, at_most, document};
use crate::options::HostDevice;

/// A file of a CDI directory.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Its path; JSON if it ends so, else YAML.
    pub path: &'a str,
    /// The directory's place in the list of them: a later one's devices hide those of an earlier one.
    pub priority: usize,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// A file that is left out.
#[derive(Debug)]
pub struct Problem {
    /// Its path.
    pub path: String,
    /// Why.
    pub error: Error,
}

/// All devices of a host.
#[derive(Debug, Default)]
pub struct Registry {
    documents: Vec<Loaded>,
    devices: BTreeMap<String, Place>,
    problems: Vec<Problem>,
}

#[derive(Debug)]
struct Loaded {
    path: String,
    priority: usize,
    document: Document,
}

/// Where a device is: in which document, and which of it; and in which other, if that is a conflict.
#[derive(Debug, Clone, Copy)]
struct Place {
    document: usize,
    device: usize,
    conflict: Option<usize>,
}

impl Registry {
    /// Reads files. One that is bad is left out, and does not take others with it: see [`Registry::problems`].
    pub fn load(files: &[File<'_>]) -> Self {
        let mut registry = Self::default();
        for (index, file) in files.iter().enumerate() {
            let document = match at_most("files", index + 1, MAX_FILES) {
                Ok(()) => Document::parse(file.path, file.bytes),
                Err(error) => Err(error),
            };
            match document {
                Ok(document) => registry.add(file, document),
                Err(error) => registry.problems.push(Problem { path: file.path.to_owned(), error }),
            }
            if index == MAX_FILES {
                break;
            }
        }
        registry
    }

    fn add(&mut self, file: &File<'_>, document: Document) {
        let index = self.documents.len();
        for (device, named) in document.devices.iter().enumerate() {
            let place = Place { document: index, device, conflict: None };
            let name = format!("{}={}", document.kind, named.name);
            let other = self.devices.get(&name).copied();
            let priority = other.map(|other| self.documents[other.document].priority);
            let place = match (other, priority) {
                (Some(other), Some(priority)) if priority > file.priority => other,
                (Some(other), Some(priority)) if priority == file.priority => {
                    Place { conflict: Some(index), ..other }
                }
                _ => place,
            };
            self.devices.insert(name, place);
        }
        let (path, priority) = (file.path.to_owned(), file.priority);
        self.documents.push(Loaded { path, priority, document });
    }

    /// The files that were left out.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The names of all devices that can be asked for, in their order.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().filter(|(_, place)| place.conflict.is_none()).map(|(name, _)| name.as_str())
    }

    /// The edits of devices: those of a file first, once, then those of each of its devices. `node` says which device is at
    /// a path of the host's, following links.
    ///
    /// # Errors
    /// Names that are none, that nobody has, or that two have; nodes that the host does not have.
    pub fn edits<S: AsRef<str>>(
        &self,
        names: &[S],
        node: impl Fn(&str) -> Option<HostDevice>,
    ) -> Result<Edits, Error> {
        at_most("CDI devices", names.len(), MAX_NAMES)?;
        let mut places = Vec::with_capacity(names.len());
        let mut unknown = Vec::new();
        for name in names.iter().map(AsRef::as_ref) {
            name.parse::<DeviceName>()?;
            match self.devices.get(name) {
                Some(place) => places.push(self.unambiguous(name, *place)?),
                None => unknown.push(name.to_owned()),
            }
        }
        if !unknown.is_empty() {
            return Err(Error::Unknown(unknown));
        }
        let mut edits = Edits::default();
        let mut begun = Vec::new();
        for place in places {
            let document = &self.documents[place.document].document;
            if !begun.contains(&place.document) {
                begun.push(place.document);
                append(&mut edits, &document.container_edits, &node)?;
            }
            append(&mut edits, &document.devices[place.device].container_edits, &node)?;
        }
        Ok(edits)
    }

    fn unambiguous(&self, name: &str, place: Place) -> Result<Place, Error> {
        match place.conflict {
            None => Ok(place),
            Some(other) => Err(Error::Conflict {
                name: name.to_owned(),
                first: self.documents[place.document].path.clone(),
                second: self.documents[other].path.clone(),
            }),
        }
    }
}

fn append(
    edits: &mut Edits,
    more: &document::ContainerEdits,
    lookup: &impl Fn(&str) -> Option<HostDevice>,
) -> Result<(), Error> {
    edits.env.extend(more.env.iter().cloned());
    for node in &more.device_nodes {
        edits.nodes.push(complete(node, lookup)?);
    }
    for device in &more.net_devices {
        edits.net_devices.push((device.host_interface_name.clone(), device.name.clone()));
    }
    edits.mounts.extend(more.mounts.iter().map(|mount| gantry_types::oci::Mount {
        destination: mount.container_path.clone(),
        source: mount.host_path.clone(),
        type_: mount.kind.clone(),
        options: mount.options.clone(),
        ..Default::default()
    }));
    more.hooks.iter().for_each(|hook| add_hook(edits, hook));
    if let Some(rdt) = &more.intel_rdt {
        edits.intel_rdt = Some(rdt.settings());
    }
    edits.additional_gids.extend(&more.additional_gids);
    let most = [edits.env.len(), edits.nodes.len(), edits.mounts.len(), edits.additional_gids.len()];
    at_most("edits", most.into_iter().max().unwrap_or_default(), MAX_ENTRIES)
}

fn add_hook(edits: &mut Edits, named: &NamedHook) {
    let hooks = &mut edits.hooks;
    let list = match named.hook_name.as_str() {
        "prestart" => &mut hooks.prestart,
        "createRuntime" => &mut hooks.create_runtime,
        "createContainer" => &mut hooks.create_container,
        "startContainer" => &mut hooks.start_container,
        "poststart" => &mut hooks.poststart,
        _ => &mut hooks.poststop,
    };
    list.push(named.hook());
}

/// A node with what the file does not say of it.
fn complete(
    node: &document::DeviceNode,
    lookup: &impl Fn(&str) -> Option<HostDevice>,
) -> Result<Node, Error> {
    let mut whole = Node {
        path: node.path.clone(),
        kind: node.kind.clone(),
        major: node.major,
        minor: node.minor,
        mode: node.file_mode,
        uid: node.uid,
        gid: node.gid,
        access: node.permissions.clone(),
    };
    let said = match node.kind.as_str() {
        "" => false,
        "p" => true,
        _ => node.major != 0,
    };
    let path = if node.host_path.is_empty() { &node.path } else { &node.host_path };
    let Some(found) = lookup(path) else {
        return if said { Ok(whole) } else { Err(Error::NoNode(path.clone())) };
    };
    // Also of what is said in full: a node that nobody may open is of no use, nor is one that everybody may.
    whole.mode = whole.mode.or(Some(found.mode & 0o7777));
    if said {
        return Ok(whole);
    }
    if !node.kind.is_empty()
        && node.kind != found.kind
        && (node.kind.as_str(), found.kind.as_str()) != ("u", "c")
    {
        let (expected, found) = (node.kind.clone(), found.kind);
        return Err(Error::NodeType { path: path.clone(), expected, found });
    }
    whole.kind = found.kind;
    (whole.major, whole.minor) = (found.major, found.minor);
    Ok(whole)
}
