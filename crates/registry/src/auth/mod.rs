//! Who we are at a registry: what it asks for, and what answers that.

mod challenge;
mod scope;
mod token;

#[cfg(feature = "fuzzing")]
pub(crate) use challenge::parse;
pub(crate) use challenge::{Challenge, challenges};
pub(crate) use scope::Scope;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderValue};

use self::token::{TokenCache, TokenKey, basic, sensitive};
use crate::transport::{Origin, Transport};
use crate::{Credential, Credentials, Error, Host, Options, Secret};

/// The most hosts whose challenge is remembered.
const MAX_KNOWN: usize = 1024;

/// What a host wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Demand {
    Basic,
    Bearer { realm: String, service: String },
}

/// What is known of hosts and tokens; shared by everybody, for neither is anybody's secret without the credential.
#[derive(Default)]
pub(crate) struct Knowledge {
    demands: Mutex<HashMap<Origin, Demand>>,
    tokens: TokenCache,
}

impl Knowledge {
    fn demand(&self, origin: &Origin) -> Option<Demand> {
        self.demands.lock().unwrap_or_else(PoisonError::into_inner).get(origin).cloned()
    }

    fn learn(&self, origin: &Origin, demand: Demand) {
        let mut demands = self.demands.lock().unwrap_or_else(PoisonError::into_inner);
        if demands.len() >= MAX_KNOWN {
            demands.clear();
        }
        demands.insert(origin.clone(), demand);
    }
}

/// The credentials of one pull or push.
pub(crate) struct Authority {
    credentials: Arc<dyn Credentials>,
    /// Asked for once for each host.
    known: tokio::sync::Mutex<HashMap<String, Option<Credential>>>,
    /// What registries wanted tokens for besides what was to be expected.
    wanted: Mutex<HashMap<Origin, Scope>>,
}

/// What a request was sent with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(crate) header: Option<HeaderValue>,
    token: Option<Secret>,
}

impl Authority {
    pub(crate) fn new(credentials: Arc<dyn Credentials>) -> Self {
        Self { credentials, known: tokio::sync::Mutex::default(), wanted: Mutex::default() }
    }

    async fn credential(&self, host: &str) -> Result<Option<Credential>, Error> {
        let mut known = self.known.lock().await;
        if let Some(credential) = known.get(host) {
            return Ok(credential.clone());
        }
        let credential = self.credentials.get(host).await?;
        known.insert(host.to_owned(), credential.clone());
        Ok(credential)
    }

    fn scopes(&self, origin: &Origin, scope: &Scope) -> Vec<String> {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = scope.clone();
        if let Some(more) = wanted.get(origin) {
            all.add(more);
        }
        all.texts()
    }

    /// What to send to a host before it asks, as far as that is known. `refused` is what it did not take.
    pub(crate) async fn show(
        &self,
        at: &Place<'_>,
        scope: &Scope,
        refused: Option<&Shown>,
    ) -> Result<Shown, Error> {
        let host = &at.host.host;
        let Some(demand) = at.knowledge.demand(&at.origin) else {
            // A credential may cost a program's run: it is not looked for before anybody asks.
            return match self.known.lock().await.get(host) {
                Some(Some(Credential::Header(value))) => whole(host, value),
                _ => Ok(Shown::default()),
            };
        };
        let credential = self.credential(host).await?;
        match (demand, credential) {
            (_, Some(Credential::Header(value))) => whole(host, &value),
            (Demand::Basic, Some(Credential::User { username, secret })) => {
                Ok(Shown { header: Some(basic(host, &username, &secret)?), token: None })
            }
            (_, Some(Credential::RegistryToken(token))) => bearer(host, token),
            (Demand::Bearer { realm, service }, credential) => {
                let key = TokenKey { realm, service, scopes: self.scopes(&at.origin, scope), credential };
                let refused = refused.and_then(|shown| shown.token.as_ref());
                let token =
                    at.knowledge.tokens.token(at.transport, at.options, at.host, &key, refused).await?;
                bearer(host, token)
            }
            _ => Ok(Shown::default()),
        }
    }

    /// Takes in what an answer of 401 asks for; whether that is something to try.
    pub(crate) async fn learn(
        &self,
        at: &Place<'_>,
        headers: &HeaderMap,
        shown: &Shown,
    ) -> Result<bool, Error> {
        if self.learn_demand(at, headers, shown) {
            return Ok(true);
        }
        // A header that was given whole fits whatever is asked for.
        let is_whole = matches!(self.credential(&at.host.host).await?, Some(Credential::Header(_)));
        Ok(is_whole && shown.header.is_none())
    }

    fn learn_demand(&self, at: &Place<'_>, headers: &HeaderMap, shown: &Shown) -> bool {
        let challenges = challenges(headers);
        let Some((demand, scope)) = demanded(&challenges) else { return false };
        let is_new = at.knowledge.demand(&at.origin).as_ref() != Some(&demand);
        let is_bearer = matches!(demand, Demand::Bearer { .. });
        if is_new {
            at.knowledge.learn(&at.origin, demand);
        }
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let known = wanted.entry(at.origin.clone()).or_default();
        let before = known.clone();
        known.add(&scope);
        // A token may have expired early, or lack what is wanted now; a password does not change.
        let wants_more = is_bearer && (shown.token.is_some() || *known != before);
        is_new || shown.header.is_none() || wants_more
    }
}

/// The challenge that can be answered: a token before a password.
fn demanded(challenges: &[Challenge]) -> Option<(Demand, Scope)> {
    let bearer =
        challenges.iter().find(|challenge| challenge.scheme == "bearer" && challenge.get("realm").is_some());
    if let Some(challenge) = bearer {
        let text = |name| challenge.get(name).unwrap_or_default();
        let demand = Demand::Bearer { realm: text("realm").to_owned(), service: text("service").to_owned() };
        return Some((demand, Scope::parse(text("scope"))));
    }
    let is_basic = challenges.iter().any(|challenge| challenge.scheme == "basic");
    is_basic.then(|| (Demand::Basic, Scope::default()))
}

fn whole(host: &str, value: &Secret) -> Result<Shown, Error> {
    Ok(Shown { header: Some(sensitive(host, value.expose())?), token: None })
}

fn bearer(host: &str, token: Secret) -> Result<Shown, Error> {
    let header = sensitive(host, &format!("Bearer {}", token.expose()))?;
    Ok(Shown { header: Some(header), token: Some(token) })
}

/// A host that is about to be asked.
pub(crate) struct Place<'a> {
    pub(crate) transport: &'a Transport,
    pub(crate) options: &'a Options,
    pub(crate) knowledge: &'a Knowledge,
    pub(crate) host: &'a Host,
    pub(crate) origin: Origin,
}
