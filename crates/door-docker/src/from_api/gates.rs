//! What clients of older versions did not know: what they send by accident is not minded, and what was different for them stays so.

use gantry_docker_api::container::{ContainerConfig, ContainerCreateRequest, HostConfig, Mount};
use gantry_docker_api::{ApiVersion, Map};

use crate::failure::Failure;

const V1_41: ApiVersion = ApiVersion::new(1, 41);
const V1_42: ApiVersion = ApiVersion::new(1, 42);
const V1_43: ApiVersion = ApiVersion::new(1, 43);
pub(super) const V1_44: ApiVersion = ApiVersion::new(1, 44);
const V1_45: ApiVersion = ApiVersion::new(1, 45);
const V1_48: ApiVersion = ApiVersion::new(1, 48);

/// Makes a request what it means in its version.
///
/// # Errors
/// 400 for what needs a newer version and cannot be left out.
pub(super) fn apply(request: &mut ContainerCreateRequest, version: ApiVersion) -> Result<(), Failure> {
    if version < V1_44 {
        config_before_1_44(&mut request.config);
        let endpoints = request.networking_config.as_ref().map(|config| &config.endpoints_config);
        if let Some(endpoints) = endpoints.filter(|endpoints| endpoints.len() > 1) {
            let names: Vec<&str> = endpoints.keys().map(String::as_str).collect();
            return Err(Failure::invalid(format!(
                "Container cannot be created with multiple network endpoints: {}",
                names.join(", ")
            )));
        }
    }
    let Some(host) = &mut request.host_config else { return Ok(()) };
    host_config(host, version);
    for mount in host.mounts.iter_mut() {
        self::mount(mount, version)?;
    }
    Ok(())
}

fn config_before_1_44(config: &mut ContainerConfig) {
    if let Some(check) = &mut config.healthcheck {
        check.start_interval = 0;
    }
}

fn host_config(host: &mut HostConfig, version: ApiVersion) {
    if version < V1_41 && host.cgroupns_mode.is_empty() {
        "host".clone_into(&mut host.cgroupns_mode);
    }
    if version < V1_42 {
        host.console_size = [0, 0];
    } else {
        host.resources.kernel_memory = None;
        host.resources.kernel_memory_tcp = None;
    }
    if version < V1_43 {
        host.annotations = Map::default();
    }
}

fn mount(mount: &mut Mount, version: ApiVersion) -> Result<(), Failure> {
    if version < V1_42 {
        if let Some(options) = &mut mount.bind_options {
            options.create_mountpoint = false;
        }
        if mount.kind != "volume" {
            mount.volume_options = None;
        }
        if mount.kind != "tmpfs" {
            mount.tmpfs_options = None;
        }
        if mount.kind != "bind" {
            mount.bind_options = None;
        }
    }
    let needs = |what: &str, version: ApiVersion| {
        Err(Failure::invalid(format!("{what} needs API v{version} or newer")))
    };
    let bind = mount.bind_options.as_ref();
    if version < V1_44 && bind.is_some_and(|options| options.read_only_force_recursive) {
        return needs("BindOptions.ReadOnlyForceRecursive", V1_44);
    }
    if version < V1_45 && mount.volume_options.as_ref().is_some_and(|options| !options.subpath.is_empty()) {
        return needs("VolumeOptions.Subpath", V1_45);
    }
    if version < V1_48 && mount.kind == "image" {
        return needs("Mount type \"Image\"", V1_48);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gated(text: &str, version: ApiVersion) -> Result<ContainerCreateRequest, Failure> {
        let mut request: ContainerCreateRequest = serde_json::from_str(text).unwrap();
        apply(&mut request, version).map(|()| request)
    }

    #[test]
    fn what_old_clients_did_not_know_is_left_out() {
        let text = r#"{"Healthcheck":{"StartInterval":5},"HostConfig":{"ConsoleSize":[1,2],"KernelMemory":5,
            "Annotations":{"a":"b"},"Mounts":[{"Type":"bind","BindOptions":{"CreateMountpoint":true},"VolumeOptions":{}}]}}"#;
        let old = gated(text, ApiVersion::new(1, 40)).unwrap();
        let host = old.host_config.unwrap();
        assert_eq!(old.config.healthcheck.unwrap().start_interval, 0);
        assert_eq!(
            (host.console_size, host.annotations.len(), host.cgroupns_mode.as_str()),
            ([0, 0], 0, "host")
        );
        assert_eq!(host.resources.kernel_memory, Some(5));
        assert!(host.mounts[0].volume_options.is_none());
        assert!(!host.mounts[0].bind_options.as_ref().unwrap().create_mountpoint);
        let new = gated(text, ApiVersion::MAX).unwrap();
        let host = new.host_config.unwrap();
        assert_eq!(new.config.healthcheck.unwrap().start_interval, 5);
        assert_eq!((host.console_size, host.annotations.len(), host.cgroupns_mode.as_str()), ([1, 2], 1, ""));
        assert_eq!(host.resources.kernel_memory, None);
        assert!(host.mounts[0].volume_options.is_some());
    }

    #[test]
    fn what_cannot_be_left_out_is_refused() {
        for (text, last, words) in [
            (r#"{"Type":"image"}"#, 47, "Mount type \"Image\" needs API v1.48 or newer"),
            (
                r#"{"VolumeOptions":{"Subpath":"a"},"Type":"volume"}"#,
                44,
                "VolumeOptions.Subpath needs API v1.45 or newer",
            ),
            (
                r#"{"Type":"bind","BindOptions":{"ReadOnlyForceRecursive":true}}"#,
                43,
                "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer",
            ),
        ] {
            let text = format!(r#"{{"HostConfig":{{"Mounts":[{text}]}}}}"#);
            assert_eq!(gated(&text, ApiVersion::new(1, last)).unwrap_err().message, words);
            assert!(gated(&text, ApiVersion::new(1, last + 1)).is_ok(), "{text}");
        }
        let two = r#"{"NetworkingConfig":{"EndpointsConfig":{"a":{},"b":{}}}}"#;
        assert!(gated(two, ApiVersion::new(1, 43)).unwrap_err().message.ends_with("endpoints: a, b"));
        assert!(gated(two, V1_44).is_ok());
    }
}
