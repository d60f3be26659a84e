//! The builder, as doors hold it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gantry_engine::Engine;
use gantry_engine::image::ByteSource;
use gantry_types::Digest;

use crate::build::Build;
use crate::cache::Cache;
use crate::context::{Context, Scratch, sweep};
use crate::output::{Message, Output, output, short};
use crate::remote;
use crate::{BuildRequest, Error, Result};

/// The directory of builds' files below the engine's.
const DIRECTORY: &str = "builds";
/// Of threads that walk through trees.
const STACK_BYTES: usize = 8 << 20;
/// The most builds at once: each has an archive of a client's on disk.
const MAX_BUILDS: usize = 32;

/// Builds images. Clones are the same.
#[derive(Clone)]
pub struct Builder {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    directory: PathBuf,
    cache: Mutex<Cache>,
    running: Arc<tokio::sync::Semaphore>,
}

impl Shared {
    pub(crate) fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what has changed in the cache.
    pub(crate) async fn save_cache(&self) {
        let changes = self.cache().take_changes();
        if let Err(error) = self.engine.build_cache_write(changes).await {
            tracing::warn!(%error, "what was built is not remembered");
        }
    }
}

/// A build that goes on.
pub struct Running {
    /// What it tells. Dropping it cancels the build.
    pub messages: tokio::sync::mpsc::Receiver<Message>,
    /// How it ends. Whatever a quiet build has to say is told before.
    pub end: tokio::task::JoinHandle<Result<Digest>>,
}

impl Builder {
    /// Opens the builder: sweeps what builds of an earlier daemon left, and reads the cache. One per engine.
    ///
    /// # Errors
    /// Those of the database, and of the directory.
    pub async fn open(engine: Engine) -> Result<Self> {
        let directory = engine.settings().root.join(DIRECTORY);
        let at = directory.clone();
        blocking("sweeping builds", move || sweep(&at)).await?;
        let cache = Mutex::new(Cache::open(&engine).await?);
        let running = Arc::new(tokio::sync::Semaphore::new(MAX_BUILDS));
        Ok(Self { shared: Arc::new(Shared { engine, directory, cache, running }) })
    }

    /// Begins a build of an archive, or of what is elsewhere: reads it to its end, and the Dockerfile in it, before it returns.
    ///
    /// # Errors
    /// Invalid and Dockerfile for what is asked for, Archive and Remote for the context, Unsupported for what needs BuildKit.
    pub async fn build(&self, request: BuildRequest, context: ByteSource) -> Result<Running> {
        let permit = Arc::clone(&self.shared.running).try_acquire_owned().map_err(|_| {
            let what = "the builder".to_owned();
            Error::Limit { what, limit: MAX_BUILDS as u64, unit: "builds at once" }
        })?;
        let id = gantry_engine::image::random_id();
        let directory = self.shared.directory.clone();
        let name = request.dockerfile.clone();
        let scratch = blocking("making a directory", move || Scratch::make(&directory, &id)).await?;
        let (scratch, context, dockerfile) = match &request.remote {
            Some(remote) => remote::context(&self.shared.engine, scratch, remote, &name).await?,
            None => {
                blocking("unpacking the build context", move || {
                    let context = Context::unpack(&scratch, context)?;
                    remote::with_dockerfile(scratch, context, &name)
                })
                .await?
            }
        };
        let (out, messages) = output(request.verbosity);
        let build = Build::new(self.clone(), request, &dockerfile, scratch, context)?;
        // On the heap: threads of the daemon's have small stacks.
        let build = Box::new(build);
        let end = tokio::spawn(async move {
            let _permit = permit;
            let mut build = build;
            let built = run(&mut build, out).await;
            // With the files of its context.
            tokio::task::spawn_blocking(move || drop(build));
            built
        });
        Ok(Running { messages, end })
    }
}

/// Builds to the end, or until nobody listens; then nothing of it is left.
async fn run(build: &mut Build, mut out: Output) -> Result<Digest> {
    let built = build.run(&mut out).await;
    build.end(built.as_ref().err()).await;
    match built {
        Ok(digest) => {
            let told = async {
                out.text(format!("Successfully built {}\n", short(Some(&digest)))).await?;
                for tag in build.tags() {
                    build.tag(&digest, tag).await?;
                    out.text(format!("Successfully tagged {}\n", tag.familiar())).await?;
                }
                out.end(&digest).await
            };
            told.await.map(|()| digest)
        }
        Err(error) => {
            out.confess().await;
            Err(error)
        }
    }
}

/// Runs what waits for disks or the kernel on a thread of its own, with a stack for trees as deep as
/// [`MAX_DEPTH`](crate::context::MAX_DEPTH): those of the daemon's have little.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (send, ended) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("build".to_owned()).stack_size(STACK_BYTES);
    let spawned = thread.spawn(move || send.send(work()).map_or((), drop));
    spawned.map_err(Error::io("starting", "a thread"))?;
    ended.await.map_err(|_| Error::Engine(gantry_engine::Error::Panicked(what)))?
}
