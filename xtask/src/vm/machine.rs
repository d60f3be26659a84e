//! What runs in the machine, and what came of it.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{BOOTS, FEATURES, Init, SUITES};

/// The programs of the suites, and the directory that they and the runtime are in.
pub(super) struct Built {
    directory: PathBuf,
    programs: Vec<(&'static str, PathBuf)>,
}

impl Built {
    /// Makes sure that the machine exists, and builds what runs in it.
    pub(super) fn new() -> Result<Self, Box<dyn Error>> {
        if !Command::new("scripts/vm/setup.sh").status()?.success() {
            return Err("there is no virtual machine: scripts/vm/setup.sh failed".into());
        }
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "gantry-runtime-bin", "--package", "gantry-testkit"]);
        build.args(["--package", "gantry-shim-bin", "--package", "gantryd", "--package", "gantry"]);
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
    pub(super) fn line(&self, suite: &str, filters: &[&str]) -> String {
        format!("echo 'suite {suite}'; {} {} || status=1", self.program(suite), filters.join(" "))
    }

    fn program(&self, suite: &str) -> String {
        let program = self.programs.iter().find(|(name, _)| *name == suite);
        let name = program.and_then(|(_, path)| path.file_name()).unwrap_or_default().to_string_lossy();
        format!("/host/deps/{name}")
    }

    /// The lines of a machine on which Gantry is installed: a test a boot, each of which ends the boot in another way.
    pub(super) fn installed(&self) -> Vec<String> {
        let program = self.program("engine");
        let suites: Vec<String> = (1..=BOOTS).map(|boot| format!("echo 'suite boot {boot}'")).collect();
        let lines = [
            "export GANTRY_INSTALLED=/usr/local/lib/gantry; export PATH=$PATH:$GANTRY_INSTALLED",
            "mkdir -p $GANTRY_INSTALLED; boot=$(cat /exchange/boot)",
            // On its own disk, and once: later boots have what was put in its place.
            "[ $boot != 1 ] || cp /host/gantry /host/gantryd /host/gantry-runtime \
             /host/containerd-shim-gantry-v2 $GANTRY_INSTALLED",
            // All are told at once, so that a boot that never comes is missed.
            &format!("[ $boot != 1 ] || {{ {}; }}", suites.join("; ")),
            &format!("{program} installed::boot_$boot || status=1"),
            "[ $status = 0 ] || { journalctl --no-pager --unit gantryd | tail -n 50; exit 1; }",
            "case $boot in",
            "1) : > /exchange/again; systemctl reboot; sleep 600 ;;",
            "2) : > /exchange/again; sync; echo b > /proc/sysrq-trigger; sleep 600 ;;",
            "esac",
        ];
        lines.map(str::to_owned).to_vec()
    }

    pub(super) fn run(
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
        // The machine is of this run alone.
        script.push("export GANTRY_ISOLATED=1".into());
        script.extend(kernel.map(|version| format!("export GANTRY_KERNEL_FEATURES={version}")));
        script.extend(lines);
        script.push("cat $GANTRY_TEST_SKIPS; exit $status".into());
        let mut command = Command::new("scripts/vm/run.sh");
        match init {
            Init::Plain => &mut command,
            Init::Systemd => command.arg("--systemd"),
            Init::Installed => command.arg("--installed"),
        };
        command.args(["--memory", "4096", "--seconds", &seconds.to_string(), "--share"]);
        // Tests have files beside their sources.
        command.arg(&self.directory).arg("--tree").arg(std::env::current_dir()?);
        command.arg("--").arg(script.join("\n"));
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
pub(super) struct Counts {
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
    pub(super) fn report(&self, name: &str) -> Result<String, Box<dyn Error>> {
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
