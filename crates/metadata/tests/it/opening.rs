//! What is found at the open.

use std::fs;

use gantry_metadata::{
    Database, Error, Options, Task, TaskState, contents, documents, images, snapshots, sources, tasks,
};
use gantry_types::{ChainId, ErrorKind, Labels};
use rusqlite::Connection;

use crate::fixture::{DRIVER, commit, digest, namespace, open, prepare, put_content, put_image};

/// A database of version 1, as `.dump` wrote it.
const DUMP_1: &str = include_str!("../dumps/v1.sql");
/// One of version 2.
const DUMP_2: &str = include_str!("../dumps/v2.sql");
/// One of version 3.
const DUMP_3: &str = include_str!("../dumps/v3.sql");

#[test]
fn newer_version_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let path = directory.path().join("meta.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Database::open(directory.path(), Options::new("boot")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(matches!(&error, Error::Newer { found: 99, known: 3, .. }), "{error}");
    assert!(error.to_string().contains("meta.db"), "{error}");
}

#[test]
fn file_that_is_no_database_is_data_loss() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("meta.db"), vec![7; 8192]).unwrap();
    let error = Database::open(directory.path(), Options::new("boot")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
}

#[test]
fn damaged_file_is_noticed_after_an_unclean_boot() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path());
    database
        .write(|change| {
            (0..2000)
                .try_for_each(|n| put_content(change, &namespace("a"), &format!("{n}"), &[("k", "v")], None))
        })
        .unwrap();
    database.check().unwrap();
    drop(database);
    let path = directory.path().join("meta.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute("DELETE FROM setting WHERE key = 'clean'", []).unwrap();
    drop(connection);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let error = Database::open(directory.path(), Options::new("boot-2")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
}

/// A database from a dump, brought to this version.
fn opened(dump: &str) -> (Database, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let connection = Connection::open(directory.path().join("meta.db")).unwrap();
    connection.execute_batch(dump).unwrap();
    drop(connection);
    let database = open(directory.path());
    database.check().unwrap();
    (database, directory)
}

#[test]
fn database_of_version_3_is_read() {
    let (database, _directory) = opened(DUMP_3);
    let documents = database.read(|view| documents::list(view, "volume")).unwrap();
    assert_eq!(documents, [("data".to_owned(), b"{}".to_vec())]);
    database.write(|change| documents::remove(change, "volume", "data")).unwrap();
    assert!(database.read(|view| documents::list(view, "volume")).unwrap().is_empty());
    assert!(database.write(|change| documents::put(change, "volume", "", b"{}")).is_err());
}

#[test]
fn database_of_version_2_is_read() {
    let (database, _directory) = opened(DUMP_2);
    let tasks = database.read(tasks::list_all).unwrap();
    assert_eq!(tasks.len(), 2);
    let (_, task) = &tasks[0];
    assert_eq!((task.container.as_str(), task.state, task.exit_status), ("c", TaskState::Stopped, 137));
    assert_eq!((task.boot.as_str(), task.cause.as_slice()), ("boot-0", &b"why"[..]));
    assert!(!database.write(|change| sources::accept(change, "pod", 7)).unwrap());
}

#[test]
fn database_of_version_1_is_read() {
    let (database, directory) = opened(DUMP_1);
    let images = database.read(|view| images::list(view, &namespace("a"))).unwrap();
    assert_eq!(images[0].name, "docker.io/library/alpine:latest");
    assert_eq!(images[0].target.digest, digest("manifest"));
    let snapshots = database.read(|view| snapshots::list(view, &namespace("a"), DRIVER)).unwrap();
    assert_eq!(snapshots.len(), 1);
    let content = database.read(|view| contents::get(view, &namespace("a"), &digest("manifest"))).unwrap();
    assert_eq!(content.labels.len(), 1);
    assert_eq!(database.events_since(0, 100).unwrap().len(), 5);
    assert!(database.read(tasks::list_all).unwrap().is_empty());
    database.write(|change| tasks::record(change, &namespace("a"), &Task::new("c", "", 1))).unwrap();
    drop(database);
    let found = Connection::open(directory.path().join("meta.db")).unwrap();
    assert_eq!(found.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap(), 3);
}

#[test]
fn schema_is_that_of_the_last_dump() {
    let directory = tempfile::tempdir().unwrap();
    let old = Connection::open_in_memory().unwrap();
    old.execute_batch(DUMP_3).unwrap();
    drop(open(directory.path()));
    let new = Connection::open(directory.path().join("meta.db")).unwrap();
    let schema = |connection: &Connection| -> Vec<String> {
        let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(schema(&old), schema(&new));
}

#[test]
fn namespace_that_the_configuration_shares_brings_its_names_along() {
    let directory = tempfile::tempdir().unwrap();
    let options = |shared: &[&str]| Options {
        shared_namespaces: shared.iter().map(|name| namespace(name)).collect(),
        ..Options::new("boot")
    };
    let names = |database: &Database, ns: &str| -> Vec<String> {
        let images = database.read(|view| images::list(view, &namespace(ns))).unwrap();
        images.into_iter().map(|image| image.name).collect()
    };
    let database = Database::open(directory.path(), options(&["moby"])).unwrap();
    database
        .write(|change| {
            put_image(change, &namespace("moby"), "taken", "docker's", &[])?;
            put_image(change, &namespace("a"), "mine", "one", &[])?;
            put_image(change, &namespace("a"), "taken", "two", &[])
        })
        .unwrap();
    drop(database);
    let database = Database::open(directory.path(), options(&["moby", "a"])).unwrap();
    assert_eq!(names(&database, "moby"), ["mine", "taken"]);
    assert_eq!(names(&database, "a"), ["mine", "taken"]);
    drop(database);
    // What stayed behind is there again when the namespace is on its own.
    let database = Database::open(directory.path(), options(&["moby"])).unwrap();
    assert_eq!(names(&database, "a"), ["mine", "taken"]);
    let images = database.read(|view| images::list(view, &namespace("a"))).unwrap();
    assert_eq!(images[1].target.digest, digest("two"));
    assert_eq!(names(&database, "moby"), ["taken"]);
}

#[test]
fn unsynced_bytes_of_an_earlier_boot_are_dealt_with() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path());
    database
        .write(|change| {
            let ns = namespace("a");
            put_content(change, &ns, "synced", &[], None)?;
            put_content(change, &ns, "unsynced", &[], None)?;
            contents::mark_synced(change, &[digest("synced")])?;
            for (name, parent) in [("base", None), ("top", Some("base")), ("used", None)] {
                let chain = ChainId(digest(name));
                prepare(change, &ns, "extract", None, &[], None)?;
                let parent = parent.map(|parent| digest(parent).to_string());
                let request = snapshots::Commit {
                    driver: DRIVER,
                    key: "extract",
                    name: chain.as_str(),
                    parent: parent.as_deref(),
                    labels: &Labels::new(),
                    usage: snapshots::Usage::default(),
                    chain: Some(&chain),
                    lease: None,
                };
                snapshots::commit(change, &ns, &request)?;
            }
            prepare(change, &ns, "container", Some(digest("used").as_str()), &[], None)?;
            prepare(change, &ns, "private", None, &[], None)?;
            commit(change, &ns, "private", "done", None)?;
            Ok::<_, Error>(())
        })
        .unwrap();
    assert!(database.read(contents::unsynced).unwrap().is_empty(), "this boot's bytes are in the page cache");
    assert_eq!(database.read(|view| snapshots::unsynced(view, DRIVER)).unwrap().len(), 4);
    drop(database);
    let database = Database::open(directory.path(), Options::new("boot-2")).unwrap();
    let unsynced = database.read(contents::unsynced).unwrap();
    assert_eq!(unsynced, [(digest("unsynced"), 8)]);
    database.write(|change| contents::forget(change, &digest("unsynced"))).unwrap();
    assert!(database.read(|view| contents::get(view, &namespace("a"), &digest("unsynced"))).is_err());
    let forgotten = database.write(|change| snapshots::forget_unsynced(change, DRIVER)).unwrap();
    assert_eq!(forgotten.dropped, [2, 1]);
    assert_eq!(forgotten.suspect, [(3, ChainId(digest("used")))]);
    assert_eq!(forgotten.unsure, [4, 5]);
    let left = database.read(|view| snapshots::list(view, &namespace("a"), DRIVER)).unwrap();
    assert_eq!(left.len(), 3);
}
