//! A request before it is sent.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde::Serialize;

/// Bodies as they are sent.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What is asked of the engine.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Without the version.
    pub(crate) path: String,
    query: String,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) payload: Payload,
}

/// What is sent with it.
pub(crate) enum Payload {
    /// Bytes, which can be sent again.
    Bytes(Bytes),
    /// A stream, which cannot.
    Stream(Body),
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let path = path.into();
        Self {
            method,
            path,
            query: String::new(),
            headers: Vec::new(),
            payload: Payload::Bytes(Bytes::new()),
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Adds a value to the query.
    pub(crate) fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        self.query.push_str(name);
        self.query.push('=');
        encode_into(value.as_ref(), b"", &mut self.query);
        self
    }

    /// Adds a value that may not be there.
    pub(crate) fn query_some(self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds `1` if it is so.
    pub(crate) fn query_flag(self, name: &str, flag: bool) -> Self {
        if flag { self.query(name, "1") } else { self }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Gives the credentials of a registry along.
    pub(crate) fn registry_auth(self, encoded: &str) -> Self {
        match HeaderValue::from_str(encoded) {
            Ok(value) if !encoded.is_empty() => {
                self.header(HeaderName::from_static("x-registry-auth"), value)
            }
            _ => self,
        }
    }

    pub(crate) fn json(self, value: &impl Serialize) -> Self {
        let text = serde_json::to_vec(value).expect("what is sent has texts for keys");
        let mut call = self.header(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        call.payload = Payload::Bytes(text.into());
        call
    }

    pub(crate) fn stream(self, content_type: &'static str, body: Body) -> Self {
        let mut call = self.header(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        call.payload = Payload::Stream(body);
        call
    }

    /// The body, if it can be sent only once, and the call without it.
    pub(super) fn take_stream(mut self) -> (Self, Option<Body>) {
        match std::mem::replace(&mut self.payload, Payload::Bytes(Bytes::new())) {
            Payload::Stream(body) => (self, Some(body)),
            bytes @ Payload::Bytes(_) => {
                self.payload = bytes;
                (self, None)
            }
        }
    }

    /// The path with the version and the query.
    pub(crate) fn target(&self, version: &str) -> String {
        format!("/v{version}{}{}", self.path, self.query)
    }
}

/// A body of bytes.
pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A name as a segment of a path; images keep their slashes and colons.
pub(crate) fn segment(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    encode_into(name, b"/:@", &mut text);
    text
}

fn encode_into(value: &str, keep: &[u8], text: &mut String) {
    for &byte in value.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || keep.contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_encoded() {
        let call = Call::get(format!("/images/{}/json", segment("a/b:c d?")))
            .query("q", "{\"a\":1}&b")
            .query_flag("x", true)
            .query_flag("y", false)
            .query_some("z", None::<&str>);
        assert_eq!(call.target("1.41"), "/v1.41/images/a/b:c%20d%3F/json?q=%7B%22a%22%3A1%7D%26b&x=1");
    }
}
