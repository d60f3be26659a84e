//! The flags that stand before the command: where state is kept, who manages cgroups, what is logged where.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use crate::args::{Flag, Parsed};
use crate::failure::Failure;
use crate::log::{Format, Level, Log};

static DEBUG: Flag = Flag::switch(&["debug"], "log the steps, too");
static LOG: Flag = Flag::text(
    &["log"],
    "append the log to this file, or send it to 'journald:NAME' or 'syslog:NAME'; standard error if absent",
);
static LOG_FORMAT: Flag =
    Flag::text(&["log-format"], "shape of the log's lines: 'text' or 'json'").with_default("\"text\"");
static LOG_LEVEL: Flag =
    Flag::text(&["log-level"], "least severe level to log: 'error', 'warning' or 'debug'")
        .with_default("\"warning\"");
static ROOT: Flag = Flag::text(&["root"], "directory of the containers' states, on a tmpfs")
    .with_default("\"/run/gantry-runtime\"");
static SYSTEMD_CGROUP: Flag = Flag::switch(
    &["systemd-cgroup"],
    "let systemd make the cgroups; cgroupsPath then has the form \"slice:prefix:name\"",
);
static CGROUP_MANAGER: Flag =
    Flag::text(&["cgroup-manager"], "who makes the cgroups: 'cgroupfs', 'systemd' or 'disabled'")
        .with_default("\"cgroupfs\"");
static ROOTLESS: Flag =
    Flag::text(&["rootless"], "go on without permission for cgroups: 'true', 'false' or 'auto'")
        .with_default("\"auto\"");
static CRIU: Flag = Flag::text(&["criu"], "");
static VERSION: Flag = Flag::switch(&["version", "v", "V"], "print the version");

/// The table of the flags before the command.
pub(crate) static FLAGS: &[&Flag] = &[
    &DEBUG,
    &LOG,
    &LOG_FORMAT,
    &LOG_LEVEL,
    &ROOT,
    &SYSTEMD_CGROUP,
    &CGROUP_MANAGER,
    &ROOTLESS,
    &CRIU,
    &VERSION,
];

/// Whether lack of permission for cgroups is forgiven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rootless {
    /// If the caller is not root of the initial user namespace.
    Auto,
    Yes,
    No,
}

/// Who makes the cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CgroupManager {
    Cgroupfs,
    Systemd,
    Disabled,
}

/// The global flags' meaning.
#[derive(Debug)]
pub(crate) struct Globals {
    /// Absolute, without `.` and `..`.
    pub(crate) root: PathBuf,
    /// Whether the caller chose the root.
    pub(crate) root_is_given: bool,
    pub(crate) cgroup_manager: CgroupManager,
    pub(crate) rootless: Rootless,
}

/// Opens the log that the flags ask for. First of all, so that what else is wrong is logged there.
pub(crate) fn open_log(flags: &Parsed<'_>) -> Result<Log, Failure> {
    let format = match flags.text("log-format") {
        None | Some("text") => Format::Text,
        Some("json") => Format::Json,
        Some(other) => return Err(Failure::new(format!("invalid log-format: {other}"))),
    };
    let level = match flags.text("log-level") {
        _ if flags.switch("debug") => Level::Debug,
        None | Some("warning" | "warn" | "info") => Level::Warning,
        Some("error") => Level::Error,
        Some("debug") => Level::Debug,
        Some(other) => return Err(Failure::new(format!("unknown verbosity `{other}` specified"))),
    };
    Log::open(flags.text("log").unwrap_or_default(), format, level)
}

impl Globals {
    /// Reads the flags, and makes the default root of an ordinary user ready.
    pub(crate) fn read(flags: &Parsed<'_>) -> Result<Self, Failure> {
        let root_is_given = flags.is_set("root");
        let root =
            if root_is_given { given_root(flags.text("root").unwrap_or_default())? } else { default_root()? };
        Ok(Self {
            root,
            root_is_given,
            cgroup_manager: cgroup_manager(flags)?,
            rootless: rootless(flags.text("rootless").unwrap_or_default())?,
        })
    }
}

fn cgroup_manager(flags: &Parsed<'_>) -> Result<CgroupManager, Failure> {
    match flags.text("cgroup-manager") {
        Some("disabled") => Ok(CgroupManager::Disabled),
        Some("systemd") => Ok(CgroupManager::Systemd),
        None | Some("cgroupfs") if flags.switch("systemd-cgroup") => Ok(CgroupManager::Systemd),
        None | Some("cgroupfs") => Ok(CgroupManager::Cgroupfs),
        Some(other) => Err(Failure::new(format!("unknown cgroup manager {other:?}"))),
    }
}

fn rootless(text: &str) -> Result<Rootless, Failure> {
    match text.to_ascii_lowercase().as_str() {
        "" | "auto" => Ok(Rootless::Auto),
        "1" | "t" | "true" => Ok(Rootless::Yes),
        "0" | "f" | "false" => Ok(Rootless::No),
        _ => Err(Failure::new(format!(
            "invalid value {text:?} for flag -rootless: neither a boolean nor \"auto\""
        ))),
    }
}

fn given_root(text: &str) -> Result<PathBuf, Failure> {
    let root = absolute(Path::new(text))?;
    if root == Path::new("/") {
        return Err(Failure::new("Option --root argument should not be set to /"));
    }
    Ok(root)
}

/// Makes a path absolute and removes `.` and `..` by its text alone, as Go's `filepath.Abs` does.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let mut out = PathBuf::new();
    if !path.is_absolute() {
        out = std::env::current_dir().map_err(|error| Failure::of_path("getwd", path, &error))?;
    }
    for component in path.components() {
        match component {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    Ok(out)
}

/// `/run/gantry-runtime`, or an ordinary user's own directory.
fn default_root() -> Result<PathBuf, Failure> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty() && is_ordinary_user());
    let Some(directory) = own else { return Ok(PathBuf::from("/run/gantry-runtime")) };
    let root = Path::new(&directory).join("gantry-runtime");
    make_sticky(&root)?;
    Ok(root)
}

/// Makes the directory with the sticky bit, which tells those who tidy up `$XDG_RUNTIME_DIR` to leave it alone (XDG Base
/// Directory Specification).
fn make_sticky(root: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
    made.and_then(|()| fs::set_permissions(root, fs::Permissions::from_mode(0o1700))).map_err(|error| {
        Failure::of_path("mkdir", root, &error).during("$XDG_RUNTIME_DIR cannot hold our state")
    })
}

/// Whether the caller is not the host's root: another user, or root of a user namespace who does not call himself so.
fn is_ordinary_user() -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    is_partial_map(&map) && std::env::var_os("USER").is_none_or(|user| user != "root")
}

/// Whether a user namespace's map is not that of the initial one, which maps every id to itself.
fn is_partial_map(map: &str) -> bool {
    !map.is_empty() && !map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Flags, Kind, parse};

    fn flags(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn read(words: &[&str]) -> Result<Globals, String> {
        let words = flags(words);
        let parsed = parse(FLAGS, Flags::BeforeOperands, &words).unwrap().unwrap();
        open_log(&parsed).and_then(|_| Globals::read(&parsed)).map_err(|failure| failure.message)
    }

    #[test]
    fn the_cgroup_manager_is_named_in_two_ways() {
        for (words, expect) in [
            (&["--root=/r"][..], CgroupManager::Cgroupfs),
            (&["--root=/r", "--systemd-cgroup"], CgroupManager::Systemd),
            (&["--root=/r", "--systemd-cgroup=false"], CgroupManager::Cgroupfs),
            (&["--root=/r", "--cgroup-manager=systemd"], CgroupManager::Systemd),
            (&["--root=/r", "--cgroup-manager", "disabled", "--systemd-cgroup"], CgroupManager::Disabled),
        ] {
            assert_eq!(read(words).unwrap().cgroup_manager, expect, "{words:?}");
        }
        assert!(read(&["--root=/r", "--cgroup-manager=launchd"]).is_err());
    }

    #[test]
    fn roots_are_made_absolute_by_their_text() {
        for (text, expect) in [("/a/../b/./c/", "/b/c"), ("/a/b/../..//c", "/c"), ("/../x", "/x")] {
            assert_eq!(read(&["--root", text]).unwrap().root, Path::new(expect));
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(read(&["--root", "x"]).unwrap().root, here.join("x"));
        for text in ["/", "/x/..", "/../.."] {
            assert!(read(&["--root", text]).unwrap_err().contains("should not be set to /"));
        }
    }

    #[test]
    fn the_root_may_be_the_working_directory_by_an_empty_name() {
        assert_eq!(read(&["--root", ""]).unwrap().root, std::env::current_dir().unwrap());
    }

    #[test]
    fn rootless_is_a_truth_value_or_auto() {
        for (text, expect) in [
            ("", Rootless::Auto),
            ("AUTO", Rootless::Auto),
            ("true", Rootless::Yes),
            ("1", Rootless::Yes),
            ("False", Rootless::No),
        ] {
            assert_eq!(rootless(text).unwrap(), expect, "{text}");
        }
        assert!(rootless("maybe").is_err());
    }

    #[test]
    fn wrong_log_flags_are_refused() {
        for words in [&["--root=/r", "--log-format=xml"], &["--root=/r", "--log-level=loud"]] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn only_the_identity_of_all_ids_is_the_initial_namespace() {
        assert!(!is_partial_map("         0          0 4294967295\n"));
        assert!(is_partial_map("         0       1000          1\n"));
        assert!(is_partial_map("0 1000 1\n1 100000 65536\n"));
        assert!(!is_partial_map(""));
    }

    #[test]
    fn every_flag_is_a_switch_or_a_text() {
        assert!(FLAGS.iter().all(|flag| matches!(flag.kind, Kind::Switch | Kind::Text)));
    }
}
