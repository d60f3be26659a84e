//! What a client asks of a build, in the builder's words.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gantry_build::{BuildRequest, CredentialsOf, Pull, Remove, UseCache, Verbosity};
use gantry_docker_api::auth::decode_configs;
use gantry_docker_api::container::Resources;
use gantry_docker_api::header;
use gantry_engine::image::Credential;
use gantry_types::Reference;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::from_api::{check_limits, limits};
use crate::http::Call;

/// The most names, hosts and options of a build.
const MAX_VALUES: usize = 1024;
/// The longest of the parameters that are JSON.
const MAX_JSON_BYTES: usize = 1 << 20;
/// How Docker Hub is called in a client's credentials.
const HUB: [&str; 3] = ["https://index.docker.io/v1/", "index.docker.io", "docker.io"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ulimit {
    name: String,
    #[serde(default)]
    soft: i64,
    #[serde(default)]
    hard: i64,
}

/// Reads a request.
///
/// # Errors
/// 400 for what makes no sense, 501 for what needs BuildKit.
pub(super) fn request(call: &Call) -> Result<BuildRequest, Failure> {
    refuse(call)?;
    let query = &call.query;
    let list = |name: &str| -> Result<Vec<String>, Failure> {
        let list: Vec<String> = query.all(name).filter(|text| !text.is_empty()).map(str::to_owned).collect();
        match list.len() > MAX_VALUES {
            true => Err(Failure::invalid(format!("{name} has more than {MAX_VALUES} values"))),
            false => Ok(list),
        }
    };
    let remove = match (query.is_set("forcerm"), query.is_set_or("rm", true)) {
        (true, _) => Remove::Always,
        (false, true) => Remove::OnSuccess,
        (false, false) => Remove::Never,
    };
    Ok(BuildRequest {
        tags: tags(&list("t")?)?,
        remote: Some(query.text("remote")).filter(|remote| !remote.is_empty()).map(str::to_owned),
        dockerfile: query.text("dockerfile").to_owned(),
        verbosity: if query.is_set("q") { Verbosity::Quiet } else { Verbosity::Steps },
        cache: if query.is_set("nocache") { UseCache::No } else { UseCache::Yes },
        cache_from: json(call, "cachefrom")?,
        pull: if query.is_set("pull") { Pull::Always } else { Pull::Missing },
        remove,
        arguments: json::<BTreeMap<String, Option<String>>>(call, "buildargs")?,
        labels: json(call, "labels")?,
        target: query.text("target").to_owned(),
        resources: resources(call)?,
        shm_size: query.number::<u64>("shmsize")?.unwrap_or_default(),
        network_mode: query.text("networkmode").to_owned(),
        extra_hosts: list("extrahosts")?,
        security_opt: list("securityopt")?,
        platform: crate::image::platform(query.text("platform"))?,
        credentials: credentials(call),
    })
}

/// Refuses what this builder does not do.
fn refuse(call: &Call) -> Result<(), Failure> {
    let query = &call.query;
    if query.text("version") == "2" {
        return Err(Failure::unsupported(
            "BuildKit is not served here: set DOCKER_BUILDKIT=0 for the classic builder",
        ));
    }
    if query.text("remote") == "client-session" || !query.text("session").is_empty() {
        return Err(Failure::unsupported(
            "sessions need BuildKit, which is not served here: set DOCKER_BUILDKIT=0 for the classic builder",
        ));
    }
    if query.is_set("squash") {
        return Err(Failure::unsupported(
            "squashing is not supported: build in stages, and copy from the last one",
        ));
    }
    if !matches!(query.text("outputs"), "" | "null" | "[]") {
        return Err(Failure::unsupported("outputs of builds need BuildKit, which is not served here"));
    }
    Ok(())
}

fn tags(texts: &[String]) -> Result<Vec<Reference>, Failure> {
    let mut tags: Vec<Reference> = Vec::new();
    for text in texts {
        let reference = Reference::parse_familiar(text)
            .map_err(|error| Failure::from(gantry_engine::image::invalid_name(&error)))?;
        if reference.digest().is_some() {
            return Err(Failure::invalid("build tag cannot contain a digest"));
        }
        if !tags.contains(&reference) {
            tags.push(reference);
        }
    }
    Ok(tags)
}

/// A parameter that is JSON; the default for none.
fn json<T: DeserializeOwned + Default>(call: &Call, name: &str) -> Result<T, Failure> {
    let text = call.query.text(name);
    if text.is_empty() {
        return Ok(T::default());
    }
    if text.len() > MAX_JSON_BYTES {
        return Err(Failure::invalid(format!("{name} has more than {MAX_JSON_BYTES} bytes")));
    }
    let value = serde_json::from_str::<Option<T>>(text);
    Ok(value.map_err(|error| Failure::invalid(format!("error reading {name}: {error}")))?.unwrap_or_default())
}

fn resources(call: &Call) -> Result<gantry_engine::Resources, Failure> {
    let query = &call.query;
    let number = |name: &str| query.number::<i64>(name).map(Option::unwrap_or_default);
    let asked = Resources {
        memory: number("memory")?,
        memory_swap: number("memswap")?,
        cpu_shares: number("cpushares")?,
        cpu_period: number("cpuperiod")?,
        cpu_quota: number("cpuquota")?,
        cpuset_cpus: query.text("cpusetcpus").to_owned(),
        cpuset_mems: query.text("cpusetmems").to_owned(),
        cgroup_parent: query.text("cgroupparent").to_owned(),
        ..Resources::default()
    };
    check_limits(&asked)?;
    let mut made = limits(&asked)?;
    let ulimits = json::<Vec<Ulimit>>(call, "ulimits")?;
    made.ulimits = ulimits.into_iter().map(|limit| (limit.name, limit.soft, limit.hard)).collect();
    Ok(made)
}

/// The credentials of the header, by the names of registries' hosts.
fn credentials(call: &Call) -> Option<CredentialsOf> {
    let text = call.header(header::REGISTRY_CONFIG);
    let configs = match decode_configs(text.as_bytes()) {
        Ok(configs) => configs,
        Err(error) => {
            tracing::debug!(%error, "credentials that cannot be read count as none");
            return None;
        }
    };
    let mut known: HashMap<String, Credential> = HashMap::new();
    for (server, config) in configs.iter() {
        let bare = server.trim_start_matches("https://").trim_start_matches("http://");
        let host = match HUB.contains(&server.as_str()) {
            true => "docker.io",
            false => bare.split('/').next().unwrap_or(bare),
        };
        if let Some(credential) = crate::image::credential_of(config.clone()) {
            known.insert(host.to_owned(), credential);
        }
    }
    if known.is_empty() {
        return None;
    }
    Some(Arc::new(move |host: &str| known.get(host).cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_once_each() {
        let read = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            tags(&texts).map(|tags| tags.iter().map(Reference::familiar).collect::<Vec<_>>())
        };
        assert_eq!(read(&["a", "a:latest", "r.example/b:1"]).unwrap(), ["a:latest", "r.example/b:1"]);
        assert!(read(&["A"]).is_err());
        assert!(read(&[&format!("a@sha256:{}", "0".repeat(64))]).is_err());
    }
}
