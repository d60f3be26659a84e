//! What is no registry's: files at addresses that people give, and the old index that searches ask.

mod download;
mod search;

pub use download::Download;
pub use search::Found;

use http::{HeaderMap, HeaderValue, Method, Uri, header};

use crate::credential::basic;
use crate::retry::is_worth_it;
use crate::transport::{Answer, Ask, Payload, decoded, join, shown};
use crate::{Client, Error, Host, Scheme};

/// How often a request is sent at most: a connection that was kept may just have been closed.
const ATTEMPTS: u32 = 2;

/// An address, taken apart.
struct Address {
    uri: Uri,
    host: Host,
    /// Sent to this host alone.
    authorization: Option<HeaderValue>,
}

impl Address {
    /// Reads an address as people write it: a name and a password may be in it, and a fragment, which is nobody's business.
    ///
    /// # Errors
    /// Configuration.
    fn parse(text: &str) -> Result<Self, Error> {
        let wrong =
            |problem: &str| Error::Configuration { host: redacted(text), problem: problem.to_owned() };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("is no URL"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return Err(wrong("is neither http:// nor https://")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let authorization = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            basic(&decoded(name), &decoded(password))
        });
        let prefix = if scheme == Scheme::Https { "https" } else { "http" };
        let base: Uri = format!("{prefix}://{host}/").parse().map_err(|_| wrong("has no host"))?;
        if base.host().is_none_or(str::is_empty) {
            return Err(wrong("has no host"));
        }
        let uri = match path.starts_with('/') {
            true => join(&base, &format!("{prefix}://{host}{path}")),
            false => join(&base, &format!("{prefix}://{host}/{path}")),
        };
        let uri = uri.ok_or_else(|| wrong("is no URL of HTTP"))?;
        let authorization = authorization.flatten();
        Ok(Self { uri, host: Host::new(scheme, host), authorization })
    }
}

/// An address without what may be a secret in it.
pub fn redacted(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => text.to_owned(),
    }
}

impl Client {
    /// Asks for a document by GET, and follows redirects.
    async fn get(&self, host: &Host, uri: &Uri, headers: &HeaderMap, what: &str) -> Result<Answer, Error> {
        let limit = self.shared.options.timeouts.response;
        let mut attempt = 1;
        loop {
            let (headers, uri) = (headers.clone(), uri.clone());
            let ask = Ask { method: Method::GET, uri, headers, payload: Payload::Empty, what, limit };
            match self.shared.transport.send(host, ask).await {
                Err(error @ Error::Broken { .. }) if is_worth_it(&error, attempt, ATTEMPTS) => attempt += 1,
                result => return result,
            }
        }
    }

    /// Fetches a file of the web. Private addresses are as good as others: whoever may ask for this may run programs on the network.
    ///
    /// # Errors
    /// Configuration for what is no address; [`Error::Status`] for 400 and more, with what the server says; Connect, Broken, Timeout;
    /// Limit and Misled for redirects, which never lead from TLS to plain HTTP.
    pub async fn download(&self, url: &str) -> Result<Download, Error> {
        let address = Address::parse(url)?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        if let Some(value) = address.authorization {
            headers.insert(header::AUTHORIZATION, value);
        }
        let what = shown(&address.uri);
        let answer = self.get(&address.host, &address.uri, &headers, &what).await?;
        Download::begin(answer, address.uri, what, &self.shared.options.timeouts).await
    }

    /// The proxies that this client goes through, for programs that fetch, too.
    pub fn proxies(&self) -> &crate::Proxies {
        &self.shared.options.proxies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let read = |text: &str| {
            let address = Address::parse(text).unwrap();
            let authorization = address.authorization.map(|value| value.to_str().unwrap().to_owned());
            (address.uri.to_string(), address.host.host, authorization)
        };
        let check = |text: &str, uri: &str, host: &str| {
            assert_eq!(read(text), (uri.to_owned(), host.to_owned(), None), "{text}");
        };
        check("http://a.example:1/b c?d#e", "http://a.example:1/b%20c?d", "a.example:1");
        check("HTTPS://a.example", "https://a.example/", "a.example");
        check("http://a.example?x=1", "http://a.example/?x=1", "a.example");
        check("http://[::1]:80/x", "http://[::1]:80/x", "[::1]:80");
        let (uri, _, authorization) = read("https://anna:p%40ss@a.example/x@y");
        assert_eq!(
            (uri.as_str(), authorization.as_deref()),
            ("https://a.example/x@y", Some("Basic YW5uYTpwQHNz"))
        );
        for wrong in
            ["", "a.example/x", "ftp://a/x", "file:///etc/passwd", "http://", "http:///x", "http://a b/"]
        {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
        let error = Address::parse("gopher://anna:secret@a/").err().unwrap().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
