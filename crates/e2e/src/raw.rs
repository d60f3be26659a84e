//! Requests to an engine's socket as no well-behaved client sends them: each byte is the test's.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an engine answered.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let header = |line: &str| line.split_once(':').map(|(k, v)| (k.to_lowercase(), v.trim().to_owned()));
        let headers: Vec<_> = lines.filter_map(header).collect();
        let body = &bytes[end + 4..];
        let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        Some(Self { status, headers, body: if chunked { dechunk(body) } else { body.to_vec() } })
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What an error says.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size =
            std::str::from_utf8(&bytes[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(size) = size.filter(|size| *size > 0) else { break };
        let chunk = &bytes[end + 2..];
        body.extend_from_slice(&chunk[..size.min(chunk.len())]);
        bytes = chunk.get(size + 2..).unwrap_or_default();
    }
    body
}

/// A socket that speaks HTTP.
#[derive(Debug, Clone)]
pub struct Raw {
    socket: PathBuf,
}

impl Raw {
    /// That of an engine.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Connects.
    ///
    /// # Errors
    /// What connect(2) says.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// The bytes of a request; the connection ends with its answer.
    pub fn bytes(method: &str, path: &str, body: Option<&[u8]>) -> Vec<u8> {
        let mut bytes =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n").into_bytes();
        if let Some(body) = body {
            let length = body.len();
            let head = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
            bytes.extend_from_slice(head.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body.unwrap_or_default());
        bytes
    }

    /// Sends bytes, and reads what comes until the end; None for no answer.
    ///
    /// # Errors
    /// What the socket says.
    pub fn send(&self, bytes: &[u8]) -> io::Result<Option<Answer>> {
        let mut stream = self.connect()?;
        // An engine may have answered and left before it has read all.
        let _ = stream.write_all(bytes);
        let mut all = Vec::new();
        match stream.read_to_end(&mut all) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
            _ => Ok(Answer::parse(&all)),
        }
    }

    /// Sends a request, and reads its answer.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string);
        let sent = self.send(&Self::bytes(method, path, body.as_ref().map(String::as_bytes)));
        match sent {
            Ok(Some(answer)) => answer,
            other => panic!("{method} {path}: {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_parsed() {
        let text = b"HTTP/1.1 404 Not Found\r\nContent-Type: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"m\r\n1\r\n\"\r\n0\r\n\r\n";
        let answer = Answer::parse(text).unwrap();
        assert_eq!((answer.status, answer.header("content-type")), (404, Some("x")));
        assert_eq!(answer.body, b"{\"m\"");
        assert!(Answer::parse(b"HTTP/1.1 200").is_none());
    }
}
