//! From files to a [`Config`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::containerd::{Counterpart, counterpart, counterparts, has_counterparts, word};
use crate::document::{Document, Node, dotted, in_order, nearest};
use crate::section::Section as _;
use crate::value::Value;
use crate::{Config, Error, ProxyKind, ProxyPlugin};

/// The largest file, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// The most files.
const MAX_FILES: usize = 64;
/// The longest path of a socket, with room for `.ttrpc` (unix(7): 108 with the zero).
const MAX_SOCKET_PATH: usize = 101;
/// containerd's versions that are read.
const CONTAINERD_VERSIONS: &[&str] = &["2", "3", "4"];

/// What was read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What containerd's files say that has no counterpart here.
    pub ignored: Vec<Ignored>,
    /// The files, in the order in which each overrides those before it.
    pub files: Vec<PathBuf>,
}

/// A key or table of containerd's without a counterpart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The key or table.
    pub key: String,
}

impl Config {
    /// Reads `path` and what it imports.
    ///
    /// A file with `version = 2`, 3 or 4 is containerd's: what has no counterpart is listed and ignored. In any other file an unknown
    /// key is an error.
    ///
    /// # Errors
    /// [`Error`], with the file and the line.
    pub fn load(path: &Path) -> Result<Loaded, Error> {
        let mut loaded = Loaded { config: Self::default(), ignored: Vec::new(), files: Vec::new() };
        let mut pending = vec![path.to_owned()];
        let (mut next, mut seen) = (0, BTreeSet::new());
        while let Some(path) = pending.get(next).cloned() {
            next += 1;
            // One that is not there is reported by the attempt to read it.
            if !seen.insert(fs::canonicalize(&path).unwrap_or_else(|_| path.clone())) {
                continue;
            }
            if loaded.files.len() == MAX_FILES {
                return Err(Error::Imports { path: pending[0].clone(), limit: MAX_FILES });
            }
            let text = read(&path, MAX_BYTES)?;
            pending.extend(loaded.take(&path, &text)?);
            loaded.files.push(path);
        }
        Ok(loaded)
    }

    /// Reads a text as if it were the file `path`, without what it imports.
    ///
    /// # Errors
    /// [`Error`], with the line.
    pub fn parse(path: &Path, text: &str) -> Result<Loaded, Error> {
        let mut loaded = Loaded { config: Self::default(), ignored: Vec::new(), files: vec![path.into()] };
        loaded.take(path, text)?;
        Ok(loaded)
    }
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.into(), source };
    let mut bytes = Vec::new();
    fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge { path: path.into(), limit });
    }
    String::from_utf8(bytes).map_err(|error| Error::Syntax {
        path: path.into(),
        line: 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count(),
        message: "not UTF-8".into(),
    })
}

impl Loaded {
    /// Takes one file in; returns what it imports.
    fn take(&mut self, path: &Path, text: &str) -> Result<Vec<PathBuf>, Error> {
        let document = Document { path, text };
        let parsed = document.parse()?;
        let table = parsed.get_ref();
        let theirs = match table.get("version") {
            None => false,
            Some(version) => is_containerd(&document, version)?,
        };
        let mut reader = Reader { document: &document, loaded: self, theirs };
        reader.table(&mut Vec::new(), table)?;
        match table.get("imports") {
            None => Ok(Vec::new()),
            Some(imports) => reader.imports(imports),
        }
    }
}

fn is_containerd(document: &Document<'_>, version: &Spanned<DeValue<'_>>) -> Result<bool, Error> {
    let found = match version.get_ref() {
        DeValue::Integer(number) => number.as_str().to_owned(),
        other => other.type_str().to_owned(),
    };
    if CONTAINERD_VERSIONS.contains(&found.as_str()) {
        return Ok(true);
    }
    let line = document.line(version.span().start);
    Err(Error::Version { path: document.path.into(), line, found })
}

/// The walk over one file.
struct Reader<'a> {
    document: &'a Document<'a>,
    loaded: &'a mut Loaded,
    /// Whether the file is containerd's.
    theirs: bool,
}

impl<'a> Reader<'a> {
    fn table<'t>(&mut self, path: &mut Vec<&'t str>, table: &'t DeTable<'t>) -> Result<(), Error>
    where
        't: 'a,
    {
        for (key, value) in in_order(table) {
            path.push(key.get_ref());
            match path.as_slice() {
                ["version" | "imports"] => {}
                ["proxy_plugins"] => self.proxy_plugins(value)?,
                ["runtimes"] => self.runtimes(value)?,
                _ => self.entry(path, key.span().start, value)?,
            }
            path.pop();
        }
        Ok(())
    }

    fn entry<'t>(
        &mut self,
        path: &mut Vec<&'t str>,
        at: usize,
        value: &'t Spanned<DeValue<'t>>,
    ) -> Result<(), Error>
    where
        't: 'a,
    {
        let plugins = path.first() == Some(&"plugins");
        let name = dotted(path);
        let node = Node { document: self.document, value: value.get_ref(), at, key: &name };
        if self.theirs || plugins {
            if let Some(ours) = counterpart(path) {
                return self.set_theirs(ours, &node);
            }
            if let Some(table) = value.get_ref().as_table().filter(|_| has_counterparts(path)) {
                return self.table(path, table);
            }
            if !self.theirs {
                return Err(self.unknown(path, &node));
            }
            if !node.is_empty() {
                let ignored = Ignored { path: self.document.path.into(), line: node.line(), key: name };
                self.loaded.ignored.push(ignored);
            }
            return Ok(());
        }
        let known = self.loaded.config.sections().iter().any(|(section, _)| section.starts_with(path));
        match value.get_ref().as_table() {
            Some(table) if known => self.table(path, table),
            _ if known => Err(node.wrong("a table")),
            _ => self.set_ours(path, &node),
        }
    }

    fn set_ours(&mut self, path: &[&str], node: &Node<'_>) -> Result<(), Error> {
        let (key, table) = path.split_last().map_or(("", path), |(key, table)| (*key, table));
        check_socket(key, node)?;
        let known = match self.loaded.config.section(table) {
            Some(section) => section.set(key, node)?,
            None => false,
        };
        if known { Ok(()) } else { Err(self.unknown(path, node)) }
    }

    /// Sets a key of ours from one of containerd's, in which an empty text or list is what nobody set.
    fn set_theirs(&mut self, (table, key): Counterpart, node: &Node<'_>) -> Result<(), Error> {
        let unset = match node.value {
            DeValue::String(text) => text.is_empty(),
            DeValue::Array(list) => list.is_empty(),
            _ => key.ends_with("_message_size") && node.is_empty(),
        };
        if unset {
            return Ok(());
        }
        check_socket(key, node)?;
        let replaced = node.value.as_str().and_then(|text| word((table, key), text));
        let replaced = replaced.map(|text| DeValue::String(Cow::Borrowed(text)));
        let node = match &replaced {
            Some(value) => Node { document: node.document, value, at: node.at, key: node.key },
            None => *node,
        };
        if let Some(section) = self.loaded.config.section(table) {
            section.set(key, &node)?;
        }
        Ok(())
    }

    fn unknown(&self, path: &[&str], node: &Node<'_>) -> Error {
        let (key, table) = path.split_last().map_or(("", path), |(key, table)| (*key, table));
        let sections = self.loaded.config.sections();
        let mut known: Vec<&str> = sections
            .iter()
            .filter(|(section, _)| section == &table)
            .flat_map(|(_, section)| section.keys())
            .map(|key| key.name)
            .collect();
        known.extend(
            sections
                .iter()
                .filter(|(section, _)| section.starts_with(table))
                .filter_map(|(section, _)| section.get(table.len())),
        );
        known.extend(
            counterparts()
                .filter(|(theirs, _)| theirs[0] == "plugins" && theirs.starts_with(table))
                .filter_map(|(theirs, _)| theirs.get(table.len())),
        );
        if table.is_empty() {
            known.extend(["imports", "proxy_plugins", "runtimes"]);
        }
        known.sort_unstable();
        known.dedup();
        let elsewhere =
            || sections.iter().find(|(_, section)| section.keys().iter().any(|known| known.name == key));
        let hint = match (nearest(key, known.iter().copied()), elsewhere()) {
            (Some(name), _) => format!("was {name} meant?"),
            (None, Some((section, _))) => format!("was {} meant?", dotted(&[section, &[key][..]].concat())),
            (None, None) if known.is_empty() => "nothing is known of that table".into(),
            (None, None) => format!("known there: {}", known.join(", ")),
        };
        Error::Unknown { path: self.document.path.into(), line: node.line(), key: node.key.to_owned(), hint }
    }

    fn imports(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<PathBuf>, Error> {
        let at = value.span().start;
        let node = Node { document: self.document, value: value.get_ref(), at, key: "imports" };
        let base = self.document.path.parent().unwrap_or(Path::new("/"));
        let mut files = Vec::new();
        for pattern in Vec::<String>::read(&node)? {
            files.extend(matching(&base.join(pattern))?);
        }
        Ok(files)
    }

    fn proxy_plugins(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), Error> {
        let at = value.span().start;
        let node = Node { document: self.document, value: value.get_ref(), at, key: "proxy_plugins" };
        let Some(table) = value.get_ref().as_table() else { return Err(node.wrong("a table")) };
        for (name, value) in in_order(table) {
            let key = dotted(&["proxy_plugins", name.get_ref()]);
            let node =
                Node { document: self.document, value: value.get_ref(), at: name.span().start, key: &key };
            if let Some(plugin) = self.proxy_plugin(&node)? {
                self.loaded.config.proxy_plugins.insert(name.get_ref().to_string(), plugin);
            }
        }
        Ok(())
    }

    fn runtimes(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), Error> {
        let at = value.span().start;
        let node = Node { document: self.document, value: value.get_ref(), at, key: "runtimes" };
        let Some(table) = value.get_ref().as_table() else { return Err(node.wrong("a table")) };
        for (name, value) in in_order(table) {
            let key = dotted(&["runtimes", name.get_ref()]);
            let node =
                Node { document: self.document, value: value.get_ref(), at: name.span().start, key: &key };
            let Some(keys) = value.get_ref().as_table() else { return Err(node.wrong("a table")) };
            let runtime = self.loaded.config.runtimes.entry(name.get_ref().to_string()).or_default();
            for (name, value) in in_order(keys) {
                let key = format!("{key}.{}", name.get_ref());
                let entry = Node {
                    document: self.document,
                    value: value.get_ref(),
                    at: name.span().start,
                    key: &key,
                };
                if !runtime.set(name.get_ref(), &entry)? {
                    let known: Vec<_> = runtime.keys().iter().map(|key| key.name).collect();
                    let hint = match nearest(name.get_ref(), known.iter().copied()) {
                        Some(name) => format!("was {name} meant?"),
                        None => format!("known there: {}", known.join(", ")),
                    };
                    let (path, line) = (self.document.path.into(), entry.line());
                    return Err(Error::Unknown { path, line, key: key.clone(), hint });
                }
            }
        }
        Ok(())
    }

    /// Reads one proxy plugin; in containerd's file, one of another type is none.
    fn proxy_plugin(&mut self, node: &Node<'_>) -> Result<Option<ProxyPlugin>, Error> {
        let Some(table) = node.value.as_table() else { return Err(node.wrong("a table")) };
        let (mut kind, mut address, mut platform) = (None, None, None);
        let (mut exports, mut capabilities) = (BTreeMap::new(), Vec::new());
        for (name, value) in in_order(table) {
            let key = format!("{}.{}", node.key, name.get_ref());
            let entry =
                Node { document: self.document, value: value.get_ref(), at: name.span().start, key: &key };
            match name.get_ref().as_ref() {
                "type" if self.theirs && ProxyKind::read(&entry).is_err() => {
                    let ignored =
                        Ignored { path: self.document.path.into(), line: node.line(), key: node.key.into() };
                    self.loaded.ignored.push(ignored);
                    return Ok(None);
                }
                "type" => kind = Some(ProxyKind::read(&entry)?),
                "address" => address = Some(socket(&entry)?),
                "platform" => platform = Option::<String>::read(&entry)?,
                "capabilities" => capabilities = Vec::<String>::read(&entry)?,
                "exports" => exports = texts(&entry)?,
                other => {
                    let known = ["type", "address", "platform", "exports", "capabilities"];
                    let hint = match nearest(other, known.into_iter()) {
                        Some(name) => format!("was {name} meant?"),
                        None => format!("known there: {}", known.join(", ")),
                    };
                    let (path, line) = (self.document.path.into(), entry.line());
                    return Err(Error::Unknown { path, line, key: key.clone(), hint });
                }
            }
        }
        match (kind, address) {
            (Some(kind), Some(address)) => {
                Ok(Some(ProxyPlugin { kind, address, platform, exports, capabilities }))
            }
            _ => Err(node.wrong("a table with a type and an address")),
        }
    }
}

/// A path of a socket, which may be written as a URL.
fn socket(node: &Node<'_>) -> Result<PathBuf, Error> {
    check_socket("address", node)?;
    match node.value.as_str().and_then(|text| text.strip_prefix("unix://")) {
        Some(path) if path.starts_with('/') => Ok(path.into()),
        _ => PathBuf::read(node),
    }
}

fn texts(node: &Node<'_>) -> Result<BTreeMap<String, String>, Error> {
    let wrong = || node.wrong("a table of texts");
    let table = node.value.as_table().ok_or_else(wrong)?;
    let entry = |(key, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
        Some((key.get_ref().to_string(), value.get_ref().as_str()?.to_owned()))
    };
    table.iter().map(entry).collect::<Option<_>>().ok_or_else(wrong)
}

fn check_socket(key: &str, node: &Node<'_>) -> Result<(), Error> {
    let long = node.value.as_str().is_some_and(|text| text.starts_with('/') && text.len() > MAX_SOCKET_PATH);
    if key == "address" && long {
        return Err(node
            .wrong(format!("a path of at most {MAX_SOCKET_PATH} bytes, since no socket has a longer one")));
    }
    Ok(())
}

/// The files of a pattern in which `*` stands for anything within a name, in order; a name without one is taken as it is.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = vec![PathBuf::new()];
    for part in pattern {
        let Some(glob) = part.to_str().filter(|text| text.contains('*')) else {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        let mut next = Vec::new();
        for directory in &found {
            let Ok(entries) = fs::read_dir(directory) else { continue };
            let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
            names.retain(|name: &std::ffi::OsString| is_match(glob, name));
            names.sort();
            next.extend(names.into_iter().map(|name| directory.join(name)));
        }
        found = next;
    }
    Ok(found)
}

fn is_match(glob: &str, name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (i, part) in parts.iter().enumerate() {
        if i + 1 == parts.len() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}
