//! Which proxy leads to a host: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` as Go's programs take them.

use std::net::IpAddr;

use http::{HeaderValue, Uri};

use crate::host::is_loopback;
use crate::{Error, Proxies};

/// A proxy.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    /// `http://host:port`, or `socks5://host:port`.
    pub(crate) uri: Uri,
    pub(crate) is_socks: bool,
    pub(crate) user: Option<(String, String)>,
}

/// All of them, parsed.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProxyTable {
    http: Option<Proxy>,
    https: Option<Proxy>,
    none: Vec<Exception>,
}

#[derive(Debug, Clone, PartialEq)]
enum Exception {
    All,
    Network(IpAddr, u8),
    /// A name and everything below it; only below it if it was written with a dot.
    Domain {
        suffix: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Proxy {
    fn parse(variable: &str, text: &str) -> Result<Option<Self>, Error> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = |problem: &str| Error::Configuration { host: variable.into(), problem: problem.into() };
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (is_socks, default_port) = match scheme {
            "http" => (false, 80),
            "socks5" | "socks5h" => (true, 1080),
            _ => return Err(wrong("a proxy has to be http://, socks5:// or socks5h://")),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                (Some((decoded(name), decoded(password))), host)
            }
            None => (None, authority),
        };
        let host = match crate::host::port(host) {
            Some(_) => host.to_owned(),
            None => format!("{host}:{default_port}"),
        };
        let uri = format!("{}://{host}/", if is_socks { "socks5" } else { "http" });
        let uri = uri.parse().map_err(|_| wrong("a proxy has to be a host and a port"))?;
        Ok(Some(Self { uri, is_socks, user }))
    }

    /// The value of `Proxy-Authorization`.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let (name, password) = self.user.as_ref()?;
        crate::credential::basic(name, password)
    }
}

impl ProxyTable {
    pub(crate) fn new(proxies: &Proxies) -> Result<Self, Error> {
        Ok(Self {
            http: Proxy::parse("HTTP_PROXY", &proxies.http)?,
            https: Proxy::parse("HTTPS_PROXY", &proxies.https)?,
            none: proxies.none.split([',', ' ']).filter_map(Exception::parse).collect(),
        })
    }

    /// The proxy that leads to `uri`. Nothing leads to loopback but loopback itself.
    pub(crate) fn proxy(&self, uri: &Uri) -> Option<&Proxy> {
        let is_tls = uri.scheme_str() == Some("https");
        let proxy = if is_tls { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = uri.host()?;
        let name = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let excepted = is_loopback(&name) || self.none.iter().any(|exception| exception.matches(&name, port));
        (!excepted).then_some(proxy)
    }
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            return Some(Self::All);
        }
        if let Some((address, bits)) = text.split_once('/') {
            return Some(Self::Network(address.parse().ok()?, bits.parse().ok()?));
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Some(Self::Network(address, if address.is_ipv4() { 32 } else { 128 }));
        }
        let (name, port) = (crate::host::name(&text), crate::host::port(&text));
        let below = name.trim_start_matches("*.").trim_start_matches('.');
        Some(Self::Domain { suffix: below.to_owned(), itself: below.len() == name.len(), port })
    }

    fn matches(&self, name: &str, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Network(network, bits) => {
                name.parse::<IpAddr>().is_ok_and(|address| within(address, *network, *bits))
            }
            Self::Domain { suffix, itself, port: only } => {
                let below = name.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.'));
                only.is_none_or(|only| only == port) && (below || (*itself && name == suffix))
            }
        }
    }
}

fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let ignored = width - u32::from(bits).min(width);
    (address ^ network).checked_shr(ignored).unwrap_or(0) == 0
}

/// `%xx` as the byte that it stands for.
pub(crate) fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.filter(|_| byte == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(value) => {
                out.push(value);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(none: &str) -> ProxyTable {
        let proxies =
            Proxies { http: "http://p:3128".into(), https: "u%40x:p%3aw@q".into(), none: none.into() };
        ProxyTable::new(&proxies).unwrap()
    }

    #[test]
    fn proxies_are_taken_by_scheme() {
        let table = table("");
        let proxy = |uri: &str| table.proxy(&uri.parse().unwrap()).map(|proxy| proxy.uri.to_string());
        assert_eq!(proxy("http://r.example/").as_deref(), Some("http://p:3128/"));
        assert_eq!(proxy("https://r.example/").as_deref(), Some("http://q:80/"));
        assert_eq!(proxy("http://localhost:5000/"), None);
        assert_eq!(proxy("https://[::1]:5000/"), None);
        let user = table.https.as_ref().and_then(|proxy| proxy.user.clone());
        assert_eq!(user, Some(("u@x".into(), "p:w".into())));
    }

    #[test]
    fn exceptions_are_names_domains_networks_and_ports() {
        let check = |none: &str, uri: &str, excepted: bool| {
            assert_eq!(table(none).proxy(&uri.parse().unwrap()).is_none(), excepted, "{none} {uri}");
        };
        check("*", "https://a/", true);
        check("example.com", "https://example.com/", true);
        check("example.com", "https://a.example.com/", true);
        check("example.com", "https://badexample.com/", false);
        check(".example.com", "https://example.com/", false);
        check("*.example.com", "https://a.example.com/", true);
        check("a, 10.0.0.0/8", "https://10.1.2.3:5000/", true);
        check("10.0.0.0/8", "https://11.1.2.3/", false);
        check("10.0.0.0/0", "https://11.1.2.3/", true);
        check("fd00::/8", "https://[fd12::1]/", true);
        check("1.2.3.4", "https://1.2.3.4/", true);
        check("a:5000", "https://a:5000/", true);
        check("a:5000", "https://a/", false);
        check("10.0.0.0/999", "https://10.0.0.0/", false);
    }

    #[test]
    fn a_proxy_of_another_kind_is_refused() {
        let proxies = Proxies { https: "ftp://q".into(), ..Proxies::default() };
        assert!(ProxyTable::new(&proxies).is_err());
        let proxies = Proxies { https: "http://a b".into(), ..Proxies::default() };
        assert!(ProxyTable::new(&proxies).is_err());
    }
}
