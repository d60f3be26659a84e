//! Mounts: `Binds`, `Mounts`, `Tmpfs`, and the volumes of the configuration.

use gantry_docker_api::bind::{Bind, BindSource, PROPAGATIONS};
use gantry_docker_api::container::{ContainerConfig, HostConfig, Mount};
use gantry_docker_api::{ApiVersion, Invalid};
use gantry_engine::{MountKind, MountRequest, ReadOnlyBelow};

use super::gates::V1_44;
use crate::failure::Failure;

/// The mode of volumes that docker shows where none was given: a label that every container may have.
const SHARED_LABEL: &str = "z";
/// Options of a tmpfs that need no value, and those that may have one.
const TMPFS_FLAGS: [&str; 15] = [
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "ro",
    "rw",
    "sync",
    "async",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
];
const TMPFS_VALUES: [&str; 6] = ["mode", "uid", "gid", "size", "nr_inodes", "mpol"];

/// All mounts of a request.
///
/// # Errors
/// 400 for what is no mount.
pub(super) fn mounts(
    config: &ContainerConfig,
    host: &HostConfig,
    version: ApiVersion,
) -> Result<Vec<MountRequest>, Failure> {
    let mut all = Vec::new();
    for text in &host.binds {
        all.push(bind(text, host)?);
    }
    for mount in &host.mounts {
        all.push(long(mount)?);
    }
    for (target, options) in &host.tmpfs {
        check_target(target).map_err(Failure::invalid)?;
        let target = target.clone();
        let tmpfs_options = options.clone();
        all.push(MountRequest { kind: MountKind::Tmpfs, target, tmpfs_options, ..MountRequest::default() });
    }
    // Volumes without a name, where nothing else is.
    for target in config.volumes.keys() {
        if !all.iter().any(|other| other.target == *target) {
            let volume_driver = host.volume_driver.clone();
            all.push(MountRequest { target: target.clone(), volume_driver, ..MountRequest::default() });
        }
    }
    if version < V1_44 {
        // What could not be asked for was not done.
        all.iter_mut().for_each(|mount| mount.read_only_below = ReadOnlyBelow::Never);
    }
    Ok(all)
}

/// The short form.
fn bind(text: &str, host: &HostConfig) -> Result<MountRequest, Failure> {
    let read = Bind::parse(text).map_err(|error| match &error {
        Invalid::VolumeName(name) => volume_name(name, &error),
        error => Failure::invalid(short_error(text, &error.to_string())),
    })?;
    let mut request = MountRequest {
        target: read.destination,
        read_only: read.mode.is_read_only,
        no_copy: read.mode.is_no_copy,
        propagation: read.mode.propagation.unwrap_or_default(),
        mode: read.mode.text,
        ..MountRequest::default()
    };
    match read.source {
        BindSource::Path(path) => {
            request.kind = MountKind::Bind;
            request.source = path;
            request.create_source = true;
        }
        BindSource::Volume(name) => {
            request.source = name;
            request.volume_driver.clone_from(&host.volume_driver);
            if request.mode.is_empty() {
                SHARED_LABEL.clone_into(&mut request.mode);
            }
        }
        BindSource::Anonymous => request.volume_driver.clone_from(&host.volume_driver),
    }
    Ok(request)
}

/// What docker says of a volume's name that is none.
fn volume_name(name: &str, error: &Invalid) -> Failure {
    if name.len() == 1 {
        return Failure::invalid(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric characters"
        ));
    }
    Failure::invalid(format!("create {name}: {error}"))
}

/// What docker says of the short form.
fn short_error(text: &str, reason: &str) -> String {
    let mode = text.rsplit(':').next().unwrap_or_default();
    if text.split(':').count() == 3 && reason.contains("mode") && !mode.is_empty() {
        return format!("invalid mode: {mode}");
    }
    let why = reason.rsplit_once(": ").map_or(reason, |(_, why)| why);
    format!("invalid volume specification: '{text}': {why}")
}

/// The long form.
fn long(mount: &Mount) -> Result<MountRequest, Failure> {
    let kind = mount.kind.as_str();
    let wrong = |why: String| Failure::invalid(format!("invalid mount config for type {kind:?}: {why}"));
    if mount.target.is_empty() {
        return Err(wrong("field Target must not be empty".to_owned()));
    }
    if !matches!(kind, "bind" | "volume" | "tmpfs" | "image") {
        return Err(wrong("mount type unknown".to_owned()));
    }
    for (name, is_given, owner) in [
        ("BindOptions", mount.bind_options.is_some(), "bind"),
        ("VolumeOptions", mount.volume_options.is_some(), "volume"),
        ("ImageOptions", mount.image_options.is_some(), "image"),
        ("TmpfsOptions", mount.tmpfs_options.is_some(), "tmpfs"),
    ] {
        if is_given && owner != kind {
            return Err(Failure::invalid(format!("{name} must not be specified on mount type {kind:?}")));
        }
    }
    check_target(&mount.target).map_err(&wrong)?;
    let mut request = MountRequest {
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        ..MountRequest::default()
    };
    match kind {
        "bind" => long_bind(mount, &mut request).map_err(wrong)?,
        "volume" => {
            long_volume(mount, &mut request).map_err(wrong)?;
            if !mount.source.is_empty() {
                let checked = gantry_docker_api::name::volume(&mount.source);
                checked.map_err(|error| volume_name(&mount.source, &error))?;
            }
        }
        "image" => long_image(mount, &mut request).map_err(wrong)?,
        _ => long_tmpfs(mount, &mut request).map_err(wrong)?,
    }
    Ok(request)
}

fn long_image(mount: &Mount, request: &mut MountRequest) -> Result<(), String> {
    request.kind = MountKind::Image;
    request.read_only = true;
    if mount.source.is_empty() {
        return Err("field Source must not be empty".to_owned());
    }
    let Some(options) = &mount.image_options else { return Ok(()) };
    check_subpath(&options.subpath)?;
    request.subpath.clone_from(&options.subpath);
    Ok(())
}

/// Subpaths do not lead out, whatever there is on the way.
fn check_subpath(subpath: &str) -> Result<(), String> {
    if subpath.starts_with('/') || subpath.split('/').any(|part| part == "..") {
        return Err("subpath must be a relative path within the volume".to_owned());
    }
    Ok(())
}

fn long_bind(mount: &Mount, request: &mut MountRequest) -> Result<(), String> {
    request.kind = MountKind::Bind;
    if mount.source.is_empty() {
        return Err("field Source must not be empty".to_owned());
    }
    if !mount.source.starts_with('/') {
        return Err(format!("invalid mount path: '{}' mount path must be absolute", mount.source));
    }
    let Some(options) = &mount.bind_options else { return Ok(()) };
    if !options.propagation.is_empty() && !PROPAGATIONS.contains(&options.propagation.as_str()) {
        return Err(format!("invalid propagation mode: {}", options.propagation));
    }
    request.read_only_below = match (options.read_only_non_recursive, options.read_only_force_recursive) {
        (true, true) => {
            let text = "mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive";
            return Err(text.to_owned());
        }
        (_, true) if !mount.read_only => {
            return Err("mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive".to_owned());
        }
        (true, _) => ReadOnlyBelow::Never,
        (_, true) => ReadOnlyBelow::Always,
        (false, false) => ReadOnlyBelow::IfPossible,
    };
    request.propagation.clone_from(&options.propagation);
    request.non_recursive = options.non_recursive;
    request.create_source = options.create_mountpoint;
    Ok(())
}

fn long_volume(mount: &Mount, request: &mut MountRequest) -> Result<(), String> {
    let name = &mount.source;
    SHARED_LABEL.clone_into(&mut request.mode);
    let Some(options) = &mount.volume_options else { return Ok(()) };
    check_subpath(&options.subpath)?;
    if name.is_empty() && !options.subpath.is_empty() {
        return Err("must not set Subpath when using anonymous volumes".to_owned());
    }
    request.no_copy = options.no_copy;
    request.subpath.clone_from(&options.subpath);
    request.volume_labels = options.labels.clone().into_map();
    if let Some(driver) = &options.driver_config {
        request.volume_driver.clone_from(&driver.name);
        request.volume_options = driver.options.clone().into_map();
    }
    Ok(())
}

fn long_tmpfs(mount: &Mount, request: &mut MountRequest) -> Result<(), String> {
    request.kind = MountKind::Tmpfs;
    if !mount.source.is_empty() {
        return Err("field Source must not be specified".to_owned());
    }
    let Some(options) = &mount.tmpfs_options else { return Ok(()) };
    request.tmpfs_size = u64::try_from(options.size_bytes).unwrap_or(0);
    request.tmpfs_mode = options.mode;
    let mut words = Vec::new();
    for option in &options.options {
        match option.as_slice() {
            [flag] if TMPFS_FLAGS.contains(&flag.as_str()) => words.push(flag.clone()),
            [key, value] if TMPFS_VALUES.contains(&key.as_str()) && !value.contains(',') => {
                words.push(format!("{key}={value}"));
            }
            [] | [_, _, _, ..] => return Err("invalid option array length".to_owned()),
            [first, ..] => return Err(format!("invalid option: {first}")),
        }
    }
    request.tmpfs_options = words.join(",");
    Ok(())
}

fn check_target(target: &str) -> Result<(), String> {
    if !target.starts_with('/') || target.contains('\0') {
        return Err(format!("invalid mount path: '{target}' mount path must be absolute"));
    }
    let depth = target.split('/').fold(0_usize, |depth, part| match part {
        "" | "." => depth,
        ".." => depth.saturating_sub(1),
        _ => depth + 1,
    });
    if depth == 0 { Err("invalid specification: destination can't be '/'".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(host: &str) -> Result<Vec<MountRequest>, String> {
        let host: HostConfig = serde_json::from_str(host).unwrap();
        let config = ContainerConfig {
            volumes: [("/anon".to_owned(), Default::default())].into_iter().collect(),
            ..Default::default()
        };
        mounts(&config, &host, ApiVersion::MAX).map_err(|failure| failure.message)
    }

    fn one(host: &str) -> MountRequest {
        read(host).unwrap().remove(0)
    }

    #[test]
    fn the_short_form_names_paths_volumes_or_nothing() {
        let bind = one(r#"{"Binds":["/a:/b:ro,rslave"]}"#);
        assert_eq!((bind.kind, bind.source.as_str(), bind.target.as_str()), (MountKind::Bind, "/a", "/b"));
        assert!(bind.read_only && bind.create_source);
        assert_eq!((bind.propagation.as_str(), bind.mode.as_str()), ("rslave", "ro,rslave"));
        let volume = one(r#"{"Binds":["vol:/b"],"VolumeDriver":"local"}"#);
        assert_eq!(
            (volume.kind, volume.source.as_str(), volume.mode.as_str()),
            (MountKind::Volume, "vol", "z")
        );
        assert_eq!(volume.volume_driver, "local");
        assert!(one(r#"{"Binds":["vol:/b:nocopy"]}"#).no_copy);
        let all = read(r#"{"Binds":["/c"]}"#).unwrap();
        assert_eq!(all.iter().map(|mount| mount.target.as_str()).collect::<Vec<_>>(), ["/c", "/anon"]);
        assert_eq!(read(r#"{"Binds":["/x:/anon"]}"#).unwrap().len(), 1);
    }

    #[test]
    fn the_long_form_has_options_by_kind() {
        let bind = one(
            r#"{"Mounts":[{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true,"BindOptions":
                {"Propagation":"rshared","NonRecursive":true,"CreateMountpoint":true,"ReadOnlyForceRecursive":true}}]}"#,
        );
        assert!(bind.read_only && bind.non_recursive && bind.create_source);
        assert_eq!(
            (bind.propagation.as_str(), bind.read_only_below, bind.mode.as_str()),
            ("rshared", ReadOnlyBelow::Always, "")
        );
        let volume = one(
            r#"{"Mounts":[{"Type":"volume","Source":"vol","Target":"/b","VolumeOptions":{"NoCopy":true,"Subpath":"a/b",
                "Labels":{"k":"v"},"DriverConfig":{"Name":"local","Options":{"type":"tmpfs"}}}}]}"#,
        );
        assert!(
            volume.no_copy && volume.volume_labels["k"] == "v" && volume.volume_options["type"] == "tmpfs"
        );
        assert_eq!((volume.subpath.as_str(), volume.volume_driver.as_str()), ("a/b", "local"));
        let tmpfs =
            one(r#"{"Mounts":[{"Type":"tmpfs","Target":"/b","TmpfsOptions":{"SizeBytes":64,"Mode":1023,
                "Options":[["noexec"],["uid","5"]]}}]}"#);
        assert_eq!((tmpfs.kind, tmpfs.tmpfs_size, tmpfs.tmpfs_mode), (MountKind::Tmpfs, 64, 1023));
        assert_eq!(tmpfs.tmpfs_options, "noexec,uid=5");
        let short = one(r#"{"Tmpfs":{"/t":"size=64k"}}"#);
        assert_eq!(
            (short.kind, short.target.as_str(), short.tmpfs_options.as_str()),
            (MountKind::Tmpfs, "/t", "size=64k")
        );
    }

    #[test]
    fn what_is_mounted_below_is_as_the_version_has_it() {
        let text = r#"{"Binds":["/a:/b:ro"],"Mounts":[{"Type":"bind","Source":"/a","Target":"/c","ReadOnly":true},
            {"Type":"bind","Source":"/a","Target":"/d","ReadOnly":true,"BindOptions":{"ReadOnlyNonRecursive":true}}]}"#;
        let host: HostConfig = serde_json::from_str(text).unwrap();
        let below = |version| -> Vec<ReadOnlyBelow> {
            let all = mounts(&ContainerConfig::default(), &host, version).unwrap();
            all.into_iter().map(|mount| mount.read_only_below).collect()
        };
        let (may, never) = (ReadOnlyBelow::IfPossible, ReadOnlyBelow::Never);
        assert_eq!(below(ApiVersion::new(1, 43)), [never, never, never]);
        assert_eq!(below(V1_44), [may, may, never]);
    }

    #[test]
    fn what_is_no_mount_is_refused_in_dockers_words() {
        for (host, words) in [
            (r#"{"Binds":["::"]}"#, "invalid volume specification: '::'"),
            (r#"{"Binds":["/tmp:/x:bad"]}"#, "invalid mode: bad"),
            (r#"{"Binds":["/tmp:/"]}"#, "invalid volume specification: '/tmp:/'"),
            (r#"{"Binds":["x:/x"]}"#, "create x: volume name is too short"),
            (
                r#"{"Binds":["a!:/x"]}"#,
                "create a!: \"a!\" includes invalid characters for a local volume name",
            ),
            (
                r#"{"Mounts":[{"Type":"bind","Target":"/x"}]}"#,
                "invalid mount config for type \"bind\": field Source must not be empty",
            ),
            (
                r#"{"Mounts":[{"Type":"volume"}]}"#,
                "invalid mount config for type \"volume\": field Target must not be empty",
            ),
            (
                r#"{"Mounts":[{"Type":"xx","Target":"/x"}]}"#,
                "invalid mount config for type \"xx\": mount type unknown",
            ),
            (r#"{"Mounts":[{"Target":"/x"}]}"#, "invalid mount config for type \"\": mount type unknown"),
            (r#"{"Mounts":[{}]}"#, "invalid mount config for type \"\": field Target must not be empty"),
            (
                r#"{"Mounts":[{"Type":"bind","Source":"/a","Target":"/x","BindOptions":{"ReadOnlyForceRecursive":true}}]}"#,
                "invalid mount config for type \"bind\": mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive",
            ),
            (
                r#"{"Mounts":[{"Type":"tmpfs","Source":"/a","Target":"/x"}]}"#,
                "invalid mount config for type \"tmpfs\": field Source must not be specified",
            ),
            (
                r#"{"Mounts":[{"Type":"bind","Source":"rel","Target":"/x"}]}"#,
                "invalid mount config for type \"bind\": invalid mount path: 'rel' mount path must be absolute",
            ),
            (
                r#"{"Mounts":[{"Type":"bind","Source":"/tmp","Target":"/x","BindOptions":{"Propagation":"weird"}}]}"#,
                "invalid mount config for type \"bind\": invalid propagation mode: weird",
            ),
            (
                r#"{"Mounts":[{"Type":"bind","Source":"/tmp","Target":"/x","VolumeOptions":{}}]}"#,
                "VolumeOptions must not be specified on mount type \"bind\"",
            ),
            (
                r#"{"Mounts":[{"Type":"volume","Source":"v1","Target":"/x","VolumeOptions":{"Subpath":"../x"}}]}"#,
                "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
            ),
            (
                r#"{"Mounts":[{"Type":"bind","Source":"/tmp","Target":"/.."}]}"#,
                "invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
            ),
            (
                r#"{"Mounts":[{"Type":"tmpfs","Target":"/x","TmpfsOptions":{"Options":[["bad","x"]]}}]}"#,
                "invalid mount config for type \"tmpfs\": invalid option: bad",
            ),
            (r#"{"Tmpfs":{"x":""}}"#, "invalid mount path: 'x' mount path must be absolute"),
        ] {
            let message = read(host).unwrap_err();
            assert!(message.starts_with(words), "{host}: {message}");
        }
    }
}
