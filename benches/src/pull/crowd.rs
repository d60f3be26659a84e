//! A store with many images and snapshots, beside an empty one.

use super::calls::{Calls, Times};
use super::engine::Engine;
use super::serving::Serving;
use super::store::Tmpfs;

/// How many are in the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) images: usize,
    pub(crate) snapshots: usize,
}

/// How often a call is timed.
const REPEATS: usize = 200;
/// Full lists are slow.
const LISTS: usize = 5;
/// How many clients fill the store at once.
const FILLERS: usize = 8;

/// The times of calls.
#[derive(Debug)]
pub(crate) struct Crowd {
    rows: Vec<(&'static str, Times)>,
}

/// The times with an almost empty store, and with a full one.
pub(crate) fn measure(engine: &Engine, store: &Tmpfs, size: Size) -> Result<(Crowd, Crowd), String> {
    let serving = Serving::start(engine, store)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let result = runtime.block_on(async {
        let socket = engine.socket(&serving.dir);
        let mut calls = Calls::connect(&socket, "crowd").await?;
        let failed = |status: tonic::Status| status.to_string();
        calls.prepare("base-key".into(), String::new()).await.map_err(failed)?;
        calls.commit("base".into(), "base-key".into()).await.map_err(failed)?;
        calls.create_image(image(0)).await.map_err(failed)?;
        let empty = time(&mut calls, "empty").await?;
        let begin = std::time::Instant::now();
        let fillers = (0..FILLERS).map(|filler| {
            let calls = calls.clone();
            tokio::spawn(fill(calls, filler, size))
        });
        for filler in fillers.collect::<Vec<_>>() {
            filler.await.map_err(|error| error.to_string())??;
        }
        eprintln!("{}: filled in {:.1} s", engine.name, begin.elapsed().as_secs_f64());
        let full = time(&mut calls, "full").await?;
        Ok((empty, full))
    });
    result.map_err(|error: String| format!("{error}\n{}", serving.log()))
}

fn image(number: usize) -> String {
    format!("example.test/crowd/image{number}:latest")
}

async fn fill(mut calls: Calls, filler: usize, size: Size) -> Result<(), String> {
    let failed = |status: tonic::Status| status.to_string();
    for number in (1 + filler..size.images).step_by(FILLERS) {
        calls.create_image(image(number)).await.map_err(failed)?;
    }
    // Chains of ten layers, as images have them.
    let mut parent = String::new();
    for number in (filler..size.snapshots).step_by(FILLERS) {
        if (number / FILLERS).is_multiple_of(10) {
            parent.clear();
        }
        let (key, name) = (format!("key{number}"), format!("snapshot{number}"));
        calls.prepare(key.clone(), std::mem::take(&mut parent)).await.map_err(failed)?;
        calls.commit(name.clone(), key).await.map_err(failed)?;
        parent = name;
    }
    Ok(())
}

async fn time(calls: &mut Calls, stage: &str) -> Result<Crowd, String> {
    let mut rows: Vec<(&'static str, Times)> = Vec::new();
    let (mut stat, mut get, mut prepare) = (Times::default(), Times::default(), Times::default());
    let (mut commit, mut remove, mut by_name) = (Times::default(), Times::default(), Times::default());
    for number in 0..REPEATS {
        let (key, name) = (format!("{stage}-key{number}"), format!("{stage}{number}"));
        stat.add(calls.stat("base".into())).await?;
        get.add(calls.image(image(0))).await?;
        by_name.add(calls.images(vec![format!("name=={}", image(0))])).await?;
        prepare.add(calls.prepare(key.clone(), "base".into())).await?;
        commit.add(calls.commit(name.clone(), key)).await?;
        remove.add(calls.remove(name)).await?;
    }
    rows.extend([("stat", stat), ("get image", get), ("list by name", by_name)]);
    rows.extend([("prepare", prepare), ("commit", commit), ("remove", remove)]);
    let (mut images, mut snapshots) = (Times::default(), Times::default());
    for _ in 0..LISTS {
        images.add(calls.images(Vec::new())).await?;
        snapshots.add(calls.snapshots(Vec::new())).await?;
    }
    rows.extend([("list all images", images), ("list all snapshots", snapshots)]);
    Ok(Crowd { rows })
}

/// Prints the table.
pub(crate) fn print(size: Size, rows: &[(String, (Crowd, Crowd))]) {
    println!("\n## {} images and {} snapshots in the store (ms, medians; p99)", size.images, size.snapshots);
    println!("| engine | call | empty | full | full / empty | full p99 |\n|---|---|---|---|---|---|");
    for (name, (empty, full)) in rows {
        for ((call, before), (_, after)) in empty.rows.iter().zip(&full.rows) {
            let (before, median) = (before.percentile_ms(50), after.percentile_ms(50));
            println!(
                "| {name} | {call} | {before:.2} | {median:.2} | {:.2} | {:.2} |",
                median / before,
                after.percentile_ms(99)
            );
        }
    }
}
