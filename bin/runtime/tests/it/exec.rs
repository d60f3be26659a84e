//! exec: further processes in a running container.

use std::fs;

use gantry_testkit::{Bundle, Need, Peer, Report, Runtime, require, until_true};
use serde_json::json;

#[test]
fn exec_runs_a_command_and_returns_its_exit_code() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let output = container.exec(&[], ["sh", "-c", "echo out; echo err >&2; exit 42"]).exits(42);
    assert_eq!((output.text(), output.stderr.trim()), ("out", "err"));
    container.exec(&[], ["sh", "-c", "kill -KILL $$"]).exits(137);
}

#[test]
fn exec_passes_standard_input_through() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let output = container.exec_command(&[], ["cat"]).stdin("one\ntwo\n").run().ok();
    assert_eq!(output.stdout, "one\ntwo\n");
}

#[test]
fn exec_joins_the_namespaces_of_the_container() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().probe(&[]).sleeping();
    let container = runtime.running(&bundle);
    let report = container.probe(&[], &[]);
    for file in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let link = fs::read_link(format!("/proc/{}/ns/{file}", container.pid())).unwrap();
        assert_eq!(report.namespace(file), link.to_str().unwrap());
    }
    assert_eq!(report.0["ppid"], 0, "its parent is outside");
}

#[test]
fn exec_joins_the_cgroups_of_the_container() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().without_namespace("cgroup").sleeping();
    let container = runtime.running(&bundle);
    let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert_eq!(container.sh("cat /proc/self/cgroup"), own.trim());
}

#[test]
fn exec_takes_environment_and_directory_of_the_container_by_default() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping().edit(|c| {
        c["process"]["cwd"] = json!("/etc");
        c["process"]["env"] = json!(["PATH=/bin", "A=from the configuration", "B=2"]);
    });
    let container = runtime.running(&bundle);
    assert_eq!(container.sh("pwd; echo $A"), "/etc\nfrom the configuration");
    let output =
        container.exec(&["--env", "A=from exec", "--env", "C=3"], ["sh", "-c", "echo $A $B $C"]).ok();
    assert_eq!(output.text(), "from exec 2 3");
}

#[test]
fn exec_in_a_directory() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    assert_eq!(container.exec(&["--cwd", "/tmp"], ["pwd"]).ok().text(), "/tmp");
}

#[test]
fn exec_as_another_user() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let id = |options: &[&str]| container.exec(options, ["sh", "-c", "id -u; id -g; id -G"]).ok().stdout;
    assert_eq!(id(&["--user", "1000:1001"]), "1000\n1001\n1001\n");
    assert_eq!(id(&["-u", "1000"]).lines().next(), Some("1000"));
    let groups = id(&["-u", "1000:1000", "--additional-gids", "100", "--additional-gids", "65533"]);
    assert_eq!(groups, "1000\n1000\n1000 100 65533\n");
}

#[test]
fn exec_of_an_unusable_user_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    for user in ["root", "1000:", ":1000", "1000:x", "x:0", "-1", "1000:-1", "99999999999999999999"] {
        container.exec(&["--user", user], ["true"]).fails();
    }
}

#[test]
fn exec_detached_returns_at_once() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().writable().sleeping();
    let container = runtime.running(&bundle);
    let script = "while [ ! -e /go ]; do sleep 0.02; done; echo done >/result";
    let file = runtime.scratch().join("pid");
    container.exec(&["-d", "--pid-file", file.to_str().unwrap()], ["sh", "-c", script]).ok();
    let pid: i64 = fs::read_to_string(&file).unwrap().parse().unwrap();
    assert!(container.processes().contains(&pid));
    bundle.write("go", "");
    until_true("the process to end", || bundle.rootfs().join("result").exists());
}

#[test]
fn exec_process_takes_everything_from_the_file() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().probe(&[]).sleeping();
    let container = runtime.running(&bundle);
    let process = json!({
        "args": ["/bin/gantry-probe"],
        "cwd": "/tmp",
        "env": ["PATH=/bin", "ONLY=this"],
        "user": { "uid": 1000, "gid": 1001, "additionalGids": [5, 6] },
        "capabilities": {
            "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"],
        },
        "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 111, "hard": 222 }],
        "noNewPrivileges": true,
    });
    let report = Report::parse(&container.exec_process(&process, &[]).ok().stdout);
    assert_eq!(report.text("cwd"), "/tmp");
    assert_eq!(report.env("ONLY"), Some("this"));
    assert_eq!(report.status("Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(report.status("Gid"), "1001\t1001\t1001\t1001");
    assert_eq!(report.status("Groups"), "5 6");
    assert_eq!(report.status("NoNewPrivs"), "1");
    assert_eq!(report.limit("Max open files"), ("111".into(), "222".into()));
    for set in ["CapBnd", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(report.capabilities(set), 1 << 5, "{set}");
    }
}

#[test]
fn exec_without_flags_has_the_capabilities_of_the_container() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().probe(&[]).sleeping();
    let container = runtime.running(&bundle);
    let report = container.probe(&[], &[]);
    assert_eq!(report.capabilities("CapEff"), 0xa804_25fb);
    assert_eq!(report.capabilities("CapBnd"), 0xa804_25fb);
    assert_eq!(report.capabilities("CapInh"), 0);
    assert_eq!(report.capabilities("CapAmb"), 0);
}

#[test]
fn exec_adds_capabilities() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().capabilities(&["CAP_KILL"]).probe(&[]).sleeping();
    let container = runtime.running(&bundle);
    let report = container.probe(&["--cap", "CAP_SYS_NICE"], &[]);
    assert_eq!(report.capabilities("CapEff"), 1 << 5 | 1 << 23);
    assert_eq!(report.capabilities("CapPrm"), 1 << 5 | 1 << 23);
    assert_eq!(report.capabilities("CapBnd"), 1 << 5 | 1 << 23);
    assert_eq!(report.capabilities("CapInh"), 0);
}

#[test]
fn exec_sets_no_new_privs() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().sleeping();
    let container = runtime.running(&bundle);
    let script = ["sh", "-c", "grep NoNewPrivs /proc/self/status"];
    assert!(container.exec(&[], script).ok().stdout.contains('0'));
    assert!(container.exec(&["--no-new-privs"], script).ok().stdout.contains('1'));
}

#[test]
fn exec_is_refused_unless_the_container_runs() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let container = runtime.running(&bundle);
    container.wait_for("stopped");
    container.exec(&[], ["true"]).fails().says_any(&["cannot exec in a stopped container", "is not running"]);
}

#[test]
fn exec_works_in_a_created_container() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.created(&bundle);
    assert_eq!(container.sh("echo in"), "in");
    container.start().ok();
    container.wait_for("running");
}

#[test]
fn exec_in_a_paused_container_is_refused_unless_asked_for() {
    require!(Need::Not(Peer::Crun, "has no --ignore-paused"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().writable().sleeping();
    let container = runtime.running(&bundle);
    container.command("pause", &[]).run().ok();
    container.exec(&[], ["true"]).fails().says("paused");
    let running = container.exec_command(&["--ignore-paused"], ["touch", "/after"]).spawn();
    container.command("resume", &[]).run().ok();
    running.wait().ok();
    assert!(bundle.rootfs().join("after").exists());
}

#[test]
fn exec_without_arguments_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    container.command("exec", &[]).run().fails();
    container.exec_process(&json!({ "args": [], "cwd": "/" }), &[]).fails();
    container.exec_process(&json!({ "args": ["true"], "cwd": "relative" }), &[]).fails();
}

#[test]
fn exec_forwards_options_of_the_command() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    assert_eq!(container.exec(&[], ["echo", "--tty", "-d"]).ok().text(), "--tty -d");
}

#[test]
fn exec_into_a_cgroup_below_that_of_the_container() {
    require!(Need::CgroupV2, Need::Runc(1, 1), Need::Not(Peer::Crun, "spells it otherwise"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().without_namespace("cgroup").sleeping();
    let container = runtime.running(&bundle);
    let cgroups = gantry_testkit::Cgroups::detect();
    let dir = cgroups.dirs(&bundle.cgroup()).remove(0).join("sub");
    fs::create_dir(&dir).unwrap();
    let output = container.exec(&["--cgroup", "sub"], ["cat", "/proc/self/cgroup"]).ok();
    assert!(output.text().ends_with("/c/sub"), "{output}");
    container.exec(&["--cgroup", "absent"], ["true"]).fails();
    container.exec(&["--cgroup", "../.."], ["true"]).fails();
}

#[test]
fn exec_into_a_cgroup_of_one_controller_on_v1() {
    require!(Need::CgroupV1, Need::Runc(1, 1), Need::Not(Peer::Crun, "spells it otherwise"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().without_namespace("cgroup").sleeping();
    let container = runtime.running(&bundle);
    let cgroups = gantry_testkit::Cgroups::detect();
    let dir = cgroups.file("pids", &bundle.cgroup(), "sub");
    fs::create_dir(&dir).unwrap();
    let output = container.exec(&["--cgroup", "pids:sub"], ["cat", "/proc/self/cgroup"]).ok();
    let of = |name: &str| output.lines().into_iter().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(of(":pids:").ends_with("/c/sub"), "{output}");
    assert!(of(":freezer:").ends_with("/c"), "{output}");
    container.exec(&["--cgroup", "sub"], ["true"]).fails();
    container.exec(&["--cgroup", "pids:absent"], ["true"]).fails();
    container.exec(&["--cgroup", "pids:../.."], ["true"]).fails();
    fs::remove_dir(dir).unwrap();
}

#[test]
fn exec_of_a_process_that_ends_at_once_never_hangs() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    for _ in 0..20 {
        container.exec(&[], ["true"]).ok();
    }
}

#[test]
fn exec_ends_when_the_container_is_killed() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let running = container.exec_command(&[], ["sh", "-c", "echo ready; sleep 1000"]).spawn();
    until_true("exec", || running.stdout().contains("ready"));
    container.kill("KILL").ok();
    running.wait().exits(137);
}

#[test]
fn exec_inherits_nothing_of_the_callers_environment() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let output = container.exec_command(&[], ["env"]).env("SECRET", "of the host").run().ok();
    assert!(!output.stdout.contains("SECRET"), "{output}");
    assert!(!output.stdout.contains("_LIBCONTAINER"), "{output}");
}

#[test]
fn exec_finds_programs_on_the_path_of_its_environment() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    bundle.write("opt/tool", "#!/bin/sh\necho tool\n");
    let path = bundle.rootfs().join("opt/tool");
    std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let container = runtime.running(&bundle);
    assert_eq!(container.exec(&["-e", "PATH=/opt:/bin"], ["tool"]).ok().text(), "tool");
    container.exec(&[], ["tool"]).fails();
}

#[test]
fn exec_many_at_once() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let running: Vec<_> =
        (0..10).map(|n| container.exec_command(&[], ["sh", "-c", &format!("exit {n}")]).spawn()).collect();
    for (n, process) in running.into_iter().enumerate() {
        process.wait().exits(i32::try_from(n).unwrap());
    }
}

#[test]
fn exec_sets_home_from_the_password_file() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    assert_eq!(container.exec(&["-u", "1000"], ["sh", "-c", "echo $HOME"]).ok().text(), "/home");
}
