//! What subscribers hear.

use gantry_e2e::require_engine;
use gantry_testkit::{Running, until_true};

use super::{Case, NAMESPACE, shared};

/// `ctr events`, for what it says of one container.
pub(super) struct Listener {
    stream: Running,
    id: String,
}

impl Listener {
    pub(super) fn start(case: &Case<'_>) -> Self {
        let tenant = case.tenant();
        let stream = tenant.ctr(["events"]).spawn();
        let probe = format!("probe-{}", case.id);
        // Whoever subscribes late misses what was before: something harmless until it is seen.
        until_true("the stream to begin", || {
            tenant.ctr(["snapshots", "prepare", &probe]).run().ok();
            tenant.ctr(["snapshots", "rm", &probe]).run().ok();
            stream.stdout().contains(&probe)
        });
        Self { stream, id: case.id.clone() }
    }

    /// The events of the container's processes: topic, and what is said.
    pub(super) fn seen(&self) -> Vec<(String, String)> {
        let text = self.stream.stdout();
        let mine = format!("\"container_id\":\"{}\"", self.id);
        let lines = text.lines().filter(|line| line.contains(&mine));
        let parts = lines.filter_map(|line| line.split_once(&format!(" {NAMESPACE} "))?.1.split_once(' '));
        parts.map(|(topic, said)| (topic.to_owned(), said.to_owned())).collect()
    }

    pub(super) fn topics(&self) -> Vec<String> {
        self.seen().into_iter().map(|(topic, _)| topic).collect()
    }

    #[track_caller]
    pub(super) fn until(&self, topic: &str) {
        until_true(&format!("{topic} of {}", self.id), || self.topics().iter().any(|seen| seen == topic));
    }
}

#[test]
fn the_life_of_a_task_is_told_in_order() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-events");
    let listener = Listener::start(&case);
    case.detached(&["sleep", "1000"]);
    case.exec("e", &[], &["sh", "-c", "exit 4"]).run().exits(4);
    case.task(&["pause"]).run().ok();
    case.task(&["resume"]).run().ok();
    case.remove(137);
    listener.until("/tasks/delete");
    let expected = [
        "/tasks/create",
        "/tasks/start",
        "/tasks/exec-added",
        "/tasks/exec-started",
        "/tasks/exit",
        "/tasks/paused",
        "/tasks/resumed",
        "/tasks/exit",
        "/tasks/delete",
    ];
    // containerd tells of a deletion twice: its shim does, and itself.
    until_true("all events", || {
        let mut topics = listener.topics();
        topics.dedup();
        topics == expected
    });
    let exits: Vec<String> = listener
        .seen()
        .into_iter()
        .filter(|(topic, _)| topic == "/tasks/exit")
        .map(|(_, said)| said)
        .collect();
    assert!(exits[0].contains("\"id\":\"e\"") && exits[0].contains("\"exit_status\":4"), "{exits:?}");
    assert!(exits[1].contains("\"exit_status\":137"), "{exits:?}");
}
