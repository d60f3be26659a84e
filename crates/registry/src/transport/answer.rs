//! Answers: their head, their body within limits, and what they say when they refuse.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Uri, header, response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{Error, Timeouts};

/// The largest error that is read, in bytes.
const MAX_ERROR_BYTES: u64 = 16 << 10;
/// The longest time for it.
const ERROR_TIME: Duration = Duration::from_secs(5);
/// The longest text of a registry that is passed on, in characters.
const MAX_DETAIL: usize = 512;
/// The most errors of one answer that are passed on.
const MAX_ERRORS: usize = 8;

/// What came back. As long as it lives it counts as a request to its host.
pub(crate) struct Answer {
    /// Who answered.
    pub(crate) host: String,
    /// Where it answered: after redirects.
    pub(crate) uri: Uri,
    /// Whether that is somebody else than who was asked.
    pub(crate) is_elsewhere: bool,
    pub(crate) head: response::Parts,
    pub(crate) body: Incoming,
    pub(crate) permit: OwnedSemaphorePermit,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<OneError>,
    /// What token servers say.
    #[serde(default)]
    details: Option<String>,
    #[serde(default)]
    error_description: Option<String>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) fn text(&self, name: header::HeaderName) -> Option<&str> {
        text(&self.head.headers, name)
    }

    /// The announced length of the body.
    pub(crate) fn length(&self) -> Option<u64> {
        self.text(header::CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// The type of the body, without parameters.
    pub(crate) fn media_type(&self) -> Option<&str> {
        let text = self.text(header::CONTENT_TYPE)?;
        Some(text.split(';').next().unwrap_or(text).trim())
    }

    pub(crate) fn protocol(&self, what: &str, problem: impl Into<String>) -> Error {
        Error::Protocol { host: self.host.clone(), what: what.into(), problem: problem.into() }
    }

    /// The whole body, of at most `limit` bytes.
    pub(crate) async fn collect(self, what: &str, limit: u64, timeouts: &Timeouts) -> Result<Bytes, Error> {
        let Self { host, head, body, permit, .. } = self;
        let too_large = || Error::Limit { host: host.clone(), what: what.into(), limit, unit: "bytes" };
        let announced =
            text(&head.headers, header::CONTENT_LENGTH).and_then(|text| text.trim().parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let collected = gather(body, limit, timeouts).await;
        drop(permit);
        match collected {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(too_large()),
            Err(Failure::Time(after)) => Err(Error::Timeout { host, what: what.into(), after }),
            Err(Failure::Broken(error)) => {
                Err(Error::Broken { host, what: what.into(), source: error.into() })
            }
        }
    }

    /// The error that an answer stands for which is not what was asked for.
    pub(crate) async fn refused(self, what: &str, registry: &str) -> Error {
        let (status, host, what) = (self.head.status.as_u16(), self.host.clone(), what.to_owned());
        let fallback = self.head.status.canonical_reason().unwrap_or("no reason").to_lowercase();
        let within = Timeouts { document: ERROR_TIME, stall: ERROR_TIME, ..Timeouts::default() };
        let body = gather(self.body, MAX_ERROR_BYTES, &within).await;
        let detail = body.ok().flatten().and_then(|bytes| detail(&bytes)).unwrap_or(fallback);
        match status {
            404 => Error::NotFound { what, registry: registry.to_owned() },
            401 | 403 => Error::Refused { host, what, status, detail },
            _ => Error::Status { host, what, status, detail },
        }
    }
}

pub(crate) fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

enum Failure {
    Time(Duration),
    Broken(hyper::Error),
}

/// The body, or nothing if it is too large.
async fn gather(mut body: Incoming, limit: u64, timeouts: &Timeouts) -> Result<Option<Bytes>, Failure> {
    let deadline = Instant::now() + timeouts.document;
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    loop {
        let frame = timeout(timeouts.stall, body.frame());
        let frame = match timeout_at(deadline, frame).await {
            Err(_) => return Err(Failure::Time(timeouts.document)),
            Ok(Err(_)) => return Err(Failure::Time(timeouts.stall)),
            Ok(Ok(None)) => break,
            Ok(Ok(Some(frame))) => frame.map_err(Failure::Broken)?,
        };
        let Ok(data) = frame.into_data() else { continue };
        if (first.len() + all.len() + data.len()) as u64 > limit {
            return Ok(None);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(Some(if all.is_empty() { first } else { all.freeze() }))
}

/// What an error's body says, for people: without control characters, and not too much of it.
pub(crate) fn detail(body: &[u8]) -> Option<String> {
    let parsed: Errors = serde_json::from_slice(body).ok()?;
    let mut texts: Vec<String> = Vec::new();
    for error in parsed.errors.into_iter().take(MAX_ERRORS) {
        match (error.code, error.message.filter(|text| !text.is_empty())) {
            (Some(code), Some(message)) => texts.push(format!("{code}: {message}")),
            (Some(text), None) | (None, Some(text)) => texts.push(text),
            (None, None) => {}
        }
    }
    texts.extend(parsed.details);
    texts.extend(parsed.error_description);
    let text = texts.join("; ");
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect();
    (!text.is_empty()).then_some(text)
}

/// What the body of an answer says that is no registry's, for people.
pub(crate) async fn plain_detail(answer: Answer) -> Option<String> {
    let within = Timeouts { document: ERROR_TIME, stall: ERROR_TIME, ..Timeouts::default() };
    let bytes = gather(answer.body, MAX_ERROR_BYTES, &within).await.ok().flatten()?;
    let text = String::from_utf8_lossy(&bytes);
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_registries_are_read() {
        let check = |body: &str, expect: Option<&str>| {
            assert_eq!(detail(body.as_bytes()).as_deref(), expect, "{body}")
        };
        check(r#"{"errors":[{"code":"DENIED","message":"no"},{"code":"X"},{}]}"#, Some("DENIED: no; X"));
        check(r#"{"details":"incorrect username"}"#, Some("incorrect username"));
        check("{\"errors\":[{\"message\":\"a\\u001b[2Jb\\n\"}]}", Some("a[2Jb"));
        check("<html>", None);
        check("{}", None);
        check(r#"{"errors":null}"#, None);
        let long = format!("{{\"details\":\"{}\"}}", "x".repeat(5000));
        assert_eq!(detail(long.as_bytes()).map(|text| text.len()), Some(MAX_DETAIL));
    }
}
