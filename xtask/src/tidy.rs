//! The rules of the house that no compiler checks.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of our crates each crate may use: the table of ARCHITECTURE.md, Code map.
const ARROWS: &[(&str, &[&str])] = &[
    ("gantry-types", &[]),
    ("gantry-sys", &[]),
    ("gantry-proto-shim", &[]),
    ("gantry-ttrpc", &["gantry-types"]),
    ("gantry-cgroup", &["gantry-types", "gantry-sys"]),
    ("gantry-logs", &["gantry-types", "gantry-sys"]),
    ("gantry-runtime", &["gantry-types", "gantry-sys", "gantry-cgroup"]),
    (
        "gantry-shim",
        &[
            "gantry-types",
            "gantry-sys",
            "gantry-cgroup",
            "gantry-runtime",
            "gantry-logs",
            "gantry-proto-shim",
            "gantry-ttrpc",
        ],
    ),
    ("gantry-shim-bin", &["gantry-shim", "gantry-cgroup", "gantry-proto-shim", "gantry-ttrpc"]),
    ("gantry-proto-containerd", &[]),
    ("gantry-config", &["gantry-types"]),
    ("gantry-registry", &["gantry-types"]),
    ("gantry-content", &["gantry-types", "gantry-sys"]),
    ("gantry-layer", &["gantry-types", "gantry-sys"]),
    ("gantry-snapshot", &["gantry-types", "gantry-sys"]),
    ("gantry-metadata", &["gantry-types"]),
    ("gantry-tasks", &["gantry-types", "gantry-sys", "gantry-proto-shim", "gantry-ttrpc"]),
    (
        "gantry-primitives",
        &[
            "gantry-types",
            "gantry-sys",
            "gantry-config",
            "gantry-registry",
            "gantry-content",
            "gantry-layer",
            "gantry-snapshot",
            "gantry-metadata",
            "gantry-tasks",
            "gantry-proto-containerd",
            "gantry-proto-shim",
        ],
    ),
    (
        "gantry-door-containerd",
        &[
            "gantry-types",
            "gantry-primitives",
            "gantry-proto-containerd",
            "gantry-proto-shim",
            "gantry-ttrpc",
        ],
    ),
    ("gantry-spec", &["gantry-types"]),
    ("gantry-network", &["gantry-types", "gantry-sys"]),
    ("gantry-docker-api", &[]),
    ("gantry-stream", &[]),
    (
        "gantry-engine",
        &[
            "gantry-types",
            "gantry-sys",
            "gantry-logs",
            "gantry-spec",
            "gantry-network",
            "gantry-layer",
            "gantry-metadata",
            "gantry-primitives",
            "gantry-proto-shim",
        ],
    ),
    ("gantry-build", &["gantry-types", "gantry-sys", "gantry-layer", "gantry-engine"]),
    (
        "gantry-door-docker",
        &["gantry-types", "gantry-engine", "gantry-build", "gantry-stream", "gantry-docker-api"],
    ),
    ("gantry", &["gantry-types", "gantry-docker-api", "gantry-stream", "gantry-config"]),
    (
        "gantryd",
        &[
            "gantry-types",
            "gantry-sys",
            "gantry-proto-shim",
            "gantry-ttrpc",
            "gantry-config",
            "gantry-layer",
            "gantry-metadata",
            "gantry-content",
            "gantry-snapshot",
            "gantry-registry",
            "gantry-primitives",
            "gantry-door-containerd",
            "gantry-proto-containerd",
            "gantry-engine",
            "gantry-network",
            "gantry-build",
            "gantry-door-docker",
        ],
    ),
    ("gantry-runtime-bin", &["gantry-types", "gantry-sys", "gantry-cgroup", "gantry-runtime"]),
];
/// Crates that may use any other: fixtures, tests, benchmarks, automation.
const FREE: &[&str] = &["gantry-testkit", "gantry-e2e", "gantry-bench", "xtask"];
/// The only crate with unsafe code.
const UNSAFE: &str = "gantry-sys";
/// The length past which a file has to argue for itself.
const MAX_LINES: usize = 1000;
/// Tables may be longer.
const LONG: &[&str] = &["crates/runtime/src/seccomp/syscall_table.rs"];
/// So may what a generator wrote.
const GENERATED: &str = "/src/generated/";

/// Checks everything, and lists what is wrong.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let mut wrong = Vec::new();
    arrows(&mut wrong)?;
    sources(Path::new("."), &mut wrong)?;
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("tidy:\n  {}", wrong.join("\n  ")).into())
}

fn arrows(wrong: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        if FREE.contains(&name) {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|row| row.0 == name) else {
            wrong.push(format!("{name} is not in the crate table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = dependency["name"].as_str().unwrap_or_default();
            let ours = used.starts_with("gantry-");
            // Tests may use the fixtures.
            let for_tests = dependency["kind"] == "dev" && FREE.contains(&used);
            if ours && !for_tests && !allowed.contains(&used) {
                wrong.push(format!("{name} may not use {used}"));
            }
        }
        root_forbids_unsafe(package, name, wrong)?;
    }
    Ok(())
}

fn root_forbids_unsafe(
    package: &serde_json::Value,
    name: &str,
    wrong: &mut Vec<String>,
) -> Result<(), Box<dyn Error>> {
    for target in package["targets"].as_array().into_iter().flatten() {
        let path = PathBuf::from(target["src_path"].as_str().unwrap_or_default());
        let library = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
        let text = if library { std::fs::read_to_string(&path)? } else { continue };
        let careful =
            ["#![forbid(unsafe_code)]", "#![deny(unsafe_code)]"].iter().any(|line| text.contains(line));
        if name != UNSAFE && !careful {
            wrong.push(format!("{} does not forbid unsafe code", path.display()));
        }
    }
    Ok(())
}

fn sources(directory: &Path, wrong: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            sources(&path, wrong)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let lines = std::fs::read_to_string(&path)?.lines().count();
            let shown = path.strip_prefix(".").unwrap_or(&path).display().to_string();
            if lines > MAX_LINES && !LONG.contains(&shown.as_str()) && !shown.contains(GENERATED) {
                wrong.push(format!("{shown} has {lines} lines, more than {MAX_LINES}"));
            }
        }
    }
    Ok(())
}
