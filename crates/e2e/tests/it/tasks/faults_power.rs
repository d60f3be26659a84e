//! The machine loses its power: what was durable is there, and tasks are told as ended, once.

use std::fs;
use std::path::{Path, PathBuf};

use gantry_e2e::{Gantryd, image_archive, require_engine};
use gantry_proto_containerd::events::TaskExit;
use gantry_testkit::powercut::{Disk, Keep, Names};
use gantry_testkit::{Cgroups, Invocation, Need, mounts_below, require, until_true};

use super::case::kill;
use super::faults_daemon::told;
use super::remains::shims_with;
use super::{Case, NAMESPACE, ours};

/// A daemon whose root is on a disk.
fn on_disk(name: &str, disk: &Disk) -> Gantryd {
    let daemon = Gantryd::stopped(name, "");
    let config = daemon.root().with_file_name("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let root = disk.path().join("root");
    fs::write(&config, text.replace(&*daemon.root().to_string_lossy(), &root.to_string_lossy())).unwrap();
    daemon
}

/// Another boot of the machine, as far as programs can see.
struct Boot {
    file: PathBuf,
}

impl Boot {
    const PLACE: &str = "/proc/sys/kernel/random/boot_id";

    fn new(dir: &Path) -> Self {
        let file = dir.join("boot_id");
        fs::write(&file, "00000000-0000-4000-8000-000000000001\n").unwrap();
        Invocation::new("mount").arg("--bind").arg(&file).arg(Self::PLACE).run().ok();
        Self { file }
    }
}

impl Drop for Boot {
    fn drop(&mut self) {
        let _ = Invocation::new("umount").arg(Self::PLACE).run();
        let _ = fs::remove_file(&self.file);
    }
}

/// Takes away what a machine forgets without power: processes, mounts, cgroups, and what is in memory.
fn forget(daemon: &Gantryd, cases: &[&Case<'_>]) {
    let pids: Vec<u32> = cases.iter().map(|case| case.pid()).collect();
    daemon.kill();
    shims_with(&[&daemon.socket().display().to_string()]).into_iter().chain(pids).for_each(kill);
    for mount in mounts_below(daemon.state()) {
        let place = mount.split_whitespace().find(|word| word.starts_with("/run/")).unwrap_or(&mount);
        Invocation::new("umount").args(["-l", place]).run().ok();
    }
    fs::remove_dir_all(daemon.state()).unwrap();
    for case in cases {
        for dir in Cgroups::detect().dirs(&format!("{NAMESPACE}/{}", case.id)) {
            until_true("a cgroup to be empty", || !dir.exists() || fs::remove_dir(&dir).is_ok());
        }
        let _ = fs::remove_dir_all(Path::new("/run/gantry/runtime").join(NAMESPACE).join(&case.id));
    }
}

/// Writes out what containers have in their files, as a kernel does in its own time.
fn write_out(path: &Path) {
    for entry in fs::read_dir(path).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            write_out(&entry.path());
        } else if kind.is_file() {
            fs::File::open(entry.path()).unwrap().sync_all().unwrap();
        }
    }
    fs::File::open(path).unwrap().sync_all().unwrap();
}

/// The statuses of a container's exits.
fn statuses(daemon: &Gantryd, id: &str) -> Vec<u32> {
    let journal = daemon.namespace(NAMESPACE).caller().journal(0);
    let exits = journal.iter().filter(|seen| seen.topic == "/tasks/exit");
    let exits = exits.map(|seen| seen.event.unpack::<TaskExit>().unwrap().unwrap());
    exits.filter(|exit| exit.container_id == id).map(|exit| exit.exit_status).collect()
}

#[test]
fn tasks_end_with_the_power_of_the_machine() {
    require_engine!("ctr");
    ours!();
    require!(Need::Root);
    let mut disk = Disk::new(Names::Journal);
    let daemon = on_disk("gt-power", &disk);
    daemon.start();
    // Nobody can put an overlay on a FUSE file system.
    let native = ["--snapshotter", "native"];
    let tenant = daemon.namespace(NAMESPACE);
    tenant.ctr(["images", "import"]).args(native).arg(image_archive()).run().ok();
    let [runs, ended] = ["p-runs", "p-ended"].map(|id| Case::new(&daemon, id));
    for (case, command) in [(&runs, ["sleep", "1000"]), (&ended, ["sleep", "0"])] {
        case.run(&["--detach", "--snapshotter", "native"], &command).run().ok();
    }
    ended.wait_for("STOPPED");
    // Whatever there is is durable, and the tasks go on.
    assert!(daemon.stop(), "{}", daemon.log());
    daemon.start();
    assert_eq!(runs.status(), "RUNNING");
    forget(&daemon, &[&runs]);
    for dir in Cgroups::detect().dirs(&format!("{NAMESPACE}/{}", ended.id)) {
        let _ = fs::remove_dir(dir);
    }
    let _ = fs::remove_dir_all(Path::new("/run/gantry/runtime").join(NAMESPACE).join(&ended.id));
    write_out(&disk.path().join("root/snapshots"));
    disk.cut(Keep::Synced);
    let temporary = tempfile::tempdir().unwrap();
    let boot = Boot::new(temporary.path());
    for _ in 0..2 {
        daemon.start();
        for case in [&runs, &ended] {
            assert_eq!(case.status(), "");
            assert_eq!(told(&daemon, &case.id), ["create", "exit", "delete"], "{}", case.id);
        }
        assert_eq!((statuses(&daemon, &runs.id), statuses(&daemon, &ended.id)), (vec![255], vec![0]));
        daemon.kill();
    }
    daemon.start();
    for case in [&runs, &ended] {
        let snapshots = tenant.ctr(["snapshots"]).args(native).arg("ls").run().ok();
        assert!(snapshots.stdout.contains(&case.id), "{snapshots}");
        tenant.ctr(["containers", "info", &case.id]).run().ok();
        case.task(&["start", "--detach"]).run().ok();
    }
    assert_eq!(runs.exec("e", &[], &["echo", "in"]).run().ok().text(), "in");
    runs.remove(137);
    ended.wait_for("STOPPED");
    ended.remove(0);
    drop(boot);
}
