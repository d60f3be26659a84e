//! The page's rules in the simplest form that there is: maps, and a search that knows no index.

use std::collections::{BTreeMap, BTreeSet};

use gantry_types::{ErrorKind, Labels};

use super::fixture::{digest, time};

/// Namespaces of the model; the last two share their image names.
pub(super) const NAMESPACES: [&str; 4] = ["a", "b", "k8s.io", "moby"];

pub(super) fn space(ns: &str) -> &str {
    if shares(ns) { "" } else { ns }
}

fn shares(ns: &str) -> bool {
    matches!(ns, "k8s.io" | "moby")
}

type Key = (String, String);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Content(String, String),
    Snapshot(String, String),
    Image(String, String),
    Container(String, String),
}

#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) digest: String,
    pub(super) labels: Labels,
    pub(super) holders: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) parent: Option<String>,
    pub(super) committed: bool,
    pub(super) labels: Labels,
}

#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) labels: Labels,
    /// Without namespaces and spaces: those are the lease's.
    pub(super) resources: BTreeSet<(u8, String)>,
}

/// Kinds of lease resources.
pub(super) const CONTENT: u8 = 0;
pub(super) const SNAPSHOT: u8 = 1;
pub(super) const IMAGE: u8 = 2;

#[derive(Debug, Default, Clone)]
pub(super) struct Model {
    pub(super) contents: BTreeMap<Key, Labels>,
    pub(super) snapshots: BTreeMap<Key, Snapshot>,
    pub(super) images: BTreeMap<Key, Image>,
    pub(super) containers: BTreeMap<Key, (String, Labels)>,
    pub(super) leases: BTreeMap<Key, Lease>,
}

pub(super) type Outcome = Result<(), ErrorKind>;

pub(super) fn key(ns: &str, name: &str) -> Key {
    (ns.to_owned(), name.to_owned())
}

fn expiry(labels: &Labels) -> Option<&String> {
    labels.get("containerd.io/gc.expire")
}

impl Model {
    /// Adds to a lease, if the request names one.
    pub(super) fn lease(&mut self, ns: &str, lease: Option<&str>, kind: u8, name: &str) -> Outcome {
        let Some(lease) = lease else { return Ok(()) };
        let lease = self.leases.get_mut(&key(ns, lease)).ok_or(ErrorKind::NotFound)?;
        lease.resources.insert((kind, name.to_owned()));
        Ok(())
    }

    pub(super) fn has_lease(&self, ns: &str, lease: Option<&str>) -> bool {
        lease.is_none_or(|lease| self.leases.contains_key(&key(ns, lease)))
    }

    /// Takes from a lease, if there is one.
    pub(super) fn unlease(&mut self, ns: &str, lease: Option<&str>, kind: u8, name: &str) {
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(&key(ns, lease))) {
            lease.resources.remove(&(kind, name.to_owned()));
        }
    }

    pub(super) fn all(&self) -> BTreeSet<Node> {
        let contents = self.contents.keys().map(|(ns, name)| Node::Content(ns.clone(), name.clone()));
        let snapshots = self.snapshots.keys().map(|(ns, name)| Node::Snapshot(ns.clone(), name.clone()));
        let images = self.images.keys().map(|(ns, name)| Node::Image(ns.clone(), name.clone()));
        let containers = self.containers.keys().map(|(ns, name)| Node::Container(ns.clone(), name.clone()));
        contents.chain(snapshots).chain(images).chain(containers).collect()
    }

    fn labels(&self, node: &Node) -> Option<&Labels> {
        match node {
            Node::Content(ns, name) => self.contents.get(&key(ns, name)),
            Node::Snapshot(ns, name) => self.snapshots.get(&key(ns, name)).map(|snapshot| &snapshot.labels),
            Node::Image(ns, name) => self.images.get(&key(ns, name)).map(|image| &image.labels),
            Node::Container(ns, name) => self.containers.get(&key(ns, name)).map(|(_, labels)| labels),
        }
    }

    /// Drops expired leases.
    pub(super) fn expire(&mut self, now: u32) {
        self.leases.retain(|_, lease| expiry(&lease.labels).is_none_or(|expiry| *expiry >= time(now)));
    }

    /// Everything that is kept at `now`; leases that have expired do not count.
    pub(super) fn reachable(&self, now: u32) -> BTreeSet<Node> {
        let mut model = self.clone();
        model.expire(now);
        // Nodes that are kept with all, and without what they refer to.
        let (mut full, mut flat) = model.roots(&time(now));
        loop {
            let before = (full.len(), flat.len());
            for node in flat.clone() {
                flat.extend(model.intrinsic(&node));
            }
            for node in full.clone() {
                full.extend(model.intrinsic(&node));
                full.extend(model.referred(&node));
            }
            for carrier in model.all() {
                if full.iter().any(|node| model.refers_back(&carrier, node)) {
                    full.insert(carrier);
                }
            }
            if before == (full.len(), flat.len()) {
                // Names without a record count on the way, but are nothing that is kept.
                full.extend(flat);
                return model.all().intersection(&full).cloned().collect();
            }
        }
    }

    fn roots(&self, now: &str) -> (BTreeSet<Node>, BTreeSet<Node>) {
        let (mut full, mut flat) = (BTreeSet::new(), BTreeSet::new());
        for node in self.all() {
            let Some(labels) = self.labels(&node) else { continue };
            let later = expiry(labels).map(|expiry| expiry.as_str() >= now);
            let root = match node {
                Node::Image(..) => later != Some(false),
                Node::Container(..) => true,
                _ => labels.contains_key("containerd.io/gc.root") || later == Some(true),
            };
            full.extend(root.then_some(node));
        }
        for ((ns, _), lease) in &self.leases {
            let depth =
                if lease.labels.contains_key("containerd.io/gc.flat") { &mut flat } else { &mut full };
            depth.extend(lease.resources.iter().map(|(kind, name)| match *kind {
                CONTENT => Node::Content(ns.clone(), name.clone()),
                SNAPSHOT => Node::Snapshot(ns.clone(), name.clone()),
                _ => Node::Image(space(ns).to_owned(), name.clone()),
            }));
        }
        (full, flat)
    }

    /// What a record refers to without labels.
    fn intrinsic(&self, node: &Node) -> Vec<Node> {
        match node {
            Node::Snapshot(ns, name) => {
                let parent = self.snapshots.get(&key(ns, name)).and_then(|snapshot| snapshot.parent.clone());
                parent.map(|parent| Node::Snapshot(ns.clone(), parent)).into_iter().collect()
            }
            Node::Image(space, name) => {
                let Some(image) = self.images.get(&key(space, name)) else { return Vec::new() };
                seen_from(space).into_iter().map(|ns| Node::Content(ns, image.digest.clone())).collect()
            }
            Node::Container(ns, name) => {
                let Some((snapshot, _)) = self.containers.get(&key(ns, name)) else { return Vec::new() };
                vec![Node::Snapshot(ns.clone(), snapshot.clone())]
            }
            Node::Content(..) => Vec::new(),
        }
    }

    fn referred(&self, node: &Node) -> Vec<Node> {
        let Some(labels) = self.labels(node) else { return Vec::new() };
        let home = home(node);
        let mut referred = Vec::new();
        for (name, value) in labels {
            for ns in seen_from(home) {
                match name.strip_prefix("containerd.io/gc.ref.") {
                    Some(rest) if rest.starts_with("content") => {
                        referred.push(Node::Content(ns, value.clone()))
                    }
                    Some(rest) if rest.starts_with("snapshot") => {
                        referred.push(Node::Snapshot(ns, value.clone()));
                    }
                    Some(_) => referred.push(Node::Image(space(&ns).to_owned(), value.clone())),
                    None => {}
                }
            }
        }
        referred
    }

    fn refers_back(&self, carrier: &Node, node: &Node) -> bool {
        let Some(labels) = self.labels(carrier) else { return false };
        labels.iter().any(|(name, value)| {
            let Some(rest) = name.strip_prefix("containerd.io/gc.bref.") else { return false };
            let (kind, place, name) = match node {
                Node::Content(ns, name) => ("content", ns, name),
                Node::Snapshot(ns, name) => ("snapshot", ns, name),
                Node::Image(space, name) => ("image", space, name),
                Node::Container(ns, name) => ("container", ns, name),
            };
            let home = home(carrier);
            let sees =
                home == place || (home.is_empty() && shares(place)) || (place.is_empty() && shares(home));
            rest.starts_with(kind) && name == value && sees
        })
    }

    pub(super) fn remove(&mut self, node: &Node) {
        match node {
            Node::Content(ns, name) => drop(self.contents.remove(&key(ns, name))),
            Node::Snapshot(ns, name) => drop(self.snapshots.remove(&key(ns, name))),
            Node::Image(ns, name) => drop(self.images.remove(&key(ns, name))),
            Node::Container(ns, name) => drop(self.containers.remove(&key(ns, name))),
        }
    }
}

fn home(node: &Node) -> &str {
    match node {
        Node::Content(ns, _) | Node::Snapshot(ns, _) | Node::Image(ns, _) | Node::Container(ns, _) => ns,
    }
}

/// The namespaces in which a name of an image space is looked up.
fn seen_from(space: &str) -> Vec<String> {
    if space.is_empty() {
        NAMESPACES.iter().filter(|ns| shares(ns)).map(|ns| (*ns).to_owned()).collect()
    } else {
        vec![space.to_owned()]
    }
}

pub(super) fn digest_text(number: u8) -> String {
    digest(&format!("{number}")).to_string()
}
