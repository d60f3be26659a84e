//! The devices controller of cgroup v1: `devices.allow`, `devices.deny` and `devices.list`.

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::policy::Policy;
use super::rule::{Access, Devices, Kind};
use crate::cgroup::Cgroup;
use crate::controller::Controller;
use crate::dir::{Dir, Text, write_once};
use crate::error::LimitError;

/// Makes the kernel's list that of a policy.
///
/// A list that is already a list of allowed devices is changed by its differences, what is no longer allowed first,
/// so that a running container is never refused what it may do before and after.
pub(super) fn apply(cgroup: &Cgroup, policy: &Policy) -> Result<(), LimitError> {
    let Some(node) = cgroup.node(Controller::Devices) else {
        return Err(LimitError::NoController {
            field: "linux.resources.devices".into(),
            controller: "devices".into(),
            reason: "container could not join or create cgroup",
        });
    };
    let dir = node.dir().map_err(|errno| failed("opening the devices cgroup", errno))?;
    // In a new cgroup is what its parent has. To forget it is as good as to know it.
    let current = if node.is_new.take() { None } else { Some(current(dir)?) };
    let mut files = [None, None];
    transition(current.as_ref(), policy, |allow, line| {
        let name = if allow { "devices.allow" } else { "devices.deny" };
        let file = &mut files[usize::from(allow)];
        let opened = match file {
            Some(file) => Ok(file),
            None => dir.open_file(name, OFlags::WRONLY).map(|opened| file.insert(opened)),
        };
        opened.and_then(|file| write_once(file, line.as_bytes())).map_err(|errno| LimitError::Write {
            field: "linux.resources.devices".into(),
            file: name.into(),
            value: line.into(),
            errno,
        })
    })?;
    // What is denied from everything cannot be read back, only that everything is the default.
    let after = self::current(dir)?;
    let matches = match policy.allows_by_default() {
        true => after.allows_by_default(),
        false => after == *policy,
    };
    if matches { Ok(()) } else { Err(LimitError::DeviceMismatch) }
}

fn failed(action: &'static str, errno: Errno) -> LimitError {
    LimitError::DeviceFilter { action, errno }
}

fn current(dir: &Dir) -> Result<Policy, LimitError> {
    let list = dir.read("devices.list").map_err(|errno| failed("reading devices.list", errno))?;
    parse_list(&list).ok_or_else(|| failed("parsing devices.list", Errno::INVAL))
}

/// Reads `devices.list`, where `a *:* rwm` says that everything is allowed, and hides what is denied from it.
pub(super) fn parse_list(list: &str) -> Option<Policy> {
    let mut policy = Policy::deny_all();
    for line in list.lines() {
        let mut fields = line.split([' ', ':']);
        let kind = match fields.next()? {
            "a" => {
                policy.apply(&super::Rule::Reset { allow: true }).ok()?;
                return Some(policy);
            }
            "b" => Kind::Block,
            "c" => Kind::Char,
            _ => return None,
        };
        let mut number = || match fields.next()? {
            "*" => Some(None),
            number => number.parse().ok().map(Some),
        };
        let (major, minor) = (number()?, number()?);
        let access = Access::parse(fields.next()?).filter(|access| !access.is_none())?;
        policy.add(Devices { kind, major, minor }, access);
    }
    Some(policy)
}

/// Calls `write` for each line that leads from one policy, if it is known, to another: whether it allows, and the line.
pub(super) fn transition<E>(
    from: Option<&Policy>,
    to: &Policy,
    mut write: impl FnMut(bool, &str) -> Result<(), E>,
) -> Result<(), E> {
    let fresh = Policy::deny_all();
    // Exceptions from "everything" cannot be read, so they are forgotten; the same where the default changes.
    let from = match from {
        Some(from) if !from.allows_by_default() && !to.allows_by_default() => from,
        _ => {
            write(to.allows_by_default(), "a")?;
            &fresh
        }
    };
    let line = |devices: Devices, access: Access| Text::new(format_args!("{devices} {access}"));
    for (devices, access) in from.exceptions() {
        let dropped = access.without(to.exception(&devices));
        if !dropped.is_none() {
            write(to.allows_by_default(), line(devices, dropped).as_str())?;
        }
    }
    for (devices, access) in to.exceptions() {
        let gained = access.without(from.exception(&devices));
        if !gained.is_none() {
            write(!to.allows_by_default(), line(devices, gained).as_str())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::policy;

    fn of(rules: &str) -> Policy {
        policy(&serde_json::from_str::<Vec<_>>(rules).unwrap()).unwrap()
    }

    fn writes(from: &Policy, to: &Policy) -> Vec<String> {
        let mut writes = Vec::new();
        let write = |allow: bool, line: &str| {
            writes.push(format!("{} {line}", if allow { "+" } else { "-" }));
            Ok::<(), ()>(())
        };
        transition(Some(from), to, write).unwrap();
        writes
    }

    #[test]
    fn a_new_container_is_denied_everything_first() {
        let writes = writes(&parse_list("a *:* rwm\n").unwrap(), &of("[]"));
        assert_eq!(writes[0], "- a");
        assert!(writes[1..].iter().all(|line| line.starts_with("+ ")), "{writes:?}");
        assert!(writes.contains(&"+ c 136:* rwm".to_owned()) && writes.contains(&"+ b *:* m".to_owned()));
    }

    #[test]
    fn an_update_writes_differences_only_and_takes_before_it_gives() {
        let old = of(r#"[{"allow":true,"type":"c","major":10,"minor":1,"access":"rw"}]"#);
        let new = of(r#"[{"allow":true,"type":"c","major":10,"minor":1,"access":"r"},
                         {"allow":true,"type":"b","major":8,"access":"r"}]"#);
        assert_eq!(writes(&old, &new), ["- c 10:1 w", "+ b 8:* r"]);
        assert!(writes(&new, &new).is_empty());
    }

    #[test]
    fn everything_but_some_is_written_as_denials() {
        let target = of(r#"[{"allow":true},{"allow":false,"type":"b","major":8,"access":"rw"}]"#);
        assert_eq!(writes(&of("[]"), &target), ["+ a", "- b 8:* rw"]);
    }

    #[test]
    fn the_list_of_the_kernel_is_read_back() {
        let policy = of("[]");
        let list: String =
            policy.exceptions().map(|(devices, access)| format!("{devices} {access}\n")).collect();
        assert_eq!(parse_list(&list).unwrap(), policy);
        for bad in ["x 1:3 rwm", "c 1 rwm", "c 1:3", "c one:3 r", "c 1:3 q", "c 1:3 "] {
            assert!(parse_list(bad).is_none(), "{bad}");
        }
    }
}
