use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use gantry_proto_shim::Message;
use gantry_proto_shim::any::Empty;
use gantry_proto_shim::task::{ConnectRequest, ConnectResponse, SERVICE_V2, ShutdownRequest, method};
use gantry_ttrpc::client::Options;
use gantry_ttrpc::{CallError, Client, Code};
use rustix::process::{Pid, Signal, kill_process};

use super::binary::{Answer, is_ours};

/// How long a test waits for an answer before it says that there is none.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A shim that runs, and our connection to it.
#[derive(Debug)]
pub(crate) struct Shim {
    answer: Answer,
    client: Client,
    /// The container that it was started for.
    id: String,
    /// Known once a container was asked for; 0 before.
    pid: AtomicU32,
    killed: AtomicBool,
}

/// The end of a call that a test expects.
pub(crate) trait Expect<T> {
    /// Whatever was answered; it must be an answer.
    fn good(self) -> T;
    /// It must have failed with this code.
    fn fails(self, code: Code);
}

impl<T: std::fmt::Debug> Expect<T> for Result<T, CallError> {
    #[track_caller]
    fn good(self) -> T {
        match self {
            Ok(answer) => answer,
            Err(error) => panic!("{error}: {:?}", error.status()),
        }
    }

    #[track_caller]
    fn fails(self, code: Code) {
        match self {
            Ok(answer) => panic!("{answer:?} instead of {code:?}"),
            Err(error) => match error.status() {
                // containerd 1.6 loses the codes of some errors.
                Some(status) if status.code == Code::Unknown as i32 && !is_ours() => {}
                Some(status) => assert_eq!(status.code, code as i32, "{status:?} instead of {code:?}"),
                None => panic!("{error} instead of {code:?}"),
            },
        }
    }
}

impl Shim {
    #[track_caller]
    pub(crate) fn connect(answer: Answer, id: &str) -> Self {
        assert_eq!(answer.protocol, "ttrpc");
        let client = Client::connect(&answer.socket()).expect("the socket is served when `start` has ended");
        let (pid, killed) = (AtomicU32::new(0), AtomicBool::new(false));
        let shim = Self { answer, client, id: id.to_owned(), pid, killed };
        // It serves when it answers, whatever that is; before, it may still read its bundle.
        let _ = shim.ask(id);
        shim
    }

    pub(crate) fn answer(&self) -> &Answer {
        &self.answer
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Calls a method of the Task service, version 2.
    pub(crate) fn call<A: Message, B: Message + Default>(
        &self,
        method: &str,
        request: &A,
    ) -> Result<B, CallError> {
        self.call_service(SERVICE_V2, method, request)
    }

    pub(crate) fn call_service<A: Message, B: Message + Default>(
        &self,
        service: &str,
        method: &str,
        request: &A,
    ) -> Result<B, CallError> {
        self.client.call_with(service, method, request, &Options::default().timeout(TIMEOUT))
    }

    /// Connect: the shim's process and the container's.
    pub(crate) fn ask(&self, id: &str) -> Result<ConnectResponse, CallError> {
        let answer: ConnectResponse = self.call(method::CONNECT, &ConnectRequest { id: id.to_owned() })?;
        self.pid.store(answer.shim_pid, Ordering::Relaxed);
        Ok(answer)
    }

    /// Its process; 0 if it is gone and nobody has ever asked it.
    pub(crate) fn pid(&self) -> u32 {
        if self.pid.load(Ordering::Relaxed) == 0 {
            self.pid.store(find(&self.id).unwrap_or(0), Ordering::Relaxed);
        }
        self.pid.load(Ordering::Relaxed)
    }

    /// Shutdown, which ends it if it has no container.
    pub(crate) fn shutdown(&self, now: bool) -> Result<Empty, CallError> {
        self.call(method::SHUTDOWN, &ShutdownRequest { id: String::new(), now })
    }

    /// Shutdown with no look at the answer: the shim may end before it is sent.
    pub(crate) fn end(&self) {
        if !self.is_gone() {
            let _ = self.shutdown(false);
        }
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&self) {
        let pid = self.pid().cast_signed();
        self.killed.store(true, Ordering::Relaxed);
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    pub(crate) fn was_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    /// Whether its process has ended, reaped or not.
    pub(crate) fn is_gone(&self) -> bool {
        match self.pid() {
            0 => true,
            pid => is_gone(pid),
        }
    }
}

/// The shim that was started for a container: the first process with its name among the arguments.
fn find(id: &str) -> Option<u32> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_name = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = words.split(|byte| *byte == 0);
        let program = words.next().unwrap_or_default();
        String::from_utf8_lossy(program).contains("containerd-shim")
            && words.any(|word| word == id.as_bytes())
    };
    pids.filter(|pid| has_name(pid) && !is_gone(*pid)).min()
}

/// Whether a process has ended, reaped or not.
pub(crate) fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}
