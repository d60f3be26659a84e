//! The service under its name of version 3.

use gantry_proto_shim::any::Any;
use gantry_proto_shim::bootstrap::{BootstrapParams, Extension};
use gantry_proto_shim::options::Options;
use gantry_proto_shim::process::Status;
use gantry_proto_shim::task::{
    CreateTaskResponse, DeleteRequest, DeleteResponse, KillRequest, SERVICE_V3, StartRequest, StartResponse,
    StateRequest, StateResponse, WaitRequest, WaitResponse, method,
};
use gantry_proto_shim::{Message, any::Empty};
use gantry_testkit::{Bundle, Need, require};

use crate::harness::{Daemon, Expect, Io, Task, name_of, ours};

#[test]
fn a_life_under_version_3() {
    ours!("containerd 1.6 has version 2 alone");
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle = Bundle::new().sleeping();
    let id = name_of(&bundle);
    let params = BootstrapParams {
        instance_id: id.clone(),
        namespace: daemon.namespace().to_owned(),
        containerd_ttrpc_address: daemon.ttrpc_address().display().to_string(),
        containerd_grpc_address: daemon.address().display().to_string(),
        extensions: vec![Extension { value: Some(Any::pack(&Options::default())) }],
        ..BootstrapParams::default()
    };
    let shim = daemon.connect(&daemon.start(&id, &bundle, params.encode_to_vec()), &id);
    let task = Task::new(&daemon, std::sync::Arc::clone(&shim), bundle, id.clone());
    let create = task.create_request(Io::default());
    let created: CreateTaskResponse = shim.call_service(SERVICE_V3, method::CREATE, &create).good();
    shim.ask(&id).good();
    let exec_id = String::new();
    let start = StartRequest { id: id.clone(), exec_id: exec_id.clone() };
    let started: StartResponse = shim.call_service(SERVICE_V3, method::START, &start).good();
    assert_eq!(started.pid, created.pid);
    let state = StateRequest { id: id.clone(), exec_id: exec_id.clone() };
    let state: StateResponse = shim.call_service(SERVICE_V3, method::STATE, &state).good();
    assert_eq!(state.status, Status::Running as i32);
    let kill = KillRequest { id: id.clone(), exec_id: exec_id.clone(), signal: 9, all: false };
    shim.call_service::<_, Empty>(SERVICE_V3, method::KILL, &kill).good();
    let wait = WaitRequest { id: id.clone(), exec_id: exec_id.clone() };
    let ended: WaitResponse = shim.call_service(SERVICE_V3, method::WAIT, &wait).good();
    assert_eq!(ended.exit_status, 137);
    let delete = DeleteRequest { id, exec_id };
    let deleted: DeleteResponse = shim.call_service(SERVICE_V3, method::DELETE, &delete).good();
    assert_eq!((deleted.exit_status, deleted.pid), (137, created.pid));
}

#[test]
fn both_versions_see_the_same_container() {
    ours!("containerd 1.6 has version 2 alone");
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let request = StateRequest { id: task.id.clone(), exec_id: String::new() };
    let state: StateResponse = task.shim.call_service(SERVICE_V3, method::STATE, &request).good();
    assert_eq!(state, task.state());
}
