//! The codes of what is refused, as clients look at them.

use gantry_e2e::{Caller, on_reference, require_engine};
use gantry_proto_containerd::Any;
use gantry_proto_containerd::any::json;
use gantry_proto_containerd::tasks::tasks_client::TasksClient;
use gantry_proto_containerd::tasks::{
    CreateTaskRequest, DeleteProcessRequest, DeleteTaskRequest, ExecProcessRequest, GetRequest, KillRequest,
    StartRequest, WaitRequest,
};
use tonic::Code;

use super::{Case, shared};

/// The code that a call of the Tasks service is answered with.
macro_rules! code {
    ($caller:expr, $method:ident, $request:expr) => {{
        let caller: &Caller = &$caller;
        let request = $request;
        let answer =
            caller.run(async |channel| TasksClient::new(channel).$method(caller.request(request)).await);
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    }};
}

/// Shims of containerd 1.6 have no code for it.
fn is_precondition(code: Code) -> bool {
    code == Code::FailedPrecondition || on_reference() && code == Code::Unknown
}

#[test]
fn what_is_not_there_is_not_found() {
    require_engine!("ctr");
    let caller = shared().namespace(super::NAMESPACE).caller();
    let container_id = || "t-nowhere".to_owned();
    let exec_id = String::new;
    assert_eq!(
        code!(caller, get, GetRequest { container_id: container_id(), exec_id: exec_id() }),
        Code::NotFound
    );
    assert_eq!(
        code!(caller, wait, WaitRequest { container_id: container_id(), exec_id: exec_id() }),
        Code::NotFound
    );
    assert_eq!(code!(caller, delete, DeleteTaskRequest { container_id: container_id() }), Code::NotFound);
    let kill = KillRequest { container_id: container_id(), signal: 9, ..KillRequest::default() };
    assert_eq!(code!(caller, kill, kill), Code::NotFound);
    let create = CreateTaskRequest { container_id: container_id(), ..CreateTaskRequest::default() };
    assert_eq!(code!(caller, create, create), Code::NotFound);
}

#[test]
fn a_running_task_is_neither_removed_nor_made_again() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-refused");
    case.detached(&["sleep", "1000"]);
    case.task(&["rm"]).run().fails().says("must be stopped before deletion");
    let caller = case.caller();
    let delete = || DeleteTaskRequest { container_id: case.id.clone() };
    assert!(is_precondition(code!(caller, delete, delete())));
    let create = CreateTaskRequest { container_id: case.id.clone(), ..CreateTaskRequest::default() };
    assert_eq!(code!(caller, create, create), Code::AlreadyExists);
    let start = StartRequest { container_id: case.id.clone(), ..StartRequest::default() };
    assert_ne!(code!(caller, start, start), Code::Ok);
    assert_eq!(case.status(), "RUNNING");
    case.tenant().ctr(["containers", "rm", &case.id]).run().says("cannot delete a non stopped container");
    assert_eq!(case.status(), "RUNNING");
    case.kill("SIGKILL");
    case.wait_for("STOPPED");
    let kill = KillRequest { container_id: case.id.clone(), signal: 9, ..KillRequest::default() };
    assert_eq!(code!(caller, kill, kill), Code::NotFound);
    assert_eq!(code!(caller, delete, delete()), Code::Ok);
    assert_eq!(code!(caller, delete, delete()), Code::NotFound);
    case.remove_record();
}

#[test]
fn execs_have_names_of_their_own() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-execname");
    case.detached(&["sleep", "1000"]);
    case.exec("e", &["--detach"], &["sleep", "1000"]).run().ok();
    let caller = case.caller();
    let spec =
        Any { type_url: json::PROCESS.into(), value: br#"{"args":["true"],"cwd":"/"}"#.as_slice().into() };
    let exec = |exec: &str| ExecProcessRequest {
        container_id: case.id.clone(),
        exec_id: exec.to_owned(),
        spec: Some(spec.clone()),
        ..ExecProcessRequest::default()
    };
    assert_eq!(code!(caller, exec, exec("e")), Code::AlreadyExists);
    assert_eq!(code!(caller, exec, exec("")), Code::InvalidArgument);
    assert_eq!(code!(caller, exec, exec("../e")), Code::InvalidArgument);
    let delete =
        |exec: &str| DeleteProcessRequest { container_id: case.id.clone(), exec_id: exec.to_owned() };
    assert_eq!(code!(caller, delete_process, delete("none")), Code::NotFound);
    assert!(is_precondition(code!(caller, delete_process, delete("e"))));
    let get = |exec: &str| GetRequest { container_id: case.id.clone(), exec_id: exec.to_owned() };
    assert_eq!(code!(caller, get, get("none")), Code::NotFound);
    assert_eq!(code!(caller, get, get("e")), Code::Ok);
    case.remove(137);
}
