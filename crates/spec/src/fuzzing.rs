//! Entry points of the fuzz targets in `fuzz/`. Each panics where a promise is broken.

use gantry_types::oci::{Seccomp, Spec, from_json};

use crate::seccomp::{Conditions, Profile};
use crate::{Host, HostDevice, KernelVersion, Options, cdi, user};

/// A user's text, /etc/passwd and /etc/group, with a zero byte between them. What is found is in range, and a number is
/// what it says.
pub fn users(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (text, passwd, group) = (next(), next(), next());
    let Ok(text) = std::str::from_utf8(text) else { return };
    let found = user::resolve(text, passwd, group);
    if let Ok(found) = &found {
        assert!(found.uid <= user::MAX_ID && found.gid <= user::MAX_ID);
        assert!(found.additional_gids.iter().all(|gid| *gid <= user::MAX_ID));
        let (name, gid) = text.split_once(':').unwrap_or((text, ""));
        let says = |text: &str, id: u32| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            !digits || text.parse() == Ok(id)
        };
        assert!(says(name, found.uid) && says(gid, found.gid), "{text:?} is {found:?}");
        if !user::needs_files(text) {
            let bare = user::resolve(text, b"", b"").expect("numbers need no files");
            assert_eq!((bare.uid, bare.gid), (found.uid, found.gid));
        }
    }
    if let Ok(gids) = user::resolve_groups(&[text], group) {
        assert!(gids.iter().all(|gid| *gid <= user::MAX_ID));
    }
}

/// A profile in docker's format. What it comes to is read by the runtime as it was written.
pub fn profile(text: &str) {
    let Ok(profile) = Profile::parse(text) else { return };
    let kernel = KernelVersion { major: 5, minor: 10 };
    let all = crate::ALL_CAPABILITIES.map(str::to_owned);
    for capabilities in [&all[..0], &all[..10], &all[..]] {
        for architecture in ["amd64", "s390x", "none"] {
            let filter = profile.filter(&Conditions { capabilities, kernel, architecture });
            let Some(filter) = filter.expect("conditions were checked") else { continue };
            let written = serde_json::to_vec(&filter).expect("a filter is JSON");
            let read: Seccomp = from_json(&written).expect("a filter is read");
            assert_eq!(read, filter);
        }
    }
}

/// A CDI file: YAML, or JSON if it begins with a brace. Every device of it that can be given makes a configuration that
/// can be read again.
pub fn cdi(bytes: &[u8]) {
    let path = if bytes.first() == Some(&b'{') { "/fuzz/a.json" } else { "/fuzz/a.yaml" };
    let registry = cdi::Registry::load(&[cdi::File { path, priority: 0, bytes }]);
    let names: Vec<&str> = registry.devices().take(8).collect();
    assert!(names.iter().all(|name| cdi::is_device_name(name)), "{names:?}");
    let device = HostDevice { kind: "c".into(), major: 1, minor: 3, mode: 0o666, ..HostDevice::default() };
    let Ok(edits) = registry.edits(&names, |_| Some(device.clone())) else { return };
    let options = Options { args: vec!["true".into()], cdi: edits, ..Options::default() };
    let spec = crate::generate(&options, &Host::default()).expect("edits do not fail");
    let written = serde_json::to_vec(&spec).expect("a configuration is JSON");
    let read: Spec = from_json(&written).expect("a configuration is read");
    assert_eq!(read.mounts, spec.mounts);
    assert_eq!(read.process, spec.process);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_users_keep_the_promises(
            text in "(root|web|[0-9+-]{0,12})(:(staff|[0-9+-]{0,12}))?",
            passwd in "((root|web|[0-9]{1,11}):x:[0-9+-]{0,11}:[0-9]{0,11}:g:/h:/s\n){0,4}",
            group in "((staff|web|[0-9]{1,11}):x:[0-9+-]{0,11}:(web|root|,){0,3}\n){0,4}",
        ) {
            super::users([text, passwd, group].join("\0").as_bytes());
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            super::users(text.as_bytes());
            super::profile(&text);
            super::cdi(text.as_bytes());
        }
    }

    #[test]
    fn files_that_are_right_keep_the_promises() {
        super::profile(include_str!("../../../fuzz/seeds/docker_seccomp/full.json"));
        super::cdi(include_bytes!("../../../fuzz/seeds/cdi/full.json"));
        super::cdi(include_bytes!("../../../fuzz/seeds/cdi/full.yaml"));
        super::users(include_bytes!("../../../fuzz/seeds/users/named"));
    }
}
