//! Shims: ours with the linked runtime, and containerd's with runc and with crun, over the Task service and under a real
//! containerd.

mod contender;
mod kernel;
mod life;
mod memory;
mod pod;
mod through_containerd;

use std::path::PathBuf;
use std::str::FromStr;

use crate::arguments::Options;

/// What is measured of shims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Create, Start, Wait and Delete of a static `true`, in one shim and with a shim for each.
    Life,
    /// Memory of one shim, of more containers in it, and of many shims.
    Memory,
    /// Kernel memory of shims.
    Kernel,
    /// How often an idle shim wakes up.
    Idle,
    /// `ctr run --rm` under a real containerd.
    Containerd,
}

impl Part {
    pub(crate) const ALL: [Part; 5] = [Part::Life, Part::Memory, Part::Kernel, Part::Idle, Part::Containerd];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Life => "shim-life",
            Part::Memory => "shim-memory",
            Part::Kernel => "shim-kernel",
            Part::Idle => "shim-idle",
            Part::Containerd => "shim-containerd",
        }
    }

    pub(crate) fn run(self, options: &Options) {
        let contenders = contender::all(options);
        match self {
            Part::Life => life::run(options, &contenders),
            Part::Memory => memory::run(options, &contenders),
            Part::Kernel => kernel::run(&contenders),
            Part::Idle => memory::idle(&contenders),
            Part::Containerd => through_containerd::run(options, &contenders),
        }
    }
}

impl FromStr for Part {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Part::ALL.into_iter().find(|part| part.name() == text).ok_or(())
    }
}

/// Our shim, unless the command line names another.
pub(crate) fn default_binary() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../target/x86_64-unknown-linux-gnu/release/containerd-shim-gantry-v2")
}
