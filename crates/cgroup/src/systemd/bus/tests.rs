use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use super::super::message::tests::incoming;
use super::*;

const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// A systemd that says what it is told to, whatever it is asked: each answer follows one message of ours.
fn peer(answers: Vec<Vec<u8>>) -> (tempfile::TempDir, String, JoinHandle<Vec<Vec<u8>>>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = vec![0; b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".len()];
        stream.read_exact(&mut hello).unwrap();
        let mut heard = vec![hello];
        let mut answers = answers.into_iter();
        stream.write_all(&answers.next().unwrap()).unwrap();
        for answer in answers {
            let mut message = vec![0; FIXED_BYTES];
            if stream.read_exact(&mut message).is_err() {
                break;
            }
            let length = message_bytes(message.first_chunk().unwrap()).unwrap();
            message.resize(length, 0);
            stream.read_exact(&mut message[FIXED_BYTES..]).unwrap();
            heard.push(message);
            if stream.write_all(&answer).is_err() {
                break;
            }
        }
        heard
    });
    let address = format!("unix:path={}", path.display());
    (dir, address, thread)
}

const WELCOME: &[u8] = b"DATA\r\nOK 0123456789abcdef\r\n";

fn answer(serial: u32, body: &[Value]) -> Vec<u8> {
    incoming(RETURN, &[(5, Value::U32(serial))], body)
}

fn removed(job: &str, result: &str) -> Vec<u8> {
    let body =
        [Value::U32(1), Value::Path(job.into()), Value::Str("u.scope".into()), Value::Str(result.into())];
    let fields = [(2, Value::Str(MANAGER.into())), (3, Value::Str("JobRemoved".into()))];
    incoming(SIGNAL, &fields, &body)
}

#[test]
fn a_unit_is_started_when_its_own_job_is_done() {
    let job = Value::Path("/job/1".into());
    let last = [
        removed("/job/9", "failed"),
        answer(2, &[job]),
        removed("/job/8", "failed"),
        removed("/job/1", "done"),
    ];
    let (_dir, address, thread) = peer(vec![WELCOME.to_vec(), answer(1, &[]), last.concat()]);
    let mut bus = Bus::open(&address, false).unwrap();
    bus.start_transient("u.scope", &[Property::new("Delegate", Value::Bool(true))]).unwrap();
    drop(bus);
    let heard = thread.join().unwrap();
    assert!(heard[0].starts_with(b"\0AUTH EXTERNAL\r\n"));
    assert!(String::from_utf8_lossy(&heard[2]).contains("ssa(sv)a(sa(sv))"));
}

#[test]
fn the_end_of_a_job_may_come_before_its_path() {
    let early = [removed("/job/1", "done"), answer(2, &[Value::Path("/job/1".into())])].concat();
    let (_dir, address, _thread) = peer(vec![WELCOME.to_vec(), answer(1, &[]), early]);
    Bus::open(&address, false).unwrap().stop("u.scope").unwrap();
}

#[test]
fn failed_jobs_and_refused_calls_are_errors() {
    let failed = [answer(2, &[Value::Path("/job/1".into())]), removed("/job/1", "timeout")].concat();
    let (_dir, address, _thread) = peer(vec![WELCOME.to_vec(), answer(1, &[]), failed]);
    let error = Bus::open(&address, false).unwrap().start_transient("u.scope", &[]).unwrap_err();
    assert!(matches!(error, SystemdError::Job { result, .. } if result == "timeout"));

    let name = Value::Str("org.freedesktop.systemd1.NoSuchUnit".into());
    let refusal =
        incoming(ERROR, &[(5, Value::U32(1)), (4, name)], &[Value::Str("Unit u not loaded.".into())]);
    let (_dir, address, _thread) = peer(vec![WELCOME.to_vec(), refusal]);
    let error = Bus::open(&address, false).unwrap().set_properties("u.scope", &[]).unwrap_err();
    assert!(
        error.is("NoSuchUnit") && error.to_string().contains("SetUnitProperties of \"u.scope\""),
        "{error}"
    );
}

#[test]
fn hostile_answers_are_errors() {
    let refuse = |first: &[u8]| {
        let (_dir, address, _thread) = peer(vec![first.to_vec()]);
        Bus::open(&address, false).unwrap_err()
    };
    assert!(matches!(refuse(b"REJECTED KERBEROS\r\n"), SystemdError::Refused { .. }));
    assert!(matches!(refuse(&[b'A'; 4096]), SystemdError::Malformed { .. }));
    assert!(matches!(refuse(b"DATA\r\n\xff\xff\r\n"), SystemdError::Malformed { .. }));
    assert!(matches!(refuse(b"DATA\r\nOK"), SystemdError::Io { .. }));

    let call = |reply: Vec<u8>| {
        let (_dir, address, _thread) = peer(vec![WELCOME.to_vec(), reply]);
        Bus::open(&address, false).unwrap().manager_property("Version").unwrap_err()
    };
    assert!(matches!(call(vec![0; 64]), SystemdError::Malformed { .. }));
    assert!(matches!(call(vec![0xff; 64]), SystemdError::Malformed { .. }));
    assert!(matches!(call(answer(1, &[])), SystemdError::Malformed { .. }));
    assert!(matches!(call(answer(1, &[Value::U32(1)])), SystemdError::Malformed { .. }));
    let cut = answer(1, &[Value::Str("x".into())]);
    assert!(matches!(call(cut[..cut.len() - 1].to_vec()), SystemdError::Io { .. }));
}

#[test]
fn addresses_of_buses_are_read() {
    let path = |text| socket_of(text).unwrap().unwrap().as_pathname().unwrap().to_str().unwrap().to_owned();
    assert_eq!(path("unix:path=/run/user/1000/bus,guid=1"), "/run/user/1000/bus");
    assert_eq!(path("tcp:host=x;unix:guid=1,path=/a%20b"), "/a b");
    assert!(socket_of("unix:abstract=/tmp/x").unwrap().unwrap().as_abstract_name().is_some());
    for bad in ["", "tcp:host=x", "unix:path", "unix:path=%zz", "unix:path=%e"] {
        assert!(socket_of(bad).is_none(), "{bad}");
    }
    assert!(socket_of(&format!("unix:path=/{}", "x".repeat(200))).unwrap().is_err());
}

#[test]
fn the_bus_of_a_user_is_found_in_the_environment() {
    let environment = |wanted: &'static [(&str, &str)]| {
        move |name: &str| wanted.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
    };
    assert_eq!(user_address(environment(&[])), None);
    assert_eq!(user_address(environment(&[("XDG_RUNTIME_DIR", "/r")])).unwrap(), "unix:path=/r/bus");
    let both = environment(&[("DBUS_SESSION_BUS_ADDRESS", "unix:path=/b"), ("XDG_RUNTIME_DIR", "/r")]);
    assert_eq!(user_address(both).unwrap(), "unix:path=/b");
    assert_eq!(unescape(&escape("/run/user/1 0")).unwrap(), "/run/user/1 0");
}
