//! A request, as handlers have it.

use bytes::Bytes;
use gantry_docker_api::{ApiVersion, Filters};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;

use super::Outcome;
use super::query::Query;
use super::received::Received;
use crate::door::Door;
use crate::failure::Failure;
use crate::route::{self, Target};

/// A request.
pub(crate) struct Call {
    /// The door that it came through.
    pub(crate) door: Door,
    /// The method.
    pub(crate) method: Method,
    /// The version of the API that its path says; the newest if it says none.
    pub(crate) version: ApiVersion,
    /// What stands behind the question mark.
    pub(crate) query: Query,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body; None where there was none.
    pub(crate) body: Option<Received>,
}

impl Call {
    /// Whether the client asks for another protocol on the connection.
    pub(crate) fn wants_upgrade(&self) -> bool {
        self.headers.contains_key(http::header::UPGRADE)
    }

    /// The value of a header as text; empty for none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The query's `filters`.
    ///
    /// # Errors
    /// 400 for what is none.
    pub(crate) fn filters(&self) -> Result<Filters, Failure> {
        Filters::parse(self.query.text("filters")).map_err(|error| match error {
            // Docker's answer names no more.
            gantry_docker_api::Invalid::Filters(_) => Failure::invalid("invalid filter"),
            error => Failure::invalid(error.to_string()),
        })
    }

    fn has_body(&self) -> bool {
        let length = self.headers.get(CONTENT_LENGTH).map(|value| value.as_bytes());
        self.body.is_some() && length != Some(b"0")
    }

    /// The body, at most so long.
    ///
    /// # Errors
    /// 413 for a longer one, 400 for one that ends too early.
    pub(crate) async fn bytes(&mut self, limit: usize) -> Result<Bytes, Failure> {
        match self.body.take() {
            Some(body) => read(body, limit).await,
            None => Ok(Bytes::new()),
        }
    }

    /// The body as one value of JSON, or None without a body.
    ///
    /// # Errors
    /// 400 for another media type, for what is no JSON or of another form; 413 for too much.
    pub(crate) async fn json_if_any<T: DeserializeOwned + Default>(&mut self) -> Result<Option<T>, Failure> {
        if !self.has_body() {
            return Ok(None);
        }
        check_media_type(self.headers.get(CONTENT_TYPE).map(|value| value.as_bytes()))?;
        let bytes = self.bytes(self.door.limits.json_bytes).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        read_json(&bytes).map(Some)
    }

    /// The body as one value of JSON; the default without one.
    ///
    /// # Errors
    /// As [`Call::json_if_any`].
    pub(crate) async fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T, Failure> {
        Ok(self.json_if_any().await?.unwrap_or_default())
    }
}

/// Answers a request, through the router.
///
/// # Errors
/// Whatever the client is told of.
pub(super) async fn answer(door: Door, request: Request<Incoming>) -> Outcome {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > door.limits.target_bytes {
        let limit = door.limits.target_bytes;
        return Err(Failure::with(StatusCode::URI_TOO_LONG, format!("the path has more than {limit} bytes")));
    }
    let Target { version, segments } = Target::parse(parts.uri.path())?;
    let version = ApiVersion::negotiate(version.as_deref())?;
    let query = Query::parse(parts.uri.query().unwrap_or_default())?;
    let has_body = !http_body::Body::is_end_stream(&body);
    let call = Call {
        door,
        method: parts.method,
        version,
        query,
        headers: parts.headers,
        body: has_body.then(|| Received::new(body)),
    };
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    route::route(call, &segments).await
}

/// Reads a body, at most so long.
///
/// # Errors
/// 413 for a longer one, 400 for one that ends too early.
pub(super) async fn read(body: Received, limit: usize) -> Result<Bytes, Failure> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Failure::too_large(format!("the body has more than {limit} bytes")))
        }
        Err(error) => Err(Failure::invalid(format!("reading the body: {error}"))),
    }
}

/// Reads one value, and nothing behind it; `null` is the default.
pub(crate) fn read_json<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T, Failure> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Option::<T>::deserialize(&mut deserializer).map_err(|error| {
        Failure::invalid(match error.is_eof() {
            true if bytes.trim_ascii().is_empty() => "invalid JSON: EOF".to_owned(),
            true => "invalid JSON: got EOF while reading request body".to_owned(),
            false => format!("invalid JSON: {error}"),
        })
    })?;
    deserializer.end().map_err(|_| Failure::invalid("unexpected content after JSON"))?;
    Ok(value.unwrap_or_default())
}

fn check_media_type(value: Option<&[u8]>) -> Result<(), Failure> {
    let value = String::from_utf8_lossy(value.unwrap_or_default());
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    if essence.is_empty() || !essence.contains('/') {
        return Err(Failure::invalid(format!(
            "malformed Content-Type header ({value}): mime: no media type"
        )));
    }
    Err(Failure::invalid(format!("unsupported Content-Type header ({value}): must be 'application/json'")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_docker_api::exec::ExecStartRequest;

    #[test]
    fn json_is_one_value() {
        let read =
            |text: &str| read_json::<ExecStartRequest>(text.as_bytes()).map_err(|failure| failure.message);
        assert!(read(r#"{"Detach":true}"#).unwrap().detach);
        assert_eq!(read("null"), Ok(ExecStartRequest::default()));
        for (text, words) in [
            ("{}{}", "unexpected content after JSON"),
            ("{", "invalid JSON: got EOF while reading request body"),
            ("{bad", "invalid JSON: "),
            ("[]", "invalid JSON: "),
            (r#"{"Tty":1}"#, "invalid JSON: "),
        ] {
            assert!(read(text).unwrap_err().starts_with(words), "{text}");
        }
    }

    #[test]
    fn bodies_are_json_and_say_so() {
        assert!(check_media_type(Some(b"application/json")).is_ok());
        assert!(check_media_type(Some(b"application/json; charset=utf-8")).is_ok());
        for (value, words) in [
            (None, "malformed Content-Type header (): mime: no media type"),
            (
                Some(&b"text/plain"[..]),
                "unsupported Content-Type header (text/plain): must be 'application/json'",
            ),
        ] {
            assert_eq!(check_media_type(value).unwrap_err().message, words);
        }
    }
}
