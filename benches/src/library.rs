//! The library without a process of its own: create and start through the crate, as the shim does, beside the floor.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use gantry_runtime::{CreateRequest, Force, Host, create, delete, start};
use gantry_sys::process::{Wait, wait};
use gantry_types::ContainerId;

use crate::arguments::Options;
use crate::floor::{Floor, NetworkNamespace};
use crate::statistics::{Series, print};

pub(crate) fn run(options: &Options) {
    let network = NetworkNamespace::make();
    let bundle = crate::scenario::docker_bundle().namespace("network", Some(network.path()));
    let root = format!("/run/gantry-bench-{}-library", std::process::id());
    let host = Host::new(&root);
    let id: ContainerId = "library".parse().expect("an id");
    let request = CreateRequest { bundle: bundle.path().to_path_buf(), ..CreateRequest::default() };
    let floor = Floor::new(&bundle, &network);
    let (mut ours, mut least) = (Series::new("library"), Series::new("floor"));
    for _ in 0..options.count {
        ours.add(once(&host, &id, &request));
        least.add(floor.once());
    }
    let _ = std::fs::remove_dir_all(root);
    print(
        "create + start through the library, until the program runs; the network namespace is there",
        &[ours, least],
        Duration::ZERO,
    );
}

fn once(host: &Host, id: &ContainerId, request: &CreateRequest) -> Duration {
    let begin = Instant::now();
    let created = create(host, id, request).expect("the container is made");
    start(host, id, None).expect("the container starts");
    let elapsed = begin.elapsed();
    wait(Wait::Child(created.child.pidfd.as_fd())).expect("the process is ours");
    delete(host, id, Force::No).expect("the container is removed");
    elapsed
}
