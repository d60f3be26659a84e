//! `stats`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::BytesMut;
use clap::Args;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use gantry_docker_api::container::{ContainerStats, ContainerSummary, MemoryStats};
use gantry_docker_api::limits::MAX_MESSAGE;
use gantry_docker_api::{List, size};
use http_body_util::BodyExt as _;

use super::path;
use crate::client::{Call, Client};
use crate::command::{Verb, collect};
use crate::format::words::{ellipsis, short_id, size as size_three};
use crate::format::{Listing, Row};
use crate::output;
use crate::session::Session;

/// How often the table is drawn.
const DRAW: Duration = Duration::from_millis(500);
/// How often new containers are looked for.
const LOOK: Duration = Duration::from_secs(2);

/// Display a live stream of container(s) resource usage statistics
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json', 'TEMPLATE'
    #[arg(long, value_name = "STRING")]
    format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Containers; all that run if there are none
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

const HEADER: &[(&str, &str)] = &[
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

const TABLE: &str =
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

/// What is known of each container, by the order in which it came.
type Known = Rc<RefCell<BTreeMap<(usize, String), Option<ContainerStats>>>>;

impl Verb for Stats {
    async fn run(self, session: &Session) -> Result<u8> {
        let client = session.client()?;
        let own = session.config()?.format("statsFormat");
        let format = self.format.as_deref().or(own);
        let names =
            if self.containers.is_empty() { self.list(client).await? } else { self.containers.clone() };
        if self.no_stream {
            let once = names.iter().map(|name| self.once(client, name));
            let results = futures_util::future::join_all(once).await;
            let (mut rows, mut errors) = (Vec::new(), Vec::new());
            for (name, result) in names.iter().zip(results) {
                match result {
                    Ok(stats) => rows.push(row(name, Some(&stats), !self.no_trunc)),
                    Err(error) => errors.push(error),
                }
            }
            if !rows.is_empty() || errors.is_empty() {
                output::print(&Listing { format, default: TABLE, header: HEADER }.render(&rows)?);
            }
            return collect(errors);
        }
        self.follow(client, names, format).await
    }
}

impl Stats {
    async fn list(&self, client: &Client) -> Result<Vec<String>> {
        let call = Call::get("/containers/json").query_flag("all", self.all);
        let containers: List<ContainerSummary> = client.json(call).await?;
        Ok(containers.iter().map(|container| container.id.clone()).collect())
    }

    async fn once(&self, client: &Client, name: &str) -> Result<ContainerStats> {
        client.json(Call::get(path(name, "/stats")).query("stream", "0")).await
    }

    async fn follow(&self, client: &Client, names: Vec<String>, format: Option<&str>) -> Result<u8> {
        let known = Known::default();
        let mut streams = FuturesUnordered::new();
        let mut count = 0;
        for name in names {
            known.borrow_mut().insert((count, name.clone()), None);
            streams.push(watch(client, (count, name), Rc::clone(&known)));
            count += 1;
        }
        let mut draw = tokio::time::interval(DRAW);
        let mut look = tokio::time::interval(LOOK);
        let looks = self.containers.is_empty();
        loop {
            tokio::select! {
                _ = draw.tick() => {
                    let known = known.borrow();
                    let rows: Vec<Row> = known.iter().map(|((_, name), stats)| row(name, stats.as_ref(), !self.no_trunc)).collect();
                    let text = Listing { format, default: TABLE, header: HEADER }.render(&rows)?;
                    // From the top, and what was below goes.
                    output::print(&format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")));
                }
                _ = look.tick(), if looks => {
                    for name in self.list(client).await? {
                        let is_new = !known.borrow().keys().any(|(_, known)| *known == name);
                        if is_new {
                            known.borrow_mut().insert((count, name.clone()), None);
                            streams.push(watch(client, (count, name), Rc::clone(&known)));
                            count += 1;
                        }
                    }
                }
                Some((key, result)) = streams.next() => {
                    if let (Err(error), false) = (result, looks) {
                        return Err(error);
                    }
                    known.borrow_mut().remove(&key);
                    if known.borrow().is_empty() && !looks {
                        return Ok(0);
                    }
                }
            }
        }
    }
}

/// Keeps what is known of a container up to date, until its stream ends.
async fn watch(client: &Client, key: (usize, String), known: Known) -> ((usize, String), Result<()>) {
    let result = async {
        let response = client.send(Call::get(path(&key.1, "/stats")).query("stream", "1")).await?;
        let mut body = response.into_body();
        let mut buffer = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            buffer.extend_from_slice(&data);
            let mut stream = serde_json::Deserializer::from_slice(&buffer).into_iter::<ContainerStats>();
            let mut last = None;
            while let Some(Ok(stats)) = stream.next() {
                last = Some(stats);
            }
            let read = stream.byte_offset();
            drop(stream);
            let _ = buffer.split_to(read);
            if buffer.len() > MAX_MESSAGE {
                bail!("an answer of stats is longer than {MAX_MESSAGE} bytes");
            }
            if let (Some(stats), Some(place)) = (last, known.borrow_mut().get_mut(&key)) {
                *place = Some(stats);
            }
        }
        Ok(())
    };
    let result = result.await;
    (key, result)
}

#[allow(clippy::cast_precision_loss)] // shares and few digits
fn row(name: &str, stats: Option<&ContainerStats>, is_short: bool) -> Row {
    let Some(stats) = stats else {
        let row = Row::new().with("Container", name).with("ID", short_id(name));
        return ["Name", "CPUPerc", "MemPerc", "PIDs"]
            .into_iter()
            .fold(row, |row, field| row.with(field, "--"))
            .with("MemUsage", "-- / --")
            .with("NetIO", "-- / --")
            .with("BlockIO", "-- / --");
    };
    let memory = used_memory(&stats.memory_stats);
    let limit = stats.memory_stats.limit;
    let share = if limit == 0 { 0.0 } else { memory as f64 / limit as f64 * 100.0 };
    let (received, sent) = stats
        .networks
        .values()
        .fold((0, 0), |(received, sent), network| (received + network.rx_bytes, sent + network.tx_bytes));
    let (read, written) = block_io(stats);
    let id = if is_short { short_id(&stats.id) } else { &stats.id };
    let own = stats.name.strip_prefix('/').unwrap_or(&stats.name);
    let short = |text: &str| if is_short { ellipsis(text, 64) } else { text.to_owned() };
    Row::new()
        .with("Container", name)
        .with("ID", id)
        .with("Name", short(own))
        .with("CPUPerc", format!("{:.2}%", cpu_percent(stats)))
        .with(
            "MemUsage",
            format!("{} / {}", size::human_binary(memory as f64), size::human_binary(limit as f64)),
        )
        .with("MemPerc", format!("{share:.2}%"))
        .with("NetIO", format!("{} / {}", size_of(received), size_of(sent)))
        .with("BlockIO", format!("{} / {}", size_of(read), size_of(written)))
        .with("PIDs", stats.pids_stats.current.to_string())
}

fn size_of(bytes: u64) -> String {
    size_three(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// What is used without what the kernel would give back at once.
fn used_memory(memory: &MemoryStats) -> u64 {
    let cache = memory.stats.get("total_inactive_file").or_else(|| memory.stats.get("inactive_file"));
    match cache {
        Some(cache) if *cache < memory.usage => memory.usage - cache,
        _ => memory.usage,
    }
}

/// The share of one processor, in percent.
#[allow(clippy::cast_precision_loss)]
fn cpu_percent(stats: &ContainerStats) -> f64 {
    let (now, before) = (&stats.cpu_stats, &stats.precpu_stats);
    let used = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    let all = now.system_cpu_usage as f64 - before.system_cpu_usage as f64;
    let processors = match now.online_cpus {
        0 => now.cpu_usage.percpu_usage.len() as f64,
        count => f64::from(count),
    };
    if used > 0.0 && all > 0.0 { used / all * processors * 100.0 } else { 0.0 }
}

fn block_io(stats: &ContainerStats) -> (u64, u64) {
    let mut totals = (0, 0);
    for entry in &stats.blkio_stats.io_service_bytes_recursive {
        match entry.op.chars().next() {
            Some('r' | 'R') => totals.0 += entry.value,
            Some('w' | 'W') => totals.1 += entry.value,
            _ => {}
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_computed_as_docker_does() {
        let mut stats = ContainerStats::default();
        stats.cpu_stats.cpu_usage.total_usage = 200;
        stats.precpu_stats.cpu_usage.total_usage = 100;
        stats.cpu_stats.system_cpu_usage = 1_000;
        stats.cpu_stats.online_cpus = 2;
        assert!((cpu_percent(&stats) - 20.0).abs() < 1e-9);
        stats.memory_stats.usage = 100;
        stats.memory_stats.stats.insert("inactive_file".into(), 40);
        assert_eq!(used_memory(&stats.memory_stats), 60);
    }
}
