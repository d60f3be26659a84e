//! The Sandbox service.

use std::fs;
use std::sync::Arc;

use gantry_proto_shim::any::{Any, Empty};
use gantry_proto_shim::cri::PodSandboxConfig;
use gantry_proto_shim::sandbox::{
    CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, PlatformRequest,
    PlatformResponse, SERVICE, SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest,
    SandboxStatusResponse, ShutdownSandboxRequest, StartSandboxRequest, StartSandboxResponse,
    StopSandboxRequest, WaitSandboxRequest, WaitSandboxResponse, method,
};
use gantry_testkit::{Bundle, Need, require, until_true};
use gantry_ttrpc::Code;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Daemon, Expect, Shim, Task, is_gone, name_of, ours};

/// A started sandbox, named as its bundle.
struct Pod<'a> {
    daemon: &'a Daemon,
    bundle: Bundle,
    id: String,
    shim: Arc<Shim>,
    pid: u32,
}

impl<'a> Pod<'a> {
    fn new(daemon: &'a Daemon) -> Self {
        let bundle = Bundle::new();
        let id = name_of(&bundle);
        let shim = daemon.connect(&daemon.start(&id, &bundle, Vec::new()), &id);
        let config = PodSandboxConfig { hostname: "the-pod".into(), ..PodSandboxConfig::default() };
        let request = CreateSandboxRequest {
            sandbox_id: id.clone(),
            bundle_path: bundle.path().display().to_string(),
            options: Some(Any::pack(&config)),
            ..CreateSandboxRequest::default()
        };
        shim.call_service::<_, CreateSandboxResponse>(SERVICE, method::CREATE_SANDBOX, &request).good();
        shim.call_service::<_, CreateSandboxResponse>(SERVICE, method::CREATE_SANDBOX, &request)
            .fails(Code::AlreadyExists);
        let start = StartSandboxRequest { sandbox_id: id.clone() };
        let started: StartSandboxResponse = shim.call_service(SERVICE, method::START_SANDBOX, &start).good();
        assert!(started.created_at.is_some());
        Self { daemon, bundle, id, shim, pid: started.pid }
    }

    fn status(&self) -> SandboxStatusResponse {
        let request = SandboxStatusRequest { sandbox_id: self.id.clone(), verbose: true };
        self.shim.call_service(SERVICE, method::SANDBOX_STATUS, &request).good()
    }

    fn stop(&self) {
        let request = StopSandboxRequest { sandbox_id: self.id.clone(), timeout_secs: 10 };
        self.shim.call_service::<_, Empty>(SERVICE, method::STOP_SANDBOX, &request).good();
    }

    fn wait(&self) -> u32 {
        let request = WaitSandboxRequest { sandbox_id: self.id.clone() };
        let ended: WaitSandboxResponse =
            self.shim.call_service(SERVICE, method::WAIT_SANDBOX, &request).good();
        assert!(ended.exited_at.is_some());
        ended.exit_status
    }

    fn end(self) {
        let request = ShutdownSandboxRequest { sandbox_id: self.id.clone() };
        self.shim.call_service::<_, Empty>(SERVICE, method::SHUTDOWN_SANDBOX, &request).good();
        until_true("the shim to end", || self.shim.is_gone());
    }

    /// A container that joins the pod's namespaces.
    fn task(&self, script: &str) -> Task<'a> {
        let group = serde_json::json!({ "io.kubernetes.cri.sandbox-id": self.id });
        let mut bundle = Bundle::new().sh(script).edit(|c| {
            c["annotations"] = group;
            // The pod's holds.
            c["hostname"] = "".into();
        });
        for kind in ["ipc", "uts"] {
            bundle = bundle.without_namespace(kind);
            bundle = bundle.namespace(kind, Some(format!("/proc/{}/ns/{kind}", self.pid).as_ref()));
        }
        let id = name_of(&bundle);
        Task::new(self.daemon, Arc::clone(&self.shim), bundle, id)
    }
}

#[test]
fn a_pod_ends_while_a_container_is_being_made() {
    ours!("containerd 1.6's shim has no sandboxes");
    require!(Need::Root, Need::Controller("cpu"));
    let daemon = Daemon::new();
    let pod = Pod::new(&daemon);
    let mut task = pod.task("true");
    let (begun, gate) = (daemon.path("begun"), daemon.path("gate"));
    let hook = format!("touch {}; until test -e {}; do sleep 0.02; done", begun.display(), gate.display());
    task.bundle = std::mem::replace(&mut task.bundle, Bundle::new()).edit(|c| {
        c["hooks"] =
            serde_json::json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", hook] }] });
    });
    let creation = std::thread::scope(|scope| {
        let creation = scope.spawn(|| task.create());
        until_true("the hook to run", || begun.exists());
        pod.stop();
        assert_eq!(pod.wait(), 137);
        fs::write(&gate, "").unwrap();
        creation.join()
    });
    creation.unwrap();
    task.kill(9);
    task.wait();
    task.delete();
    drop(task);
    pod.end();
}

fn namespace(pid: u32, kind: &str) -> std::path::PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
}

#[test]
fn a_pod_has_namespaces_without_an_image() {
    ours!("containerd 1.6's shim has no sandboxes");
    require!(Need::Root, Need::Controller("cpu"));
    let daemon = Daemon::new();
    let pod = Pod::new(&daemon);
    let status = pod.status();
    assert_eq!((status.pid, status.state.as_str()), (pod.pid, "SANDBOX_READY"));
    let own = std::process::id();
    for kind in ["ipc", "uts", "pid", "mnt"] {
        assert_ne!(namespace(pod.pid, kind), namespace(own, kind), "{kind}");
    }
    assert_eq!(namespace(pod.pid, "net"), namespace(own, "net"), "no network namespace was named");
    let mut task = pod.task("test $(hostname) = the-pod && exit 8");
    task.create();
    task.start();
    assert_eq!(task.wait(), 8);
    task.delete();
    let ping = PingRequest { sandbox_id: pod.id.clone() };
    pod.shim.call_service::<_, PingResponse>(SERVICE, method::PING_SANDBOX, &ping).good();
    let platform = PlatformRequest { sandbox_id: pod.id.clone() };
    let answer: PlatformResponse = pod.shim.call_service(SERVICE, method::PLATFORM, &platform).good();
    assert_eq!(answer.platform.unwrap().os, "linux");
    let metrics = SandboxMetricsRequest { sandbox_id: pod.id.clone() };
    let answer: SandboxMetricsResponse =
        pod.shim.call_service(SERVICE, method::SANDBOX_METRICS, &metrics).good();
    assert!(answer.metrics.unwrap().data.unwrap().type_url.starts_with("io.containerd.cgroups."));
    // It stays without containers, as long as the sandbox is there.
    pod.shim.shutdown(false).good();
    assert_eq!(pod.status().state, "SANDBOX_READY");
    pod.stop();
    assert!(is_gone(pod.pid));
    assert_eq!(pod.wait(), 137);
    assert_eq!(pod.status().state, "SANDBOX_NOTREADY");
    pod.stop();
    pod.end();
}

#[test]
fn the_pause_has_no_privilege_and_little_memory() {
    ours!("containerd 1.6's shim has no sandboxes");
    require!(Need::Root, Need::Controller("cpu"));
    let daemon = Daemon::new();
    let pod = Pod::new(&daemon);
    let status = fs::read_to_string(format!("/proc/{}/status", pod.pid)).unwrap();
    let field =
        |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(field("CapEff").ends_with("0000000000000000"), "{}", field("CapEff"));
    assert!(field("NoNewPrivs").ends_with('1') && field("Seccomp:").ends_with('2'), "{status}");
    assert!(field("Uid").contains("65535"), "{}", field("Uid"));
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", pod.pid)).unwrap();
    let private: u64 = rollup
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    assert!(private <= 32, "{private} KiB");
    pod.stop();
    pod.end();
}

#[test]
fn the_death_of_the_pause_is_told() {
    ours!("containerd 1.6's shim has no sandboxes");
    require!(Need::Root, Need::Controller("cpu"));
    let daemon = Daemon::new();
    let pod = Pod::new(&daemon);
    // A first process is deaf to signals that it does not handle yet.
    let asleep =
        || fs::read_to_string(format!("/proc/{}/syscall", pod.pid)).is_ok_and(|it| it.starts_with("34 "));
    until_true("the pause to sleep", asleep);
    kill_process(Pid::from_raw(pod.pid.cast_signed()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(pod.wait(), 0, "it ends by itself when it is asked to");
    pod.stop();
    pod.end();
}

#[test]
fn a_new_shim_has_the_sandbox_of_the_old_one() {
    ours!("containerd 1.6's shim has no sandboxes");
    require!(Need::Root, Need::Controller("cpu"));
    let daemon = Daemon::new();
    let mut pod = Pod::new(&daemon);
    let old = Arc::clone(&pod.shim);
    old.ask(&pod.id).good();
    old.kill();
    until_true("the shim to be gone", || old.is_gone());
    pod.shim = daemon.connect(&daemon.start(&pod.id, &pod.bundle, Vec::new()), &pod.id);
    pod.shim.ask(&pod.id).good();
    let status = pod.status();
    assert_eq!((status.pid, status.state.as_str()), (pod.pid, "SANDBOX_READY"));
    pod.stop();
    assert!(is_gone(pod.pid));
    pod.end();
}
