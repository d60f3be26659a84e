//! Checkpoint.

use std::path::PathBuf;

use gantry_proto_shim::options::CheckpointOptions;
use gantry_runtime::{CgroupsMode, Continue, DumpOptions, ImageOptions};

use super::Subject;
use crate::failure::Failure;
use crate::worker::Done;

/// Writes a container's processes to images in `path`.
pub(crate) fn checkpoint(
    subject: &Subject,
    path: &str,
    options: &CheckpointOptions,
    terminal: bool,
) -> Result<Done, Failure> {
    let images = if path.is_empty() { &options.image_path } else { path };
    if images.is_empty() {
        return Err(Failure::invalid("a checkpoint needs the path of its images"));
    }
    if let Some(external) = subject.external() {
        external.checkpoint(images, options)?;
        return Ok(Done::default());
    }
    let cgroups = match options.cgroups_mode.as_str() {
        "" => None,
        "ignore" => Some(CgroupsMode::Ignore),
        "soft" => Some(CgroupsMode::Soft),
        "full" => Some(CgroupsMode::Full),
        "strict" => Some(CgroupsMode::Strict),
        mode => return Err(Failure::invalid(format!("unknown cgroups mode {mode:?}"))),
    };
    let work = (!options.work_path.is_empty()).then(|| PathBuf::from(&options.work_path));
    let dump = DumpOptions {
        image: ImageOptions {
            images: images.into(),
            work: work.or_else(|| Some(subject.bundle.join("work")).filter(|path| path.is_dir())),
            tcp_established: options.open_tcp,
            external_unix_sockets: options.external_unix_sockets,
            shell_job: options.terminal || terminal,
            file_locks: options.file_locks,
            cgroups,
            ..ImageOptions::default()
        },
        parent: (!options.parent_path.is_empty()).then(|| PathBuf::from(&options.parent_path)),
        goes_on: if options.exit { Continue::No } else { Continue::Yes },
        ..DumpOptions::default()
    };
    gantry_runtime::checkpoint(&subject.host(), &subject.id, &dump)?;
    Ok(Done::default())
}
