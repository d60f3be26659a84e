//! The daemon executes its binary again, with its sockets, while clients come all the time.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gantry_e2e::{Caller, Gantryd, IMAGE, image_archive, require_engine};
use gantry_proto_containerd::events::ContainerUpdate;
use gantry_proto_containerd::events_service::SubscribeRequest;
use gantry_proto_containerd::events_service::events_client::EventsClient;
use gantry_proto_containerd::header;
use gantry_testkit::{Invocation, shim_binary, until, until_true, until_within};

use super::remains::assert_all_gone;
use super::{Case, NAMESPACE, ours};

/// Clients that change something, each its own container.
const WRITERS: usize = 3;
const READERS: usize = 2;
/// What each of them has done at least between one binary and the next.
const STEPS: u64 = 4;
/// How long a binary may take to be executed, with the requests that are open.
const UPGRADE: Duration = Duration::from_secs(30);
/// How long somebody may wait for an answer: while nobody accepts, he waits in the kernel's queue.
const ANSWER: Duration = Duration::from_secs(30);
const TICK: &str = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done";

/// The directory of a daemon's binary, with its shim beside it.
struct Binaries {
    dir: tempfile::TempDir,
}

impl Binaries {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shim = shim_binary();
        std::os::unix::fs::symlink(&shim, dir.path().join(shim.file_name().unwrap())).unwrap();
        let binaries = Self { dir };
        binaries.install();
        binaries
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("gantryd")
    }

    /// Puts another copy of the daemon in the place of the last one, as package managers do; its inode.
    fn install(&self) -> u64 {
        let new = self.dir.path().join(".new");
        fs::copy(gantry_testkit::runtime_binary().with_file_name("gantryd"), &new).unwrap();
        self.replace(&new)
    }

    /// The same for a program that cannot be a daemon.
    fn install_broken(&self) -> u64 {
        let new = self.dir.path().join(".new");
        fs::write(&new, "#!/bin/sh\nexit 3\n").unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        self.replace(&new)
    }

    fn replace(&self, new: &Path) -> u64 {
        fs::rename(new, self.path()).unwrap();
        self.path().metadata().unwrap().ino()
    }
}

/// The file that a process executes.
fn executed(pid: u32) -> u64 {
    fs::metadata(format!("/proc/{pid}/exe")).unwrap().ino()
}

/// `gantryd upgrade`, by a binary that works.
fn upgrade(daemon: &Gantryd) {
    let binary = gantry_testkit::runtime_binary().with_file_name("gantryd");
    let config = daemon.root().with_file_name("config.toml");
    Invocation::new(binary).arg("--config").arg(config).arg("upgrade").run().ok();
}

/// What clients did, until it is over.
#[derive(Default)]
struct Clients {
    over: AtomicBool,
    /// What was refused, with what was said.
    refused: Mutex<Vec<String>>,
    /// How often each of them was answered.
    answered: Mutex<[u64; WRITERS + READERS + 1]>,
}

impl Clients {
    /// Calls again and again.
    fn repeat(&self, number: usize, mut call: impl FnMut(u64) -> Result<(), String>) {
        let mut count = 0;
        while !self.over.load(Ordering::SeqCst) {
            match call(count + 1) {
                Ok(()) => count += 1,
                Err(said) => return self.refused.lock().unwrap().push(said),
            }
            self.answered.lock().unwrap()[number] = count;
        }
    }

    /// Waits until everybody has been answered some more times.
    fn go_on(&self) {
        let before = *self.answered.lock().unwrap();
        until_within(ANSWER, "clients to be answered", || {
            let now = *self.answered.lock().unwrap();
            let refused = self.refused.lock().unwrap();
            assert!(refused.is_empty(), "{refused:#?}");
            let mut pairs = now.iter().zip(&before);
            pairs.all(|(now, before)| *now >= before + STEPS).then_some(())
        });
    }
}

/// Whether a command of `ctr` was refused.
fn told(call: Invocation) -> Result<(), String> {
    let output = call.limit(ANSWER).run();
    if output.status.success() { Ok(()) } else { Err(output.to_string()) }
}

/// `GET /_ping` of Docker's API over a connection of its own.
fn ping(socket: &Path) -> Result<(), String> {
    let ask = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    match ask() {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("OK") => Ok(()),
        Ok(answer) => Err(format!("ping: {answer:?}")),
        Err(error) => Err(format!("ping: {error}")),
    }
}

/// A subscriber who comes again with his last cursor whenever he is cut off: the updates of containers, as (container, number),
/// until each of `last` was seen. And how often he has subscribed.
fn subscribe(caller: &Caller, since: u64, last: impl Fn() -> Option<[u64; WRITERS]>) -> (Vec<Update>, usize) {
    let (mut cursor, mut seen, mut times) = (since, Vec::new(), 0);
    let is_whole = |seen: &[Update]| {
        last().is_some_and(|last| (0..WRITERS).all(|n| seen.contains(&(writer(n), last[n]))))
    };
    let end = Instant::now() + 4 * UPGRADE;
    while !is_whole(&seen) {
        assert!(Instant::now() < end, "the events do not come: {seen:?}");
        times += 1;
        caller.run(async |channel| {
            let filters = vec!["topic==/containers/update".to_owned()];
            let mut request = caller.request(SubscribeRequest { filters });
            request.metadata_mut().insert(header::SINCE, cursor.into());
            // On a connection that the one before has just accepted it is cut off before it begins.
            let Ok(answer) = EventsClient::new(channel).subscribe(request).await else { return };
            let mut stream = answer.into_inner();
            loop {
                let next = tokio::time::timeout(Duration::from_millis(100), stream.message()).await;
                match next {
                    Ok(Ok(Some(envelope))) => {
                        assert!(envelope.cursor > cursor, "{} after {cursor}", envelope.cursor);
                        cursor = envelope.cursor;
                        let update: ContainerUpdate = envelope.event.unwrap().unpack().unwrap().unwrap();
                        seen.push((update.id, update.labels["n"].parse().unwrap()));
                    }
                    // Cut off, in one of both ways.
                    Ok(_) => return,
                    Err(_) if is_whole(&seen) => return,
                    Err(_) => {}
                }
            }
        });
    }
    (seen, times)
}

type Update = (String, u64);

fn writer(number: usize) -> String {
    format!("u-writer{number}")
}

/// The lines that a container writes, by its FIFO, which nobody else reads any more.
fn stream(dir: &Path) -> BufReader<File> {
    let fifo = until("the FIFO", || {
        let dirs = fs::read_dir(dir).unwrap().flatten();
        let mut files = dirs.flat_map(|dir| fs::read_dir(dir.path()).into_iter().flatten().flatten());
        files.find(|file| file.file_name().to_string_lossy().ends_with("-stdout")).map(|file| file.path())
    });
    BufReader::new(File::open(fifo).unwrap())
}

/// The next number; the one after `last`, if there was one.
fn tick(stream: &mut BufReader<File>, last: &mut Option<u64>) {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let number = line.trim().parse().unwrap_or_else(|error| panic!("{line:?}: {error}"));
    assert!(last.is_none_or(|last| last + 1 == number), "{number} after {last:?}");
    *last = Some(number);
}

#[test]
fn a_daemon_is_replaced_while_clients_come_and_none_is_refused() {
    require_engine!("ctr");
    ours!();
    let binaries = Binaries::new();
    let daemon = Gantryd::stopped("gt-upgrade", "");
    daemon.set_binary(&binaries.path());
    daemon.start();
    let tenant = daemon.namespace(NAMESPACE);
    tenant.ctr(["images", "import"]).arg(image_archive()).run().ok();
    for number in 0..WRITERS {
        tenant.ctr(["containers", "create", IMAGE, &writer(number), "true"]).run().ok();
    }
    let case = Case::new(&daemon, "u-stream");
    let fifos = tempfile::tempdir().unwrap();
    case.run(&["--detach", "--fifo-dir", fifos.path().to_str().unwrap()], &["sh", "-c", TICK]).run().ok();
    let (mut stream, mut last) = (stream(fifos.path()), None);
    // What was cut off when its reader changed.
    stream.read_line(&mut String::new()).unwrap();
    tick(&mut stream, &mut last);

    let (pid, first, process) = (daemon.pid(), binaries.path().metadata().unwrap().ino(), case.pid());
    let docker = daemon.state().join("docker.sock");
    let sockets = [daemon.socket(), &docker].map(|path| path.symlink_metadata().unwrap().ino());
    let since = case.caller().journal(0).last().map_or(0, |seen| seen.cursor);
    let (clients, ended) = (Clients::default(), AtomicBool::new(false));
    let (seen, times) = thread::scope(|scope| {
        let mut all = Vec::new();
        for number in 0..WRITERS {
            let label = move |count: u64| {
                let (id, label) = (writer(number), format!("n={count}"));
                told(tenant.ctr(["containers", "label", &id, &label]))
            };
            let clients = &clients;
            all.push(scope.spawn(move || clients.repeat(number, label)));
        }
        for number in WRITERS..WRITERS + READERS {
            let clients = &clients;
            all.push(scope.spawn(move || clients.repeat(number, |_| told(tenant.ctr(["task", "ls"])))));
        }
        all.push(scope.spawn(|| clients.repeat(WRITERS + READERS, |_| ping(&docker))));
        let caller = case.caller();
        let last = || {
            let answered = *clients.answered.lock().unwrap();
            ended.load(Ordering::SeqCst).then(|| std::array::from_fn(|number| answered[number]))
        };
        let subscriber = scope.spawn(move || subscribe(&caller, since, last));

        // Whatever fails below, those who repeat end.
        let whole = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            clients.go_on();
            binaries.install_broken();
            upgrade(&daemon);
            daemon.settles("it to be refused", || daemon.log().contains("the binary cannot take over"));
            clients.go_on();
            assert_eq!((daemon.pid(), executed(pid)), (pid, first), "{}", daemon.log());
            for _ in 0..2 {
                let next = binaries.install();
                upgrade(&daemon);
                until_within(UPGRADE, "the next binary", || (executed(pid) == next).then_some(()));
                clients.go_on();
            }
        }));
        clients.over.store(true, Ordering::SeqCst);
        let joined = all.into_iter().all(|client| client.join().is_ok());
        ended.store(true, Ordering::SeqCst);
        let seen = subscriber.join();
        if let Err(panic) = whole {
            eprintln!("{}", daemon.log());
            std::panic::resume_unwind(panic);
        }
        assert!(joined, "a client panicked");
        seen.unwrap()
    });

    let refused = clients.refused.into_inner().unwrap();
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(!daemon.has_ended(), "{}", daemon.log());
    // Each change was told once, and in its order.
    for (number, count) in (0..WRITERS).zip(clients.answered.into_inner().unwrap()) {
        let told = seen.iter().filter(|(id, _)| *id == writer(number)).map(|(_, number)| *number);
        assert_eq!(told.collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>(), "{}", writer(number));
    }
    assert!(times >= 3, "subscribed {times} times");
    // More than a FIFO holds: what was written meanwhile, and what is written now.
    let now = Instant::now();
    while now.elapsed() < Duration::from_millis(200) {
        tick(&mut stream, &mut last);
    }
    assert_eq!((case.status().as_str(), case.pid()), ("RUNNING", process));
    case.runs_execs("e");
    let now = [daemon.socket(), &docker].map(|path| path.symlink_metadata().unwrap().ino());
    assert_eq!(now, sockets);

    case.remove(137);
    for number in 0..WRITERS {
        tenant.ctr(["containers", "rm", &writer(number)]).run().ok();
    }
    until_true("snapshots of containers to go", || tenant.snapshots().iter().all(|key| key.contains(':')));
    assert_all_gone(&daemon);
    assert!(daemon.stop(), "{}", daemon.log());
    // The files of the sockets are still its own.
    assert!(!daemon.socket().exists() && !docker.exists());
}
