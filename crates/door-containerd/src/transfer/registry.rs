//! How the registry of a request is reached: as it says, and else as the configuration does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use gantry_primitives::Access;
use gantry_primitives::access::TreeHosts;
use gantry_primitives::registry::{BoxFuture, Credential, Credentials, Error, Host, Hosts, Secret};
use gantry_proto_containerd::transfer::{OciRegistry, RegistryResolver};
use gantry_types::{Namespace, Reference};
use tonic::Status;

use crate::status;
use crate::streaming::{Answer, Asker, Streams};

/// The scheme that a request may ask for.
const PLAIN: &str = "http";

/// The image in a registry that a request names.
///
/// # Errors
/// InvalidArgument: it names no registry, or is malformed.
pub(super) fn reference(registry: &OciRegistry) -> Result<Reference, Status> {
    Reference::parse(&registry.reference)
        .map_err(|error| status::invalid_argument(format!("reference: {error}")))
}

/// How it is reached.
///
/// # Errors
/// NotFound for a stream of credentials that is not open, InvalidArgument for a scheme.
pub(super) fn access(
    registry: &OciRegistry,
    namespace: &Namespace,
    streams: &Streams,
    configured: &Access,
) -> Result<Access, Status> {
    let Some(resolver) = &registry.resolver else { return Ok(configured.clone()) };
    let mut access = configured.clone();
    if let Some(hosts) = hosts(resolver)? {
        access.hosts = hosts;
    }
    if !resolver.headers.is_empty() {
        let headers = resolver.headers.clone();
        access.hosts = Arc::new(WithHeaders { hosts: access.hosts, headers });
    }
    if !resolver.auth_stream.is_empty() {
        let stream = streams.take(namespace, &resolver.auth_stream)?;
        let (asker, reference) = (Asker::new(stream), registry.reference.clone());
        access.credentials = Arc::new(ClientCredentials { asker, reference });
    }
    Ok(access)
}

/// The hosts that the request names itself.
fn hosts(resolver: &RegistryResolver) -> Result<Option<Arc<dyn Hosts>>, Status> {
    let plain = match resolver.default_scheme.as_str() {
        "" | "https" => false,
        PLAIN => true,
        other => return Err(status::invalid_argument(format!("default scheme {other:?}"))),
    };
    if resolver.host_dir.is_empty() && !plain {
        return Ok(None);
    }
    let directory = Some(PathBuf::from(&resolver.host_dir)).filter(|path| !path.as_os_str().is_empty());
    let tree = TreeHosts::new(directory.into_iter().collect());
    Ok(Some(if plain { Arc::new(tree.with_plain_http()) } else { Arc::new(tree) }))
}

/// Hosts that get more headers, which the request brought.
struct WithHeaders {
    hosts: Arc<dyn Hosts>,
    headers: BTreeMap<String, String>,
}

impl Hosts for WithHeaders {
    fn hosts(&self, registry: &str) -> Result<Vec<Host>, Error> {
        let mut hosts = self.hosts.hosts(registry)?;
        for host in &mut hosts {
            for (name, value) in &self.headers {
                host.headers.entry(name.clone()).or_default().push(value.clone());
            }
        }
        Ok(hosts)
    }
}

/// What the client of a request says when it is asked.
struct ClientCredentials {
    asker: Asker,
    reference: String,
}

impl Credentials for ClientCredentials {
    fn get<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<Credential>, Error>> {
        Box::pin(async move {
            let answer = self.asker.ask(host, &self.reference).await;
            let failed = |status| Error::Credentials { host: host.to_owned(), source: Box::new(status) };
            Ok(credential(answer.map_err(failed)?))
        })
    }
}

fn credential(answer: Answer) -> Option<Credential> {
    match answer {
        Answer::None => None,
        Answer::Basic { username, password } => {
            Some(Credential::User { username, secret: Secret::new(password) })
        }
        Answer::Refresh(token) => Some(Credential::IdentityToken(Secret::new(token))),
        Answer::Header(value) => Some(Credential::Header(Secret::new(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_primitives::registry::{Anonymous, DefaultHosts, Scheme};

    fn configured() -> Access {
        Access { hosts: Arc::new(DefaultHosts), credentials: Arc::new(Anonymous) }
    }

    fn resolved(resolver: RegistryResolver) -> Result<Access, Status> {
        let registry = OciRegistry { reference: "h:1/a:b".into(), resolver: Some(resolver) };
        access(&registry, &"n".parse().unwrap(), &Streams::default(), &configured())
    }

    #[test]
    fn plain_http_is_spoken_where_it_is_asked_for() {
        let access =
            resolved(RegistryResolver { default_scheme: PLAIN.into(), ..Default::default() }).unwrap();
        assert_eq!(access.hosts.hosts("h:1").unwrap()[0].scheme, Scheme::Http);
        let access = resolved(RegistryResolver::default()).unwrap();
        assert_eq!(access.hosts.hosts("h:1").unwrap()[0].scheme, Scheme::Https);
        let wrong = RegistryResolver { default_scheme: "gopher".into(), ..Default::default() };
        assert!(resolved(wrong).is_err());
    }

    #[test]
    fn headers_of_the_request_go_to_every_host() {
        let headers = [("X-Meta".to_owned(), "1".to_owned())].into();
        let access = resolved(RegistryResolver { headers, ..Default::default() }).unwrap();
        assert_eq!(access.hosts.hosts("h:1").unwrap()[0].headers["X-Meta"], ["1"]);
    }

    #[test]
    fn a_stream_that_is_not_open_is_not_found() {
        let resolver = RegistryResolver { auth_stream: "s".into(), ..Default::default() };
        assert_eq!(resolved(resolver).err().unwrap().code(), tonic::Code::NotFound);
    }
}
