//! Advisories about shims and the runtimes behind them, a test each.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use gantry_testkit::{Bundle, Need, require};
use gantry_ttrpc::Code;

use crate::harness::{Daemon, Expect, Io, Output, ours, process_spec};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The shim's API was served on abstract sockets, which containers in the host's network namespace can reach.
#[test]
fn cve_2020_15257_the_api_is_for_root_alone() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let socket = task.shim.answer().socket();
    let own: Vec<u64> = fs::read_dir(format!("/proc/{}/fd", task.shim.pid()))
        .unwrap()
        .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok())
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect();
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    for line in table.lines().skip(1) {
        let mut fields = line.split_ascii_whitespace().skip(6);
        let inode: u64 = fields.next().unwrap().parse().unwrap();
        let name = fields.next().unwrap_or_default();
        assert!(!(own.contains(&inode) && name.starts_with('@')), "{line}");
    }
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(fs::metadata(&socket).unwrap().uid(), 0);
    let nobody = Command::new("/bin/sh")
        .args(["-c", "echo | socat - UNIX-CONNECT:\"$0\" 2>&1 || exec 3<>\"$0\""])
        .arg(&socket)
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    assert!(!nobody.status.success(), "{}", String::from_utf8_lossy(&nobody.stdout));
    assert!(UnixStream::connect(&socket).is_ok());
}

/// Directories of bundles could be entered by everybody, and with them the files of images that are set-user-id.
#[test]
fn cve_2021_41103_state_is_for_root_alone() {
    ours!("where the reference keeps its state is the bundle");
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let pods: Vec<_> = fs::read_dir(daemon.state_root()).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(pods.len(), 1);
    assert_eq!(mode(&pods[0]), 0o700);
    assert_eq!(mode(&pods[0].join("containers").join(format!("{}.json", task.id))), 0o600);
}

/// A container could write to the binary that runs it, through `/proc/PID/exe`.
#[test]
fn cve_2019_5736_the_binary_cannot_be_written() {
    ours!("the reference's shim does not make containers itself");
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let pid = task.shim.pid();
    let exe = format!("/proc/{pid}/exe");
    let flags = rustix::fs::fstatvfs(fs::File::open(&exe).unwrap()).unwrap().f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{flags:?}");
    assert!(fs::File::options().write(true).open(&exe).is_err());
    // Its pages are those of the file, shared with every other shim's.
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    assert!(!rollup.contains("memfd:"), "a copy in memory");
}

/// Descriptors of the host's were open in containers, and led to its root.
#[test]
fn cve_2024_21626_nothing_of_the_shims_is_open_in_a_container() {
    ours!("Debian's runc has the flaw");
    require!(Need::Root);
    let daemon = Daemon::new();
    let others = [daemon.running(Bundle::new().sleeping())];
    let check = |seen: &str| {
        let open = seen.lines().filter(|line| line.contains("->")).count();
        assert_eq!(open, 3, "{seen}");
        assert!(
            !seen.contains("socket:") && !seen.contains("eventpoll") && !seen.contains("/run/"),
            "{seen}"
        );
    };
    let mut out = Output::new(daemon.path("out"));
    let mut task = daemon.task(Bundle::new().sh("ls -l /proc/self/fd/; exec sleep 1000"));
    task.create_with(Io { stdout: out.path().display().to_string(), ..Io::default() }).good();
    task.start();
    // The directory that ls reads is closed by the time that it is looked at.
    out.read_until(" 3\n");
    check(&out.text());
    let mut out = Output::new(daemon.path("out"));
    let io = Io { stdout: out.path().display().to_string(), ..Io::default() };
    task.exec("e", &process_spec(&["/bin/ls", "-l", "/proc/self/fd/"]), io).good();
    task.start_process("e").good();
    task.wait_process("e").good();
    check(&out.read_to_end());
    task.delete_process("e").good();
    drop(others);
}

/// A stream that is named as a FIFO must not open, truncate or write what is none.
#[test]
fn streams_are_no_way_to_files_of_the_host() {
    ours!("the reference opens what is there");
    require!(Need::Root);
    let daemon = Daemon::new();
    let victim = daemon.path("victim");
    fs::write(&victim, "precious").unwrap();
    let link = daemon.path("link");
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    for path in [&victim, &link] {
        let mut task = daemon.task(Bundle::new().sh("echo spoiled"));
        task.create_with(Io::stdout(path)).fails(Code::InvalidArgument);
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}
