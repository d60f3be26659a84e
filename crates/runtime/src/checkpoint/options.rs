use std::path::PathBuf;

/// What criu does with the cgroups of the processes: `--manage-cgroups-mode` of criu(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupsMode {
    /// Nothing.
    Ignore,
    /// Restore properties of cgroups that it makes.
    Soft,
    /// Restore all, and their properties.
    Full,
    /// Make all anew.
    Strict,
}

/// How criu holds back packets meanwhile: `--network-lock` of criu(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkLock {
    /// By iptables(8).
    Iptables,
    /// By nft(8).
    Nftables,
    /// Not at all.
    Skip,
}

/// What dump and restore have in common.
#[derive(Debug, Clone, Default)]
pub struct ImageOptions {
    /// The directory of the images.
    pub images: PathBuf,
    /// The directory of criu's logs and other files; that of the images if absent.
    pub work: Option<PathBuf>,
    /// Keep open TCP connections.
    pub tcp_established: bool,
    /// Allow unix sockets whose other end is outside.
    pub external_unix_sockets: bool,
    /// Allow a terminal of the caller's.
    pub shell_job: bool,
    /// Keep file locks.
    pub file_locks: bool,
    /// Punch pages out of parent images that are written again.
    pub auto_dedup: bool,
    /// Bring memory back page by page.
    pub lazy_pages: bool,
    /// What criu does with cgroups; its own default if absent.
    pub cgroups: Option<CgroupsMode>,
    /// How packets are held back; criu's own default if absent.
    pub network_lock: Option<NetworkLock>,
}

/// What becomes of a container that was written to images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Continue {
    /// It ends, and is removed.
    #[default]
    No,
    /// It goes on.
    Yes,
    /// It goes on, and only its memory is written: a parent for later images.
    PreDump,
}

/// A server that takes the memory's pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageServer {
    /// Its address.
    pub address: String,
    /// Its port.
    pub port: u16,
}

/// How a container is written to images.
#[derive(Debug, Clone, Default)]
pub struct DumpOptions {
    /// What restore has, too.
    pub image: ImageOptions,
    /// The images of an earlier pre-dump, relative to the directory of these.
    pub parent: Option<PathBuf>,
    /// What becomes of the container.
    pub goes_on: Continue,
    /// Leave out TCP connections that are being made.
    pub tcp_skip_in_flight: bool,
    /// Give deleted files that are open a name for the while.
    pub link_remap: bool,
    /// Where the memory goes instead.
    pub page_server: Option<PageServer>,
    /// The descriptor that gets a zero byte when lazy pages are ready.
    pub status_fd: Option<u32>,
}

/// How a container is made from images.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// What dump has, too.
    pub image: ImageOptions,
    /// Close the TCP connections that were open.
    pub tcp_close: bool,
    /// The security profile of the processes, as TYPE:NAME.
    pub lsm_profile: Option<String>,
    /// The SELinux context of the mounts.
    pub lsm_mount_context: Option<String>,
}
