//! Tokens: asked for at the realm that a registry names, and remembered (distribution, `docs/spec/auth/token.md` and
//! `oauth.md`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde::Deserialize;
use tokio::time::Instant;

use crate::transport::{Answer, Ask, Payload, Transport, shown, with_query};
use crate::{Credential, Error, Host, Options, Secret};

/// How long a token is good for that does not say (token.md).
const USUAL_LIFE: Duration = Duration::from_secs(60);
/// The longest time for which a token is believed to be good.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// A token is not used any more when so little of its life is left.
const MARGIN: Duration = Duration::from_secs(10);
/// The largest token, in bytes.
const MAX_TOKEN: usize = 64 << 10;

/// What a token is good for, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TokenKey {
    pub(crate) realm: String,
    pub(crate) service: String,
    pub(crate) scopes: Vec<String>,
    /// Tokens are never shared by those who have not shown the same credential.
    pub(crate) credential: Option<Credential>,
}

#[derive(Debug, Clone)]
struct Token {
    value: Secret,
    until: Instant,
}

/// A place for a token; locked while it is asked for, so that it is asked for once.
type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

/// The tokens that are known.
#[derive(Default)]
pub(crate) struct TokenCache {
    slots: Mutex<HashMap<TokenKey, Slot>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

impl TokenCache {
    fn slot(&self, key: &TokenKey, limit: usize) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= limit.max(1) && !slots.contains_key(key) {
            let now = Instant::now();
            slots.retain(|_, slot| match slot.try_lock() {
                Ok(token) => token.as_ref().is_some_and(|token| token.until > now),
                Err(_) => true,
            });
            if slots.len() >= limit.max(1) {
                slots.clear();
            }
        }
        Arc::clone(slots.entry(key.clone()).or_default())
    }

    /// A token for `key`: a known one, unless it is `refused`, or a new one.
    pub(crate) async fn token(
        &self,
        transport: &Transport,
        options: &Options,
        host: &Host,
        key: &TokenKey,
        refused: Option<&Secret>,
    ) -> Result<Secret, Error> {
        let slot = self.slot(key, options.limits.tokens);
        let mut slot = slot.lock().await;
        let usable = |token: &&Token| token.until > Instant::now() && Some(&token.value) != refused;
        if let Some(token) = slot.as_ref().filter(usable) {
            return Ok(token.value.clone());
        }
        *slot = None;
        let token = Request { transport, options, host, key }.fetch().await?;
        let value = token.value.clone();
        *slot = Some(token);
        Ok(value)
    }
}

/// One conversation with a token server.
struct Request<'a> {
    transport: &'a Transport,
    options: &'a Options,
    host: &'a Host,
    key: &'a TokenKey,
}

impl Request<'_> {
    async fn fetch(&self) -> Result<Token, Error> {
        let realm = self.realm()?;
        let what = format!("a token of {}", shown(&realm));
        let answer = match &self.key.credential {
            Some(Credential::IdentityToken(token)) => {
                let form = [("grant_type", "refresh_token"), ("refresh_token", token.expose())];
                self.post(&realm, &what, &form).await?
            }
            Some(Credential::User { username, secret }) => {
                let answer = self.get(&realm, &what, Some((username, secret))).await?;
                if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
                    let form = [
                        ("grant_type", "password"),
                        ("username", username.as_str()),
                        ("password", secret.expose()),
                    ];
                    self.post(&realm, &what, &form).await?
                } else {
                    answer
                }
            }
            _ => self.get(&realm, &what, None).await?,
        };
        if !answer.status().is_success() {
            return Err(as_refusal(answer.refused(&what, &self.host.host).await));
        }
        let asked = Instant::now();
        let host = answer.host.clone();
        let body = answer.collect(&what, self.options.limits.document_bytes, &self.options.timeouts).await?;
        let problem = |problem: &str| Error::Protocol {
            host: host.clone(),
            what: what.clone(),
            problem: problem.into(),
        };
        // The parser's own message could quote the token.
        let parsed: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| problem("something else than JSON"))?;
        let value = [parsed.token, parsed.access_token].into_iter().flatten().find(|token| !token.is_empty());
        let value = value.ok_or_else(|| problem("no token"))?;
        if value.len() > MAX_TOKEN || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(problem("a token that cannot be sent"));
        }
        let life = parsed.expires_in.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
        let life = life.map_or(USUAL_LIFE, |seconds| {
            Duration::from_secs_f64(seconds.clamp(USUAL_LIFE.as_secs_f64(), LONGEST_LIFE.as_secs_f64()))
        });
        Ok(Token { value: value.into(), until: asked + life - MARGIN })
    }

    /// The realm's URL; credentials go there, so it is TLS unless the registry itself is not.
    fn realm(&self) -> Result<Uri, Error> {
        let what = "the way to a token".to_owned();
        let host = self.host.host.clone();
        let parsed: Option<Uri> = self.key.realm.parse().ok();
        let usable = |uri: &Uri| {
            let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
            matches!(uri.scheme_str(), Some("http" | "https")) && plain
        };
        let Some(realm) = parsed.filter(usable) else {
            let problem = "a realm that is no URL of HTTP".into();
            return Err(Error::Protocol { host, what, problem });
        };
        let is_plain = realm.scheme_str() == Some("http");
        let may_be_plain =
            self.options.plain_http_elsewhere || self.transport.scheme(self.host).as_str() == "http";
        if is_plain && !may_be_plain {
            return Err(Error::Misled { host, what, target: shown(&realm), reason: "which is plain HTTP" });
        }
        Ok(realm)
    }

    async fn get(&self, realm: &Uri, what: &str, user: Option<(&String, &Secret)>) -> Result<Answer, Error> {
        let mut query: Vec<(&str, &str)> = Vec::new();
        if !self.key.service.is_empty() {
            query.push(("service", &self.key.service));
        }
        query.extend(self.key.scopes.iter().map(|scope| ("scope", scope.as_str())));
        let mut headers = HeaderMap::new();
        if let Some((username, secret)) = user {
            query.push(("account", username));
            headers.insert(header::AUTHORIZATION, basic(&self.host.host, username, secret)?);
        }
        let uri = with_query(realm, &query);
        self.send(Method::GET, uri, headers, Payload::Empty, what).await
    }

    async fn post(&self, realm: &Uri, what: &str, form: &[(&str, &str)]) -> Result<Answer, Error> {
        let scope = self.key.scopes.join(" ");
        let more =
            [("service", self.key.service.as_str()), ("client_id", CLIENT_ID), ("scope", scope.as_str())];
        let pairs = form.iter().chain(&more).filter(|(_, value)| !value.is_empty());
        let body: Vec<String> =
            pairs.map(|(key, value)| format!("{key}={}", crate::transport::encoded(value))).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let payload = Payload::Bytes(Bytes::from(body.join("&")));
        self.send(Method::POST, Some(realm.clone()), headers, payload, what).await
    }

    async fn send(
        &self,
        method: Method,
        uri: Option<Uri>,
        headers: HeaderMap,
        payload: Payload,
        what: &str,
    ) -> Result<Answer, Error> {
        let problem = || "a realm that is no URL of HTTP".to_owned();
        let uri = uri.ok_or_else(|| Error::Protocol {
            host: self.host.host.clone(),
            what: what.into(),
            problem: problem(),
        })?;
        let limit = self.options.timeouts.response;
        let host = Host { headers: Default::default(), ..self.host.clone() };
        self.transport.send(&host, Ask { method, uri, headers, payload, what, limit }).await
    }
}

/// What this side calls itself to OAuth 2 servers.
const CLIENT_ID: &str = "gantry";

/// A token server says with any status of 4xx that it gives no token.
fn as_refusal(error: Error) -> Error {
    match error {
        Error::Status { host, what, status: 400, detail } => {
            Error::Refused { host, what, status: 401, detail }
        }
        Error::NotFound { what, registry } => {
            Error::Refused { host: registry, what, status: 401, detail: "there is none".into() }
        }
        other => other,
    }
}

/// The value of `Authorization` for a name and a password.
pub(crate) fn basic(host: &str, username: &str, secret: &Secret) -> Result<HeaderValue, Error> {
    sensitive(host, &format!("Basic {}", STANDARD.encode(format!("{username}:{}", secret.expose()))))
}

/// A header's value that is not to be shown.
pub(crate) fn sensitive(host: &str, text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(text).map_err(|_| Error::Configuration {
        host: host.into(),
        problem: "the credential has characters that no header may have".into(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}
