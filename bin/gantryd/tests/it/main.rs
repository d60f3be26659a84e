//! `gantryd run` with a real shim and a real runtime, and the daemon with whoever starts and stops it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code")]

mod damage;
mod gc;
mod image;
mod repair;
mod root;
mod serve;

use std::path::Path;

use gantry_testkit::{Invocation, Need, Terminal, peer_shim, require, skip_test};

use image::Image;

/// Debian's, of containerd 1.6.
const DEBIAN: &str = "/usr/bin/containerd-shim-runc-v2";

struct Fixture {
    image: Image,
    state: tempfile::TempDir,
    shim: String,
}

impl Fixture {
    fn new(shim: &str) -> Self {
        Self { image: Image::build(), state: tempfile::tempdir().unwrap(), shim: shim.into() }
    }

    fn run(&self, flags: &[&str], script: &str) -> Invocation {
        Invocation::new(env!("CARGO_BIN_EXE_gantryd"))
            .args(["run", "--layout"])
            .arg(self.image.name())
            .arg("--state")
            .arg(self.state.path())
            .args(["--shim", &self.shim])
            .args(flags)
            .args(["--", "sh", "-c", script])
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let bundles = std::fs::read_dir(self.state.path().join("bundles"));
            assert_eq!(bundles.map_or(0, Iterator::count), 0, "a bundle is left");
            assert_eq!(gantry_testkit::mounts_below(self.state.path()), [""; 0]);
        }
    }
}

fn container_runs(shim: &str) {
    let fixture = Fixture::new(shim);
    let output = fixture.run(&["--events"], "cat; echo error >&2; exit 42").stdin("in and out").run();
    assert_eq!(output.code(), 42);
    assert_eq!(output.text(), "in and out");
    let topics = ["create", "start", "exit", "delete"].map(|name| format!("/tasks/{name} "));
    let places = topics.iter().filter_map(|topic| output.stderr.find(topic));
    let places: Vec<usize> = places.collect();
    // Go's shims end with what they have not sent yet.
    let least = if shim.ends_with("gantry-v2") { 4 } else { 2 };
    assert!(places.is_sorted() && places.len() >= least, "{}", output.stderr);
    assert!(output.stderr.contains("error\n"));
}

#[test]
fn container_runs_in_debians_shim() {
    require!(Need::Root, Need::File(DEBIAN), Need::Program("runc"));
    container_runs(DEBIAN);
}

#[test]
fn container_runs_in_a_newer_shim() {
    require!(Need::Root, Need::Program("runc"));
    container_runs(&peer_shim!());
}

/// Ours, if it was built.
fn our_shim() -> Option<String> {
    let shim = Path::new(env!("CARGO_BIN_EXE_gantryd")).with_file_name("containerd-shim-gantry-v2");
    shim.exists().then(|| shim.display().to_string())
}

#[test]
fn container_runs_in_our_shim() {
    require!(Need::Root);
    match our_shim() {
        Some(shim) => container_runs(&shim),
        None => skip_test!("needs containerd-shim-gantry-v2, built in the same way"),
    }
}

#[test]
fn layers_hide_what_is_below_them() {
    require!(Need::Root, Need::File(DEBIAN), Need::Program("runc"));
    let fixture = Fixture::new(DEBIAN);
    let output = fixture.run(&[], "echo new > /file; cat /layer /file; ls /hidden").run();
    assert_eq!(output.ok().lines(), ["two", "new", "two"]);
    // The next container has the layers as they were.
    fixture.run(&[], "test ! -e /file").run().ok();
}

#[test]
fn container_that_cannot_start_leaves_nothing() {
    require!(Need::Root, Need::File(DEBIAN), Need::Program("runc"));
    let fixture = Fixture::new(DEBIAN);
    let call = fixture.run(&["--runtime", "/bin/false"], "true");
    call.run().exits(125).says("cannot create the container");
}

#[test]
fn damaged_layer_is_refused() {
    require!(Need::Root);
    let fixture = Fixture::new(DEBIAN);
    fixture.image.damage();
    fixture.run(&[], "true").run().exits(125).says("is promised");
    let left = std::fs::read_dir(fixture.state.path().join("layers")).unwrap();
    assert_eq!(left.filter(|entry| Path::new(&entry.as_ref().unwrap().path()).is_dir()).count(), 1);
}

fn terminal_is_passed_on(shim: &str) {
    let fixture = Fixture::new(shim);
    let (mut terminal, other) = Terminal::pair();
    terminal.resize(30, 90);
    let call = fixture.run(&["-t"], "tty; stty size; read line; echo got $line; exit 5");
    let running = call.redirected(">&0 2>&0").wrapped(["setsid", "--ctty", "--wait"]).stdin_fd(other).spawn();
    terminal.read_until("/dev/pts/0");
    terminal.read_until("30 90");
    terminal.resize(31, 91);
    terminal.write("typed\n");
    terminal.read_until("got typed");
    assert_eq!(running.wait().code(), 5);
}

#[test]
fn terminal_is_passed_on_by_debians_shim() {
    require!(Need::Root, Need::File(DEBIAN), Need::Program("runc"));
    terminal_is_passed_on(DEBIAN);
}

#[test]
fn terminal_is_passed_on_by_our_shim() {
    require!(Need::Root);
    match our_shim() {
        Some(shim) => terminal_is_passed_on(&shim),
        None => skip_test!("needs containerd-shim-gantry-v2, built in the same way"),
    }
}

#[test]
fn signal_reaches_the_container() {
    require!(Need::Root, Need::File(DEBIAN), Need::Program("runc"));
    let fixture = Fixture::new(DEBIAN);
    let running = fixture.run(&[], "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done").spawn();
    gantry_testkit::until_true("the container to be ready", || running.stdout().contains("ready"));
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.wait().code(), 9);
}
