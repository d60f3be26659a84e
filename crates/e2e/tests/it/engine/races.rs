//! What somebody changes while the engine works with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use gantry_e2e::{Docker, on_reference, require_engine};
use gantry_testkit::{Namespace, skip_test, until_true};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{remove, shared};

/// How often a race is run.
const ROUNDS: usize = 25;
/// Files of an image that take a while to be copied.
const FILES: usize = 3000;

/// Exchanges two names as fast as it can, while something else happens.
fn while_swapped<T>(one: &Path, other: &Path, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

/// The directory of a volume on the host.
fn volume(docker: &Docker, name: &str) -> PathBuf {
    let path = docker.docker(["volume", "inspect", "--format", "{{.Mountpoint}}", name]).run().ok();
    path.text().into()
}

/// CVE-2017-1002101, CVE-2021-30465: who shares a volume exchanges a directory for a link to the host's files.
#[test]
fn cve_2017_1002101_a_part_of_a_volume_is_never_what_a_link_leads_to() {
    require_engine!("dockerd");
    let docker = shared();
    if !docker.docker(["run", "--help"]).run().ok().text().contains("mount") || is_old(docker) {
        skip_test!("the reference has no parts of volumes");
    }
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("mark"), "host").unwrap();
    docker.docker(["volume", "create", "r-part"]).run().ok();
    let data = volume(docker, "r-part");
    fs::create_dir_all(data.join("way/part")).unwrap();
    fs::write(data.join("way/part/mark"), "volume").unwrap();
    fs::create_dir(data.join("other")).unwrap();
    std::os::unix::fs::symlink(host.path(), data.join("other/part")).unwrap();
    let mount = "type=volume,source=r-part,target=/v,volume-subpath=way/part";
    let run = || docker.run(&["--mount", mount], &["cat", "/v/mark"]).run();
    assert_eq!(run().ok().text(), "volume");
    let seen = while_swapped(&data.join("way/part"), &data.join("other/part"), || {
        (0..ROUNDS).map(|_| run()).collect::<Vec<_>>()
    });
    assert!(seen.iter().all(|output| !output.stdout.contains("host")), "{seen:?}");
    docker.docker(["volume", "rm", "r-part"]).run().ok();
    assert_eq!(gantry_testkit::mounts_below(Path::new("/run/gt-eng/subpaths")), [""; 0]);
}

/// Whether the engine is Debian's dockerd, whose API has none of the newer fields.
fn is_old(docker: &Docker) -> bool {
    docker.docker(["version", "--format", "{{.Server.APIVersion}}"]).run().ok().text() == "1.41"
}

#[test]
fn a_new_volume_is_filled_whole_or_not_at_all() {
    require_engine!("dockerd");
    let host = Namespace::new("network", &[]);
    let (daemon, docker) = Docker::engine_apart(&host, "gt-engf");
    let Some(daemon) = daemon else { skip_test!("the reference is not killed") };
    let script =
        format!("mkdir /many; i=0; while [ $i -lt {FILES} ]; do echo $i > /many/$i; i=$((i+1)); done");
    docker
        .docker(["run", "--network", "none", "--name", "f-make", "busybox", "sh", "-c", &script])
        .run()
        .ok();
    docker.docker(["commit", "f-make", "filled"]).run().ok();
    remove(&docker, "f-make");
    let data = daemon.root().join("volumes/f-vol/_data");
    let count = |path: &Path| fs::read_dir(path).map_or(0, |entries| entries.count());
    let running =
        docker.docker(["create", "--name", "f-half", "--volume", "f-vol:/many", "filled", "true"]).spawn();
    // Wherever it is that the files come first.
    let begun = || count(&data) > 0 || count(&data.with_file_name(".gantry-filling")) > 0;
    gantry_testkit::until_within(std::time::Duration::from_secs(60), "the copy to begin", || {
        begun().then_some(())
    });
    daemon.kill();
    drop(running.wait());
    daemon.start();
    let there = count(&data);
    assert!(there == 0 || there == FILES, "{there} of {FILES} files are there");
    assert_eq!(count(data.parent().unwrap()), 1, "something is left beside the volume");
    // The container that nobody was told of is gone, and its name can be had.
    let shown = docker.docker(["ps", "--all", "--format", "{{.Names}}"]).run().ok();
    assert_eq!(shown.text(), "");
    let args =
        ["run", "--name", "f-half", "--volume", "f-vol:/many", "filled", "sh", "-c", "ls /many | wc -l"];
    assert_eq!(docker.docker(args).run().ok().text(), FILES.to_string());
    remove(&docker, "f-half");
}

#[test]
fn copies_from_what_ends_at_that_moment_succeed_or_say_why() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("in"), "given\n").unwrap();
    let local = |name: &str| dir.path().join(name).display().to_string();
    for round in 0..ROUNDS {
        let name = format!("r-cp{round}");
        let keeps = round % 2 == 0;
        let options: &[&str] = if keeps { &[] } else { &["--rm"] };
        let sleep = format!("sleep 0.{}", 10 + round % 10);
        super::detached(docker, &name, options, &["sh", "-c", &sleep]);
        let mut last = 0;
        // Until it has ended for a while, or is gone.
        for _ in 0..12 {
            let path = format!("{name}:/etc/passwd");
            let out = docker.docker(["cp", &path, &local("out")]).run();
            let place = format!("{name}:/tmp/in");
            let put = docker.docker(["cp", &local("in"), &place]).run();
            for output in [out, put] {
                let gone = ["No such container", "Could not find", "removal", "not running", "is ending"];
                let told = gone.iter().any(|words| output.stderr.contains(words));
                // The reference has words of its own for what is going.
                let told = told || on_reference();
                assert!(output.status.success() || !keeps && told, "round {round}: {output}");
                last += usize::from(output.status.success());
            }
        }
        // The other may have gone before the first copy.
        assert!(!keeps || last > 0, "round {round}: nothing was copied");
        if keeps {
            remove(docker, &name);
        } else {
            until_true("it to be removed", || {
                !docker.docker(["inspect", "--type", "container", &name]).run().status.success()
            });
        }
    }
}
