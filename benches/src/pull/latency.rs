//! What other clients feel while one pulls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::calls::{Calls, Times};
use super::client;
use super::engine::Engine;
use super::serving::Serving;
use super::store::Tmpfs;

/// The pause of a client between two calls.
const PAUSE: Duration = Duration::from_millis(2);
/// What the other client has in the store.
const IMAGES: usize = 20;

/// The times of calls during one pull.
#[derive(Debug)]
pub(crate) struct Latency {
    stat: Times,
    list: Times,
}

/// Pulls once, and asks meanwhile for a snapshot and for the list of images, in turn, from another namespace.
pub(crate) fn measure(engine: &Engine, store: &Tmpfs, image: &str) -> Result<Latency, String> {
    let serving = Serving::start(engine, store)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let over = AtomicBool::new(false);
    let pull = engine.pull(&serving.dir, &serving.group, image);
    let result = std::thread::scope(|scope| {
        let asking = scope.spawn(|| runtime.block_on(ask(&serving, &over)));
        let went = client::run(pull, &serving.dir);
        over.store(true, Ordering::Relaxed);
        let latency = asking.join().expect("no panic");
        went.and(latency)
    });
    result.map_err(|error| format!("{error}\n{}", serving.log()))
}

async fn ask(serving: &Serving<'_>, over: &AtomicBool) -> Result<Latency, String> {
    let mut calls = Calls::connect(&serving.engine.socket(&serving.dir), "others").await?;
    let failed = |status: tonic::Status| status.to_string();
    for number in 0..IMAGES {
        calls.create_image(format!("example.test/other:{number}")).await.map_err(failed)?;
    }
    calls.prepare("other".into(), String::new()).await.map_err(failed)?;
    let mut latency = Latency { stat: Times::default(), list: Times::default() };
    while !over.load(Ordering::Relaxed) {
        latency.stat.add(calls.stat("other".into())).await?;
        latency.list.add(calls.images(Vec::new())).await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(latency)
}

/// Prints the table.
pub(crate) fn print(image: &str, rows: &[(String, Latency)]) {
    println!("\n## Another client's calls during a pull, {image} (ms)");
    println!("| engine | calls | stat median | stat p99 | stat max | list median | list p99 | list max |");
    println!("|---|---|---|---|---|---|---|---|");
    for (name, latency) in rows {
        let of = |times: &Times| {
            [50, 99, 100].map(|percent| format!("{:.2}", times.percentile_ms(percent))).join(" | ")
        };
        println!("| {name} | {} | {} | {} |", latency.stat.len(), of(&latency.stat), of(&latency.list));
    }
}
