use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::server::{Call, serve};

const SERVICE: &str = "test.Service";

/// Says everything back, but for a few methods.
fn answer(call: &Call) -> Result<Vec<u8>, Status> {
    match call.method.as_str() {
        "Echo" => Ok(call.payload.clone()),
        "Metadata" => Ok(call.metadata("key").unwrap_or_default().into()),
        "Long" => Ok(vec![7; 3 << 20]),
        "Never" => loop {
            thread::park();
        },
        _ => Err(call.unknown_method()),
    }
}

fn socket() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    (dir, path)
}

fn echo(client: &Client, payload: Vec<u8>) -> Vec<u8> {
    client.call_encoded(SERVICE, "Echo", payload, &Options::default()).unwrap()
}

#[test]
fn calls_go_there_and_back() {
    let (_dir, path) = socket();
    let _server = serve(&path, answer).unwrap();
    let client = Client::connect(&path).unwrap();
    assert_eq!(echo(&client, b"hello".to_vec()), b"hello");
    let options = Options::default().metadata("key", "value").timeout(Duration::from_secs(60));
    assert_eq!(client.call_encoded(SERVICE, "Metadata", Vec::new(), &options).unwrap(), b"value");
    let error = client.call::<(), ()>(SERVICE, "None", &()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unimplemented);
    assert_eq!(error.status().unwrap().message, "method None");
}

#[test]
fn threads_share_a_connection() {
    let (_dir, path) = socket();
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let _server = serve(&path, move |call| {
        count.fetch_add(1, Ordering::Relaxed);
        answer(call)
    })
    .unwrap();
    let client = Client::connect(&path).unwrap();
    thread::scope(|scope| {
        for index in 0..8_u8 {
            let client = client.clone();
            scope.spawn(move || {
                // Longer than the socket's buffer both ways: writers must not keep the reader from reading.
                let payload = vec![index; 300_000];
                (0..20).for_each(|_| assert_eq!(echo(&client, payload.clone()), payload));
            });
        }
    });
    assert_eq!(served.load(Ordering::Relaxed), 160);
}

#[test]
fn time_limit_ends_one_call_and_not_the_connection() {
    let (_dir, path) = socket();
    let listener = UnixListener::bind(&path).unwrap();
    let client = Client::connect(&path).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let options = Options::default().timeout(Duration::from_millis(20));
    let error = client.call_encoded(SERVICE, "Never", Vec::new(), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    // The late answer is nobody's, the next call's is its own.
    let asking = thread::spawn(move || echo(&client, b"x".to_vec()));
    let mut connection = crate::server::Connection::new();
    let mut buffer = [0; 4096];
    while connection.calls() < 2 {
        let length = server.read(&mut buffer).unwrap();
        let mut input = &buffer[..length];
        while connection.receive(&mut input).is_some() {}
    }
    connection.respond_encoded(1, Ok(b"late"));
    connection.respond_encoded(3, Ok(b"right"));
    server.write_all(connection.output()).unwrap();
    assert_eq!(asking.join().unwrap(), b"right");
}

#[test]
fn end_of_the_server_ends_all_calls() {
    let (_dir, path) = socket();
    let listener = UnixListener::bind(&path).unwrap();
    let client = Client::connect(&path).unwrap();
    let (server, _) = listener.accept().unwrap();
    let waiting = client.clone();
    let waiting = thread::spawn(move || waiting.call::<(), ()>(SERVICE, "Never", &()));
    // Its request is there.
    (&server).read_exact(&mut [0; 10]).unwrap();
    drop(server);
    assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(client.call::<(), ()>(SERVICE, "Echo", &()).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn last_clone_ends_the_connection() {
    let (_dir, path) = socket();
    let listener = UnixListener::bind(&path).unwrap();
    let client = Client::connect(&path).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    drop(client.clone());
    server.set_nonblocking(true).unwrap();
    assert_eq!(server.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(client);
    server.set_nonblocking(false).unwrap();
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
}

#[test]
fn long_messages_pass_and_longer_ones_are_not_sent() {
    let (_dir, path) = socket();
    let _server = serve(&path, answer).unwrap();
    let client = Client::connect(&path).unwrap();
    let long = client.call_encoded(SERVICE, "Long", Vec::new(), &Options::default()).unwrap();
    assert_eq!(long, vec![7; 3 << 20]);
    let error = client.call_encoded(SERVICE, "Echo", vec![0; 4 << 20], &Options::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert_eq!(echo(&client, b"x".to_vec()), b"x");
}

#[test]
fn stopped_server_is_gone() {
    let (_dir, path) = socket();
    let server = serve(&path, answer).unwrap();
    let client = Client::connect(&path).unwrap();
    echo(&client, Vec::new());
    drop(server);
    assert!(Client::connect(&path).is_err());
    assert!(client.call::<(), ()>(SERVICE, "Echo", &()).is_err());
}
