//! The beginning of a blob's body: who has it, from where on, and how much.

use std::sync::{Mutex, PoisonError};

use gantry_types::Descriptor;
use http::{HeaderMap, HeaderValue, Method, Uri, header};

use crate::auth::Scope;
use crate::repository::{Call, Failure, Place, Tries};
use crate::transport::{Answer, Ask, Payload, shown};
use crate::{Capability, Error, Host, Repository, Scheme};

/// The most foreign addresses of a layer that are tried.
const MAX_FOREIGN: usize = 8;

/// A part of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// A blob, and where it was found.
pub(super) struct Source {
    pub(super) repository: Repository,
    pub(super) size: u64,
    pub(super) what: String,
    path: String,
    scope: Scope,
    /// Where else it may be had, by what the manifest says.
    foreign: Vec<String>,
    /// Where a registry sent us for it: the next part is asked for there at once.
    redirected: Mutex<Option<(Host, Uri)>>,
}

/// An answer whose body has the wanted bytes.
pub(super) struct Opened {
    pub(super) answer: Answer,
    /// How many bytes of the body come before them.
    pub(super) skip: u64,
    /// Where the body ends in the blob.
    pub(super) end: u64,
}

impl Source {
    pub(super) fn new(repository: &Repository, descriptor: &Descriptor) -> Self {
        Self {
            repository: repository.clone(),
            size: descriptor.size,
            what: format!("blob {}", descriptor.digest),
            path: format!("blobs/{}", descriptor.digest),
            scope: repository.scope(&["pull"]),
            foreign: descriptor.urls.iter().take(MAX_FOREIGN).cloned().collect(),
            redirected: Mutex::default(),
        }
    }

    /// Asks for `span`: the place it was redirected to before, then each host, then the foreign addresses.
    pub(super) async fn open(&self, span: Span) -> Result<Opened, Error> {
        if let Some(opened) = self.open_redirected(span).await {
            return Ok(opened);
        }
        let hosts = self.repository.hosts(Capability::Pull)?;
        let mut failure = Failure::default();
        for (index, host) in hosts.iter().enumerate() {
            match self.open_at(host, Tries::of(index, hosts.len()), span).await {
                Ok(opened) => return Ok(opened),
                Err(error) => failure.note(host, error),
            }
        }
        for url in &self.foreign {
            match self.open_foreign(url, span).await {
                Ok(opened) => return Ok(opened),
                Err((host, error)) => failure.note(&host, error),
            }
        }
        Err(failure.into_error(&self.repository, &self.what))
    }

    async fn open_at(&self, host: &Host, tries: Tries, span: Span) -> Result<Opened, Error> {
        let mut call = Call::new(Method::GET, Place::Path(&self.path), &self.scope, &self.what);
        if let Some(range) = self.range(span) {
            call.headers.insert(header::RANGE, range);
        }
        let answer = self.repository.call(host, call, tries).await?;
        let redirected = answer.is_elsewhere.then(|| (host.clone(), answer.uri.clone()));
        let opened = self.checked(answer, span)?;
        *self.redirected.lock().unwrap_or_else(PoisonError::into_inner) = redirected;
        Ok(opened)
    }

    /// Asks where the last request was redirected to, without a credential. What fails there is forgotten, for such addresses expire.
    async fn open_redirected(&self, span: Span) -> Option<Opened> {
        let (host, uri) = self.redirected.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let answer = self.anonymous(&elsewhere(&host), uri, span).await;
        match answer.and_then(|answer| self.checked(answer, span)) {
            Ok(opened) => Some(opened),
            Err(error) => {
                tracing::debug!(error = %error, "redirected address does not serve any more");
                *self.redirected.lock().unwrap_or_else(PoisonError::into_inner) = None;
                None
            }
        }
    }

    /// Asks an address that a manifest has: with no credential (CVE-2020-15157), no header and no trust of ours.
    async fn open_foreign(&self, url: &str, span: Span) -> Result<Opened, (Host, Error)> {
        let uri: Option<Uri> = url.parse().ok();
        let authority = uri.as_ref().and_then(Uri::authority).map(ToString::to_string).unwrap_or_default();
        let host = Host::new(Scheme::Https, authority);
        let misled = |target, reason| Error::Misled {
            host: self.repository.registry().to_owned(),
            what: self.what.clone(),
            target,
            reason,
        };
        let uri = match uri {
            Some(uri) if uri.host().is_some() && !host.host.contains('@') => uri,
            _ => return Err((host, misled("nowhere".into(), "which is no URL of HTTP"))),
        };
        let may_be_plain = self.repository.options().plain_http_elsewhere;
        let host = match uri.scheme_str() {
            Some("https") => host,
            Some("http") if may_be_plain => Host { scheme: Scheme::Http, ..host },
            _ => return Err((host, misled(shown(&uri), "which is not TLS"))),
        };
        let answer = self.anonymous(&host, uri, span).await;
        answer.and_then(|answer| self.checked(answer, span)).map_err(|error| (host, error))
    }

    async fn anonymous(&self, host: &Host, uri: Uri, span: Span) -> Result<Answer, Error> {
        let shared = self.repository.client();
        let mut headers = HeaderMap::new();
        if let Some(range) = self.range(span) {
            headers.insert(header::RANGE, range);
        }
        let (method, payload, what) = (Method::GET, Payload::Empty, self.what.as_str());
        let limit = shared.options.timeouts.response;
        let answer = shared.transport.send(host, Ask { method, uri, headers, payload, what, limit }).await?;
        if !answer.status().is_success() {
            return Err(answer.refused(what, self.repository.registry()).await);
        }
        Ok(answer)
    }

    fn range(&self, span: Span) -> Option<HeaderValue> {
        if span.start == 0 && span.end == self.size {
            return None;
        }
        let text = if span.end == self.size {
            format!("bytes={}-", span.start)
        } else {
            format!("bytes={}-{}", span.start, span.end - 1)
        };
        HeaderValue::try_from(text).ok()
    }

    /// That an answer has what was asked for, and says nothing else of the blob's size.
    fn checked(&self, answer: Answer, span: Span) -> Result<Opened, Error> {
        let length = answer.length();
        let (start, end, total) = match answer.text(header::CONTENT_RANGE) {
            Some(text) if answer.status() == 206 => {
                content_range(text).ok_or_else(|| answer.protocol(&self.what, "a range that is none"))?
            }
            _ => (0, length.unwrap_or(self.size), length),
        };
        if total.is_some_and(|total| total != self.size) {
            return Err(self.mismatch(&answer, format!("{} bytes", self.size), total.unwrap_or_default()));
        }
        if start > span.start || end > self.size || end <= span.start {
            return Err(self.mismatch(&answer, format!("bytes {}-{}", span.start, span.end), end));
        }
        if length.is_some_and(|length| length != end - start) {
            return Err(self.mismatch(&answer, format!("{} bytes", end - start), length.unwrap_or_default()));
        }
        Ok(Opened { answer, skip: span.start - start, end })
    }

    fn mismatch(&self, answer: &Answer, expected: String, found: u64) -> Error {
        let (host, found) = (answer.host.clone(), found.to_string());
        Error::Mismatch { host, what: self.what.clone(), expected, found }
    }
}

/// `host` as somebody else is asked: with its trust, since it sent us there, and without what shows who we are.
fn elsewhere(host: &Host) -> Host {
    Host { client: Vec::new(), headers: std::collections::BTreeMap::new(), ..host.clone() }
}

/// Reads `bytes 0-9/10`: the start, the end after the last byte, and the whole size if it is told.
pub(crate) fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.trim().split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let (start, last) = (start.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    let end = last.checked_add(1)?;
    (start < end && total.is_none_or(|total| end <= total)).then_some((start, end, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let check = |text: &str, expect: Option<(u64, u64, Option<u64>)>| {
            assert_eq!(content_range(text), expect, "{text}");
        };
        check("bytes 0-9/10", Some((0, 10, Some(10))));
        check("bytes 5-9/*", Some((5, 10, None)));
        check("bytes 5-4/10", None);
        check("bytes 0-10/10", None);
        check("bytes */10", None);
        check("bytes 0-18446744073709551615/*", None);
        check("items 0-9/10", None);
    }
}
