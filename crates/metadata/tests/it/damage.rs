//! What becomes of a database with damaged pages, at the open and later.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use gantry_metadata::{Database, Error, FILE, Options, contents};
use gantry_types::ErrorKind;
use tempfile::TempDir;

use crate::fixture::{kind, namespace, open, put_content};

const PAGE: u64 = 4096;

/// A closed database of some size.
fn closed() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path());
    fill(&database, 0..2000);
    drop(database);
    let path = directory.path().join(FILE);
    (directory, path)
}

fn fill(database: &Database, mut numbers: std::ops::Range<u32>) {
    database
        .write(move |change| {
            numbers
                .try_for_each(|n| put_content(change, &namespace("a"), &n.to_string(), &[("k", "v")], None))
        })
        .unwrap();
}

fn overwrite(path: &Path, offset: u64, length: u64) {
    let length = usize::try_from(length).unwrap();
    File::options().write(true).open(path).unwrap().write_all_at(&vec![0xa5; length], offset).unwrap();
}

fn refused(directory: &Path) -> String {
    let error = Database::open(directory, Options::new("boot-1")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    assert!(error.to_string().contains(FILE), "{error}");
    error.to_string()
}

#[test]
fn damaged_first_page_is_refused_by_the_name_of_the_file() {
    for (offset, length) in [(0, 16), (0, PAGE), (100, PAGE - 100)] {
        let (directory, path) = closed();
        overwrite(&path, offset, length);
        let before = fs::read(&path).unwrap();
        refused(directory.path());
        assert!(fs::read(&path).unwrap() == before, "the file was written to");
    }
}

#[test]
fn file_that_was_cut_off_is_refused() {
    for part in [2, 3, 10] {
        let (directory, path) = closed();
        let length = path.metadata().unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(length / part / PAGE * PAGE).unwrap();
        refused(directory.path());
    }
}

#[test]
fn damage_that_is_met_is_data_loss_and_the_next_open_looks_at_all() {
    let (directory, path) = closed();
    let database = open(directory.path());
    let half = path.metadata().unwrap().len() / PAGE / 2 * PAGE;
    overwrite(&path, half, 20 * PAGE);
    assert_eq!(kind(database.read(|view| contents::list(view, &namespace("a")))), ErrorKind::DataLoss);
    // What is not damaged is served on.
    database.read(gantry_metadata::namespaces::list).unwrap();
    drop(database);
    refused(directory.path());
    refused(directory.path());
}

#[test]
fn mark_of_damage_goes_when_there_is_none() {
    let (directory, _path) = closed();
    let mark = directory.path().join("meta.db.suspect");
    fs::write(&mark, "").unwrap();
    open(directory.path()).check().unwrap();
    assert!(!mark.exists());
}

#[test]
fn change_of_a_damaged_page_is_data_loss() {
    let (directory, path) = closed();
    let database = open(directory.path());
    let length = path.metadata().unwrap().len();
    overwrite(&path, 3 * PAGE, length - 3 * PAGE);
    let write = database.write(|change| put_content(change, &namespace("a"), "new", &[], None));
    assert_eq!(kind(write), ErrorKind::DataLoss);
    drop(database);
    refused(directory.path());
}

/// Copies the files of a database while it is open, as a kill leaves them.
fn killed(with_log: impl FnOnce(&mut Vec<u8>)) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path());
    fill(&database, 0..10);
    let copy = tempfile::tempdir().unwrap();
    fs::copy(directory.path().join(FILE), copy.path().join(FILE)).unwrap();
    let mut log = fs::read(directory.path().join("meta.db-wal")).unwrap();
    with_log(&mut log);
    fs::write(copy.path().join("meta.db-wal"), log).unwrap();
    copy
}

fn count(directory: &Path) -> Result<usize, Error> {
    let database = open(directory);
    database.check()?;
    database.read(|view| Ok(contents::list(view, &namespace("a"))?.len()))
}

#[test]
fn log_of_a_kill_is_read_and_one_with_a_wrong_header_is_refused() {
    assert_eq!(count(killed(|_| {}).path()).unwrap(), 10);
    for at in [0, 5, 9, 17, 24, 31] {
        let directory = killed(|log| log[at] ^= 0x55);
        assert!(refused(directory.path()).contains("-wal"));
    }
    refused(killed(|log| log.fill(0xa5)).path());
}

#[test]
fn end_of_a_log_that_is_not_whole_is_passed_by() {
    // As after a power cut: what was not forced to the disk is not there, and nothing is half there.
    for cut in [0, 10, 32, 40, 5000] {
        assert!(count(killed(|log| log.truncate(cut)).path()).is_ok(), "{cut}");
    }
    let directory = killed(|log| {
        let end = log.len();
        log[end - 3000..].fill(0xa5);
    });
    assert_eq!(count(directory.path()).unwrap(), 0);
}
