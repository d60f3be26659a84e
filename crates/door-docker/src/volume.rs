//! Volumes.

use gantry_docker_api::volume::{Volume as ApiVolume, VolumeCreateRequest, VolumeList, VolumePruneResponse};
use gantry_docker_api::{ApiVersion, Filters, List};
use gantry_engine::{EventKind, Volume, VolumeRequest};
use http::{Method, StatusCode};

use crate::container::{prune_event, until};
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};
use crate::into_api;

/// The label of volumes that nobody named.
const ANONYMOUS: &str = "com.docker.volume.anonymous";
/// The first version whose prune takes only volumes that nobody named.
const V1_42: ApiVersion = ApiVersion::new(1, 42);

/// Answers a request for `/volumes…`.
pub(crate) async fn route(call: Call, rest: &[&str]) -> Outcome {
    match (&call.method, rest) {
        (&Method::GET, []) => list(call).await,
        (&Method::POST, ["create"]) => create(call).await,
        (&Method::POST, ["prune"]) => prune(call).await,
        (&Method::PUT, [_, ..]) => {
            let text = "volume update only valid for cluster volumes, but swarm is unavailable";
            Err(Failure::with(StatusCode::SERVICE_UNAVAILABLE, text))
        }
        (&Method::GET, [_, ..]) => {
            let volume = call.door.engine.volume(&rest.join("/")).await?;
            Ok(Answer::json(&into_api::volume(&volume)))
        }
        (&Method::DELETE, [_, ..]) => remove(call, &rest.join("/")).await,
        _ => Err(Failure::no_page()),
    }
}

/// `GET /volumes`
async fn list(call: Call) -> Outcome {
    let filters = call.filters()?;
    filters.check(&["dangling", "name", "driver", "label"])?;
    let dangling = boolean(&filters, "dangling")?;
    let all = call.door.engine.volumes().await?;
    let is_asked = |volume: &Volume| {
        let users = call.door.engine.volume_users(&volume.name);
        filters.matches_part("name", &volume.name)
            && filters.matches_exactly("driver", "local")
            && matches_labels(&filters, volume)
            && dangling.is_none_or(|dangling| dangling == users.is_empty())
    };
    let volumes = all.iter().filter(|volume| is_asked(volume)).map(into_api::volume).collect();
    Ok(Answer::json(&VolumeList { volumes, warnings: List::default() }))
}

fn matches_labels(filters: &Filters, volume: &Volume) -> bool {
    let label = |key: &str| volume.labels.get(key).map(String::as_str);
    let is_excluded = filters.contains("label!") && filters.matches_labels("label!", label);
    filters.matches_labels("label", label) && !is_excluded
}

fn boolean(filters: &Filters, name: &str) -> Result<Option<bool>, Failure> {
    filters.boolean(name).map_err(|_| {
        let values: Vec<&str> = filters.values(name).collect();
        Failure::invalid(format!("invalid filter '{name}=[{}]'", values.join(" ")))
    })
}

/// `POST /volumes/create`
async fn create(mut call: Call) -> Outcome {
    let request: VolumeCreateRequest = call.json().await?;
    if request.cluster_volume_spec.is_some() {
        return Err(Failure::no_swarm());
    }
    let name = request.name.clone();
    let words = |message: String| Failure::invalid(format!("create {name}: {message}"));
    if name.len() == 1 {
        let text = "volume name is too short, names should be at least two alphanumeric characters";
        return Err(words(text.to_owned()));
    }
    if !name.is_empty() {
        gantry_docker_api::name::volume(&name).map_err(|error| words(error.to_string()))?;
    }
    if !matches!(request.driver.as_str(), "" | "local") {
        let driver = &request.driver;
        return Err(Failure::not_found(format!(
            "create {name}: error looking up volume plugin {driver}: plugin {driver:?} not found"
        )));
    }
    let wanted = VolumeRequest {
        name: request.name,
        driver: request.driver,
        labels: request.labels.into_map(),
        options: request.driver_opts.into_map(),
    };
    let volume = call.door.engine.volume_create(wanted).await?;
    Ok(Answer::json_with(StatusCode::CREATED, &into_api::volume(&volume)))
}

/// `DELETE /volumes/{name}`
async fn remove(call: Call, name: &str) -> Outcome {
    match call.door.engine.volume_remove(name).await {
        // Whoever forces it wants it to be gone, and it is.
        Err(gantry_engine::Error::NotFound { .. }) if call.query.is_set("force") => Ok(Answer::none()),
        removed => Ok(removed.map(|()| Answer::none())?),
    }
}

/// `POST /volumes/prune`
async fn prune(call: Call) -> Outcome {
    let filters = call.filters()?;
    filters.check(&["label", "label!", "all", "until"])?;
    let with_named = match filters.boolean("all") {
        Ok(all) => all.unwrap_or(call.version < V1_42),
        Err(_) => {
            let value = filters.values("all").next().unwrap_or_default();
            let text = format!("invalid filter 'all': strconv.ParseBool: parsing {value:?}: invalid syntax");
            return Err(Failure::invalid(text));
        }
    };
    let until = until(&filters)?;
    let engine = &call.door.engine;
    let mut deleted = List::default();
    let mut reclaimed = 0_u64;
    for volume in engine.volumes().await? {
        let is_asked = (with_named || volume.labels.contains_key(ANONYMOUS))
            && matches_labels(&filters, &volume)
            && until.is_none_or(|until| volume.created < until);
        if !is_asked || !engine.volume_users(&volume.name).is_empty() {
            continue;
        }
        let size = engine.volume_size(&volume.name).await.unwrap_or(0);
        match engine.volume_remove(&volume.name).await {
            Ok(()) => {
                reclaimed = reclaimed.saturating_add(size);
                deleted.push(volume.name);
            }
            // A container has it by now.
            Err(error) => tracing::warn!(volume = volume.name, %error, "a volume was not pruned"),
        }
    }
    engine.announce(&prune_event(EventKind::Volume, reclaimed)).await;
    Ok(Answer::json(&VolumePruneResponse { volumes_deleted: deleted, space_reclaimed: reclaimed }))
}

/// A volume with its size, and the number of containers that have it.
pub(crate) async fn with_usage(call: &Call, volume: &Volume) -> ApiVolume {
    let users = call.door.engine.volume_users(&volume.name).len();
    let size = call.door.engine.volume_size(&volume.name).await;
    let usage = gantry_docker_api::volume::VolumeUsage {
        ref_count: i64::try_from(users).unwrap_or(i64::MAX),
        // One that cannot be measured is unknown.
        size: size.map_or(-1, |size| i64::try_from(size).unwrap_or(i64::MAX)),
    };
    ApiVolume { usage_data: Some(usage), ..into_api::volume(volume) }
}
