//! A process that is killed at any point of its writing, and what the next one finds.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use gantry_metadata::{Collection, Database, Error, Holder, Image, collect, contents, images, snapshots};
use gantry_types::labels::GC_ROOT;
use gantry_types::{ErrorKind, Labels};

use crate::fixture::{DRIVER, commit, digest, namespace, open, prepare, put_content, target};

const ROOT: &str = "GANTRY_METADATA_TEST_ROOT";
const ROUNDS: usize = 20;

/// The process that is killed; a test of nothing when nobody asks for it.
#[test]
fn child() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let round = std::process::id();
    let database = open(Path::new(&root));
    let work: [fn(&Database, u32, u32); 4] = [keep, stack, name, sweep];
    let threads: Vec<_> = work
        .into_iter()
        .map(|work| {
            let database = database.clone();
            thread::spawn(move || {
                for number in 0..u32::MAX {
                    work(&database, round, number);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Content that stays, and is told of once it is there.
fn keep(database: &Database, round: u32, number: u32) {
    let text = format!("{round}-{number}");
    let name = text.clone();
    database
        .write(move |change| put_content(change, &namespace("a"), &text, &[(GC_ROOT, "1")], None))
        .unwrap();
    println!("did {name}");
}

/// Snapshots that come and go.
fn stack(database: &Database, round: u32, number: u32) {
    let key = format!("{round}-{number}");
    database
        .write::<_, Error>(move |change| {
            let ns = namespace("a");
            prepare(change, &ns, "active", None, &[], None)?;
            commit(change, &ns, "active", &key, None)?;
            prepare(change, &ns, "top", Some(&key), &[], None)?;
            snapshots::remove(change, &ns, DRIVER, "top", None)
        })
        .unwrap();
}

/// A shared name that points here and there, to content that nothing else keeps.
fn name(database: &Database, round: u32, number: u32) {
    let text = format!("image {round}-{number}");
    database
        .write::<_, Error>(move |change| {
            let ns = namespace("moby");
            put_content(change, &ns, &text, &[], None)?;
            let image = Image::new("i", target(&text), Labels::new());
            let by = images::By::new(&ns, &Holder::Docker);
            match images::create(change, by, &image) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    images::update(change, by, &image, &[])
                }
                result => result,
            }
        })
        .unwrap();
}

fn sweep(database: &Database, _: u32, _: u32) {
    collect(database, Collection::now()).unwrap();
    let releases = database.released(50).unwrap();
    database.acknowledge(releases).unwrap();
}

fn start(root: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "killed::child", "--nocapture"])
        .env(ROOT, root)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child runs")
}

#[test]
fn killed_process_loses_nothing_that_it_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    for round in 0..ROUNDS {
        let mut child = start(directory.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut did = lines.filter_map(|line| line.strip_prefix("did ").map(str::to_owned));
        // From the open itself on; the other threads are anywhere.
        told.extend(did.by_ref().take(round * 5));
        child.kill().unwrap();
        child.wait().unwrap();
        told.extend(did);
        let database = open(directory.path());
        database.check().unwrap();
        for text in &told {
            database.read(|view| contents::get(view, &namespace("a"), &digest(text))).unwrap();
        }
        if let Ok(image) = database.read(|view| images::get(view, &namespace("moby"), "i")) {
            let digest = image.target.digest;
            database.read(|view| contents::get(view, &namespace("moby"), &digest)).unwrap();
        }
    }
    assert!(told.len() > 100, "{} writes in {ROUNDS} rounds", told.len());
}
