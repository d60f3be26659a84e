use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gantry_testkit::peer_shim;

use crate::Message;
use crate::any::{Any, FEATURES, Named, Timestamp, UnpackError};
use crate::bootstrap::{BootstrapParams, Extension, LogLevel};
use crate::events::{Event, SandboxExit, TaskExit, TaskOOM};
use crate::forward::{Envelope, ForwardRequest};
use crate::info::RuntimeInfo;
use crate::metrics_v2;
use crate::options::{GenericOptions, Options};
use crate::own::Cause;
use crate::process::{ProcessInfo, Status};
use crate::task::{CreateTaskRequest, StateResponse, UpdateTaskRequest};

/// Both ways, against bytes that were worked out by hand from the encoding's definition.
fn check<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, bytes: &[u8]) {
    assert_eq!(message.encode_to_vec(), bytes);
    assert_eq!(&M::decode(bytes).unwrap(), message);
}

#[test]
fn exit_event_is_laid_out_as_containerd_lays_it_out() {
    let exit = TaskExit {
        container_id: "c".into(),
        id: "e".into(),
        pid: 300,
        exit_status: 137,
        exited_at: Some(Timestamp { seconds: 1, nanos: 2 }),
        cause: None,
    };
    let bytes = b"\x0a\x01c\x12\x01e\x18\xac\x02\x20\x89\x01\x2a\x04\x08\x01\x10\x02";
    check(&exit, bytes);
    let cause = Cause { signal: 9, by_request: true, text: "t".into(), ..Cause::default() };
    let more = [&bytes[..], b"\xc2\x3e\x07\x08\x09\x10\x01\x52\x01t"].concat();
    check(&TaskExit { cause: Some(cause), ..exit }, &more);
}

#[test]
fn envelope_carries_the_topic_and_the_bare_name() {
    let envelope =
        Envelope::of("ns", Timestamp { seconds: 5, nanos: 0 }, &TaskOOM { container_id: "c".into() });
    let event = b"\x0a\x19containerd.events.TaskOOM\x12\x03\x0a\x01c";
    let bytes = [&b"\x0a\x02\x08\x05\x12\x02ns\x1a\x0a/tasks/oom\x22\x20"[..], event].concat();
    check(&envelope, &bytes);
    let request = ForwardRequest { envelope: Some(envelope.clone()) };
    assert_eq!(ForwardRequest::around(&envelope.encode_to_vec()), request.encode_to_vec());
    assert_eq!(SandboxExit::TOPIC, "/sandboxes/exit");
}

#[test]
fn state_has_its_status_at_four_and_its_exec_at_eleven() {
    let state = StateResponse {
        id: "c".into(),
        pid: 1,
        status: Status::Stopped.into(),
        terminal: true,
        exec_id: "x".into(),
        ..Default::default()
    };
    check(&state, b"\x0a\x01c\x18\x01\x20\x03\x40\x01\x5a\x01x");
    assert_eq!(state.status(), Status::Stopped);
}

#[test]
fn maps_and_bytes_are_laid_out_as_entries() {
    let update = UpdateTaskRequest {
        id: "c".into(),
        resources: Some(Any::json("u", b"{}".to_vec())),
        annotations: [("k".to_owned(), "v".to_owned())].into(),
    };
    check(&update, b"\x0a\x01c\x12\x07\x0a\x01u\x12\x02{}\x1a\x06\x0a\x01k\x12\x01v");
}

#[test]
fn negative_levels_take_ten_bytes() {
    let params = BootstrapParams {
        log_level: LogLevel::Debug.into(),
        socket_dir: Some(String::new()),
        ..Default::default()
    };
    check(&params, b"\x18\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x01\x4a\x00");
}

#[test]
fn pressure_is_doubles() {
    let psi = metrics_v2::PsiData { avg10: 0.5, total: 1, ..Default::default() };
    check(&psi, b"\x09\x00\x00\x00\x00\x00\x00\xe0\x3f\x20\x01");
}

#[test]
fn counters_of_one_are_packed_and_of_none_are_nothing() {
    let usage = crate::metrics_v1::CpuUsage { per_cpu: vec![1, 300], ..Default::default() };
    check(&usage, b"\x22\x03\x01\xac\x02");
    check(&ProcessInfo { pid: 0, info: None }, b"");
}

#[test]
fn fields_of_later_versions_are_skipped() {
    let create = CreateTaskRequest::decode(&b"\x0a\x01c\xfa\x01\x03new\x50\x01"[..]);
    // Field 10 has another type here: an error, not a guess.
    assert!(create.is_err());
    let create = CreateTaskRequest::decode(&b"\x0a\x01c\xfa\x01\x03new"[..]).unwrap();
    assert_eq!(create.id, "c");
}

#[test]
fn any_is_known_by_its_name_whatever_host_is_before_it() {
    let options = Options { binary_name: "crun".into(), ..Default::default() };
    let mut any = Any::pack(&options);
    assert_eq!(any.type_url, "containerd.runc.v1.Options");
    assert_eq!(any.unpack::<Options>().unwrap(), options);
    any.type_url.insert_str(0, "type.googleapis.com/");
    assert_eq!(any.unpack::<Options>().unwrap(), options);
    any.type_url.insert_str(20, "not.");
    assert!(matches!(any.unpack::<Options>(), Err(UnpackError::Type { .. })));
    let broken = Any { type_url: Options::TYPE_URL.into(), value: vec![0xff] };
    assert!(matches!(broken.unpack::<Options>(), Err(UnpackError::Decode { .. })));
}

#[test]
fn extension_is_found_by_its_type() {
    let generic = GenericOptions { config_path: "/x".into(), ..Default::default() };
    let mut params = BootstrapParams::default();
    assert_eq!(params.extension::<GenericOptions>(), Ok(None));
    params.extensions = [Any::pack(&Options::default()), Any::pack(&generic)]
        .map(|value| Extension { value: Some(value) })
        .into();
    assert_eq!(params.extension(), Ok(Some(generic)));
}

#[test]
fn times_go_both_ways() {
    let check = |seconds, nanos, time: SystemTime| {
        let stamp = Timestamp { seconds, nanos };
        assert_eq!(Timestamp::from(time), stamp);
        assert_eq!(SystemTime::try_from(stamp), Ok(time));
    };
    check(0, 0, UNIX_EPOCH);
    check(7, 9, UNIX_EPOCH + Duration::new(7, 9));
    check(-1, 999_999_999, UNIX_EPOCH - Duration::from_nanos(1));
    check(-2, 0, UNIX_EPOCH - Duration::from_secs(2));
    for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, i32::MAX)] {
        assert!(SystemTime::try_from(Timestamp { seconds, nanos }).is_err(), "{seconds} {nanos}");
    }
}

#[test]
fn containerd_shim_says_what_it_is() {
    let output = Command::new(peer_shim!()).arg("-info").stdin(Stdio::null()).output().unwrap();
    let info = RuntimeInfo::decode(&*output.stdout).unwrap();
    assert_eq!(info.name, "io.containerd.runc.v2");
    assert!(info.version.is_some_and(|version| !version.version.is_empty()));
    let features = info.features.unwrap();
    assert!(features.names(FEATURES), "{}", features.type_url);
    assert_eq!(features.value[0], b'{');
}
