//! Many clients at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::contender::Serving;

/// Containers of one round, and who starts them.
const CONTAINERS: usize = 100;
const CLIENTS: usize = 8;

/// Containers per second.
pub(crate) fn measure(serving: &[Serving<'_>], rounds: usize) -> Result<(), String> {
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); serving.len()];
    for round in 0..rounds {
        for (one, rates) in serving.iter().zip(&mut rates) {
            rates.push(once(one, round)?);
        }
    }
    println!("\n## {CONTAINERS} containers started by {CLIENTS} clients at once");
    println!("| engine | containers per second, median | ours / it |\n|---|---|---|");
    let median = |rates: &[f64]| {
        let mut sorted = rates.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    };
    let ours = rates.first().map(|first| median(first)).unwrap_or_default();
    for (one, rates) in serving.iter().zip(&rates) {
        let rate = median(rates);
        println!("| {} | {rate:.1} | {:.2} |", one.contender.name, ours / rate.max(f64::MIN_POSITIVE));
    }
    Ok(())
}

fn once(one: &Serving<'_>, round: usize) -> Result<f64, String> {
    let failed = |status: tonic::Status| format!("{}: {status}", one.contender.name);
    let model = one
        .api
        .block_on(one.api.model(one.contender.runtime, one.contender.options(), &["/bin/sleep", "1000"]))
        .map_err(failed)?;
    let next = Arc::new(AtomicUsize::new(0));
    let each = |start: bool| {
        let (next, model, api) = (Arc::clone(&next), model.clone(), one.api.clone());
        async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= CONTAINERS {
                    return Ok::<(), tonic::Status>(());
                }
                let id = format!("crowd-{round}-{index}");
                if start {
                    let mounts = api.prepare(&model, &id).await?;
                    api.start(&id, mounts, None).await?;
                } else {
                    api.remove(&id).await?;
                }
            }
        }
    };
    let all = |start: bool| {
        next.store(0, Ordering::Relaxed);
        one.api.block_on(async {
            let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(each(start))).collect();
            for client in clients {
                client.await.map_err(|error| error.to_string())?.map_err(failed)?;
            }
            Ok::<(), String>(())
        })
    };
    let begin = Instant::now();
    all(true)?;
    let took = begin.elapsed();
    all(false)?;
    Ok(CONTAINERS as f64 / took.as_secs_f64())
}
