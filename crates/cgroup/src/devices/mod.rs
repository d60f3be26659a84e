//! Which devices a container may make and open.
//!
//! The rules of the configuration are an ordered list with the meaning that cgroup v1 gives it. [`Policy`] computes
//! what the list comes to; v1 gets it as a sequence of writes, v2 as a program.

mod filter;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod policy;
mod program;
mod rule;
mod v1;

pub use policy::Policy;
pub use rule::{Access, DEFAULT_RULES, Kind, Rule};

use gantry_types::oci::DeviceRule;

use crate::cgroup::Cgroup;
use crate::error::LimitError;
use crate::hierarchy::Mode;

/// The policy of a configuration: nothing at first, then its rules in order, then what every container needs
/// ([`DEFAULT_RULES`]), as runc does it.
///
/// # Errors
/// `InvalidArgument` for a rule that is malformed or that cannot be expressed: a hole in a wildcard.
pub fn policy(rules: &[DeviceRule]) -> Result<Policy, LimitError> {
    let mut policy = Policy::deny_all();
    for (index, rule) in rules.iter().enumerate() {
        Rule::parse(rule)
            .and_then(|parsed| policy.apply(&parsed))
            .map_err(|reason| LimitError::Device { index, reason })?;
    }
    for rule in &DEFAULT_RULES {
        policy.apply(rule).map_err(|_| LimitError::DeviceDefaults)?;
    }
    Ok(policy)
}

impl Cgroup {
    /// Confines the cgroup to the devices of a policy made of these rules. In a user namespace nothing is done: the
    /// host's devices are out of reach there, and the kernel refuses to be asked.
    pub(crate) fn apply_devices(&self, rules: &[DeviceRule]) -> Result<(), LimitError> {
        let policy = policy(rules)?;
        if self.features.in_user_namespace {
            return Ok(());
        }
        let result = match self.mode {
            Mode::V2 => filter::apply(self, &policy),
            _ => v1::apply(self, &policy),
        };
        // It is not expected to work without privilege, and a rootless container has no privilege over devices.
        if self.rootless { Ok(()) } else { result }
    }
}
