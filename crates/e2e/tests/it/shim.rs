//! containerd with our shim, driven by ctr.
//!
//! Proven on the reference: `GANTRY_E2E_SHIM_RUNTIME=io.containerd.runc.v2`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use gantry_e2e::{Containerd, require_engine};
use gantry_testkit::{Invocation, shim_binary, until, until_true};

use crate::in_terminal;

/// The name of the runtime under test.
fn runtime() -> String {
    std::env::var("GANTRY_E2E_SHIM_RUNTIME").unwrap_or_else(|_| "io.containerd.gantry.v2".into())
}

/// A directory with our shim in it, under the name that containerd looks for.
fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap().keep();
        if runtime().contains("gantry") {
            std::os::unix::fs::symlink(shim_binary(), dir.join("containerd-shim-gantry-v2")).unwrap();
        }
        dir
    })
}

/// The daemon of these tests; those that kill it have their own.
fn shared() -> &'static Containerd {
    static SHARED: OnceLock<Containerd> = OnceLock::new();
    SHARED.get_or_init(|| Containerd::new("gt-shim", Some(path())))
}

/// A container of a test: on drop, what is left of it is counted.
struct Case<'a> {
    containerd: &'a Containerd,
    name: &'static str,
}

impl<'a> Case<'a> {
    fn new(containerd: &'a Containerd, name: &'static str) -> Self {
        Self { containerd, name }
    }

    fn run(&self, options: &[&str], args: &[&str]) -> Invocation {
        let args: Vec<&str> = std::iter::once(self.name).chain(args.iter().copied()).collect();
        self.containerd.run_shim(&runtime(), options, &args)
    }

    fn task(&self, verb: &[&str]) -> Invocation {
        self.containerd.ctr(["task"]).args(verb).arg(self.name)
    }

    fn exec(&self, id: &str, options: &[&str], args: &[&str]) -> Invocation {
        let call = self.containerd.ctr(["task", "exec", "--exec-id", id]);
        call.args(options).arg(self.name).args(args)
    }

    fn wait_for(&self, wanted: &str) {
        until_true(&format!("{} to be {wanted:?}", self.name), || {
            self.containerd.status(self.name) == wanted
        });
    }

    /// Kills and removes it; `expect` is what `task rm` says of its exit.
    fn remove(&self, expect: &str) {
        if self.containerd.status(self.name) != "STOPPED" {
            self.task(&["kill", "--signal", "SIGKILL"]).run().ok();
        }
        self.wait_for("STOPPED");
        self.task(&["rm"]).run().says(expect);
        self.containerd.ctr(["container", "rm", self.name]).run().ok();
    }

    fn pid(&self) -> u32 {
        let output = self.containerd.ctr(["task", "ls"]).run().ok();
        let row =
            output.lines().into_iter().find(|line| line.starts_with(&format!("{} ", self.name))).unwrap();
        row.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn shim(&self) -> u32 {
        until("the shim", || shims(self.name).into_iter().next())
    }
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            until_true(&format!("nothing to be left of {}: {:?}", self.name, remains(self.name)), || {
                remains(self.name).is_empty()
            });
        }
    }
}

/// The processes that were started as the shim of a container.
fn shims(name: &str) -> BTreeSet<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_shim = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = words.split(|byte| *byte == 0);
        words.next().is_some_and(|word| String::from_utf8_lossy(word).contains("containerd-shim"))
            && words.any(|word| word == name.as_bytes())
    };
    pids.filter(is_shim).collect()
}

/// Mounts, cgroups, processes and state with the name of a container.
fn remains(name: &str) -> Vec<String> {
    let mut found: Vec<String> = shims(name).iter().map(|pid| format!("shim {pid}")).collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let part = format!("/{name}/");
    found.extend(mounts.lines().filter(|line| line.contains(&part)).map(|line| format!("mount {line}")));
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    let groups = hierarchies.map(|entry| entry.path().join("default").join(name));
    found.extend(groups.filter(|group| group.exists()).map(|group| format!("cgroup {}", group.display())));
    for root in ["/run/containerd/runc/default", "/run/gantry/runtime/default"] {
        let state = Path::new(root).join(name);
        if state.exists() {
            found.push(format!("state {}", state.display()));
        }
    }
    let pods = fs::read_dir("/run/gantry/shim").into_iter().flatten().flatten();
    let records = pods.map(|pod| pod.path().join("containers").join(format!("{name}.json")));
    found.extend(records.filter(|file| file.exists()).map(|file| format!("record {}", file.display())));
    found
}

#[test]
fn run_prints_and_returns_the_exit_code() {
    require_engine!("containerd");
    let case = Case::new(shared(), "s-run");
    let output = case.run(&["--rm"], &["sh", "-c", "echo out; echo err >&2; exit 7"]).run().exits(7);
    assert_eq!(output.text(), "out", "{output}");
    assert!(output.stderr.contains("err"), "{output}");
}

#[test]
fn much_output_arrives_whole() {
    require_engine!("containerd");
    let case = Case::new(shared(), "s-much");
    let output = case.run(&["--rm"], &["seq", "1", "100000"]).run().ok();
    assert_eq!(output.lines().len(), 100_000);
    assert_eq!(output.lines().last(), Some(&"100000"));
}

#[test]
fn input_is_passed() {
    require_engine!("containerd");
    let case = Case::new(shared(), "s-input");
    let output = case.run(&["--rm"], &["sh", "-c", "read line; echo got $line"]).stdin("hello\n").run().ok();
    assert_eq!(output.text(), "got hello");
}

#[test]
fn run_in_a_terminal() {
    require_engine!("containerd");
    let case = Case::new(shared(), "s-tty");
    let (shown, output) = in_terminal(case.run(&["--rm", "--tty"], &["sh", "-c", "tty; exit 4"]));
    assert!(shown.contains("/dev/pts/0") || shown.contains("/dev/console"), "{shown}");
    output.exits(4);
}

#[test]
fn exec_pause_metrics_and_kill() {
    require_engine!("containerd");
    let case = Case::new(shared(), "s-life");
    case.run(&["--detach"], &["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done"]).run().ok();
    assert_eq!(case.containerd.status(case.name), "RUNNING");
    assert_eq!(case.exec("e1", &[], &["echo", "in"]).run().ok().text(), "in");
    case.exec("e2", &[], &["sh", "-c", "exit 9"]).run().exits(9);
    assert_eq!(case.exec("e3", &["--user", "33"], &["id", "-u"]).run().ok().text(), "33");
    let (shown, _) = in_terminal(case.exec("e4", &["--tty"], &["tty"]));
    assert!(shown.contains("/dev/pts"), "{shown}");
    assert!(case.task(&["ps"]).run().ok().lines().len() >= 2);
    let metrics = case.task(&["metrics", "--format", "json"]).run().ok().json();
    assert!(metrics["memory"]["usage"]["usage"].as_u64().unwrap_or_default() > 0, "{metrics}");
    assert!(metrics["pids"]["current"].as_u64().unwrap_or_default() >= 1, "{metrics}");
    case.task(&["pause"]).run().ok();
    assert_eq!(case.containerd.status(case.name), "PAUSED");
    case.task(&["resume"]).run().ok();
    assert_eq!(case.containerd.status(case.name), "RUNNING");
    case.task(&["kill", "--signal", "SIGTERM"]).run().ok();
    case.wait_for("STOPPED");
    case.remove("exit code 3");
}

#[test]
fn limits_are_set() {
    require_engine!("containerd");
    let case = Case::new(shared(), "s-limits");
    let options = [
        "--rm",
        "--memory-limit",
        "67108864",
        "--cpus",
        "0.5",
        "--cgroup",
        "/e2e/s-limits",
        "--mount",
        "type=bind,src=/sys/fs/cgroup,dst=/mnt,options=rbind:ro",
    ];
    let script = "cat /mnt/memory/e2e/s-limits/memory.limit_in_bytes /mnt/cpu/e2e/s-limits/cpu.cfs_quota_us";
    let output = case.run(&options, &["sh", "-c", script]).run().ok();
    assert_eq!(output.lines(), ["67108864", "50000"]);
}

#[test]
fn a_client_attaches_and_goes_and_the_container_lives() {
    require_engine!("containerd");
    let case = Case::new(shared(), "s-attach");
    let script = "trap '' TERM INT PIPE; n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.05; done";
    case.run(&["--detach"], &["sh", "-c", script]).run().ok();
    for _ in 0..2 {
        let client = case.task(&["attach"]).spawn();
        until_true("the output", || client.stdout().contains("tick"));
        client.signal(rustix::process::Signal::KILL);
        let _ = client.wait();
        assert_eq!(case.containerd.status(case.name), "RUNNING");
    }
    case.remove("exit code 137");
}

#[test]
fn a_missing_program_is_reported_and_leaves_nothing() {
    require_engine!("containerd");
    let case = Case::new(shared(), "s-missing");
    case.run(&["--rm"], &["/no/such"]).run().fails().says("no such file or directory");
    let _ = case.containerd.ctr(["container", "rm", case.name]).run();
}

#[test]
fn running_out_of_memory_is_status_137() {
    require_engine!("containerd");
    let case = Case::new(shared(), "s-oom");
    let script = "x=a; while :; do x=$x$x; done";
    case.run(&["--rm", "--memory-limit", "16777216"], &["sh", "-c", script]).run().exits(137);
}

#[test]
fn containers_of_a_group_share_a_shim() {
    require_engine!("containerd");
    let (one, two) = (Case::new(shared(), "s-pod1"), Case::new(shared(), "s-pod2"));
    let options = ["--detach", "--annotation", "io.containerd.runc.v2.group=s-pod"];
    one.run(&options, &["sleep", "1000"]).run().ok();
    two.run(&options, &["sleep", "1000"]).run().ok();
    let shim = one.shim();
    until_true("the second to have no shim", || shims(two.name).is_empty());
    one.remove("exit code 137");
    assert_eq!(two.exec("e", &[], &["echo", "in"]).run().ok().text(), "in");
    assert!(shims(one.name).contains(&shim));
    two.remove("exit code 137");
}

#[test]
fn a_killed_daemon_finds_its_containers_again() {
    require_engine!("containerd");
    let containerd = Containerd::new("gt-shim-restart", Some(path()));
    let lives = Case::new(&containerd, "s-lives");
    let ends = Case::new(&containerd, "s-ends");
    lives.run(&["--detach"], &["sleep", "1000"]).run().ok();
    ends.run(&["--detach"], &["sh", "-c", "while ! test -e /end; do sleep 0.05; done; exit 5"]).run().ok();
    let (pid, shim) = (lives.pid(), lives.shim());
    let end = PathBuf::from(format!("/proc/{}/root/end", ends.pid()));
    containerd.kill();
    fs::write(&end, "").unwrap();
    until_true("the container to end", || !end.exists());
    containerd.start();
    assert_eq!(containerd.status(lives.name), "RUNNING");
    assert_eq!((lives.pid(), lives.shim()), (pid, shim));
    assert_eq!(lives.exec("e", &[], &["echo", "in"]).run().ok().text(), "in");
    if containerd.status(ends.name).is_empty() && containerd.log().contains("cleaning leaked shim process") {
        // containerd 2 takes a shim for a leaked one when Pids tells of no process, and forgets the status.
        containerd.ctr(["container", "rm", ends.name]).run().ok();
    } else {
        ends.wait_for("STOPPED");
        ends.remove("exit code 5");
    }
    lives.remove("exit code 137");
}

#[test]
fn a_killed_shim_is_cleaned_up_after() {
    require_engine!("containerd");
    let case = Case::new(shared(), "s-killed");
    case.run(&["--detach"], &["sleep", "1000"]).run().ok();
    let pid = case.pid();
    kill(case.shim());
    until_true("the container to end", || !Path::new(&format!("/proc/{pid}")).exists());
    until_true("the daemon to know", || {
        !matches!(case.containerd.status(case.name).as_str(), "RUNNING" | "UNKNOWN")
    });
    let _ = case.task(&["rm", "--force"]).run();
    case.containerd.ctr(["container", "rm", case.name]).run().ok();
}

#[test]
fn a_shim_killed_while_the_daemon_is_away_is_cleaned_up_after() {
    require_engine!("containerd");
    let containerd = Containerd::new("gt-shim-both", Some(path()));
    let case = Case::new(&containerd, "s-both");
    case.run(&["--detach"], &["sleep", "1000"]).run().ok();
    let (pid, shim) = (case.pid(), case.shim());
    containerd.kill();
    kill(shim);
    containerd.start();
    until_true("the container to end", || !Path::new(&format!("/proc/{pid}")).exists());
    let _ = case.task(&["rm", "--force"]).run();
    containerd.ctr(["container", "rm", case.name]).run().ok();
}

#[test]
fn fifty_at_once() {
    require_engine!("containerd");
    const NAMES: usize = 50;
    let containerd = shared();
    let name = |n: usize| format!("s-many{n}");
    let start = |n: usize| {
        containerd
            .run_shim(&runtime(), &["--rm"], &[&name(n), "sh", "-c", &format!("exit {}", n % 3)])
            .spawn()
    };
    let running: Vec<_> = (0..NAMES).map(start).collect();
    for (n, process) in running.into_iter().enumerate() {
        process.wait().exits(i32::try_from(n % 3).unwrap());
    }
    until_true("nothing to be left", || (0..NAMES).all(|n| remains(&name(n)).is_empty()));
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
