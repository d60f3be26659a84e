//! Tests in the virtual machine of `scripts/vm`: cgroup v2 with every controller, systemd, AppArmor, all capabilities.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What runs in every gate, in about a minute: each of the machine's abilities once.
const SMOKE: &[(&str, &[&str])] = &[
    ("cgroup", &["limits::blockIO", "limits::cpu", "limits::memory", "limits::pids"]),
    (
        "runtime",
        &[
            "apparmor::",
            "limits::limits_of",
            "limits::the_memory_limit_kills",
            "limits::block_throttles",
            "systemd::",
            "update::every_flag",
        ],
    ),
    ("shim", &["cause::", "handed::", "limits::", "sandbox::"]),
];

/// How the suites run in `conformance`: the first process, and a lower kernel version for the runtime.
const PASSES: &[(Init, Option<&str>)] =
    &[(Init::Plain, None), (Init::Systemd, None), (Init::Plain, Some("5.10"))];

/// The first process of the virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Init {
    Plain,
    Systemd,
}

/// A program of tests: its name here, its package, its target.
const SUITES: &[(&str, &str, &str)] = &[
    ("cgroup", "gantry-cgroup", "it"),
    ("runtime", "gantry-runtime-bin", "it"),
    ("security", "gantry-runtime-bin", "security"),
    ("shim", "gantry-shim-bin", "it"),
];
/// As the gate builds them, so that nothing is built twice.
const FEATURES: &str = "gantry-runtime-bin/failpoints";
const SMOKE_SECONDS: u32 = 300;
const PASS_SECONDS: u32 = 1800;

/// A short look at what the host cannot have; what came of it in a line.
pub(crate) fn smoke() -> Result<String, Box<dyn Error>> {
    let built = Built::new()?;
    let script = SMOKE.iter().map(|(suite, filters)| built.line(suite, filters)).collect();
    let counts = built.run(Init::Systemd, None, SMOKE_SECONDS, script)?;
    counts.report("virtual machine")
}

/// Every test of the cgroups, of the runtime and of the shim, under each first process and with the paths for old kernels.
pub(crate) fn conformance() -> Result<(), Box<dyn Error>> {
    let built = Built::new()?;
    let mut failed = Vec::new();
    for &(init, kernel) in PASSES {
        let name = format!("{init:?} init, kernel features {}", kernel.unwrap_or("as they are"));
        println!("virtual machine, {name}");
        let script = SUITES.iter().map(|(suite, ..)| built.line(suite, &[])).collect();
        let counts = built.run(init, kernel, PASS_SECONDS, script)?;
        failed.extend(counts.report(&name).err());
    }
    let mut reasons = failed.iter().map(ToString::to_string).collect::<Vec<_>>();
    if reasons.is_empty() {
        return Ok(());
    }
    reasons.insert(0, "conformance in the virtual machine:".into());
    Err(reasons.join("\n  ").into())
}

/// The programs of the suites, and the directory that they and the runtime are in.
struct Built {
    directory: PathBuf,
    programs: Vec<(&'static str, PathBuf)>,
}

impl Built {
    /// Makes sure that the machine exists, and builds what runs in it.
    fn new() -> Result<Self, Box<dyn Error>> {
        if !Command::new("scripts/vm/setup.sh").status()?.success() {
            return Err("there is no virtual machine: scripts/vm/setup.sh failed".into());
        }
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "gantry-runtime-bin", "--package", "gantry-testkit"]);
        build.args(["--package", "gantry-shim-bin"]);
        if !build.args(["--features", FEATURES]).status()?.success() {
            return Err("cargo build failed".into());
        }
        let mut programs = Vec::new();
        for &(suite, package, target) in SUITES {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["test", "--no-run", "--quiet", "--message-format=json", "--package", package]);
            cargo.args(["--test", target]);
            if package == "gantry-runtime-bin" {
                cargo.args(["--features", FEATURES]);
            }
            let output = cargo.stderr(Stdio::inherit()).output()?;
            let program = String::from_utf8_lossy(&output.stdout).lines().find_map(executable);
            programs.push((suite, program.ok_or_else(|| format!("{package} has no test {target}"))?));
        }
        let directory = programs.first().and_then(|(_, path)| path.parent()?.parent());
        let directory = directory.ok_or("cargo's directory")?.to_owned();
        Ok(Self { directory, programs })
    }

    /// The shell's line that runs a suite.
    fn line(&self, suite: &str, filters: &[&str]) -> String {
        let program = self.programs.iter().find(|(name, _)| *name == suite);
        let name = program.and_then(|(_, path)| path.file_name()).unwrap_or_default().to_string_lossy();
        format!("echo 'suite {suite}'; /host/deps/{name} {} || status=1", filters.join(" "))
    }

    fn run(
        &self,
        init: Init,
        kernel: Option<&str>,
        seconds: u32,
        lines: Vec<String>,
    ) -> Result<Counts, Box<dyn Error>> {
        // systemd forbids device nodes in /tmp, and containers' roots have some.
        let mut script =
            vec!["mount -t tmpfs -o mode=1777 tests /mnt; cd /mnt; export TMPDIR=/mnt; status=0".to_owned()];
        script.push("export GANTRY_TEST_SKIPS=/mnt/skips; : > $GANTRY_TEST_SKIPS".into());
        script.push("export GANTRY_SHIM=/host/containerd-shim-gantry-v2".into());
        script.extend(kernel.map(|version| format!("export GANTRY_KERNEL_FEATURES={version}")));
        script.extend(lines);
        script.push("cat $GANTRY_TEST_SKIPS; exit $status".into());
        let mut command = Command::new("scripts/vm/run.sh");
        if init == Init::Systemd {
            command.arg("--systemd");
        }
        command.args(["--memory", "3072", "--seconds", &seconds.to_string(), "--share"]);
        command.arg(&self.directory).arg("--").arg(script.join("\n"));
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut counts = Counts::default();
        for line in BufReader::new(child.stdout.take().ok_or("no output")?).lines() {
            let line = line?;
            // The list of skipped tests at the end repeats what one of the harnesses has said.
            let repeated = counts.skips.contains(&line);
            counts.read(&line);
            if !line.ends_with(" ... ok") && !line.is_empty() && !repeated {
                println!("{line}");
            }
        }
        counts.status = child.wait()?.code();
        Ok(counts)
    }
}

/// The program of a test, from one of cargo's messages.
fn executable(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let of_test = message["target"]["kind"].as_array()?.iter().any(|kind| kind == "test");
    message["executable"].as_str().filter(|_| of_test).map(|path| Path::new(path).to_owned())
}

#[derive(Debug, Default)]
struct Counts {
    passed: usize,
    failed: usize,
    /// The tests that left early, which count as passed in the results.
    skips: BTreeSet<String>,
    suites: usize,
    results: usize,
    status: Option<i32>,
}

impl Counts {
    /// Adds up lines that are results, and knows the beginnings of suites.
    fn read(&mut self, line: &str) {
        if line.starts_with("SKIP ") {
            self.skips.insert(line.to_owned());
        }
        self.suites += usize::from(line.starts_with("suite "));
        let Some((passed, failed)) = crate::gate::results(line) else { return };
        self.results += 1;
        self.passed += passed;
        self.failed += failed;
    }

    /// An error unless every suite ran to its end, and something passed.
    fn report(&self, name: &str) -> Result<String, Box<dyn Error>> {
        let passed = self.passed.saturating_sub(self.skips.len());
        let summary =
            format!("{name}: {passed} passed, {} failed, {} skipped", self.failed, self.skips.len());
        println!("{summary}");
        if self.status == Some(0) && self.failed == 0 && passed > 0 && self.results == self.suites {
            return Ok(summary);
        }
        Err(format!("{summary}; exit status {:?}", self.status).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let mut counts = Counts { status: Some(0), ..Counts::default() };
        for line in [
            "suite cgroup",
            "SKIP cgroup::b: needs hugetlb",
            "test result: ok. 48 passed; 0 failed; 1 skipped []",
            "suite runtime",
            "test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 412 filtered out; finished in 18.45s",
            "SKIP it::a: needs cgroup v1",
        ] {
            counts.read(line);
        }
        assert_eq!((counts.passed, counts.skips.len()), (88, 2));
        counts.report("both").unwrap();
        counts.read("suite security");
        counts.report("one that never ended").unwrap_err();
    }
}
