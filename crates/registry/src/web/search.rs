use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;

use crate::credential::basic;
use crate::transport::with_query;
use crate::{Client, Credential, Error, Host};

/// Where indexes answer searches. Docker's registries of the first version had it, and Docker Hub still has.
const PATH: &str = "v1/search";

/// A repository that an index has found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Found {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What it is.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
    /// How many people like it.
    #[serde(default)]
    pub star_count: i64,
    /// Whether the index's owner keeps it.
    #[serde(default)]
    pub is_official: bool,
    /// Whether it was built by the index.
    #[serde(default)]
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    results: Vec<Found>,
}

/// Null is nothing.
fn or_default<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

impl Client {
    /// Asks an index for repositories by words: `GET /v1/search`, which no specification of today has.
    ///
    /// # Errors
    /// Those of the host: NotFound for one that has no search, Connect for one that cannot be reached; Protocol and Limit for what it
    /// answers.
    pub async fn search(
        &self,
        host: &Host,
        term: &str,
        limit: u32,
        credential: Option<&Credential>,
    ) -> Result<Vec<Found>, Error> {
        let problem =
            || Error::Configuration { host: host.host.clone(), problem: "not a host of HTTP".into() };
        let scheme = self.shared.transport.scheme(host);
        let uri = format!("{scheme}://{}/{PATH}", host.host).parse().map_err(|_| problem())?;
        let count = limit.to_string();
        let uri = with_query(&uri, &[("q", term), ("n", &count)]).ok_or_else(problem)?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let value = match credential {
            Some(Credential::User { username, secret }) => basic(username, secret.expose()),
            Some(Credential::RegistryToken(token)) => {
                HeaderValue::try_from(format!("Bearer {}", token.expose())).ok()
            }
            Some(Credential::Header(value)) => HeaderValue::try_from(value.expose()).ok(),
            // It opens a token server, of which indexes have none.
            Some(Credential::IdentityToken(_)) | None => None,
        };
        if let Some(value) = value {
            headers.insert(header::AUTHORIZATION, value);
        }
        let what = "a search";
        let answer = self.get(host, &uri, &headers, what).await?;
        if !answer.status().is_success() {
            return Err(answer.refused(what, &host.host).await);
        }
        let (options, name) = (&self.shared.options, answer.host.clone());
        let bytes = answer.collect(what, options.limits.document_bytes, &options.timeouts).await?;
        let results: Results = serde_json::from_slice(&bytes).map_err(|error| Error::Protocol {
            host: name,
            what: what.to_owned(),
            problem: format!("no list of repositories: {error}"),
        })?;
        Ok(results.results)
    }
}
