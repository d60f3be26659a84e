//! Mounts: what was asked for, what the image asks for, and what others have, as places and sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use gantry_spec::{Access, Bind, Mount, MountKind as SpecKind, Propagation, Recursion};

use super::{image_mounts, subpath};
use crate::image::FoundImage;
use crate::options::{MountKind, MountRequest, ReadOnlyBelow};
use crate::record::{MountPoint, Record};
use crate::volume::{LOCAL, VolumeRequest};
use crate::{Engine, Error, Result};

/// The most mounts of one container.
const MAX_MOUNTS: usize = 1024;

/// Mounts as they are, and the volumes that were made for them.
#[derive(Default)]
pub(crate) struct Resolved {
    pub(crate) points: Vec<MountPoint>,
    pub(crate) new_volumes: Vec<String>,
    /// The images of those that are images, in their order.
    pub(crate) images: Vec<FoundImage>,
}

/// Finds out what is mounted where, and makes the volumes for it.
///
/// # Errors
/// Invalid for paths and for two mounts at one place; NotFound for a bind's source.
pub(crate) async fn resolve(engine: &Engine, record: &Record) -> Result<Resolved> {
    let requests = &record.options.mounts;
    if requests.len() + record.process.volumes.len() > MAX_MOUNTS {
        return Err(Error::Invalid(format!("more than {MAX_MOUNTS} mounts")));
    }
    let mut resolved = Resolved::default();
    let result = resolve_into(engine, record, &mut resolved).await;
    if let Err(error) = result {
        for volume in &resolved.new_volumes {
            if let Err(error) = engine.volume_remove(volume).await {
                tracing::warn!(volume, %error, "a volume that was made for nothing is left");
            }
        }
        return Err(error);
    }
    Ok(resolved)
}

async fn resolve_into(engine: &Engine, record: &Record, resolved: &mut Resolved) -> Result<()> {
    let mut taken = BTreeSet::new();
    for request in &record.options.mounts {
        let target = clean(&request.target)?;
        if !taken.insert(target.clone()) {
            return Err(Error::Invalid(format!("Duplicate mount point: {target}")));
        }
        let mut point = of_request(engine, request, target, resolved).await?;
        if point.kind == MountKind::Image {
            let number = resolved.points.len();
            point.source = image_mounts::place(engine, &record.id, number).display().to_string();
        }
        resolved.points.push(point);
    }
    for text in &record.options.volumes_from {
        for point in of_others(engine, text)? {
            if taken.insert(point.target.clone()) {
                resolved.points.push(point);
            }
        }
    }
    for target in &record.process.volumes {
        let target = clean(target)?;
        if !taken.insert(target.clone()) {
            continue;
        }
        let request = MountRequest { kind: MountKind::Volume, ..MountRequest::default() };
        let point = of_request(engine, &request, target, resolved).await?;
        resolved.points.push(point);
    }
    Ok(())
}

/// An absolute path without `.` and `..`, which is not the root.
pub(crate) fn clean(target: &str) -> Result<String> {
    let path = Path::new(target);
    if !path.is_absolute() || target.contains('\0') {
        return Err(Error::Invalid(format!("invalid mount path: '{target}' mount path must be absolute")));
    }
    let mut clean = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name.to_string_lossy()),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    if clean.is_empty() {
        return Err(Error::Invalid("invalid specification: destination can't be '/'".to_owned()));
    }
    Ok(format!("/{}", clean.join("/")))
}

async fn of_request(
    engine: &Engine,
    request: &MountRequest,
    target: String,
    resolved: &mut Resolved,
) -> Result<MountPoint> {
    let mut point = MountPoint {
        kind: request.kind,
        target,
        mode: request.mode.clone(),
        writable: !request.read_only,
        read_only_below: request.read_only_below,
        subpath: request.subpath.clone(),
        non_recursive: request.non_recursive,
        ..MountPoint::default()
    };
    request.propagation.parse::<Propagation>()?;
    match request.kind {
        MountKind::Bind => {
            point.source = bind_source(request)?;
            point.create_source = request.create_source;
            point.propagation = propagation(request, &engine.shared.settings.root)?;
        }
        MountKind::Volume => {
            let asked = VolumeRequest {
                name: request.source.clone(),
                driver: request.volume_driver.clone(),
                labels: request.volume_labels.clone(),
                options: request.volume_options.clone(),
            };
            let is_new = request.source.is_empty() || engine.volume(&request.source).await.is_err();
            let volume = engine.volume_create(asked).await?;
            if is_new {
                resolved.new_volumes.push(volume.name.clone());
            }
            point.source = volume.mountpoint.display().to_string();
            point.name = volume.name;
            LOCAL.clone_into(&mut point.driver);
            point.anonymous = request.source.is_empty();
            point.copy_up = !request.no_copy;
            point.propagation.clone_from(&request.propagation);
        }
        MountKind::Tmpfs => point.options = tmpfs(request),
        MountKind::Image => {
            let found = engine.image(&request.source, None).await?;
            point.name.clone_from(&request.source);
            point.image.clone_from(&found.of.target);
            point.writable = false;
            resolved.images.push(found);
        }
    }
    Ok(point)
}

fn tmpfs(request: &MountRequest) -> Vec<String> {
    let mut options: Vec<String> =
        request.tmpfs_options.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    if request.tmpfs_size > 0 {
        options.push(format!("size={}", request.tmpfs_size));
    }
    if request.tmpfs_mode > 0 {
        options.push(format!("mode={:o}", request.tmpfs_mode));
    }
    if request.read_only {
        options.push("ro".to_owned());
    }
    options
}

/// How a bind's mounts follow those of the host. What is mounted below the daemon's own directory is to be unmounted when the daemon
/// does so, whoever sees it.
fn propagation(request: &MountRequest, root: &Path) -> Result<String> {
    let (source, asked) = (Path::new(&request.source), request.propagation.as_str());
    if !source.starts_with(root) && !root.starts_with(source) {
        return Ok(if asked.is_empty() { "rprivate" } else { asked }.to_owned());
    }
    match asked {
        "" => Ok("rslave".to_owned()),
        "rslave" | "rshared" => Ok(asked.to_owned()),
        other => Err(Error::Invalid(format!(
            "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is within the \
             daemon root, daemon root: {:?}, bind mount source: {source:?}, propagation: {other:?}",
            root.display().to_string()
        ))),
    }
}

fn bind_source(request: &MountRequest) -> Result<String> {
    let source = &request.source;
    if !Path::new(source).is_absolute() || source.contains('\0') {
        return Err(Error::Invalid(format!("invalid mount path: '{source}' must be absolute")));
    }
    if !request.create_source && !Path::new(source).exists() {
        return Err(Error::Invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {source}"
        )));
    }
    Ok(source.clone())
}

/// The mounts of another container: `name[:ro|rw]`.
fn of_others(engine: &Engine, text: &str) -> Result<Vec<MountPoint>> {
    let (name, mode) = text.split_once(':').unwrap_or((text, ""));
    if !matches!(mode.trim_end_matches(",z").trim_end_matches(",Z"), "" | "ro" | "rw" | "z" | "Z") {
        return Err(Error::Invalid(format!("invalid mode for volumes-from: {mode}")));
    }
    let other = match engine.container(name) {
        Err(Error::NotFound { .. }) => return Err(Error::Invalid(format!("No such container: {name}"))),
        other => other?.record(),
    };
    let read_only = mode.starts_with("ro");
    // Views of images are their container's own.
    let is_shared = |point: &&MountPoint| matches!(point.kind, MountKind::Bind | MountKind::Volume);
    let points = other.mounts.iter().filter(is_shared).cloned();
    Ok(points
        .map(|point| MountPoint {
            writable: point.writable && !read_only,
            anonymous: false,
            copy_up: false,
            ..point
        })
        .collect())
}

/// What is mounted at a start. Sources of binds are made where that was asked for; parts of volumes are mounted in `subpaths`,
/// for [`subpath::release`] to take away. Blocks.
///
/// # Errors
/// NotFound for a source; what the disk says.
pub(crate) fn for_start(points: &[MountPoint], subpaths: &Path) -> Result<Vec<Mount>> {
    let mount = |(number, point): (usize, &MountPoint)| {
        Ok(Mount { destination: point.target.clone(), kind: kind(point, subpaths, number)? })
    };
    points.iter().enumerate().map(mount).collect()
}

fn kind(point: &MountPoint, subpaths: &Path, number: usize) -> Result<SpecKind> {
    if point.kind == MountKind::Tmpfs {
        return Ok(SpecKind::Tmpfs { options: point.options.clone() });
    }
    if !Path::new(&point.source).exists() {
        if !point.create_source {
            return Err(Error::Invalid(format!("bind source path does not exist: {}", point.source)));
        }
        std::fs::create_dir_all(&point.source).map_err(Error::io("making", &point.source))?;
    }
    let source = match point.subpath.as_str() {
        "" => point.source.clone(),
        subpath => subpath::pin(subpaths, number, Path::new(&point.source), subpath)?,
    };
    let access = match point.read_only_below {
        _ if point.writable => Access::ReadWrite,
        ReadOnlyBelow::IfPossible => Access::ReadOnly,
        ReadOnlyBelow::Never => Access::ReadOnlyTop,
        ReadOnlyBelow::Always => Access::ReadOnlyTree,
    };
    let recursion = if point.non_recursive { Recursion::Top } else { Recursion::Recursive };
    Ok(SpecKind::Bind(Bind {
        source,
        access,
        recursion,
        propagation: point.propagation.parse()?,
        ..Bind::default()
    }))
}

/// Makes the /dev/shm of a container that lets others have it: a tmpfs of the host's. Blocks.
///
/// # Privilege
/// `CAP_SYS_ADMIN`.
pub(crate) fn make_shm(engine: &Engine, record: &Record) -> Result<()> {
    use rustix::mount::{MountFlags, mount};
    let place = super::specification::shm(engine, &record.id);
    remove_shm(Path::new(&place));
    std::fs::create_dir_all(&place).map_err(Error::io("making", &place))?;
    let own = record.options.isolation.shm_size;
    let bytes = if own == 0 { engine.shared.settings.shm_size } else { own };
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    let owner = crate::userns::tmpfs_owner(record);
    let data =
        std::ffi::CString::new(format!("mode=1777,size={bytes}{owner}")).expect("digits have no zero byte");
    mount("shm", &place, "tmpfs", flags, Some(data.as_c_str()))
        .map_err(|errno| Error::io("mounting", &place)(errno.into()))
}

/// Takes it away. Blocks.
pub(crate) fn remove_shm(place: &Path) {
    use rustix::mount::{UnmountFlags, unmount};
    let _ = unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    let _ = std::fs::remove_dir(place);
}

/// The volumes that go with a container when its volumes are to go.
pub(crate) fn anonymous(points: &[MountPoint]) -> BTreeMap<String, String> {
    let own = points.iter().filter(|point| point.kind == MountKind::Volume && point.anonymous);
    own.map(|point| (point.name.clone(), point.target.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_the_daemons_directory_follows_it() {
        let check = |source: &str, asked: &str| {
            let request = MountRequest {
                source: source.to_owned(),
                propagation: asked.to_owned(),
                ..MountRequest::default()
            };
            propagation(&request, Path::new("/var/lib/gantry")).ok()
        };
        assert_eq!(check("/srv", "").as_deref(), Some("rprivate"));
        assert_eq!(check("/var/lib/gantry-2", "slave").as_deref(), Some("slave"));
        for source in ["/", "/var/lib", "/var/lib/gantry", "/var/lib/gantry/volumes/v"] {
            assert_eq!(check(source, "").as_deref(), Some("rslave"), "{source}");
            assert_eq!(check(source, "rshared").as_deref(), Some("rshared"), "{source}");
            assert_eq!(check(source, "rprivate"), None, "{source}");
        }
    }

    #[test]
    fn targets_are_absolute_and_clean() {
        let check = |target: &str, expect: &str| assert_eq!(clean(target).unwrap(), expect, "{target}");
        check("/a", "/a");
        check("/a/", "/a");
        check("/a/./b/../c", "/a/c");
        check("/../../etc", "/etc");
        for wrong in ["", "a", "/", "/..", "/a\0"] {
            assert!(clean(wrong).is_err(), "{wrong:?}");
        }
    }
}
