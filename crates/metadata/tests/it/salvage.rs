//! A new database from a damaged one: what SQLite can still read is in it, whatever the damage.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use gantry_metadata::salvage::{Document, Finding, Found, Report, Salvage};
use gantry_metadata::{
    Change, Container, Database, Error, FILE, Opaque, Options, Resource, Sandbox, Task, containers, contents,
    images, ingests, leases, mounts, sandboxes, snapshots, sources, tasks,
};
use gantry_types::{ChainId, Descriptor, Digest, Labels};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use tempfile::TempDir;

use crate::fixture::{DRIVER, digest, labels, namespace, open, prepare, put_content, put_image};

const PAGE: usize = 4096;
/// Records of each kind in a full store.
const MANY: u32 = 150;
/// Stores that are damaged, if the environment (`SALVAGE_SEEDS`, as in `100..200`) does not say which.
const SEEDS: std::ops::Range<u64> = 0..20;

/// Tables and the columns of their primary keys.
const TABLES: [(&str, &str); 18] = [
    ("blob", "digest"),
    ("boot", "id"),
    ("container", "id"),
    ("content", "id"),
    ("event", "cursor"),
    ("holder", "image, name"),
    ("image", "id"),
    ("ingest", "id"),
    ("lease", "id"),
    ("lease_resource", "lease, kind, driver, key"),
    ("mount", "id"),
    ("namespace", "name"),
    ("opaque", "kind, owner, role, name"),
    ("released", "id"),
    ("sandbox", "id"),
    ("snapshot_name", "id"),
    ("source", "name"),
    ("task", "namespace, container, exec"),
];

fn chain(number: u32) -> ChainId {
    ChainId(digest(&format!("chain {number}")))
}

fn spec() -> Opaque {
    Opaque { type_url: "spec".to_owned(), value: vec![7; 700] }
}

/// One image with a layer, and a container with a lease on it.
fn put(change: &mut Change<'_>, number: u32) -> Result<(), Error> {
    let ns = namespace(["a", "b", "moby"][number as usize % 3]);
    let name = format!("image-{number}");
    put_content(change, &ns, &format!("layer {number}"), &[], None)?;
    let layer = digest(&format!("layer {number}"));
    put_content(change, &ns, &name, &[("containerd.io/gc.ref.content.l.0", layer.as_str())], None)?;
    put_image(change, &ns, &name, &name, &[("k", "v")])?;
    let chain = chain(number);
    prepare(change, &ns, "extract", None, &[], None)?;
    let request = snapshots::Commit {
        driver: DRIVER,
        key: "extract",
        name: chain.as_str(),
        parent: None,
        labels: &Labels::new(),
        usage: snapshots::Usage { size: 1, inodes: 1 },
        chain: Some(&chain),
        lease: None,
    };
    snapshots::commit(change, &ns, &request)?;
    let id = format!("container-{number}");
    prepare(change, &ns, &id, Some(chain.as_str()), &[], None)?;
    let mut container = Container::new(&id, "io.containerd.gantry.v2", spec());
    container.snapshotter = DRIVER.to_owned();
    container.snapshot_key.clone_from(&id);
    container.labels = labels(&[("containerd.io/gc.bref.content", digest(&name).as_str())]);
    containers::create(change, &ns, &container)?;
    tasks::record(change, &ns, &Task::new(&id, "", 1 + number))?;
    tasks::record(change, &ns, &Task::new(&id, "exec", 1000 + number))?;
    leases::create(change, &ns, &format!("lease-{number}"), &Labels::new())?;
    leases::add(change, &ns, &format!("lease-{number}"), &Resource::Content(layer))?;
    leases::add(change, &ns, &format!("lease-{number}"), &Resource::Image(name))?;
    sandboxes::create(change, &ns, &Sandbox::new(format!("sandbox-{number}")))?;
    ingests::open(change, &ns, &format!("ref-{number}"), ingests::Opening::default())?;
    mounts::create(change, &ns, &format!("mount-{number}"), &Labels::new(), "{}", None)?;
    sources::accept(change, &format!("pod-{number}.1"), u64::from(number))?;
    put_content(change, &ns, &format!("gone {number}"), &[], None)?;
    contents::delete(change, &ns, &digest(&format!("gone {number}")), None)
}

/// A closed store that has everything.
fn store(count: u32) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path());
    database.write(move |change| (0..count).try_for_each(|number| put(change, number))).unwrap();
    database.check().unwrap();
    directory
}

fn rows(connection: &Connection, sql: &str) -> BTreeSet<String> {
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| {
        let values: Vec<Value> = (0..columns).map(|column| row.get(column).unwrap()).collect();
        Ok(format!("{values:?}"))
    };
    statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
}

fn dump(directory: &Path, table: &str) -> BTreeSet<String> {
    let connection = Connection::open(directory.join(FILE)).unwrap();
    rows(&connection, &format!("SELECT * FROM {table}"))
}

/// The bytes of a store that lost none.
fn bytes(count: u32) -> (BTreeMap<Digest, u64>, BTreeMap<String, BTreeSet<u64>>) {
    let texts = (0..count).flat_map(|number| [format!("layer {number}"), format!("image-{number}")]);
    let blobs = texts.map(|text| (digest(&text), text.len() as u64)).collect();
    (blobs, BTreeMap::from([(DRIVER.to_owned(), (1..=u64::from(2 * count)).collect())]))
}

/// Repairs the store; `found` may change what is there.
fn repair<'a>(directory: &Path, count: u32, change: impl FnOnce(&mut Found<'a>)) -> Report {
    let (blobs, directories) = bytes(count);
    let mut found = Found { blobs, directories, proves: &|_| true, document: &|_, _| None };
    change(&mut found);
    let mut salvage = Salvage::read(directory, "boot-1").unwrap();
    salvage.settle(&found).unwrap();
    let (report, _) = salvage.install().unwrap();
    assert!(!directory.join("meta.db.repairing").exists() && !directory.join("meta.db.repaired").exists());
    open(directory).check().unwrap();
    report
}

fn names(findings: &[Finding], what: &str) -> Vec<String> {
    findings.iter().filter(|finding| finding.what == what).map(|finding| finding.name.clone()).collect()
}

#[test]
fn whole_database_comes_out_as_it_was() {
    let directory = store(20);
    let tables = TABLES.map(|(table, _)| table).into_iter().chain(["edge", "snapshot", "sqlite_sequence"]);
    let before: Vec<_> = tables.clone().map(|table| dump(directory.path(), table)).collect();
    let report = repair(directory.path(), 20, |_| ());
    assert!(report.found && !report.schema_lost && report.damaged.is_empty(), "{report:?}");
    assert!(
        report.lost.is_empty() && report.rebuilt.is_empty() && report.incomplete.is_empty(),
        "{report:?}"
    );
    assert_eq!((report.misfits, report.unnamed_blobs, report.unnamed_directories.len()), (0, 0, 0));
    for (table, before) in tables.zip(before) {
        assert_eq!(dump(directory.path(), table), before, "{table}");
    }
}

#[test]
fn lost_first_page_costs_nothing() {
    let directory = store(MANY);
    let tables = TABLES.map(|(table, _)| table);
    let before: Vec<_> = tables.iter().map(|table| dump(directory.path(), table)).collect();
    let path = directory.path().join(FILE);
    let mut bytes = fs::read(&path).unwrap();
    bytes[..PAGE].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    let report = repair(directory.path(), MANY, |_| ());
    assert!(report.schema_lost && report.lost.is_empty(), "{report:?}");
    for (table, before) in tables.iter().zip(before) {
        assert_eq!(dump(directory.path(), table), before, "{table}");
    }
    let aside = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap());
    let aside: Vec<_> =
        aside.filter(|e| e.file_name().to_string_lossy().contains("meta.db.damaged-")).collect();
    assert!(fs::read(aside[0].path()).unwrap() == bytes, "the damaged file was changed");
}

#[test]
fn log_of_a_kill_is_read_whatever_became_of_the_first_page() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path());
    database.write(|change| (0..10).try_for_each(|number| put(change, number))).unwrap();
    let copy = tempfile::tempdir().unwrap();
    for name in [FILE, "meta.db-wal"] {
        fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
    }
    let mut bytes = fs::read(copy.path().join(FILE)).unwrap();
    bytes[..PAGE].fill(0);
    fs::write(copy.path().join(FILE), bytes).unwrap();
    repair(copy.path(), 10, |_| ());
    assert_eq!(dump(copy.path(), "image").len(), 10);
    let aside = fs::read_dir(copy.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let aside: Vec<_> = aside.filter(|name| name.to_string_lossy().contains("damaged-")).collect();
    assert_eq!(aside.len(), 2, "{aside:?}");
}

/// As many numbers as are wanted, the same ones for a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("SALVAGE_SEEDS") else { return SEEDS };
    let (first, end) = text.split_once("..").unwrap();
    first.parse().unwrap()..end.parse().unwrap()
}

/// Damages some pages in one of several ways.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let pages = bytes.len() / PAGE;
        let page = random.below(pages) * PAGE;
        match random.below(6) {
            0 => bytes[page..page + PAGE].fill(0),
            1 => bytes[page..page + PAGE].fill_with(|| random.below(256) as u8),
            2 => {
                let start = page + random.below(PAGE - 64);
                bytes[start..start + 64].fill_with(|| random.below(256) as u8);
            }
            3 => bytes[page + random.below(PAGE)] ^= 1 << random.below(8),
            4 => {
                let other = random.below(pages) * PAGE;
                bytes.copy_within(other..other + PAGE, page);
            }
            _ if random.below(4) == 0 => bytes.truncate((pages / 2 + random.below(pages / 2)).max(1) * PAGE),
            _ => bytes[page..page + 8].fill(0xff),
        }
    }
}

/// Rows that are what they were, and that SQLite finds by their keys.
fn readable(directory: &Path, before: &[BTreeMap<String, Vec<Value>>]) -> Vec<BTreeSet<String>> {
    let nothing = || TABLES.map(|_| BTreeSet::new()).to_vec();
    let Ok(connection) = Connection::open_with_flags(directory.join(FILE), OpenFlags::SQLITE_OPEN_READ_ONLY)
    else {
        return nothing();
    };
    let found = TABLES.iter().zip(before).map(|((table, key), before)| {
        let key: Vec<String> = key.split(", ").map(|column| format!("{column} = ?")).collect();
        let sql = format!("SELECT * FROM {table} NOT INDEXED WHERE {}", key.join(" AND "));
        let Ok(mut statement) = connection.prepare(&sql) else { return BTreeSet::new() };
        let mut is_there = |row: &str, key: &[Value]| {
            let Ok(mut rows) = statement.query(params_from_iter(key)) else { return false };
            let Ok(Some(found)) = rows.next() else { return false };
            let columns = (0..found.as_ref().column_count()).map(|column| found.get::<_, Value>(column));
            columns.collect::<Result<Vec<_>, _>>().is_ok_and(|values| format!("{values:?}") == row)
        };
        before.iter().filter(|(row, key)| is_there(row, key)).map(|(row, _)| row.clone()).collect()
    });
    found.collect()
}

/// The rows of each table with their keys.
fn keyed(directory: &Path) -> Vec<BTreeMap<String, Vec<Value>>> {
    let connection = Connection::open(directory.join(FILE)).unwrap();
    let of = |(table, key): (&str, &str)| {
        let mut statement = connection.prepare(&format!("SELECT *, {key} FROM {table}")).unwrap();
        let (all, keys) = (statement.column_count(), key.split(", ").count());
        let rows = statement.query_map([], |row| {
            let values: Vec<Value> = (0..all).map(|column| row.get(column).unwrap()).collect();
            Ok((format!("{:?}", &values[..all - keys]), values[all - keys..].to_vec()))
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    };
    TABLES.into_iter().map(of).collect()
}

/// Whether a row may be dropped although it can be read: what it belongs to is gone, and that was told.
fn may_go(table: &str, row: &str, directory: &Path, report: &Report) -> bool {
    match table {
        "snapshot_name" => names(&report.lost, "snapshot")
            .iter()
            .any(|name| row.contains(&format!("{:?}", name.trim_start_matches("overlayfs/")))),
        // Of a record that cannot be read.
        "holder" | "lease_resource" | "opaque" => !report.damaged.is_empty() || report.misfits > 0,
        "task" => row.contains("\"exec\"") && (!report.damaged.is_empty() || report.misfits > 0),
        // One that names what has a record, as a row of the queue.
        "released" => dump(directory, "blob").iter().any(|blob| row.contains(&blob[7..78])),
        _ => false,
    }
}

#[test]
fn what_sqlite_can_read_is_kept_whatever_the_damage() {
    let directory = store(MANY);
    let whole = fs::read(directory.path().join(FILE)).unwrap();
    let before = keyed(directory.path());
    for seed in seeds() {
        let mut bytes = whole.clone();
        damage(&mut bytes, &mut Random(seed));
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(FILE), &bytes).unwrap();
        let readable = readable(place.path(), &before);
        fs::write(place.path().join(FILE), &bytes).unwrap();
        let report = repair(place.path(), MANY, |_| ());
        for ((table, _), readable) in TABLES.iter().zip(readable) {
            let after = dump(place.path(), table);
            for row in readable.difference(&after) {
                assert!(
                    may_go(table, row, place.path(), &report),
                    "seed {seed}: {table} lost {row}\n{report:#?}"
                );
            }
        }
        let database = open(place.path());
        for ns in ["a", "b", "moby"].map(namespace) {
            database.read(|view| images::list(view, &ns)).unwrap();
            database.read(|view| containers::list(view, &ns)).unwrap();
            database.read(|view| snapshots::list(view, &ns, DRIVER)).unwrap();
            database.read(|view| leases::list(view, &ns)).unwrap();
        }
        // A new number is one that nothing has.
        let number = database.write(snapshots::reserve_number).unwrap();
        assert!(number > 2 * u64::from(MANY), "seed {seed}: {number}");
    }
}

/// Opens the database of a closed store and changes rows behind our back.
fn edit(directory: &Path, sql: &str) {
    Connection::open(directory.join(FILE)).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn records_without_bytes_go_and_are_told() {
    let directory = store(6);
    let (absent, wrong) = (digest("layer 0"), digest("layer 1"));
    edit(directory.path(), &format!("UPDATE blob SET size = 99 WHERE digest = '{wrong}'"));
    let report = repair(directory.path(), 6, |found| {
        found.blobs.remove(&absent);
        found.directories.get_mut(DRIVER).unwrap().remove(&3);
        found.proves = &|digest| digest.as_str() != self::digest("layer 1").as_str();
    });
    assert_eq!(names(&report.lost, "content").len(), 2);
    let lost = names(&report.lost, "snapshot");
    assert_eq!(lost, ["overlayfs/container-1".to_owned(), format!("overlayfs/{}", chain(1))]);
    // Its target is there.
    assert!(names(&report.incomplete, "image").is_empty());
    let report = repair(directory.path(), 6, |found| {
        found.blobs.remove(&digest("image-2"));
    });
    assert_eq!(names(&report.incomplete, "image"), ["image-2"]);
}

#[test]
fn names_and_bytes_of_snapshots_say_what_the_other_lost() {
    let directory = store(4);
    // A layer's name; the row of another layer; that of a container's files.
    edit(
        directory.path(),
        &format!(
            "DELETE FROM snapshot_name WHERE key = '{}'; DELETE FROM snapshot WHERE number = 3; DELETE FROM snapshot WHERE number = 6;",
            chain(0)
        ),
    );
    let report = repair(directory.path(), 4, |_| ());
    assert!(report.lost.is_empty(), "{report:?}");
    assert_eq!(names(&report.rebuilt, "snapshot").len(), 3, "{report:?}");
    let database = open(directory.path());
    let get = |ns: &str, key: &str| {
        database.read(|view| snapshots::get(view, &namespace(ns), DRIVER, key)).unwrap()
    };
    assert_eq!(get("a", "container-0").parent.as_deref(), Some(chain(0).as_str()));
    assert_eq!(get("b", chain(1).as_str()).kind, snapshots::Kind::Committed);
    assert_eq!(get("moby", "container-2").kind, snapshots::Kind::Active);
}

/// Overwrites all pages of a table's rows.
fn lose_rows(directory: &Path, table: &str) {
    let path = directory.join(FILE);
    let connection = Connection::open(&path).unwrap();
    let sql = "SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = 'leaf'";
    let mut statement = connection.prepare(sql).unwrap();
    let pages: Vec<u32> =
        statement.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    drop(statement);
    drop(connection);
    let mut bytes = fs::read(&path).unwrap();
    pages
        .into_iter()
        .map(|page| page as usize)
        .for_each(|page| bytes[(page - 1) * PAGE..page * PAGE].fill(0xa5));
    fs::write(path, bytes).unwrap();
}

#[test]
fn names_are_taken_from_indexes_where_all_rows_are_lost() {
    let directory = store(30);
    let mine = ["mine", "a"];
    let database = open(directory.path());
    database
        .write(move |change| {
            let parent = chain(0);
            prepare(change, &namespace(mine[1]), mine[0], Some(parent.as_str()), &[], None)
        })
        .unwrap();
    drop(database);
    for table in ["snapshot_name", "image", "content"] {
        lose_rows(directory.path(), table);
    }
    let document = |digest: &Digest, _: &str| {
        let number = (0..30).find(|number| *digest == self::digest(&format!("image-{number}")))?;
        let layer = self::digest(&format!("layer {number}"));
        let labels = labels(&[("containerd.io/gc.ref.content.l.0", layer.as_str())]);
        let children = vec![Descriptor::new("layer", layer, 7)];
        Some(Document { media_type: "manifest".to_owned(), labels, children })
    };
    let report = repair(directory.path(), 30, |found| {
        found.document = &document;
        found.directories.get_mut(DRIVER).unwrap().insert(61);
    });
    assert!(report.lost.is_empty() && report.incomplete.is_empty(), "{report:#?}");
    let database = open(directory.path());
    let collected = gantry_metadata::collect(&database, gantry_metadata::Collection::now()).unwrap();
    assert_eq!((collected.contents, collected.images), (0, 0));
    for (ns, count) in [("a", 10), ("b", 10), ("moby", 10)] {
        assert_eq!(database.read(|view| images::list(view, &namespace(ns))).unwrap().len(), count);
    }
    // Nobody can tell whether a label kept it: it stays.
    let found = database.read(|view| snapshots::get(view, &namespace("a"), DRIVER, "mine")).unwrap();
    assert_eq!((found.parent.as_deref(), found.number), (Some(chain(0).as_str()), 61));
    assert!(database.read(|view| snapshots::get(view, &namespace("a"), DRIVER, "container-0")).is_ok());
}

#[test]
fn container_whose_layers_cannot_be_told_is_not_put_on_others() {
    let directory = store(4);
    edit(
        directory.path(),
        &format!(
            "DELETE FROM snapshot_name WHERE key = '{}'; DELETE FROM snapshot WHERE number = 1;",
            chain(0)
        ),
    );
    let report = repair(directory.path(), 4, |_| ());
    assert_eq!(names(&report.lost, "snapshot"), ["overlayfs/container-0"]);
    assert!(report.lost[0].why.contains("snapshots/overlayfs/2"), "{report:?}");
    assert_eq!(report.unnamed_directories, [(DRIVER.to_owned(), 1), (DRIVER.to_owned(), 2)]);
}

#[test]
fn content_of_an_image_gets_its_records_again() {
    let directory = store(4);
    edit(
        directory.path(),
        "DELETE FROM content; DELETE FROM lease_resource; DELETE FROM namespace; DELETE FROM holder;",
    );
    let document = |digest: &Digest, _: &str| {
        let number = (0..4).find(|number| *digest == self::digest(&format!("image-{number}")))?;
        let layer = self::digest(&format!("layer {number}"));
        let labels = labels(&[("containerd.io/gc.ref.content.l.0", layer.as_str())]);
        let children = vec![Descriptor::new("layer", layer, 7)];
        Some(Document { media_type: "manifest".to_owned(), labels, children })
    };
    let report = repair(directory.path(), 4, |found| found.document = &document);
    assert_eq!(names(&report.rebuilt, "content").len(), 8, "{report:?}");
    assert_eq!(names(&report.rebuilt, "namespace"), ["a", "b", "moby"]);
    assert_eq!(names(&report.rebuilt, "image"), ["image-2"]);
    let database = open(directory.path());
    let all = database.read(|view| contents::list(view, &namespace("a"))).unwrap();
    assert_eq!(all.len(), 4);
    let collected = gantry_metadata::collect(&database, gantry_metadata::Collection::now()).unwrap();
    assert_eq!(collected.contents, 0, "what was made again is referred to");
    drop(database);
    // Without anything that names them, they go nowhere.
    edit(directory.path(), "DELETE FROM content; DELETE FROM image; DELETE FROM holder;");
    assert_eq!(repair(directory.path(), 4, |_| ()).unnamed_blobs, 8);
}

#[test]
fn interrupted_installation_is_brought_to_its_end() {
    let directory = store(4);
    let path = directory.path().join(FILE);
    fs::rename(&path, directory.path().join("meta.db.repaired")).unwrap();
    fs::write(&path, vec![7; PAGE]).unwrap();
    fs::write(directory.path().join("meta.db-wal"), vec![7; PAGE]).unwrap();
    let database = Database::open(directory.path(), Options::new("boot-1")).unwrap();
    assert_eq!(database.read(|view| images::list(view, &namespace("a"))).unwrap().len(), 2);
}

#[test]
fn newer_database_is_not_salvaged() {
    let directory = store(1);
    edit(directory.path(), "CREATE TABLE more (x); PRAGMA user_version = 99;");
    assert!(matches!(Salvage::read(directory.path(), "boot-1").err(), Some(Error::Newer { found: 99, .. })));
    assert!(!directory.path().join("meta.db.repairing").exists());
}

#[test]
fn without_a_database_a_new_one_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let report = repair(directory.path(), 4, |_| ());
    assert!(!report.found);
    assert_eq!(report.unnamed_blobs, 8);
    assert_eq!(report.unnamed_directories.len(), 8);
}
