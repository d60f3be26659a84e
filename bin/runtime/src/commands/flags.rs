//! Flags that several commands have.

use crate::args::{Flag, Kind};

pub(super) static BUNDLE: Flag =
    Flag::text(&["bundle", "b"], "directory of the bundle; the working directory if absent");
pub(super) static CONSOLE_SOCKET: Flag = Flag::text(
    &["console-socket"],
    "AF_UNIX socket to which the master end of the process's terminal is sent",
);
pub(super) static DETACH: Flag = Flag::switch(&["detach", "d"], "do not wait for the process to end");
pub(super) static FORMAT: Flag =
    Flag::text(&["format", "f"], "shape of the output: table or json").with_default("\"table\"");
pub(super) static NO_NEW_KEYRING: Flag =
    Flag::switch(&["no-new-keyring"], "let the container have the caller's session keyring");
pub(super) static NO_PIVOT: Flag = Flag::switch(
    &["no-pivot"],
    "move the root instead of pivot_root(2), for a bundle on the initial ramdisk",
);
pub(super) static NO_SUBREAPER: Flag =
    Flag::switch(&["no-subreaper"], "do not become the reaper of the container's orphans");
pub(super) static PIDFD_SOCKET: Flag =
    Flag::text(&["pidfd-socket"], "AF_UNIX socket to which a pidfd of the process is sent");
pub(super) static PID_FILE: Flag = Flag::text(&["pid-file"], "file to write the process id to");
pub(super) static PRESERVE_FDS: Flag = Flag::new(
    Kind::Integer,
    &["preserve-fds"],
    "hand on N descriptors besides standard input, output, error and those of $LISTEN_FDS",
)
.with_default("0");

/// crun's way to name another configuration than the bundle's `config.json`.
pub(super) static CONFIG: Flag =
    Flag::text(&["config"], "configuration file of the bundle").with_default("\"config.json\"");

/// What `checkpoint` and `restore` both hand to criu.
pub(super) mod criu {
    use std::path::{Path, PathBuf};

    use gantry_runtime::{CgroupsMode, ImageOptions, NetworkLock};

    use crate::args::{Flag, Kind, Parsed};
    use crate::failure::Failure;
    use crate::globals::absolute;

    pub(in super::super) static AUTO_DEDUP: Flag =
        Flag::switch(&["auto-dedup"], "punch pages out of parent images that are written again");
    pub(in super::super) static EMPTY_NS: Flag =
        Flag::new(Kind::Texts, &["empty-ns"], "make this namespace without what was in it");
    pub(in super::super) static EXT_UNIX_SK: Flag =
        Flag::switch(&["ext-unix-sk"], "allow unix sockets whose other end is outside");
    pub(in super::super) static FILE_LOCKS: Flag = Flag::switch(&["file-locks"], "keep file locks");
    pub(in super::super) static IMAGE_PATH: Flag = Flag::text(
        &["image-path"],
        "directory of the images; \"checkpoint\" in the working directory if absent",
    );
    pub(in super::super) static LAZY_PAGES: Flag =
        Flag::switch(&["lazy-pages"], "bring memory back page by page, when it is touched");
    pub(in super::super) static MANAGE_CGROUPS_MODE: Flag =
        Flag::text(&["manage-cgroups-mode"], "what criu does with cgroups: soft, full, strict or ignore");
    pub(in super::super) static NETWORK_LOCK: Flag =
        Flag::text(&["network-lock"], "how criu holds back packets: iptables, nftables or skip");
    pub(in super::super) static SHELL_JOB: Flag =
        Flag::switch(&["shell-job"], "allow a terminal of the caller's");
    pub(in super::super) static TCP_ESTABLISHED: Flag =
        Flag::switch(&["tcp-established"], "keep open TCP connections");
    pub(in super::super) static WORK_PATH: Flag =
        Flag::text(&["work-path"], "directory of criu's logs and other files");

    /// What the flags of both say.
    pub(in super::super) fn image_options(args: &Parsed<'_>) -> Result<ImageOptions, Failure> {
        if let Some(other) = args.texts("empty-ns").find(|name| *name != "network") {
            return Err(Failure::new(format!("namespace {other:?} is not supported")));
        }
        Ok(ImageOptions {
            images: args.text("image-path").map_or_else(default_images, |path| Ok(PathBuf::from(path)))?,
            work: args.text("work-path").map(PathBuf::from),
            tcp_established: args.switch("tcp-established"),
            external_unix_sockets: args.switch("ext-unix-sk"),
            shell_job: args.switch("shell-job"),
            file_locks: args.switch("file-locks"),
            auto_dedup: args.switch("auto-dedup"),
            lazy_pages: args.switch("lazy-pages"),
            cgroups: args.text("manage-cgroups-mode").map(cgroups_mode).transpose()?,
            network_lock: args.text("network-lock").map(network_lock).transpose()?,
        })
    }

    fn default_images() -> Result<PathBuf, Failure> {
        absolute(Path::new("checkpoint"))
    }

    fn cgroups_mode(text: &str) -> Result<CgroupsMode, Failure> {
        match text {
            "soft" => Ok(CgroupsMode::Soft),
            "full" => Ok(CgroupsMode::Full),
            "strict" => Ok(CgroupsMode::Strict),
            "ignore" => Ok(CgroupsMode::Ignore),
            _ => Err(Failure::new("invalid manage-cgroups-mode value")),
        }
    }

    fn network_lock(text: &str) -> Result<NetworkLock, Failure> {
        match text {
            "iptables" => Ok(NetworkLock::Iptables),
            "nftables" => Ok(NetworkLock::Nftables),
            "skip" => Ok(NetworkLock::Skip),
            _ => Err(Failure::new("invalid network-lock value")),
        }
    }
}
