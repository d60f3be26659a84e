//! What a collection of many snapshots makes others wait.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gantry_e2e::Api;
use tonic::Status;

use super::contender::{Contender, Serving};

/// Who makes the snapshots.
const CLIENTS: usize = 8;
/// How long changes are measured when nothing is collected.
const QUIET: Duration = Duration::from_secs(3);
/// The container whose label is changed.
const CHANGED: &str = "model";
/// Which lease keeps what stays, and which what goes.
const LEASES: [&str; 2] = ["stays", "goes"];

/// Small changes of another client, while half of the snapshots are collected, and without that.
pub(crate) fn measure(contenders: &[Contender], dir: &Path, snapshots: usize) -> Result<(), String> {
    println!(
        "\n## a collection of {} of {snapshots} snapshots, and another client's change meanwhile",
        snapshots / 2
    );
    println!(
        "| engine | collection ms | changes | median ms | p99 ms | longest ms | without: median | p99 | longest |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for contender in contenders.iter().filter(|contender| !contender.is_variant()) {
        one(contender, &dir.join(&contender.name), snapshots)?;
    }
    Ok(())
}

fn one(contender: &Contender, dir: &Path, snapshots: usize) -> Result<(), String> {
    let name = &contender.name;
    let failed = |status: Status| format!("{name}: {status}");
    let serving = Serving::at_level(contender, dir, "debug")?;
    let api = &serving.api;
    fill(api, snapshots).map_err(failed)?;
    let end = Instant::now() + QUIET;
    let quiet = api.block_on(changes(api, || Instant::now() < end)).map_err(failed)?;
    let (took, during) = api.block_on(async {
        let release = {
            let api = api.clone();
            tokio::spawn(async move {
                let begin = Instant::now();
                api.release(LEASES[1]).await.map(|()| begin.elapsed())
            })
        };
        let during = changes(api, || !release.is_finished()).await;
        (release.await, during)
    });
    let took = took.map_err(|error| error.to_string())?.map_err(failed)?;
    let during = during.map_err(failed)?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let three = |times: &[Duration]| {
        let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len() - 1));
        [50, 99, 100].map(|percent| at(percent).copied().map(ms).unwrap_or_default())
    };
    let ([middle, late, last], [middle0, late0, last0]) = (three(&during), three(&quiet));
    let (took, count) = (ms(took), during.len());
    println!(
        "| {name} | {took:.0} | {count} | {middle:.2} | {late:.2} | {last:.2} | {middle0:.2} | {late0:.2} | {last0:.2} |"
    );
    // What our own collector says of itself.
    let log = serving.log();
    if let Some(line) =
        log.lines().rev().find(|line| line.contains("longest_change") && !line.contains("snapshots: 0"))
    {
        println!("{line}");
    }
    Ok(())
}

/// Makes the snapshots, half of them for each lease.
fn fill(api: &Api, snapshots: usize) -> Result<(), Status> {
    let next = Arc::new(AtomicUsize::new(0));
    let each = || {
        let (api, next) = (api.clone(), Arc::clone(&next));
        async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= snapshots {
                    return Ok::<(), Status>(());
                }
                api.leased_snapshot(&format!("s{index}"), LEASES[index % LEASES.len()]).await?;
            }
        }
    };
    api.block_on(async {
        for lease in LEASES {
            api.lease(lease).await?;
        }
        let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(each())).collect();
        for client in clients {
            client.await.map_err(|error| Status::internal(error.to_string()))??;
        }
        Ok(())
    })
}

/// One small change after the other as long as `more` says; how long each took, the longest last.
async fn changes(api: &Api, more: impl Fn() -> bool) -> Result<Vec<Duration>, Status> {
    let mut times = Vec::new();
    loop {
        let begin = Instant::now();
        api.label(CHANGED, "changed", &times.len().to_string()).await?;
        times.push(begin.elapsed());
        if !more() {
            times.sort_unstable();
            return Ok(times);
        }
    }
}
