//! Benchmarks of the runtime: us and the peers in turn in one run, with medians, 99th percentiles and ratios.
//!
//! ```text
//! gantry-bench [--view v1|v2] [--count N] [--runtime NAME=PATH]... [--shim PATH] [--peer-shim PATH] [--shims N]
//!              [SCENARIO...]
//! ```
//!
//! The first runtime is ours; ratios are ours to each of the others. Without `--runtime`, the workspace's release binary
//! is compared with the `crun` and `runc` on `PATH`. They take turns in short blocks, so that what else the machine
//! does falls on all of them. The bundle is docker's default one, with its seccomp profile for three architectures.
//!
//! The scenario `shim` compares our shim (`--shim`, or the workspace's release binary) with containerd's (`--peer-shim`, or
//! Debian's), which runs each of the other runtimes; `--shims` says how many of them share memory.
//!
//! Needs root. In the view `v2` a private mount namespace shows the unified hierarchy of a hybrid host at
//! `/sys/fs/cgroup`; limits cannot be measured there, life cycles can.
#![forbid(unsafe_code)]

mod arguments;
mod engine;
mod floor;
mod library;
mod process;
mod pull;
mod scenario;
mod shim;
mod statistics;
mod tasks;
mod view;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("pull") {
        return pull::main(std::env::args().skip(2));
    }
    if std::env::args().nth(1).as_deref() == Some("tasks") {
        return tasks::main(std::env::args().skip(2));
    }
    if std::env::args().nth(1).as_deref() == Some("engine") {
        return engine::main(std::env::args().skip(2));
    }
    let options = match arguments::Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    if let Err(message) = view::enter(options.view) {
        eprintln!("{message}");
        return ExitCode::FAILURE;
    }
    // Containers outlive the command that made them: we reap them.
    if let Err(errno) = gantry_sys::process::set_child_subreaper() {
        eprintln!("prctl: {errno}");
        return ExitCode::FAILURE;
    }
    for scenario in &options.scenarios {
        scenario.run(&options);
    }
    ExitCode::SUCCESS
}
