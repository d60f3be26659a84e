//! Clients and containers that mean no good.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use gantry_proto_shim::process::Status;
use gantry_testkit::{Bundle, Need, require, until_true};

use crate::harness::{Daemon, Expect, Io, Output, is_ours, ours};

/// How long an answer may take beside a container that floods.
fn patience() -> Duration {
    // runc is executed for it.
    if is_ours() { Duration::from_millis(50) } else { Duration::from_millis(500) }
}

fn raw(task: &crate::harness::Task<'_>, bytes: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(task.shim.answer().socket()).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

#[test]
fn half_a_frame_harms_nobody() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let half = raw(&task, &[0, 0, 0]);
    let header_alone = raw(&task, &[0, 0, 1, 0, 0, 0, 0, 1, 1, 0]);
    assert_eq!(task.status(), Status::Running);
    drop((half, header_alone));
    assert_eq!(task.status(), Status::Running);
}

#[test]
fn a_length_of_four_gigabytes_harms_nobody() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let mut stream = raw(&task, &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 1, 0]);
    // It may close the connection, or skip what it was promised.
    for _ in 0..64 {
        if stream.write_all(&[0; 65_536]).is_err() {
            break;
        }
    }
    assert_eq!(task.status(), Status::Running);
    let memory = resident_kib(task.shim.pid());
    assert!(memory < 64 << 10, "{memory} KiB");
}

#[test]
fn noise_harms_nobody() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    for seed in 1u8..20 {
        let noise: Vec<u8> =
            (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect();
        let mut stream = UnixStream::connect(task.shim.answer().socket()).unwrap();
        let _ = stream.write_all(&noise);
    }
    assert_eq!(task.status(), Status::Running);
}

#[test]
fn many_connections_are_served() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let idle: Vec<_> = (0..100).map(|_| raw(&task, &[0])).collect();
    assert_eq!(task.status(), Status::Running);
    drop(idle);
    assert_eq!(task.status(), Status::Running);
}

#[test]
fn a_client_that_reads_no_answers_harms_nobody() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let mut calls = gantry_ttrpc::client::Calls::new();
    let request = gantry_proto_shim::task::StateRequest { id: task.id.clone(), exec_id: String::new() };
    for _ in 0..2000 {
        let options = gantry_ttrpc::client::Options::default();
        calls.call(gantry_proto_shim::task::SERVICE_V2, "State", &request, &options).unwrap();
    }
    let mut stream = UnixStream::connect(task.shim.answer().socket()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let _ = stream.write_all(calls.output());
    let begin = Instant::now();
    assert_eq!(task.status(), Status::Running);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn a_flooding_container_delays_nobody() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let pod = |bundle: Bundle| {
        bundle.edit(|c| c["annotations"] = serde_json::json!({ "io.containerd.runc.v2.group": "flood" }))
    };
    let out = Output::new(daemon.path("out"));
    let mut flood = daemon.task(pod(Bundle::new().args(["yes"])));
    flood.create_with(Io::stdout(out.path())).good();
    flood.start();
    let mut quiet = daemon.running(pod(Bundle::new().sleeping()));
    // The machine has other things to do, too: the median counts.
    let mut took: Vec<Duration> = (0..11)
        .map(|_| {
            let begin = Instant::now();
            // To the first process of a process namespace this does nothing.
            quiet.kill(10);
            begin.elapsed()
        })
        .collect();
    took.sort();
    assert!(took[5] < patience(), "{took:?}");
    quiet.kill(9);
    assert_eq!(quiet.wait(), 137);
    flood.kill(9);
    drop(out);
    assert_eq!(flood.wait(), 137);
    quiet.delete();
    flood.delete();
}

#[test]
fn a_flood_is_not_held_in_memory() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let out = Output::new(daemon.path("out"));
    let mut task = daemon.task(Bundle::new().args(["yes"]));
    task.create_with(Io::stdout(out.path())).good();
    let before = resident_kib(task.shim.pid());
    task.start();
    // As many calls as give the flood its time.
    for _ in 0..20 {
        task.state();
        task.pids().good();
    }
    let after = resident_kib(task.shim.pid());
    assert!(after < before + (8 << 10), "{before} KiB, then {after} KiB");
    task.kill(9);
    drop(out);
    task.wait();
    task.delete();
}

#[test]
fn a_terminal_that_nobody_reads_delays_nobody() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let out = Output::new(daemon.path("out"));
    let bundle = Bundle::new().args(["yes"]).edit(|c| c["process"]["terminal"] = serde_json::json!(true));
    let mut task = daemon.task(bundle);
    task.create_with(Io { terminal: true, stderr: String::new(), ..Io::stdout(out.path()) }).good();
    task.start();
    assert_eq!(task.status(), Status::Running);
    task.kill(9);
    drop(out);
    assert_eq!(task.wait(), 137);
    task.delete();
}

#[test]
fn a_crowd_of_processes_is_deleted() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle = Bundle::new()
        .edit(|c| c["linux"]["resources"]["pids"] = serde_json::json!({ "limit": 200 }))
        .sh("(while :; do sleep 1000 & done); exec sleep 1000");
    let mut task = daemon.running(bundle);
    until_true("it to grow", || task.pids().is_ok_and(|pids| pids.processes.len() > 150));
    task.kill_all(9).good();
    assert_eq!(task.wait(), 137);
    task.delete();
}

#[test]
fn a_stopped_worker_does_not_stop_the_shim() {
    ours!("the reference has no workers");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().sleeping());
    // Held in its hook, Create is not answered; everything else is.
    let gate = task.bundle.path().join("gate");
    let hook = format!("until test -e {}; do sleep 0.02; done", gate.display());
    task.bundle.change(|c| {
        c["hooks"] =
            serde_json::json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", hook] }] });
    });
    let (client, request) = (task.shim.client(), task.create_request(Io::default()));
    let create = std::thread::spawn(move || {
        let service = gantry_proto_shim::task::SERVICE_V2;
        client.call::<_, gantry_proto_shim::task::CreateTaskResponse>(service, "Create", &request)
    });
    for _ in 0..5 {
        let begin = Instant::now();
        task.shim
            .call::<_, gantry_proto_shim::task::StateResponse>(
                "State",
                &gantry_proto_shim::task::StateRequest { id: "other".into(), exec_id: String::new() },
            )
            .fails(gantry_ttrpc::Code::NotFound);
        assert!(begin.elapsed() < Duration::from_secs(1));
    }
    std::fs::write(&gate, "").unwrap();
    create.join().unwrap().good();
    task.kill(9);
    task.wait();
    task.delete();
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
