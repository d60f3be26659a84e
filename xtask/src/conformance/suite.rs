//! The suites: into which parts each is divided, and how a part is run.

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::output::Format;

/// A suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// youki's tests/contest: one part a group.
    Contest,
    /// The validation of opencontainers/runtime-tools: one part a program.
    RuntimeTools,
    /// crun's Python tests: one part a file.
    Crun,
    /// runc's tests/integration: one part a file.
    Bats,
    /// containerd's integration/client: one part a file.
    Containerd,
}

/// A piece of a suite that runs by itself.
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) command: Vec<OsString>,
}

/// Parts with a test that takes all the others along, and the others: `cgroup_test` panics on cgroup v1, and
/// `seccomp-listener` waits without an end for what `docs/conformance.md` says that it will not get.
const SELECTED: &[(Suite, &str, &[&str])] = &[
    (
        Suite::Contest,
        "exec",
        &[
            "preserve_fds_test",
            "ignore_paused_test",
            "no_capabilities_test",
            "unset_bounding_capabilities_test",
            "new_privileges_test",
            "some_capabilities_test",
            "capabilities_by_flag_test_case1",
            "capabilities_by_flag_test_case2",
            "mount_test",
        ],
    ),
    (
        Suite::Crun,
        "seccomp",
        &[
            "seccomp-block-syscall",
            "seccomp-allow-default",
            "seccomp-architectures",
            "seccomp-log-action",
            "seccomp-kill-action",
            "seccomp-syscall-args",
            "seccomp-multiple-syscalls",
            "seccomp-errno-default",
            "seccomp-comparison-ops",
            "seccomp-flags",
            "annotation-seccomp-fail-unknown-syscall",
        ],
    ),
];

impl Suite {
    const ALL: [Suite; 5] =
        [Suite::Contest, Suite::RuntimeTools, Suite::Crun, Suite::Bats, Suite::Containerd];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Suite::Contest => "contest",
            Suite::RuntimeTools => "runtime-tools",
            Suite::Crun => "crun",
            Suite::Bats => "bats",
            Suite::Containerd => "containerd",
        }
    }

    pub(crate) fn format(self) -> Format {
        match self {
            Suite::Contest => Format::Contest,
            Suite::Containerd => Format::Go,
            _ => Format::Tap,
        }
    }

    /// Whether what is tested is a daemon, not a runtime.
    pub(crate) fn is_of_daemons(self) -> bool {
        self == Suite::Containerd
    }

    /// The view of a hybrid host's cgroups: crun refuses one whose unified tree has controllers.
    pub(crate) fn view(self) -> &'static str {
        if self == Suite::Crun { "v1" } else { "hybrid" }
    }

    /// Whether the parts run on a terminal: many of runc's tests want a controlling one.
    pub(crate) fn has_terminal(self) -> bool {
        self == Suite::Bats
    }

    /// Whether the tests look for the name of runc.
    pub(crate) fn wants_runc(self) -> bool {
        self == Suite::Bats
    }

    /// Whether a part's own success is a result, and its tests are told only if it has none: they are many, and a
    /// program that dies early says nothing of those that it did not come to.
    pub(crate) fn counts_parts(self) -> bool {
        self == Suite::RuntimeTools
    }

    /// The longest that a part may take.
    pub(crate) fn limit_seconds(self) -> u32 {
        match self {
            Suite::Contest | Suite::RuntimeTools => 120,
            Suite::Crun | Suite::Containerd => 300,
            // idmap.bats unpacks a Debian for each of its tests.
            Suite::Bats => 900,
        }
    }

    /// What is set for the suite's programs.
    pub(crate) fn environment(self, directory: &Path, runtime: &Path) -> Vec<(&'static str, PathBuf)> {
        match self {
            Suite::Contest => vec![("RUNTIME_KIND", "runc".into())],
            Suite::RuntimeTools => vec![("RUNTIME", runtime.into())],
            Suite::Crun => vec![
                ("OCI_RUNTIME", runtime.into()),
                ("INIT", directory.join("tests/init")),
                ("PYTHONUNBUFFERED", "1".into()),
                ("PYTHONDONTWRITEBYTECODE", "1".into()),
            ],
            Suite::Bats => vec![("RUNC", runtime.into())],
            Suite::Containerd => Vec::new(),
        }
    }

    pub(crate) fn parts(self, directory: &Path, runtime: &Path) -> Result<Vec<Part>, Box<dyn Error>> {
        match self {
            Suite::Contest => contest(directory, runtime),
            Suite::RuntimeTools => files(&directory.join("validation"), |path| {
                let name = path.file_name()?.to_str()?.to_owned();
                let program = path.join(format!("{name}.t"));
                program.is_file().then(|| Part { name, command: vec![program.into()] })
            }),
            Suite::Crun => files(&directory.join("tests"), |path| {
                let name = path.file_name()?.to_str()?.strip_prefix("test_")?.strip_suffix(".py")?.to_owned();
                let tests = selected(self, &name).map(|tests| format!("RUN_TESTS={}", tests.join(" ")));
                // What hangs leaves a directory behind for the next process of the same number to trip over.
                let mut command: Vec<OsString> = vec!["env".into(), "--chdir=/tmp".into()];
                command.extend(tests.map(OsString::from));
                command.extend(["python3".into(), path.into()]);
                Some(Part { name, command })
            }),
            Suite::Bats => files(&directory.join("tests/integration"), |path| {
                let name = path.file_name()?.to_str()?.strip_suffix(".bats")?.to_owned();
                // bats' limit for a test is a child for which those wait that wait for all their children. Without it
                // what hangs takes the rest of its file along.
                let limit = if name == "checkpoint" { "BATS_TEST_TIMEOUT=60 " } else { "" };
                let command = format!("{limit}bats --formatter tap {}", path.display());
                let script = ["script", "--quiet", "--return", "--command", &command, "/dev/null"];
                Some(Part { name, command: script.map(OsString::from).into() })
            }),
            Suite::Containerd => containerd(directory, runtime),
        }
    }
}

fn selected(suite: Suite, part: &str) -> Option<&'static [&'static str]> {
    SELECTED.iter().find(|row| (row.0, row.1) == (suite, part)).map(|row| row.2)
}

fn contest(directory: &Path, runtime: &Path) -> Result<Vec<Part>, Box<dyn Error>> {
    let program = directory.join("contest");
    let output = Command::new(&program)
        .arg("list")
        .current_dir(directory)
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let mut parts = Vec::new();
    for name in String::from_utf8(output.stdout)?.lines() {
        let mut command: Vec<OsString> = vec![program.clone().into(), "run".into()];
        command.extend(["--runtime".into(), runtime.into()]);
        command.extend(["--runtimetest".into(), directory.join("runtimetest").into()]);
        let tests = selected(Suite::Contest, name).map(|tests| format!("{name}::{}", tests.join(",")));
        command.extend(["--tests".into(), tests.unwrap_or_else(|| name.to_owned()).into()]);
        parts.push(Part { name: name.to_owned(), command });
    }
    Ok(parts)
}

fn containerd(directory: &Path, daemon: &Path) -> Result<Vec<Part>, Box<dyn Error>> {
    let script = Path::new("scripts/containerd-suite.sh").canonicalize()?;
    let sources = directory.join("integration/client");
    let chdir = format!("--chdir={}", sources.display());
    files(&sources, |path| {
        let name = path.file_name()?.to_str()?.strip_suffix("_test.go")?;
        // Nothing of them is in the program.
        let name = Some(name).filter(|name| !name.ends_with("_windows") && !name.ends_with("_fuzz"))?;
        let text = std::fs::read_to_string(path).ok()?;
        let tests: Vec<&str> = text.lines().filter_map(test_in_go).collect();
        let mut command: Vec<OsString> = vec!["env".into(), chdir.clone().into(), script.clone().into()];
        command.extend([daemon.into(), directory.join("bin").into()]);
        command.extend(["-test.v=test2json", "-test.timeout=270s", "-test.run"].map(OsString::from));
        command.push(format!("^({})$", tests.join("|")).into());
        (!tests.is_empty()).then(|| Part { name: name.to_owned(), command })
    })
}

/// The name of a test that a line defines.
fn test_in_go(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("func Test")?;
    let name = &line["func ".len()..line.find('(')?];
    rest.contains("*testing.T)").then_some(name)
}

fn files(directory: &Path, part: impl Fn(&Path) -> Option<Part>) -> Result<Vec<Part>, Box<dyn Error>> {
    let entries =
        std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort();
    Ok(paths.iter().filter_map(|path| part(path)).collect())
}
