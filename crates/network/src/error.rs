use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use gantry_types::ErrorKind;
use ipnet::Ipv4Net;
use rustix::io::Errno;

use crate::endpoint::Protocol;

/// Why a container could not be given a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option or a field of a request is not of its form.
    #[error("{what} {text:?} is invalid: {reason}")]
    Invalid {
        /// Which one.
        what: &'static str,
        /// As it was given.
        text: String,
        /// Why.
        reason: &'static str,
    },
    /// What was asked for needs something that this network does not have.
    #[error("{what} is not supported: {reason}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// Why.
        reason: &'static str,
    },
    /// Another container of ours has the port. The words are docker's.
    #[error("Bind for {address}:{port} failed: port is already allocated")]
    PortAllocated {
        /// The host's address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
    },
    /// Another program of the host has the port. The words are docker's.
    #[error("failed to bind host port for {address}:{port}/{protocol}: address already in use")]
    PortInUse {
        /// The host's address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
    },
    /// The port cannot be bound.
    #[error("failed to bind host port for {address}:{port}/{protocol}")]
    PortBind {
        /// The host's address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
        /// Why: `EADDRNOTAVAIL` mostly, where the address is not the host's.
        #[source]
        source: Errno,
    },
    /// No port is left in the range.
    #[error("no free {protocol} port of {address} is left between {first} and {last}")]
    PortsExhausted {
        /// The host's address.
        address: IpAddr,
        /// The range's first port.
        first: u16,
        /// The range's last.
        last: u16,
        /// The protocol.
        protocol: Protocol,
    },
    /// Another container has the address.
    #[error("address {address} is already in use")]
    AddressInUse {
        /// The address.
        address: Ipv4Addr,
    },
    /// The address is not one for containers.
    #[error("address {address} is not of the network {subnet}, or not for containers")]
    AddressOutside {
        /// The address.
        address: Ipv4Addr,
        /// The network.
        subnet: Ipv4Net,
    },
    /// All addresses are in use.
    #[error("no free address is left in {subnet}")]
    AddressesExhausted {
        /// Where they come from.
        subnet: Ipv4Net,
    },
    /// Every network that could be the bridge's overlaps a route of the host.
    #[error("no network is free for the bridge {bridge}: routes of the host overlap them all; set bip")]
    NoFreeNetwork {
        /// The bridge.
        bridge: String,
    },
    /// The device that should be the bridge is something else.
    #[error("device {device} exists and is no bridge")]
    NotABridge {
        /// The device.
        device: String,
    },
    /// The name is in use.
    #[error("network namespace {name:?} exists already")]
    NetnsExists {
        /// The name.
        name: String,
    },
    /// A step on a device or an address failed.
    #[error("{step} {target}")]
    Link {
        /// What was being done: `making device`, `adding the address of`.
        step: &'static str,
        /// The device.
        target: String,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// A step on a network namespace failed.
    #[error("{step} network namespace {}", path.display())]
    Netns {
        /// What was being done.
        step: &'static str,
        /// Its file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// A setting of the kernel could not be read or written.
    #[error("{step} {}", path.display())]
    Setting {
        /// What was being done.
        step: &'static str,
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The packet filter refused the rules.
    #[error("packet filter: {step}")]
    Filter {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer; `EPROTONOSUPPORT` from one without nf_tables.
        #[source]
        source: Errno,
    },
    /// No thread could be made.
    #[error("a thread cannot be made")]
    Thread(#[source] std::io::Error),
}

impl Error {
    pub(crate) fn invalid(what: &'static str, text: String, reason: &'static str) -> Self {
        Error::Invalid { what, text, reason }
    }

    pub(crate) fn link(step: &'static str, target: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let target = target.into();
        move |source| Error::Link { step, target, source }
    }

    pub(crate) fn netns(step: &'static str, path: &std::path::Path) -> impl FnOnce(Errno) -> Self {
        move |source| Error::Netns { step, path: path.to_owned(), source }
    }

    pub(crate) fn filter(step: &'static str) -> impl FnOnce(Errno) -> Self {
        move |source| Error::Filter { step, source }
    }

    /// What went wrong, for a door's status codes.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Invalid { .. } | Error::AddressOutside { .. } => ErrorKind::InvalidArgument,
            Error::Unsupported { .. } => ErrorKind::Unimplemented,
            Error::PortAllocated { .. }
            | Error::PortInUse { .. }
            | Error::PortBind { .. }
            | Error::AddressInUse { .. }
            | Error::NoFreeNetwork { .. }
            | Error::NotABridge { .. } => ErrorKind::FailedPrecondition,
            Error::PortsExhausted { .. } | Error::AddressesExhausted { .. } => ErrorKind::ResourceExhausted,
            Error::NetnsExists { .. } => ErrorKind::AlreadyExists,
            Error::Link { source, .. } | Error::Netns { source, .. } | Error::Filter { source, .. } => {
                kind_of(*source)
            }
            Error::Setting { source, .. } => source
                .raw_os_error()
                .map_or(ErrorKind::Internal, |code| kind_of(Errno::from_raw_os_error(code))),
            Error::Thread(_) => ErrorKind::ResourceExhausted,
        }
    }
}

fn kind_of(errno: Errno) -> ErrorKind {
    match errno {
        Errno::PERM | Errno::ACCESS => ErrorKind::PermissionDenied,
        Errno::NOENT | Errno::NODEV => ErrorKind::NotFound,
        Errno::EXIST => ErrorKind::AlreadyExists,
        Errno::PROTONOSUPPORT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::NOSYS => {
            ErrorKind::Unimplemented
        }
        Errno::NOMEM | Errno::NOSPC | Errno::MFILE | Errno::NFILE => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Internal,
    }
}
