//! Freezing, killing, counting.

use std::time::{Duration, Instant};

use gantry_cgroup::{
    Cgroup, Controller, Depth, Features, FreezerState, Hierarchy, Joined, OomEvents, OomReport, Phase,
};
use gantry_types::oci::Resources;
use rustix::event::{PollFd, Timespec, poll};
use rustix::process::Signal;

use crate::harness::{
    Outcome, Scratch, Test, eventually, features, hierarchy, is_v2, resources, test, unified_hierarchy,
};
use crate::skip;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("observe::frozen_processes_stand_still", || frozen(&hierarchy())),
        test("observe::frozen_processes_stand_still_on_v2", || on_unified(frozen)),
        test("observe::a_growing_tree_of_processes_is_killed", || killed(&hierarchy(), features())),
        test("observe::a_growing_tree_of_processes_is_killed_on_v2", || {
            on_unified(|unified| killed(unified, features()))
        }),
        test("observe::a_growing_tree_of_processes_is_killed_without_cgroup_kill", || {
            on_unified(|unified| killed(unified, Features { cgroup_kill: false, ..features() }))
        }),
        test("observe::a_paused_container_can_be_killed", || paused_and_killed(&hierarchy())),
        test("observe::a_paused_container_can_be_killed_on_v2", || on_unified(paused_and_killed)),
        test("observe::other_signals_reach_everybody_once", other_signals_reach_everybody),
        test("observe::processes_of_sub_cgroups_are_listed", processes_of_sub_cgroups_are_listed),
        test("observe::statistics_count_what_happens", statistics_count_what_happens),
        test("observe::a_kill_for_want_of_memory_is_told", a_kill_for_want_of_memory_is_told),
        test("observe::statistics_on_v2", || on_unified(unified_statistics)),
    ]
}

fn on_unified(run: impl Fn(&Hierarchy) -> Outcome) -> Outcome {
    match unified_hierarchy() {
        Some(unified) => run(&unified),
        None => skip!("no unified hierarchy"),
    }
}

fn frozen(hierarchy: &Hierarchy) -> Outcome {
    let mut scratch = Scratch::on(hierarchy, &Resources::default());
    let pid = scratch.spawn("spin");
    scratch.cgroup.attach(pid, Joined::Nothing).unwrap();
    scratch.go(pid);
    let cpu_time = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
        // After the name come the state and then numbers, -1 among them: proc_pid_stat(5), fields 14 and 15.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    assert_eq!(scratch.cgroup.freezer_state().unwrap(), Some(FreezerState::Thawed));
    scratch.cgroup.freeze().unwrap();
    assert_eq!(scratch.cgroup.freezer_state().unwrap(), Some(FreezerState::Frozen));
    scratch.cgroup.freeze().unwrap();
    let before = cpu_time();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(cpu_time(), before);
    scratch.cgroup.thaw().unwrap();
    assert_eq!(scratch.cgroup.freezer_state().unwrap(), Some(FreezerState::Thawed));
    eventually("it runs again", || cpu_time() > before);
    Outcome::Passed
}

fn killed(hierarchy: &Hierarchy, features: Features) -> Outcome {
    // The bomb must not take the machine with it if the kill fails.
    let mut scratch = Scratch::on(hierarchy, &Resources::default());
    if scratch.has_file(Controller::Pids, "pids.max") {
        scratch.cgroup.apply(&resources(r#"{"pids":{"limit":300}}"#), Phase::BeforeClone).unwrap();
    }
    let pid = scratch.spawn("bomb");
    scratch.cgroup.attach(pid, Joined::Nothing).unwrap();
    scratch.go(pid);
    eventually("it grows", || scratch.cgroup.pids(Depth::Tree).unwrap().len() > 20);
    let cgroup = Cgroup::from_record(&scratch.cgroup.record(), features);
    cgroup.kill_all(Signal::KILL).unwrap();
    eventually("all are gone", || scratch.cgroup.pids(Depth::Tree).unwrap().is_empty());
    assert_eq!(scratch.cgroup.freezer_state().unwrap(), Some(FreezerState::Thawed));
    let start = Instant::now();
    scratch.cgroup.delete().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    Outcome::Passed
}

fn paused_and_killed(hierarchy: &Hierarchy) -> Outcome {
    let mut scratch = Scratch::on(hierarchy, &Resources::default());
    let pid = scratch.spawn("sleep");
    scratch.cgroup.attach(pid, Joined::Nothing).unwrap();
    scratch.cgroup.freeze().unwrap();
    scratch.cgroup.kill_all(Signal::KILL).unwrap();
    assert!(!scratch.wait(pid).success());
    Outcome::Passed
}

fn other_signals_reach_everybody() -> Outcome {
    let mut scratch = Scratch::new(&Resources::default());
    let pids = [(); 3].map(|()| scratch.spawn("sleep"));
    for pid in pids {
        scratch.cgroup.attach(pid, Joined::Nothing).unwrap();
    }
    scratch.cgroup.kill_all(Signal::TERM).unwrap();
    for pid in pids {
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&scratch.wait(pid)), Some(15));
    }
    // An empty cgroup, and then none.
    scratch.cgroup.kill_all(Signal::KILL).unwrap();
    scratch.cgroup.delete().unwrap();
    let other = Cgroup::from_record(&scratch.cgroup.record(), features());
    assert_eq!(other.kill_all(Signal::KILL).unwrap_err().kind(), gantry_types::ErrorKind::NotFound);
    assert_eq!(other.freezer_state().unwrap(), None);
    assert!(other.pids(Depth::Tree).unwrap().is_empty());
    Outcome::Passed
}

fn processes_of_sub_cgroups_are_listed() -> Outcome {
    let mut scratch = Scratch::new(&Resources::default());
    let pid = scratch.spawn("sleep");
    let path = scratch.cgroup.path(Controller::Devices).unwrap().join("a/b");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("cgroup.procs"), pid.as_raw_nonzero().to_string()).unwrap();
    assert!(scratch.cgroup.pids(Depth::Own).unwrap().is_empty());
    assert_eq!(scratch.cgroup.pids(Depth::Tree).unwrap(), [pid.as_raw_nonzero().get()]);
    Outcome::Passed
}

fn statistics_count_what_happens() -> Outcome {
    let mut scratch = Scratch::new(&Resources::default());
    let limits = resources(
        r#"{"memory":{"limit":268435456},"cpu":{"quota":20000,"period":100000},"pids":{"limit":50}}"#,
    );
    scratch.cgroup.apply(&limits, Phase::BeforeClone).unwrap();
    scratch.cgroup.apply(&limits, Phase::BeforeStart).unwrap();
    for child in ["alloc 32", "spin"] {
        let pid = scratch.spawn(child);
        scratch.cgroup.attach(pid, Joined::Nothing).unwrap();
        scratch.go(pid);
    }
    eventually("processor time is used and refused", || {
        let stats = scratch.cgroup.stats().unwrap();
        stats.cpu.throttling.throttled_time > 0 && stats.cpu.usage.user > 0
    });
    let stats = scratch.cgroup.stats().unwrap();
    assert!(stats.cpu.usage.total > 1_000_000 && stats.cpu.throttling.throttled_periods > 0);
    assert_eq!(stats.memory.usage.limit, 268_435_456);
    eventually("memory is used", || scratch.cgroup.stats().unwrap().memory.usage.usage > 32 << 20);
    assert!(stats.memory.raw.contains_key("pgfault"));
    assert!(stats.pids.current >= 2 && stats.pids.limit == 50);
    if is_v2() {
        assert!(stats.hugetlb.contains_key("2MB") && stats.cpu.psi.is_some());
    } else {
        let cpus = std::thread::available_parallelism().unwrap().get();
        assert_eq!(stats.cpu.usage.percpu.len(), cpus);
        assert_eq!(stats.cpuset.cpus.len(), cpus);
        assert!(stats.memory.swap.limit >= stats.memory.usage.limit);
    }
    Outcome::Passed
}

fn unified_statistics(hierarchy: &Hierarchy) -> Outcome {
    let mut scratch = Scratch::on(hierarchy, &Resources::default());
    let pid = scratch.spawn("spin");
    scratch.cgroup.attach(pid, Joined::Nothing).unwrap();
    scratch.go(pid);
    eventually("processor time is used", || scratch.cgroup.stats().unwrap().cpu.usage.total > 0);
    let stats = scratch.cgroup.stats().unwrap();
    assert_eq!(stats.pids.current, 1);
    assert!(stats.cpu.psi.is_some() && stats.memory.psi.is_some() && stats.blkio.psi.is_some());
    Outcome::Passed
}

fn a_kill_for_want_of_memory_is_told() -> Outcome {
    let mut scratch = Scratch::new(&Resources::default());
    if !scratch.has_file(Controller::Memory, if is_v2() { "memory.max" } else { "memory.limit_in_bytes" }) {
        skip!("no memory controller");
    }
    let limits = resources(r#"{"memory":{"limit":16777216,"swap":16777216}}"#);
    scratch.cgroup.apply(&limits, Phase::BeforeStart).unwrap();
    let mut events = scratch.cgroup.oom_events().unwrap();
    let ready = |events: &OomEvents, seconds| {
        let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
        poll(&mut [PollFd::new(events, events.interest())], Some(&timeout)).unwrap() == 1
    };
    assert!(!ready(&events, 0));
    for kills in 1..=2 {
        let pid = scratch.spawn("alloc 64");
        scratch.cgroup.attach(pid, Joined::Nothing).unwrap();
        scratch.go(pid);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&scratch.wait(pid)), Some(9));
        let mut told = false;
        while !told {
            assert!(ready(&events, 20), "no word of it");
            told =
                matches!(events.read().unwrap(), OomReport::OutOfMemory { kills } if kills > 0 || !is_v2());
        }
        eventually("the kill is counted", || scratch.cgroup.oom_kills().unwrap() == kills);
    }
    while ready(&events, 0) {
        events.read().unwrap();
    }
    scratch.cgroup.delete().unwrap();
    assert!(ready(&events, 20) && events.read().unwrap() == OomReport::Gone);
    Outcome::Passed
}
