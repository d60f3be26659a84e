//! Subscribers that are slow, and a database of a later version.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use gantry_e2e::{Caller, Gantryd, require_engine};
use gantry_proto_containerd::events_service::events_client::EventsClient;
use gantry_proto_containerd::events_service::{PublishRequest, SubscribeRequest};
use gantry_proto_containerd::{Any, header};
use gantry_testkit::Invocation;
use tonic::{Code, Status};

use super::{NAMESPACE, ours};

/// How many events the journals of these tests keep.
const ROWS: usize = 500;
/// How long the next event may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What an event says, in bytes.
const SIZE: usize = 4096;
/// More than wait for a subscriber: 4,096 in the daemon, and 2 MiB on their way.
const QUEUED: usize = 4800;
/// How many are on their way at once.
const AT_ONCE: usize = 64;

fn publish(caller: &Caller, count: usize) {
    caller.run(async |channel| {
        let mut sent = tokio::task::JoinSet::new();
        for _ in 0..count {
            if sent.len() >= AT_ONCE {
                sent.join_next().await.unwrap().unwrap();
            }
            let event = Any { type_url: "gantry.tests.Many".into(), value: vec![7; SIZE].into() };
            let request = caller.request(PublishRequest { topic: "/tests/many".into(), event: Some(event) });
            let mut client = EventsClient::new(channel.clone());
            sent.spawn(async move { client.publish(request).await.unwrap() });
        }
        while let Some(done) = sent.join_next().await {
            done.unwrap();
        }
    });
}

/// The cursors that a subscription gives from `since` on, at most `limit`, and how it ended before that.
fn read(
    caller: &Caller,
    since: Option<u64>,
    wait: &Receiver<()>,
    limit: usize,
) -> (Vec<u64>, Option<Status>) {
    caller.run(async |channel| {
        let filters = vec!["topic==/tests/many".to_owned()];
        let mut request = caller.request(SubscribeRequest { filters });
        if let Some(since) = since {
            request.metadata_mut().insert(header::SINCE, since.into());
        }
        let mut stream = match EventsClient::new(channel).subscribe(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return (Vec::new(), Some(status)),
        };
        // Nothing of this connection moves meanwhile.
        let _ = wait.recv();
        let mut cursors = Vec::new();
        while cursors.len() < limit {
            let Ok(message) = tokio::time::timeout(PATIENCE, stream.message()).await else { break };
            match message {
                Ok(Some(envelope)) => cursors.push(envelope.cursor),
                Ok(None) => break,
                Err(status) => return (cursors, Some(status)),
            }
        }
        (cursors, None)
    })
}

fn at_once() -> Receiver<()> {
    channel().1
}

fn memory_kib(daemon: &Gantryd) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

type Slow = JoinHandle<(Vec<u64>, Option<Status>)>;

/// A subscriber who reads nothing until he is told to.
fn slow(caller: &Caller) -> (std::sync::mpsc::Sender<()>, Slow) {
    let (tell, wait) = channel();
    let caller = caller.clone();
    let reader = std::thread::spawn(move || read(&caller, None, &wait, usize::MAX));
    (tell, reader)
}

/// A daemon whose journal keeps [`ROWS`] events: by a file of our own, which the other one imports.
fn with_short_journal(name: &str) -> Gantryd {
    let daemon = Gantryd::stopped(name, "");
    let config = daemon.root().with_file_name("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("imports = [\"short.toml\"]\n{text}")).unwrap();
    fs::write(config.with_file_name("short.toml"), format!("[limits.events]\nrows = {ROWS}\n")).unwrap();
    daemon.start();
    daemon
}

#[test]
fn a_subscriber_that_does_not_read_is_told_that_it_has_missed_something() {
    require_engine!("ctr");
    ours!();
    let daemon = with_short_journal("gt-slow");
    let caller = daemon.namespace(NAMESPACE).caller();
    publish(&caller, 100);
    let (tell, reader) = slow(&caller);
    publish(&caller, QUEUED);
    let before = memory_kib(&daemon);
    publish(&caller, 4 * ROWS);
    let grown = memory_kib(&daemon) - before;
    tell.send(()).unwrap();
    let (cursors, status) = reader.join().unwrap();
    assert!(cursors.is_sorted_by(|a, b| a + 1 == *b), "something was left out");
    let status =
        status.unwrap_or_else(|| panic!("no refusal after {} events: {:?}", cursors.len(), cursors.last()));
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert!(grown < 16 << 10, "{grown} KiB for events that nobody reads");
    // It names what is there; from there on it goes on.
    let numbers = status.message().split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
    let numbers: Vec<u64> = numbers.collect();
    let [_, first, last] = numbers[..] else { panic!("{status:?}") };
    let (_, status) = read(&caller, cursors.last().copied(), &at_once(), 1);
    assert_eq!(status.map(|status| status.code()), Some(Code::OutOfRange));
    let (rest, status) = read(&caller, Some(first), &at_once(), (last - first) as usize);
    assert!(status.is_none() && rest.last() == Some(&last), "{status:?}");
}

#[test]
fn a_subscriber_that_has_gone_goes_on_where_it_was() {
    require_engine!("ctr");
    ours!();
    let daemon = Gantryd::with_config("gt-resume", "");
    let caller = daemon.namespace(NAMESPACE).caller();
    let begin = caller.journal(0).last().map_or(0, |seen| seen.cursor);
    publish(&caller, 300);
    let (first, _) = read(&caller, Some(begin), &at_once(), 10);
    publish(&caller, 300);
    daemon.kill();
    daemon.start();
    let (rest, _) = read(&caller, first.last().copied(), &at_once(), 590);
    assert_eq!((first.len(), rest.len()), (10, 590));
    assert!([first, rest].concat().is_sorted_by(|a, b| a < b));
}

#[test]
fn a_database_of_a_later_version_is_refused_by_name() {
    require_engine!("ctr");
    ours!();
    let daemon = Gantryd::with_config("gt-newer", "");
    assert!(daemon.stop(), "{}", daemon.log());
    // The user version of SQLite's header.
    let path = daemon.root().join("meta.db");
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&99_u32.to_be_bytes(), 60).unwrap();
    let binary = gantry_testkit::runtime_binary().with_file_name("gantryd");
    let config = daemon.root().with_file_name("config.toml");
    let refused = Invocation::new(binary).arg("--config").arg(config).run().fails();
    let text = format!("{}{}", refused.stdout, refused.stderr);
    assert!(text.contains("schema version 99") && text.contains("use a newer one"), "{text}");
}
