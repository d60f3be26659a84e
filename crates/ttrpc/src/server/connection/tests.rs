use super::*;
use crate::client::{Calls, Options};

const REQUEST: u8 = 1;

fn frame(stream: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut bytes = Header { length, stream, kind: kind.into(), flags: 0 }.to_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

fn request(stream: u32) -> Vec<u8> {
    let request = Request { service: "S".into(), method: "M".into(), ..Default::default() };
    frame(stream, REQUEST, &request.encode_to_vec())
}

fn receive(connection: &mut Connection, bytes: &[u8]) -> Vec<Call> {
    let mut input = bytes;
    std::iter::from_fn(|| connection.receive(&mut input)).collect()
}

/// What the connection has to write, as streams with their responses.
fn sent(connection: &mut Connection) -> Vec<(u32, Response)> {
    let bytes = connection.output().to_vec();
    connection.consume(bytes.len());
    let (mut decoder, mut input, mut sent) = (Decoder::new(), &bytes[..], Vec::new());
    while let Some(Decoded::Frame(header, payload)) = decoder.decode(&mut input) {
        assert_eq!(header.kind, Kind::Response);
        sent.push((header.stream, Response::decode(&*payload).unwrap()));
    }
    assert!(!decoder.is_within_frame());
    sent
}

fn codes(connection: &mut Connection) -> Vec<(u32, Code)> {
    let code = |response: Response| response.status.map_or(Code::Ok, |status| status.code());
    sent(connection).into_iter().map(|(stream, response)| (stream, code(response))).collect()
}

#[test]
fn calls_are_answered_in_any_order() {
    let mut connection = Connection::new();
    let calls = receive(&mut connection, &[request(1), request(3), request(7)].concat());
    assert_eq!(calls.iter().map(|call| call.stream).collect::<Vec<_>>(), [1, 3, 7]);
    assert_eq!((calls[0].service.as_str(), calls[0].method.as_str()), ("S", "M"));
    connection.respond(7, Ok(Detail("x".into())));
    connection.respond::<()>(1, Err(Status::new(Code::NotFound, "no")));
    connection.respond_encoded(3, Ok(b""));
    assert_eq!(connection.calls(), 0);
    let sent = sent(&mut connection);
    assert_eq!(sent[0], (7, Response { status: None, payload: b"\x0a\x01x".to_vec() }));
    assert_eq!(sent[1].1.status.as_ref().map(|status| status.message.as_str()), Some("no"));
    assert_eq!(sent[2], (3, Response::default()));
}

#[derive(Clone, PartialEq, ::prost::Message)]
struct Detail(#[prost(string, tag = "1")] String);

#[test]
fn response_is_what_prost_makes_of_it() {
    let mut connection = Connection::new();
    receive(&mut connection, &request(1));
    connection.respond_encoded(1, Ok(&[5; 300]));
    let response = Response { status: None, payload: vec![5; 300] };
    assert_eq!(connection.output(), frame(1, 2, &response.encode_to_vec()));
}

#[test]
fn timeout_and_metadata_come_with_the_call() {
    let mut calls = Calls::new();
    let options = Options::default().timeout(Duration::from_millis(5)).metadata("k", "v").metadata("k", "w");
    calls.call("S", "M", &(), &options).unwrap();
    calls.call("S", "M", &(), &Options::default()).unwrap();
    let received = receive(&mut Connection::new(), calls.output());
    assert_eq!(received[0].timeout, Some(Duration::from_millis(5)));
    assert_eq!(received[0].metadata("k"), Some("v"));
    assert_eq!(received[0].metadata("other"), None);
    assert_eq!(received[1].timeout, None);
    let late = Request { timeout_nano: -1, ..Default::default() };
    let received = receive(&mut Connection::new(), &frame(1, REQUEST, &late.encode_to_vec()));
    assert_eq!(received[0].timeout, Some(Duration::ZERO));
}

#[test]
fn even_streams_are_invalid() {
    let mut connection = Connection::new();
    assert_eq!(receive(&mut connection, &[request(2), request(0)].concat()), []);
    assert_eq!(codes(&mut connection), [(2, Code::InvalidArgument), (0, Code::InvalidArgument)]);
}

#[test]
fn streams_are_used_once_and_grow() {
    let mut connection = Connection::new();
    receive(&mut connection, &request(5));
    connection.respond(5, Ok(()));
    sent(&mut connection);
    assert_eq!(receive(&mut connection, &[request(5), request(3)].concat()), []);
    assert_eq!(codes(&mut connection), [(5, Code::InvalidArgument), (3, Code::InvalidArgument)]);
}

#[test]
fn second_request_on_a_waiting_stream_does_not_take_its_answer() {
    let mut connection = Connection::new();
    assert_eq!(receive(&mut connection, &[request(1), request(1)].concat()).len(), 1);
    assert_eq!(codes(&mut connection), []);
    connection.respond(1, Ok(()));
    assert_eq!(codes(&mut connection), [(1, Code::Ok)]);
}

#[test]
fn unknown_kinds_and_responses_are_ignored() {
    let mut connection = Connection::new();
    let bytes = [frame(1, 2, b"x"), frame(1, 0, b"x"), frame(1, 200, b"x"), request(1)].concat();
    assert_eq!(receive(&mut connection, &bytes).len(), 1);
    assert_eq!(connection.output(), b"");
}

#[test]
fn data_is_for_streams_that_nobody_has() {
    let mut connection = Connection::new();
    receive(&mut connection, &[request(1), frame(1, 3, b"x"), frame(3, 3, b"x")].concat());
    assert_eq!(codes(&mut connection), [(3, Code::InvalidArgument)]);
    assert_eq!(connection.calls(), 1);
}

#[test]
fn oversized_request_is_refused_on_its_stream_and_the_next_is_served() {
    let mut connection = Connection::new();
    let header = Header { length: u32::MAX, stream: 9, kind: Kind::Request, flags: 0 };
    assert_eq!(receive(&mut connection, &header.to_bytes()), []);
    assert_eq!(codes(&mut connection), [(9, Code::ResourceExhausted)]);
    let mut connection = Connection::new();
    let bytes = [frame(1, REQUEST, &vec![0; MAX_MESSAGE_BYTES + 1]), request(3)].concat();
    assert_eq!(receive(&mut connection, &bytes).len(), 1);
    assert_eq!(codes(&mut connection), [(1, Code::ResourceExhausted)]);
}

#[test]
fn oversized_answer_becomes_a_refusal() {
    let mut connection = Connection::new();
    receive(&mut connection, &request(1));
    connection.respond_encoded(1, Ok(&vec![0; MAX_MESSAGE_BYTES]));
    assert_eq!(codes(&mut connection), [(1, Code::ResourceExhausted)]);
}

#[test]
fn garbage_is_an_invalid_request() {
    let mut connection = Connection::new();
    assert_eq!(receive(&mut connection, &frame(1, REQUEST, b"\xff\xff\xff")), []);
    assert_eq!(codes(&mut connection), [(1, Code::InvalidArgument)]);
}

#[test]
fn answers_without_a_call_are_left_out() {
    let mut connection = Connection::new();
    connection.respond(1, Ok(()));
    receive(&mut connection, &request(1));
    connection.respond(1, Ok(()));
    connection.respond(1, Ok(()));
    assert_eq!(codes(&mut connection), [(1, Code::Ok)]);
}

#[test]
fn calls_have_a_limit() {
    let mut connection = Connection::new();
    let streams = (0..=MAX_CALLS).map(|index| u32::try_from(2 * index + 1).unwrap());
    let bytes: Vec<u8> = streams.flat_map(request).collect();
    assert_eq!(receive(&mut connection, &bytes).len(), MAX_CALLS);
    assert_eq!(codes(&mut connection)[0].1, Code::ResourceExhausted);
    connection.respond(1, Ok(()));
    assert_eq!(receive(&mut connection, &request(u32::MAX)).len(), 1);
}

#[test]
fn client_that_does_not_read_is_not_listened_to_and_then_given_up() {
    let mut connection = Connection::new();
    let answer = vec![0; 1 << 20];
    let mut stream = 1;
    while !connection.is_overrun() {
        receive(&mut connection, &request(stream));
        connection.respond_encoded(stream, Ok(&answer));
        assert!(!connection.accepts_input());
        stream += 2;
    }
    let length = connection.output().len();
    assert!(length < MAX_OUTPUT_BYTES + answer.len() + 100);
    receive(&mut connection, &request(stream));
    connection.respond_encoded(stream, Ok(&answer));
    assert_eq!(connection.output().len(), length);
}

#[test]
fn idle_connection_holds_no_memory() {
    let mut connection = Connection::new();
    let bytes = request(1);
    let (a, b) = bytes.split_at(12);
    assert_eq!(receive(&mut connection, a), []);
    assert_eq!(receive(&mut connection, b).len(), 1);
    connection.respond_encoded(1, Ok(&[0; 70000]));
    connection.consume(5);
    connection.consume(connection.output().len());
    assert_eq!(connection.waiting.capacity(), 0);
    assert!(!connection.decoder.is_within_frame());
    assert_eq!(format!("{:?}", connection.output), "Output { bytes: [], written: 0 }");
}
