//! Checkpoints, where criu is.

use gantry_proto_shim::any::{Any, Empty};
use gantry_proto_shim::options::CheckpointOptions;
use gantry_proto_shim::task::{CheckpointTaskRequest, method};
use gantry_testkit::{Bundle, Need, require};

use crate::harness::{Daemon, Expect, Io, is_ours};

#[test]
fn a_container_goes_on_from_its_checkpoint() {
    require!(Need::Root, Need::Program("criu"));
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    // A daemon makes it for whatever a shim wants to keep on disk.
    task.bundle.make_dir("work");
    let images = daemon.path("images");
    std::fs::create_dir(&images).unwrap();
    let options = CheckpointOptions { exit: true, ..CheckpointOptions::default() };
    let path = images.display().to_string();
    let request =
        CheckpointTaskRequest { id: task.id.clone(), path: path.clone(), options: Some(Any::pack(&options)) };
    task.shim.call::<_, Empty>(method::CHECKPOINT, &request).good();
    task.wait();
    task.delete();
    if is_ours() {
        // The reference knows the event and never sends it.
        daemon.events().until(&task.id, |event| event.kind == "checkpointed");
    }
    let mut restored = task.create_request(Io::default());
    restored.checkpoint = path;
    task.shim.call::<_, gantry_proto_shim::task::CreateTaskResponse>(method::CREATE, &restored).good();
    assert!(task.start() > 1);
    task.kill(9);
    assert_eq!(task.wait(), 137);
    task.delete();
}
