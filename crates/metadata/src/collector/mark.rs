//! The walk along the references.

use std::collections::{HashMap, HashSet};

use rusqlite::params;

use super::marks::{Depth, Marks};
use crate::node::{Kind, Node};
use crate::view::Grey;
use crate::{Error, View, images, namespaces};

/// Why something was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is a root of this kind.
    Root(&'static str),
    /// This lease names it.
    Lease(i64),
    /// This refers to it, or it refers back to this.
    Node(Node),
}

pub(super) struct Walk<'a, 'v> {
    view: &'a View<'v>,
    marks: &'a mut Marks,
    now: i64,
    /// The namespaces that use the shared image names.
    sharing: HashSet<String>,
    /// Whether anything carries a back reference: most stores have none.
    back: bool,
    /// Names without a record that were reached: they keep who refers back to them, as with containerd (the platforms of an
    /// index that were not pulled keep their signatures).
    absent: HashSet<(Kind, String, String, String)>,
    stack: Vec<(Node, Depth)>,
    pub(super) reasons: Option<HashMap<Node, Reason>>,
}

impl<'a, 'v> Walk<'a, 'v> {
    pub(super) fn new(view: &'a View<'v>, marks: &'a mut Marks, now: i64) -> Result<Self, Error> {
        let sharing = namespaces::sharing(view)?.into_iter().collect();
        let back = view.any("SELECT 1 FROM edge WHERE rule = 2", [])?;
        let absent = HashSet::new();
        Ok(Self { view, marks, now, sharing, back, absent, stack: Vec::new(), reasons: None })
    }

    /// Everything that is kept for its own sake.
    pub(super) fn roots(&mut self) -> Result<(), Error> {
        let view = self.view;
        let mut add = |kind, sql: &str, bound: bool, why| {
            let params = if bound { vec![self.now] } else { Vec::new() };
            let rows = view.rows(sql, rusqlite::params_from_iter(params), |row| row.get(0))?;
            rows.into_iter().for_each(|id| self.mark(Node::new(kind, id), Depth::Full, Reason::Root(why)));
            Ok::<_, Error>(())
        };
        add(Kind::Image, "SELECT id FROM image WHERE expires IS NULL OR expires >= ?1", true, "an image")?;
        add(Kind::Container, "SELECT id FROM container", false, "a container")?;
        add(Kind::Sandbox, "SELECT id FROM sandbox", false, "a sandbox")?;
        add(Kind::Ingest, "SELECT id FROM ingest WHERE expires >= ?1", true, "an ingest in use")?;
        // As the partial indexes have it.
        let labelled = "(root <> 0 OR expires IS NOT NULL) AND (root <> 0 OR expires >= ?1)";
        let why = "its label";
        add(Kind::Content, &format!("SELECT id FROM content WHERE {labelled}"), true, why)?;
        add(Kind::Snapshot, &format!("SELECT id FROM snapshot_name WHERE {labelled}"), true, why)?;
        self.leases()
    }

    fn leases(&mut self) -> Result<(), Error> {
        let sql = "SELECT l.namespace, l.flat, r.kind, r.driver, r.key, l.id FROM lease AS l
                   JOIN lease_resource AS r ON r.lease = l.id WHERE l.expires IS NULL OR l.expires >= ?1";
        let view = self.view;
        view.each(
            sql,
            [self.now],
            |row| {
                let (space, driver, key): (String, String, String) = (row.get(0)?, row.get(3)?, row.get(4)?);
                Ok((space, row.get::<_, bool>(1)?, row.get::<_, i64>(2)?, driver, key, row.get::<_, i64>(5)?))
            },
            |(space, flat, kind, driver, key, lease)| {
                let Some(kind) = Kind::from_code(kind) else { return Ok(()) };
                let depth = if flat { Depth::Flat } else { Depth::Full };
                self.target(kind, &space, &driver, &key, depth, &Reason::Lease(lease))
            },
        )
    }

    /// Walks on from an entry of the grey list, whatever was known of it before.
    pub(super) fn renew(&mut self, grey: Grey) -> Result<(), Error> {
        match grey {
            Grey::Node(node) => {
                self.marks.insert(node, Depth::Full);
                self.stack.push((node, Depth::Full));
                Ok(())
            }
            // Whether the lease is flat does not matter: what is kept too long goes with the next collection.
            Grey::Name(kind, namespace, driver, key) => {
                let why = Reason::Root("a lease of now");
                self.target(kind, &namespace, &driver, &key, Depth::Full, &why)
            }
        }
    }

    /// Walks until nothing new is reached.
    pub(super) fn run(&mut self) -> Result<(), Error> {
        while let Some((node, depth)) = self.stack.pop() {
            self.expand(node, depth)?;
        }
        Ok(())
    }

    fn mark(&mut self, node: Node, depth: Depth, why: Reason) {
        if self.marks.insert(node, depth) {
            self.stack.push((node, depth));
            if let Some(reasons) = &mut self.reasons {
                reasons.entry(node).or_insert(why);
            }
        }
    }

    fn expand(&mut self, node: Node, depth: Depth) -> Result<(), Error> {
        let view = self.view;
        let why = Reason::Node(node);
        match node.kind {
            Kind::Snapshot => {
                let sql = "SELECT parent FROM snapshot_name WHERE id = ?1";
                if let Some(Some(parent)) = view.row(sql, [node.id], |row| row.get::<_, Option<i64>>(0))? {
                    self.mark(Node::new(Kind::Snapshot, parent), depth, why.clone());
                }
            }
            Kind::Image => {
                let sql = "SELECT space, digest FROM image WHERE id = ?1";
                let found = view.row(sql, [node.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
                if let Some((space, digest)) = found {
                    let (space, digest): (String, String) = (space, digest);
                    self.target(Kind::Content, &space, "", &digest, depth, &why)?;
                }
            }
            Kind::Container => {
                let sql = "SELECT namespace, snapshotter, snapshot_key FROM container WHERE id = ?1 AND snapshotter <> ''";
                let found = view.row(sql, [node.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                if let Some((namespace, driver, key)) = found {
                    let (namespace, driver, key): (String, String, String) = (namespace, driver, key);
                    self.target(Kind::Snapshot, &namespace, &driver, &key, depth, &why)?;
                }
            }
            // The blob that an ingest stands for is kept by its row.
            Kind::Content | Kind::Sandbox | Kind::Ingest => {}
        }
        if depth == Depth::Full {
            self.labels(node)?;
            if self.back {
                self.carriers(node)?;
            }
        }
        Ok(())
    }

    /// What the labels of `node` refer to.
    fn labels(&mut self, node: Node) -> Result<(), Error> {
        let sql = "SELECT rule, to_kind, driver, key, age, space FROM edge
                   WHERE from_kind = ?1 AND from_id = ?2 AND rule <> 2";
        let edges = self.view.rows(sql, params![node.kind.code(), node.id], |row| {
            let (driver, key, space): (String, String, String) = (row.get(2)?, row.get(3)?, row.get(5)?);
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, driver, key, row.get::<_, i64>(4)?, space))
        })?;
        for (rule, kind, driver, key, age, space) in edges {
            let Some(kind) = Kind::from_code(kind) else { continue };
            match rule {
                1 => self.target(kind, &space, &driver, &key, Depth::Full, &Reason::Node(node))?,
                _ => {
                    let limit = self.now.saturating_sub(age);
                    for place in self.places(kind, &space) {
                        let Some(id) = lookup(self.view, kind, &place, &driver, &key)? else { continue };
                        let sql = "SELECT used FROM snapshot_name WHERE id = ?1";
                        let used = self.view.row(sql, [id], |row| row.get::<_, Option<i64>>(0))?.flatten();
                        if used.is_some_and(|used| if rule == 3 { used > limit } else { used < limit }) {
                            self.mark(Node::new(kind, id), Depth::Full, Reason::Node(node));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Whoever says in its labels that `node` keeps it.
    fn carriers(&mut self, node: Node) -> Result<(), Error> {
        let sql = match node.kind {
            Kind::Content => "SELECT namespace, '', digest FROM content WHERE id = ?1",
            Kind::Snapshot => "SELECT namespace, driver, key FROM snapshot_name WHERE id = ?1",
            Kind::Image => "SELECT space, '', name FROM image WHERE id = ?1",
            Kind::Container => "SELECT namespace, '', name FROM container WHERE id = ?1",
            Kind::Sandbox | Kind::Ingest => return Ok(()),
        };
        let found = self.view.row(sql, [node.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let Some((space, driver, key)) = found else { return Ok(()) };
        let (space, driver, key): (String, String, String) = (space, driver, key);
        self.carriers_of(node.kind, &space, &driver, &key, &Reason::Node(node))
    }

    fn carriers_of(
        &mut self,
        kind: Kind,
        space: &str,
        driver: &str,
        key: &str,
        why: &Reason,
    ) -> Result<(), Error> {
        let sql = "SELECT from_kind, from_id, space FROM edge
                   WHERE rule = 2 AND to_kind = ?1 AND key = ?2 AND driver = ?3";
        let carriers = self.view.rows(sql, params![kind.code(), key, driver], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
        })?;
        for (kind, id, its) in carriers {
            let sees = its == space
                || (its == images::SHARED && self.sharing.contains(space))
                || (space == images::SHARED && self.sharing.contains(&its));
            if let (true, Some(kind)) = (sees, Kind::from_code(kind)) {
                self.mark(Node::new(kind, id), Depth::Full, why.clone());
            }
        }
        Ok(())
    }

    fn target(
        &mut self,
        kind: Kind,
        space: &str,
        driver: &str,
        key: &str,
        depth: Depth,
        why: &Reason,
    ) -> Result<(), Error> {
        for place in self.places(kind, space) {
            match lookup(self.view, kind, &place, driver, key)? {
                Some(id) => self.mark(Node::new(kind, id), depth, why.clone()),
                None if self.back && depth == Depth::Full => {
                    let name = (kind, place.clone(), driver.to_owned(), key.to_owned());
                    if self.absent.insert(name) {
                        self.carriers_of(kind, &place, driver, key, why)?;
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Where a name in `space` is looked up: in several namespaces if that is the shared space.
    fn places(&self, kind: Kind, space: &str) -> Vec<String> {
        if kind == Kind::Image {
            // A name that stayed behind at the joining is still the namespace's.
            let shared = self.sharing.contains(space).then_some(images::SHARED);
            return [space].into_iter().chain(shared).map(str::to_owned).collect();
        }
        if space == images::SHARED { self.sharing.iter().cloned().collect() } else { vec![space.to_owned()] }
    }
}

fn lookup(view: &View<'_>, kind: Kind, space: &str, driver: &str, key: &str) -> Result<Option<i64>, Error> {
    let sql = match kind {
        Kind::Content => "SELECT id FROM content WHERE namespace = ?1 AND digest = ?2 AND ?3 = ''",
        Kind::Snapshot => "SELECT id FROM snapshot_name WHERE namespace = ?1 AND key = ?2 AND driver = ?3",
        Kind::Image => "SELECT id FROM image WHERE space = ?1 AND name = ?2 AND ?3 = ''",
        Kind::Container => "SELECT id FROM container WHERE namespace = ?1 AND name = ?2 AND ?3 = ''",
        Kind::Sandbox => "SELECT id FROM sandbox WHERE namespace = ?1 AND name = ?2 AND ?3 = ''",
        Kind::Ingest => "SELECT id FROM ingest WHERE namespace = ?1 AND ref = ?2 AND ?3 = ''",
    };
    view.row(sql, params![space, key, driver], |row| row.get(0))
}
