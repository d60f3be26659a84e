//! Connections in memory, with handlers of these tests.

use std::sync::Mutex;

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::http::{Received, call};

const LIMIT: usize = 1000;

/// A handler that does as the path says.
async fn handler(request: Request<Incoming>) -> Outcome {
    match request.uri().path() {
        "/text" => Ok(Answer::text("hello")),
        "/none" => Ok(Answer::none()),
        "/same" => Err(Failure::with(StatusCode::NOT_MODIFIED, "unsaid")),
        "/panic" => panic!("as asked"),
        "/body" => {
            let bytes = call::read(Received::new(request.into_body()), LIMIT).await?;
            Ok(Answer::json(&bytes.len()))
        }
        "/stream" => Ok(Answer::stream("text/plain", async |sender: crate::http::Sender| {
            sender.send("a").await;
            sender.send("b").await;
        })),
        "/hijack" => {
            let wants = request.headers().contains_key(http::header::UPGRADE);
            let mut hijack = Hijack::new(|mut wire| async move {
                let mut all = Vec::new();
                wire.read_to_end(&mut all).await.unwrap();
                all.reverse();
                wire.write_all(&all).await.unwrap();
            });
            hijack.upgrade = wants.then_some("tcp");
            hijack.media_type = Some("application/vnd.docker.raw-stream");
            Ok(Answer::Hijack(hijack))
        }
        _ => Err(Failure::no_page()),
    }
}

struct Told(Mutex<Vec<u16>>);

impl Observer for Told {
    fn answered(&self, _: &Method, status: StatusCode, _: Duration) {
        self.0.lock().unwrap().push(status.as_u16());
    }
}

/// A client's end, the handle of the server's task, and what the observer was told.
fn connect() -> (DuplexStream, tokio::task::JoinHandle<()>, Arc<Told>, watch::Sender<bool>) {
    let (client, server) = duplex(64 << 10);
    let told = Arc::new(Told(Mutex::default()));
    let (running, serving) = watch::channel(true);
    let limits = Limits { head_bytes: 8192, ..Limits::default() };
    let frame = Frame { limits, observer: Some(told.clone()), serving };
    let task = tokio::spawn(serve(frame, handler, Socket::Duplex(server)));
    (client, task, told, running)
}

/// All that comes for what is sent.
async fn ask(sent: &[u8]) -> (String, Vec<u16>) {
    let (mut client, task, told, _running) = connect();
    client.write_all(sent).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    task.await.unwrap();
    let told = told.0.lock().unwrap().clone();
    (String::from_utf8_lossy(&answer).into_owned(), told)
}

fn close(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

/// The same without the end of what is sent: hyper drops what a client that has left asked for.
async fn get(path: &str) -> (String, Vec<u16>) {
    let (mut client, task, told, _running) = connect();
    client.write_all(&close(path)).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    task.await.unwrap();
    let told = told.0.lock().unwrap().clone();
    (String::from_utf8_lossy(&answer).into_owned(), told)
}

#[tokio::test]
async fn every_answer_says_who_answers() {
    for (path, status) in [("/text", 200), ("/none", 204), ("/nosuch", 404), ("/same", 304)] {
        let (answer, told) = get(path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        for header in
            ["Api-Version: 1.", "Ostype: linux", "Docker-Experimental: false", "Server: Gantry/", "Date: "]
        {
            assert!(answer.contains(header), "{path}: {header}: {answer}");
        }
        assert_eq!(told, [status]);
    }
    assert!(get("/nosuch").await.0.ends_with("\r\n\r\n{\"message\":\"page not found\"}\n"));
    assert!(get("/same").await.0.ends_with("\r\n\r\n"));
}

#[tokio::test]
async fn a_handler_that_panics_is_an_error_of_the_engine() {
    let (answer, told) = get("/panic").await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("message"), "{answer}");
    assert_eq!(told, [500]);
}

#[tokio::test]
async fn bodies_are_streamed_in_chunks() {
    assert!(get("/stream").await.0.ends_with("\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn bodies_and_heads_have_limits() {
    for (length, status) in [(LIMIT, 200), (LIMIT + 1, 413)] {
        let (mut client, _task, _told, _running) = connect();
        let head = format!(
            "POST /body HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&vec![b'x'; length]).await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes());
    }
    let long = format!("GET /text HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(20_000));
    assert!(ask(long.as_bytes()).await.0.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn what_is_no_http_ends_the_connection() {
    for sent in [&b"\x16\x03\x01\0\0"[..], b"nonsense\r\n\r\n", b"PRI", b"", b"GET /text"] {
        let (answer, told) = ask(sent).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(told.is_empty());
    }
}

#[tokio::test]
async fn connections_are_taken_over_with_and_without_an_upgrade() {
    let body = "Content-Type: application/vnd.docker.raw-stream\r\n";
    for (headers, head) in [
        ("Connection: Upgrade\r\nUpgrade: tcp\r\n", "HTTP/1.1 101 UPGRADED\r\n"),
        ("", "HTTP/1.1 200 OK\r\n"),
    ] {
        let (mut client, task, told, _running) = connect();
        let request = format!("POST /hijack HTTP/1.1\r\nHost: x\r\n{headers}\r\nearly");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; head.len() + body.len()];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), format!("{head}{body}"));
        client.write_all(b" late").await.unwrap();
        // Half of it is closed; the other half still answers.
        client.shutdown().await.unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert!(rest.ends_with("\r\n\r\netal ylrae"), "{rest}");
        task.await.unwrap();
        assert_eq!(told.0.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_connection_serves_requests_before_it_is_taken_over() {
    let (mut client, task, _told, _running) = connect();
    client.write_all(b"GET /text HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    client.write_all(b"POST /hijack HTTP/1.1\r\nHost: x\r\n\r\nab").await.unwrap();
    client.shutdown().await.unwrap();
    let mut all = String::new();
    client.read_to_string(&mut all).await.unwrap();
    assert!(all.contains("\r\n\r\nhelloHTTP/1.1 200 OK\r\n") && all.ends_with("\r\n\r\nba"), "{all}");
    task.await.unwrap();
}

#[tokio::test]
async fn builders_of_http2_are_told_what_is_missing() {
    let (client, _task, _told, _running) = connect();
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), TokioIo::new(client))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = |content_type: &str| {
        let request = Request::post("http://x/moby.buildkit.v1.Control/Info");
        request.header("content-type", content_type).body(String::new()).unwrap()
    };
    let answer = send.send_request(request("application/grpc")).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "12");
    assert!(answer.headers()["grpc-message"].to_str().unwrap().contains("DOCKER_BUILDKIT=0"));
    let answer = send.send_request(request("text/plain")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::HTTP_VERSION_NOT_SUPPORTED);
}

#[tokio::test]
async fn the_end_of_the_daemon_ends_silent_connections() {
    let (mut client, task, _told, running) = connect();
    client.write_all(b"GET /text HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    client.read_exact(&mut answer).await.unwrap();
    running.send(false).unwrap();
    tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
}
