//! Many at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gantry_e2e::require_engine;
use gantry_testkit::until_true;

use super::remains::assert_all_gone;
use super::{Case, loaded};

const CONTAINERS: usize = 50;
const CLIENTS: usize = 8;

#[test]
fn fifty_containers_by_eight_clients() {
    require_engine!("ctr");
    let daemon = loaded("gt-task-many");
    let next = AtomicUsize::new(0);
    let descriptors = daemon.descriptors();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= CONTAINERS {
                        return;
                    }
                    let case = Case::new(&daemon, format!("t-many{n}"));
                    let script = format!("echo {n}; exit {}", n % 3);
                    let call = case.run(&["--rm"], &["sh", "-c", &script]).limit(Duration::from_secs(120));
                    assert_eq!(call.run().exits((n % 3).try_into().unwrap()).text(), n.to_string());
                }
            });
        }
    });
    assert_all_gone(&daemon);
    until_true("descriptors to be closed", || daemon.descriptors() <= descriptors + 2);
}

#[test]
fn fifty_that_run_at_the_same_time() {
    require_engine!("ctr");
    let daemon = loaded("gt-task-crowd");
    let cases: Vec<_> = (0..CONTAINERS).map(|n| Case::new(&daemon, format!("t-crowd{n}"))).collect();
    let each = |work: &(dyn Fn(&Case<'_>) + Sync)| {
        std::thread::scope(|scope| {
            for part in cases.chunks(CONTAINERS.div_ceil(CLIENTS)) {
                scope.spawn(move || part.iter().for_each(work));
            }
        });
    };
    each(&|case| case.detached(&["sleep", "1000"]));
    let listed = daemon.namespace(super::NAMESPACE).ctr(["task", "ls"]).run().ok();
    let running = listed.lines().iter().filter(|row| row.ends_with("RUNNING")).count();
    assert_eq!(running, CONTAINERS, "{listed}");
    each(&|case| {
        assert_eq!(case.hears("e", &[], &format!("echo {}", case.id), 0), [case.id.as_str()]);
        case.remove(137);
    });
    drop(cases);
    assert_all_gone(&daemon);
}
