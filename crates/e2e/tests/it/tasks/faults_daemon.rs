//! The daemon is killed at each step of a task's life.

use std::time::{Duration, Instant};

use gantry_e2e::{Gantryd, require_engine};
use gantry_primitives::failpoint::{EVENT_PLACE, TASK_PLACES};
use gantry_proto_containerd::events::{TaskCreate, TaskDelete, TaskExecStarted, TaskExit};
use gantry_testkit::{Invocation, until, until_true};

use super::remains::assert_all_gone;
use super::{Case, DEBIAN, NAMESPACE, loaded, ours};

/// What the journal tells of a container's processes, in order: the first one's by topic alone, those of execs with their names.
pub(super) fn told(daemon: &Gantryd, id: &str) -> Vec<String> {
    let journal = daemon.namespace(NAMESPACE).caller().journal(0);
    let told = journal.iter().filter_map(|seen| {
        let event = &seen.event;
        let (container, exec) = match seen.topic.as_str() {
            "/tasks/create" => (event.unpack::<TaskCreate>().unwrap()?.container_id, String::new()),
            "/tasks/delete" => (event.unpack::<TaskDelete>().unwrap()?.container_id, String::new()),
            "/tasks/exec-started" => {
                let TaskExecStarted { container_id, exec_id, .. } = event.unpack().unwrap()?;
                (container_id, exec_id)
            }
            "/tasks/exit" => {
                let TaskExit { container_id, id, .. } = event.unpack().unwrap()?;
                let exec = if id == container_id { String::new() } else { id };
                (container_id, exec)
            }
            _ => return None,
        };
        let topic = seen.topic.trim_start_matches("/tasks/");
        (container == id).then(|| format!("{topic} {exec}").trim().to_owned())
    });
    told.collect()
}

/// Whether everything that began has ended, once.
pub(super) fn is_complete(told: &[String]) -> bool {
    let (execs, first): (Vec<_>, Vec<_>) =
        told.iter().map(String::as_str).partition(|word| word.contains(' '));
    let count = |wanted: &str| execs.iter().filter(|word| **word == wanted).count();
    let whole = first.chunks(3).all(|task| task == ["create", "exit", "delete"]);
    whole && count("exec-started e") == count("exit e")
}

/// The commands of a life, in order; each is begun when the one before has ended.
fn life<'a>(case: &'a Case<'_>) -> [Box<dyn Fn() -> Invocation + 'a>; 5] {
    [
        Box::new(|| case.run(&["--detach"], &["sleep", "1000"])),
        Box::new(|| case.exec("e", &[], &["true"])),
        Box::new(|| case.task(&["kill", "--signal", "SIGURG"])),
        Box::new(|| case.task(&["rm", "--force"])),
        Box::new(|| case.tenant().ctr(["containers", "rm", &case.id])),
    ]
}

/// Lives until the daemon dies; a client whose daemon has died would wait for it.
fn live_until_death(daemon: &Gantryd, case: &Case<'_>, place: &str) {
    for step in life(case) {
        let mut client = step().spawn();
        let died = until("the client or the daemon to end", || {
            if daemon.has_ended() { Some(true) } else { client.has_ended().then_some(false) }
        });
        if died {
            return;
        }
        let output = client.wait();
        // A removal tells the code of what it removed.
        assert!(output.code() == 0 || output.text().is_empty(), "before {place}: {output}");
    }
    // What follows the answer to a removal.
    daemon.settles(&format!("{place} to be reached"), || daemon.has_ended());
}

/// Removes what a client left that had no chance to remove it.
pub(super) fn remove_whatever_is_left(case: &Case<'_>) {
    let tenant = case.tenant();
    if tenant.ctr(["containers", "info", &case.id]).run().status.success() {
        if !case.status().is_empty() {
            let _ = case.task(&["rm", "--force"]).run();
        }
        until_true("the task to be gone", || case.status().is_empty());
        case.remove_record();
    }
    let _ = tenant.ctr(["snapshots", "rm", &case.id]).run();
    tenant.forget_clients();
}

/// The daemon dies at `place`, and comes again: what is there works, and can be removed and made again.
fn dies_at(daemon: &Gantryd, case: &Case<'_>, place: &str) {
    daemon.kill();
    daemon.set_failpoint(Some(place));
    daemon.start();
    live_until_death(daemon, case, place);
    daemon.set_failpoint(None);
    daemon.start();
    match case.status().as_str() {
        "RUNNING" => assert_eq!(case.exec("after", &[], &["echo", "in"]).run().ok().text(), "in", "{place}"),
        "" | "CREATED" | "STOPPED" => {}
        other => panic!("{place}: {other}"),
    }
    remove_whatever_is_left(case);
    let again = case.run(&["--rm"], &["echo", "again"]).run();
    assert!(again.status.success() && again.text() == "again", "{place}: {again}\n{}", daemon.log());
}

/// Whose shim a case has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Others,
}

fn dies_at_each(name: &str, id: &str, whose: Whose, places: impl IntoIterator<Item = String>) {
    let daemon = loaded(name);
    let case = match whose {
        Whose::Ours => Case::new(&daemon, id),
        Whose::Others => Case::of(&daemon, id, DEBIAN),
    };
    for place in places {
        let before = told(&daemon, id).len();
        dies_at(&daemon, &case, &place);
        assert_all_gone(&daemon);
        let since = || told(&daemon, id).split_off(before);
        match whose {
            Whose::Ours => {
                assert!(poll(|| is_complete(&since())), "{place}: {:?}\n{}", since(), daemon.log())
            }
            // They do not tell again what was not heard; the end is told by whoever removes.
            Whose::Others => {
                let exits = since().iter().filter(|word| *word == "exit").count();
                assert!(exits <= 2, "{place}: {:?}", since());
            }
        }
    }
}

/// Whether it becomes so.
fn poll(met: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        if met() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
    }
}

/// The places of whose names this is true.
fn places(wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    TASK_PLACES.into_iter().filter(move |place| wanted(place)).map(str::to_owned)
}

#[test]
fn a_daemon_that_dies_while_it_makes_a_task_leaves_it_or_nothing() {
    require_engine!("ctr");
    ours!();
    let making = ["bundle.begun", "bundle.filled", "bundle.made", "create."];
    let making = places(|place| making.iter().any(|start| place.starts_with(start)));
    dies_at_each("gt-fault-make", "f-make", Whose::Ours, making);
}

#[test]
fn a_daemon_that_dies_while_it_starts_a_shim_leaves_it_or_nothing() {
    require_engine!("ctr");
    ours!();
    let starting = places(|place| place.starts_with("shim.") && place != "shim.ended");
    dies_at_each("gt-fault-shim", "f-shim", Whose::Ours, starting);
}

#[test]
fn a_daemon_that_dies_while_a_task_is_used_finds_it_again() {
    require_engine!("ctr");
    ours!();
    let using = ["start.answered", "exec.answered", "kill.answered", "process.deleted"];
    let using = places(|place| using.contains(&place));
    let later = ["start.answered:2", "kill.answered:2"].map(str::to_owned);
    dies_at_each("gt-fault-use", "f-use", Whose::Ours, using.chain(later));
}

#[test]
fn a_daemon_that_dies_while_it_removes_a_task_leaves_nothing() {
    require_engine!("ctr");
    ours!();
    let removing = ["delete.", "shim.ended", "bundle.unmounted", "bundle.renamed", "bundle.removed"];
    let removing = places(|place| removing.iter().any(|start| place.starts_with(start)));
    dies_at_each("gt-fault-remove", "f-remove", Whose::Ours, removing);
}

/// Each event of a life is committed, and the shim does not hear of it.
#[test]
fn events_that_a_dead_daemon_did_not_acknowledge_are_told_once() {
    require_engine!("ctr");
    ours!();
    // Created, started, exec added, exec started, its exit, the exit, the deletion.
    let events = (1..=7).map(|time| format!("{EVENT_PLACE}:{time}"));
    dies_at_each("gt-fault-event", "f-event", Whose::Ours, events);
}

#[test]
fn a_daemon_that_dies_beside_a_shim_of_others_leaves_what_can_be_removed() {
    require_engine!("containerd-shim-runc-v2");
    ours!();
    let own =
        places(|place| !place.starts_with("shim.") && place != "process.deleted" && place != "exec.answered");
    dies_at_each("gt-fault-other", "f-other", Whose::Others, own);
}
