//! From a path to who answers.

use std::borrow::Cow;

use futures_util::future::BoxFuture;
use http::{Method, StatusCode};

use crate::failure::Failure;
use crate::http::{Answer, Call, NO_BUILDKIT, Outcome, decode_path};

/// The most parts of a path: names of images have some.
const MAX_SEGMENTS: usize = 256;

/// What a path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The version, without the `v`.
    pub(crate) version: Option<String>,
    /// What stands between slashes, decoded. Empty parts are left out.
    pub(crate) segments: Vec<String>,
}

impl Target {
    /// Reads a path. As in dockerd, it is decoded before it is split: an image's name may be sent either way.
    ///
    /// # Errors
    /// 400 for what is no text, 404 for what has too many parts.
    pub(crate) fn parse(path: &str) -> Result<Self, Failure> {
        let path: Cow<'_, str> = decode_path(path)?;
        let mut segments = path.split('/').filter(|segment| !segment.is_empty()).peekable();
        let is_version = |text: &str| {
            let digits = text.strip_prefix('v').unwrap_or_default();
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        };
        let version = segments.next_if(|first| is_version(first)).map(|version| version[1..].to_owned());
        let segments: Vec<String> = segments.take(MAX_SEGMENTS + 1).map(str::to_owned).collect();
        if segments.len() > MAX_SEGMENTS {
            return Err(Failure::no_page());
        }
        Ok(Self { version, segments })
    }
}

/// A future on the heap, made in a frame that ends before it is polled. A router's own future, and the frame that polls it, would
/// otherwise have room for those of all handlers: each connection would hold that much, and without optimisation a pull would
/// need more than a thread's stack.
#[inline(never)]
pub(crate) fn boxed<'a, F>(make: impl FnOnce() -> F) -> BoxFuture<'a, Outcome>
where
    F: Future<Output = Outcome> + Send + 'a,
{
    Box::pin(make())
}

/// Answers a request.
pub(crate) async fn route(call: Call, segments: &[&str]) -> Outcome {
    // As dockerd answers a browser that asks what it may do.
    if call.method == Method::OPTIONS {
        return Ok(Answer::status(StatusCode::OK));
    }
    match segments {
        ["containers", rest @ ..] => boxed(|| crate::container::route(call, rest)).await,
        ["exec", rest @ ..] => boxed(|| crate::exec::route(call, rest)).await,
        ["images", rest @ ..] => boxed(|| crate::image::route(call, rest)).await,
        ["build", rest @ ..] => boxed(|| crate::build::route(call, rest)).await,
        ["commit"] => boxed(|| crate::image::commit(call)).await,
        ["distribution", rest @ ..] => boxed(|| crate::image::distribution(call, rest)).await,
        ["volumes", rest @ ..] => boxed(|| crate::volume::route(call, rest)).await,
        ["networks", rest @ ..] => boxed(|| crate::network::route(call, rest)).await,
        ["plugins", rest @ ..] => crate::swarm::plugins(&call, rest),
        ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", rest @ ..] => {
            crate::swarm::swarm(&call, rest)
        }
        ["grpc" | "session"] if call.method == Method::POST => Err(Failure::unsupported(NO_BUILDKIT)),
        segments => boxed(|| crate::system::route(call, segments)).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_versions_or_none() {
        for (path, version, segments) in [
            ("/v1.45/containers/json", Some("1.45"), &["containers", "json"][..]),
            ("/containers/json", None, &["containers", "json"]),
            ("/v1.2.3/info", Some("1.2.3"), &["info"]),
            ("/version", None, &["version"]),
            ("/v/x", None, &["v", "x"]),
            ("/vx/x", None, &["vx", "x"]),
            ("//containers//a/json/", None, &["containers", "a", "json"]),
            ("/images/a%2Fb/json", None, &["images", "a", "b", "json"]),
            ("/containers/%2e%2e/json", None, &["containers", "..", "json"]),
            ("/", None, &[]),
            ("/v1.45", Some("1.45"), &[]),
        ] {
            let target = Target::parse(path).unwrap();
            assert_eq!(target.version.as_deref(), version, "{path}");
            assert_eq!(target.segments, segments, "{path}");
        }
    }

    #[test]
    fn hostile_paths_are_refused() {
        for path in ["/%", "/%zz", "/%ff", "/a%00b", "/a\0b", &"/a".repeat(MAX_SEGMENTS + 1)] {
            assert!(Target::parse(path).is_err());
        }
    }
}
