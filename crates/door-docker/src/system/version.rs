//! Versions.

use gantry_docker_api::ApiVersion;
use gantry_docker_api::system::{Component, Version, VersionPlatform};

use super::host;
use crate::http::{Answer, Call};

/// `GET /version`
pub(super) fn version(call: &Call) -> Answer {
    let about = &call.door.about;
    let kernel = host::kernel_release();
    let arch = call.door.engine.platform().architecture.clone();
    let details = [
        ("ApiVersion", ApiVersion::MAX.to_string()),
        ("Arch", arch.clone()),
        ("BuildTime", about.build_time.clone()),
        ("Experimental", "false".to_owned()),
        ("GitCommit", about.commit.clone()),
        ("GoVersion", about.compiler.clone()),
        ("KernelVersion", kernel.clone()),
        ("MinAPIVersion", ApiVersion::MIN.to_string()),
        ("Os", "linux".to_owned()),
    ];
    let component = |name: &str, details: Vec<(&str, String)>| Component {
        name: name.to_owned(),
        version: about.version.clone(),
        details: details.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    };
    // The shim and the runtime are of the same source.
    let commit = || vec![("GitCommit", about.commit.clone())];
    let components = vec![
        component("Engine", details.into()),
        component("containerd-shim-gantry-v2", commit()),
        component("gantry-runtime", commit()),
    ];
    Answer::json(&Version {
        platform: Some(VersionPlatform { name: "Gantry".to_owned() }),
        components: components.into(),
        version: about.version.clone(),
        api_version: ApiVersion::MAX.to_string(),
        min_api_version: ApiVersion::MIN.to_string(),
        git_commit: about.commit.clone(),
        go_version: about.compiler.clone(),
        os: "linux".to_owned(),
        arch,
        kernel_version: kernel,
        experimental: false,
        build_time: about.build_time.clone(),
    })
}
