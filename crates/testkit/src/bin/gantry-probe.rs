//! Runs inside a container (or beside it, as a racer) and tells what it sees.
//!
//! ```text
//! (STOP is a file: the program goes on until it exists)
//! gantry-probe [--sysctl NAME]… [--device PATH]… [--file PATH]…   prints a report as JSON
//! gantry-probe exchange A B                                      swaps two names until it is killed
//! gantry-probe flip LINK TARGET TARGET                           points a link at each target in turn, likewise
//! gantry-probe open-exe STOP                                     tries to open the programs of others for writing
//! gantry-probe watch-fds STOP                                    looks for directories of the host in /proc/*/fd
//! gantry-probe notify TEXT                                       sends a datagram to $NOTIFY_SOCKET
//! gantry-probe hold PATH…                                        opens files, prints "ready", stays until stdin ends
//! ```
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    match (args.first().map(String::as_str), rest) {
        (Some("exchange"), [a, b]) => exchange(Path::new(a), Path::new(b)),
        (Some("flip"), [link, a, b]) => flip(Path::new(link), [Path::new(a), Path::new(b)]),
        (Some("open-exe"), [stop]) => open_exe(Path::new(stop)),
        (Some("watch-fds"), [stop]) => watch_fds(Path::new(stop)),
        (Some("notify"), [text]) => notify(text),
        (Some("hold"), paths) => hold(paths),
        _ => {
            println!("{}", report(&args));
            ExitCode::SUCCESS
        }
    }
}

fn report(args: &[String]) -> Value {
    let asked = |option: &str| -> Vec<&String> {
        args.windows(2).filter(|pair| pair[0] == option).map(|pair| &pair[1]).collect()
    };
    let sysctls: BTreeMap<_, _> = asked("--sysctl").into_iter().map(|name| (name, sysctl(name))).collect();
    let devices: BTreeMap<_, _> = asked("--device").into_iter().map(|path| (path, device(path))).collect();
    let files: BTreeMap<_, _> = asked("--file").into_iter().map(|path| (path, read(path))).collect();
    let uname = rustix::system::uname();
    json!({
        "fds": descriptors("self"),
        "pid": std::process::id(),
        "ppid": std::os::unix::process::parent_id(),
        "args": env::args().collect::<Vec<_>>(),
        "env": env::vars_os().map(|(k, v)| (lossy(k), lossy(v))).collect::<BTreeMap<_, _>>(),
        "cwd": env::current_dir().map_or_else(|error| format!("error: {error}"), lossy),
        "exe": fs::read_link("/proc/self/exe").map_or_else(|error| format!("error: {error}"), lossy),
        "exeWritable": writable("/proc/self/exe"),
        "status": status(),
        "mountinfo": read("/proc/self/mountinfo"),
        "cgroup": read("/proc/self/cgroup"),
        "keys": read("/proc/keys"),
        "limits": limits(),
        "sched": sched(),
        "personality": read("/proc/self/personality"),
        "oomScoreAdj": read("/proc/self/oom_score_adj"),
        "hostname": uname.nodename().to_string_lossy(),
        "domainname": uname.domainname().to_string_lossy(),
        "machine": uname.machine().to_string_lossy(),
        "namespaces": namespaces(),
        "timensOffsets": read("/proc/self/timens_offsets"),
        "boottimeSeconds": rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec,
        "monotonicSeconds": rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec,
        "label": read("/proc/self/attr/current"),
        "session": rustix::process::getsid(None).map_or(-1, |pid| pid.as_raw_nonzero().get()),
        "terminal": terminal(),
        "sysctls": sysctls,
        "devices": devices,
        "files": files,
    })
}

fn lossy(text: impl AsRef<std::ffi::OsStr>) -> String {
    text.as_ref().to_string_lossy().into_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("error: {error}"),
    }
}

/// The open descriptors of a process, without the one that reads them.
fn descriptors(process: &str) -> BTreeMap<String, String> {
    let dir = PathBuf::from(format!("/proc/{process}/fd"));
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
        if let Ok(link) = fs::read_link(entry.path()) {
            // The directory that is being read.
            if !(process == "self" && link.starts_with("/proc") && link.ends_with("fd")) {
                found.insert(lossy(entry.file_name()), lossy(link));
            }
        }
    }
    found
}

/// Whether a file could be opened for writing, and if not, why; nothing is written.
fn writable(path: impl AsRef<Path>) -> String {
    // Without O_NONBLOCK a fifo would wait for a reader.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    match OpenOptions::new().write(true).custom_flags(nonblocking).open(path) {
        Ok(_) => "yes".into(),
        Err(error) => error.to_string(),
    }
}

fn status() -> BTreeMap<String, String> {
    let text = read("/proc/self/status");
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn limits() -> BTreeMap<String, [String; 2]> {
    let text = read("/proc/self/limits");
    let mut found = BTreeMap::new();
    for line in text.lines().skip(1).filter(|line| line.len() > 26) {
        let (name, values) = line.split_at(26);
        let mut values = values.split_whitespace().map(str::to_owned);
        let pair = [values.next().unwrap_or_default(), values.next().unwrap_or_default()];
        found.insert(name.trim().to_owned(), pair);
    }
    found
}

/// Fields 18, 19, 40 and 41 of `/proc/self/stat`: proc(5).
fn sched() -> Value {
    let text = read("/proc/self/stat");
    let after = text.rsplit_once(") ").map_or("", |(_, after)| after);
    let fields: Vec<i64> = after.split(' ').map(|word| word.trim().parse().unwrap_or(0)).collect();
    let field = |n: usize| fields.get(n - 3).copied().unwrap_or(0);
    json!({
        "priority": field(18), "nice": field(19), "rtPriority": field(40), "policy": field(41),
        "details": read("/proc/self/sched"),
    })
}

fn namespaces() -> BTreeMap<String, String> {
    let entries = fs::read_dir("/proc/self/ns").into_iter().flatten().flatten();
    entries
        .map(|entry| (lossy(entry.file_name()), lossy(fs::read_link(entry.path()).unwrap_or_default())))
        .collect()
}

fn terminal() -> Value {
    let stdin = io::stdin();
    if !rustix::termios::isatty(&stdin) {
        return Value::Null;
    }
    let size = rustix::termios::tcgetwinsize(&stdin).ok();
    json!({
        "rows": size.map(|size| size.ws_row), "columns": size.map(|size| size.ws_col),
        "name": rustix::termios::ttyname(&stdin, Vec::new()).map(|name| name.to_string_lossy().into_owned()).ok(),
        "controlling": File::open("/dev/tty").is_ok(),
    })
}

fn sysctl(name: &str) -> String {
    read(Path::new("/proc/sys").join(name.replace('.', "/"))).trim().to_owned()
}

fn device(path: &str) -> Value {
    let Ok(meta) = fs::symlink_metadata(path) else { return Value::Null };
    let kind = meta.file_type();
    let letter = match () {
        () if kind.is_char_device() => "c",
        () if kind.is_block_device() => "b",
        () if kind.is_fifo() => "p",
        () if kind.is_symlink() => "l",
        () if kind.is_dir() => "d",
        () => "f",
    };
    json!({
        "type": letter, "mode": format!("{:o}", meta.mode() & 0o7777), "uid": meta.uid(), "gid": meta.gid(),
        "major": rustix::fs::major(meta.rdev()), "minor": rustix::fs::minor(meta.rdev()),
        "link": fs::read_link(path).map(lossy).ok(), "writable": writable(path),
    })
}

/// The race of CVE-2021-30465: whatever looks at `a` twice may see two different things.
fn exchange(a: &Path, b: &Path) -> ExitCode {
    announce();
    loop {
        if renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).is_err() && !a.exists() && !b.exists() {
            return ExitCode::FAILURE;
        }
    }
}

fn flip(link: &Path, targets: [&Path; 2]) -> ExitCode {
    announce();
    let other = link.with_extension("other");
    loop {
        for target in targets {
            let _ = fs::remove_file(&other);
            if symlink(target, &other).is_err() || fs::rename(&other, link).is_err() {
                return ExitCode::FAILURE;
            }
        }
    }
}

fn announce() {
    println!("ready");
    let _ = io::stdout().flush();
}

/// The processes that this one can see, but itself.
fn others() -> Vec<String> {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.map(|entry| lossy(entry.file_name()));
    names.filter(|name| name.bytes().all(|b| b.is_ascii_digit()) && *name != own).collect()
}

/// The attack of CVE-2019-5736: a runtime that joins the container shows its own program as `/proc/<pid>/exe`.
///
/// A program that runs cannot be opened for writing, so the attacker keeps a descriptor until it does not. Prints each
/// program outside this container's root that a byte could be written to: the first one of every program, as it is.
fn open_exe(stop: &Path) -> ExitCode {
    announce();
    let root = fs::metadata("/bin/busybox").map(|meta| meta.dev()).ok();
    let own = fs::metadata("/proc/self/exe").map(|meta| (meta.dev(), meta.ino())).ok();
    let inside = |meta: &fs::Metadata| {
        Some((meta.dev(), meta.ino())) == own
            || Some(meta.dev()) == root
                && fs::metadata("/bin/busybox").is_ok_and(|busybox| busybox.ino() == meta.ino())
    };
    let mut held: BTreeMap<(u64, u64), (File, String)> = BTreeMap::new();
    let mut found = BTreeMap::new();
    while !stop.exists() {
        for pid in others() {
            let exe = format!("/proc/{pid}/exe");
            let Ok(file) = File::open(&exe) else { continue };
            let Ok(meta) = file.metadata() else { continue };
            if !inside(&meta) {
                let name = fs::read_link(&exe).map(lossy).unwrap_or_default();
                held.entry((meta.dev(), meta.ino())).or_insert((file, name));
            }
        }
        for (identity, (file, name)) in &held {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let written =
                OpenOptions::new().write(true).open(path).and_then(|file| file.write_at(b"\x7f", 0));
            if written.is_ok() {
                found.insert(name.clone(), format!("{identity:?}"));
            }
        }
    }
    println!("{}", json!({ "writable": found, "seen": held.len() }));
    ExitCode::SUCCESS
}

/// The leaks of CVE-2016-9962 and CVE-2024-21626: a process that joins the container with a descriptor of the host.
///
/// Prints each directory behind `/proc/<pid>/fd` and `cwd` of another process that is not in this container's mounts.
fn watch_fds(stop: &Path) -> ExitCode {
    announce();
    let mut found = BTreeMap::new();
    while !stop.exists() {
        for pid in others() {
            for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
                if let Some(place) = foreign_directory(&entry.path()) {
                    found.insert(place, format!("{pid}/{}", lossy(entry.file_name())));
                }
            }
        }
    }
    println!("{}", json!({ "directories": found }));
    ExitCode::SUCCESS
}

/// What the directory behind a descriptor of another process is called, unless it is one of this container's.
///
/// Taken by a descriptor of our own first: the other process may close its, and open another under the same number.
fn foreign_directory(descriptor: &Path) -> Option<String> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let held = rustix::fs::open(descriptor, flags, rustix::fs::Mode::empty()).ok()?;
    let link = fs::read_link(format!("/proc/self/fd/{}", held.as_raw_fd())).ok()?;
    let stat = rustix::fs::fstat(&held).ok()?;
    let inside = fs::metadata(&link).is_ok_and(|meta| meta.dev() == stat.st_dev && meta.ino() == stat.st_ino);
    // The detached procfs through which a runtime writes labels has no place in any root, and shows this container.
    let procfs = rustix::fs::fstatfs(&held).is_ok_and(|statfs| statfs.f_type == rustix::fs::PROC_SUPER_MAGIC);
    (!inside && !procfs).then(|| lossy(link))
}

/// sd_notify(3), of which busybox has no client.
fn notify(text: &str) -> ExitCode {
    let socket = env::var_os("NOTIFY_SOCKET").expect("NOTIFY_SOCKET is set");
    let sender = UnixDatagram::unbound().expect("a socket");
    sender.send_to(text.as_bytes(), socket).expect("the socket takes a datagram");
    ExitCode::SUCCESS
}

fn hold(paths: &[String]) -> ExitCode {
    let files: Vec<_> = paths.iter().map(File::open).collect();
    if let Some(Err(error)) = files.iter().find(|file| file.is_err()) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    announce();
    let mut byte = [0];
    while io::stdin().read(&mut byte).is_ok_and(|got| got > 0) {}
    ExitCode::SUCCESS
}
