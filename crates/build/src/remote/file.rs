//! `ADD` of an address: a file of the web, on disk.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use gantry_engine::Engine;
use gantry_engine::image::{ByteSource, WebFile, redacted};
use gantry_types::{Algorithm, Digest, Hasher};
use rustix::fs::OFlags;

use crate::builder::blocking;
use crate::context::Scratch;
use crate::output::Output;
use crate::tree::reopen;
use crate::{Error, Result};

/// The name of what has none.
const UNNAMED: &str = "__unnamed__";
/// What is written at once.
const BUFFER_BYTES: usize = 256 << 10;

/// A file that was fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// Its last name.
    pub(crate) name: String,
    /// Itself.
    pub(crate) file: OwnedFd,
    /// The digest of its bytes.
    pub(crate) digest: Digest,
}

/// Fetches a file into the scratch directory. Its mode is 0600, its time what the server says or 1970, as with docker.
///
/// # Errors
/// The engine's for what cannot be fetched; Invalid for what has no name where the target, a directory, needs one; Io.
pub(crate) async fn fetch(
    engine: &Engine,
    scratch: &Scratch,
    out: &Output,
    url: &str,
    into_directory: bool,
) -> Result<Fetched> {
    let web = tokio::select! {
        web = engine.web_file(url) => web?,
        () = out.closed() => return Err(Error::Cancelled),
    };
    let name = match name_of(&web) {
        Some(name) => name,
        None if into_directory => {
            let shown = redacted(url);
            return Err(Error::Invalid(format!("cannot determine filename for source {shown}")));
        }
        None => UNNAMED.to_owned(),
    };
    let path = scratch.fetched_path().join(&name);
    let modified = UNIX_EPOCH + Duration::from_secs(web.modified().unwrap_or_default());
    let (listener, is_closed) = (out.downloads(), out.is_closed());
    let source = web.into_source(Vec::new(), listener);
    let stored = blocking("fetching a file", move || {
        let mut file = make(&path)?;
        let digest = store(source, &mut file, &path, is_closed)?;
        let times = fs::FileTimes::new().set_accessed(modified).set_modified(modified);
        file.set_times(times).map_err(Error::io("writing", &path))?;
        let file = reopen(file.as_fd(), OFlags::PATH).map_err(Error::errno("opening", &path))?;
        Ok((file, digest))
    });
    let (file, digest) = stored.await?;
    Ok(Fetched { name, file, digest })
}

/// Writes what comes to a file, and hashes it. Blocks.
fn store(
    mut source: ByteSource,
    file: &mut File,
    path: &Path,
    is_closed: impl Fn() -> bool,
) -> Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = source.read(&mut buffer).map_err(|error| match error.downcast() {
            Ok(error) => Error::Engine(error),
            Err(error) => Error::io("reading", "a file of the web")(error),
        })?;
        if is_closed() {
            return Err(Error::Cancelled);
        }
        if count == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..count]);
        file.write_all(&buffer[..count]).map_err(Error::io("writing", path))?;
    }
}

/// The name of a file: the address's, or the server's. None where nobody gives one that a file may have.
fn name_of(web: &WebFile) -> Option<String> {
    let usable = |name: &String| !matches!(name.as_str(), "." | "..") && !name.contains('\0');
    web.path_name().or_else(|| web.given_name()).filter(usable)
}

fn make(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(Error::io("making", parent))?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map_err(Error::io("making", path))
}
