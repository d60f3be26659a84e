use std::time::Duration;

/// Everything that a [`Client`](crate::Client) is made with. `Default` is what the daemon uses.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `User-Agent`.
    pub user_agent: String,
    /// How much of everything.
    pub limits: Limits,
    /// How long for everything.
    pub timeouts: Timeouts,
    /// How often again.
    pub retry: Retry,
    /// Proxies.
    pub proxies: Proxies,
    /// Whom to trust.
    pub roots: Roots,
    /// Whether redirects and foreign layers may lead from TLS to plain HTTP.
    pub plain_http_elsewhere: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            user_agent: concat!("gantry/", env!("CARGO_PKG_VERSION")).into(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            proxies: Proxies::default(),
            roots: Roots::Native,
            plain_http_elsewhere: false,
        }
    }
}

/// How much of everything. Sizes are bytes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest manifest or index (CVE-2020-1702).
    pub manifest_bytes: u64,
    /// The largest token answer, error, list of tags or referrers.
    pub document_bytes: u64,
    /// The most pages of a list.
    pub pages: u32,
    /// The most entries of a list.
    pub entries: usize,
    /// The most redirects of one request.
    pub redirects: u32,
    /// The most requests that a host is asked at the same time.
    pub requests_per_host: usize,
    /// The most connections that are kept for later, for each host.
    pub idle_connections_per_host: usize,
    /// The largest read from a connection of HTTP/1, and so the largest chunk of a blob.
    pub read_bytes: usize,
    /// How much a server may send ahead on one stream of HTTP/2.
    pub stream_window_bytes: u32,
    /// How much a server may send ahead on one connection of HTTP/2.
    pub connection_window_bytes: u32,
    /// The size of a part when a blob is pushed in parts.
    pub upload_chunk_bytes: u64,
    /// The most tokens that are remembered.
    pub tokens: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 4 << 20,
            document_bytes: 4 << 20,
            pages: 10_000,
            entries: 1_000_000,
            redirects: 10,
            requests_per_host: 32,
            idle_connections_per_host: 8,
            read_bytes: 512 << 10,
            stream_window_bytes: 4 << 20,
            connection_window_bytes: 16 << 20,
            upload_chunk_bytes: 16 << 20,
            tokens: 1024,
        }
    }
}

/// How long for everything.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// For a connection, TLS and a proxy's consent included.
    pub dial: Duration,
    /// From the end of a request to the head of its answer.
    pub response: Duration,
    /// The same for the end of an upload, when registries hash and copy.
    pub commit: Duration,
    /// The longest time in which a body does not advance.
    pub stall: Duration,
    /// For the whole of a small document.
    pub document: Duration,
    /// After which an unused connection is closed.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(30),
            response: Duration::from_secs(60),
            commit: Duration::from_secs(900),
            stall: Duration::from_secs(60),
            document: Duration::from_secs(120),
            idle: Duration::from_secs(60),
        }
    }
}

/// How often again after an answer of 408, 429 or 5xx, or a broken connection.
#[derive(Debug, Clone)]
pub struct Retry {
    /// The most attempts in a row at one host that bring nothing.
    pub attempts: u32,
    /// The first pause; each next one is twice as long, give or take a half.
    pub pause: Duration,
    /// The longest pause of our own.
    pub longest_pause: Duration,
    /// The longest pause that a registry may ask for (`Retry-After`); a longer one is an error at once.
    pub longest_retry_after: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(10),
            longest_retry_after: Duration::from_secs(60),
        }
    }
}

/// Proxies, as the environment variables of these names have them; empty for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// `HTTP_PROXY`: for plain HTTP.
    pub http: String,
    /// `HTTPS_PROXY`: for TLS, by CONNECT.
    pub https: String,
    /// `NO_PROXY`: names, domains, addresses and networks that are reached without.
    pub none: String,
}

impl Proxies {
    /// Takes them from `variable`, which looks up environment variables: upper case first, then lower case.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            let upper = variable(name).filter(|value| !value.is_empty());
            upper.or_else(|| variable(&name.to_ascii_lowercase())).unwrap_or_default()
        };
        Self { http: either("HTTP_PROXY"), https: either("HTTPS_PROXY"), none: either("NO_PROXY") }
    }
}

/// Whom to trust when nothing else is said.
#[derive(Debug, Clone, Default)]
pub enum Roots {
    /// Whom the host trusts, read when the first connection needs it; the built-in ones if there are none.
    #[default]
    Native,
    /// The built-in ones, Mozilla's.
    BuiltIn,
    /// These, in PEM.
    Pem(Vec<u8>),
}
