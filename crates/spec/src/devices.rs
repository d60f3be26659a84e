//! Devices: nodes and the rules of access to them (runtime-spec v1.1.0, config-linux.md, Devices and Device allowed list).

use gantry_types::oci::{Device, DeviceRule};

use crate::Error;
use crate::error::at_most;
use crate::host::Host;
use crate::options::{DeviceMapping, HostDevice, Options};
use crate::resources::device_rule;

/// The most devices of a container, and the most rules.
const MAX_DEVICES: usize = 16_384;
const ALL: &str = "rwm";

/// Character devices that every container may use, and one that none may unless it is given it.
const DEFAULT_RULES: [(bool, i64, i64); 7] = [
    (true, 1, 5),
    (true, 1, 3),
    (true, 1, 9),
    (true, 1, 8),
    (true, 5, 0),
    (true, 5, 1),
    // /dev/fuse, so that it is said in the file and not only by the first rule.
    (false, 10, 229),
];

/// Nodes and rules of a container.
pub(crate) fn of(options: &Options, host: &Host) -> Result<(Vec<Device>, Vec<DeviceRule>), Error> {
    at_most("devices", options.devices.len(), MAX_DEVICES)?;
    at_most("device rules", options.device_rules.len(), MAX_DEVICES)?;
    let privileged = options.confinement.privileged;
    let mut devices: Vec<Device> = Vec::new();
    let mut rules = default_rules();
    if privileged {
        at_most("devices of the host", host.devices.len(), MAX_DEVICES)?;
        for device in &host.devices {
            devices.push(node(device)?);
        }
        rules.push(DeviceRule { allow: true, access: ALL.to_owned(), ..DeviceRule::default() });
    }
    for mapping in &options.devices {
        let device = node(&mapping.device)?;
        let access = access(mapping)?;
        // The host's are all there already.
        if privileged && devices.iter().any(|other| other.path == device.path) {
            continue;
        }
        if !privileged {
            rules.push(rule_of(&device, access));
        }
        devices.retain(|other| other.path != device.path);
        devices.push(device);
    }
    for text in &options.device_rules {
        let rule = device_rule(text)?;
        if !privileged {
            rules.push(rule);
        }
    }
    Ok((devices, rules))
}

fn default_rules() -> Vec<DeviceRule> {
    let deny = DeviceRule { allow: false, access: ALL.to_owned(), ..DeviceRule::default() };
    let rule = |(allow, major, minor)| DeviceRule {
        allow,
        type_: "c".to_owned(),
        major: Some(major),
        minor: Some(minor),
        access: ALL.to_owned(),
    };
    std::iter::once(deny).chain(DEFAULT_RULES.map(rule)).collect()
}

pub(crate) fn rule_of(device: &Device, access: String) -> DeviceRule {
    DeviceRule {
        allow: true,
        type_: device.type_.clone(),
        major: Some(device.major),
        minor: Some(device.minor),
        access,
    }
}

fn node(device: &HostDevice) -> Result<Device, Error> {
    let invalid = |reason: &str| Err(Error::invalid("device", &device.path, reason));
    let inside = !device.path.split('/').any(|part| part == "..");
    if !device.path.starts_with('/') || device.path.contains('\0') || !inside {
        return invalid("its path in the container is not absolute");
    }
    if !matches!(device.kind.as_str(), "c" | "b") {
        return invalid("it is neither a character nor a block device");
    }
    Ok(Device {
        path: device.path.clone(),
        type_: device.kind.clone(),
        major: device.major,
        minor: device.minor,
        file_mode: Some(device.mode & 0o7777),
        uid: Some(device.uid),
        gid: Some(device.gid),
    })
}

fn access(mapping: &DeviceMapping) -> Result<String, Error> {
    if mapping.access.is_empty() {
        return Ok(ALL.to_owned());
    }
    if !is_access(&mapping.access) {
        return Err(Error::invalid("device access", &mapping.access, "it is of the letters rwm, each once"));
    }
    Ok(mapping.access.clone())
}

/// Letters of `rwm`, each at most once.
pub(crate) fn is_access(text: &str) -> bool {
    let once = |c: char| text.matches(c).count() <= 1;
    !text.is_empty() && text.chars().all(|c| ALL.contains(c) && once(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(path: &str, minor: i64) -> HostDevice {
        HostDevice { path: path.into(), kind: "c".into(), major: 10, minor, mode: 0o20600, uid: 0, gid: 5 }
    }

    fn mapping(path: &str, access: &str) -> DeviceMapping {
        DeviceMapping { device: device(path, 229), access: access.into() }
    }

    #[test]
    fn a_device_brings_its_node_and_its_rule() {
        let options = Options {
            devices: vec![mapping("/dev/a", "rw"), mapping("/dev/b", "")],
            device_rules: vec!["c 10:* rmw".into()],
            ..Options::default()
        };
        let (devices, rules) = of(&options, &Host::default()).unwrap();
        assert_eq!((devices[0].file_mode, devices[1].gid), (Some(0o600), Some(5)));
        let last: Vec<_> =
            rules[8..].iter().map(|rule| (rule.minor.unwrap(), rule.access.as_str())).collect();
        assert_eq!(last, [(229, "rw"), (229, "rwm"), (-1, "rmw")]);
        assert!(!rules[0].allow && rules[1..7].iter().all(|rule| rule.allow) && !rules[7].allow);
    }

    #[test]
    fn privileged_containers_have_all_devices() {
        let mut options =
            Options { devices: vec![mapping("/dev/mine", "r"), mapping("/dev/x", "")], ..Options::default() };
        options.confinement.privileged = true;
        let host = Host { devices: vec![device("/dev/x", 1), device("/dev/y", 2)], ..Host::default() };
        let (devices, rules) = of(&options, &host).unwrap();
        let paths: Vec<_> = devices.iter().map(|device| device.path.as_str()).collect();
        assert_eq!(paths, ["/dev/x", "/dev/y", "/dev/mine"]);
        assert_eq!(devices[0].minor, 1);
        let last = rules.last().unwrap();
        assert!(last.allow && last.type_.is_empty() && last.access == "rwm" && rules.len() == 9);
    }

    #[test]
    fn devices_that_mean_nothing_are_refused() {
        for (path, access) in
            [("dev/a", ""), ("/dev/../a", ""), ("/a\0", ""), ("/a", "x"), ("/a", "rr"), ("/a", "rwmr")]
        {
            let options = Options { devices: vec![mapping(path, access)], ..Options::default() };
            assert!(of(&options, &Host::default()).is_err(), "{path:?} {access:?}");
        }
    }
}
