//! What criu is asked for: `criu_req` of its `rpc.proto`, whose field numbers these are.

use std::os::fd::{AsRawFd, OwnedFd};

use super::options::{CgroupsMode, ImageOptions, NetworkLock};
use super::wire::Message;
use crate::plan::namespaces::NEWNET;

/// What is asked for, or answered: `criu_req_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
}

impl Kind {
    pub(super) const ALL: [Kind; 5] =
        [Kind::Dump, Kind::Restore, Kind::PreDump, Kind::Notify, Kind::FeatureCheck];

    /// Its name in the protocol.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Dump => "DUMP",
            Kind::Restore => "RESTORE",
            Kind::PreDump => "PRE_DUMP",
            Kind::Notify => "NOTIFY",
            Kind::FeatureCheck => "FEATURE_CHECK",
        }
    }
}

/// A request, ready to be sent.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) kind: Kind,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Options(Options),
    Features(Message),
    Success,
}

impl Request {
    pub(super) fn new(kind: Kind, options: Options) -> Self {
        Request { kind, body: Body::Options(options) }
    }

    /// The answer to a notice.
    pub(super) fn success() -> Self {
        Request { kind: Kind::Notify, body: Body::Success }
    }

    /// The question for what criu and the kernel can do.
    pub(super) fn features(memory_tracking: bool, lazy_pages: bool) -> Self {
        let mut features = Message::default();
        features.switch(1, memory_tracking).switch(2, lazy_pages);
        Request { kind: Kind::FeatureCheck, body: Body::Features(features) }
    }

    pub(super) fn encode(&self) -> Message {
        let mut message = Message::default();
        message.number(1, self.kind as i64);
        match &self.body {
            Body::Options(options) => message.message(2, &options.0),
            Body::Features(features) => message.message(5, features),
            Body::Success => message.switch(3, true),
        };
        message
    }
}

/// Directories and log of a request. Descriptors are named by the caller's numbers: criu opens them through /proc.
#[derive(Debug)]
pub(super) struct Places<'a> {
    pub(super) images: &'a OwnedFd,
    pub(super) work: Option<&'a OwnedFd>,
    pub(super) log_file: &'a str,
    pub(super) root: &'a str,
    /// A configuration file that overrides what is asked for.
    pub(super) config_file: Option<&'a str>,
}

/// `criu_opts`.
#[derive(Debug, Clone)]
pub(super) struct Options(Message);

impl Options {
    pub(super) fn new(image: &ImageOptions, places: &Places<'_>) -> Self {
        const DETAILED: i64 = 4;
        let mut message = Message::default();
        message
            .number(1, places.images.as_raw_fd().into())
            .number(9, DETAILED)
            .text(10, places.log_file)
            .switch(12, true)
            .text(13, places.root)
            .switch(4, image.external_unix_sockets)
            .switch(5, image.tcp_established)
            .switch(7, image.shell_job)
            .switch(8, image.file_locks)
            .switch(16, image.auto_dedup)
            .switch(24, true)
            .number(34, cgroups_mode(image.cgroups))
            // The runtime makes no network devices; whoever does makes them again.
            .number(38, NEWNET as i64)
            .switch(48, image.lazy_pages)
            .switch(50, true);
        if let Some(work) = places.work {
            message.number(17, work.as_raw_fd().into());
        }
        if let Some(path) = places.config_file {
            message.text(51, path);
        }
        if let Some(lock) = image.network_lock {
            message.number(64, network_lock(lock));
        }
        Options(message)
    }

    /// Options of dump.
    pub(super) fn dump(&mut self, pid: i32, goes_on: bool, skip_in_flight: bool, link_remap: bool) {
        self.0.number(2, pid.into()).switch(3, goes_on).switch(18, link_remap).switch(46, skip_in_flight);
    }

    /// The images of an earlier pre-dump; memory that is not written since is left there.
    pub(super) fn parent(&mut self, path: &str) {
        self.0.text(14, path).switch(15, true);
    }

    pub(super) fn page_server(&mut self, address: &str, port: u16) {
        let mut server = Message::default();
        server.text(1, address).number(2, port.into());
        self.0.message(11, &server);
    }

    /// The cgroup by which the processes are stopped meanwhile.
    pub(super) fn freezer(&mut self, path: &str) {
        self.0.text(44, path);
    }

    /// Options of restore: the first process becomes a child of ours, as a sibling of criu.
    pub(super) fn restore(&mut self, tcp_close: bool) {
        self.0.switch(6, true).switch(26, true).switch(52, tcp_close);
    }

    pub(super) fn security(&mut self, profile: Option<&str>, mount_context: Option<&str>) {
        if let Some(profile) = profile {
            self.0.text(53, profile);
        }
        if let Some(context) = mount_context {
            self.0.text(63, context);
        }
    }

    /// A mount that is not the container's: by name at dump, by source at restore.
    pub(super) fn external_mount(&mut self, key: &str, value: &str) {
        let mut map = Message::default();
        map.text(1, key).text(2, value);
        self.0.message(23, &map);
    }

    /// Another resource that is not the container's, in criu's notation.
    pub(super) fn external(&mut self, name: &str) {
        self.0.text(37, name);
    }

    /// What takes the place of an external resource: a descriptor of criu's.
    pub(super) fn inherit(&mut self, key: &str, fd: i32) {
        let mut inherit = Message::default();
        inherit.text(1, key).number(2, fd.into());
        self.0.message(27, &inherit);
    }

    /// A namespace to join.
    pub(super) fn join(&mut self, name: &str, path: &str) {
        let mut join = Message::default();
        join.text(1, name).text(2, path);
        self.0.message(39, &join);
    }

    /// Where the container's cgroups are now.
    pub(super) fn cgroup_root(&mut self, controller: &str, path: &str) {
        let mut root = Message::default();
        root.text(1, controller).text(2, path);
        self.0.message(25, &root);
    }
}

/// `criu_cg_mode`.
fn cgroups_mode(mode: Option<CgroupsMode>) -> i64 {
    match mode {
        Some(CgroupsMode::Ignore) => 0,
        Some(CgroupsMode::Soft) => 3,
        Some(CgroupsMode::Full) => 4,
        Some(CgroupsMode::Strict) => 5,
        None => 6,
    }
}

/// `criu_network_lock_method`.
fn network_lock(lock: NetworkLock) -> i64 {
    match lock {
        NetworkLock::Iptables => 1,
        NetworkLock::Nftables => 2,
        NetworkLock::Skip => 3,
    }
}
