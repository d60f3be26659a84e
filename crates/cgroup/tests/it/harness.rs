//! A runner that counts what it skips, a container's cgroup that is always removed, and processes to put into it.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use gantry_cgroup::{
    Cgroup, CgroupSpec, Controller, Driver, Error, Features, Hierarchy, Joined, Mode, Request,
};
use gantry_types::oci::Resources;
use rustix::process::Pid;

/// What a test came to.
pub(crate) enum Outcome {
    Passed,
    Skipped(String),
}

pub(crate) struct Test {
    name: String,
    run: Box<dyn Fn() -> Outcome>,
}

pub(crate) fn test(name: impl Into<String>, run: impl Fn() -> Outcome + 'static) -> Test {
    Test { name: name.into(), run: Box::new(run) }
}

/// Ends a test for which the host lacks something.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => { return $crate::harness::Outcome::Skipped(format!($($reason)*)) };
}

pub(crate) fn run(tests: &[Test]) -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let (mut passed, mut skipped, mut failed) = (0, 0, Vec::new());
    println!("mode {:?}, root {}", hierarchy().mode(), rustix::process::geteuid().is_root());
    for Test { name, run } in tests {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Outcome::Passed) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Ok(Outcome::Skipped(reason)) => {
                skipped += 1;
                gantry_testkit::skip(&format!("cgroup::{name}"), &reason);
            }
            Err(_) => {
                failed.push(name.as_str());
                println!("test {name} ... FAILED");
            }
        }
    }
    remove_parents();
    // As libtest has it, where tests that were left early count as passed.
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {} passed; {} failed; {skipped} skipped {failed:?}",
        passed + skipped,
        failed.len()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

pub(crate) fn hierarchy() -> Hierarchy {
    Hierarchy::detect().unwrap()
}

/// The v2 hierarchy of the host, be it alone or the unified part of a hybrid host.
pub(crate) fn unified_hierarchy() -> Option<Hierarchy> {
    let found = hierarchy();
    let mount = found.mounts().iter().find(|mount| mount.controllers.is_unified())?;
    Some(Hierarchy::unified(&mount.point))
}

pub(crate) fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

pub(crate) fn features() -> Features {
    Features { cgroup_kill: true, clone_into: true, in_user_namespace: false }
}

/// The cgroup below which all tests are.
pub(crate) fn parent() -> String {
    format!("/gantry-test-{}", std::process::id())
}

pub(crate) fn unique_path() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}/c{}", parent(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn remove_parents() {
    for mount in hierarchy().mounts() {
        let path = mount.point.join(&parent()[1..]);
        if let Err(errno) = rustix::fs::rmdir(&path)
            && errno != rustix::io::Errno::NOENT
        {
            println!("leaked: {} ({errno})", path.display());
        }
    }
}

/// A cgroup that goes with its processes.
pub(crate) struct Scratch {
    pub(crate) cgroup: Cgroup,
    children: Vec<Child>,
}

impl Scratch {
    pub(crate) fn new(resources: &Resources) -> Self {
        Self::on(&hierarchy(), resources)
    }

    pub(crate) fn on(hierarchy: &Hierarchy, resources: &Resources) -> Self {
        let path = unique_path();
        let request = Request { path: &path, id: "box", driver: Driver::Fs, rootless: false };
        let spec = CgroupSpec::resolve(hierarchy, &request).unwrap();
        let cgroup = Cgroup::create(&spec, resources, features()).unwrap().keep();
        Self { cgroup, children: Vec::new() }
    }

    /// A scope of systemd with a process in it.
    pub(crate) fn scope(resources: &Resources, change: impl FnOnce(&mut CgroupSpec)) -> Result<Self, Error> {
        let path = format!("gantrytest.slice:gantry:{}", unique_path().replace('/', "_"));
        let rootless = !rustix::process::geteuid().is_root();
        let driver = Driver::Systemd { user: rootless };
        let request = Request { path: &path, id: "box", driver, rootless };
        let mut spec = CgroupSpec::resolve(&hierarchy(), &request).unwrap();
        change(&mut spec);
        let cgroup = Cgroup::create(&spec, resources, features()).unwrap().keep();
        let mut scratch = Self { cgroup, children: Vec::new() };
        let pid = scratch.spawn("sleep");
        scratch.cgroup.attach(pid, Joined::Nothing).map(|()| scratch)
    }

    pub(crate) fn spawn(&mut self, child: &str) -> Pid {
        let child = start(child);
        let pid = pid_of(&child);
        self.children.push(child);
        pid
    }

    /// Lets a spawned process begin.
    pub(crate) fn go(&mut self, pid: Pid) {
        let child = self.children.iter_mut().find(|child| pid_of(child) == pid).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }

    /// Waits for the exit of a spawned process, without killing it.
    pub(crate) fn wait(&mut self, pid: Pid) -> std::process::ExitStatus {
        let index = self.children.iter().position(|child| pid_of(child) == pid).unwrap();
        self.children.remove(index).wait().unwrap()
    }

    /// Starts a process in the cgroup, lets it go, and returns its exit status.
    pub(crate) fn outcome_of(&mut self, child: &str) -> i32 {
        let pid = self.spawn(child);
        self.cgroup.attach(pid, Joined::Nothing).unwrap();
        let mut child = self.children.pop().unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        child.wait().unwrap().code().unwrap_or(-1)
    }

    /// A file of the cgroup, trimmed.
    pub(crate) fn read(&self, controller: Controller, file: &str) -> String {
        let path = self.cgroup.path(controller).unwrap().join(file);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.trim().to_owned()
    }

    pub(crate) fn has_file(&self, controller: Controller, file: &str) -> bool {
        self.cgroup.path(controller).is_some_and(|path| path.join(file).exists())
    }

    pub(crate) fn reap(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.children.clear();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.cgroup.thaw();
        self.reap();
        self.cgroup.delete().unwrap();
        for path in self.cgroup.paths() {
            assert!(!path.exists(), "{} is left", path.display());
        }
    }
}

pub(crate) fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32).unwrap()
}

/// Starts this binary as a process to put into a cgroup: see [`child`]. It begins when it is told to by [`go`].
pub(crate) fn start(what: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("GANTRY_TEST_CHILD", what).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    loop {
        // A bomb's fuel ends with the limit of tasks.
        if let Ok(child) = command.spawn() {
            return child;
        }
    }
}

/// What a child process does: waits for a line, or sleeps for ever.
pub(crate) fn child() -> Option<ExitCode> {
    let what = std::env::var("GANTRY_TEST_CHILD").ok()?;
    if what == "sleep" {
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    // A process that only tries things needs no word.
    if !matches!(what.as_str(), "rootless without" | "rootless refused") {
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }
    let words: Vec<&str> = what.split(' ').collect();
    match words.as_slice() {
        ["open", path] => {
            let result = std::fs::File::open(path);
            Some(ExitCode::from(result.err().map_or(0, |error| error.raw_os_error().unwrap() as u8)))
        }
        ["rootless", what] => Some(crate::rootless::child(what)),
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        ["bomb"] => loop {
            // Each makes more of itself for as long as it can.
            let mut child = start("bomb");
            let _ = child.stdin.take().unwrap().write_all(b"go\n");
            std::mem::forget(child);
        },
        ["alloc", mib] => {
            let mut memory = vec![0_u8; mib.parse::<usize>().unwrap() << 20];
            memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            std::hint::black_box(&memory);
            loop {
                std::thread::sleep(Duration::from_secs(3600));
            }
        }
        other => panic!("{other:?}"),
    }
}

/// Whether a process is in exactly this cgroup.
pub(crate) fn is_member(dir: &Path, pid: Pid) -> bool {
    let procs = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap();
    procs.lines().any(|line| line == pid.as_raw_nonzero().to_string())
}

pub(crate) fn is_v2() -> bool {
    hierarchy().mode() == Mode::V2
}

/// Polls a condition to a deadline.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
