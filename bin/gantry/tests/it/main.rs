//! The command line in front of an engine that is made up: what it asks, prints and ends with. Needs nothing.

mod engine;

use engine::{Engine, Request, answer, upgrade};
use gantry_stream::{Channel, encode};

const TOO_NEW: &str =
    r#"{"message":"client version 1.52 is too new. Maximum supported API version is 1.41"}"#;

/// Refuses what is too new, as an engine of 1.41 does.
fn old(answer_to: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Engine {
    Engine::start(move |request| {
        if request.line.contains("/v1.52/") { answer("400 Bad Request", TOO_NEW) } else { answer_to(request) }
    })
}

/// A container that prints, and ends with a status.
fn container(status: i64) -> Engine {
    old(move |request| {
        let path = request.line.split('?').next().unwrap_or_default();
        match path.rsplit('/').next().unwrap_or_default() {
            "create" => answer("201 Created", r#"{"Id":"c1","Warnings":["mind"]}"#),
            "attach" => {
                let stream = [encode(Channel::Stdout, b"out\n"), encode(Channel::Stderr, b"err\n")].concat();
                upgrade(&stream)
            }
            "wait" => answer("200 OK", &format!(r#"{{"StatusCode":{status}}}"#)),
            "start" => b"HTTP/1.1 204 No Content\r\nApi-Version: 1.41\r\n\r\n".to_vec(),
            _ => answer("404 Not Found", r#"{"message":"page not found"}"#),
        }
    })
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn run_prints_both_streams_and_ends_with_the_containers_code() {
    let engine = container(7);
    let output = engine.gantry(&["run", "--rm", "busybox", "sh"], b"");
    assert_eq!(output.status.code(), Some(7));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\n", "WARNING: mind\nerr\n"));
    let lines = engine.lines();
    assert_eq!(lines[0], "POST /v1.52/containers/create");
    assert_eq!(lines[1], "POST /v1.41/containers/create");
    assert_eq!(
        lines.last().expect("a line"),
        "POST /v1.41/containers/c1/start",
        "attached and waited for before: {lines:?}"
    );
    assert!(lines.iter().any(|line| line.ends_with("/wait?condition=removed")), "{lines:?}");
}

#[test]
fn what_cannot_be_started_has_the_codes_of_shells() {
    for (message, code) in [
        ("executable file not found in $PATH", 127),
        ("permission denied", 126),
        ("port is already allocated", 125),
    ] {
        let body = format!(r#"{{"message":"{message}"}}"#);
        let engine = old(move |request| match request.line.contains("/create") {
            true => answer("201 Created", r#"{"Id":"c1"}"#),
            false => answer("500 Internal Server Error", &body),
        });
        let output = engine.gantry(&["run", "-d", "busybox"], b"");
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(
            text(&output.stderr).starts_with(&format!("gantry: Error response from daemon: {message}\n"))
        );
    }
}

#[test]
fn an_image_that_is_not_there_is_pulled_once() {
    let engine = old(|request| match request.line.as_str() {
        line if line.contains("/images/create") => {
            answer("200 OK", "{\"status\":\"Pulling\"}\r\n{\"status\":\"Done\"}\r\n")
        }
        line if line.contains("/containers/create") => {
            answer("404 Not Found", r#"{"message":"No such image: busybox:latest"}"#)
        }
        _ => answer("204 No Content", ""),
    });
    let output = engine.gantry(&["create", "busybox"], b"");
    assert_eq!(output.status.code(), Some(125));
    let told = text(&output.stderr);
    assert!(told.starts_with("Unable to find image 'busybox:latest' locally\nPulling\nDone\n"), "{told}");
    let pulls: Vec<String> =
        engine.lines().into_iter().filter(|line| line.contains("/images/create")).collect();
    assert_eq!(pulls, ["POST /v1.41/images/create?fromImage=busybox&tag=latest"]);
}

#[test]
fn an_error_in_a_stream_ends_the_command() {
    let engine = old(|_| {
        answer("200 OK", r#"{"stream":"Step 1"}{"errorDetail":{"code":3,"message":"no"},"error":"no"}"#)
    });
    let output = engine.gantry(&["build", "-"], b"FROM x\n");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("Step 1", "no\n"));
    let requests = engine.requests();
    assert_eq!(requests[0].line, "HEAD /_ping", "an archive is sent once");
    let body = &requests[1].body;
    assert!(
        body.windows(6).any(|window| window == b"FROM x")
            && body.windows(10).any(|window| window == b"Dockerfile")
    );
}

#[test]
fn bytes_that_are_no_frames_are_an_error() {
    let engine = old(|request| match request.line.contains("/logs") {
        true => answer("200 OK", "\u{9}garbage").into_iter().collect(),
        false => answer("200 OK", r#"{"Config":{"Tty":false}}"#),
    });
    let output = engine.gantry(&["logs", "c1"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the log is not understood"), "{}", text(&output.stderr));
}

#[test]
fn answers_that_are_no_engines_are_errors() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"[..],
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
    ] {
        let engine = Engine::start(move |_| bytes.to_vec());
        let output = engine.gantry(&["ps"], b"");
        assert_eq!(output.status.code(), Some(1), "{bytes:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn nobody_there_is_said_with_what_helps() {
    let engine = Engine::start(|_| Vec::new());
    let output = engine.gantry(&["-H", "unix:///does/not/exist.sock", "ps"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("gantry doctor"), "{}", text(&output.stderr));
}

#[test]
fn wrong_words_have_dockers_codes() {
    let engine = Engine::start(|_| Vec::new());
    for (words, code) in [
        (&["run", "--foo", "x"][..], 125),
        (&["run"], 1),
        (&["nope"], 1),
        (&["ps", "--filter", "bad"], 125),
        (&["ps", "--help"], 0),
        (&["context", "show"], 0),
        (&["--version"], 0),
        (&["container"], 0),
    ] {
        assert_eq!(engine.gantry(words, b"").status.code(), Some(code), "{words:?}");
    }
    assert!(engine.lines().is_empty(), "nothing was asked");
}
