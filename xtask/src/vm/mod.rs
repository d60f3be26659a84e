//! Tests in the virtual machine of `scripts/vm`: cgroup v2 with every controller, systemd, AppArmor, all capabilities.

mod machine;

use std::error::Error;

use machine::Built;

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
    ("engine", &["engine::apparmor::", "engine::restarts::"]),
];

/// How the suites run in `conformance`.
const PASSES: &[Pass] = &[
    Pass { init: Init::Plain, kernel: None, suites: BELOW },
    Pass { init: Init::Systemd, kernel: None, suites: BELOW },
    Pass { init: Init::Plain, kernel: Some("5.10"), suites: BELOW },
    Pass { init: Init::Plain, kernel: None, suites: ENGINE },
    Pass { init: Init::Systemd, kernel: None, suites: ENGINE },
];

/// One life of the machine: its first process, a lower kernel version for the runtime, and what runs.
struct Pass {
    init: Init,
    kernel: Option<&'static str>,
    suites: &'static [(&'static str, &'static [&'static str])],
}

/// Everything from the cgroups up to the shim.
const BELOW: &[(&str, &[&str])] = &[("cgroup", &[]), ("runtime", &[]), ("security", &[]), ("shim", &[])];
/// Docker's client in front of the engine, and dockerd in front of its tasks.
const ENGINE: &[(&str, &[&str])] =
    &[("engine", &["engine::", "build::", "tasks::docker::", "tasks::life::"])];

/// The first process of the virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Init {
    Plain,
    Systemd,
    /// systemd with every unit that is enabled, and a disk that outlives boots.
    Installed,
}

/// A program of tests: its name here, its package, its target.
const SUITES: &[(&str, &str, &str)] = &[
    ("cgroup", "gantry-cgroup", "it"),
    ("runtime", "gantry-runtime-bin", "it"),
    ("security", "gantry-runtime-bin", "security"),
    ("shim", "gantry-shim-bin", "it"),
    ("engine", "gantry-e2e", "it"),
];
/// Boots of the machine on which Gantry is installed: a reboot and a power cut are between them.
const BOOTS: u32 = 3;
/// As the gate builds them, so that nothing is built twice.
const FEATURES: &str = "gantry-runtime-bin/failpoints";
const SMOKE_SECONDS: u32 = 600;
const PASS_SECONDS: u32 = 1800;

/// A short look at what the host cannot have; what came of it in a line.
pub(crate) fn smoke() -> Result<String, Box<dyn Error>> {
    let built = Built::new()?;
    let script = SMOKE.iter().map(|(suite, filters)| built.line(suite, filters)).collect();
    let counts = built.run(Init::Systemd, None, SMOKE_SECONDS, script)?;
    counts.report("virtual machine")
}

/// Every test of the cgroups, of the runtime, of the shim and of the engine, under each first process, the lower ones with the
/// paths for old kernels, too; and an installation, through a reboot and a power cut.
pub(crate) fn conformance() -> Result<(), Box<dyn Error>> {
    let built = Built::new()?;
    let mut failed = Vec::new();
    for &Pass { init, kernel, suites } in PASSES {
        let first = suites.first().map_or("", |(name, _)| name);
        let name = format!("{first}, {init:?} init, kernel features {}", kernel.unwrap_or("as they are"));
        println!("virtual machine, {name}");
        let script = suites.iter().map(|(suite, filters)| built.line(suite, filters)).collect();
        let counts = built.run(init, kernel, PASS_SECONDS, script)?;
        failed.extend(counts.report(&name).err());
    }
    println!("virtual machine, installed");
    let counts = built.run(Init::Installed, None, PASS_SECONDS, built.installed())?;
    failed.extend(counts.report("installed").err());
    let mut reasons = failed.iter().map(ToString::to_string).collect::<Vec<_>>();
    if reasons.is_empty() {
        return Ok(());
    }
    reasons.insert(0, "conformance in the virtual machine:".into());
    Err(reasons.join("\n  ").into())
}
