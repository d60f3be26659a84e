use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, ensure};
use gantry_proto_shim::any::Any;
use gantry_proto_shim::mount::Mount;
use gantry_proto_shim::options::Options;
use gantry_proto_shim::task::{
    CreateTaskRequest, CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, KillRequest, StartRequest,
    StartResponse, WaitRequest, WaitResponse, method,
};
use gantry_types::ContainerId;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::run::arguments::Arguments;
use crate::run::events::{Print, listen};
use crate::run::layout::{Image, Layout};
use crate::run::relay::{Fifos, Relay, take_signals};
use crate::run::shim::{Program, Shim};
use crate::run::{spec, unpack};

const STATE: &str = "/var/lib/gantryd";
const SHIM: &str = "containerd-shim-gantry-v2";
const SIGKILL: u32 = 9;

/// Runs a container from its image to its end; its exit status.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let signals = take_signals()?;
    let id = match &arguments.name {
        Some(name) => name.parse::<ContainerId>()?,
        None => random_id()?,
    };
    let state = arguments.state.clone().unwrap_or_else(|| STATE.into());
    // Programs of images, with their set-user-id bits, are nobody else's.
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&state)
        .with_context(|| format!("cannot make {}", state.display()))?;
    let state = state.canonicalize()?;
    let (config, layers) = image(&arguments.layout, &state.join("layers"))?;
    let wanted = spec::Wanted { id: id.as_str(), args: &arguments.args, terminal: arguments.terminal };
    let spec = spec::config(&config.config, &layers, &wanted)?;
    let bundle = Bundle::make(&state.join("bundles"), &id)?;
    fs::write(bundle.0.join("config.json"), serde_json::to_vec(&spec)?)?;
    let rootfs = overlay(&layers, &bundle.0)?;
    let log = log(&bundle.0, arguments.debug)?;

    // Short: a socket's name has 108 bytes.
    let ends = tempfile::Builder::new().prefix("gantryd-").tempdir_in("/run")?;
    let events = ends.path().join("events");
    let _server = listen(&events, if arguments.events { Print::Yes } else { Print::No })?;
    let path = arguments.shim.clone().unwrap_or_else(beside_us);
    let program = Program { path: &path, id: id.as_str(), bundle: &bundle.0, events: &events };
    let fifos = Fifos::make(ends.path(), arguments.terminal)?;
    let text = |path: &Path| path.display().to_string();
    let request = CreateTaskRequest {
        id: id.to_string(),
        bundle: text(&bundle.0),
        rootfs: vec![rootfs],
        terminal: arguments.terminal,
        stdin: text(&fifos.stdin),
        stdout: text(&fifos.stdout),
        stderr: fifos.stderr.as_deref().map(text).unwrap_or_default(),
        options: options(&arguments.runtime),
        ..Default::default()
    };
    let mut relay = Relay::begin(&fifos);
    let task = Task::create(program, &request)?;
    relay.attach(&task.shim, &fifos, signals);
    let status = task.finish()?;
    relay.drain();
    drop(log);
    Ok(status)
}

/// The image's configuration, and the directories of its layers, the lowest first.
fn image(name: &str, layers: &Path) -> Result<(Image, Vec<PathBuf>)> {
    let (layout, manifest) = Layout::open(name)?;
    let config: Image = layout.json(&manifest.config)?;
    let diff_ids = &config.rootfs.diff_ids;
    ensure!(
        manifest.layers.len() == diff_ids.len(),
        "the image has {} layers and {} names for them",
        manifest.layers.len(),
        diff_ids.len()
    );
    let pairs = manifest.layers.iter().zip(diff_ids);
    let unpacked = pairs.map(|(blob, diff_id)| unpack::layer(layers, &layout, blob, diff_id));
    let unpacked = unpacked.collect::<Result<Vec<_>>>()?;
    Ok((config, unpacked))
}

/// The mount of the root: the layers, and a directory of the container's own above them.
fn overlay(layers: &[PathBuf], bundle: &Path) -> Result<Mount> {
    ensure!(!layers.is_empty(), "the image has no layers");
    let lower: Vec<String> = layers.iter().rev().map(|layer| layer.display().to_string()).collect();
    let options = vec![
        format!("lowerdir={}", lower.join(":")),
        format!("upperdir={}", bundle.join("upper").display()),
        format!("workdir={}", bundle.join("work").display()),
    ];
    Ok(Mount { r#type: "overlay".into(), source: "overlay".into(), target: String::new(), options })
}

fn options(runtime: &str) -> Option<Any> {
    let options = Options { binary_name: runtime.to_owned(), ..Default::default() };
    (!runtime.is_empty()).then(|| Any::pack(&options))
}

/// Reads the shim's log as long as this is open: a shim may wait for a reader.
fn log(bundle: &Path, shown: bool) -> Result<File> {
    let path = bundle.join("log");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    let log = File::options().read(true).write(true).open(&path)?;
    let reader = log.try_clone()?;
    thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(io::Result::ok) {
            if shown {
                eprintln!("shim: {}", String::from_utf8_lossy(&line));
            }
        }
    });
    Ok(log)
}

fn beside_us() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name(SHIM));
    beside.filter(|path| path.exists()).unwrap_or_else(|| SHIM.into())
}

fn random_id() -> Result<ContainerId> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)).parse()?)
}

/// The directory of a container, which goes with it.
#[derive(Debug)]
struct Bundle(PathBuf);

impl Bundle {
    fn make(bundles: &Path, id: &ContainerId) -> Result<Self> {
        fs::create_dir_all(bundles)?;
        let path = bundles.join(id.as_str());
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let bundle = Self(path);
        for name in ["rootfs", "upper", "work"] {
            fs::create_dir(bundle.0.join(name))?;
        }
        Ok(bundle)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // A root that is still mounted must not be emptied.
        if fs::remove_dir(self.0.join("rootfs")).is_ok() {
            let _ = fs::remove_dir_all(&self.0);
        } else {
            eprintln!("gantryd: {} stays: its root is in use", self.0.display());
        }
    }
}

/// A container in its shim. It ends with this.
#[derive(Debug)]
struct Task<'a> {
    program: Program<'a>,
    shim: Shim,
    done: bool,
}

impl<'a> Task<'a> {
    fn create(program: Program<'a>, request: &CreateTaskRequest) -> Result<Self> {
        let shim = program.start()?;
        let task = Self { program, shim, done: false };
        let _: CreateTaskResponse =
            task.shim.call(method::CREATE, request).context("cannot create the container")?;
        Ok(task)
    }

    /// Starts it, waits for its end, and removes it.
    fn finish(mut self) -> Result<u8> {
        let id = || self.shim.id.clone();
        let request = StartRequest { id: id(), ..Default::default() };
        let _: StartResponse =
            self.shim.call(method::START, &request).context("cannot start the container")?;
        let request = WaitRequest { id: id(), ..Default::default() };
        let ended: WaitResponse = self.shim.wait(method::WAIT, &request).context("the shim is gone")?;
        let request = DeleteRequest { id: id(), ..Default::default() };
        let _: DeleteResponse =
            self.shim.call(method::DELETE, &request).context("cannot delete the container")?;
        self.shim.shut_down()?;
        self.done = true;
        Ok(u8::try_from(ended.exit_status).unwrap_or(u8::MAX))
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let id = || self.shim.id.clone();
        // Each step may find nothing to do; what none of them can remove, `delete` does.
        let kill = KillRequest { id: id(), signal: SIGKILL, all: true, ..Default::default() };
        let killed = self.shim.call::<Empty>(method::KILL, &kill);
        if killed.is_ok() {
            let request = WaitRequest { id: id(), ..Default::default() };
            let _ = self.shim.call::<WaitResponse>(method::WAIT, &request);
        }
        let request = DeleteRequest { id: id(), ..Default::default() };
        let deleted = self.shim.call::<DeleteResponse>(method::DELETE, &request);
        let _ = self.shim.shut_down();
        if deleted.is_err()
            && let Err(error) = self.program.delete()
        {
            eprintln!("gantryd: {error:#}");
        }
    }
}
