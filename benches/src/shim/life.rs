use std::time::{Duration, Instant};

use gantry_testkit::Bundle;

use super::contender::Contender;
use super::pod::{Daemon, Shim, Unit};
use crate::arguments::Options;
use crate::scenario::{docker_bundle, in_turn};
use crate::statistics::{Series, print};

pub(super) fn run(options: &Options, contenders: &[Contender]) {
    let daemon = Daemon::new();
    let bundles: Vec<Bundle> = contenders.iter().map(|_| docker_bundle()).collect();
    one_shim(options, &daemon, contenders, &bundles);
    a_shim_each(options, &daemon, contenders, &bundles);
}

fn series(contenders: &[Contender]) -> Vec<Series> {
    contenders.iter().map(|contender| Series::new(&contender.name)).collect()
}

fn one_shim(options: &Options, daemon: &Daemon, contenders: &[Contender], bundles: &[Bundle]) {
    let units: Vec<Unit> = bundles.iter().map(|bundle| Unit::new(bundle, None)).collect();
    let shims: Vec<Shim> =
        contenders.iter().zip(&units).map(|(contender, unit)| Shim::start(daemon, contender, unit)).collect();
    let mut all = series(contenders);
    in_turn(options.count, contenders.len(), |index, counted| {
        let (shim, unit) = (&shims[index], &units[index]);
        let begin = Instant::now();
        shim.create_and_start(unit);
        assert_eq!(shim.wait_and_delete(unit), 0);
        if counted {
            all[index].add(begin.elapsed());
        }
    });
    shims.into_iter().for_each(Shim::end);
    print("Create, Start, Wait and Delete of true in a shim that runs, back to back", &all, Duration::ZERO);
}

fn a_shim_each(options: &Options, daemon: &Daemon, contenders: &[Contender], bundles: &[Bundle]) {
    let mut all = series(contenders);
    in_turn(options.count, contenders.len(), |index, counted| {
        let unit = Unit::new(&bundles[index], None);
        let begin = Instant::now();
        let shim = Shim::start(daemon, &contenders[index], &unit);
        shim.create_and_start(&unit);
        assert_eq!(shim.wait_and_delete(&unit), 0);
        if counted {
            all[index].add(begin.elapsed());
        }
        shim.end();
    });
    print("the same with a shim for each: from `start` to Delete's answer", &all, Duration::ZERO);
}
