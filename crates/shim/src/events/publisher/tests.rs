use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use gantry_proto_shim::Message;
use gantry_proto_shim::any::Timestamp;
use gantry_proto_shim::events::{TaskExit, TaskOOM};
use gantry_proto_shim::forward::Envelope;
use gantry_ttrpc::server::{Call, Server, serve};
use gantry_ttrpc::{Code, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;

/// A pod's journal and publisher, and where its daemon would be.
struct Fixture {
    dir: tempfile::TempDir,
    socket: PathBuf,
    journal: Journal,
    publisher: Publisher,
    /// Runs ahead of the real one.
    now: Instant,
}

/// Longer than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

impl Fixture {
    fn new() -> Self {
        Self::with_socket("daemon.sock")
    }

    fn with_socket(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join(name);
        let journal = Journal::open(dir.path()).unwrap();
        let publisher = Publisher::new("pod".into(), Some(&socket)).unwrap();
        Self { dir, socket, journal, publisher, now: Instant::now() }
    }

    fn publish(&mut self, name: &str) {
        let event = TaskOOM { container_id: name.into() };
        self.journal.append(&Envelope::of("ns", Timestamp::default(), &event)).unwrap();
        self.publisher.poke();
    }

    fn drive(&mut self) {
        self.publisher.drive(&mut self.journal, self.now).unwrap();
    }

    /// Waits as the shim's loop does; whether the descriptor was readable.
    fn wait(&mut self, limit: Duration) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.publisher.fd(), PollFlags::IN)];
        let timeout = Timespec::try_from(limit).unwrap();
        let readable = poll(&mut fds, Some(&timeout)).unwrap() > 0;
        if readable {
            self.publisher.ready();
        }
        readable
    }

    /// Drives until it is so; pauses pass at once.
    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        loop {
            self.drive();
            if done(self) {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "it does not come to pass: {:?}", self.publisher);
            match &self.publisher.state {
                State::Pausing(until) => self.now = *until,
                _ => drop(self.wait(Duration::from_secs(1))),
            }
        }
    }

    fn until_delivered(&mut self) {
        self.until(|fixture| fixture.journal.waiting() == 0);
    }
}

/// A daemon that answers, and tells what it got: the number, and the container.
fn daemon(socket: &Path, answer: impl Fn(u64) -> Result<(), Status> + Send + Sync + 'static) -> Daemon {
    let (sender, received) = channel();
    let sender: Mutex<Sender<(u64, String)>> = Mutex::new(sender);
    let server = serve(socket, move |call| {
        let got = event(call);
        sender.lock().unwrap().send(got.clone()).unwrap();
        answer(got.0).map(|()| Vec::new())
    });
    Daemon { _server: server.unwrap(), received }
}

struct Daemon {
    _server: Server,
    received: Receiver<(u64, String)>,
}

impl Daemon {
    fn received(&self) -> Vec<(u64, String)> {
        self.received.try_iter().collect()
    }
}

fn event(call: &Call) -> (u64, String) {
    assert_eq!((call.service.as_str(), call.method.as_str()), (SERVICE, FORWARD));
    assert_eq!(call.timeout, Some(ANSWER_TIMEOUT));
    let request: ForwardRequest = call.message().unwrap();
    let event: TaskOOM = request.envelope.unwrap().event.unwrap().unpack().unwrap();
    let (pod, sequence) = call.metadata(METADATA).unwrap().split_once('/').unwrap();
    assert_eq!(pod, "pod");
    (sequence.parse().unwrap(), event.container_id)
}

fn numbered(names: &[&str]) -> Vec<(u64, String)> {
    (1..).zip(names).map(|(number, name)| (number, (*name).to_owned())).collect()
}

#[test]
fn events_arrive_in_order() {
    let mut pod = Fixture::new();
    let daemon = daemon(&pod.socket, |_| Ok(()));
    for name in ["a", "b", "c"] {
        pod.publish(name);
    }
    pod.until_delivered();
    // The connection is kept.
    pod.publish("d");
    assert!(matches!(pod.publisher.state, State::Connected(_)));
    pod.until_delivered();
    assert_eq!(daemon.received(), numbered(&["a", "b", "c", "d"]));
    assert!(pod.publisher.deadline().is_none() && pod.publisher.watch.is_none());
}

#[test]
fn absent_daemon_is_tried_ten_times_and_then_not_waited_for() {
    let mut pod = Fixture::new();
    pod.publish("a");
    let mut pauses = Vec::new();
    loop {
        pod.drive();
        let Some(deadline) = pod.publisher.deadline() else { break };
        pauses.push(deadline - pod.now);
        pod.now = deadline;
    }
    assert_eq!(pauses.len(), 9);
    assert!(pauses.is_sorted() && pauses[8] == LAST_PAUSE && pauses[0] == FIRST_PAUSE);
    assert!(pod.publisher.has_given_up());
    assert!(!pod.wait(Duration::ZERO));
    // A new event is a reason to try once.
    pod.publish("b");
    pod.drive();
    assert!(pod.publisher.has_given_up());
    // The socket is another one.
    let daemon = daemon(&pod.socket, |_| Ok(()));
    assert!(pod.wait(PATIENCE));
    pod.until_delivered();
    assert_eq!(daemon.received(), numbered(&["a", "b"]));
    assert!(pod.publisher.watch.is_none());
}

#[test]
fn socket_of_a_directory_that_is_made_later_is_found() {
    let mut pod = Fixture::with_socket("run/containerd/daemon.sock");
    pod.publish("a");
    pod.until(|pod| pod.publisher.has_given_up());
    std::fs::create_dir_all(pod.socket.parent().unwrap()).unwrap();
    // It watches the new directory from now on.
    assert!(pod.wait(PATIENCE));
    pod.drive();
    assert!(pod.publisher.has_given_up());
    let served = daemon(&pod.socket, |_| Ok(()));
    pod.until_delivered();
    assert_eq!(served.received(), numbered(&["a"]));
    // And it may go and come back, directory and all.
    drop(served);
    std::fs::remove_dir_all(pod.dir.path().join("run")).unwrap();
    pod.publish("b");
    pod.until(|pod| pod.publisher.has_given_up());
    std::fs::create_dir_all(pod.socket.parent().unwrap()).unwrap();
    let served = daemon(&pod.socket, |_| Ok(()));
    pod.until_delivered();
    assert_eq!(served.received(), [(2, "b".to_owned())]);
}

/// Takes one connection, and answers so many of its events before it breaks off with one unanswered.
fn break_off_after(listener: UnixListener, answered: usize) -> std::thread::JoinHandle<Vec<u64>> {
    use std::io::{Read, Write};
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut connection, mut seen) = (gantry_ttrpc::server::Connection::new(), Vec::new());
        let mut buffer = [0; 4096];
        loop {
            let length = stream.read(&mut buffer).unwrap();
            let mut input = &buffer[..length];
            while let Some(call) = connection.receive(&mut input) {
                seen.push(event(&call).0);
                if seen.len() > answered {
                    return seen;
                }
                connection.respond_encoded(call.stream, Ok(b""));
            }
            stream.write_all(connection.output()).unwrap();
            connection.consume(connection.output().len());
        }
    })
}

#[test]
fn daemon_that_dies_between_event_and_answer_gets_it_again() {
    let mut pod = Fixture::new();
    let dying = break_off_after(UnixListener::bind(&pod.socket).unwrap(), 2);
    for name in ["a", "b", "c", "d", "e"] {
        pod.publish(name);
    }
    pod.until(|pod| matches!(pod.publisher.state, State::Pausing(_)));
    assert_eq!(dying.join().unwrap(), [1, 2, 3]);
    assert_eq!(pod.journal.waiting(), 3);
    std::fs::remove_file(&pod.socket).unwrap();
    let daemon = daemon(&pod.socket, |_| Ok(()));
    pod.until_delivered();
    assert_eq!(daemon.received(), numbered(&["a", "b", "c", "d", "e"])[2..]);
}

#[test]
fn next_shim_sends_what_the_last_one_did_not() {
    let mut pod = Fixture::new();
    let dying = break_off_after(UnixListener::bind(&pod.socket).unwrap(), 1);
    for name in ["a", "b", "c"] {
        pod.publish(name);
    }
    pod.until(|pod| matches!(pod.publisher.state, State::Pausing(_)));
    dying.join().unwrap();
    std::fs::remove_file(&pod.socket).unwrap();
    pod.journal = Journal::open(pod.dir.path()).unwrap();
    pod.publisher = Publisher::new("pod".into(), Some(&pod.socket)).unwrap();
    pod.publish("d");
    let daemon = daemon(&pod.socket, |_| Ok(()));
    pod.until_delivered();
    assert_eq!(daemon.received(), numbered(&["a", "b", "c", "d"])[1..]);
}

#[test]
fn restart_of_an_idle_daemon_is_no_failure() {
    let mut pod = Fixture::new();
    let first = daemon(&pod.socket, |_| Ok(()));
    pod.publish("a");
    pod.until_delivered();
    drop(first);
    assert!(pod.wait(PATIENCE));
    pod.drive();
    assert!(matches!(pod.publisher.state, State::Resting));
    assert_eq!((pod.publisher.tries, pod.publisher.deadline()), (0, None));
    assert!(!pod.wait(Duration::ZERO));
    std::fs::remove_file(&pod.socket).unwrap();
    let second = daemon(&pod.socket, |_| Ok(()));
    pod.publish("b");
    pod.until_delivered();
    assert_eq!(second.received(), [(2, "b".to_owned())]);
}

#[test]
fn daemon_that_does_not_answer_is_left_after_its_time() {
    let mut pod = Fixture::new();
    let silent = UnixListener::bind(&pod.socket).unwrap();
    pod.publish("a");
    pod.drive();
    assert_eq!(pod.publisher.deadline(), Some(pod.now + ANSWER_TIMEOUT));
    pod.now += ANSWER_TIMEOUT;
    pod.drive();
    assert_eq!(pod.publisher.deadline(), Some(pod.now + FIRST_PAUSE));
    assert_eq!(pod.journal.waiting(), 1);
    drop(silent);
}

#[test]
fn daemon_that_hangs_up_is_not_called_all_the_time() {
    let mut pod = Fixture::new();
    let listener = UnixListener::bind(&pod.socket).unwrap();
    let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            drop(stream);
        }
    });
    pod.publish("a");
    pod.until(|pod| pod.publisher.has_given_up());
    assert!(count.load(std::sync::atomic::Ordering::SeqCst) <= MAX_TRIES);
    assert_eq!(pod.journal.waiting(), 1);
}

#[test]
fn event_that_is_invalid_to_the_daemon_does_not_hold_up_the_others() {
    let mut pod = Fixture::new();
    let refuse = |sequence| match sequence {
        2 => Err(Status::new(Code::InvalidArgument, "no")),
        _ => Ok(()),
    };
    let daemon = daemon(&pod.socket, refuse);
    for name in ["a", "b", "c"] {
        pod.publish(name);
    }
    pod.until_delivered();
    assert_eq!(daemon.received(), numbered(&["a", "b", "c"]));
    assert_eq!(pod.publisher.refused(), 1);
}

#[test]
fn event_that_is_refused_for_now_is_sent_again_before_the_next() {
    let mut pod = Fixture::new();
    let refusals = Mutex::new(3);
    let daemon = daemon(&pod.socket, move |_| {
        let mut left = refusals.lock().unwrap();
        *left -= i32::from(*left > 0);
        if *left > 0 { Err(Status::new(Code::Unavailable, "later")) } else { Ok(()) }
    });
    pod.publish("a");
    pod.publish("b");
    pod.until_delivered();
    let numbers: Vec<u64> = daemon.received().into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [1, 1, 1, 2]);
    assert_eq!(pod.publisher.refused(), 0);
}

#[test]
fn event_that_is_always_refused_is_given_up() {
    let mut pod = Fixture::new();
    let refuse = |sequence| match sequence {
        1 => Err(Status::new(Code::Unknown, "never")),
        _ => Ok(()),
    };
    let daemon = daemon(&pod.socket, refuse);
    pod.publish("a");
    pod.publish("b");
    pod.until_delivered();
    assert_eq!(daemon.received().len(), MAX_TRIES as usize + 1);
    assert_eq!(pod.publisher.refused(), 1);
}

#[test]
fn event_longer_than_the_socket_takes_at_once_arrives() {
    let mut pod = Fixture::new();
    let daemon = daemon(&pod.socket, |_| Ok(()));
    let name = "x".repeat(1 << 20);
    pod.publish(&name);
    pod.publish("b");
    pod.until_delivered();
    assert_eq!(daemon.received(), numbered(&[&name, "b"]));
}

#[test]
fn pod_without_a_daemon_waits_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let mut publisher = Publisher::new("pod".into(), None).unwrap();
    journal.append(&Envelope::of("ns", Timestamp::default(), &TaskExit::default())).unwrap();
    publisher.poke();
    publisher.drive(&mut journal, Instant::now()).unwrap();
    assert!(publisher.has_given_up() && publisher.deadline().is_none());
    assert!(Publisher::new("pod".into(), Some(Path::new(&"x".repeat(200)))).is_err());
    let envelope = journal.first().unwrap().unwrap().envelope;
    assert_eq!(Envelope::decode(&*envelope).unwrap().topic, "/tasks/exit");
}
