//! One upload: whole in one request, or in parts when that fails.
//!
//! ```text
//! POST ─► Location ─► PUT all ──────────────────────────────► 201
//!                        └─ broken ─► GET Location (how much?) ─► PATCH part ─► … ─► PUT ─► 201
//!                                            ▲                        └─ 416 ─┐
//!                                            └────────────────────────────────┘
//! ```

use std::time::Duration;

use gantry_types::{Algorithm, Descriptor, Digest};
use http::{HeaderName, Method, Uri, header};

use super::BodyStream;
use crate::auth::Scope;
use crate::repository::{Call, Place, Tries};
use crate::retry::pause;
use crate::transport::{Answer, Origin, Payload, Upload, join, shown};
use crate::{Error, Host, Repository, Scheme};

const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The longest time that giving an upload up may take.
const CANCEL_TIME: Duration = Duration::from_secs(5);
/// The largest part that a registry may insist on, in bytes.
const MAX_CHUNK: u64 = 512 << 20;

/// An upload that a registry has begun.
pub(super) struct Session<'a> {
    repository: &'a Repository,
    host: &'a Host,
    scope: Scope,
    what: &'a str,
    location: Uri,
    chunk_min: u64,
}

/// Where the bytes of an upload come from.
type Bytes<'a> = &'a (dyn Fn(u64) -> BodyStream + Send + Sync);

impl<'a> Session<'a> {
    /// The session that an answer speaks of.
    pub(super) fn begun(
        repository: &'a Repository,
        host: &'a Host,
        scope: Scope,
        what: &'a str,
        answer: &Answer,
    ) -> Result<Self, Error> {
        let location = next_location(host, answer, what)?;
        let location = location.ok_or_else(|| answer.protocol(what, "no location for the upload"))?;
        let chunk_min = answer.text(CHUNK_MIN_LENGTH).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Ok(Self { repository, host, scope, what, location, chunk_min })
    }

    /// Sends the blob, and ends the upload; gives it up if that fails.
    pub(super) async fn upload(mut self, descriptor: &Descriptor, source: Bytes<'_>) -> Result<(), Error> {
        if descriptor.digest.algorithm() != Algorithm::Sha256 {
            // Registries hash while they take the bytes in, so they have to know.
            let name = descriptor.digest.algorithm().name();
            match self.repository.session(self.host, &self.scope, self.what, Some(name)).await {
                Ok(session) => std::mem::replace(&mut self, session).cancel().await,
                Err(error) => tracing::debug!(error = %error, "registry does not take an algorithm"),
            }
        }
        let result = self.send(descriptor, source).await;
        if result.is_err() {
            self.cancel().await;
        }
        result
    }

    async fn send(&mut self, descriptor: &Descriptor, source: Bytes<'_>) -> Result<(), Error> {
        let error = match self.send_whole(descriptor, source).await {
            Ok(()) => return Ok(()),
            Err(error) if may_be_sent_in_parts(&error) => error,
            Err(error) => return Err(error),
        };
        tracing::debug!(error = %error, "upload goes on in parts");
        let retry = self.repository.options().retry.clone();
        let (mut attempt, mut best, mut last) = (1, 0, error);
        while attempt < retry.attempts {
            tokio::time::sleep(pause(attempt, &retry)).await;
            let offset = match self.received().await {
                Ok(offset) => offset.min(descriptor.size),
                // The session is gone: a new one, from the start.
                Err(Error::NotFound { .. } | Error::Status { .. }) => {
                    let fresh = self.repository.session(self.host, &self.scope, self.what, None).await?;
                    *self = fresh;
                    0
                }
                Err(error) => {
                    (attempt, last) = (attempt + 1, error);
                    continue;
                }
            };
            // What the registry has is progress, and that may be tried for again.
            attempt = if offset > best { 1 } else { attempt + 1 };
            best = best.max(offset);
            match self.send_parts(descriptor, source, offset).await {
                Ok(()) => return Ok(()),
                Err(error) if may_be_sent_in_parts(&error) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// `PUT` of everything.
    async fn send_whole(&mut self, descriptor: &Descriptor, source: Bytes<'_>) -> Result<(), Error> {
        let upload = Upload::new(source(0), descriptor.size);
        let payload = if descriptor.size == 0 { Payload::Empty } else { Payload::Stream(upload) };
        self.put(&descriptor.digest, payload).await
    }

    async fn put(&self, digest: &Digest, payload: Payload) -> Result<(), Error> {
        let commit = self.repository.options().timeouts.commit;
        let call = Call::new(Method::PUT, Place::Uri(self.location.clone()), &self.scope, self.what)
            .query("digest", digest.as_str())
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .payload(payload)
            .within(commit);
        let answer = self.repository.call(self.host, call, Tries::All).await?;
        let told = answer.text(DOCKER_CONTENT_DIGEST).and_then(|text| Digest::parse(text).ok());
        match told {
            Some(told) if told.algorithm() == digest.algorithm() && told != *digest => Err(Error::Mismatch {
                host: answer.host.clone(),
                what: self.what.into(),
                expected: digest.to_string(),
                found: told.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// `PATCH` after `PATCH` from `offset` on, then an empty `PUT`.
    async fn send_parts(
        &mut self,
        descriptor: &Descriptor,
        source: Bytes<'_>,
        mut offset: u64,
    ) -> Result<(), Error> {
        let usual = self.repository.options().limits.upload_chunk_bytes.max(1);
        let chunk = usual.max(self.chunk_min.min(MAX_CHUNK));
        while offset < descriptor.size {
            let length = chunk.min(descriptor.size - offset);
            let range = format!("{offset}-{}", offset + length - 1);
            let call = Call::new(Method::PATCH, Place::Uri(self.location.clone()), &self.scope, self.what)
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_RANGE, &range)
                .payload(Payload::Stream(Upload::new(source(offset), length)))
                .within(self.repository.options().timeouts.commit)
                .accepting(&[416]);
            let answer = self.repository.call(self.host, call, Tries::All).await?;
            if let Some(location) = next_location(self.host, &answer, self.what)? {
                self.location = location;
            }
            let received = answer.text(header::RANGE).and_then(received);
            let next = if answer.status() == 416 {
                drop(answer);
                self.received().await?
            } else {
                received.unwrap_or(offset + length)
            };
            if next <= offset || next > descriptor.size {
                // It neither takes the part nor says which one it wants.
                let problem = format!("{next} bytes received after a part from {offset}");
                let (host, what) = (self.host.host.clone(), self.what.to_owned());
                return Err(Error::Protocol { host, what, problem });
            }
            offset = next;
        }
        self.put(&descriptor.digest, Payload::Empty).await
    }

    /// How many bytes the registry has.
    async fn received(&mut self) -> Result<u64, Error> {
        let call = Call::new(Method::GET, Place::Uri(self.location.clone()), &self.scope, self.what);
        let answer = self.repository.call(self.host, call, Tries::All).await?;
        if let Some(location) = next_location(self.host, &answer, self.what)? {
            self.location = location;
        }
        Ok(answer.text(header::RANGE).and_then(received).unwrap_or(0))
    }

    /// Gives the upload up, as far as the registry can be told.
    pub(super) async fn cancel(self) {
        let call = Call::new(Method::DELETE, Place::Uri(self.location.clone()), &self.scope, self.what);
        let call = self.repository.call(self.host, call.within(CANCEL_TIME), Tries::Few);
        match tokio::time::timeout(CANCEL_TIME, call).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(error = %error, "upload cannot be given up"),
            Err(_) => tracing::debug!("upload cannot be given up in time"),
        }
    }
}

/// Whether a failed request says nothing of the next one, in parts.
fn may_be_sent_in_parts(error: &Error) -> bool {
    match error {
        Error::Broken { .. } | Error::Timeout { .. } | Error::Connect { .. } => true,
        Error::Status { status, .. } => matches!(status, 408 | 413 | 416 | 425 | 429 | 500..=599),
        _ => false,
    }
}

/// Reads `0-9` (or `bytes=0-9`): ten bytes.
fn received(text: &str) -> Option<u64> {
    let text = text.trim();
    let (start, last) = text.strip_prefix("bytes=").unwrap_or(text).split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    // An upload of which nothing is there is 0-0 at some registries; the part that follows then says 416 or fits.
    let count = if last == 0 { 0 } else { last.checked_add(1)? };
    (start.trim() == "0").then_some(count)
}

/// Where an upload goes on. Never from TLS to plain HTTP: registries behind a proxy that say so mean themselves.
fn next_location(host: &Host, answer: &Answer, what: &str) -> Result<Option<Uri>, Error> {
    let Some(text) = answer.text(header::LOCATION) else { return Ok(None) };
    let Some(location) = join(&answer.uri, text) else {
        return Err(answer.protocol(what, "a location that is no URL of HTTP"));
    };
    let (was, now) = (Origin::of(&answer.uri), Origin::of(&location));
    let downgraded =
        was.as_ref().is_some_and(|was| was.is_tls) && now.as_ref().is_some_and(|now| !now.is_tls);
    if !downgraded || host.scheme == Scheme::Http {
        return Ok(Some(location));
    }
    if location.host() == answer.uri.host() {
        let path = location.path_and_query().map_or("/", |path| path.as_str());
        return Ok(join(&answer.uri, path));
    }
    Err(Error::Misled {
        host: answer.host.clone(),
        what: what.into(),
        target: shown(&location),
        reason: "which is plain HTTP",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_received_is_read() {
        let check = |text: &str, expect: Option<u64>| assert_eq!(received(text), expect, "{text}");
        check("0-9", Some(10));
        check("bytes=0-9", Some(10));
        check("0-0", Some(0));
        check("1-9", None);
        check("0-18446744073709551615", None);
        check("x", None);
    }
}
