//! An external OCI runtime (`options.binary_name`): runc's command line, as containerd's own shim drives it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gantry_proto_shim::options::CheckpointOptions;
use gantry_runtime::Scope;
use gantry_sys::fdpass;
use gantry_types::ErrorKind;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::exec::start_time;
use super::{Made, Subject};
use crate::failure::Failure;
use crate::stdio::Role;

/// The runtime's log in the bundle.
const LOG_FILE: &str = "log.json";
/// How much of the log and of its output is read for its last words, in bytes.
const MAX_LOG_BYTES: u64 = 256 << 10;

type ProcessFds = Vec<(Role, OwnedFd)>;

/// The runtime, and the container that it is to work on.
#[derive(Debug, Clone, Copy)]
pub(super) struct External<'a> {
    pub(super) subject: &'a Subject,
}

impl External<'_> {
    fn command(&self) -> Command {
        let options = &self.subject.options;
        let mut command = Command::new(&options.binary_name);
        command.arg("--root").arg(options.state_root(&self.subject.namespace));
        command.arg("--log").arg(self.log()).args(["--log-format", "json"]);
        if options.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command.current_dir(&self.subject.bundle).stdin(Stdio::null());
        command
    }

    fn log(&self) -> PathBuf {
        self.subject.bundle.join(LOG_FILE)
    }

    /// Runs a command to its end; what it prints is told if it fails without a word in its log.
    fn run(&self, command: &mut Command) -> Result<(), Failure> {
        let output = command.output().map_err(|error| self.not_run(error))?;
        if output.status.success() {
            return Ok(());
        }
        Err(self.failed(&output.status.to_string(), &[output.stderr, output.stdout].concat()))
    }

    /// Runs a command that makes a process, which inherits the worker's streams.
    fn make(&self, command: &mut Command) -> Result<(), Failure> {
        command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        let status = command.status().map_err(|error| self.not_run(error))?;
        if status.success() { Ok(()) } else { Err(self.failed(&status.to_string(), &[])) }
    }

    fn not_run(&self, error: std::io::Error) -> Failure {
        Failure::io(format!("runtime {:?}", self.subject.options.binary_name))(error)
    }

    fn failed(&self, status: &str, output: &[u8]) -> Failure {
        let printed = String::from_utf8_lossy(&output[..output.len().min(4096)]).trim().to_owned();
        let told = last_error(&self.log()).filter(|text| !text.is_empty()).unwrap_or(printed);
        let name =
            Path::new(&self.subject.options.binary_name).file_name().unwrap_or_default().to_string_lossy();
        let words = told.to_ascii_lowercase();
        let kind = if words.contains("does not exist") || words.contains("no such") {
            ErrorKind::NotFound
        } else if words.contains("already exists") {
            ErrorKind::AlreadyExists
        } else if words.contains("paused") {
            ErrorKind::FailedPrecondition
        } else if words.contains("not running") || words.contains("process already finished") {
            ErrorKind::NotFound
        } else {
            ErrorKind::Internal
        };
        Failure::new(kind, format!("OCI runtime {name}: {told} ({status})"))
    }

    /// A command with nothing but the container's id.
    pub(super) fn simple(&self, verb: &str) -> Result<(), Failure> {
        self.run(self.command().arg(verb).arg(self.subject.id.as_str()))
    }

    pub(super) fn create(&self, terminal: bool) -> Result<(Made, ProcessFds), Failure> {
        let mut command = self.command();
        command.arg("create").arg("--bundle").arg(&self.subject.bundle);
        self.creation_flags(&mut command);
        self.process(command, &self.subject.bundle.join("init.pid"), terminal)
    }

    pub(super) fn restore(&self, images: &Path, terminal: bool) -> Result<(Made, ProcessFds), Failure> {
        let mut command = self.command();
        command.args(["restore", "--detach", "--bundle"]).arg(&self.subject.bundle);
        command.arg("--image-path").arg(images);
        self.creation_flags(&mut command);
        self.process(command, &self.subject.bundle.join("init.pid"), terminal)
    }

    fn creation_flags(&self, command: &mut Command) {
        if self.subject.options.no_pivot_root {
            command.arg("--no-pivot");
        }
        if self.subject.options.no_new_keyring {
            command.arg("--no-new-keyring");
        }
    }

    pub(super) fn exec(
        &self,
        exec_id: &str,
        process: &[u8],
        terminal: bool,
    ) -> Result<(Made, ProcessFds), Failure> {
        let file = self.subject.bundle.join(format!(".{exec_id}.process.json"));
        std::fs::write(&file, process).map_err(Failure::io(format!("write {}", file.display())))?;
        let mut command = self.command();
        command.args(["exec", "--detach", "--process"]).arg(&file);
        let made = self.process(command, &self.subject.bundle.join(format!("{exec_id}.pid")), terminal);
        let _ = std::fs::remove_file(&file);
        made
    }

    /// Runs a command that makes a process, with its pid file and its terminal's socket.
    fn process(
        &self,
        mut command: Command,
        pid_file: &Path,
        terminal: bool,
    ) -> Result<(Made, ProcessFds), Failure> {
        command.arg("--pid-file").arg(pid_file);
        let console = if terminal {
            let console = ConsoleSocket::bind(&self.subject.bundle)?;
            command.arg("--console-socket").arg(&console.path);
            Some(console)
        } else {
            None
        };
        self.make(command.arg(self.subject.id.as_str()))?;
        let text =
            std::fs::read_to_string(pid_file).map_err(Failure::io(format!("read {}", pid_file.display())))?;
        let number: i32 = text
            .trim()
            .parse()
            .map_err(|_| Failure::new(ErrorKind::Internal, format!("{text:?} is no process id")))?;
        let mut fds = Vec::new();
        // It may have ended and been reaped by now: its status is kept by its number.
        if let Some(pidfd) = Pid::from_raw(number).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) {
            fds.push((Role::Pidfd, pidfd));
        }
        if let Some(console) = console {
            fds.push((Role::Console, console.receive()?));
        }
        // Where it is cannot be known of one that has ended.
        let cgroup = gantry_cgroup::CgroupRecord::of_process(number).ok();
        Ok((Made { pid: number, start_time: start_time(number), cgroup, ..Made::default() }, fds))
    }

    /// Removes the container. By force, since its first process is known to have ended, or never to have run: runc refuses
    /// one whose cgroup is frozen, or whose process's number somebody else has by now.
    pub(super) fn delete(&self) -> Result<(), Failure> {
        match self.run(self.command().args(["delete", "--force"]).arg(self.subject.id.as_str())) {
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    pub(super) fn kill(&self, signal: i32, scope: Scope) -> Result<(), Failure> {
        let mut command = self.command();
        command.arg("kill");
        if scope == Scope::All {
            command.arg("--all");
        }
        self.run(command.arg(self.subject.id.as_str()).arg(signal.to_string()))
    }

    pub(super) fn update(&self, resources: &[u8]) -> Result<(), Failure> {
        let file = self.subject.bundle.join(".resources.json");
        std::fs::write(&file, resources).map_err(Failure::io(format!("write {}", file.display())))?;
        let mut command = self.command();
        command.args([OsStr::new("update"), OsStr::new("--resources"), file.as_os_str()]);
        let updated = self.run(command.arg(self.subject.id.as_str()));
        let _ = std::fs::remove_file(&file);
        updated
    }

    pub(super) fn checkpoint(&self, images: &str, options: &CheckpointOptions) -> Result<(), Failure> {
        let mut command = self.command();
        command.args(["checkpoint", "--image-path", images]);
        let flags = [
            (options.open_tcp, "--tcp-established"),
            (options.external_unix_sockets, "--ext-unix-sk"),
            (options.terminal, "--shell-job"),
            (options.file_locks, "--file-locks"),
            (!options.exit, "--leave-running"),
        ];
        command.args(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag));
        for (value, flag) in [
            (&options.work_path, "--work-path"),
            (&options.parent_path, "--parent-path"),
            (&options.cgroups_mode, "--manage-cgroups-mode"),
        ] {
            if !value.is_empty() {
                command.args([flag, value]);
            }
        }
        self.run(command.arg(self.subject.id.as_str()))
    }
}

/// The message of the last error in a runtime's log.
fn last_error(log: &Path) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    #[derive(serde::Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let mut file = std::fs::File::open(log).ok()?;
    let len = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(MAX_LOG_BYTES))).ok()?;
    let mut text = Vec::new();
    file.take(MAX_LOG_BYTES).read_to_end(&mut text).ok()?;
    text.rsplit(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Line>(line).ok())
        .find(|line| line.level == "error" || line.level == "fatal")
        .map(|line| line.msg)
}

/// The socket on which a runtime hands over a terminal.
struct ConsoleSocket {
    socket: OwnedFd,
    directory: PathBuf,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Binds it in a directory of its own below /run: a bundle's path may be longer than a socket's name can be.
    fn bind(bundle: &Path) -> Result<Self, Failure> {
        let name = format!("pty-{}", std::process::id());
        let base = if Path::new("/run").is_dir() { Path::new("/run") } else { bundle };
        let directory = base.join(format!("gantry-{name}"));
        let path = directory.join("pty.sock");
        let named = || format!("console socket {}", path.display());
        let _ = std::fs::remove_dir_all(&directory);
        rustix::fs::mkdir(&directory, rustix::fs::Mode::from_raw_mode(0o700))
            .map_err(Failure::call(named()))?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(Failure::call(named()))?;
        let address = SocketAddrUnix::new(&path).map_err(Failure::call(named()))?;
        bind(&socket, &address).map_err(Failure::call(named()))?;
        listen(&socket, 1).map_err(Failure::call(named()))?;
        Ok(ConsoleSocket { socket, directory, path })
    }

    fn receive(&self) -> Result<OwnedFd, Failure> {
        let failed = || "receive the terminal";
        let peer = accept_with(&self.socket, SocketFlags::CLOEXEC).map_err(Failure::call(failed()))?;
        let mut data = [0; 4096];
        let (_, fd) = fdpass::receive(peer.as_fd(), &mut data).map_err(Failure::call(failed()))?;
        fd.ok_or_else(|| Failure::new(ErrorKind::Internal, "the runtime sent no terminal"))
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
