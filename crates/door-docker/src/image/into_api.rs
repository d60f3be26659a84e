//! Images of the engine, as clients know them; and back where clients send the same.

use gantry_docker_api::container::{ContainerConfig, HealthConfig};
use gantry_docker_api::image::{
    ManifestAttestation, ManifestImage, ManifestImageSize, ManifestSize, ManifestSummary, OciDescriptor,
    OciPlatform,
};
use gantry_docker_api::{List, Map, Nothing, Words};
use gantry_engine::image::{self, Empty, Healthcheck, ImageSettings, ManifestKind};
use gantry_types::{Descriptor, Platform};

/// A number of bytes.
pub(super) fn bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A descriptor.
pub(super) fn descriptor(of: &Descriptor) -> OciDescriptor {
    OciDescriptor {
        media_type: of.media_type.clone(),
        digest: of.digest.to_string(),
        size: bytes(of.size),
        urls: some(of.urls.clone()),
        annotations: if of.annotations.is_empty() { Map::default() } else { of.annotations.clone().into() },
        data: of.data.clone().unwrap_or_default(),
        platform: of.platform.as_ref().map(platform),
        artifact_type: of.artifact_type.clone().unwrap_or_default(),
    }
}

/// A platform.
pub(super) fn platform(of: &Platform) -> OciPlatform {
    OciPlatform {
        architecture: of.architecture.clone(),
        os: of.os.clone(),
        os_version: of.os_version.clone(),
        os_features: some(of.os_features.clone()),
        variant: of.variant.clone(),
    }
}

/// A list that is not there when it is empty.
pub(super) fn some<T>(items: Vec<T>) -> List<T> {
    if items.is_empty() { List::default() } else { items.into() }
}

/// A manifest.
pub(super) fn manifest(of: &image::ManifestSummary) -> ManifestSummary {
    let content = bytes(of.content_bytes);
    let mut made = ManifestSummary {
        id: of.descriptor.digest.to_string(),
        descriptor: descriptor(&of.descriptor),
        available: of.available,
        size: ManifestSize { content, total: content },
        kind: "unknown".to_owned(),
        image_data: None,
        attestation_data: None,
    };
    match &of.kind {
        ManifestKind::Image { platform: on, unpacked_bytes, containers, .. } => {
            let unpacked = bytes(*unpacked_bytes);
            made.kind = "image".to_owned();
            made.size.total = content.saturating_add(unpacked);
            made.image_data = Some(ManifestImage {
                platform: platform(on),
                containers: some(containers.clone()),
                size: ManifestImageSize { unpacked },
            });
        }
        ManifestKind::Attestation { of } => {
            made.kind = "attestation".to_owned();
            made.attestation_data = Some(ManifestAttestation { of: of.to_string() });
        }
        ManifestKind::Unknown => {}
    }
    made
}

fn words(items: &[String]) -> Words {
    Words(some(items.to_vec()))
}

fn keys<V>(map: &std::collections::BTreeMap<String, V>) -> Map<Nothing> {
    if map.is_empty() {
        Map::default()
    } else {
        map.keys().map(|key| (key.clone(), Nothing::default())).collect()
    }
}

/// What an image says of its containers.
pub(super) fn config(of: &ImageSettings) -> ContainerConfig {
    ContainerConfig {
        user: of.user.clone(),
        exposed_ports: keys(&of.exposed_ports),
        env: some(of.env.clone()),
        cmd: words(&of.cmd),
        healthcheck: of.healthcheck.as_ref().map(|check| HealthConfig {
            test: some(check.test.clone()),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        args_escaped: of.args_escaped,
        volumes: keys(&of.volumes),
        working_dir: of.working_dir.clone(),
        entrypoint: words(&of.entrypoint),
        on_build: some(of.on_build.clone()),
        labels: if of.labels.is_empty() { Map::default() } else { of.labels.clone().into() },
        stop_signal: of.stop_signal.clone(),
        stop_timeout: of.stop_timeout,
        shell: words(&of.shell),
        ..ContainerConfig::default()
    }
}

/// The same from a client.
pub(super) fn settings(of: ContainerConfig) -> ImageSettings {
    let keys = |map: Map<Nothing>| map.into_map().into_keys().map(|key| (key, Empty {})).collect();
    ImageSettings {
        user: of.user,
        exposed_ports: keys(of.exposed_ports),
        env: of.env.into_vec(),
        entrypoint: of.entrypoint.0.into_vec(),
        cmd: of.cmd.0.into_vec(),
        volumes: keys(of.volumes),
        working_dir: of.working_dir,
        labels: of.labels.into_map(),
        stop_signal: of.stop_signal,
        healthcheck: of.healthcheck.map(|check| Healthcheck {
            test: check.test.into_vec(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        shell: of.shell.0.into_vec(),
        on_build: of.on_build.into_vec(),
        stop_timeout: of.stop_timeout,
        args_escaped: of.args_escaped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sends_is_what_it_gets() {
        let made = ImageSettings {
            cmd: vec!["/x".into()],
            env: vec!["A=1".into()],
            exposed_ports: [("80/tcp".to_owned(), Empty {})].into(),
            labels: [("k".to_owned(), "v".to_owned())].into(),
            healthcheck: Some(Healthcheck {
                test: vec!["CMD".into(), "x".into()],
                interval: 1,
                ..Healthcheck::default()
            }),
            stop_timeout: Some(3),
            ..ImageSettings::default()
        };
        assert_eq!(settings(config(&made)), made);
        let empty = serde_json::to_value(config(&ImageSettings::default())).unwrap();
        assert!(empty["Env"].is_null() && empty["Cmd"].is_null() && empty["Labels"].is_null());
    }
}
