//! `cp`, as tar streams in both directions.

mod extract;
pub(crate) mod pack;
mod place;

use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use bytes::Bytes;
use clap::Args;
use gantry_docker_api::container::PathStat;
use gantry_docker_api::header;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use super::path as container_path;
use crate::client::{ApiError, Call, Client};
use crate::command::Verb;
use crate::format::words::size;
use crate::image::archive::{channel, upload};
use crate::output;
use crate::session::Session;
use crate::terminal;
use extract::{Extraction, Ownership};
use place::{Source, Target};

/// How many chunks of an archive may wait.
const WAITING: usize = 8;
/// The longest header that is read.
const MAX_STAT: usize = 64 << 10;

/// Copy files/folders between a container and the local filesystem
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Suppress progress output during copy
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, a path, or - for an archive on standard input
    #[arg(value_name = "SRC_PATH")]
    source: String,
    /// CONTAINER:PATH, a path, or - for an archive on standard output
    #[arg(value_name = "DEST_PATH")]
    target: String,
}

/// `container:path`; what is absolute, or begins with a dot, is ours.
fn split(argument: &str) -> (Option<&str>, &str) {
    match argument.split_once(':') {
        Some((container, path))
            if !argument.starts_with('/') && !container.starts_with('.') && !container.is_empty() =>
        {
            (Some(container), path)
        }
        _ => (None, argument),
    }
}

impl Verb for Copy {
    async fn run(self, session: &Session) -> Result<u8> {
        let client = session.client()?;
        match (split(&self.source), split(&self.target)) {
            ((Some(container), source), (None, target)) => self.down(client, container, source, target).await,
            ((None, source), (Some(container), target)) => self.up(client, source, container, target).await,
            ((Some(_), _), (Some(_), _)) => bail!("copying between containers is not supported"),
            _ => bail!("must specify at least one container source"),
        }
    }
}

impl Copy {
    async fn down(&self, client: &Client, container: &str, source: &str, target: &str) -> Result<u8> {
        ensure!(!source.is_empty(), "the source path cannot be empty");
        let mut source = Source::new(source);
        if self.follow_link {
            let stat = stat(client, container, &source.path).await?;
            if stat.mode & PathStat::SYMLINK != 0 {
                source.path = place::resolve(&source.path, &stat.link_target);
            }
        }
        let call = Call::get(container_path(container, "/archive")).query("path", &source.path);
        let response = client.send(call).await?;
        let stat = stat_of(response.headers())?;
        let mut body = response.into_body();
        if target == "-" {
            ensure!(!terminal::is_stdout(), "cowardly refusing to write an archive to a terminal");
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame.context("the archive broke off")?.into_data() {
                    output::write(&data);
                }
            }
            return Ok(0);
        }
        let is_dir = stat.mode & PathStat::DIRECTORY != 0;
        let place = place::local_target(target, &source, is_dir)?;
        let ownership = if self.archive { Ownership::Kept } else { Ownership::Ours };
        let extraction = Extraction::new(&place, source.base(&stat.name), ownership)?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let work =
            tokio::task::spawn_blocking(move || extraction.run(Pipe { receiver, chunk: Bytes::new() }));
        let mut total: u64 = 0;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.context("the archive broke off")?.into_data() else { continue };
            total += data.len() as u64;
            // One that has ended has an error to tell, or the archive's end behind it.
            let _ = sender.send(data).await;
        }
        drop(sender);
        work.await.context("the extraction ended")??;
        self.tell(total, target);
        Ok(0)
    }

    async fn up(&self, client: &Client, source: &str, container: &str, target: &str) -> Result<u8> {
        ensure!(!target.is_empty(), "the destination path cannot be empty");
        let found = remote_target(client, container, target).await?;
        let (dir, body, count) = if source == "-" {
            ensure!(!terminal::is_stdin(), "cowardly refusing to read an archive from a terminal");
            ensure!(found.exists && found.is_dir, "destination \"{container}:{target}\" must be a directory");
            (found.path, upload(io::stdin()), None)
        } else {
            let mut source = Source::new(source);
            let mut status =
                std::fs::symlink_metadata(&source.path).with_context(|| format!("lstat {}", source.path))?;
            if status.is_symlink() && (self.follow_link || source.is_directory_asserted) {
                let real = std::fs::canonicalize(&source.path).with_context(|| source.path.clone())?;
                status = std::fs::symlink_metadata(&real)?;
                source.name = source.base_name();
                source.path = real.to_str().context("a path is no UTF-8")?.to_owned();
            }
            let is_dir = status.is_dir();
            ensure!(is_dir || !source.is_directory_asserted, "{}: not a directory", source.path);
            let (dir, name) = place::remote(&found, &source, is_dir)?;
            let (sender, body) = channel();
            let root = Path::new(&source.path).to_owned();
            let work = tokio::task::spawn_blocking(move || pack::pack(&root, &name, sender));
            (dir, body, Some(work))
        };
        let call = Call::new(Method::PUT, container_path(container, "/archive"))
            .query("path", dir)
            .query("noOverwriteDirNonDir", "true")
            .query_some("copyUIDGID", self.archive.then_some("true"))
            .stream("application/x-tar", body);
        client.unit(call).await?;
        if let Some(work) = count {
            let total = work.await.context("the packing ended")??;
            self.tell(total, &format!("{container}:{target}"));
        }
        Ok(0)
    }

    fn tell(&self, bytes: u64, target: &str) {
        if !self.quiet {
            let bytes = size(i64::try_from(bytes).unwrap_or(i64::MAX));
            output::note(format!("Successfully copied {bytes} to {target}"));
        }
    }
}

/// Looks at a path in a container.
async fn stat(client: &Client, container: &str, path: &str) -> Result<PathStat> {
    let call = Call::new(Method::HEAD, container_path(container, "/archive")).query("path", path);
    stat_of(client.send(call).await?.headers())
}

fn stat_of(headers: &HeaderMap) -> Result<PathStat> {
    let value = headers.get(header::PATH_STAT).context("the engine does not say what the path is")?;
    ensure!(value.len() <= MAX_STAT, "what the engine says of the path is too long");
    let text =
        base64::engine::general_purpose::STANDARD.decode(value).context("the path's status is no base64")?;
    serde_json::from_slice(&text).context("the path's status is not understood")
}

/// Where in the container it goes: a link is followed once, as docker does.
async fn remote_target(client: &Client, container: &str, target: &str) -> Result<Target> {
    let mut path = target.to_owned();
    for _ in 0..2 {
        match stat(client, container, &path).await {
            Ok(stat) if stat.mode & PathStat::SYMLINK != 0 => path = place::resolve(&path, &stat.link_target),
            Ok(stat) => {
                return Ok(Target { path, exists: true, is_dir: stat.mode & PathStat::DIRECTORY != 0 });
            }
            Err(error) if is_about_container(&error, container) => return Err(error),
            Err(_) => break,
        }
    }
    Ok(Target { path, exists: false, is_dir: false })
}

/// A path that is not there may be made; a container that is not cannot.
fn is_about_container(error: &anyhow::Error, _container: &str) -> bool {
    match error.downcast_ref::<ApiError>() {
        // An answer to HEAD has no text: the archive itself will say.
        Some(error) => error.status != StatusCode::NOT_FOUND,
        None => true,
    }
}

/// The chunks of a body as a file.
struct Pipe {
    receiver: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_told_from_paths() {
        for (argument, container, path) in [
            ("c:/a", Some("c"), "/a"),
            ("c:a:b", Some("c"), "a:b"),
            ("/a:b", None, "/a:b"),
            ("./a:b", None, "./a:b"),
            ("../a:b", None, "../a:b"),
            ("a", None, "a"),
            ("-", None, "-"),
        ] {
            assert_eq!(split(argument), (container, path), "{argument}");
        }
    }
}
