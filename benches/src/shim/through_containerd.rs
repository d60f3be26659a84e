use std::time::{Duration, Instant};

use gantry_e2e::Containerd;

use super::contender::Contender;
use crate::arguments::Options;
use crate::scenario::{has_memory_controller, in_turn};
use crate::statistics::{Series, print};

/// The names under which containerd finds the shims.
const OURS: &str = "containerd-shim-gantry-v2";
const THEIRS: &str = "containerd-shim-runc-v2";

pub(super) fn run(options: &Options, contenders: &[Contender]) {
    if !has_memory_controller() {
        println!("\n## ctr: left out, as containerd's limits need controllers (--view v1 on a hybrid host)");
        return;
    }
    let programs = tempfile::tempdir().expect("a temporary directory");
    let peer = contenders.iter().find(|contender| contender.runtime.is_some());
    for (name, contender) in [(OURS, contenders.first()), (THEIRS, peer)] {
        if let Some(contender) = contender {
            std::os::unix::fs::symlink(&contender.shim, programs.path().join(name)).expect("a link");
        }
    }
    let containerd = Containerd::new("gt-bench", Some(programs.path()));
    let mut all: Vec<Series> = contenders.iter().map(|contender| Series::new(&contender.name)).collect();
    let mut number = 0;
    in_turn(options.count, contenders.len(), |index, counted| {
        number += 1;
        let name = format!("bench{number}");
        let words = [name.as_str(), "true"];
        let call = match &contenders[index].runtime {
            None => containerd.run_shim("io.containerd.gantry.v2", &["--rm"], &words),
            Some(runtime) => {
                containerd.run_shim("io.containerd.runc.v2", &["--rm", "--runc-binary", runtime], &words)
            }
        };
        let begin = Instant::now();
        call.run().ok();
        if counted {
            all[index].add(begin.elapsed());
        }
    });
    print("ctr run --rm of true under containerd", &all, Duration::ZERO);
}
