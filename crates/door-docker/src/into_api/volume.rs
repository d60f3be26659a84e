//! Volumes.

use gantry_docker_api::Map;
use gantry_docker_api::volume::Volume as ApiVolume;
use gantry_engine::Volume;

/// A volume.
pub(crate) fn volume(volume: &Volume) -> ApiVolume {
    let map = |map: &std::collections::BTreeMap<String, String>| {
        if map.is_empty() { Map::default() } else { map.clone().into() }
    };
    ApiVolume {
        // Docker's have no fractions of a second.
        created_at: volume.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        driver: "local".to_owned(),
        labels: map(&volume.labels),
        mountpoint: volume.mountpoint.display().to_string(),
        name: volume.name.clone(),
        options: map(&volume.options),
        scope: "local".to_owned(),
        ..ApiVolume::default()
    }
}
