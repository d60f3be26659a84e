//! Files and names, as they are and as the disk has them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

use rustix::io::Errno;

use super::bytes::Bytes;
use super::{Keep, Names};

pub(super) const ROOT: u64 = 1;

/// What kind of file it is, with what it holds.
#[derive(Debug, Clone)]
pub(super) enum Body {
    File(Bytes),
    Directory(BTreeMap<OsString, u64>),
    Link(Vec<u8>),
    /// A FIFO, a socket or a device: the bits of its type, and its number.
    Special(u32, u32),
}

/// What stat(2) says, but for what follows from the body.
#[derive(Debug, Clone)]
pub(super) struct Attributes {
    /// Permissions, without the type.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) atime: SystemTime,
    pub(super) mtime: SystemTime,
    pub(super) ctime: SystemTime,
    pub(super) xattrs: BTreeMap<OsString, Vec<u8>>,
}

impl Attributes {
    pub(super) fn new(mode: u32, uid: u32, gid: u32) -> Self {
        let now = SystemTime::now();
        Self { mode, uid, gid, atime: now, mtime: now, ctime: now, xattrs: BTreeMap::new() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) attributes: Attributes,
    pub(super) body: Body,
    /// How many names it has.
    pub(super) links: u32,
    /// Attributes, and the bytes of a file, as of the last sync.
    synced: Option<(Attributes, Bytes)>,
    /// The names in a directory that the disk has.
    entries: BTreeMap<OsString, u64>,
}

/// A step of the names: all of these or none. A name without a number is one that goes.
#[derive(Debug, Clone)]
struct Change(Vec<(u64, OsString, Option<u64>)>);

/// The file system. A clone is a picture of it.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    names: Names,
    nodes: HashMap<u64, Node>,
    next: u64,
    /// Changes of names that the disk does not have, in order.
    log: Vec<Change>,
}

impl Tree {
    pub(super) fn new(names: Names) -> Self {
        let mut tree = Self { names, nodes: HashMap::new(), next: ROOT + 1, log: Vec::new() };
        tree.insert(ROOT, Attributes::new(0o755, 0, 0), Body::Directory(BTreeMap::new()));
        tree
    }

    fn insert(&mut self, number: u64, attributes: Attributes, body: Body) {
        let node = Node { attributes, body, links: 0, synced: None, entries: BTreeMap::new() };
        self.nodes.insert(number, node);
    }

    pub(super) fn node(&self, number: u64) -> Result<&Node, Errno> {
        self.nodes.get(&number).ok_or(Errno::NOENT)
    }

    pub(super) fn node_mut(&mut self, number: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&number).ok_or(Errno::NOENT)
    }

    pub(super) fn entries(&self, directory: u64) -> Result<&BTreeMap<OsString, u64>, Errno> {
        match &self.node(directory)?.body {
            Body::Directory(entries) => Ok(entries),
            _ => Err(Errno::NOTDIR),
        }
    }

    pub(super) fn bytes(&self, number: u64) -> Result<&Bytes, Errno> {
        match &self.node(number)?.body {
            Body::File(bytes) => Ok(bytes),
            Body::Directory(_) => Err(Errno::ISDIR),
            _ => Err(Errno::INVAL),
        }
    }

    /// The bytes of a file that are about to change.
    pub(super) fn bytes_mut(&mut self, number: u64) -> Result<&mut Bytes, Errno> {
        let node = self.node_mut(number)?;
        node.attributes.mtime = SystemTime::now();
        node.attributes.ctime = node.attributes.mtime;
        match &mut node.body {
            Body::File(bytes) => Ok(bytes),
            Body::Directory(_) => Err(Errno::ISDIR),
            _ => Err(Errno::INVAL),
        }
    }

    pub(super) fn lookup(&self, directory: u64, name: &OsStr) -> Result<u64, Errno> {
        self.entries(directory)?.get(name).copied().ok_or(Errno::NOENT)
    }

    /// Makes a file of any kind; returns its number.
    pub(super) fn create(
        &mut self,
        directory: u64,
        name: &OsStr,
        mut attributes: Attributes,
        body: Body,
    ) -> Result<u64, Errno> {
        const SET_GROUP: u32 = 0o2000;
        if self.entries(directory)?.contains_key(name) {
            return Err(Errno::EXIST);
        }
        let above = &self.node(directory)?.attributes;
        if above.mode & SET_GROUP != 0 {
            attributes.gid = above.gid;
            if matches!(body, Body::Directory(_)) {
                attributes.mode |= SET_GROUP;
            }
        }
        let number = self.next;
        self.next += 1;
        self.insert(number, attributes, body);
        self.change(vec![(directory, name.to_owned(), Some(number))])?;
        Ok(number)
    }

    pub(super) fn link(&mut self, number: u64, directory: u64, name: &OsStr) -> Result<(), Errno> {
        if self.entries(directory)?.contains_key(name) {
            return Err(Errno::EXIST);
        }
        self.change(vec![(directory, name.to_owned(), Some(number))])
    }

    pub(super) fn unlink(&mut self, directory: u64, name: &OsStr) -> Result<(), Errno> {
        if self.is_directory(self.lookup(directory, name)?)? {
            return Err(Errno::ISDIR);
        }
        self.change(vec![(directory, name.to_owned(), None)])
    }

    pub(super) fn rmdir(&mut self, directory: u64, name: &OsStr) -> Result<(), Errno> {
        if !self.entries(self.lookup(directory, name)?)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.change(vec![(directory, name.to_owned(), None)])
    }

    /// With `spare`, the target must not be there; with `whiteout`, that is left in the place of the source.
    pub(super) fn rename(
        &mut self,
        from: (u64, &OsStr),
        to: (u64, &OsStr),
        spare: bool,
        whiteout: Option<Attributes>,
    ) -> Result<(), Errno> {
        let number = self.lookup(from.0, from.1)?;
        if let Ok(target) = self.lookup(to.0, to.1) {
            if spare {
                return Err(Errno::EXIST);
            }
            if target == number {
                return Ok(());
            }
            match (self.is_directory(number)?, self.is_directory(target)?) {
                (true, false) => return Err(Errno::NOTDIR),
                (false, true) => return Err(Errno::ISDIR),
                (true, true) if !self.entries(target)?.is_empty() => return Err(Errno::NOTEMPTY),
                _ => {}
            }
        }
        let left = whiteout.map(|attributes| {
            self.next += 1;
            self.insert(
                self.next - 1,
                attributes,
                Body::Special(rustix::fs::FileType::CharacterDevice.as_raw_mode(), 0),
            );
            self.next - 1
        });
        self.change(vec![(from.0, from.1.to_owned(), left), (to.0, to.1.to_owned(), Some(number))])
    }

    pub(super) fn exchange(&mut self, one: (u64, &OsStr), other: (u64, &OsStr)) -> Result<(), Errno> {
        let numbers = (self.lookup(one.0, one.1)?, self.lookup(other.0, other.1)?);
        self.change(vec![
            (one.0, one.1.to_owned(), Some(numbers.1)),
            (other.0, other.1.to_owned(), Some(numbers.0)),
        ])
    }

    fn is_directory(&self, number: u64) -> Result<bool, Errno> {
        Ok(matches!(self.node(number)?.body, Body::Directory(_)))
    }

    /// Changes names, live, and notes what the disk does not know yet.
    fn change(&mut self, change: Vec<(u64, OsString, Option<u64>)>) -> Result<(), Errno> {
        let now = SystemTime::now();
        for (directory, name, number) in &change {
            let node = self.node_mut(*directory)?;
            (node.attributes.mtime, node.attributes.ctime) = (now, now);
            let Body::Directory(entries) = &mut node.body else { return Err(Errno::NOTDIR) };
            let before = match number {
                Some(number) => entries.insert(name.clone(), *number),
                None => entries.remove(name),
            };
            for (number, added) in [(*number, true), (before, false)] {
                if let Some(node) = number.and_then(|number| self.nodes.get_mut(&number)) {
                    node.links = if added { node.links + 1 } else { node.links.saturating_sub(1) };
                    node.attributes.ctime = now;
                }
            }
        }
        self.log.push(Change(change));
        Ok(())
    }

    /// Syncs a file or a directory.
    pub(super) fn sync(&mut self, number: u64) -> Result<(), Errno> {
        let node = self.node_mut(number)?;
        let bytes = if let Body::File(bytes) = &node.body { bytes.clone() } else { Bytes::default() };
        node.synced = Some((node.attributes.clone(), bytes));
        match self.names {
            Names::Journal => {
                for change in std::mem::take(&mut self.log) {
                    self.write(change);
                }
            }
            Names::Directory => self.sync_names(number),
        }
        Ok(())
    }

    /// Writes the changes in a directory.
    fn sync_names(&mut self, directory: u64) {
        let is_inside = |change: &Change| change.0.iter().any(|(inside, _, _)| *inside == directory);
        while let Some(index) = self.log.iter().position(is_inside) {
            let change = self.log.remove(index);
            self.supersede(&change, index);
            self.write(change);
        }
    }

    /// Forgets what changes before `index` say of the names that `change` says more of.
    fn supersede(&mut self, change: &Change, index: usize) {
        for earlier in &mut self.log[..index] {
            earlier.0.retain(|(directory, name, _)| {
                !change.0.iter().any(|(other, changed, _)| directory == other && name == changed)
            });
        }
        self.log.retain(|change| !change.0.is_empty());
    }

    fn write(&mut self, change: Change) {
        for (directory, name, number) in change.0 {
            let Some(node) = self.nodes.get_mut(&directory) else { continue };
            match number {
                Some(number) => node.entries.insert(name, number),
                None => node.entries.remove(&name),
            };
        }
    }

    /// What is on the disk after a cut.
    pub(super) fn after_cut(&self, keep: Keep) -> Self {
        let mut random = Random::of(keep);
        let mut disk = self.clone();
        let log = std::mem::take(&mut disk.log);
        let kept = match keep {
            Keep::Synced => 0,
            Keep::Names | Keep::All => log.len(),
            Keep::Some { .. } => random.below(log.len() + 1),
        };
        log.into_iter().take(kept).for_each(|change| disk.write(change));

        let mut found = HashMap::new();
        let mut queue = vec![ROOT];
        while let Some(number) = queue.pop() {
            let Some(mut node) = disk.nodes.remove(&number) else { continue };
            node.settle(keep, &mut random);
            if let Body::Directory(entries) = &node.body {
                queue.extend(entries.values());
            }
            found.insert(number, node);
        }
        disk.nodes = found;
        disk.count_links();
        disk
    }

    fn count_links(&mut self) {
        let mut links: HashMap<u64, u32> = HashMap::new();
        for node in self.nodes.values() {
            node.entries.values().for_each(|number| *links.entry(*number).or_default() += 1);
        }
        for (number, node) in &mut self.nodes {
            node.links = links.get(number).copied().unwrap_or(0);
        }
    }
}

impl Node {
    /// Becomes what the disk has of it.
    fn settle(&mut self, keep: Keep, random: &mut Random) {
        let (attributes, old) =
            self.synced.take().unwrap_or_else(|| (self.attributes.clone(), Bytes::default()));
        match &mut self.body {
            Body::File(bytes) => {
                *bytes = match keep {
                    Keep::All => bytes.clone(),
                    Keep::Synced => old,
                    Keep::Names => old.torn(bytes, true, || false),
                    Keep::Some { .. } => old.torn(bytes, random.below(2) == 1, || random.below(2) == 1),
                };
                if keep != Keep::All {
                    self.attributes = attributes;
                }
                self.synced = Some((self.attributes.clone(), bytes.clone()));
            }
            Body::Directory(entries) => *entries = self.entries.clone(),
            Body::Link(_) | Body::Special(..) => {}
        }
    }
}

/// Numbers that a seed gives.
struct Random(u64);

impl Random {
    fn of(keep: Keep) -> Self {
        let seed = if let Keep::Some { seed } = keep { seed } else { 0 };
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % limit.max(1) as u64).unwrap_or(0)
    }
}
