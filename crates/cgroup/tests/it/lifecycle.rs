use std::os::fd::AsFd;

use gantry_cgroup::{
    Cgroup, CgroupRecord, CgroupSpec, Controller, Depth, Driver, Error, Joined, Mode, Request, SubCgroups,
};
use gantry_types::oci::Resources;

use crate::harness::{self, Outcome, Scratch, Test, features, hierarchy, is_member, is_v2, test};
use crate::skip;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(
            "lifecycle::attached_processes_are_in_every_hierarchy",
            attached_processes_are_in_every_hierarchy,
        ),
        test("lifecycle::a_process_goes_in_by_the_entrances", a_process_goes_in_by_the_entrances),
        test("lifecycle::a_dropped_guard_removes_what_it_made", a_dropped_guard_removes_what_it_made),
        test("lifecycle::a_cgroup_in_use_is_refused", a_cgroup_in_use_is_refused),
        test("lifecycle::a_frozen_cgroup_is_refused", a_frozen_cgroup_is_refused),
        test("lifecycle::deletion_takes_what_the_container_made", deletion_takes_what_the_container_made),
        test("lifecycle::a_record_is_enough_for_another_process", a_record_is_enough_for_another_process),
        test("lifecycle::exec_joins_sub_cgroups_and_follows_init", exec_joins_sub_cgroups_and_follows_init),
    ]
}

fn attached_processes_are_in_every_hierarchy() -> Outcome {
    let mut scratch = Scratch::new(&Resources::default());
    let pid = scratch.spawn("sleep");
    scratch.cgroup.attach(pid, Joined::Nothing).unwrap();
    assert_eq!(scratch.cgroup.paths().count(), hierarchy().mounts().len());
    for path in scratch.cgroup.paths() {
        assert!(is_member(path, pid), "{}", path.display());
    }
    assert_eq!(scratch.cgroup.pids(Depth::Own).unwrap(), [pid.as_raw_nonzero().get()]);
    assert_eq!(scratch.cgroup.clone_target().is_some(), hierarchy().mode() != Mode::V1);
    Outcome::Passed
}

fn a_process_goes_in_by_the_entrances() -> Outcome {
    let scratch = Scratch::new(&Resources::default());
    let Some(entrances) = scratch.cgroup.entrances() else {
        assert!(is_v2() || !rustix::process::geteuid().is_root());
        skip!("cgroup v2 has none");
    };
    let v1 = scratch.cgroup.paths().count() - usize::from(hierarchy().mode() == Mode::Hybrid);
    assert_eq!(entrances.len(), v1);
    let target = scratch.cgroup.clone_target();
    let child = || {
        let written = entrances.iter().all(|entrance| rustix::io::write(entrance, b"0") == Ok(1));
        if written {
            loop {
                std::thread::park()
            }
        } else {
            1
        }
    };
    let args = gantry_sys::clone::CloneArgs { cgroup: target, ..Default::default() };
    let child = gantry_sys::clone::spawn(&args, child).unwrap();
    let pid = rustix::process::Pid::from_raw(child.pid).unwrap();
    gantry_testkit::until_true("the process to be everywhere", || {
        scratch.cgroup.paths().all(|path| is_member(path, pid))
    });
    gantry_sys::process::pidfd_kill(child.pidfd.as_fd(), 9).unwrap();
    gantry_sys::process::wait(gantry_sys::process::Wait::Child(child.pidfd.as_fd())).unwrap();
    Outcome::Passed
}

fn a_dropped_guard_removes_what_it_made() -> Outcome {
    let path = format!("{}/some/where/else", harness::unique_path());
    let request = Request { path: &path, id: "box", driver: Driver::Fs, rootless: false };
    let spec = CgroupSpec::resolve(&hierarchy(), &request).unwrap();
    let top = spec.targets[0].mount.join(harness::parent().trim_start_matches('/'));
    let existed = top.exists();
    let created = Cgroup::create(&spec, &Resources::default(), features()).unwrap();
    let made: Vec<_> = created.paths().map(|path| path.to_owned()).collect();
    assert!(made.iter().all(|path| path.exists()));
    drop(created);
    assert!(made.iter().all(|path| !path.exists() && !path.parent().unwrap().exists()));
    assert_eq!(top.exists(), existed);
    Outcome::Passed
}

fn again(scratch: &Scratch) -> Result<(), Error> {
    let mount = hierarchy().mounts()[0].point.clone();
    let path = scratch.cgroup.paths().next().unwrap().strip_prefix(mount).unwrap();
    let path = format!("/{}", path.display());
    let request = Request { path: &path, id: "box", driver: Driver::Fs, rootless: false };
    let spec = CgroupSpec::resolve(&hierarchy(), &request).unwrap();
    Cgroup::create(&spec, &Resources::default(), features()).map(drop)
}

fn a_cgroup_in_use_is_refused() -> Outcome {
    let mut scratch = Scratch::new(&Resources::default());
    again(&scratch).unwrap();
    let controller = Controller::Devices;
    assert!(scratch.cgroup.path(controller).unwrap().exists(), "what somebody else made stays");
    let below = scratch.cgroup.path(controller).unwrap().join("below");
    std::fs::create_dir(&below).unwrap();
    let pid = scratch.spawn("sleep");
    std::fs::write(below.join("cgroup.procs"), pid.as_raw_nonzero().to_string()).unwrap();
    assert!(matches!(again(&scratch), Err(Error::NotEmpty { count: 1, .. })));
    scratch.reap();
    Outcome::Passed
}

fn a_frozen_cgroup_is_refused() -> Outcome {
    let scratch = Scratch::new(&Resources::default());
    scratch.cgroup.freeze().unwrap();
    assert!(matches!(again(&scratch), Err(Error::Frozen(_))));
    scratch.cgroup.thaw().unwrap();
    again(&scratch).unwrap();
    Outcome::Passed
}

fn deletion_takes_what_the_container_made() -> Outcome {
    let scratch = Scratch::new(&Resources::default());
    for path in scratch.cgroup.paths() {
        std::fs::create_dir_all(path.join("a/b/c")).unwrap();
        std::fs::create_dir_all(path.join("a/d")).unwrap();
    }
    scratch.cgroup.delete().unwrap();
    assert!(scratch.cgroup.paths().all(|path| !path.exists()));
    scratch.cgroup.delete().unwrap();
    Outcome::Passed
}

fn a_record_is_enough_for_another_process() -> Outcome {
    let mut scratch = Scratch::new(&Resources::default());
    let pid = scratch.spawn("sleep");
    scratch.cgroup.attach(pid, Joined::Nothing).unwrap();
    let text = serde_json::to_string(&scratch.cgroup.record()).unwrap();
    let record: CgroupRecord = serde_json::from_str(&text).unwrap();
    let other = Cgroup::from_record(&record, features());
    assert_eq!(other.pids(Depth::Tree).unwrap(), [pid.as_raw_nonzero().get()]);
    let paths = |cgroup: &Cgroup| cgroup.paths().map(|path| path.to_owned()).collect::<Vec<_>>();
    assert_eq!(paths(&other), paths(&scratch.cgroup));
    Outcome::Passed
}

fn exec_joins_sub_cgroups_and_follows_init() -> Outcome {
    let mut scratch = Scratch::new(&Resources::default());
    let init = scratch.spawn("sleep");
    scratch.cgroup.attach(init, Joined::Nothing).unwrap();
    let own = scratch.cgroup.path(Controller::Memory).or(scratch.cgroup.unified_path()).unwrap().to_owned();
    let join = |scratch: &mut Scratch, sub: &[&str]| {
        let pid = scratch.spawn("sleep");
        let sub = SubCgroups::parse(sub).unwrap();
        scratch.cgroup.join_for_exec(pid, init, &sub).map(|()| pid)
    };
    let pid = join(&mut scratch, &[]).unwrap();
    assert!(is_member(&own, pid));
    assert!(matches!(join(&mut scratch, &["sub"]), Err(Error::Attach { .. })), "it must exist");
    for path in scratch.cgroup.paths() {
        std::fs::create_dir(path.join("sub")).unwrap();
        // A new cgroup of cpuset has no CPUs.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if path.to_str().unwrap().contains("/cpuset/") {
                std::fs::write(path.join("sub").join(file), std::fs::read(path.join(file)).unwrap()).unwrap();
            }
        }
    }
    let pid = join(&mut scratch, &["sub"]).unwrap();
    assert!(is_member(&own.join("sub"), pid));
    if is_v2() {
        assert!(matches!(join(&mut scratch, &["memory:sub"]), Err(Error::UnknownController(_))));
        // A container that enables controllers below its cgroup moves out of it first: so must exec.
        let init_cgroup = own.join("init");
        std::fs::create_dir(&init_cgroup).unwrap();
        let everybody = std::fs::read_to_string(own.join("cgroup.procs")).unwrap();
        for pid in everybody.lines() {
            std::fs::write(init_cgroup.join("cgroup.procs"), pid).unwrap();
        }
        if std::fs::write(own.join("cgroup.subtree_control"), "+memory").is_err() {
            skip!("no memory controller on v2 to make the cgroup refuse processes");
        }
        let pid = join(&mut scratch, &[]).unwrap();
        assert!(is_member(&init_cgroup, pid));
    } else {
        let pid = join(&mut scratch, &["memory:sub"]).unwrap();
        assert!(is_member(&own.join("sub"), pid));
        assert!(is_member(scratch.cgroup.path(Controller::Pids).unwrap(), pid));
    }
    Outcome::Passed
}
