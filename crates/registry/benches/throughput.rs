//! What a byte of a blob costs the client: a large blob from Debian's docker-registry on loopback, several ways in turn.
//!
//! The floor is a plain socket that reads the same answer and throws it away.
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use gantry_registry::{Anonymous, BodyStream, Client, DefaultHosts, Options, Ranges, Repository};
use gantry_types::{Descriptor, Hasher, Reference};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SIZE: usize = 400 << 20;
const PIECE: usize = 1 << 20;
const ROUNDS: usize = 5;

/// A registry that ends when this goes.
struct Registry(Child, #[expect(dead_code, reason = "removed when this goes")] TempDir, String);

impl Registry {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let data = dir.path().display();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {data}/data}}}}\nhttp: {{addr: \"{host}\"}}\n"
        );
        fs::write(dir.path().join("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", "config.yml"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child, dir, host)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processor time of this process.
fn processor() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn piece(index: usize) -> Bytes {
    let mut state = index as u64 + 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::with_capacity(PIECE);
    while bytes.len() < PIECE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.into()
}

fn source(offset: u64) -> BodyStream {
    let first = usize::try_from(offset).unwrap() / PIECE;
    Box::pin(futures_util::stream::iter((first..SIZE / PIECE).map(|index| Ok(piece(index)))))
}

async fn floor(host: &str, descriptor: &Descriptor) -> (usize, usize) {
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!(
        "GET /v2/bench/blobs/{} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
        descriptor.digest
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut buffer, mut bytes, mut chunks) = (vec![0; 512 << 10], 0, 0);
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return (bytes, chunks),
            count => (bytes, chunks) = (bytes + count, chunks + 1),
        }
    }
}

async fn pull(repository: &Repository, descriptor: &Descriptor, ranges: Option<Ranges>) -> (usize, usize) {
    let mut stream = match ranges {
        None => repository.blob(descriptor, 0).await.unwrap(),
        Some(ranges) => repository.blob_ranges(descriptor, 0, ranges).await.unwrap(),
    };
    let (mut bytes, mut chunks) = (0, 0);
    while let Some(chunk) = stream.next().await {
        bytes += chunk.unwrap().len();
        chunks += 1;
    }
    (bytes, chunks)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let registry = Registry::start();
    while tokio::net::TcpStream::connect(&registry.2).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut hasher = Hasher::new(gantry_types::Algorithm::Sha256);
    (0..SIZE / PIECE).for_each(|index| hasher.update(&piece(index)));
    let descriptor = Descriptor::new("application/octet-stream", hasher.finish(), SIZE as u64);
    let client = Client::new(Options::default()).unwrap();
    let reference = Reference::parse(&format!("{}/bench:latest", registry.2)).unwrap();
    let repository = client.repository(&reference, Arc::new(DefaultHosts), Arc::new(Anonymous));
    let (start, before) = (Instant::now(), processor());
    repository.push_blob(&descriptor, &source, &[]).await.unwrap();
    println!(
        "push: {:?} wall, {:?} of the client (its source included)",
        start.elapsed(),
        processor() - before
    );
    let ranges = |parallel| Some(Ranges { chunk_bytes: 8 << 20, parallel });
    for _ in 0..ROUNDS {
        for name in ["floor", "blob", "ranges 2", "ranges 4"] {
            let (start, before) = (Instant::now(), processor());
            let (bytes, chunks) = match name {
                "floor" => floor(&registry.2, &descriptor).await,
                "blob" => pull(&repository, &descriptor, None).await,
                "ranges 2" => pull(&repository, &descriptor, ranges(2)).await,
                _ => pull(&repository, &descriptor, ranges(4)).await,
            };
            let (wall, used) = (start.elapsed(), processor() - before);
            println!(
                "{name:8}: {:>5} ms wall, {:>4} ms of the client, {:>4} MB/s, {:>4} KiB a chunk",
                wall.as_millis(),
                used.as_millis(),
                (bytes as f64 / 1e6 / wall.as_secs_f64()) as u64,
                bytes / chunks / 1024
            );
        }
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!("peak memory of all of it: {}", peak.trim_start_matches("VmHWM:").trim());
}
