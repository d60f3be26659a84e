//! The stages of a pull, each alone with all layers at once: what no pull on this machine can beat.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use gantry_e2e::Registry;
use gantry_layer::{ApplyOptions, Compression, Inflate, InflateLimits, Target, Whiteouts, apply};
use gantry_types::{Algorithm, Hasher};

use super::store::Tmpfs;

/// The size of the buffers between stages.
const BUFFER: usize = 256 << 10;

/// How often a stage is measured; the least counts, which is what is nearest to the limit.
const REPEATS: usize = 3;

/// What the stages took.
#[derive(Debug)]
pub(crate) struct Stages {
    stages: Vec<(&'static str, Duration, Duration)>,
    cores: u32,
}

struct Blob {
    digest: String,
    compressed: Vec<u8>,
    tar: Vec<u8>,
}

impl Stages {
    /// Measures them for an image of the layout, which is `repository` in the registry.
    pub(crate) fn measure(
        layout: &Path,
        tag: &str,
        registry: &Registry,
        repository: &str,
        dir: &Path,
    ) -> Result<Self, String> {
        let blobs = read(layout, tag)?;
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let store = Tmpfs::mount(dir)?;
        let mut stages = Vec::new();
        let mut stage =
            |name: &'static str, work: &(dyn Fn(usize, usize, &Blob) -> io::Result<()> + Sync)| {
                let (mut wall, mut used) = (Duration::MAX, Duration::MAX);
                for turn in 0..REPEATS {
                    let before = cpu() + process_cpu(registry.pid());
                    let begin = Instant::now();
                    in_parallel(cores, &blobs, &|number, blob| work(turn, number, blob))
                        .map_err(|error| format!("{name}: {error}"))?;
                    wall = wall.min(begin.elapsed());
                    used = used.min((cpu() + process_cpu(registry.pid())).saturating_sub(before));
                }
                stages.push((name, wall, used));
                Ok::<_, String>(())
            };
        stage("download (with the registry's own)", &|_, _, blob| {
            download(registry, repository, &blob.digest)
        })?;
        stage("digest of the compressed bytes", &|_, _, blob| hash(&blob.compressed))?;
        stage("inflate", &|_, _, blob| inflate(&blob.compressed).map(drop))?;
        stage("digest of the layer", &|_, _, blob| hash(&blob.tar))?;
        stage("files", &|turn, number, blob| {
            untar(&blob.tar, &store.path().join(format!("{turn}-{number}")))
        })?;
        Ok(Self { stages, cores: u32::try_from(cores).unwrap_or(1) })
    }

    /// The time that a pull needs at least.
    fn limit(&self) -> Duration {
        let longest = self.stages.iter().map(|stage| stage.1).max().unwrap_or_default();
        longest.max(self.stages.iter().map(|stage| stage.2).sum::<Duration>() / self.cores)
    }

    /// Prints them, and how far each of `pulls` is from the limit.
    pub(crate) fn print(&self, image: &str, pulls: &[(String, Duration)]) {
        println!("\n## Stages alone, {image}, all layers at once on {} cores", self.cores);
        println!("| stage | wall s | CPU s |\n|---|---|---|");
        for (name, wall, cpu) in &self.stages {
            println!("| {name} | {:.2} | {:.2} |", wall.as_secs_f64(), cpu.as_secs_f64());
        }
        let total: Duration = self.stages.iter().map(|stage| stage.2).sum();
        println!("| sum | | {:.2} |", total.as_secs_f64());
        println!("limit: max(longest stage, CPU / cores) = {:.2} s", self.limit().as_secs_f64());
        for (name, wall) in pulls {
            println!(
                "- {name}: {:.2} s, {:.2} of the limit",
                wall.as_secs_f64(),
                wall.as_secs_f64() / self.limit().as_secs_f64()
            );
        }
    }
}

/// The layers of an image, compressed and not.
fn read(layout: &Path, tag: &str) -> Result<Vec<Blob>, String> {
    let blob = |digest: &str| {
        let path = layout.join("blobs").join(digest.replace(':', "/"));
        fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let json =
        |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).map_err(|error| error.to_string());
    let index = json(&fs::read(layout.join("index.json")).map_err(|error| error.to_string())?)?;
    let mut images = index["manifests"].as_array().into_iter().flatten();
    let image = images.find(|image| image["annotations"]["org.opencontainers.image.ref.name"] == tag);
    let image = image.ok_or_else(|| format!("no image {tag}"))?;
    let manifest = json(&blob(image["digest"].as_str().unwrap_or_default())?)?;
    let mut blobs = Vec::new();
    for layer in manifest["layers"].as_array().into_iter().flatten() {
        let digest = layer["digest"].as_str().unwrap_or_default().to_owned();
        let compressed = blob(&digest)?;
        let mut tar = Vec::new();
        decoder(&compressed).read_to_end(&mut tar).map_err(|error| error.to_string())?;
        blobs.push(Blob { digest, compressed, tar });
    }
    // The largest first: the last one to end shall not be large.
    blobs.sort_by_key(|blob| std::cmp::Reverse(blob.tar.len()));
    Ok(blobs)
}

fn in_parallel(
    threads: usize,
    blobs: &[Blob],
    work: &(dyn Fn(usize, &Blob) -> io::Result<()> + Sync),
) -> io::Result<()> {
    let next = Mutex::new(blobs.iter().enumerate());
    let take = || next.lock().map(|mut next| next.next()).unwrap_or_default();
    std::thread::scope(|scope| {
        let run = || {
            while let Some((number, blob)) = take() {
                work(number, blob)?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })
}

fn download(registry: &Registry, repository: &str, digest: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(registry.host())?;
    write!(stream, "GET /v2/{repository}/blobs/{digest} HTTP/1.0\r\nHost: {}\r\n\r\n", registry.host())?;
    let mut reader = BufReader::with_capacity(BUFFER, stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.contains(" 200 ") {
        return Err(io::Error::other(line));
    }
    let mut stream = reader.into_inner();
    let mut buffer = vec![0; BUFFER];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

fn hash(bytes: &[u8]) -> io::Result<()> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    bytes.chunks(BUFFER).for_each(|part| hasher.update(part));
    drop(hasher.finish());
    Ok(())
}

fn decoder(bytes: &[u8]) -> Inflate<&[u8]> {
    Inflate::new(bytes, Compression::Detect, InflateLimits::default())
}

fn inflate(bytes: &[u8]) -> io::Result<u64> {
    let (mut decoder, mut buffer, mut total) = (decoder(bytes), vec![0; BUFFER], 0);
    loop {
        match decoder.read(&mut buffer)? {
            0 => return Ok(total),
            got => total += got as u64,
        }
    }
}

fn untar(tar: &[u8], dir: &Path) -> io::Result<()> {
    fs::create_dir(dir)?;
    let root = fs::File::open(dir)?;
    let target =
        Target { root: root.as_fd(), whiteouts: Whiteouts::Overlay { userxattr: false }, lower: &[] };
    apply(&mut &*tar, &target, &ApplyOptions::default()).map(drop).map_err(io::Error::other)
}

/// The processor time of this process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.try_into().unwrap_or_default()
}

/// That of another one, in ticks: proc_pid_stat(5).
fn process_cpu(pid: Option<u32>) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok()).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks =
        |index: usize| fields.get(index).and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
    TICK * (ticks(11) + ticks(12))
}
