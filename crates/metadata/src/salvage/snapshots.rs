//! Snapshots: stacks of names over directories, of which any row may be missing.
//!
//! A name keeps its number and its parent's row, a snapshot its parent's number: each says what the other one lost. What only the lost
//! row said (of what kind it was, what lay below it) is inferred where there is one answer, else the stack above it is
//! dropped: a container on other layers than its own would be worse than none.

use std::collections::{BTreeMap, HashMap, HashSet};

use gantry_types::Digest;
use rusqlite::params;

use super::{Found, Salvage};
use crate::time::{self, Timestamp};
use crate::{Error, SnapshotKind};

const COMMITTED: i64 = SnapshotKind::Committed as i64;
const ACTIVE: i64 = SnapshotKind::Active as i64;

#[derive(Debug, Clone)]
struct Name {
    id: i64,
    namespace: String,
    driver: String,
    key: String,
    number: i64,
    parent: Option<i64>,
}

#[derive(Debug, Clone)]
struct Bytes {
    driver: String,
    kind: i64,
    parent: Option<i64>,
    chain: Option<String>,
}

/// Names and directories, while they are put together.
struct Stacks<'a> {
    found: &'a Found<'a>,
    names: Vec<Name>,
    bytes: BTreeMap<i64, Bytes>,
    /// Names by row, and by where they are.
    rows: HashMap<i64, usize>,
    places: HashMap<(String, String, i64), usize>,
}

impl Salvage {
    pub(super) fn settle_snapshots(&mut self, found: &Found<'_>) -> Result<(), Error> {
        let (names, bytes) = (self.snapshot_names()?, self.snapshot_bytes()?);
        let before = bytes.keys().copied().collect::<HashSet<_>>();
        let mut stacks = Stacks { found, names, bytes, rows: HashMap::new(), places: HashMap::new() };
        stacks.index();
        stacks.drop_absent();
        let containers = self.snapshots_of_containers()?;
        stacks.infer(&containers);
        let (known, mut place) = (stacks.names.len(), 0);
        while place < stacks.names.len() {
            stacks.find_parent(place);
            place += 1;
        }
        let alive = stacks.alive();
        self.write_names(&stacks, &alive, known)?;
        self.write_bytes(&stacks, &alive, &before)
    }

    fn snapshot_names(&self) -> Result<Vec<Name>, Error> {
        let sql = "SELECT id, namespace, driver, key, number, parent FROM snapshot_name ORDER BY id";
        let mut statement = self.new.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            Ok(Name {
                id: row.get(0)?,
                namespace: row.get(1)?,
                driver: row.get(2)?,
                key: row.get(3)?,
                number: row.get(4)?,
                parent: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn snapshot_bytes(&self) -> Result<BTreeMap<i64, Bytes>, Error> {
        let mut statement = self.new.prepare("SELECT number, driver, kind, parent, chain FROM snapshot")?;
        let rows = statement.query_map([], |row| {
            let bytes =
                Bytes { driver: row.get(1)?, kind: row.get(2)?, parent: row.get(3)?, chain: row.get(4)? };
            Ok((row.get(0)?, bytes))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Namespace, driver and key of the snapshots that containers have.
    fn snapshots_of_containers(&self) -> Result<HashSet<(String, String, String)>, Error> {
        let mut statement = self.new.prepare("SELECT namespace, snapshotter, snapshot_key FROM container")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Names come and go, and get their parents; `known` of them have a row.
    fn write_names(
        &mut self,
        stacks: &Stacks<'_>,
        alive: &HashSet<usize>,
        known: usize,
    ) -> Result<(), Error> {
        let now = time::to_row(Timestamp::now());
        for (place, name) in stacks.names.iter().enumerate() {
            let shown = format!("{}/{}", name.driver, name.key);
            if !alive.contains(&place) {
                if place < known {
                    self.new.execute("DELETE FROM snapshot_name WHERE id = ?1", [name.id])?;
                    let why = stacks.why_lost(name);
                    self.lost("snapshot", &name.namespace, &shown, &why);
                }
                continue;
            }
            if place < known {
                let sql = "UPDATE snapshot_name SET parent = ?2 WHERE id = ?1";
                self.new.prepare_cached(sql)?.execute(params![name.id, name.parent])?;
                continue;
            }
            self.new.execute(
                "INSERT INTO snapshot_name (id, namespace, driver, key, number, parent, labels, created, updated, root)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, '{}', ?7, ?7, 0)",
                params![name.id, name.namespace, name.driver, name.key, name.number, name.parent, now],
            )?;
            self.rebuilt("snapshot", &name.namespace, &shown, "its name was lost, and others stand on it");
        }
        Ok(())
    }

    fn write_bytes(
        &mut self,
        stacks: &Stacks<'_>,
        alive: &HashSet<usize>,
        before: &HashSet<i64>,
    ) -> Result<(), Error> {
        let named: HashMap<i64, &Name> =
            alive.iter().map(|place| (stacks.names[*place].number, &stacks.names[*place])).collect();
        for number in before.iter().filter(|number| !named.contains_key(number)) {
            self.new.execute("DELETE FROM snapshot WHERE number = ?1", [number])?;
        }
        let unnamed =
            stacks.bytes.iter().filter(|(number, bytes)| bytes.kind == ACTIVE && !named.contains_key(number));
        for (number, bytes) in unnamed {
            if stacks.names.iter().all(|name| name.number != *number) {
                let name = format!("{}/{number}", bytes.driver);
                self.lost(
                    "snapshot",
                    "",
                    &name,
                    &format!("the name of its files is lost: {}", stacks.files(&bytes.driver, *number)),
                );
            }
        }
        for (number, name) in named {
            let Some(bytes) = stacks.bytes.get(&number) else { continue };
            if before.contains(&number) {
                let sql = "UPDATE snapshot SET chain = ?2, kind = ?3 WHERE number = ?1";
                self.new.prepare_cached(sql)?.execute(params![number, stacks.chain(number), bytes.kind])?;
                continue;
            }
            self.new.execute(
                "INSERT INTO snapshot (number, driver, kind, parent, chain, size, inodes, boot, synced)
                 VALUES (?1, ?2, ?3, ?4, NULL, 0, 0, ?5, 0)",
                params![number, bytes.driver, bytes.kind, bytes.parent, self.boot],
            )?;
            let shown = format!("{}/{}", name.driver, name.key);
            self.rebuilt(
                "snapshot",
                &name.namespace.clone(),
                &shown,
                "its files are there; what they take is not known",
            );
        }
        Ok(())
    }
}

impl Stacks<'_> {
    fn index(&mut self) {
        for (place, name) in self.names.iter().enumerate() {
            self.rows.insert(name.id, place);
            self.places.insert((name.namespace.clone(), name.driver.clone(), name.number), place);
        }
    }

    /// Whether the directory is there, as far as that is known.
    fn is_there(&self, driver: &str, number: i64) -> bool {
        let directories = self.found.directories.get(driver);
        directories.is_none_or(|numbers| numbers.contains(&number.unsigned_abs()))
    }

    fn drop_absent(&mut self) {
        let found = self.found;
        self.bytes.retain(|number, bytes| {
            let directories = found.directories.get(&bytes.driver);
            directories.is_none_or(|numbers| numbers.contains(&number.unsigned_abs()))
        });
    }

    fn parent_of(&self, name: &Name) -> Option<&Name> {
        let parent = self.rows.get(&name.parent?).map(|place| &self.names[*place])?;
        (parent.namespace == name.namespace && parent.driver == name.driver).then_some(parent)
    }

    /// Says of names without bytes what these were.
    fn infer(&mut self, containers: &HashSet<(String, String, String)>) {
        let parents: HashSet<i64> = self.names.iter().filter_map(|name| name.parent).collect();
        let mut inferred = Vec::new();
        for name in &self.names {
            let parent = match name.parent {
                None => None,
                Some(_) => match self.parent_of(name) {
                    Some(parent) => Some(parent.number),
                    None => continue,
                },
            };
            if self.bytes.contains_key(&name.number) || !self.is_there(&name.driver, name.number) {
                continue;
            }
            let place = (name.namespace.clone(), name.driver.clone(), name.key.clone());
            let looks_like_layer = Digest::parse(&name.key).is_ok() && !containers.contains(&place);
            let kind = if parents.contains(&name.id) || looks_like_layer { COMMITTED } else { ACTIVE };
            inferred.push((name.number, Bytes { driver: name.driver.clone(), kind, parent, chain: None }));
        }
        self.bytes.extend(inferred);
    }

    /// Has a name's parent be the one of its bytes, and names that one again if its name is lost.
    fn find_parent(&mut self, place: usize) {
        let name = self.names[place].clone();
        let Some(bytes) = self.bytes.get(&name.number) else { return };
        let Some(number) = bytes.parent else {
            self.names[place].parent = None;
            return;
        };
        if self.parent_of(&name).is_some_and(|parent| parent.number == number) {
            return;
        }
        let at = (name.namespace.clone(), name.driver.clone(), number);
        if let Some(parent) = self.places.get(&at) {
            self.names[place].parent = Some(self.names[*parent].id);
            return;
        }
        let Some(parent) = self.bytes.get(&number).filter(|parent| parent.driver == name.driver) else {
            return;
        };
        let key = parent.chain.clone().unwrap_or_else(|| format!("repaired-{number}"));
        let is_same = |other: &Name| {
            (&other.namespace, &other.driver, &other.key) == (&name.namespace, &name.driver, &key)
        };
        let next = || {
            let last = self.names.iter().map(|name| name.id.max(name.parent.unwrap_or(0))).max();
            last.and_then(|id| id.checked_add(1))
        };
        // The row that it had, if that is known.
        let lost = name.parent.filter(|id| !self.rows.contains_key(id));
        let Some(id) = lost.or_else(next).filter(|_| !self.names.iter().any(is_same)) else { return };
        // Its own parent is looked for when its turn comes.
        let made = Name { id, namespace: name.namespace, driver: name.driver, key, number, parent: None };
        self.names[place].parent = Some(id);
        self.rows.insert(id, self.names.len());
        self.places.insert(at, self.names.len());
        self.names.push(made);
    }

    /// The names whose whole stack is there, from the lowest up.
    fn alive(&self) -> HashSet<usize> {
        let mut children: HashMap<i64, Vec<usize>> = HashMap::new();
        let mut waiting = Vec::new();
        for (place, name) in self.names.iter().enumerate() {
            let Some(bytes) = self.bytes.get(&name.number).filter(|bytes| bytes.driver == name.driver) else {
                continue;
            };
            match (bytes.parent, name.parent) {
                (None, None) => waiting.push(place),
                (Some(number), Some(parent)) => {
                    let is_its = self.parent_of(name).is_some_and(|parent| parent.number == number);
                    let is_layer = self.bytes.get(&number).is_some_and(|bytes| bytes.kind == COMMITTED);
                    if is_its && is_layer {
                        children.entry(parent).or_default().push(place);
                    }
                }
                _ => {}
            }
        }
        let mut alive = HashSet::new();
        while let Some(place) = waiting.pop() {
            if alive.insert(place) {
                waiting.extend(children.remove(&self.names[place].id).unwrap_or_default());
            }
        }
        alive
    }

    /// A chain id that holds: that of a snapshot on others that have one.
    fn chain(&self, number: i64) -> Option<&str> {
        let chain = self.bytes.get(&number)?.chain.as_deref()?;
        let mut below = self.bytes.get(&number)?.parent;
        let mut depth = 0;
        while let Some(parent) = below {
            let bytes = self.bytes.get(&parent)?;
            bytes.chain.as_ref()?;
            below = bytes.parent;
            depth += 1;
            if depth > self.bytes.len() {
                return None;
            }
        }
        Some(chain)
    }

    fn why_lost(&self, name: &Name) -> String {
        if !self.is_there(&name.driver, name.number) {
            return "its files are not there".to_owned();
        }
        format!("what lies below it is lost: {}", self.files(&name.driver, name.number))
    }

    /// Where files are that lost their snapshot.
    fn files(&self, driver: &str, number: i64) -> String {
        match self.found.directories.get(driver) {
            Some(_) => format!("its own files are in snapshots/{driver}/{number} until the next start"),
            None => "its files are its snapshotter's".to_owned(),
        }
    }
}
