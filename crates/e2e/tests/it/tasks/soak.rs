//! Random operations on many containers at once, shims that are killed, and a daemon that is: nothing is lost, and nothing stays.
//!
//! `GANTRY_SOAK_SECONDS` says for how long, some seconds without it; `GANTRY_SOAK_SEED` repeats a run as far as chance allows:
//! `scripts/soak.sh`.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gantry_e2e::{Api, Gantryd, require_engine};
use gantry_proto_containerd::events::TaskExit;

use super::loaded;
use super::remains::{assert_all_gone, shims};

const CLIENTS: usize = 4;
/// How long it takes where nobody says it.
const LENGTH_SECONDS: u64 = 4;
/// How often the daemon is killed, and a shim.
const DAEMON_LIFE: Duration = Duration::from_secs(15);
const SHIM_LIFE: Duration = Duration::from_millis(700);
/// Looks at the daemon's memory at the ends of its lives.
const SETTLE: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "default";

/// A sequence that a number repeats: splitmix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    operations: AtomicU64,
    refused: AtomicU64,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_operations_leave_nothing() {
    require_engine!("ctr");
    super::ours!();
    let length = Duration::from_secs(number("GANTRY_SOAK_SECONDS").unwrap_or(LENGTH_SECONDS));
    let seed = number("GANTRY_SOAK_SEED").unwrap_or(1);
    let daemon = loaded("gt-task-soak");
    let tenant = daemon.namespace(NAMESPACE);
    tenant.ctr(["images", "import"]).arg(gantry_e2e::image_archive()).run().ok();
    tenant.ctr(["containers", "create", gantry_e2e::IMAGE, "model", "/bin/true"]).run().ok();
    let end = Instant::now() + length;
    let shared = Arc::new(Shared::default());
    let mut memory = Vec::new();
    let mut chance = Chance(seed);
    let (mut lives, mut ends) = (0, Ends::default());
    while Instant::now() < end {
        // A short run has both kinds of ends, too.
        let life = (Instant::now() + DAEMON_LIFE.min(length / 2)).min(end);
        shared.over.store(false, Ordering::SeqCst);
        let api = Api::connect(daemon.socket(), CONNECT).unwrap();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (shared, api) = (Arc::clone(&shared), api.clone());
                let seed = chance.below(u64::MAX);
                thread::spawn(move || work(&api, &shared, &format!("soak-{lives}-{client}"), seed))
            })
            .collect();
        while Instant::now() < life {
            thread::sleep(SHIM_LIFE);
            kill_a_shim(&daemon, &mut chance);
        }
        // Every second life ends while the clients are at work.
        let sudden = lives % 2 == 1;
        if sudden {
            daemon.kill();
        }
        shared.over.store(true, Ordering::SeqCst);
        let mut left = Vec::new();
        for client in clients {
            match client.join() {
                Ok(more) => left.extend(more),
                Err(_) => panic!("a client panicked\n{}", daemon.log()),
            }
        }
        if sudden {
            daemon.start();
        }
        clear(&daemon, &left);
        ends.check(&daemon);
        if !sudden {
            thread::sleep(SETTLE.min(length / 4));
            memory.push(anonymous_kib(daemon.pid()));
        }
        lives += 1;
    }
    let (operations, refused) = (&shared.operations, &shared.refused);
    println!(
        "{} operations, {} of them refused, in {lives} lives of the daemon; its memory in KiB {memory:?}",
        operations.load(Ordering::Relaxed),
        refused.load(Ordering::Relaxed)
    );
    tenant.ctr(["containers", "rm", "model"]).run().ok();
    assert_all_gone(&daemon);
}

/// Random operations on one container after the other; returns those that are still there.
fn work(api: &Api, shared: &Shared, name: &str, seed: u64) -> Vec<String> {
    let mut chance = Chance(seed);
    let mut left = Vec::new();
    let mut count = 0;
    let model = api.block_on(api.model("io.containerd.gantry.v2", None, &["/bin/sleep", "1000"]));
    let Ok(model) = model else { return left };
    while !shared.over.load(Ordering::SeqCst) {
        count += 1;
        let id = format!("{name}-{count}");
        left.push(id.clone());
        let whole = api.block_on(async {
            let does = |what: &'static str| Doing { api, shared, what, id: id.clone() };
            let mounts = does("prepare").counted(api.prepare(&model, &id)).await?;
            does("start").counted(api.start(&id, mounts, None)).await?;
            for step in 0..chance.below(8) {
                match chance.below(6) {
                    0 | 1 => {
                        let exec = format!("e{step}");
                        does("exec").counted(api.exec(&id, &exec, &["/bin/true"])).await?;
                    }
                    2 => does("pause").counted(api.pause(&id)).await?,
                    3 => does("state").counted(api.state(&id)).await.map(drop)?,
                    4 => does("metrics").counted(api.metrics()).await.map(drop)?,
                    _ => does("count").counted(api.count()).await.map(drop)?,
                }
            }
            does("remove").counted(api.remove(&id)).await
        });
        // A shim that was killed takes an operation with it; what it leaves is removed with the rest.
        if whole.is_some() {
            left.pop();
        }
    }
    left
}

/// What is done with a container.
struct Doing<'a> {
    api: &'a Api,
    shared: &'a Shared,
    what: &'static str,
    id: String,
}

impl Doing<'_> {
    async fn counted<T>(self, call: impl Future<Output = Result<T, tonic::Status>>) -> Option<T> {
        let Self { api, shared, what, id } = self;
        shared.operations.fetch_add(1, Ordering::Relaxed);
        let Ok(result) = tokio::time::timeout(CONNECT, call).await else {
            let state = tokio::time::timeout(CONNECT, api.state(&id)).await;
            panic!("{what} of {id} hangs; its state and exit status: {state:?}");
        };
        if let Err(status) = &result {
            println!("{what} of {id}: {status}");
            shared.refused.fetch_add(1, Ordering::Relaxed);
        }
        result.ok()
    }
}

fn kill_a_shim(daemon: &Gantryd, chance: &mut Chance) {
    let socket = daemon.socket().display().to_string();
    let all: Vec<u32> = super::remains::shims_with(&[&socket]).into_iter().collect();
    if !all.is_empty() {
        let index = usize::try_from(chance.below(all.len() as u64)).unwrap();
        // It may have ended just now.
        if let Some(pid) = rustix::process::Pid::from_raw(all[index].cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Removes containers that were left, by the client that people use.
fn clear(daemon: &Gantryd, left: &[String]) {
    let tenant = daemon.namespace(NAMESPACE);
    for id in left {
        let said =
            [["task", "rm", "--force", id].as_slice(), &["containers", "rm", id], &["snapshots", "rm", id]]
                .map(|words| tenant.ctr(words).run().to_string());
        let end = Instant::now() + gantry_testkit::DEADLINE;
        while !shims(id).is_empty() {
            let log = daemon.log();
            let about: Vec<_> = log.lines().filter(|line| line.contains(id.as_str())).collect();
            assert!(Instant::now() < end, "the shim of {id} stays: {said:#?}\n{about:#?}");
            thread::sleep(Duration::from_millis(2));
        }
    }
    let tasks = tenant.ctr(["task", "ls", "--quiet"]).run().ok();
    assert_eq!(tasks.lines(), [""; 0], "tasks are left");
}

/// What the journal said of ends.
#[derive(Default)]
struct Ends {
    cursor: u64,
    /// How often each was told: of a container and exec, and a process.
    told: BTreeMap<(String, u32), u32>,
    started: usize,
    firsts: usize,
}

impl Ends {
    /// Reads on: the end of each process is told once, and every container that was started has one.
    fn check(&mut self, daemon: &Gantryd) {
        for seen in daemon.namespace(NAMESPACE).caller().journal(self.cursor) {
            self.cursor = seen.cursor;
            match seen.topic.as_str() {
                "/tasks/exit" => {
                    let exit: TaskExit = seen.event.unpack().unwrap().unwrap();
                    let first = exit.container_id == exit.id;
                    let told = self.told.entry((exit.container_id + "/" + &exit.id, exit.pid)).or_default();
                    *told += 1;
                    assert_eq!(*told, 1, "{} of process {} ended more than once", exit.id, exit.pid);
                    self.firsts += usize::from(first);
                }
                "/tasks/start" => self.started += 1,
                _ => {}
            }
        }
        let (started, firsts) = (self.started, self.firsts);
        assert!(firsts >= started, "{started} containers were started, and {firsts} have ended");
    }
}

/// Memory that is not a file's.
fn anonymous_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
