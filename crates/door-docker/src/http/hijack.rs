//! Connections that a handler takes over: what comes and goes then are bytes, and no HTTP.
//!
//! Docker's clients ask for it by `Connection: Upgrade` and `Upgrade: tcp`, and get 101; old ones, and those that only read,
//! do not ask and get 200. hyper knows the former alone, so its part of the connection ends where either begins.

use std::pin::Pin;

use http::{HeaderName, HeaderValue, StatusCode};
use tokio::io::AsyncWriteExt as _;

use super::socket::Rewound;

/// A connection that was taken over. What a client sent early is read first.
pub(crate) type Wire = Rewound;

/// What is done with it.
type Work = Box<dyn FnOnce(Wire) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A connection to be taken over.
pub(crate) struct Hijack {
    /// The value of `Upgrade`, where the client asked for another protocol.
    pub(crate) upgrade: Option<&'static str>,
    /// What the bytes are.
    pub(crate) media_type: Option<&'static str>,
    /// More headers.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    work: Work,
}

impl Hijack {
    /// A connection to be taken over by `work`.
    pub(crate) fn new<F>(work: impl FnOnce(Wire) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            upgrade: None,
            media_type: None,
            headers: Vec::new(),
            work: Box::new(move |wire| Box::pin(work(wire))),
        }
    }

    /// The status that it is answered with.
    pub(super) fn status(&self) -> StatusCode {
        if self.upgrade.is_some() { StatusCode::SWITCHING_PROTOCOLS } else { StatusCode::OK }
    }

    /// Status and headers, as bytes; `common` stand on every answer.
    pub(super) fn head(&self, common: &[(HeaderName, HeaderValue)]) -> Vec<u8> {
        let mut head = Vec::with_capacity(256);
        head.extend_from_slice(match self.upgrade {
            Some(_) => b"HTTP/1.1 101 UPGRADED\r\n".as_slice(),
            None => b"HTTP/1.1 200 OK\r\n",
        });
        let mut line = |name: &str, value: &[u8]| {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        };
        if let Some(media_type) = self.media_type {
            line("Content-Type", media_type.as_bytes());
        }
        if let Some(protocol) = self.upgrade {
            line("Connection", b"Upgrade");
            line("Upgrade", protocol.as_bytes());
        }
        for (name, value) in common.iter().chain(&self.headers) {
            line(&title_case(name.as_str()), value.as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Answers, and does the work.
    pub(super) async fn run(self, mut wire: Wire, common: &[(HeaderName, HeaderValue)]) {
        let head = self.head(common);
        match wire.write_all(&head).await {
            Ok(()) => (self.work)(wire).await,
            Err(error) => tracing::debug!(%error, "a client left before its connection was taken over"),
        }
    }
}

/// `api-version` as `Api-Version`: there are clients that compare bytes.
fn title_case(name: &str) -> String {
    let mut upper = true;
    name.chars()
        .map(|c| {
            let c = if upper { c.to_ascii_uppercase() } else { c };
            upper = c == '-';
            c
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_dockers() {
        let mut hijack = Hijack::new(|_| async {});
        hijack.media_type = Some("application/vnd.docker.raw-stream");
        let common = [(HeaderName::from_static("api-version"), HeaderValue::from_static("1.52"))];
        let text = |hijack: &Hijack, common| String::from_utf8(hijack.head(common)).unwrap();
        assert_eq!(
            text(&hijack, &[]),
            "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
        );
        hijack.upgrade = Some("tcp");
        assert_eq!(
            text(&hijack, &common),
            "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\n\
             Upgrade: tcp\r\nApi-Version: 1.52\r\n\r\n"
        );
    }
}
