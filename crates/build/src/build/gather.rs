//! What `ADD` fetches before it looks for files.

use std::os::fd::{AsFd, OwnedFd};

use gantry_types::Digest;

use super::Build;
use super::copy::Job;
use crate::builder::blocking;
use crate::output::Output;
use crate::remote::{Remote, fetch, git};
use crate::tree::{Source, find_directory};
use crate::{Error, Result};

/// What an instruction names.
pub(super) enum Item {
    /// Files below the root that it copies from.
    Path(String),
    /// What was fetched.
    Fetched(Source),
}

impl Build {
    /// Fetches what is elsewhere.
    ///
    /// # Errors
    /// Copy, with what went wrong.
    pub(super) async fn gather(&self, out: &mut Output, job: &Job<'_>) -> Result<Vec<Item>> {
        let checksum = checksum(job)?;
        let mut items = Vec::with_capacity(job.wanted.sources.len());
        for source in &job.wanted.sources {
            items.push(match Remote::parse(source) {
                Ok(None) => Item::Path(source.clone()),
                Ok(Some(_)) if job.name == "COPY" => {
                    // What only looks like a repository may be a file.
                    match source.contains("://") {
                        true => return Err(failed(job, "source can't be a URL for COPY")),
                        false => Item::Path(source.clone()),
                    }
                }
                Ok(Some(remote)) => {
                    let fetched = self.fetch(out, job, &remote, checksum.as_ref()).await;
                    Item::Fetched(fetched.map_err(|error| match error {
                        Error::Cancelled => error,
                        error => failed(job, gantry_engine::chain(&error)),
                    })?)
                }
                Err(error) => return Err(failed(job, error.to_string())),
            });
        }
        Ok(items)
    }

    async fn fetch(
        &self,
        out: &mut Output,
        job: &Job<'_>,
        remote: &Remote,
        checksum: Option<&Digest>,
    ) -> Result<Source> {
        match remote {
            Remote::Web(url) => {
                let into_directory = job.wanted.target.ends_with('/');
                let fetched = fetch(self.engine(), &self.scratch, out, url, into_directory).await?;
                out.text("\n").await?;
                match checksum {
                    Some(wanted) if *wanted != fetched.digest => {
                        Err(Error::Invalid(format!("digest mismatch {}: {wanted}", fetched.digest)))
                    }
                    _ => Ok(Source {
                        name: fetched.name.into_bytes(),
                        file: fetched.file,
                        is_dir: false,
                        is_fetched: true,
                        path: String::new(),
                    }),
                }
            }
            Remote::Git(source) => {
                let place = self.scratch.fetched_path();
                let metadata = match job.copy.keeps_git {
                    true => git::Metadata::Kept,
                    false => git::Metadata::Removed,
                };
                tokio::select! {
                    done = git::checkout(source, &place, self.engine().proxies(), metadata) => done?,
                    () = out.closed() => return Err(Error::Cancelled),
                }
                let directory = source.directory.clone();
                blocking("looking for files", move || {
                    let root = std::fs::File::open(&place).map_err(Error::io("opening", &place))?;
                    let root = OwnedFd::from(root);
                    find_directory(root.as_fd(), &directory).map_err(Error::Invalid)
                })
                .await
            }
        }
    }
}

fn failed(job: &Job<'_>, message: impl Into<String>) -> Error {
    Error::Copy { instruction: job.name, message: message.into() }
}

/// The digest that `--checksum` says, which is of one file of the web.
fn checksum(job: &Job<'_>) -> Result<Option<Digest>> {
    let text = job.wanted.checksum.as_str();
    if text.is_empty() {
        return Ok(None);
    }
    let [source] = &job.wanted.sources[..] else {
        return Err(failed(job, "checksum can't be specified for multiple sources"));
    };
    if !job.wanted.texts.is_empty() || !matches!(Remote::parse(source), Ok(Some(Remote::Web(_)))) {
        return Err(failed(job, "checksum requires HTTP(S) sources"));
    }
    let digest =
        Digest::parse(text).map_err(|error| failed(job, format!("invalid checksum {text:?}: {error}")))?;
    if digest.algorithm() != gantry_types::Algorithm::Sha256 {
        return Err(failed(job, "a checksum has to be of sha256"));
    }
    Ok(Some(digest))
}
