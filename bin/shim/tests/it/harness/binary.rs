//! The shim's binary, called as containerd calls it.

use std::env;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use gantry_proto_shim::Message;
use gantry_proto_shim::bootstrap::BootstrapResult;
use gantry_proto_shim::task::DeleteResponse;
use serde_json::Value;

/// The binary under test: the one that `GANTRY_SHIM` names, or the workspace's own.
pub(crate) fn shim_binary() -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_BIN_EXE_containerd-shim-gantry-v2"));
    env::var_os("GANTRY_SHIM").map_or_else(own, PathBuf::from)
}

/// Whether the binary under test is Gantry's.
pub(crate) fn is_ours() -> bool {
    shim_binary().file_name().is_some_and(|name| name.to_string_lossy().contains("gantry"))
}

/// Whether it is containerd's, and older than version 2.
pub(crate) fn is_containerd_1() -> bool {
    static IS: OnceLock<bool> = OnceLock::new();
    *IS.get_or_init(|| {
        let text = Call::new().args(["-v"]).run().stdout;
        !is_ours() && String::from_utf8_lossy(&text).contains("Version:  1.")
    })
}

/// One call of the binary.
#[derive(Debug)]
pub(crate) struct Call {
    command: Command,
    stdin: Vec<u8>,
}

impl Call {
    pub(crate) fn new() -> Self {
        Self { command: Command::new(shim_binary()), stdin: Vec::new() }
    }

    pub(crate) fn args<S: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    pub(crate) fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = bytes;
        self
    }

    pub(crate) fn run(mut self) -> Output {
        // A daemon sees to it that signals of its terminal do not reach a shim.
        self.command.process_group(0);
        let pipes = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("the shim's binary can be executed");
        // Who does not read it has closed it.
        let _ = child.stdin.take().expect("a pipe").write_all(&self.stdin);
        child.wait_with_output().expect("the binary is our child")
    }

    /// The same call of another binary.
    pub(crate) fn of(self, binary: &Path) -> Self {
        let mut command = Command::new(binary);
        command.args(self.command.get_args());
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(self.command.get_current_dir().unwrap_or(Path::new("/")));
        Self { command, ..self }
    }

    /// As another user.
    pub(crate) fn user(mut self, uid: u32) -> Self {
        self.command.uid(uid).gid(uid);
        self
    }

    /// Spawns it with this standard input; what it prints can be read.
    #[track_caller]
    pub(crate) fn spawn(mut self, stdin: impl Into<Stdio>) -> Child {
        let command = self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the shim's binary can be executed")
    }

    /// Runs it; it must succeed. Ours prints nothing on standard error: containerd reads both as one at `start`.
    #[track_caller]
    pub(crate) fn good(self) -> Vec<u8> {
        let output = self.run();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {text}", output.status);
        assert!(text.is_empty() || !is_ours(), "on standard error: {text}");
        output.stdout
    }
}

/// What `start` printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) version: i32,
    pub(crate) address: String,
    pub(crate) protocol: String,
}

impl Answer {
    /// Reads it as containerd 2.3 does: a message, JSON, or a bare address.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        if let Ok(result) = BootstrapResult::decode(bytes)
            && result.version >= 2
        {
            return Self { version: result.version, address: result.address, protocol: result.protocol };
        }
        let text = std::str::from_utf8(bytes).expect("JSON or an address").trim();
        match serde_json::from_str::<Value>(text) {
            Ok(json) => Self {
                version: i32::try_from(json["version"].as_i64().expect("a version")).expect("a small one"),
                address: json["address"].as_str().expect("an address").to_owned(),
                protocol: json["protocol"].as_str().expect("a protocol").to_owned(),
            },
            Err(_) => Self { version: 2, address: text.to_owned(), protocol: "ttrpc".into() },
        }
    }

    /// The path of the socket.
    pub(crate) fn socket(&self) -> PathBuf {
        PathBuf::from(self.address.strip_prefix("unix://").expect("a socket of the file system"))
    }
}

/// What `delete` printed.
#[track_caller]
pub(crate) fn delete_response(bytes: &[u8]) -> DeleteResponse {
    DeleteResponse::decode(bytes).expect("`delete` prints a DeleteResponse and nothing else")
}
