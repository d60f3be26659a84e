//! The process that answers for disks, and what it is asked for.
//!
//! ```text
//!   test ── a line of JSON, an answer ──► host: trees, pictures
//!     └──── open(2), mmap(2) … ─► kernel ─► its FUSE sessions
//! ```
//! It is a process of its own because whoever has mapped a file holds locks of its memory while a page of it is fetched; a server
//! in the same process that allocates then waits for those locks, and the page for the server. And when a test is killed, its disks
//! end with the host, and nobody hangs on them.
//!
//! The host is the test program again, running the test that [`powercut_host!`](crate::powercut_host) declares. It is in the mount namespace of
//! whoever made the first disk.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use serde::{Deserialize, Serialize};

use super::fuse::Server;
use super::tree::Tree;
use super::{Keep, Names};

/// Says to a test program that it is a host.
const HOST: &str = "GANTRY_POWERCUT_HOST";
/// The test that is one.
const TEST: &str = "powercut_host";

/// Declares the test that the disks of a test program are served by: once, in the program's root module.
#[macro_export]
macro_rules! powercut_host {
    () => {
        /// Not a test of its own: what answers for disks, in a process of its own.
        #[test]
        fn powercut_host() {
            $crate::powercut::serve();
        }
    };
}

/// What is asked for. The answer is the numbers of what was made.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// The picture of an empty disk.
    Empty { names: Names },
    /// A disk.
    Mount { image: u64, path: PathBuf },
    /// A picture.
    Picture { disk: u64 },
    /// A picture.
    AfterCut { image: u64, keep: Keep },
    /// Nothing.
    Record { disk: u64, limit: usize },
    /// Pictures.
    Recorded { disk: u64 },
    /// Nothing.
    Refuse { disk: u64, refuses: bool },
    /// Nothing; the number stays.
    Cut { disk: u64, keep: Keep },
    /// Nothing.
    Unmount { disk: u64 },
    /// Nothing.
    Forget { image: u64 },
}

type Answer = Result<Vec<u64>, String>;

/// A host, and the connection to it.
#[derive(Debug)]
pub(super) struct Host {
    stream: Mutex<BufReader<UnixStream>>,
    child: Mutex<Child>,
}

impl Host {
    pub(super) fn start() -> Arc<Self> {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let child = Command::new(std::env::current_exe().expect("a program"))
            .args(["--exact", TEST, "--nocapture"])
            .env(HOST, "1")
            .stdin(std::os::fd::OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .expect("a process");
        Arc::new(Self { stream: Mutex::new(BufReader::new(ours)), child: Mutex::new(child) })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Panics
    /// When the host cannot do it.
    #[track_caller]
    pub(super) fn ask(&self, request: &Request) -> Vec<u64> {
        match self.exchange(request) {
            Ok(Ok(numbers)) => numbers,
            Ok(Err(error)) => panic!("{request:?}: {error}"),
            Err(error) => {
                panic!("the host of disks: {error}; does this program have gantry_testkit::powercut_host!()?")
            }
        }
    }

    /// As [`Host::ask`], for one number.
    #[track_caller]
    pub(super) fn ask_one(&self, request: &Request) -> u64 {
        self.ask(request)[0]
    }

    /// Asks for what ends something. It ends with the host as well.
    pub(super) fn tell(&self, request: &Request) {
        let _ = self.exchange(request);
    }

    fn exchange(&self, request: &Request) -> std::io::Result<Answer> {
        let mut stream = guard(&self.stream);
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        stream.get_mut().write_all(line.as_bytes())?;
        line.clear();
        stream.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = guard(&self.stream).get_ref().shutdown(std::net::Shutdown::Both);
        let _ = guard(&self.child).wait();
    }
}

/// Answers whoever started this process as a host, until it is gone. Does nothing in a process that is none.
///
/// # Panics
/// When the connection breaks.
pub fn serve() {
    if std::env::var_os(HOST).is_none() {
        return;
    }
    let stream = rustix::io::dup(rustix::stdio::stdin()).expect("a connection");
    let stream = UnixStream::from(stream);
    let mut disks = Disks::default();
    for line in BufReader::new(&stream).lines() {
        let request = serde_json::from_str(&line.expect("a line")).expect("a request");
        let answer: Answer = disks.answer(request);
        let line = serde_json::to_string(&answer).expect("an answer") + "\n";
        (&stream).write_all(line.as_bytes()).expect("somebody who asked");
    }
}

/// What a host has.
#[derive(Debug, Default)]
struct Disks {
    images: HashMap<u64, Tree>,
    mounted: HashMap<u64, Mounted>,
    last: u64,
}

impl Disks {
    fn answer(&mut self, request: Request) -> Answer {
        match request {
            Request::Empty { names } => Ok(self.keep([Tree::new(names)])),
            Request::AfterCut { image, keep } => {
                let left = self.image(image)?.after_cut(keep);
                Ok(self.keep([left]))
            }
            Request::Forget { image } => {
                self.images.remove(&image);
                Ok(Vec::new())
            }
            Request::Mount { image, path } => {
                let mounted = Mounted::new(self.image(image)?.clone(), &path)?;
                self.last += 1;
                self.mounted.insert(self.last, mounted);
                Ok(vec![self.last])
            }
            Request::Picture { disk } => {
                let picture = self.disk(disk)?.picture();
                Ok(self.keep([picture]))
            }
            Request::Record { disk, limit } => {
                self.disk(disk)?.record(limit);
                Ok(Vec::new())
            }
            Request::Recorded { disk } => {
                let pictures = self.disk(disk)?.recorded();
                Ok(self.keep(pictures))
            }
            Request::Refuse { disk, refuses } => {
                self.disk(disk)?.shared.refuses.store(refuses, Ordering::SeqCst);
                Ok(Vec::new())
            }
            Request::Cut { disk, keep } => self.disk(disk)?.cut(keep).map(|()| Vec::new()),
            Request::Unmount { disk } => {
                self.mounted.remove(&disk);
                Ok(Vec::new())
            }
        }
    }

    fn keep(&mut self, pictures: impl IntoIterator<Item = Tree>) -> Vec<u64> {
        let mut numbers = Vec::new();
        for picture in pictures {
            self.last += 1;
            self.images.insert(self.last, picture);
            numbers.push(self.last);
        }
        numbers
    }

    fn image(&self, number: u64) -> Result<&Tree, String> {
        self.images.get(&number).ok_or_else(|| format!("no picture {number}"))
    }

    fn disk(&mut self, number: u64) -> Result<&mut Mounted, String> {
        self.mounted.get_mut(&number).ok_or_else(|| format!("no disk {number}"))
    }
}

/// Pictures of a disk at its syncs.
#[derive(Debug)]
struct Recorder {
    pictures: Vec<Tree>,
    limit: usize,
    /// One of so many syncs is taken.
    stride: usize,
    seen: usize,
}

/// What a disk shares with who answers for it.
#[derive(Debug)]
pub(super) struct Shared {
    tree: Mutex<Tree>,
    recorder: Mutex<Option<Recorder>>,
    refuses: AtomicBool,
}

impl Shared {
    pub(super) fn new(tree: Tree) -> Arc<Self> {
        Arc::new(Self { tree: Mutex::new(tree), recorder: Mutex::new(None), refuses: AtomicBool::new(false) })
    }

    pub(super) fn tree(&self) -> MutexGuard<'_, Tree> {
        guard(&self.tree)
    }

    /// Syncs a file or a directory.
    pub(super) fn sync(&self, number: u64) -> Result<(), Errno> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(Errno::IO);
        }
        let mut tree = guard(&self.tree);
        if let Some(recorder) = &mut *guard(&self.recorder) {
            recorder.take(&tree);
        }
        tree.sync(number)
    }
}

impl Recorder {
    fn take(&mut self, tree: &Tree) {
        self.seen += 1;
        if !self.seen.is_multiple_of(self.stride) {
            return;
        }
        if self.pictures.len() >= self.limit {
            // Every second one goes, and the next come half as often.
            let mut keep = false;
            self.pictures.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
        self.pictures.push(tree.clone());
    }
}

/// A disk that is mounted.
#[derive(Debug)]
struct Mounted {
    path: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl Mounted {
    fn new(tree: Tree, path: &Path) -> Result<Self, String> {
        let mut disk = Self { path: path.to_owned(), shared: Shared::new(tree), session: None };
        disk.mount()?;
        Ok(disk)
    }

    fn picture(&self) -> Tree {
        self.shared.tree().clone()
    }

    fn record(&self, limit: usize) {
        let recorder = Recorder { pictures: Vec::new(), limit: limit.max(2), stride: 1, seen: 0 };
        *guard(&self.shared.recorder) = Some(recorder);
    }

    fn recorded(&self) -> Vec<Tree> {
        let recorder = guard(&self.shared.recorder).take();
        let mut pictures = recorder.map_or_else(Vec::new, |recorder| recorder.pictures);
        pictures.push(self.picture());
        pictures
    }

    fn cut(&mut self, keep: Keep) -> Result<(), String> {
        self.unmount()?;
        let left = self.picture().after_cut(keep);
        // The old mount may still hold the old tree.
        self.shared = Shared::new(left);
        self.mount()
    }

    fn mount(&mut self) -> Result<(), String> {
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("powercut".into()),
            MountOption::DefaultPermissions,
            MountOption::Dev,
            MountOption::Suid,
        ];
        config.acl = SessionACL::All;
        let server = Server::new(Arc::clone(&self.shared));
        let session = Session::new(server, &self.path, &config)
            .map_err(|error| format!("a mount (root, /dev/fuse): {error}"))?;
        self.session = Some(session.spawn().map_err(|error| format!("a thread: {error}"))?);
        Ok(())
    }

    /// Ends the connection, so that nothing that is open can write any more.
    fn unmount(&mut self) -> Result<(), String> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let flags = UnmountFlags::FORCE | UnmountFlags::DETACH;
        rustix::mount::unmount(&self.path, flags).map_err(|errno| format!("our own mount: {errno}"))?;
        // The thread ends with an error of the connection, as was asked for.
        let _ = session.guard.join();
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("{}: {error}", self.path.display());
        }
    }
}

/// Every operation leaves what is locked whole.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
