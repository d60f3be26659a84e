//! Files at addresses that clients give: what builds add, and what is imported.

use bytes::Bytes;
use gantry_primitives::chain;
use gantry_primitives::registry::{self, Download, redacted};
use gantry_types::ErrorKind;

use super::pipe::{ByteSource, byte_source};
use crate::{Engine, Error, Result};

/// The most bytes of a file of the web: as many as an archive of a client may have.
const MAX_BYTES: u64 = 64 << 30;

/// Who is told how many bytes have come, of how many if that is known. Called from any thread; must not block.
pub type WebListener = Box<dyn Fn(u64, Option<u64>) + Send>;

/// A file of the web that is being fetched.
#[derive(Debug)]
pub struct WebFile {
    url: String,
    download: Download,
    bytes: u64,
}

impl WebFile {
    /// The last part of its address; nothing where that ends with a slash.
    pub fn path_name(&self) -> Option<String> {
        self.download.path_name()
    }

    /// The name that the server gives it.
    pub fn given_name(&self) -> Option<String> {
        self.download.given_name()
    }

    /// The type that the server names, without parameters.
    pub fn media_type(&self) -> Option<&str> {
        self.download.media_type()
    }

    /// When it was changed last, in seconds since 1970.
    pub fn modified(&self) -> Option<u64> {
        self.download.modified()
    }

    /// How many bytes there are, if the server says it.
    pub fn length(&self) -> Option<u64> {
        self.download.length()
    }

    /// The next piece; None after the last.
    ///
    /// # Errors
    /// Web, for transfers that break, stall or are too large.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let piece = self.download.next().await.map_err(|error| failed(&self.url, error))?;
        self.bytes += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if self.bytes > MAX_BYTES {
            let detail = format!(": it has more than {MAX_BYTES} bytes");
            return Err(Error::Web { url: self.url.clone(), detail, kind: ErrorKind::ResourceExhausted });
        }
        Ok(piece)
    }

    /// The file for a thread that reads it, after `head`, which was read of it already. What goes wrong is an error for who reads.
    pub fn into_source(mut self, head: Vec<Bytes>, listener: WebListener) -> ByteSource {
        let (send, source) = byte_source();
        tokio::spawn(async move {
            for piece in head {
                if send.send(Ok(piece)).await.is_err() {
                    return;
                }
            }
            loop {
                let piece = match self.next().await {
                    Ok(Some(piece)) => Ok(piece),
                    Ok(None) => return,
                    Err(error) => Err(std::io::Error::other(error)),
                };
                listener(self.bytes, self.length());
                let is_last = piece.is_err();
                if send.send(piece).await.is_err() || is_last {
                    return;
                }
            }
        });
        source
    }
}

impl Engine {
    /// Fetches a file of the web over http or https, by the connections, proxies and trusted certificates of registries.
    ///
    /// # Errors
    /// Web.
    pub async fn web_file(&self, url: &str) -> Result<WebFile> {
        match self.shared.store.web_file(url).await {
            Ok(download) => Ok(WebFile { url: redacted(url), download, bytes: 0 }),
            Err(error) => Err(failed(&redacted(url), error)),
        }
    }

    /// The proxies that the engine goes through.
    pub fn proxies(&self) -> &registry::Proxies {
        self.shared.store.proxies()
    }
}

/// What docker says of a file that cannot be fetched.
fn failed(url: &str, error: registry::Error) -> Error {
    let (detail, kind) = match &error {
        registry::Error::Status { status, detail, .. } => {
            let kind = match status {
                404 => ErrorKind::NotFound,
                // A client that was told of a 401 would ask for a password of the engine's.
                400..=499 => ErrorKind::InvalidArgument,
                _ => ErrorKind::Unavailable,
            };
            (format!(" with status {status} {detail}"), kind)
        }
        error => (format!(": {}", chain(error)), error.kind()),
    };
    Error::Web { url: url.to_owned(), detail, kind }
}
