//! The daemon and whoever starts, stops and watches it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gantry_proto_shim::any::{Empty, Timestamp};
use gantry_proto_shim::events::TaskStart;
use gantry_proto_shim::forward::{Envelope, FORWARD, ForwardRequest, SERVICE};
use gantry_testkit::{Invocation, Need, require, until};
use gantry_ttrpc::Client;
use gantry_ttrpc::client::Options;
use gantry_ttrpc::message::KeyValue;
use rustix::process::{Pid, Signal, kill_process};

pub(crate) const DAEMON: &str = env!("CARGO_BIN_EXE_gantryd");
/// How long a daemon may take to say something.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with a configuration, and the service manager's ear.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    manager: UnixDatagram,
}

impl Place {
    pub(crate) fn new(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let manager = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let place = Self { directory, manager };
        place.configure(more);
        place
    }

    pub(crate) fn configure(&self, more: &str) {
        let dir = self.directory.path().display();
        let text =
            format!("root = \"{dir}/root\"\nstate = \"{dir}/state\"\n[grpc]\naddress = \"{dir}/s\"\n{more}");
        std::fs::write(self.directory.path().join("config.toml"), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Gives the command what it needs, and its log a file.
    fn daemon(&self, command: &mut Command) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        command.env("NOTIFY_SOCKET", self.path("notify")).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    pub(crate) fn start(&self) -> Daemon<'_> {
        let mut command = Command::new(DAEMON);
        command.arg("--config").arg(self.path("config.toml")).stdin(Stdio::null());
        let daemon = Daemon { child: self.daemon(&mut command), place: self };
        assert!(self.heard().starts_with("READY=1"), "{}", self.log());
        daemon
    }

    /// What the daemon told the service manager next.
    fn heard(&self) -> String {
        let mut buffer = [0; 256];
        let length = loop {
            match self.manager.recv(&mut buffer) {
                Ok(length) => break length,
                // A socket with a time limit is not waited for again after a signal (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}\n{}", self.log()),
            }
        };
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

pub(crate) struct Daemon<'a> {
    child: Child,
    place: &'a Place,
}

impl Daemon<'_> {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it as a power cut does, but for the page cache.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as a service manager does.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.place.heard(), "STOPPING=1");
        assert!(self.child.wait().unwrap().success(), "{}", self.place.log());
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_daemon_says_when_it_serves_reloads_and_ends() {
    require!(Need::Root);
    let place = Place::new("");
    let daemon = place.start();
    let mode = |name: &str| place.path(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("s"), mode("s.ttrpc"), mode("root"), mode("state")), (0o660, 0o660, 0o700, 0o711));
    place.configure("[debug]\nlevel = \"debug\"\n");
    daemon.signal(Signal::HUP);
    assert!(place.heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(place.heard().starts_with("READY=1"));
    // A wrong one changes nothing, and is told.
    place.configure("[debug]\nlevel = \"loud\"\n");
    daemon.signal(Signal::HUP);
    assert!(place.heard().starts_with("RELOADING=1"));
    assert!(place.heard().starts_with("READY=1"));
    assert!(place.log().contains("config.toml:6"), "{}", place.log());
    daemon.stop();
    assert!(!place.path("s").exists() && !place.path("s.ttrpc").exists(), "a socket is left");
}

#[test]
fn a_root_has_one_daemon() {
    require!(Need::Root);
    let place = Place::new("");
    let daemon = place.start();
    let second = Invocation::new(DAEMON).arg("--config").arg(place.path("config.toml"));
    let pid = daemon.child.id().to_string();
    second.args(["--address"]).arg(place.path("other")).run().exits(1).says(&pid);
    daemon.stop();
}

#[test]
fn a_killed_daemons_socket_is_taken_over_and_its_identity_stays() {
    require!(Need::Root);
    let place = Place::new("");
    let mut daemon = place.start();
    let uuid = std::fs::read_to_string(place.path("root/uuid")).unwrap();
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    drop(daemon);
    assert!(place.path("s").exists());
    place.start().stop();
    assert_eq!(std::fs::read_to_string(place.path("root/uuid")).unwrap(), uuid);
}

/// Hands an event over as a shim does.
fn forward(client: &Client, number: u32) {
    let event = TaskStart { container_id: "c".into(), pid: number };
    let envelope = Envelope::of("n", Timestamp { seconds: 1, nanos: 0 }, &event);
    let metadata = vec![KeyValue { key: "gantry-event".into(), value: format!("pod/{number}") }];
    let options = Options { timeout: Some(PATIENCE), metadata };
    let request = ForwardRequest { envelope: Some(envelope) };
    client.call_with::<_, Empty>(SERVICE, FORWARD, &request, &options).unwrap();
}

#[test]
fn events_of_shims_are_taken_before_and_after_a_killed_daemon() {
    require!(Need::Root);
    let place = Place::new("");
    let mut daemon = place.start();
    let client = Client::connect(&place.path("s.ttrpc")).unwrap();
    forward(&client, 1);
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    drop(daemon);
    let daemon = place.start();
    let client = Client::connect(&place.path("s.ttrpc")).unwrap();
    // It does not know whether the first one was taken.
    forward(&client, 1);
    forward(&client, 2);
    // Its connection does not keep the daemon from ending.
    daemon.stop();
    drop(client);
}

#[test]
fn the_socket_for_events_may_be_the_service_managers_too() {
    require!(Need::Root);
    let place = Place::new("");
    let listener = UnixListener::bind(place.path("s.ttrpc")).unwrap();
    let mut command = Command::new("/bin/sh");
    let script = r#"export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@" 3<&0 0</dev/null"#;
    command.args(["-c", script, DAEMON, "--config"]).arg(place.path("config.toml"));
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    let daemon = Daemon { child: place.daemon(&mut command), place: &place };
    assert!(place.heard().starts_with("READY=1"), "{}", place.log());
    forward(&Client::connect(&place.path("s.ttrpc")).unwrap(), 1);
    daemon.stop();
    assert!(place.path("s.ttrpc").exists() && !place.path("s").exists());
}

#[test]
fn a_socket_of_the_service_manager_is_served_and_stays() {
    require!(Need::Root);
    let place = Place::new("");
    let listener = UnixListener::bind(place.path("s")).unwrap();
    // A client that came before the daemon.
    let mut early = UnixStream::connect(place.path("s")).unwrap();
    early.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut command = Command::new("/bin/sh");
    let script = r#"export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@" 3<&0 0</dev/null"#;
    command.args(["-c", script, DAEMON, "--config"]).arg(place.path("config.toml"));
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    let daemon = Daemon { child: place.daemon(&mut command), place: &place };
    assert!(place.heard().starts_with("READY=1"), "{}", place.log());
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut frame = [0; 9];
    early.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "the first frame of a server is its settings");
    drop(early);
    daemon.stop();
    assert!(place.path("s").exists(), "the service manager's socket is gone");
}

#[test]
fn a_stranger_is_refused_whatever_the_mode_of_the_socket() {
    require!(Need::Root, Need::Program("ctr"), Need::Program("setpriv"));
    let place = Place::new("");
    let daemon = place.start();
    for (name, mode) in [("", 0o755), ("s", 0o666)] {
        std::fs::set_permissions(place.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let version = |ids: &[&str]| {
        let call = Invocation::new("setpriv").args(ids).args(["ctr", "--connect-timeout", "2s", "--address"]);
        call.arg(place.path("s")).arg("version").run()
    };
    version(&["--reuid", "65534", "--regid", "65534", "--clear-groups"]).fails();
    assert!(place.log().contains("user 65534"), "{}", place.log());
    // The group of the socket may, as the first group and as another one.
    version(&["--reuid", "65534", "--regid", "0", "--clear-groups"]).ok();
    version(&["--reuid", "65534", "--regid", "65534", "--groups", "0"]).ok();
    daemon.stop();
}

#[test]
fn figures_are_told_over_http() {
    require!(Need::Root);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = Place::new(&format!("[metrics]\naddress = \"127.0.0.1:{port}\"\n"));
    let daemon = place.start();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    let answer = until("the figures", || get("/v1/metrics"));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("gantry_build_info"), "{answer}");
    assert!(get("/other").unwrap().starts_with("HTTP/1.1 404"));
    daemon.stop();
}

#[test]
fn a_wrong_configuration_is_refused_with_its_line() {
    let place = Place::new("[grpc2]\nx = 1\n");
    let call = Invocation::new(DAEMON).arg("--config").arg(place.path("config.toml"));
    call.run().exits(1).says("config.toml:5");
    Invocation::new(DAEMON).arg("--nonsense").run().exits(2).says("--nonsense");
}

#[test]
fn the_configuration_is_printed_as_it_counts() {
    let place = Place::new("");
    let dumped = Invocation::new(DAEMON)
        .args(["config", "dump", "--root", "/elsewhere", "--config"])
        .arg(place.path("config.toml"))
        .run()
        .ok();
    assert!(dumped.text().contains("root = \"/elsewhere\""), "{}", dumped.text());
    // What is printed can be read.
    std::fs::write(place.path("config.toml"), dumped.text()).unwrap();
    let again = Invocation::new(DAEMON).args(["config", "dump", "--config"]).arg(place.path("config.toml"));
    assert_eq!(again.run().ok().text(), dumped.text());
    Invocation::new(DAEMON).args(["config", "default"]).run().ok();
    Invocation::new(DAEMON).arg("--version").run().ok();
}

/// The names of the daemon's threads.
fn threads(daemon: &Daemon<'_>) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.child.id())).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

#[test]
fn without_a_collector_nothing_is_there_for_traces() {
    require!(Need::Root);
    let place = Place::new("");
    let daemon = place.start();
    assert!(!threads(&daemon).iter().any(|name| name.starts_with("OpenTelemetry")));
    daemon.stop();
}

#[test]
fn a_collector_that_is_away_holds_nothing_up() {
    require!(Need::Root);
    // One that takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new(&format!("[tracing]\nendpoint = \"http://{}\"\n", silent.local_addr().unwrap()));
    let daemon = place.start();
    assert!(threads(&daemon).iter().any(|name| name.starts_with("OpenTelemetry")));
    // The first collection has a span by then, and the end waits for it, but not long.
    gantry_testkit::until_true("the first export", || {
        silent.set_nonblocking(true).is_ok() && silent.accept().is_ok()
    });
    let begin = std::time::Instant::now();
    daemon.stop();
    assert!(begin.elapsed() < PATIENCE / 4, "{:?}", begin.elapsed());
    assert!(place.log().contains("the last spans are lost"), "{}", place.log());
}

#[test]
fn an_endpoint_that_is_no_url_is_an_error_with_its_line() {
    let place = Place::new("[tracing]\nendpoint = \"collector:4318\"\n");
    let daemon = Invocation::new(DAEMON).arg("--config").arg(place.path("config.toml"));
    daemon.run().exits(1).says("config.toml:6: tracing.endpoint");
}
