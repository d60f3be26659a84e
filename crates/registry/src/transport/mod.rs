//! One request and its answer: connections, TLS, proxies, redirects, time limits. Knows nothing of registries.

mod answer;
mod body;
mod dial;
mod proxy;
mod tls;
mod url;

pub(crate) use answer::{Answer, plain_detail, text};
pub(crate) use body::{Payload, Upload};
pub(crate) use proxy::decoded;
pub(crate) use tls::is_refusal;
pub(crate) use url::{Origin, encoded, join, shown, with_query};

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::Scheme as UriScheme;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use self::body::Body;
use self::dial::Dialer;
use self::proxy::ProxyTable;
use self::tls::{Identity, Trust};
use crate::{Error, Host, Options, Scheme};

/// The most configurations of TLS whose connections are kept.
const MAX_POOLS: usize = 64;
/// The most hosts whose requests are counted.
const MAX_GATES: usize = 1024;
/// The largest frame of HTTP/2 that a server may send.
const FRAME_BYTES: u32 = 256 << 10;
/// The least that hyper takes as a limit of its reads.
const MIN_READ_BYTES: usize = 8192;

/// A request.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// Sent to who is asked, and to nobody else.
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    /// What it is about, for errors.
    pub(crate) what: &'a str,
    /// The longest time for the head of the answer.
    pub(crate) limit: Duration,
}

/// Everything that is shared by all requests.
pub(crate) struct Transport {
    options: Arc<Options>,
    user_agent: HeaderValue,
    proxies: Arc<ProxyTable>,
    trust: Trust,
    pools: Mutex<HashMap<(Identity, Duration), Pool<Dialer, Body>>>,
    gates: Mutex<HashMap<Origin, Arc<Semaphore>>>,
    /// Hosts that were to be tried with TLS and do not speak it.
    plain: Mutex<HashSet<String>>,
}

/// Where a request goes, and as whom.
struct Destination<'a> {
    host: &'a Host,
    identity: Identity,
    dial: Duration,
    is_elsewhere: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transport {
    pub(crate) fn new(options: Arc<Options>) -> Result<Self, Error> {
        let user_agent =
            HeaderValue::try_from(options.user_agent.as_str()).map_err(|_| Error::Configuration {
                host: "every registry".into(),
                problem: format!("{:?} cannot be a User-Agent", options.user_agent),
            })?;
        Ok(Self {
            proxies: Arc::new(ProxyTable::new(&options.proxies)?),
            trust: Trust::new(options.roots.clone())?,
            options,
            user_agent,
            pools: Mutex::default(),
            gates: Mutex::default(),
            plain: Mutex::default(),
        })
    }

    /// The scheme that `host` is spoken to with.
    pub(crate) fn scheme(&self, host: &Host) -> UriScheme {
        match host.scheme {
            Scheme::Https => UriScheme::HTTPS,
            Scheme::Http => UriScheme::HTTP,
            Scheme::HttpsThenHttp if locked(&self.plain).contains(&host.host) => UriScheme::HTTP,
            Scheme::HttpsThenHttp => UriScheme::HTTPS,
        }
    }

    /// Sends `ask`, follows redirects, and returns the first answer that is none.
    pub(crate) async fn send(&self, host: &Host, mut ask: Ask<'_>) -> Result<Answer, Error> {
        let mut to = Destination {
            host,
            identity: Identity {
                ca: host.ca.clone(),
                client: host.client.clone(),
                skip_verify: host.skip_verify,
            },
            dial: host.dial_timeout.unwrap_or(self.options.timeouts.dial),
            is_elsewhere: false,
        };
        for _ in 0..=self.options.limits.redirects {
            let again = ask.payload.again();
            let payload = std::mem::replace(&mut ask.payload, Payload::Empty);
            let answer = self.exchange_or_fall_back(&to, &mut ask, payload).await?;
            let Some((payload, location)) = redirect(&answer, &ask.method, again) else { return Ok(answer) };
            let status = answer.status();
            let target = self.follow(&to, &ask, &answer, location)?;
            tracing::debug!(host = %answer.host, target = %shown(&target), "redirected");
            drop(answer);
            if Origin::of(&target) != Origin::of(&ask.uri) {
                leave(&mut to, &mut ask, &target);
            }
            if status == StatusCode::SEE_OTHER {
                ask.method = Method::GET;
            }
            (ask.uri, ask.payload) = (target, payload);
        }
        Err(Error::Limit {
            host: host.host.clone(),
            what: ask.what.into(),
            limit: u64::from(self.options.limits.redirects),
            unit: "redirects",
        })
    }

    /// Where a redirect leads, if that is a place to go to.
    fn follow(
        &self,
        to: &Destination<'_>,
        ask: &Ask<'_>,
        answer: &Answer,
        location: String,
    ) -> Result<Uri, Error> {
        let misled = |target: String, reason| Error::Misled {
            host: answer.host.clone(),
            what: ask.what.into(),
            target,
            reason,
        };
        let Some(target) = join(&ask.uri, &location) else {
            return Err(misled("nowhere".into(), "which is no URL of HTTP without a password in it"));
        };
        let from_tls = ask.uri.scheme() == Some(&UriScheme::HTTPS) && to.host.scheme != Scheme::Http;
        let to_plain = target.scheme() == Some(&UriScheme::HTTP);
        if from_tls && to_plain && !self.options.plain_http_elsewhere {
            return Err(misled(shown(&target), "which is plain HTTP"));
        }
        Ok(target)
    }

    /// Sends once; and once more in the plain, to a host that was to be tried with TLS first and does not speak it.
    async fn exchange_or_fall_back(
        &self,
        to: &Destination<'_>,
        ask: &mut Ask<'_>,
        payload: Payload,
    ) -> Result<Answer, Error> {
        let again = payload.again();
        let ambiguous = to.host.scheme == Scheme::HttpsThenHttp && !to.is_elsewhere;
        let error = match self.exchange(to, ask, payload).await {
            Err(error) if ambiguous => error,
            result => return result,
        };
        let was_tls = ask.uri.scheme() == Some(&UriScheme::HTTPS);
        let is_plain = match &error {
            Error::Connect { source, .. } => tls::is_plain_server(source.as_ref()),
            _ => false,
        };
        let (Some(payload), Some(authority)) = (again, ask.uri.authority().cloned()) else {
            return Err(error);
        };
        if !was_tls {
            // It may speak TLS by the next request.
            locked(&self.plain).remove(&to.host.host);
            return Err(error);
        }
        if !is_plain {
            return Err(error);
        }
        ask.uri = url::at(&ask.uri, UriScheme::HTTP, authority).ok_or(error)?;
        let answer = self.exchange(to, ask, payload).await?;
        let mut plain = locked(&self.plain);
        if plain.len() < MAX_GATES {
            plain.insert(to.host.host.clone());
        }
        drop(plain);
        Ok(answer)
    }

    async fn exchange(&self, to: &Destination<'_>, ask: &Ask<'_>, payload: Payload) -> Result<Answer, Error> {
        let host = ask.uri.authority().map(ToString::to_string).unwrap_or_default();
        let (what, timeouts) = (ask.what, &self.options.timeouts);
        let pool = self.pool(&to.identity, to.dial, &host)?;
        let permit = self.enter(&ask.uri, &host).await?;
        let (body, progress) = payload.into_body();
        let mut request = Request::new(body);
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = ask.uri.clone();
        *request.headers_mut() = ask.headers.clone();
        request.headers_mut().insert(header::USER_AGENT, self.user_agent.clone());
        if ask.uri.scheme() == Some(&UriScheme::HTTP) {
            let proxy = self.proxies.proxy(&ask.uri).filter(|proxy| !proxy.is_socks);
            if let Some(value) = proxy.and_then(proxy::Proxy::authorization) {
                request.headers_mut().insert(header::PROXY_AUTHORIZATION, value);
            }
        }
        let sent = pool.request(request);
        let result = match &progress {
            None => timeout(ask.limit, sent).await.map_err(|_| ask.limit),
            Some(progress) => tokio::select! {
                result = sent => Ok(result),
                after = progress.stalled(timeouts.stall, ask.limit) => Err(after),
            },
        };
        match result {
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                let (uri, is_elsewhere) = (ask.uri.clone(), to.is_elsewhere);
                Ok(Answer { host, uri, is_elsewhere, head, body, permit })
            }
            Ok(Err(error)) => {
                if let Some(source) = progress.and_then(|progress| progress.take_failure()) {
                    return Err(Error::Source { what: what.into(), source });
                }
                let is_connect = error.is_connect();
                // hyper's own words add nothing to what they are about.
                let source: crate::BoxError = error.into();
                if is_connect {
                    return Err(Error::Connect { host, source });
                }
                Err(Error::Broken { host, what: what.into(), source })
            }
            Err(after) => Err(Error::Timeout { host, what: what.into(), after }),
        }
    }

    /// Waits until the host has room for one more request.
    async fn enter(&self, uri: &Uri, host: &str) -> Result<OwnedSemaphorePermit, Error> {
        let problem = || Error::Configuration { host: host.into(), problem: "not a URL of HTTP".into() };
        let origin = Origin::of(uri).ok_or_else(problem)?;
        let gate = {
            let mut gates = locked(&self.gates);
            if gates.len() >= MAX_GATES {
                gates.retain(|_, gate| Arc::strong_count(gate) > 1);
            }
            let room = self.options.limits.requests_per_host.clamp(1, Semaphore::MAX_PERMITS);
            Arc::clone(gates.entry(origin).or_insert_with(|| Arc::new(Semaphore::new(room))))
        };
        gate.acquire_owned().await.map_err(|_| problem())
    }

    /// The connections of a TLS identity.
    fn pool(&self, identity: &Identity, dial: Duration, host: &str) -> Result<Pool<Dialer, Body>, Error> {
        let key = (identity.clone(), dial);
        if let Some(pool) = locked(&self.pools).get(&key) {
            return Ok(pool.clone());
        }
        let dialer = Dialer::new(self.trust.configuration(identity, host)?, Arc::clone(&self.proxies), dial);
        let limits = &self.options.limits;
        let pool = Pool::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.options.timeouts.idle)
            .pool_max_idle_per_host(limits.idle_connections_per_host)
            .http1_max_buf_size(limits.read_bytes.max(MIN_READ_BYTES))
            .http2_initial_stream_window_size(limits.stream_window_bytes)
            .http2_initial_connection_window_size(limits.connection_window_bytes)
            .http2_max_frame_size(FRAME_BYTES)
            .build(dialer);
        let mut pools = locked(&self.pools);
        if pools.len() >= MAX_POOLS {
            pools.clear();
        }
        Ok(pools.entry(key).or_insert(pool).clone())
    }
}

/// What a redirect says, if the answer is one that can be followed: what to send again, and where.
fn redirect(answer: &Answer, method: &Method, again: Option<Payload>) -> Option<(Payload, String)> {
    let is_read = method == Method::GET || method == Method::HEAD;
    let is_redirect = match answer.status().as_u16() {
        301..=303 => is_read,
        307 | 308 => true,
        _ => false,
    };
    let location = answer.text(header::LOCATION).filter(|_| is_redirect)?;
    Some((again?, location.to_owned()))
}

/// Strips what is meant for nobody but who was asked (CVE-2020-15157).
fn leave(to: &mut Destination<'_>, ask: &mut Ask<'_>, target: &Uri) {
    to.is_elsewhere = true;
    let kept = [header::ACCEPT, header::RANGE].map(|name| (name.clone(), ask.headers.get(&name).cloned()));
    ask.headers.clear();
    for (name, value) in kept {
        if let Some(value) = value {
            ask.headers.insert(name, value);
        }
    }
    let same_name =
        |a: Option<&str>, b: Option<&str>| a.zip(b).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
    if !same_name(target.host(), ask.uri.host()) {
        to.identity.client.clear();
    }
}
