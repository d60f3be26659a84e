//! What was heard of processes, and of whom.

use gantry_metadata::{Database, Options, Task, TaskState, Timestamp, namespaces, sources, tasks};
use gantry_types::ErrorKind;

use crate::fixture::{Store, kind, namespace};

fn ended(container: &str, exec: &str) -> Task {
    Task {
        state: TaskState::Stopped,
        exit_status: 137,
        exited: Some(Timestamp::from_second(7).unwrap()),
        cause: vec![0, 255],
        ..Task::new(container, exec, u32::MAX)
    }
}

#[test]
fn task_is_kept_as_it_was_last_heard_of() {
    let store = Store::new();
    let ns = namespace("a");
    store
        .write(|change| {
            tasks::record(change, &namespace("a"), &Task::new("c", "", 5))?;
            tasks::record(change, &namespace("a"), &Task::new("c", "e", 0))?;
            tasks::record(change, &namespace("b"), &Task::new("c", "", 6))?;
            tasks::record(change, &namespace("a"), &ended("c", ""))
        })
        .unwrap();
    let task = store.read(|view| tasks::get(view, &ns, "c", "")).unwrap();
    assert_eq!(task, Task { boot: "boot-1".into(), ..ended("c", "") });
    let listed = store.read(|view| tasks::list(view, &ns)).unwrap();
    let names: Vec<_> = listed.iter().map(|task| (task.exec.as_str(), task.state)).collect();
    assert_eq!(names, [("", TaskState::Stopped), ("e", TaskState::Created)]);
    let all = store.read(tasks::list_all).unwrap();
    assert_eq!(all.iter().map(|(ns, _)| ns.as_str()).collect::<Vec<_>>(), ["a", "a", "b"]);
    store.database.check().unwrap();
}

#[test]
fn execs_go_with_their_container_and_not_without_it() {
    let store = Store::new();
    let exec = |id: &'static str| {
        store.write(move |change| tasks::record(change, &namespace("a"), &Task::new("c", id, 0)))
    };
    assert_eq!(kind(exec("e")), ErrorKind::NotFound);
    exec("").unwrap();
    exec("e").unwrap();
    exec("f").unwrap();
    assert_eq!(kind(exec("not one")), ErrorKind::InvalidArgument);
    let remove =
        |id: &'static str| store.write(move |change| tasks::remove(change, &namespace("a"), "c", id));
    remove("e").unwrap();
    assert_eq!(store.read(|view| tasks::list(view, &namespace("a"))).unwrap().len(), 2);
    remove("").unwrap();
    remove("").unwrap();
    assert!(store.read(tasks::list_all).unwrap().is_empty());
    store.database.check().unwrap();
}

#[test]
fn execs_that_ended_long_ago_go() {
    let store = Store::new();
    store
        .write(|change| {
            let ns = namespace("a");
            tasks::record(change, &ns, &ended("c", ""))?;
            tasks::record(change, &ns, &ended("c", "old"))?;
            tasks::record(change, &ns, &Task { exited: Some(change.now()), ..ended("c", "new") })?;
            tasks::record(change, &ns, &Task::new("c", "runs", 5))?;
            tasks::remove_ended_execs(change, &ns, "c", Timestamp::from_second(8).unwrap())
        })
        .unwrap();
    let left = store.read(|view| tasks::list(view, &namespace("a"))).unwrap();
    assert_eq!(left.iter().map(|task| task.exec.as_str()).collect::<Vec<_>>(), ["", "new", "runs"]);
}

#[test]
fn namespace_with_a_task_stays() {
    let store = Store::new();
    store.write(|change| tasks::record(change, &namespace("a"), &Task::new("c", "", 5))).unwrap();
    let delete = || store.write(|change| namespaces::delete(change, &namespace("a")));
    let error = delete().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.to_string().contains("tasks"), "{error}");
    store.write(|change| tasks::remove(change, &namespace("a"), "c", "")).unwrap();
    delete().unwrap();
}

#[test]
fn task_of_an_earlier_boot_is_told_by_it() {
    let store = Store::new();
    store
        .write(|change| {
            tasks::record(change, &namespace("a"), &Task::new("old", "", 5))?;
            tasks::record(change, &namespace("a"), &Task::new("new", "", 5))
        })
        .unwrap();
    let Store { database, directory } = store;
    drop(database);
    let database = Database::open(directory.path(), Options::new("boot-2")).unwrap();
    database.write(|change| tasks::record(change, &namespace("a"), &Task::new("new", "", 6))).unwrap();
    let listed = database.read(|view| tasks::list(view, &namespace("a"))).unwrap();
    let boots: Vec<_> = listed.iter().map(|task| (task.container.as_str(), task.boot.as_str())).collect();
    assert_eq!(boots, [("new", "boot-2"), ("old", "boot-1")]);
}

#[test]
fn event_is_taken_once() {
    let store = Store::new();
    let accept =
        |name: &'static str, number: u64| store.write(move |change| sources::accept(change, name, number));
    for (number, expected) in [(1, true), (1, false), (3, true), (2, false), (3, false)] {
        assert_eq!(accept("pod", number).unwrap(), expected, "{number}");
    }
    assert!(accept("other", 1).unwrap());
    store.write(|change| sources::forget(change, "pod")).unwrap();
    assert!(accept("pod", 1).unwrap());
    assert!(!accept("other", 1).unwrap());
    assert_eq!(kind(accept("", 1)), ErrorKind::InvalidArgument);
    assert_eq!(kind(accept("pod", u64::MAX)), ErrorKind::InvalidArgument);
}
