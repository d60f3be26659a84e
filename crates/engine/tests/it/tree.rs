//! Files of containers through the engine: copies, export, changes, sizes, and volumes that an image fills.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use gantry_engine::image::{ImageImport, byte_source};
use gantry_engine::{
    Container, Engine, FileChangeKind, MountKind, MountRequest, Options, Overwrite, Ownership, Parts,
    PutOptions, VolumeRequest,
};
use gantry_network::{Network, Options as NetworkOptions};
use gantry_primitives::access::TreeHosts;
use gantry_primitives::registry::Anonymous;
use gantry_primitives::tasks::{TaskLimits, TaskOptions, Tasks};
use gantry_primitives::{Access, Store};
use gantry_testkit::{Need, mounts_below, require};
use gantry_types::ErrorKind;
use tokio::sync::watch;

use crate::harness::{self, Fixture, read_all, tar_of};

const FILES: [(&str, &str); 4] = [
    ("etc/passwd", "root:x:0:0::/:/x\nweb:x:33:34::/:/x\n"),
    ("data/seed", "s"),
    ("data/sub/deep", "d"),
    ("x", "x"),
];

async fn make(fixture: &Fixture, name: &str, change: impl FnOnce(&mut Options)) -> Arc<Container> {
    if fixture.names().await.is_empty() {
        fixture.import("files:1", &FILES, &["CMD [\"/x\"]"]).await;
    }
    let mut options = Options::default();
    options.network.mode = "none".into();
    change(&mut options);
    let created = fixture.engine.container_create(Some(name), "files:1", None, options).await.unwrap();
    fixture.engine.container(&created.id).unwrap()
}

fn volume(source: &str, target: &str) -> MountRequest {
    MountRequest {
        kind: MountKind::Volume,
        source: source.into(),
        target: target.into(),
        ..MountRequest::default()
    }
}

async fn put(
    fixture: &Fixture,
    container: &Arc<Container>,
    path: &str,
    options: PutOptions,
    archive: &[u8],
) -> gantry_engine::Result<()> {
    let (send, source) = byte_source();
    let pieces: Vec<_> = archive.chunks(700).map(Bytes::copy_from_slice).collect();
    let sent = tokio::spawn(async move {
        for piece in pieces {
            if send.send(Ok(piece)).await.is_err() {
                return;
            }
        }
    });
    let result = fixture.engine.archive_put(container, path, options, source).await;
    sent.await.unwrap();
    result
}

/// The files of an archive, with their contents and owners.
fn files(archive: &[u8]) -> BTreeMap<String, (String, u64)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        let _ = entry.read_to_string(&mut text);
        let name = entry.path().unwrap().display().to_string();
        (name, (text, entry.header().uid().unwrap()))
    });
    entries.collect()
}

async fn get(fixture: &Fixture, container: &Arc<Container>, path: &str) -> BTreeMap<String, (String, u64)> {
    let (_, stream) = fixture.engine.archive_get(container, path).await.unwrap();
    files(&read_all(stream).await)
}

async fn changes(fixture: &Fixture, container: &Arc<Container>) -> Vec<String> {
    let all = fixture.engine.container_changes(container).await.unwrap();
    let letter = |kind| match kind {
        FileChangeKind::Modified => 'C',
        FileChangeKind::Added => 'A',
        FileChangeKind::Deleted => 'D',
    };
    all.into_iter().map(|change| format!("{} {}", letter(change.kind), change.path)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_into_a_container_and_come_out_of_it() {
    require!(Need::Root);
    let fixture = Fixture::new().await;
    let container = make(&fixture, "copied", |_| {}).await;
    let engine = &fixture.engine;
    put(
        &fixture,
        &container,
        "/etc",
        PutOptions::default(),
        &tar_of(&[("new/file", "1"), (".wh.passwd", "2")]),
    )
    .await
    .unwrap();
    let found = get(&fixture, &container, "/etc").await;
    assert_eq!(found["etc/new/file"].0, "1");
    assert_eq!((found["etc/.wh.passwd"].0.as_str(), found.contains_key("etc/passwd")), ("2", true));
    assert_eq!(
        get(&fixture, &container, "/etc/new/.").await.into_keys().collect::<Vec<_>>(),
        ["./", "./file"]
    );
    let stat = engine.archive_stat(&container, "/etc/new/file").await.unwrap();
    assert_eq!((stat.name.as_str(), stat.size, stat.mode), ("file", 1, 0o644));
    let whole = read_all(engine.container_export(&container).await.unwrap()).await;
    assert!(files(&whole).contains_key("etc/new/file") && files(&whole).contains_key("data/seed"));
    assert_eq!(
        changes(&fixture, &container).await,
        ["C /etc", "A /etc/.wh.passwd", "A /etc/new", "A /etc/new/file"]
    );
    let sizes = engine.container_sizes(&container).await.unwrap();
    assert!(sizes.rw > 0 && sizes.root_fs > sizes.rw, "{sizes:?}");
    for (path, kind) in [
        ("/none", ErrorKind::NotFound),
        ("/x/", ErrorKind::InvalidArgument),
        ("", ErrorKind::InvalidArgument),
    ] {
        assert_eq!(engine.archive_stat(&container, path).await.unwrap_err().kind(), kind, "{path:?}");
        assert_eq!(engine.archive_get(&container, path).await.err().unwrap().kind(), kind, "{path:?}");
    }
    for (path, kind) in [("/none", ErrorKind::NotFound), ("/x", ErrorKind::InvalidArgument)] {
        let refused = put(&fixture, &container, path, PutOptions::default(), &tar_of(&[])).await;
        assert_eq!(refused.unwrap_err().kind(), kind, "{path}");
    }
    assert!(mounts_below(&fixture.engine.settings().root).is_empty(), "nothing stays mounted");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_a_copy_say_what_it_overwrites_and_whose_it_is() {
    require!(Need::Root);
    let fixture = Fixture::new().await;
    let container = make(&fixture, "options", |options| options.process.user = "web".into()).await;
    let same = PutOptions { overwrite: Overwrite::SameKind, ..PutOptions::default() };
    let error = put(&fixture, &container, "/", same, &tar_of(&[("data", "x")])).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot overwrite directory \"data\" with non-directory \"/\"");
    let users = PutOptions { ownership: Ownership::User, ..PutOptions::default() };
    put(&fixture, &container, "/data", users, &tar_of(&[("mine", "x")])).await.unwrap();
    let found = get(&fixture, &container, "/data").await;
    assert_eq!((found["data/mine"].1, found["data/seed"].1), (33, 0));
    put(&fixture, &container, "/", PutOptions::default(), &tar_of(&[("data", "x")])).await.unwrap();
    assert_eq!(get(&fixture, &container, "/data").await["data"].0, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_filled_once_and_copied_from_and_to() {
    require!(Need::Root);
    let fixture = Fixture::new().await;
    let engine = &fixture.engine;
    engine.volume_create(VolumeRequest { name: "kept".into(), ..VolumeRequest::default() }).await.unwrap();
    let first = make(&fixture, "first", |options| options.mounts = vec![volume("kept", "/data")]).await;
    let mountpoint = engine.volume("kept").await.unwrap().mountpoint;
    assert_eq!(std::fs::read(mountpoint.join("sub/deep")).unwrap(), b"d");
    put(&fixture, &first, "/data", PutOptions::default(), &tar_of(&[("seed", "changed")])).await.unwrap();
    assert_eq!(std::fs::read(mountpoint.join("seed")).unwrap(), b"changed");
    std::fs::remove_dir_all(mountpoint.join("sub")).unwrap();
    let mut no_writes = volume("kept", "/data");
    no_writes.read_only = true;
    let second =
        make(&fixture, "second", |options| options.mounts = vec![no_writes, volume("", "/fresh/place")])
            .await;
    assert!(!mountpoint.join("sub").exists(), "it was not empty");
    assert_eq!(get(&fixture, &second, "/data/seed").await["seed"].0, "changed");
    let refused =
        put(&fixture, &second, "/data", PutOptions::default(), &tar_of(&[("a", "b")])).await.unwrap_err();
    assert_eq!(refused.to_string(), "mounted volume is marked read-only");
    put(&fixture, &second, "/fresh/place", PutOptions::default(), &tar_of(&[("a", "b")])).await.unwrap();
    let exported = files(&read_all(engine.container_export(&second).await.unwrap()).await);
    assert!(exported.contains_key("fresh/place/") && !exported.contains_key("fresh/place/a"));
    assert_eq!(exported["data/seed"].0, "s", "an export is without volumes");
    let read_only = make(&fixture, "third", |options| {
        options.isolation.read_only = true;
        options.mounts = vec![volume("kept", "/data")];
    })
    .await;
    let refused =
        put(&fixture, &read_only, "/etc", PutOptions::default(), &tar_of(&[("a", "b")])).await.unwrap_err();
    assert_eq!(refused.to_string(), "container rootfs is marked read-only");
    put(&fixture, &read_only, "/data", PutOptions::default(), &tar_of(&[("a", "b")])).await.unwrap();
    assert!(mounts_below(&fixture.engine.settings().root).is_empty(), "nothing stays mounted");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_told_of() {
    require!(Need::Root);
    let fixture = Fixture::new().await;
    let container = make(&fixture, "told", |_| {}).await;
    let mut events = fixture.engine.events(None).await.unwrap();
    put(&fixture, &container, "/", PutOptions::default(), &tar_of(&[("a", "b")])).await.unwrap();
    get(&fixture, &container, "/a").await;
    read_all(fixture.engine.container_export(&container).await.unwrap()).await;
    for action in ["extract-to-dir", "archive-path", "export"] {
        let (_, event) = events.next().await.unwrap();
        assert_eq!((event.action.as_str(), event.id.as_str()), (action, container.id.as_str()));
        assert_eq!(event.attributes["name"], "told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_lets_the_container_go() {
    require!(Need::Root);
    let fixture = Fixture::new().await;
    let large = "x".repeat(8 << 20);
    fixture.import("files:1", &[("large", &large)], &["CMD [\"/x\"]"]).await;
    let container = make(&fixture, "left", |_| {}).await;
    for _ in 0..3 {
        let (_, mut stream) = fixture.engine.archive_get(&container, "/large").await.unwrap();
        stream.next().await.unwrap().unwrap();
        drop(stream);
        let (send, source) = byte_source();
        let bytes = Bytes::from(tar_of(&[("cut", &large)]));
        send.send(Ok(bytes.slice(..4000))).await.unwrap();
        send.send(Err(std::io::Error::other("the client has left"))).await.unwrap();
        let cut = fixture.engine.archive_put(&container, "/", PutOptions::default(), source).await;
        assert_eq!(cut.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    // The gate is free, and the upper directory is nobody's.
    assert_eq!(get(&fixture, &container, "/large").await["large"].0.len(), large.len());
    assert!(mounts_below(&fixture.engine.settings().root).is_empty());
}

/// A container that runs, and an engine with a shim.
struct Running {
    engine: Engine,
    tasks: Arc<Tasks>,
    container: Arc<Container>,
    _access: watch::Sender<Access>,
    directory: tempfile::TempDir,
}

impl Running {
    async fn new(script: &str, change: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let store = Store::open(gantry_primitives::Options::new(path("store"))).unwrap();
        let options = TaskOptions {
            state: path("state"),
            root: path("store"),
            events: path("state/events.sock"),
            grpc: path("state/grpc.sock"),
            shim: gantry_testkit::shim_binary(),
            runtimes: BTreeMap::new(),
            version: "0".into(),
            debug: false,
            core_scheduling: false,
            limits: TaskLimits::default(),
        };
        let (tasks, _) = Tasks::open(store.clone(), options, |_| {}).await.unwrap();
        let tasks = Arc::new(tasks);
        let network = NetworkOptions { netns_dir: path("netns"), pool_size: 0, ..NetworkOptions::default() };
        let access = Access { hosts: Arc::new(TreeHosts::new(Vec::new())), credentials: Arc::new(Anonymous) };
        let (sender, access) = watch::channel(access);
        let mut settings = harness::settings(path("store"), path("state"));
        settings.runtime = "gantry".into();
        settings.runtimes = BTreeMap::from([("gantry".into(), "io.containerd.gantry.v2".into())]);
        settings.cgroup_parent = format!("/gantry-tree-{}", std::process::id());
        let network = Network::open(network).unwrap();
        let engine = Engine::open(Parts { store, tasks: Arc::clone(&tasks), network, settings, access })
            .await
            .unwrap();
        import_busybox(&engine).await;
        let mut options = Options::default();
        options.network.mode = "none".into();
        options.process.cmd = Some(["/bin/busybox", "sh", "-c", script].map(str::to_owned).to_vec());
        change(&mut options);
        let created = engine.container_create(Some("runs"), "busybox:1", None, options).await.unwrap();
        let container = engine.container(&created.id).unwrap();
        engine.container_start(&container).await.unwrap();
        Self { engine, tasks, container, _access: sender, directory }
    }

    /// The end, without those who would tell the engine of it.
    async fn end(self) -> tempfile::TempDir {
        const SIGKILL: u32 = 9;
        let key = gantry_primitives::tasks::key(&"moby".parse().unwrap(), &self.container.id);
        self.tasks.kill(key.clone(), String::new(), SIGKILL, true).await.unwrap();
        self.tasks.wait(&key, "").await.unwrap();
        self.tasks.delete(key).await.unwrap();
        // The parent of its groups, in each hierarchy.
        let parent = self.engine.settings().cgroup_parent.trim_start_matches('/').to_owned();
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
        for hierarchy in hierarchies.chain(["/sys/fs/cgroup".into()]) {
            let _ = std::fs::remove_dir(hierarchy.join(&parent));
        }
        self.directory
    }
}

async fn import_busybox(engine: &Engine) {
    let mut archive = tar::Builder::new(Vec::new());
    let program = std::fs::read(gantry_testkit::busybox()).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, "bin/busybox", &program[..]).unwrap();
    let request = ImageImport {
        source: Box::new(std::io::Cursor::new(archive.into_inner().unwrap())),
        reference: Some(harness::reference("busybox:1")),
        message: String::new(),
        changes: Vec::new(),
        platform: None,
    };
    engine.image_import(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_container_shows_what_it_made_and_what_is_mounted() {
    require!(Need::Root);
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("of-the-host"), "1").unwrap();
    let (mut bind, mut memory) = (volume(host.path().to_str().unwrap(), "/bound"), volume("", "/memory"));
    bind.kind = MountKind::Bind;
    memory.kind = MountKind::Tmpfs;
    let script = "echo made > /made; echo kept > /memory/file; exec /bin/busybox sleep 1000";
    let running = Running::new(script, |options| options.mounts = vec![bind, memory]).await;
    let (engine, container) = (&running.engine, &running.container);
    let deadline = std::time::Instant::now() + gantry_testkit::DEADLINE;
    while engine.archive_stat(container, "/memory/file").await.is_err() {
        assert!(std::time::Instant::now() < deadline, "the container makes its files");
        tokio::task::yield_now().await;
    }
    let read = async |path: &str| {
        let (_, stream) = engine.archive_get(container, path).await.unwrap();
        files(&read_all(stream).await)
    };
    assert_eq!(read("/memory/file").await["file"].0, "kept\n");
    assert_eq!(read("/bound").await["bound/of-the-host"].0, "1");
    let (send, source) = byte_source();
    send.send(Ok(Bytes::from(tar_of(&[("put", "p")])))).await.unwrap();
    drop(send);
    engine.archive_put(container, "/bound", PutOptions::default(), source).await.unwrap();
    assert_eq!(std::fs::read(host.path().join("put")).unwrap(), b"p");
    let whole = read("/").await;
    assert!(
        whole.contains_key("/made") && whole.contains_key("/memory/file") && whole.contains_key("/proc/")
    );
    assert!(!whole.keys().any(|name| name.starts_with("/proc/1") || name.starts_with("/dev/n")), "{whole:?}");
    let exported = files(&read_all(engine.container_export(container).await.unwrap()).await);
    assert!(exported.contains_key("made") && exported.contains_key("memory/"));
    assert!(!exported.contains_key("memory/file") && !exported.contains_key("bound/put"));
    let changed: Vec<_> =
        engine.container_changes(container).await.unwrap().into_iter().map(|one| one.path).collect();
    assert_eq!(changed, ["/bound", "/made", "/memory"]);
    let _directory = running.end().await;
}
