//! The mount, and the cut, as tests see them; what they ask for is done by the host.

use std::path::Path;
use std::sync::Arc;

use rustix::mount::MountPropagationFlags;

use super::host::{Host, Request};
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
pub struct Image(Arc<Picture>);

/// A picture that the host has.
#[derive(Debug)]
struct Picture {
    host: Arc<Host>,
    number: u64,
}

impl Image {
    fn new(host: &Arc<Host>, number: u64) -> Self {
        Self(Arc::new(Picture { host: Arc::clone(host), number }))
    }

    /// What is left of it when the power goes now.
    #[must_use]
    pub fn after_cut(&self, keep: Keep) -> Self {
        let Picture { host, number } = &*self.0;
        Self::new(host, host.ask_one(&Request::AfterCut { image: *number, keep }))
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        self.host.tell(&Request::Forget { image: self.number });
    }
}

/// A mounted disk in a temporary directory.
#[derive(Debug)]
pub struct Disk {
    directory: tempfile::TempDir,
    host: Arc<Host>,
    number: u64,
}

impl Disk {
    /// Mounts an empty disk.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn new(names: Names) -> Self {
        let host = Host::start();
        let empty = host.ask_one(&Request::Empty { names });
        Self::of(Image::new(&host, empty))
    }

    /// Mounts a disk with what `image` has; see [`Image::after_cut`].
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn of(image: Image) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let host = Arc::clone(&image.0.host);
        let mount = Request::Mount { image: image.0.number, path: directory.path().to_owned() };
        let number = host.ask_one(&mount);
        Self { directory, host, number }
    }

    /// Where it is mounted, also after a cut.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A picture of it, for a cut at this moment that nobody sees but who mounts the picture.
    pub fn image(&self) -> Image {
        Image::new(&self.host, self.host.ask_one(&Request::Picture { disk: self.number }))
    }

    /// Takes a picture before every sync from now on, for [`Disk::recorded`]; fewer, and evenly, when they come to be more than
    /// `limit`. A cut ends it.
    pub fn record(&self, limit: usize) {
        self.host.ask(&Request::Record { disk: self.number, limit });
    }

    /// The pictures that [`Disk::record`] asked for, in order, and the last one of now.
    pub fn recorded(&self) -> Vec<Image> {
        let pictures = self.host.ask(&Request::Recorded { disk: self.number });
        pictures.into_iter().map(|number| Image::new(&self.host, number)).collect()
    }

    /// Makes every sync fail with `EIO` from now on, as of a disk that is broken.
    pub fn break_syncs(&self) {
        self.host.ask(&Request::Refuse { disk: self.number, refuses: true });
    }

    /// Ends what [`Disk::break_syncs`] began.
    pub fn mend_syncs(&self) {
        self.host.ask(&Request::Refuse { disk: self.number, refuses: false });
    }

    /// Cuts the power and starts again. What was open gives errors from now on.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn cut(&mut self, keep: Keep) {
        self.host.ask(&Request::Cut { disk: self.number, keep });
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.host.tell(&Request::Unmount { disk: self.number });
    }
}
