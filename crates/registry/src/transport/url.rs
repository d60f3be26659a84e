//! URLs that registries send: where they lead, and whose they are.

use std::fmt::Write as _;

use http::Uri;
use http::uri::{Authority, Scheme};

/// Who answers for a URL: what is said to one must not be said to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) is_tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let is_tls = match uri.scheme()?.as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Some(Self { is_tls, host: uri.host()?.to_ascii_lowercase(), port })
    }
}

/// `location` as seen from `base` (RFC 3986, 5.2). Nothing for what is no URL of HTTP, or has a name or password in it.
pub(crate) fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = escaped(location.split('#').next().unwrap_or_default());
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let text = if let Some(end) = absolute(&location) {
        let (scheme, rest) = location.split_at(end);
        format!("{}{rest}", scheme.to_ascii_lowercase())
    } else if has_scheme(&location) {
        return None;
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') || location.is_empty() {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{location}")
    };
    let uri: Uri = text.parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (is_http && plain && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

/// Where the scheme of an absolute URL ends.
fn absolute(location: &str) -> Option<usize> {
    let end = location.find("://")?;
    let scheme = &location[..end];
    scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)).then_some(end)
}

/// Whether it begins with another scheme than one that hosts follow.
fn has_scheme(location: &str) -> bool {
    let word = location.find(['/', '?', ':']).map(|end| location.split_at(end));
    word.is_some_and(|(word, rest)| {
        rest.starts_with(':') && word.starts_with(|c: char| c.is_ascii_alphabetic())
    })
}

/// What some servers forget to escape, escaped.
fn escaped(location: &str) -> String {
    let mut out = String::with_capacity(location.len());
    for byte in location.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A value of a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// `uri` with more in its query.
pub(crate) fn with_query(uri: &Uri, query: &[(&str, &str)]) -> Option<Uri> {
    let mut text = format!("{}://{}{}", uri.scheme_str()?, uri.authority()?, uri.path());
    let mut separator = '?';
    if let Some(query) = uri.query() {
        let _ = write!(text, "?{query}");
        separator = '&';
    }
    for (key, value) in query {
        let _ = write!(text, "{separator}{key}={}", encoded(value));
        separator = '&';
    }
    text.parse().ok()
}

/// `uri` at another scheme and host.
pub(crate) fn at(uri: &Uri, scheme: Scheme, authority: Authority) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    Uri::from_parts(parts).ok()
}

/// What may be shown of a URL: queries have signatures in them.
pub(crate) fn shown(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    format!("{scheme}://{}{}", uri.authority().map_or("", Authority::as_str), uri.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_seen_from_where_they_were_sent() {
        let base: Uri = "https://r.example:5000/v2/a/blobs/uploads/?x=1".parse().unwrap();
        let check = |location: &str, expect: Option<&str>| {
            assert_eq!(join(&base, location).map(|uri| uri.to_string()).as_deref(), expect, "{location}");
        };
        check("/v2/b?state=a%2Fb", Some("https://r.example:5000/v2/b?state=a%2Fb"));
        check("http://other/x", Some("http://other/x"));
        check("HTTPS://other/x", Some("https://other/x"));
        check("//other/x", Some("https://other/x"));
        check("uuid?s=1", Some("https://r.example:5000/v2/a/blobs/uploads/uuid?s=1"));
        check("?s=1", Some("https://r.example:5000/v2/a/blobs/uploads/?s=1"));
        check("/a b\"é#frag", Some("https://r.example:5000/a%20b%22%C3%A9"));
        check("ftp://other/x", None);
        check("javascript:alert(1)//", None);
        check("/a:b", Some("https://r.example:5000/a:b"));
        check("file:///etc/passwd", None);
        check("https://user:secret@other/x", None);
        check("https:///x", None);
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        let origin = |text: &str| Origin::of(&text.parse().unwrap()).unwrap();
        assert_eq!(origin("https://A/x"), origin("https://a:443/y"));
        assert_ne!(origin("https://a/"), origin("http://a/"));
        assert_ne!(origin("https://a/"), origin("https://a:444/"));
        assert_ne!(origin("https://a/"), origin("https://b.a/"));
    }

    #[test]
    fn queries_are_added_and_never_shown() {
        let uri: Uri = "https://a/x?sig=secret".parse().unwrap();
        let more = with_query(&uri, &[("digest", "sha256:ab"), ("n", "1")]).unwrap();
        assert_eq!(more.to_string(), "https://a/x?sig=secret&digest=sha256%3Aab&n=1");
        assert_eq!(shown(&more), "https://a/x");
    }
}
