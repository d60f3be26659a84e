//! The mount, and the cut.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use super::fuse::Server;
use super::tree::Tree;
use super::{Keep, Names};

/// `CLONE_NEWNS`.
const NEW_MOUNT_NAMESPACE: u64 = 0x0002_0000;

/// Runs `test` on a thread with a mount namespace of its own, which its threads and children share. Whatever is mounted there is
/// gone when they are, even if they are killed.
///
/// # Panics
/// When the kernel refuses, and when `test` does.
pub fn isolated<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    let run = move || {
        gantry_sys::ns::unshare(NEW_MOUNT_NAMESPACE).expect("a mount namespace");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).expect("private mounts");
        test()
    };
    let result = std::thread::scope(|scope| scope.spawn(run).join());
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What is on a disk, and what is on its way there.
#[derive(Debug, Clone)]
pub struct Image(Tree);

impl Image {
    /// What is left of it when the power goes now.
    #[must_use]
    pub fn after_cut(&self, keep: Keep) -> Self {
        Self(self.0.after_cut(keep))
    }
}

/// Pictures of a disk at its syncs.
#[derive(Debug)]
struct Recorder {
    pictures: Vec<Image>,
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
        self.pictures.push(Image(tree.clone()));
    }
}

/// A mounted disk in a temporary directory.
#[derive(Debug)]
pub struct Disk {
    directory: tempfile::TempDir,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// Mounts an empty disk.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn new(names: Names) -> Self {
        Self::of(Image(Tree::new(names)))
    }

    /// Mounts a disk with what `image` has; see [`Image::after_cut`].
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn of(image: Image) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut disk = Self { directory, shared: Shared::new(image.0), session: None };
        disk.mount();
        disk
    }

    /// Where it is mounted, also after a cut.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A picture of it, for a cut at this moment that nobody sees but who mounts the picture.
    pub fn image(&self) -> Image {
        Image(self.shared.tree().clone())
    }

    /// Takes a picture before every sync from now on, for [`Disk::recorded`]; fewer, and evenly, when they come to be more than
    /// `limit`. A cut ends it.
    pub fn record(&self, limit: usize) {
        let recorder = Recorder { pictures: Vec::new(), limit: limit.max(2), stride: 1, seen: 0 };
        *guard(&self.shared.recorder) = Some(recorder);
    }

    /// The pictures that [`Disk::record`] asked for, in order, and the last one of now.
    pub fn recorded(&self) -> Vec<Image> {
        let recorder = guard(&self.shared.recorder).take();
        let mut pictures = recorder.map_or_else(Vec::new, |recorder| recorder.pictures);
        pictures.push(self.image());
        pictures
    }

    /// Makes every sync fail with `EIO` from now on, as of a disk that is broken.
    pub fn break_syncs(&self) {
        self.shared.refuses.store(true, Ordering::SeqCst);
    }

    /// Ends what [`Disk::break_syncs`] began.
    pub fn mend_syncs(&self) {
        self.shared.refuses.store(false, Ordering::SeqCst);
    }

    /// Cuts the power and starts again. What was open gives errors from now on.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn cut(&mut self, keep: Keep) {
        self.unmount();
        let left = self.image().after_cut(keep);
        // The old mount may still hold the old tree.
        self.shared = Shared::new(left.0);
        self.mount();
    }

    fn mount(&mut self) {
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("powercut".into()),
            MountOption::DefaultPermissions,
            MountOption::Dev,
            MountOption::Suid,
        ];
        config.acl = SessionACL::All;
        let server = Server::new(Arc::clone(&self.shared));
        let session =
            Session::new(server, self.directory.path(), &config).expect("a mount (root, /dev/fuse)");
        self.session = Some(session.spawn().expect("a thread"));
    }

    /// Ends the connection, so that nothing that is open can write any more.
    fn unmount(&mut self) {
        let Some(session) = self.session.take() else { return };
        let flags = UnmountFlags::FORCE | UnmountFlags::DETACH;
        rustix::mount::unmount(self.directory.path(), flags).expect("our own mount");
        // The thread ends with an error of the connection, as was asked for.
        let _ = session.guard.join();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Every operation leaves what is locked whole.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
