//! Our ttrpc in front of containerd's shims, which are Go's ttrpc.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code")]

mod shim;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use gantry_testkit::{Need, peer_shim, require};
use gantry_ttrpc::Code;
use gantry_ttrpc::client::{Client, Options};
use gantry_ttrpc::frame::{Decoded, Decoder, Header, Kind};
use gantry_ttrpc::message::{Request, Response};
use gantry_ttrpc::server::Connection;
use gantry_types::ErrorKind;
use prost::Message;

use shim::{Connected, DEBIAN, Id, Shim};

/// A task service answers calls with and without success.
fn answers(program: &str, name: &str) {
    let shim = Shim::start(program, name);
    let client = Client::connect(&shim.socket).unwrap();
    let options =
        Options::default().timeout(Duration::from_secs(30)).metadata("containerd-namespace-ttrpc", "x");
    let request = Id { id: name.into() };
    let connected: Connected = client.call_with(shim.service, "Connect", &request, &options).unwrap();
    assert!(Path::new(&format!("/proc/{}", connected.shim_pid)).exists());
    let request = Id { id: "nobody".into() };
    let error = client.call_with::<_, ()>(shim.service, "State", &request, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    let error = client.call_with::<_, ()>(shim.service, "Nonsense", &(), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unimplemented);
    let error = client.call_with::<_, ()>("no.Service", "State", &(), &options).unwrap_err();
    assert_eq!(error.status().unwrap().message, "service no.Service");
}

#[test]
fn debian_shim_answers() {
    require!(Need::Root, Need::File(DEBIAN));
    answers(DEBIAN, "gt-ttrpc-debian");
}

#[test]
fn newer_shim_answers() {
    require!(Need::Root);
    answers(&peer_shim!(), "gt-ttrpc-peer");
}

fn frame(stream: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    let header =
        Header { length: u32::try_from(payload.len()).unwrap(), stream, kind: kind.into(), flags: 0 };
    [&header.to_bytes()[..], payload].concat()
}

/// What comes back until the answer on the stream `last`.
fn answers_until(mut receive: impl FnMut() -> Vec<u8>, last: u32) -> Vec<(u32, Code)> {
    let (mut decoder, mut found) = (Decoder::new(), Vec::new());
    while found.last().is_none_or(|(stream, _)| *stream != last) {
        let bytes = receive();
        assert!(!bytes.is_empty(), "the connection ended after {found:?}");
        let mut input = &bytes[..];
        while let Some(decoded) = decoder.decode(&mut input) {
            let Decoded::Frame(Header { stream, kind: Kind::Response, .. }, payload) = decoded else {
                panic!("{decoded:?}");
            };
            let response = Response::decode(&*payload).unwrap();
            found.push((stream, response.status.map_or(Code::Ok, |status| status.code())));
        }
    }
    found
}

/// Frames that break the protocol get the same answers from Go's server and from ours.
#[test]
fn broken_frames_are_answered_as_go_answers_them() {
    require!(Need::Root);
    let shim = Shim::start(&peer_shim!(), "gt-ttrpc-frames");
    let unknown =
        Request { service: "no.Service".into(), method: "M".into(), ..Default::default() }.encode_to_vec();
    let broken = [
        frame(2, 1, &unknown),
        frame(0, 77, b""),
        frame(1, 77, b"ignored"),
        frame(1, 2, b"ignored"),
        // No data: containerd 2.1.9 ends by it.
        frame(5, 1, b"\xff\xff"),
        frame(5, 1, &unknown),
        frame(3, 1, &unknown),
        frame(7, 1, &vec![0; (4 << 20) + 1]),
        frame(7, 1, &unknown),
        frame(101, 1, &unknown),
    ]
    .concat();
    let mut stream = UnixStream::connect(&shim.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(&broken).unwrap();
    let theirs = answers_until(
        || {
            let mut buffer = vec![0; 4096];
            let length = stream.read(&mut buffer).unwrap();
            buffer.truncate(length);
            buffer
        },
        101,
    );
    let mut connection = Connection::new();
    let mut input = &broken[..];
    while let Some(call) = connection.receive(&mut input) {
        connection.respond::<()>(call.stream, Err(call.unknown_service()));
    }
    let ours = connection.output().to_vec();
    assert_eq!(answers_until(|| ours.clone(), 101), theirs);
}
