//! One request to one host: its URL, its credentials, and again when that may help.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::Repository;
use crate::auth::{Place as AuthPlace, Scope, Shown};
use crate::retry::{is_passing, is_worth_it, pause, retry_after};
use crate::transport::{Answer, Ask, Origin, Payload, encoded, with_query};
use crate::{Error, Host};

/// The most times that one request is sent again with other credentials.
const MAX_AUTHENTICATIONS: u32 = 3;

/// Where a request goes at its host.
pub(crate) enum Place<'a> {
    /// Below the repository.
    Path(&'a str),
    /// Where the host said. If that is somebody else, no credential goes there.
    Uri(Uri),
}

/// A request to a host.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) place: Place<'a>,
    pub(crate) query: Vec<(&'a str, &'a str)>,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    pub(crate) scope: &'a Scope,
    pub(crate) what: &'a str,
    /// Statuses besides 2xx that are an answer and no error.
    pub(crate) accepted: &'a [u16],
    /// The longest time for the head of the answer, if it is not the usual one.
    pub(crate) limit: Option<Duration>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, place: Place<'a>, scope: &'a Scope, what: &'a str) -> Self {
        let (query, headers, payload) = (Vec::new(), HeaderMap::new(), Payload::Empty);
        Self { method, place, query, headers, payload, scope, what, accepted: &[], limit: None }
    }

    pub(crate) fn query(mut self, key: &'a str, value: &'a str) -> Self {
        self.query.push((key, value));
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    pub(crate) fn accepting(mut self, statuses: &'a [u16]) -> Self {
        self.accepted = statuses;
        self
    }

    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// How much is made of a host that does not answer as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tries {
    /// There is another one that can be asked.
    Few,
    /// It is the last.
    All,
}

impl Tries {
    /// For the host at `index` of `count`.
    pub(crate) fn of(index: usize, count: usize) -> Self {
        if index + 1 < count { Self::Few } else { Self::All }
    }
}

impl Repository {
    /// Sends a request until there is an answer that is one, or an error that stays.
    pub(crate) async fn call(&self, host: &Host, mut call: Call<'_>, tries: Tries) -> Result<Answer, Error> {
        let retry = &self.options().retry;
        let attempts = if tries == Tries::All { retry.attempts } else { 1 };
        let (mut attempt, mut authentications) = (1, 0);
        let mut refused: Option<Shown> = None;
        loop {
            let again = call.payload.again();
            let (shown, result) = self.once(host, &mut call, refused.as_ref()).await?;
            let (waiting, error) = match result {
                Ok(answer)
                    if answer.status().is_success() || call.accepted.contains(&answer.status().as_u16()) =>
                {
                    return Ok(answer);
                }
                Ok(answer)
                    if answer.status() == 401 && authentications < MAX_AUTHENTICATIONS && again.is_some() =>
                {
                    authentications += 1;
                    if !self.may_authenticate(host, &call, &answer, &shown).await? {
                        return Err(self.unauthorized(answer, call.what, &shown).await);
                    }
                    (refused, call.payload) = (Some(shown), again.unwrap_or(Payload::Empty));
                    continue;
                }
                Ok(answer) if is_passing(answer.status()) => {
                    let asked = retry_after(&answer.head.headers);
                    let error = answer.refused(call.what, &self.shared.registry).await;
                    let too_long = asked.is_some_and(|asked| asked > retry.longest_retry_after);
                    if attempt >= attempts || too_long {
                        return Err(error);
                    }
                    (asked.unwrap_or_default().max(pause(attempt, retry)), error)
                }
                Ok(answer) if answer.status() == 401 => {
                    return Err(self.unauthorized(answer, call.what, &shown).await);
                }
                Ok(answer) => return Err(answer.refused(call.what, &self.shared.registry).await),
                Err(error) if is_worth_it(&error, attempt, attempts) => (pause(attempt, retry), error),
                Err(error) => return Err(error),
            };
            let Some(payload) = again else { return Err(error) };
            tracing::debug!(host = %host.host, error = %error, ?waiting, attempt, "asking again");
            call.payload = payload;
            attempt += 1;
            tokio::time::sleep(waiting).await;
        }
    }

    /// Sends a request once, with what is known to be asked for.
    async fn once(
        &self,
        host: &Host,
        call: &mut Call<'_>,
        refused: Option<&Shown>,
    ) -> Result<(Shown, Result<Answer, Error>), Error> {
        let shared = &self.shared.client.shared;
        let home = self.uri(host, call, "")?;
        let home = origin(&home, host)?;
        let uri = match &call.place {
            Place::Path(path) => self.uri(host, call, path)?,
            Place::Uri(uri) => self.with_call_query(host, call, uri, origin(uri, host)? == home)?,
        };
        let origin = origin(&uri, host)?;
        let mut headers = HeaderMap::new();
        let mut shown = Shown::default();
        if origin == home {
            let place = self.auth_place(host, origin);
            shown = self.shared.authority.show(&place, call.scope, refused).await?;
            add_configured(&mut headers, host)?;
            if let Some(value) = &shown.header {
                headers.insert(header::AUTHORIZATION, value.clone());
            }
        }
        for (name, value) in &call.headers {
            headers.insert(name.clone(), value.clone());
        }
        let payload = std::mem::replace(&mut call.payload, Payload::Empty);
        let limit = call.limit.unwrap_or(shared.options.timeouts.response);
        let ask = Ask { method: call.method.clone(), uri, headers, payload, what: call.what, limit };
        Ok((shown, shared.transport.send(host, ask).await))
    }

    fn auth_place<'b>(&'b self, host: &'b Host, origin: Origin) -> AuthPlace<'b> {
        let shared = &self.shared.client.shared;
        let (transport, options, knowledge) = (&shared.transport, &*shared.options, &shared.knowledge);
        AuthPlace { transport, options, knowledge, host, origin }
    }

    /// Whether there is something to show for this answer of 401 that was not shown yet.
    async fn may_authenticate(
        &self,
        host: &Host,
        call: &Call<'_>,
        answer: &Answer,
        shown: &Shown,
    ) -> Result<bool, Error> {
        // Who was not asked is not answered (CVE-2020-15157).
        let origin = origin(&answer.uri, host)?;
        let home = self::origin(&self.uri(host, call, "")?, host)?;
        if answer.is_elsewhere || origin != home {
            return Ok(false);
        }
        let place = self.auth_place(host, origin);
        if !self.shared.authority.learn(&place, &answer.head.headers, shown).await? {
            return Ok(false);
        }
        let next = self.shared.authority.show(&place, call.scope, Some(shown)).await?;
        Ok(next.header.is_some() && next.header != shown.header)
    }

    async fn unauthorized(&self, answer: Answer, what: &str, shown: &Shown) -> Error {
        let anonymous = shown.header.is_none();
        match answer.refused(what, &self.shared.registry).await {
            Error::Refused { host, what, status, detail } if anonymous => {
                // dockerd's clients look for these words.
                let detail = format!("{detail} (no basic auth credentials)");
                Error::Refused { host, what, status, detail }
            }
            error => error,
        }
    }

    /// `scheme://host/v2/name/path?query`.
    fn uri(&self, host: &Host, call: &Call<'_>, path: &str) -> Result<Uri, Error> {
        let scheme = self.shared.client.shared.transport.scheme(host);
        let text = format!("{scheme}://{}{}/{}/{path}", host.host, host.root, self.shared.name);
        let problem =
            || Error::Configuration { host: host.host.clone(), problem: "not a host or path of HTTP".into() };
        let uri: Uri = text.parse().map_err(|_| problem())?;
        self.with_call_query(host, call, &uri, true)
    }

    /// With the query, and with the registry that a mirror is asked for, if it is at home there.
    fn with_call_query(&self, host: &Host, call: &Call<'_>, uri: &Uri, at_home: bool) -> Result<Uri, Error> {
        let mut query = call.query.clone();
        if at_home && self.is_mirror(host) {
            query.push(("ns", &self.shared.registry));
        }
        with_query(uri, &query).ok_or_else(|| Error::Configuration {
            host: host.host.clone(),
            problem: format!("{} cannot be asked for", encoded(call.what)),
        })
    }

    fn is_mirror(&self, host: &Host) -> bool {
        let itself = Host::default_for(&self.shared.registry).host;
        host.host != self.shared.registry && host.host != itself
    }
}

fn origin(uri: &Uri, host: &Host) -> Result<Origin, Error> {
    let problem = || Error::Configuration { host: host.host.clone(), problem: "not a URL of HTTP".into() };
    Origin::of(uri).ok_or_else(problem)
}

/// The headers that `hosts.toml` has for a host.
fn add_configured(headers: &mut HeaderMap, host: &Host) -> Result<(), Error> {
    for (name, values) in &host.headers {
        for value in values {
            let wrong = || Error::Configuration {
                host: host.host.clone(),
                problem: format!("{name:?} cannot be a header"),
            };
            let key = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.append(key, value);
        }
    }
    Ok(())
}
