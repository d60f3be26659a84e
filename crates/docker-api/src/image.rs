//! Images.

use crate::container::{ContainerConfig, GraphDriver, HealthConfig};
use crate::version::ApiVersion;
use crate::wire::{List, Map, Nothing, Words, wire};

wire! {
    /// OCI's descriptor of bytes by their digest.
    pub struct OciDescriptor {
        put "mediaType" media_type: String,
        put "digest" digest: String,
        put "size" size: i64,
        omit "urls" urls: List<String>,
        omit "annotations" annotations: Map<String>,
        omit "data" data: String,
        omit "platform" platform: Option<OciPlatform>,
        omit "artifactType" artifact_type: String,
    }
}

wire! {
    /// OCI's platform.
    pub struct OciPlatform {
        put "architecture" architecture: String,
        put "os" os: String,
        omit "os.version" os_version: String,
        omit "os.features" os_features: List<String>,
        omit "variant" variant: String,
    }
}

wire! {
    /// An element of the answer to `GET /images/json`.
    pub struct ImageSummary {
        /// -1 unless it was counted.
        put "Containers" containers: i64,
        /// Seconds since 1970.
        put "Created" created: i64,
        put "Id" id: String,
        put "Labels" labels: Map<String>,
        put "ParentId" parent_id: String,
        /// Since 1.48, with `manifests=1`.
        omit "Manifests" manifests: List<ManifestSummary>,
        /// Since 1.48.
        omit "Descriptor" descriptor: Option<OciDescriptor>,
        put "RepoDigests" repo_digests: List<String>,
        put "RepoTags" repo_tags: List<String>,
        /// -1 unless it was asked for.
        put "SharedSize" shared_size: i64,
        put "Size" size: i64,
        /// Before 1.44.
        omit "VirtualSize" virtual_size: i64,
    }
}

wire! {
    /// A manifest of an image of several platforms.
    pub struct ManifestSummary {
        put "ID" id: String,
        put "Descriptor" descriptor: OciDescriptor,
        put "Available" available: bool,
        put "Size" size: ManifestSize,
        /// `image`, `attestation` or `unknown`.
        put "Kind" kind: String,
        omit "ImageData" image_data: Option<ManifestImage>,
        omit "AttestationData" attestation_data: Option<ManifestAttestation>,
    }
}

wire! {
    /// Bytes of a manifest.
    pub struct ManifestSize {
        put "Content" content: i64,
        put "Total" total: i64,
    }
}

wire! {
    /// What a manifest's image is for, and who uses it.
    pub struct ManifestImage {
        put "Platform" platform: OciPlatform,
        put "Containers" containers: List<String>,
        put "Size" size: ManifestImageSize,
    }
}

wire! {
    /// Bytes of an unpacked image.
    pub struct ManifestImageSize {
        put "Unpacked" unpacked: i64,
    }
}

wire! {
    /// Which manifest an attestation is about.
    pub struct ManifestAttestation {
        #[doc = "A digest."]
        put "For" of: String,
    }
}

wire! {
    /// The answer to `GET /images/{name}/json`.
    pub struct ImageInspect {
        put "Id" id: String,
        put "RepoTags" repo_tags: List<String>,
        put "RepoDigests" repo_digests: List<String>,
        /// Optional since 1.52, as all that only the classic builder fills.
        omit "Parent" parent: Option<String>,
        omit "Comment" comment: Option<String>,
        omit "Created" created: String,
        /// Before 1.45.
        omit "Container" container: Option<String>,
        /// Before 1.45.
        omit "ContainerConfig" container_config: Option<ContainerConfig>,
        omit "DockerVersion" docker_version: Option<String>,
        omit "Author" author: Option<String>,
        put "Config" config: Option<ImageConfig>,
        put "Architecture" architecture: String,
        omit "Variant" variant: String,
        put "Os" os: String,
        omit "OsVersion" os_version: String,
        put "Size" size: i64,
        /// Before 1.44.
        omit "VirtualSize" virtual_size: i64,
        omit "GraphDriver" graph_driver: Option<GraphDriver>,
        put "RootFS" root_fs: RootFs,
        put "Metadata" metadata: ImageMetadata,
        /// Since 1.48.
        omit "Descriptor" descriptor: Option<OciDescriptor>,
        /// Since 1.48, with `manifests=1`.
        omit "Manifests" manifests: List<ManifestSummary>,
        /// Since 1.50: who made it, where provenance is known.
        omit "Identity" identity: Option<serde_json::Value>,
    }
}

wire! {
    /// What an image says of containers made from it. What only containers have is there before 1.50, empty.
    pub struct ImageConfig {
        omit "Hostname" hostname: Option<String>,
        omit "Domainname" domainname: Option<String>,
        put "User" user: String,
        omit "AttachStdin" attach_stdin: Option<bool>,
        omit "AttachStdout" attach_stdout: Option<bool>,
        omit "AttachStderr" attach_stderr: Option<bool>,
        omit "ExposedPorts" exposed_ports: Map<Nothing>,
        omit "Tty" tty: Option<bool>,
        omit "OpenStdin" open_stdin: Option<bool>,
        omit "StdinOnce" stdin_once: Option<bool>,
        put "Env" env: List<String>,
        put "Cmd" cmd: Words,
        omit "Healthcheck" healthcheck: Option<HealthConfig>,
        omit "ArgsEscaped" args_escaped: bool,
        omit "Image" image: Option<String>,
        put "Volumes" volumes: Map<Nothing>,
        put "WorkingDir" working_dir: String,
        put "Entrypoint" entrypoint: Words,
        put "OnBuild" on_build: List<String>,
        put "Labels" labels: Map<String>,
        omit "StopSignal" stop_signal: String,
        omit "StopTimeout" stop_timeout: Option<i64>,
        omit "Shell" shell: Words,
    }
}

impl ImageConfig {
    /// The first version without what only containers have.
    pub const WITHOUT_DEPRECATED: ApiVersion = ApiVersion::new(1, 50);

    /// An image's configuration as clients of `version` know it.
    #[must_use]
    pub fn for_version(config: ContainerConfig, version: ApiVersion) -> Self {
        let is_old = version < Self::WITHOUT_DEPRECATED;
        let flag = |value: bool| is_old.then_some(value);
        Self {
            hostname: is_old.then_some(config.hostname),
            domainname: is_old.then_some(config.domainname),
            user: config.user,
            attach_stdin: flag(config.attach_stdin),
            attach_stdout: flag(config.attach_stdout),
            attach_stderr: flag(config.attach_stderr),
            exposed_ports: config.exposed_ports,
            tty: flag(config.tty),
            open_stdin: flag(config.open_stdin),
            stdin_once: flag(config.stdin_once),
            env: config.env,
            cmd: config.cmd,
            healthcheck: config.healthcheck,
            args_escaped: config.args_escaped,
            image: is_old.then_some(config.image),
            volumes: config.volumes,
            working_dir: config.working_dir,
            entrypoint: config.entrypoint,
            on_build: config.on_build,
            labels: config.labels,
            stop_signal: config.stop_signal,
            stop_timeout: config.stop_timeout,
            shell: config.shell,
        }
    }
}

wire! {
    /// The layers of an image, by the digests of their tars.
    pub struct RootFs {
        put "Type" kind: String,
        omit "Layers" layers: List<String>,
    }
}

wire! {
    /// What is known of an image that is not in it.
    pub struct ImageMetadata {
        put "LastTagTime" last_tag_time: String,
    }
}

wire! {
    /// An element of the answer to `GET /images/{name}/history`.
    pub struct HistoryItem {
        put "Comment" comment: String,
        /// Seconds since 1970.
        put "Created" created: i64,
        put "CreatedBy" created_by: String,
        put "Id" id: String,
        put "Size" size: i64,
        put "Tags" tags: List<String>,
    }
}

wire! {
    /// An element of the answer to a removal.
    pub struct ImageDeleteItem {
        omit "Deleted" deleted: String,
        omit "Untagged" untagged: String,
    }
}

wire! {
    /// The answer to `POST /images/prune`.
    pub struct ImagePruneResponse {
        put "ImagesDeleted" images_deleted: List<ImageDeleteItem>,
        put "SpaceReclaimed" space_reclaimed: u64,
    }
}

wire! {
    /// An element of the answer to `GET /images/search`.
    pub struct SearchResult {
        put "star_count" star_count: i64,
        put "is_official" is_official: bool,
        put "name" name: String,
        put "is_automated" is_automated: bool,
        put "description" description: String,
    }
}

wire! {
    /// The answer to `POST /commit`.
    pub struct CommitResponse {
        put "Id" id: String,
    }
}

wire! {
    /// The answer to `POST /build/prune`.
    pub struct BuildPruneResponse {
        put "CachesDeleted" caches_deleted: List<String>,
        put "SpaceReclaimed" space_reclaimed: u64,
    }
}

wire! {
    /// The answer to `GET /distribution/{name}/json`.
    pub struct DistributionInspect {
        put "Descriptor" descriptor: OciDescriptor,
        put "Platforms" platforms: List<OciPlatform>,
    }
}
