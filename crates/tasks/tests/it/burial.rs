//! What shims of others leave, whose `delete` fails.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use gantry_tasks::{Key, Tasks};
use gantry_types::ErrorKind;
use serde_json::json;

use crate::hanging::{Fixture, SOON, key, options};

/// The first process of a container, as far as the daemon knows.
struct First(Child);

impl First {
    fn new() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for First {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until(what: &str, mut met: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !met() {
        assert!(Instant::now() < end, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The verbs of the binary but `start`.
fn verbs(fixture: &Fixture) -> usize {
    fs::read_to_string(fixture.dir.path().join("verbs")).unwrap_or_default().lines().count()
}

/// Has its verbs fail.
fn break_binary(fixture: &Fixture) {
    fs::write(fixture.dir.path().join("fails"), "").unwrap();
}

/// Has them succeed again.
fn mend_binary(fixture: &Fixture) {
    fs::remove_file(fixture.dir.path().join("fails")).unwrap();
}

async fn create(fixture: &Fixture, first: &First) -> Key {
    let key = key("a");
    let request = fixture.annotated(json!({ "pid": first.0.id() }));
    fixture.tasks.create(key.clone(), request).await.unwrap();
    key
}

fn kill_shim(fixture: &Fixture) {
    let pid = fs::read_to_string(fixture.bundle("a").join("shim.pid")).unwrap();
    let killed = Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap();
    assert!(killed.success());
}

#[tokio::test]
async fn a_container_is_not_told_as_ended_as_long_as_it_cannot_be_removed() {
    let (fixture, mut lost) = Fixture::listening();
    let first = First::new();
    let key = create(&fixture, &first).await;
    break_binary(&fixture);
    let (tasks, own) = (fixture.tasks.clone(), key.clone());
    let waits = tokio::spawn(async move { tasks.wait(&own, "").await });
    kill_shim(&fixture);
    // More often than for one that is gone.
    until("delete to be tried again", || verbs(&fixture) >= 5).await;
    assert!(lost.try_recv().is_err() && !waits.is_finished());
    assert!(fixture.tasks.exists(&key) && fixture.bundle("a").exists());
    assert_eq!(fixture.tasks.state(&key, "").await.unwrap_err().kind(), ErrorKind::Unavailable);

    mend_binary(&fixture);
    let told = lost.recv().await.unwrap();
    assert_eq!((told.id.as_str(), told.pid, told.exit_status), ("a", first.0.id(), 137));
    assert_eq!(waits.await.unwrap().unwrap().exit_status, 137);
    assert!(!fixture.tasks.exists(&key) && !fixture.bundle("a").exists());
}

#[tokio::test]
async fn a_container_whose_process_is_gone_is_told_as_ended_whatever_its_binary_says() {
    let (fixture, mut lost) = Fixture::listening();
    let mut first = First::new();
    let key = create(&fixture, &first).await;
    first.end();
    break_binary(&fixture);
    kill_shim(&fixture);
    assert_eq!(lost.recv().await.unwrap().exit_status, 137);
    assert_eq!(verbs(&fixture), 4);
    assert!(!fixture.tasks.exists(&key) && !fixture.bundle("a").exists());
}

#[tokio::test]
async fn a_start_of_the_daemon_tells_no_end_of_a_container_that_cannot_be_removed() {
    let (fixture, _lost) = Fixture::listening();
    let first = First::new();
    let key = create(&fixture, &first).await;
    fixture.tasks.let_go();
    kill_shim(&fixture);
    break_binary(&fixture);
    let (again, mut lost) = Tasks::open(&options(fixture.dir.path())).unwrap();
    let recovered = again.recover(BTreeMap::from([(key.clone(), first.0.id())])).await.unwrap();
    assert_eq!((recovered.lost, recovered.ending.contains(&key)), (1, true));
    until("delete to be tried again", || verbs(&fixture) >= 5).await;
    assert!(lost.try_recv().is_err() && fixture.bundle("a").exists());
    mend_binary(&fixture);
    assert_eq!(lost.recv().await.unwrap().pid, first.0.id());
    fixture.await_gone("a").await;
}

#[tokio::test]
async fn what_a_shim_does_not_know_is_removed_by_its_binary() {
    let (fixture, _lost) = Fixture::listening();
    let request = fixture.annotated(json!({ "unknown": "yes" }));
    fixture.tasks.create(key("a"), request).await.unwrap();
    fixture.tasks.let_go();
    assert_eq!(verbs(&fixture), 0);
    let (again, mut lost) = Tasks::open(&options(fixture.dir.path())).unwrap();
    let recovered = again.recover(BTreeMap::new()).await.unwrap();
    assert_eq!((recovered.tasks, recovered.lost, recovered.ending.len()), (0, 1, 0));
    fixture.await_gone("a").await;
    assert_eq!(verbs(&fixture), 1);
    // Nobody has heard of it.
    assert!(lost.try_recv().is_err() && !again.exists(&key("a")));
}
