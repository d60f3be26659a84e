//! Namespaces: which are made, which are joined, which are the host's.

use gantry_types::oci::{IdMapping, Linux, Namespace};

use crate::Error;
use crate::options::Namespaces;

/// The network that a container is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Network {
    /// A new namespace, which the runtime makes.
    #[default]
    New,
    /// A namespace that was made for this container and is bound to this path.
    Own(String),
    /// The namespace of another container: its parameters are not ours to set by default.
    Shared(String),
    /// The host's.
    Host,
}

/// The IPC namespace, and what is at /dev/shm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ipc {
    /// A new namespace and a tmpfs that nobody else has.
    #[default]
    Private,
    /// A new namespace, and a tmpfs of the host's at this path, for others to join.
    Shareable {
        /// The tmpfs.
        shm: String,
    },
    /// A new namespace and no /dev/shm.
    None,
    /// The host's, with its /dev/shm.
    Host,
    /// Another container's.
    Shared {
        /// The namespace.
        namespace: String,
        /// Its tmpfs, on the host.
        shm: String,
    },
}

/// The PID namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Pid {
    /// A new one.
    #[default]
    Private,
    /// The host's.
    Host,
    /// Another container's, at this path.
    Shared(String),
}

/// The UTS namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Uts {
    /// A new one.
    #[default]
    Private,
    /// The host's: host and domain name are not set.
    Host,
    /// A pod's, at this path: host and domain name are set already.
    Shared(String),
}

/// The cgroup namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CgroupNamespace {
    /// A new one.
    #[default]
    Private,
    /// The host's.
    Host,
    /// Another container's, at this path.
    Shared(String),
}

/// The user namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum UserNamespace {
    /// The host's.
    #[default]
    Host,
    /// A new one.
    New {
        /// User ids.
        uids: Vec<IdMapping>,
        /// Group ids.
        gids: Vec<IdMapping>,
    },
    /// Another container's: whoever joins one of its other namespaces must be in this one.
    Shared {
        /// The namespace.
        namespace: String,
        /// Its user ids.
        uids: Vec<IdMapping>,
        /// Its group ids.
        gids: Vec<IdMapping>,
    },
}

impl UserNamespace {
    /// Whether it is the host's.
    pub fn is_host(&self) -> bool {
        matches!(self, Self::Host)
    }
}

impl Pid {
    /// Whether the container's first process is the first of its namespace.
    pub fn is_private(&self) -> bool {
        matches!(self, Self::Private)
    }
}

/// The most ranges of a mapping (user_namespaces(7), since Linux 4.15).
const MAX_ID_MAPPINGS: usize = 340;

/// Writes namespaces and id mappings.
pub(crate) fn apply(linux: &mut Linux, wanted: &Namespaces) -> Result<(), Error> {
    let mut add = |type_: &str, path: &str| -> Result<(), Error> {
        check_path(type_, path)?;
        linux.namespaces.push(Namespace { type_: type_.to_owned(), path: path.to_owned() });
        Ok(())
    };
    add("mount", "")?;
    match &wanted.network {
        Network::New => add("network", "")?,
        Network::Own(path) | Network::Shared(path) => add("network", named(path, "network namespace")?)?,
        Network::Host => {}
    }
    match &wanted.uts {
        Uts::Private => add("uts", "")?,
        Uts::Shared(path) => add("uts", named(path, "UTS namespace")?)?,
        Uts::Host => {}
    }
    match &wanted.pid {
        Pid::Private => add("pid", "")?,
        Pid::Shared(path) => add("pid", named(path, "PID namespace")?)?,
        Pid::Host => {}
    }
    match &wanted.ipc {
        Ipc::Private | Ipc::Shareable { .. } | Ipc::None => add("ipc", "")?,
        Ipc::Shared { namespace, .. } => add("ipc", named(namespace, "IPC namespace")?)?,
        Ipc::Host => {}
    }
    let (uids, gids) = match &wanted.user {
        UserNamespace::Host => (&[][..], &[][..]),
        UserNamespace::New { uids, gids } => {
            add("user", "")?;
            (&uids[..], &gids[..])
        }
        UserNamespace::Shared { namespace, uids, gids } => {
            add("user", named(namespace, "user namespace")?)?;
            (&uids[..], &gids[..])
        }
    };
    match &wanted.cgroup {
        CgroupNamespace::Private => add("cgroup", "")?,
        CgroupNamespace::Shared(path) => add("cgroup", named(path, "cgroup namespace")?)?,
        CgroupNamespace::Host => {}
    }
    if !wanted.user.is_host() {
        linux.uid_mappings = mapping(uids, "user ids")?;
        linux.gid_mappings = mapping(gids, "group ids")?;
    }
    Ok(())
}

/// An empty path would make a new namespace where one is to be joined.
fn named<'a>(path: &'a str, what: &'static str) -> Result<&'a str, Error> {
    if path.is_empty() { Err(Error::invalid(what, path, "a path is needed")) } else { Ok(path) }
}

fn check_path(type_: &str, path: &str) -> Result<(), Error> {
    let good = path.is_empty() || (path.starts_with('/') && !path.contains(['\0', '\n']));
    if good {
        Ok(())
    } else {
        Err(Error::invalid("namespace", path, format!("the path of a {type_} namespace is absolute")))
    }
}

fn mapping(ranges: &[IdMapping], what: &'static str) -> Result<Vec<IdMapping>, Error> {
    crate::error::at_most("ranges of an id mapping", ranges.len(), MAX_ID_MAPPINGS)?;
    if ranges.is_empty() {
        return Err(Error::invalid("id mapping", what, "a user namespace needs one"));
    }
    for range in ranges {
        let fits =
            |first: u32| first.checked_add(range.size.saturating_sub(1)).is_some_and(|last| last < u32::MAX);
        if range.size == 0 || !fits(range.container_id) || !fits(range.host_id) {
            let text = format!("{}:{}:{}", range.container_id, range.host_id, range.size);
            return Err(Error::invalid("id mapping", text, format!("{what} go from 0 to 4294967294")));
        }
    }
    Ok(ranges.to_vec())
}
