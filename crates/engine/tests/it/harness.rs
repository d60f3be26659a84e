//! An engine in a directory of its own, which runs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::{Arc, Mutex};

use gantry_engine::image::{Change, ImageImport, ImageProgress, ProgressListener};
use gantry_engine::{Engine, LogOptions, Parts, Settings};
use gantry_network::{Network, Options as NetworkOptions};
use gantry_primitives::access::TreeHosts;
use gantry_primitives::registry::Anonymous;
use gantry_primitives::tasks::{TaskLimits, TaskOptions, Tasks};
use gantry_primitives::{Access, Options, Store};
use gantry_types::{Digest, Reference};
use tokio::sync::watch;

/// An engine and the directory that it goes with.
pub(crate) struct Fixture {
    pub(crate) engine: Engine,
    _access: watch::Sender<Access>,
    _directory: tempfile::TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        let store = Store::open(Options::new(path("store"))).expect("the store opens");
        let tasks = TaskOptions {
            state: path("state"),
            root: path("store"),
            events: path("state/events.sock"),
            grpc: path("state/grpc.sock"),
            shim: "/nowhere/shim".into(),
            runtimes: BTreeMap::new(),
            version: "0".into(),
            debug: false,
            core_scheduling: false,
            limits: TaskLimits::default(),
        };
        let (tasks, _) = Tasks::open(store.clone(), tasks, |_| {}).await.expect("the tasks open");
        let options = NetworkOptions { netns_dir: path("netns"), pool_size: 0, ..NetworkOptions::default() };
        let network = Network::open(options).expect("the network opens");
        let access = Access { hosts: Arc::new(TreeHosts::new(Vec::new())), credentials: Arc::new(Anonymous) };
        let (sender, access) = watch::channel(access);
        let settings = settings(path("store"), path("state"));
        let parts = Parts { store, tasks: Arc::new(tasks), network, settings, access };
        let engine = Engine::open(parts).await.expect("the engine opens");
        Self { engine, _access: sender, _directory: directory }
    }

    /// Imports files under a name, if one is given.
    pub(crate) async fn import(&self, name: &str, files: &[(&str, &str)], changes: &[&str]) -> Digest {
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        let request = ImageImport {
            source: Box::new(Cursor::new(tar_of(files))),
            reference: (!name.is_empty()).then(|| reference(name)),
            message: String::new(),
            changes: Change::parse(&changes).expect("changes"),
            platform: None,
        };
        self.engine.image_import(request).await.expect("an import")
    }

    /// All images: names, or what has none by its id.
    pub(crate) async fn names(&self) -> Vec<String> {
        let all = self.engine.images().await.expect("a list");
        let mut names: Vec<String> = all
            .into_iter()
            .flat_map(|image| match image.tags.is_empty() {
                true => vec![image.target.digest.to_string()],
                false => image.tags,
            })
            .collect();
        names.sort();
        names
    }
}

pub(crate) fn settings(root: std::path::PathBuf, state: std::path::PathBuf) -> Settings {
    Settings {
        root,
        state,
        runtime: "runc".into(),
        runtimes: BTreeMap::from([("runc".into(), "io.containerd.runc.v2".into())]),
        log: LogOptions::default(),
        cgroup_parent: "/none".into(),
        runc_like: BTreeSet::new(),
        systemd_cgroups: false,
        init: None,
        init_by_default: false,
        shm_size: 0,
        ulimits: Vec::new(),
        dns: Vec::new(),
        dns_search: Vec::new(),
        dns_options: Vec::new(),
        seccomp_profile: None,
        no_new_privileges: false,
        cgroupns_mode: String::new(),
        ipc_mode: String::new(),
        cdi_directories: Vec::new(),
        show_foreign: false,
        userns: gantry_engine::UsernsSettings::default(),
    }
}

pub(crate) fn reference(name: &str) -> Reference {
    Reference::parse_familiar(name).expect("a reference")
}

/// A tar of files.
pub(crate) fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, text.as_bytes()).expect("memory is there");
    }
    archive.into_inner().expect("memory is there")
}

/// Collects what an operation tells.
pub(crate) fn listener() -> (ProgressListener, Arc<Mutex<Vec<ImageProgress>>>) {
    let heard: Arc<Mutex<Vec<ImageProgress>>> = Arc::default();
    let ear = Arc::clone(&heard);
    (Arc::new(move |progress| ear.lock().expect("no panic").push(progress)), heard)
}

/// All bytes of a stream.
pub(crate) async fn read_all(mut stream: gantry_engine::image::ByteStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await.expect("a whole stream") {
        all.extend_from_slice(&bytes);
    }
    all
}
