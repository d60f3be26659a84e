use std::collections::BTreeMap;

use super::rule::{Access, Devices, Kind, Rule};

/// What an ordered list of rules comes to: a default, and exceptions from it.
///
/// The meaning is that of cgroup v1. While nothing is allowed by default, a rule that allows adds an exception and one
/// that denies takes an exception away; while everything is allowed, it is the other way round. An exception can be
/// taken away only as it was given: a hole in a wildcard cannot be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    allow_by_default: bool,
    exceptions: BTreeMap<Devices, Access>,
}

impl Policy {
    /// Nothing is allowed: how a container begins.
    pub fn deny_all() -> Self {
        Self::default()
    }

    /// Whether devices without an exception are allowed.
    pub fn allows_by_default(&self) -> bool {
        self.allow_by_default
    }

    /// Whether there is nothing to enforce.
    pub fn allows_everything(&self) -> bool {
        self.allow_by_default && self.exceptions.is_empty()
    }

    /// The exceptions, in a fixed order.
    pub fn exceptions(&self) -> impl Iterator<Item = (Devices, Access)> {
        self.exceptions.iter().map(|(&devices, &access)| (devices, access))
    }

    /// The access that is an exception for exactly these devices.
    pub(super) fn exception(&self, devices: &Devices) -> Access {
        self.exceptions.get(devices).copied().unwrap_or(Access::NONE)
    }

    /// Whether the kernel would grant an access. Granting takes one exception that has all of it; refusing takes an
    /// exception that has any of it.
    pub fn permits(&self, kind: Kind, major: u32, minor: u32, access: Access) -> bool {
        let about = |devices: &Devices| {
            devices.kind == kind
                && devices.major.is_none_or(|n| n == major)
                && devices.minor.is_none_or(|n| n == minor)
        };
        let mut about = self.exceptions.iter().filter(|(devices, _)| about(devices));
        if self.allow_by_default {
            !about.any(|(_, denied)| !access.and(*denied).is_none())
        } else {
            about.any(|(_, allowed)| access.without(*allowed).is_none())
        }
    }

    /// Applies the next rule of a list.
    pub(crate) fn apply(&mut self, rule: &Rule) -> Result<(), &'static str> {
        match *rule {
            Rule::Reset { allow } => {
                self.allow_by_default = allow;
                self.exceptions.clear();
                Ok(())
            }
            Rule::Some { allow, kind, major, minor, access } => {
                let kinds: &[Kind] = match kind {
                    Some(Kind::Block) => &[Kind::Block],
                    Some(Kind::Char) => &[Kind::Char],
                    None => &[Kind::Block, Kind::Char],
                };
                kinds.iter().try_for_each(|&kind| {
                    let devices = Devices { kind, major, minor };
                    if allow == self.allow_by_default {
                        self.remove(devices, access)
                    } else {
                        self.add(devices, access);
                        Ok(())
                    }
                })
            }
        }
    }

    pub(super) fn add(&mut self, devices: Devices, access: Access) {
        let entry = self.exceptions.entry(devices).or_insert(Access::NONE);
        *entry = entry.or(access);
    }

    fn remove(&mut self, devices: Devices, access: Access) -> Result<(), &'static str> {
        let wider = [
            Devices { major: None, ..devices },
            Devices { minor: None, ..devices },
            Devices { major: None, minor: None, ..devices },
        ];
        if wider.iter().any(|other| *other != devices && !self.exception(other).and(access).is_none()) {
            return Err("cannot make a hole in a wildcard of an earlier rule");
        }
        let left = self.exception(&devices).without(access);
        if left.is_none() {
            self.exceptions.remove(&devices);
        } else {
            self.exceptions.insert(devices, left);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy;
    use super::*;

    fn of(rules: &str) -> Result<Policy, String> {
        policy(&serde_json::from_str::<Vec<_>>(rules).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_container_without_rules_has_the_standard_devices_only() {
        let policy = of("[]").unwrap();
        let permits = |major, minor| policy.permits(Kind::Char, major, minor, Access::ALL);
        assert!(permits(1, 3) && permits(5, 2) && permits(136, 77) && permits(10, 200));
        assert!(!permits(1, 1) && !permits(10, 232), "/dev/mem and kvm");
        assert!(policy.permits(Kind::Block, 8, 0, Access::MKNOD));
        assert!(!policy.permits(Kind::Block, 8, 0, Access::READ));
    }

    #[test]
    fn a_privileged_container_has_everything() {
        let policy = of(r#"[{"allow":false},{"allow":true}]"#).unwrap();
        assert!(policy.allows_everything());
    }

    #[test]
    fn one_exception_must_cover_the_whole_access() {
        let policy = of(r#"[{"allow":true,"type":"c","major":10,"access":"r"},
                            {"allow":true,"type":"c","major":10,"minor":1,"access":"w"}]"#)
        .unwrap();
        assert!(
            policy.permits(Kind::Char, 10, 1, Access::READ)
                && policy.permits(Kind::Char, 10, 1, Access::WRITE)
        );
        assert!(!policy.permits(Kind::Char, 10, 1, Access::READ.or(Access::WRITE)), "as the kernel has it");
    }

    #[test]
    fn a_denied_part_denies_the_whole_access() {
        let policy = of(r#"[{"allow":true},{"allow":false,"type":"b","major":8,"access":"w"}]"#).unwrap();
        assert!(
            policy.permits(Kind::Block, 8, 1, Access::READ) && policy.permits(Kind::Block, 9, 1, Access::ALL)
        );
        assert!(!policy.permits(Kind::Block, 8, 1, Access::READ.or(Access::WRITE)));
    }

    #[test]
    fn holes_in_wildcards_are_refused_with_the_rule_that_makes_them() {
        let error = of(
            r#"[{"allow":true,"type":"c","access":"rwm"},{"allow":false,"type":"c","major":5,"minor":1}]"#,
        );
        assert!(error.unwrap_err().contains("devices[1]"));
        // No overlap of access, no hole.
        of(r#"[{"allow":true,"type":"c","access":"r"},{"allow":false,"type":"c","major":5,"minor":1,"access":"w"}]"#)
            .unwrap();
    }

    #[test]
    fn later_rules_take_back_earlier_ones() {
        let policy = of(r#"[{"allow":true,"type":"c","major":9,"minor":9,"access":"rw"},
                            {"allow":false,"type":"c","major":9,"minor":9,"access":"w"}]"#)
        .unwrap();
        assert!(
            policy.permits(Kind::Char, 9, 9, Access::READ)
                && !policy.permits(Kind::Char, 9, 9, Access::WRITE)
        );
    }
}
