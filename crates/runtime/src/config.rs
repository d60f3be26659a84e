//! Reading a bundle's `config.json`.

use std::io::Read;
use std::path::{Path, PathBuf};

use gantry_types::oci::Spec;
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};

use crate::error::Error;

/// The largest configuration that is read, in bytes. docker's is 20 KiB; one with 10,000 mounts has 2 MiB.
pub const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// The name of the configuration in a bundle.
pub const CONFIG_FILE: &str = "config.json";

/// A bundle's directory and its configuration.
#[derive(Debug)]
pub struct Bundle {
    /// Absolute path, without links.
    pub path: PathBuf,
    /// The configuration.
    pub spec: Spec,
    /// Its text.
    pub text: Vec<u8>,
}

impl Bundle {
    /// Reads the configuration of the bundle at `path`, or the one of `config` in its stead.
    ///
    /// # Errors
    /// InvalidArgument for a configuration that is too large, not JSON, or has a value of the wrong type, naming the
    /// field; NotFound.
    pub fn load(path: &Path, config: Option<&Path>) -> Result<Self, Error> {
        let path = path.canonicalize().map_err(|error| Error::Io {
            what: format!("bundle {}", path.display()),
            failure: crate::error::Failure(errno(&error)),
        })?;
        let file = config.map_or_else(|| path.join(CONFIG_FILE), Path::to_path_buf);
        let text = read_limited(&file, MAX_CONFIG_BYTES)?;
        Ok(Bundle { path, spec: parse(&text)?, text })
    }
}

pub(crate) fn errno(error: &std::io::Error) -> gantry_sys::Errno {
    gantry_sys::Errno::from_io_error(error).unwrap_or(gantry_sys::Errno::IO)
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let named = |what: &str| format!("{what} {}", path.display());
    // A FIFO must not hold us up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(Error::io(named("open")))?;
    let stat = fstat(&file).map_err(Error::io(named("stat")))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(Error::config(path.display().to_string(), "not a regular file"));
    }
    let size = stat.st_size as u64;
    let mut text = Vec::with_capacity(size.min(limit) as usize + 1);
    std::fs::File::from(file)
        .take(limit + 1)
        .read_to_end(&mut text)
        .map_err(|error| Error::Io { what: named("read"), failure: crate::error::Failure(errno(&error)) })?;
    if text.len() as u64 > limit {
        return Err(Error::config(path.display().to_string(), format!("larger than {limit} bytes")));
    }
    Ok(text)
}

/// Parses a configuration.
///
/// # Errors
/// InvalidArgument, naming the field and the place.
pub fn parse(text: &[u8]) -> Result<Spec, Error> {
    parse_json(text, CONFIG_FILE)
}

/// Parses JSON; on failure once more, to find out which field it was.
pub(crate) fn parse_json<'de, T: serde::Deserialize<'de>>(text: &'de [u8], name: &str) -> Result<T, Error> {
    gantry_types::oci::from_json(text).map_err(|error| {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        match serde_path_to_error::deserialize::<_, T>(gantry_types::oci::Strict(&mut deserializer)) {
            Err(located) if located.path().iter().next().is_some() => {
                Error::config(format!("{name}: {}", located.path()), located.inner().to_string())
            }
            _ => Error::config(name, error.to_string()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_types_are_errors_that_name_the_field() {
        let error = parse(br#"{"ociVersion":"1.0","process":{"user":{"uid":"zero"}}}"#).unwrap_err();
        assert!(error.to_string().contains("process.user.uid"), "{error}");
        assert_eq!(error.kind(), gantry_types::ErrorKind::InvalidArgument);
    }

    #[test]
    fn nulls_and_unknown_fields_are_accepted() {
        let text = br#"{"ociVersion":"1.0","mounts":null,"zz":{"a":[1]},"process":{"capabilities":{"bounding":null}}}"#;
        assert!(parse(text).unwrap().mounts.is_empty());
    }

    #[test]
    fn wrong_types_are_refused_everywhere() {
        for text in [
            "",
            "null",
            "true",
            "3",
            r#""x""#,
            "[]",
            "{}{}",
            r#"{"ociVersion":1}"#,
            r#"{"process":"x"}"#,
            r#"{"process":{"args":"x"}}"#,
            r#"{"process":{"args":[1]}}"#,
            r#"{"process":{"args":{"0":"x"}}}"#,
            r#"{"process":{"terminal":"true"}}"#,
            r#"{"process":{"terminal":1}}"#,
            r#"{"process":{"user":{"uid":-1}}}"#,
            r#"{"process":{"user":{"uid":4294967296}}}"#,
            r#"{"process":{"user":{"uid":1.0}}}"#,
            r#"{"process":{"user":{"uid":1e3}}}"#,
            r#"{"process":{"user":{"uid":"0"}}}"#,
            r#"{"process":{"user":{"additionalGids":[-1]}}}"#,
            r#"{"process":{"rlimits":[{"type":"RLIMIT_NOFILE","soft":18446744073709551616}]}}"#,
            r#"{"process":{"consoleSize":{"height":65536}}}"#,
            r#"{"process":{"oomScoreAdj":2147483648}}"#,
            r#"{"root":"rootfs"}"#,
            r#"{"mounts":{}}"#,
            r#"{"mounts":[{"destination":["/a"]}]}"#,
            r#"{"mounts":[{"options":"ro"}]}"#,
            r#"{"hooks":[]}"#,
            r#"{"hooks":{"prestart":{}}}"#,
            r#"{"hooks":{"poststop":[{"timeout":"1"}]}}"#,
            r#"{"annotations":{"a":1}}"#,
            r#"{"annotations":["a"]}"#,
            r#"{"linux":{"sysctl":{"a":1}}}"#,
            r#"{"linux":{"namespaces":[{"type":7}]}}"#,
            r#"{"linux":{"uidMappings":[{"size":4294967296}]}}"#,
            r#"{"linux":{"devices":[{"major":"1"}]}}"#,
            r#"{"linux":{"resources":{"pids":{"limit":"1"}}}}"#,
            r#"{"linux":{"resources":{"memory":{"limit":9223372036854775808}}}}"#,
            r#"{"linux":{"netDevices":["eth0"]}}"#,
            r#"{"linux":{"intelRdt":{"schemata":"L3:0=f"}}}"#,
            r#"{"linux":{"timeOffsets":{"boottime":{"nanosecs":-1}}}}"#,
        ] {
            let error = parse(text.as_bytes()).expect_err(text);
            assert_eq!(error.kind(), gantry_types::ErrorKind::InvalidArgument, "{text}");
        }
    }

    #[test]
    fn text_that_is_not_utf_8_is_refused() {
        assert!(parse(b"{\"hostname\":\"\xff\"}").is_err());
        assert!(parse(b"{\"hostname\":\"\\ud800\"}").is_err());
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = |open: &str, close: &str, count| format!("{}{}", open.repeat(count), close.repeat(count));
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            // A field that nobody knows may be of any depth; a field of ours may not.
            let middle = if open == "[" { "" } else { "1" };
            let nested = deep(open, "", 400_000) + middle + &deep("", close, 400_000);
            assert!(parse(format!("{{\"zz\":{nested}}}").as_bytes()).is_ok());
            for field in ["annotations", "mounts", "process", "root", "hooks", "linux"] {
                // As an object, a structure of ours has fields that nobody knows.
                let known = open == "[" || matches!(field, "annotations" | "mounts");
                let read = parse(format!("{{\"{field}\":{nested}}}").as_bytes());
                assert_eq!(read.is_err(), known, "{field} {open}");
            }
            let seccomp = format!("{{\"linux\":{{\"seccomp\":{nested}}}}}");
            let linux = parse(seccomp.as_bytes()).unwrap().linux.unwrap();
            let profile = linux.seccomp.unwrap();
            let read = parse_json::<gantry_types::oci::Seccomp>(profile.get().as_bytes(), "s");
            assert_eq!(read.is_err(), open == "[");
        }
    }

    #[test]
    fn large_files_and_other_things_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        std::fs::File::create(&file).unwrap().set_len(MAX_CONFIG_BYTES + 1).unwrap();
        let error = Bundle::load(dir.path(), None).unwrap_err();
        assert!(error.to_string().contains("larger than"), "{error}");
        std::fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(CWD, &file, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(Bundle::load(dir.path(), None).is_err());
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(Bundle::load(dir.path(), None).is_err());
        assert!(Bundle::load(dir.path(), Some(Path::new("/dev/zero"))).is_err());
        assert!(Bundle::load(&dir.path().join("gone"), None).is_err());
    }

    /// A configuration with something of everything.
    const SAMPLE: &str = r#"{"ociVersion":"1.0.2","process":{"terminal":true,"user":{"uid":1,"additionalGids":[5]},
        "args":["sh"],"env":["PATH=/bin","A=b"],"cwd":"/","capabilities":{"bounding":["CAP_KILL"]},
        "rlimits":[{"type":"RLIMIT_NOFILE","hard":1024,"soft":1024}],"scheduler":{"policy":"SCHED_FIFO","priority":3},
        "ioPriority":{"class":"IOPRIO_CLASS_BE","priority":4},"execCPUAffinity":{"initial":"0-3,7"}},
        "root":{"path":"rootfs"},"hostname":"h","mounts":[{"destination":"/proc","type":"proc","source":"proc"},
        {"destination":"/a/../b","type":"tmpfs","options":["nosuid","size=64k","rro"]}],"linux":{"sysctl":{"net.a":"1"},
        "namespaces":[{"type":"pid"},{"type":"network"},{"type":"user"},{"type":"time"}],
        "uidMappings":[{"containerID":0,"hostID":1,"size":10}],"gidMappings":[{"containerID":0,"hostID":1,"size":10}],
        "devices":[{"path":"/dev/x","type":"c","major":1,"minor":2}],"timeOffsets":{"boottime":{"secs":1}},
        "netDevices":{"eth0":{"name":"e"}},"maskedPaths":["/proc/x"],"intelRdt":{"closID":"c","schemata":["L3:0=f"]}}}"#;

    proptest::proptest! {
        #[test]
        fn no_damage_to_a_configuration_breaks_its_reader(
            edits in proptest::collection::vec((0..SAMPLE.len(), proptest::prelude::any::<u8>()), 1..6),
            cut in 0..SAMPLE.len() * 2,
        ) {
            let mut text = SAMPLE.as_bytes().to_vec();
            edits.into_iter().for_each(|(at, byte)| text[at] = byte);
            text.truncate(cut.max(1));
            if let Ok(spec) = parse(&text) {
                crate::fuzzing::plan(&spec);
            }
        }

        #[test]
        fn no_value_in_the_place_of_another_breaks_the_reader(
            at in 0..64usize,
            value in proptest::sample::select(vec![
                "null", "0", "-1", "4294967295", "18446744073709551615", "\"\"", "\"/\"", "\"0-99999999\"",
                "\"\\u0000\"", "[]", "[null]", "{}", "\"../../..\"", "\"99999999999999999999999-1\"",
            ]),
        ) {
            let parts: Vec<&str> = SAMPLE.split(':').collect();
            let at = 1 + at % (parts.len() - 1);
            let part = parts[at];
            // What stands behind a colon is a value up to the next comma or bracket, more or less.
            let end = part.find([',', '}', ']']).unwrap_or(part.len());
            let changed = format!("{value}{}", &part[end..]);
            let mut parts: Vec<&str> = parts.clone();
            parts[at] = &changed;
            if let Ok(spec) = parse(parts.join(":").as_bytes()) {
                crate::fuzzing::plan(&spec);
            }
        }
    }

    #[test]
    fn the_sample_is_whole() {
        crate::fuzzing::plan(&parse(SAMPLE.as_bytes()).unwrap());
    }
}
