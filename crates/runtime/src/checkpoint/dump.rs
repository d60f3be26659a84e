//! checkpoint.

use std::os::fd::AsFd;

use gantry_cgroup::{CgroupRecord, Controller, Hierarchy, Mode};
use gantry_types::ContainerId;
use gantry_types::oci::{Linux, Spec};

use super::criu::{Criu, Streams, explain, tell_status};
use super::options::{Continue, DumpOptions};
use super::request::{Kind, Options, Places, Request};
use super::{DESCRIPTORS_FILE, mounts};
use crate::config::Bundle;
use crate::container::Container;
use crate::error::Error;
use crate::host::Host;
use crate::state::{Record, Status};

const LOG_FILE: &str = "dump.log";
/// What runc has criu read when the configuration names no other file.
const CONFIG_FILE: &str = "/etc/criu/runc.conf";
/// The annotation that names another file, or none.
const CONFIG_ANNOTATION: &str = "org.criu.config";

/// Writes a container to images. Unless it goes on, it ends and is removed.
///
/// # Errors
/// NotFound; FailedPrecondition unless it runs or is paused; Unimplemented without criu or what it needs of the kernel;
/// Internal for what criu cannot do, which leaves the container as it was.
pub fn checkpoint(host: &Host, id: &ContainerId, request: &DumpOptions) -> Result<(), Error> {
    let container = Container::open(host, id)?;
    let status = container.status()?;
    if !matches!(status, Status::Running | Status::Paused) {
        let reason = format!("Container cannot be checkpointed in {status} state");
        return Err(Error::State { status, reason });
    }
    let pre_dump = request.goes_on == Continue::PreDump;
    if let Some(number) =
        request.status_fd.filter(|number| !gantry_sys::process::is_inherited(*number as i32))
    {
        return Err(Error::config("--status-fd", format!("invalid argument {number}: bad file descriptor")));
    }
    Criu::check_features(pre_dump, request.image.lazy_pages)?;
    let images = mounts::open_directory(&request.image.images)?;
    let work = request.image.work.as_deref().map(mounts::open_directory).transpose()?;
    let record = &container.record;
    let mut options = Options::new(
        &request.image,
        &Places {
            images: &images,
            work: work.as_ref(),
            log_file: LOG_FILE,
            root: &record.rootfs.to_string_lossy(),
            config_file: config_file(record),
        },
    );
    options.dump(
        record.pid,
        request.goes_on == Continue::Yes,
        request.tcp_skip_in_flight,
        request.link_remap,
    );
    if let Some(parent) = &request.parent {
        options.parent(&parent.to_string_lossy());
    }
    if let Some(server) = &request.page_server {
        options.page_server(&server.address, server.port);
    }
    if let Some(path) = record.cgroup.as_ref().and_then(freezer) {
        options.freezer(&path);
    }
    let spec = container.dir.config()?;
    external_namespaces(&mut options, &spec)?;
    if !pre_dump {
        tell_mounts(host, &mut options, record, spec)?;
        keep_descriptors(request, record)?;
    }
    let kind = if pre_dump { Kind::PreDump } else { Kind::Dump };
    let criu = Criu::start(Streams::Null, &[])?;
    let done = criu.ask(&Request::new(kind, options), &mut |notice| match notice.script.as_str() {
        "status-ready" => request.status_fd.map_or(Ok(()), tell_status),
        _ => Ok(()),
    });
    let logs = request.image.work.as_ref().unwrap_or(&request.image.images);
    done.map_err(|error| explain(error, &logs.join(LOG_FILE)))?;
    match request.goes_on {
        Continue::No => crate::delete::delete(host, id, crate::delete::Force::Yes),
        Continue::Yes | Continue::PreDump => Ok(()),
    }
}

/// The configuration file that criu reads, which overrides what it is asked for.
pub(super) fn config_file(record: &Record) -> Option<&str> {
    match record.annotations.get(CONFIG_ANNOTATION) {
        Some(path) => Some(path.as_str()).filter(|path| !path.is_empty()),
        None => Some(CONFIG_FILE),
    }
}

/// The cgroup that stops the container's processes.
fn freezer(cgroup: &CgroupRecord) -> Option<String> {
    let key = if cgroup.mode == Mode::V2 { "" } else { Controller::Freezer.as_str() };
    cgroup.paths.get(key).map(|path| path.to_string_lossy().into_owned())
}

/// Namespaces that the configuration names by path exist without the container: criu leaves them out.
fn external_namespaces(options: &mut Options, spec: &Spec) -> Result<(), Error> {
    let namespaces = spec.linux.as_ref().map(|linux| linux.namespaces.as_slice()).unwrap_or_default();
    for namespace in namespaces.iter().filter(|namespace| !namespace.path.is_empty()) {
        if let Some((name, key)) = external_name(&namespace.type_) {
            let stat =
                rustix::fs::stat(&namespace.path).map_err(Error::io(format!("stat {}", namespace.path)))?;
            options.external(&format!("{name}[{}]:{key}", stat.st_ino));
        }
    }
    Ok(())
}

/// criu's name for a kind of namespace that it can leave out, and the key under which it finds another.
pub(super) fn external_name(kind: &str) -> Option<(&'static str, &'static str)> {
    match kind {
        "network" => Some(("net", "extRootNetNS")),
        "pid" => Some(("pid", "extRootPidNS")),
        _ => None,
    }
}

/// The mounts of the configuration that the container was made with, as they are in its root now.
fn tell_mounts(host: &Host, options: &mut Options, record: &Record, spec: Spec) -> Result<(), Error> {
    let root = mounts::root_of(record.pid)?;
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    let masked = crate::plan::rootfs::paths(&linux.masked_paths, "linux.maskedPaths")?;
    let hierarchy = Hierarchy::detect().map_err(gantry_cgroup::Error::from)?;
    let cgroups = crate::create::resolve(host, &record.id.parse().map_err(bad_id)?, &spec, &hierarchy)?;
    let bundle = Bundle { path: record.bundle.clone(), spec, text: Vec::new() };
    let plan = crate::build::rootfs_of(&bundle, (&hierarchy, &cgroups))?;
    let mut external = mounts::external(&plan, &bundle.path, record.exec.namespaces);
    external.extend(mounts::devices(&plan));
    mounts::tell_dump(options, root.as_fd(), &external);
    mounts::tell_masked(options, root.as_fd(), &masked);
    Ok(())
}

fn bad_id(error: impl std::fmt::Display) -> Error {
    Error::config("state.json: id", error.to_string())
}

/// Keeps the names of the standard streams: restored processes get other pipes for those that led out.
fn keep_descriptors(request: &DumpOptions, record: &Record) -> Result<(), Error> {
    let name = |number: i32| {
        let path = format!("/proc/{}/fd/{number}", record.pid);
        let link = rustix::fs::readlinkat(rustix::fs::CWD, path, Vec::new());
        link.map_or_else(|_| "/dev/null".to_owned(), |link| link.to_string_lossy().into_owned())
    };
    let names: Vec<String> = (0..3).map(name).collect();
    let text =
        serde_json::to_vec(&names).map_err(|error| Error::config(DESCRIPTORS_FILE, error.to_string()))?;
    let path = request.image.images.join(DESCRIPTORS_FILE);
    std::fs::write(&path, text)
        .map_err(|error| Error::io(format!("write {}", path.display()))(crate::config::errno(&error)))
}
