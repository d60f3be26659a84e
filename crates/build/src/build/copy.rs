//! `COPY` and `ADD`: files of the context, of a stage or of an image, over those of the image.

use std::os::fd::{AsFd, OwnedFd};

use gantry_engine::image::Workspace;
use gantry_types::Digest;

use super::gather::Item;
use super::{Build, State};
use crate::builder::blocking;
use crate::dockerfile::{Transfer, shell};
use crate::ignore::Ignore;
use crate::output::Output;
use crate::place::{Archives, Place};
use crate::plan::called;
use crate::settings::clean;
use crate::tree::{Owners, Source, find, find_with_parents, hash};
use crate::{Error, Result, place, sieve, users};

/// The largest mode: all permissions, and the three bits before them.
const MAX_MODE: u32 = 0o7777;

/// What an instruction says, its variables put in.
pub(super) struct Wanted {
    pub(super) sources: Vec<String>,
    /// As it is written; a slash at its end counts.
    pub(super) target: String,
    mode: Option<u32>,
    chown: String,
    /// What a file of the web must be; empty for anything.
    pub(super) checksum: String,
    /// Patterns of what is left out.
    exclude: Vec<String>,
    pub(super) texts: Vec<String>,
}

/// One instruction.
pub(super) struct Job<'a> {
    /// The number of its stage.
    number: usize,
    /// `COPY` or `ADD`.
    pub(super) name: &'static str,
    pub(super) copy: &'a Transfer,
    pub(super) wanted: Wanted,
    owners: Owners,
}

/// What is copied, with its hash.
struct Found {
    sources: Vec<Source>,
    hash: String,
    /// Keeps the files.
    _files: Option<Workspace>,
}

impl Build {
    pub(super) async fn copy(
        &mut self,
        out: &mut Output,
        number: usize,
        state: &mut State,
        name: &'static str,
        copy: &Transfer,
        env: &[String],
    ) -> Result<()> {
        let fail = |message| Error::Copy { instruction: name, message };
        let wanted = self.wanted(copy, env).map_err(fail)?;
        // Links to what is not there, changes of owner, and archives are said by the instruction.
        let owners = match copy.from.is_empty() || !wanted.chown.is_empty() {
            true => Owners::Changed,
            false => Owners::Kept,
        };
        let job = Job { number, name, copy, wanted, owners };
        let items = self.gather(out, &job).await?;
        let found = self.find(out, state, &job, items).await?;
        let wanted = &job.wanted;
        let mut target = self.target(state, &wanted.target);
        if copy.parents && !target.ends_with('/') {
            target.push('/');
        }
        if found.sources.len() > 1 && !target.ends_with('/') {
            return Err(fail(format!(
                "When using {name} with more than one source file, the destination must be a directory and end with a /"
            )));
        }
        let chown = match wanted.chown.as_str() {
            "" => String::new(),
            chown => format!("--chown={chown} "),
        };
        let said = format!("{name} {chown}{} in {} ", found.hash, wanted.target);
        let text = state.settings.comment(&said);
        let more = format!("{:?} {owners:?} {}", wanted.mode, target);
        let key = self.key(state, &text, &more);
        if self.probe(out, state, &key, &text).await? {
            return Ok(());
        }
        let archives = if name == "ADD" { Archives::Unpacked } else { Archives::Copied };
        let place = Place { path: target, owner: None, mode: wanted.mode, archives };
        let digest = self.transfer(state, &text, job, found, place).await?;
        self.finish(out, state, &key, &text, &digest).await
    }

    fn wanted(&self, copy: &Transfer, env: &[String]) -> Result<Wanted, String> {
        let escape = self.dockerfile.escape;
        let word = |text: &str| shell::word(text, escape, env);
        let sources = copy.sources.iter().map(|source| word(source)).collect::<Result<Vec<_>, _>>()?;
        let mode = match word(&copy.chmod)?.as_str() {
            "" => None,
            text => match u32::from_str_radix(text, 8) {
                Ok(mode) if mode <= MAX_MODE => Some(mode),
                _ => {
                    return Err(format!(
                        "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
                    ));
                }
            },
        };
        let mut texts = Vec::new();
        for heredoc in &copy.texts {
            let text =
                if heredoc.expands { shell::text(&heredoc.text, escape, env)? } else { heredoc.text.clone() };
            self.scratch.write_text(&heredoc.name, &text).map_err(|error| error.to_string())?;
            texts.push(heredoc.name.clone());
        }
        let (target, chown, checksum) = (word(&copy.target)?, word(&copy.chown)?, word(&copy.checksum)?);
        let exclude = copy.exclude.iter().map(|pattern| word(pattern)).collect::<Result<Vec<_>, _>>()?;
        Ok(Wanted { sources, target, mode, chown, checksum, exclude, texts })
    }

    /// The absolute target. What ends with a slash or `/.` is a directory.
    fn target(&self, state: &State, written: &str) -> String {
        let is_dir = written.ends_with('/') || written == "." || written.ends_with("/.");
        let whole = match written.starts_with('/') {
            true => clean(written),
            false => clean(&format!("{}/{written}", state.settings.image.working_dir)),
        };
        if is_dir && whole != "/" { format!("{whole}/") } else { whole }
    }

    /// The root that things are copied from.
    async fn source_root(
        &self,
        out: &Output,
        number: usize,
        state: &State,
        copy: &Transfer,
    ) -> Result<(OwnedFd, Option<Workspace>)> {
        if copy.from.is_empty() {
            return Ok((self.context.root()?, None));
        }
        let image = match called(&self.dockerfile, &copy.from, number) {
            Some(other) => match &self.result(other)?.image {
                Some(image) => image.clone(),
                None => return Err(Error::Invalid(format!("stage {} has no files", copy.from))),
            },
            None => self.find_or_pull(out, &copy.from, state.platform.as_ref()).await?,
        };
        let files = self.engine().image_files(&image).await?;
        Ok((files.root()?, Some(files)))
    }

    async fn find(&self, out: &Output, state: &State, job: &Job<'_>, items: Vec<Item>) -> Result<Found> {
        let (wanted, name, owners) = (&job.wanted, job.name, job.owners);
        let needs_root = items.iter().any(|item| matches!(item, Item::Path(_)));
        if needs_root && job.copy.from.is_empty() && !self.context.is_given() {
            return Err(Error::Copy { instruction: name, message: "missing build context".to_owned() });
        }
        let (root, files) = self.source_root(out, job.number, state, job.copy).await?;
        let texts = if wanted.texts.is_empty() { None } else { Some(self.scratch.open("texts")?) };
        let names = wanted.texts.clone();
        let (parents, staged) = (job.copy.parents && needs_root, self.scratch.fetched_path());
        let exclude = Ignore::of(&wanted.exclude).map_err(|error| fail_of(name, error))?;
        let found = blocking("looking for files", move || {
            let fail = |message| Error::Copy { instruction: name, message };
            let mut found = Vec::new();
            let mut below = Vec::new();
            for item in items {
                match item {
                    Item::Path(path) if parents => {
                        below.extend(find_with_parents(root.as_fd(), &path).map_err(fail)?)
                    }
                    Item::Path(path) => found.extend(find(root.as_fd(), &path).map_err(fail)?),
                    Item::Fetched(source) => found.push(source),
                }
            }
            if parents {
                found.push(sieve::with_parents(root.as_fd(), below, &exclude, &staged)?);
            } else if !exclude.is_empty() {
                found = sieve::without(found, &exclude, &staged)?;
            }
            for text in names {
                let Some(root) = &texts else { continue };
                found.extend(find(root.as_fd(), &text.replace(['\\', '*', '?', '['], "\\$0")).map_err(fail)?);
            }
            let hash = hashed(&found, owners)?;
            Ok((found, hash))
        });
        let (sources, hash) = found.await?;
        Ok(Found { sources, hash, _files: files })
    }

    async fn transfer(
        &self,
        state: &State,
        text: &str,
        job: Job<'_>,
        found: Found,
        mut place: Place,
    ) -> Result<Digest> {
        let (name, chown, owners) = (job.name, job.wanted.chown, job.owners);
        let image = self.config(state, text);
        let workspace = self.engine().workspace(state.image.as_ref()).await?;
        let root = workspace.root()?;
        blocking("copying files", move || {
            let fail = |message| Error::Copy { instruction: name, message };
            place.owner = match (chown.as_str(), owners) {
                ("", Owners::Kept) => None,
                ("", Owners::Changed) => Some((0, 0)),
                (chown, _) => Some(users::owner(root.as_fd(), chown).map_err(fail)?),
            };
            found.sources.iter().try_for_each(|source| place::copy(root.as_fd(), source, &place))
        })
        .await?;
        Ok(self.engine().workspace_commit(workspace, state.image.clone(), image).await?)
    }
}

fn fail_of(instruction: &'static str, error: Error) -> Error {
    Error::Copy { instruction, message: error.to_string() }
}

/// What docker's history says of what is copied: `file:`, `dir:` or `multi:`, and a hash.
fn hashed(sources: &[Source], owners: Owners) -> Result<String> {
    if let [source] = sources {
        let kind = match source {
            // As docker says it.
            Source { is_fetched: true, is_dir: false, .. } => "",
            Source { is_dir: true, .. } => "dir:",
            _ => "file:",
        };
        return Ok(format!("{kind}{}", hash(source, owners)?.hex()));
    }
    let mut all = String::new();
    for source in sources {
        all.push_str(hash(source, owners)?.hex());
        all.push('\n');
    }
    Ok(format!("multi:{}", Digest::sha256(all.as_bytes()).hex()))
}
