//! Filters of system calls: docker's profiles, and its default one, for one container.
//!
//! A profile of docker's says on which architectures, kernels and capabilities each of its rules holds; what the runtime
//! gets holds always (runtime-spec v1.1.0, config-linux.md, Seccomp).

mod default;
mod profile;

pub use profile::{Error, MAX_PROFILE_BYTES, Profile};

use gantry_types::oci::Seccomp;
use serde_json::value::RawValue;

use crate::host::{Host, KernelVersion};
use crate::options::Confinement;

/// Which filter a container has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// The default one; none if the container is privileged.
    #[default]
    Default,
    /// The default one, also of a privileged container.
    Builtin,
    /// None.
    Unconfined,
    /// A profile in docker's format.
    Custom(String),
}

/// What the conditions of a profile are about.
#[derive(Debug, Clone, Copy)]
pub struct Conditions<'a> {
    /// The container's bounding set.
    pub capabilities: &'a [String],
    /// The running kernel.
    pub kernel: KernelVersion,
    /// The machine's architecture, in the words of docker's profiles (Go's, more or less).
    pub architecture: &'a str,
}

/// The architecture that this is built for, in the words of docker's profiles.
pub const ARCHITECTURE: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    b"loongarch64" => "loongarch64",
    _ => std::env::consts::ARCH,
};

/// The filter of a container, as its configuration carries it.
pub(crate) fn of(
    wanted: &Confinement,
    host: &Host,
    capabilities: &[String],
) -> Result<Option<Box<RawValue>>, Error> {
    let conditions = Conditions { capabilities, kernel: host.kernel, architecture: ARCHITECTURE };
    let filter = match &wanted.seccomp {
        Choice::Unconfined => None,
        Choice::Default if wanted.privileged => None,
        Choice::Custom(_) if !host.seccomp => return Err(Error::NoSeccomp),
        Choice::Default | Choice::Builtin if !host.seccomp => None,
        Choice::Default | Choice::Builtin => Some(default_filter(&conditions)),
        Choice::Custom(text) => Profile::parse(text)?.filter(&conditions)?,
    };
    let raw =
        |filter: Seccomp| serde_json::value::to_raw_value(&filter).expect("strings and numbers are JSON");
    Ok(filter.map(raw))
}

/// The default filter.
pub fn default_filter(conditions: &Conditions<'_>) -> Seccomp {
    default::filter(conditions)
}
