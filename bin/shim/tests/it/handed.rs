//! `serve`: shims that are given their socket.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;

use gantry_proto_shim::Message;
use gantry_proto_shim::bootstrap::BootstrapParams;
use gantry_proto_shim::process::Status;
use gantry_proto_shim::task::{ConnectRequest, ConnectResponse, SERVICE_V3, method};
use gantry_testkit::{Bundle, Need, require, until_true};
use gantry_ttrpc::client::Client;

use crate::adoption::assert_adopted;
use crate::harness::{Daemon, Expect, Io, Shim, Task, mail, name_of, ours, process_spec};

#[test]
fn a_container_lives_on_a_handed_socket() {
    ours!("the reference has no `serve`");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.handed(Bundle::new().sleeping());
    let pid = task.create();
    let shim = task.shim.pid();
    assert_eq!(task.start(), pid);
    assert_eq!(task.sh("e", "exit 5"), 5);
    // A session of its own, and nothing of the daemon's.
    let stat = fs::read_to_string(format!("/proc/{shim}/stat")).unwrap();
    let session: u32 = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap().parse().unwrap();
    assert_eq!(session, shim);
    for fd in 0..3 {
        let target = fs::read_link(format!("/proc/{shim}/fd/{fd}")).unwrap();
        assert_eq!(target, PathBuf::from("/dev/null"), "{fd}");
    }
    assert_eq!(fs::read_link(format!("/proc/{shim}/cwd")).unwrap(), PathBuf::from("/"));
    assert!(daemon.state_root().join(&task.id).join("pod.json").exists());
    task.kill(9);
    assert_eq!(task.wait(), 137);
    assert_eq!(task.delete().exit_status, 137);
    let kinds: Vec<String> = daemon
        .events()
        .until(&task.id, |event| event.kind == "delete")
        .into_iter()
        .map(|event| event.kind)
        .filter(|kind| !kind.starts_with("exec"))
        .collect();
    assert_eq!(kinds, ["create", "start", "exit", "exit", "delete"]);
    task.shim.shutdown(false).good();
    assert!(daemon.reap(shim).success());
}

#[test]
fn calls_wait_for_the_shim_in_its_socket() {
    ours!("the reference has no `serve`");
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle = Bundle::new();
    let id = name_of(&bundle);
    let listener = daemon.listen(&id);
    let client = Client::connect(&daemon.socket_of(&id)).unwrap();
    let request = ConnectRequest { id: id.clone() };
    let early = std::thread::spawn(move || {
        client.call::<_, ConnectResponse>(SERVICE_V3, method::CONNECT, &request).good()
    });
    daemon.spawn(&id, &bundle, &listener);
    drop(listener);
    let shim = daemon.connect(&daemon.answer_of(&id), &id);
    assert_eq!(early.join().unwrap().shim_pid, shim.pid());
}

#[test]
fn containers_of_a_group_share_a_handed_shim() {
    ours!("the reference has no `serve`");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut first = daemon.handed(Bundle::new().sleeping());
    first.create();
    first.start();
    let bundle = Bundle::new().sh("exit 3");
    let id = name_of(&bundle);
    let mut second = Task::new(&daemon, Arc::clone(&first.shim), bundle, id);
    second.create();
    second.start();
    assert_eq!(second.wait(), 3);
    second.delete();
    assert_eq!(first.status(), Status::Running);
    first.kill(9);
    first.wait();
    first.delete();
}

#[test]
fn a_handed_shim_adopts_what_a_killed_one_left() {
    ours!("the reference has no `serve`");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.handed(Bundle::new().sleeping());
    task.create();
    task.start();
    task.exec("e", &process_spec(&["/bin/sleep", "1000"]), Io::default()).good();
    task.start_process("e").good();
    let before = (task.state().pid, task.state_of("e").good().pid);
    let old = Arc::clone(&task.shim);
    old.kill();
    until_true("the shim to be gone", || old.is_gone());
    daemon.spawn(&task.id, &task.bundle, &daemon.listen(&task.id));
    task.shim = daemon.connect(&daemon.answer_of(&task.id), &task.id);
    assert_ne!(task.shim.ask(&task.id).good().shim_pid, old.pid());
    assert_eq!((task.state().pid, task.state_of("e").good().pid), before);
    task.kill_process("e", 9).good();
    assert_adopted(task.wait_process("e").good().exit_status, 137);
    task.kill(9);
    assert_adopted(task.wait(), 137);
    task.delete();
}

#[test]
fn a_successor_waits_for_the_shim_that_ends_and_keeps_its_own_socket() {
    ours!("the reference has no `serve`");
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.handed(Bundle::new());
    let old = Arc::clone(&task.shim);
    let next = daemon.listen(&task.id);
    daemon.spawn(&task.id, &task.bundle, &next);
    drop(next);
    old.shutdown(false).good();
    let new = Shim::connect(daemon.answer_of(&task.id), &task.id);
    assert_ne!(new.ask(&task.id).good().shim_pid, old.pid());
    until_true("the old one to end", || old.is_gone());
    assert!(daemon.socket_of(&task.id).exists());
    let mut task = Task::new(&daemon, Arc::new(new), Bundle::new().sh("exit 2"), "other".into());
    task.create();
    task.start();
    assert_eq!(task.wait(), 2);
    task.delete();
    task.shim.shutdown(false).good();
    until_true("the new one to end", || task.shim.is_gone());
}

#[track_caller]
fn refused(output: &Output, reason: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(reason), "{text:?} without {reason:?}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_pod_that_another_shim_has_is_refused() {
    ours!("the reference has no `serve`");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.handed(Bundle::new().sleeping());
    task.create();
    // The same name elsewhere is the same pod.
    let path = daemon.path("socket").with_file_name(&task.id);
    let other = UnixListener::bind(path).unwrap();
    let params = daemon.params(&task.id).encode_to_vec();
    let output = daemon.hand_in_vain(&task.id, &task.bundle, &params, &[other.as_fd()]);
    refused(&output, "does not end");
    assert_eq!(task.status(), Status::Created);
    task.kill(9);
    task.wait();
    task.delete();
}

#[test]
fn messages_that_are_none_are_refused() {
    ours!("the reference has no `serve`");
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle = Bundle::new();
    let id = name_of(&bundle);
    let good = daemon.params(&id).encode_to_vec();
    let other = daemon.params("other").encode_to_vec();
    let elsewhere = BootstrapParams { namespace: "other".into(), ..daemon.params(&id) }.encode_to_vec();
    let listener = daemon.listen(&id);
    let socket = &[listener.as_fd()][..];
    let stream = std::os::unix::net::UnixStream::pair().unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    let cases = [
        (&good[..], &[][..], "no socket"),
        (&good, &[listener.as_fd(), listener.as_fd()], "more than one"),
        (&good, &[stream.0.as_fd()], "no listening"),
        (&good, &[file.as_fd()], "no listening"),
        (&[0xff; 64], socket, "message"),
        (&[0; 60_000], socket, "message"),
        (&[], socket, "bootstrap parameters of"),
        (&[], &[], "no bootstrap message"),
        (&other, socket, "other"),
        (&elsewhere, socket, "other"),
    ];
    for (message, fds, reason) in cases {
        refused(&daemon.hand_in_vain(&id, &bundle, message, fds), reason);
    }
    for input in [Stdio::null(), Stdio::from(rustix::pipe::pipe().unwrap().0)] {
        let child = daemon.call(&id, bundle.path()).args(["serve"]).spawn(input);
        refused(&child.wait_with_output().unwrap(), "no socket with");
    }
    assert_eq!(daemon.leftovers(), Vec::<PathBuf>::new());
    // It is good for one who is asked rightly.
    daemon.spawn(&id, &bundle, &listener);
    drop(listener);
    daemon.connect(&daemon.answer_of(&id), &id);
}

/// Who cannot seal itself in place executes a copy of itself, which finds the message where it was.
#[test]
fn the_message_outlives_the_execution_of_a_sealed_copy() {
    ours!("the reference has no `serve`");
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle = Bundle::new();
    let directory = tempfile::tempdir().unwrap();
    // A user who may not pass through the build's directories.
    let binary = directory.path().join("containerd-shim-gantry-v2");
    fs::copy(crate::harness::shim_binary(), &binary).unwrap();
    for path in [directory.path(), &binary] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let id = name_of(&bundle);
    let input = mail(&daemon.params("other").encode_to_vec(), &[daemon.listen(&id).as_fd()]);
    let call = daemon.call(&id, std::path::Path::new("/")).args(["serve"]).of(&binary).user(65534);
    refused(&call.spawn(input).wait_with_output().unwrap(), "bootstrap parameters of gantry-it/other");
}
