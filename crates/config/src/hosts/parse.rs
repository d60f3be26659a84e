//! `hosts.toml` itself. Files that it names are paths here; the tree reads them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Capabilities, Scheme};
use crate::document::{Document, Node, dotted, in_order};
use crate::value::Value;
use crate::{Error, Ignored, duration};

/// The most hosts of a registry.
const MAX_HOSTS: usize = 64;

/// A `hosts.toml`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct HostsFile {
    /// The mirrors in order, then the server; without an URL, the last one is the registry itself.
    pub(crate) entries: Vec<Entry>,
    pub(crate) ignored: Vec<Ignored>,
}

/// A host of it.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) url: Option<HostUrl>,
    pub(crate) capabilities: Option<Capabilities>,
    /// Names of files.
    pub(crate) ca: Vec<String>,
    /// Names of files: a certificate and its key; without the latter, the key is with the certificate.
    pub(crate) client: Vec<(String, Option<String>)>,
    pub(crate) skip_verify: Option<bool>,
    pub(crate) headers: BTreeMap<String, Vec<String>>,
    pub(crate) override_path: bool,
    pub(crate) dial_timeout: Option<Duration>,
    /// Where it is in the file.
    pub(crate) line: usize,
}

/// The URL of a host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HostUrl {
    pub(crate) scheme: Scheme,
    pub(crate) host: String,
    pub(crate) path: String,
}

impl HostsFile {
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let document = Document { path, text };
        let parsed = document.parse()?;
        let mut file = Self::default();
        let mut server = file.entry(&document, &[], parsed.get_ref(), 0)?;
        if let Some(hosts) = parsed.get_ref().get("host") {
            let node =
                Node { document: &document, value: hosts.get_ref(), at: hosts.span().start, key: "host" };
            let Some(table) = hosts.get_ref().as_table() else { return Err(node.wrong("a table")) };
            if table.len() > MAX_HOSTS {
                return Err(node.wrong(format!("a table of at most {MAX_HOSTS} hosts")));
            }
            for (name, value) in in_order(table) {
                let (at, key) = (name.span().start, dotted(&["host", name.get_ref()]));
                let node = Node { document: &document, value: value.get_ref(), at, key: &key };
                let Some(table) = value.get_ref().as_table() else { return Err(node.wrong("a table")) };
                let mut entry = file.entry(&document, &["host", name.get_ref()], table, at)?;
                entry.url = Some(HostUrl::parse(name.get_ref()).ok_or_else(|| Error::Value {
                    path: path.into(),
                    line: node.line(),
                    key: "host".into(),
                    expected: URL.into(),
                    found: format!("{:?}", name.get_ref()),
                })?);
                file.entries.push(entry);
            }
        }
        if let Some(value) = parsed.get_ref().get("server") {
            let node =
                Node { document: &document, value: value.get_ref(), at: value.span().start, key: "server" };
            let text = String::read(&node)?;
            if !text.is_empty() {
                server.url = Some(HostUrl::parse(&text).ok_or_else(|| node.wrong(URL))?);
            }
        }
        file.entries.push(server);
        Ok(file)
    }

    fn entry(
        &mut self,
        document: &Document<'_>,
        path: &[&str],
        table: &DeTable<'_>,
        at: usize,
    ) -> Result<Entry, Error> {
        let mut entry = Entry { line: document.line(at), ..Entry::default() };
        for (name, value) in in_order(table) {
            let key = dotted(&[path, &[name.get_ref().as_ref()][..]].concat());
            let node = Node { document, value: value.get_ref(), at: name.span().start, key: &key };
            match name.get_ref().as_ref() {
                "server" | "host" if path.is_empty() => {}
                "capabilities" => entry.capabilities = capabilities(&node)?,
                "ca" => entry.ca = one_or_more(&node)?,
                "client" => entry.client = client(&node)?,
                "skip_verify" => entry.skip_verify = Some(bool::read(&node)?),
                "header" => entry.headers = headers(&node)?,
                "override_path" => entry.override_path = bool::read(&node)?,
                "dial_timeout" => entry.dial_timeout = dial_timeout(&node)?,
                _ => self.ignored.push(Ignored { path: document.path.into(), line: node.line(), key }),
            }
        }
        Ok(entry)
    }
}

const URL: &str = "an URL such as \"https://mirror.example.com/path\"";

impl HostUrl {
    /// Reads `http[s]://host[:port][/path]`, or the same without its scheme for TLS.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(_) => return None,
            None => (Scheme::Https, text),
        };
        let end = rest.find('/').unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        let in_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        let in_path = |c: char| c.is_ascii_graphic() && !"?#\\\"<>^`{|}".contains(c);
        if host.is_empty() || !host.chars().all(in_host) || !path.chars().all(in_path) {
            return None;
        }
        Some(Self { scheme, host: host.to_owned(), path: clean(path) })
    }

    /// The root of the interface: the path, with `/v2` after it unless it is there or not wanted.
    pub(crate) fn root(&self, override_path: bool) -> String {
        if override_path || self.path.ends_with("/v2") {
            self.path.clone()
        } else {
            format!("{}/v2", self.path)
        }
    }
}

/// A path without empty parts, `.` and `..`; nothing for the root.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.iter().flat_map(|part| ["/", part]).collect()
}

fn capabilities(node: &Node<'_>) -> Result<Option<Capabilities>, Error> {
    let wrong = || node.wrong("a list of \"pull\", \"resolve\", \"push\" and \"referrers\"");
    let names = Vec::<String>::read(node).map_err(|_| wrong())?;
    if names.is_empty() {
        return Ok(None);
    }
    let mut all = Capabilities { pull: false, resolve: false, push: false, referrers: false };
    for name in names {
        match name.to_ascii_lowercase().as_str() {
            "pull" => all.pull = true,
            "resolve" => all.resolve = true,
            "push" => all.push = true,
            "referrers" => all.referrers = true,
            _ => return Err(wrong()),
        }
    }
    Ok(Some(all))
}

fn dial_timeout(node: &Node<'_>) -> Result<Option<Duration>, Error> {
    if node.value.as_str() == Some("") {
        return Ok(None);
    }
    let read = node.value.as_str().and_then(duration::parse);
    read.map(Some).ok_or_else(|| node.wrong(<Duration as Value>::ALLOWED))
}

fn text(value: &Spanned<DeValue<'_>>) -> Option<String> {
    value.get_ref().as_str().map(str::to_owned)
}

fn one_or_more(node: &Node<'_>) -> Result<Vec<String>, Error> {
    let texts = match node.value {
        DeValue::String(text) => Some(vec![text.to_string()]),
        DeValue::Array(list) => list.iter().map(text).collect(),
        _ => None,
    };
    texts.ok_or_else(|| node.wrong("a text or a list of texts"))
}

fn client(node: &Node<'_>) -> Result<Vec<(String, Option<String>)>, Error> {
    let one = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::String(text) => Some((text.to_string(), None)),
        DeValue::Array(pair) => match pair.iter().map(text).collect::<Option<Vec<_>>>()?.as_slice() {
            [certificate, key] => {
                Some((certificate.clone(), Some(key.clone()).filter(|key| !key.is_empty())))
            }
            _ => None,
        },
        _ => None,
    };
    let pairs = match node.value {
        DeValue::String(text) => Some(vec![(text.to_string(), None)]),
        DeValue::Array(list) => list.iter().map(one).collect(),
        _ => None,
    };
    pairs.ok_or_else(|| {
        node.wrong("a path, a list of paths, or a list of pairs of a certificate's and a key's path")
    })
}

fn headers(node: &Node<'_>) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let wrong = || node.wrong("a table of texts or lists of texts that may be headers of HTTP");
    let table = node.value.as_table().ok_or_else(wrong)?;
    let mut all = BTreeMap::new();
    for (name, value) in table.iter() {
        let entry =
            Node { document: node.document, value: value.get_ref(), at: name.span().start, key: node.key };
        let values = one_or_more(&entry).map_err(|_| wrong())?;
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let is_name = !name.get_ref().is_empty() && name.get_ref().bytes().all(token);
        let is_value = |text: &String| text.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f));
        if !is_name || !values.iter().all(is_value) {
            return Err(wrong());
        }
        all.insert(name.get_ref().to_string(), values);
    }
    Ok(all)
}
