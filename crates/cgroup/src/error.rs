use std::path::PathBuf;

use gantry_types::ErrorKind;
use rustix::io::Errno;

use crate::systemd::SystemdError;

/// A cgroup path that cannot be used, or a host that offers no hierarchy for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The path leaves the hierarchy.
    #[error("linux.cgroupsPath: {0:?} leaves the cgroup hierarchy")]
    Escapes(String),
    /// A component is longer than a file name can be, or holds a byte that no file name has.
    #[error("linux.cgroupsPath: {0:?} has a component that cannot be a cgroup name")]
    Name(String),
    /// The systemd driver was asked for with a path of the other form.
    #[error(
        "linux.cgroupsPath: expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, \
         got {0:?} instead"
    )]
    NotSystemd(String),
    /// Not the name of a slice unit.
    #[error("linux.cgroupsPath: invalid slice name: {0:?}")]
    Slice(String),
    /// Not the name of a scope or slice unit.
    #[error("linux.cgroupsPath: {0:?} cannot be the name of a systemd unit")]
    Unit(String),
    /// An annotation that is to become a property of the unit.
    #[error("annotation {name}={value:?}: {reason}")]
    Annotation {
        /// Its whole name.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A user's systemd has no authority over cgroup v1.
    #[error("the systemd driver without root needs cgroup v2")]
    UserSystemdOnV1,
    /// No cgroup file system is mounted.
    #[error("no cgroup file system is mounted below {0:?}")]
    NoHierarchy(PathBuf),
    /// The devices controller, without which a container has every device of the host, is missing.
    #[error("the devices controller of cgroup v1 is not mounted")]
    NoDevices,
    /// The runtime's own cgroup is outside what is mounted here.
    #[error("the own cgroup {own:?} is not below {root:?}, the part of the hierarchy that is mounted")]
    OwnOutside {
        /// From `/proc/self/cgroup`.
        own: String,
        /// From `/proc/self/mountinfo`.
        root: String,
    },
    /// A file of `/proc` or the root of the hierarchies could not be read.
    #[error("reading {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        errno: Errno,
    },
}

impl PathError {
    /// The error in the words of every door.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Escapes(_)
            | Self::Name(_)
            | Self::NotSystemd(_)
            | Self::Slice(_)
            | Self::Unit(_)
            | Self::Annotation { .. } => ErrorKind::InvalidArgument,
            Self::UserSystemdOnV1 | Self::NoHierarchy(_) | Self::NoDevices => ErrorKind::Unimplemented,
            Self::OwnOutside { .. } => ErrorKind::FailedPrecondition,
            Self::Read { errno, .. } => kind_of(*errno),
        }
    }
}

/// An operation on a cgroup that did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused an operation on a cgroup.
    #[error("{action} cgroup {path:?}")]
    Cgroup {
        /// What was tried, as in "creating".
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// The kernel refused a process.
    #[error("adding pid {pid} to cgroup {path:?}")]
    Attach {
        /// The process.
        pid: i32,
        /// The cgroup.
        path: PathBuf,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// The cgroup of a new container has processes.
    #[error("container's cgroup is not empty: {count} process(es) found in {path:?}")]
    NotEmpty {
        /// The cgroup.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// The cgroup of a new container is frozen: its first process would never run.
    #[error("container's cgroup unexpectedly frozen: {0:?}")]
    Frozen(PathBuf),
    /// Threaded cgroups have no controller of memory or I/O.
    #[error("cannot enter cgroup {path:?} with domain controllers: it is in state {state:?}")]
    Threaded {
        /// The cgroup.
        path: PathBuf,
        /// The content of `cgroup.type`.
        state: String,
    },
    /// Without privilege, limits need a delegated cgroup.
    #[error("limits need a cgroup, and rootless none could be made at {path:?} (is one delegated?)")]
    RootlessLimits {
        /// The cgroup.
        path: PathBuf,
        /// Why it could not be made.
        #[source]
        errno: Errno,
    },
    /// A sub-cgroup for exec that is not below the container's.
    #[error("bad sub cgroup path: {0:?}")]
    SubCgroup(String),
    /// A sub-cgroup for exec names a controller that the container has no cgroup for.
    #[error("unknown controller {0:?} of a sub cgroup")]
    UnknownController(String),
    /// The container has no cgroup for what is asked.
    #[error("{action}: the container has no cgroup for it")]
    NoCgroup {
        /// What was asked.
        action: &'static str,
    },
    /// The kernel did not finish in time.
    #[error("{action} cgroup {path:?} took too long")]
    Timeout {
        /// What was waited for.
        action: &'static str,
        /// The cgroup.
        path: PathBuf,
    },
    /// A file of the kernel that does not have the documented form.
    #[error("{file} of cgroup {path:?} is malformed")]
    Malformed {
        /// The cgroup.
        path: PathBuf,
        /// The file.
        file: String,
    },
    /// A path that cannot be used.
    #[error(transparent)]
    Path(#[from] PathError),
    /// systemd did not do it.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// A value that systemd was to be given.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

impl Error {
    /// The error in the words of every door.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Cgroup { errno, .. } | Self::Attach { errno, .. } => kind_of(*errno),
            Self::NotEmpty { .. } | Self::Frozen(_) | Self::Threaded { .. } | Self::NoCgroup { .. } => {
                ErrorKind::FailedPrecondition
            }
            Self::RootlessLimits { .. } => ErrorKind::PermissionDenied,
            Self::SubCgroup(_) | Self::UnknownController(_) => ErrorKind::InvalidArgument,
            Self::Timeout { .. } => ErrorKind::DeadlineExceeded,
            Self::Malformed { .. } => ErrorKind::Internal,
            Self::Path(error) => error.kind(),
            Self::Systemd(error) => error.kind(),
            Self::Limit(error) => error.kind(),
        }
    }
}

/// A limit that was not applied. `field` is the path of the OCI configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The kernel refused the value.
    #[error("{field}: writing {value:?} to {file}")]
    Write {
        /// The field.
        field: String,
        /// The file of the cgroup.
        file: String,
        /// What was written.
        value: String,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// A file that is needed to apply the field could not be read.
    #[error("{field}: reading {file}")]
    Read {
        /// The field.
        field: String,
        /// The file of the cgroup.
        file: String,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// The value makes no sense, whatever the host.
    #[error("{field}: {value}: {reason}")]
    Invalid {
        /// The field.
        field: String,
        /// The value.
        value: String,
        /// Why.
        reason: &'static str,
    },
    /// The kernel took another value than it was given.
    #[error("{field}: the {bound} allowed cpu-shares is {limit}")]
    Shares {
        /// The field.
        field: String,
        /// `maximum` or `minimum`.
        bound: &'static str,
        /// The kernel's value.
        limit: u64,
    },
    /// A limit below what is used now, with `checkBeforeUpdate`.
    #[error("{field}: rejecting limit {limit} <= usage {usage}")]
    BelowUsage {
        /// The field.
        field: String,
        /// The limit, in bytes.
        limit: u64,
        /// The usage, in bytes.
        usage: u64,
    },
    /// The controller is not there.
    #[error("{field}: cannot set {controller} limit: {reason}")]
    NoController {
        /// The field.
        field: String,
        /// The controller.
        controller: String,
        /// Why.
        reason: &'static str,
    },
    /// `unified` on cgroup v1.
    #[error("linux.resources.unified: invalid configuration: cannot use unified on cgroup v1")]
    UnifiedOnV1,
    /// A device rule that the kernel cannot express.
    #[error("linux.resources.devices[{index}]: {reason}")]
    Device {
        /// The rule.
        index: usize,
        /// Why.
        reason: &'static str,
    },
    /// A wildcard denies what every container is allowed.
    #[error("linux.resources.devices: a wildcard denies a part of the standard devices of containers")]
    DeviceDefaults,
    /// The device filter was not installed.
    #[error("linux.resources.devices: {action}")]
    DeviceFilter {
        /// Which step.
        action: &'static str,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// After the rules were written the kernel does not hold them.
    #[error("linux.resources.devices: the resulting device rules do not match")]
    DeviceMismatch,
    /// systemd did not take the properties.
    #[error("linux.resources: setting the properties of the systemd unit")]
    Systemd(#[source] SystemdError),
}

impl LimitError {
    /// The error in the words of every door.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Write { errno, .. } | Self::Read { errno, .. } | Self::DeviceFilter { errno, .. } => {
                kind_of(*errno)
            }
            Self::Invalid { .. }
            | Self::Shares { .. }
            | Self::Device { .. }
            | Self::DeviceDefaults
            | Self::UnifiedOnV1 => ErrorKind::InvalidArgument,
            Self::BelowUsage { .. } => ErrorKind::FailedPrecondition,
            Self::NoController { .. } => ErrorKind::Unimplemented,
            Self::DeviceMismatch => ErrorKind::Internal,
            Self::Systemd(error) => error.kind(),
        }
    }
}

pub(crate) fn kind_of(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOENT | Errno::NODEV | Errno::SRCH => ErrorKind::NotFound,
        Errno::EXIST => ErrorKind::AlreadyExists,
        Errno::INVAL | Errno::RANGE | Errno::NAMETOOLONG => ErrorKind::InvalidArgument,
        Errno::BUSY => ErrorKind::FailedPrecondition,
        Errno::PERM | Errno::ACCESS | Errno::ROFS => ErrorKind::PermissionDenied,
        Errno::NOSYS | Errno::OPNOTSUPP => ErrorKind::Unimplemented,
        Errno::NOMEM | Errno::NOSPC | Errno::MFILE | Errno::NFILE | Errno::AGAIN => {
            ErrorKind::ResourceExhausted
        }
        Errno::TIMEDOUT => ErrorKind::DeadlineExceeded,
        _ => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_refused_limit_names_field_value_file_and_cause() {
        let error = LimitError::Write {
            field: "linux.resources.memory.limit".into(),
            file: "memory.max".into(),
            value: "1".into(),
            errno: Errno::BUSY,
        };
        assert_eq!(error.to_string(), "linux.resources.memory.limit: writing \"1\" to memory.max");
        assert_eq!(error.source().unwrap().downcast_ref::<Errno>(), Some(&Errno::BUSY));
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    }
}
