//! One instruction: found in the cache, or carried out.

use gantry_engine::image::{ConfigRequest, FoundImage, HistoryEntry, random_id};
use gantry_types::{Digest, ErrorKind};
use jiff::Timestamp;

use super::{Build, State};
use crate::builder::blocking;
use crate::cache::{Entry, Key};
use crate::dockerfile::{Arg, Instruction, Step, shell};
use crate::output::{Output, short_id};
use crate::{Error, Result, UseCache, place};

/// Of the keys of the cache.
const VERSION: u32 = 1;

impl Build {
    /// Carries out an instruction.
    pub(super) async fn step(
        &mut self,
        out: &mut Output,
        number: usize,
        state: &mut State,
        step: &Step,
    ) -> Result<()> {
        let env = self.env(state);
        let escape = self.dockerfile.escape;
        let fail = |message| Error::line(step.line, message);
        match &step.instruction {
            Instruction::Run { form, heredocs, network } => {
                Box::pin(self.run_command(out, state, form, heredocs, *network)).await
            }
            Instruction::Copy(copy) => Box::pin(self.copy(out, number, state, "COPY", copy, &env)).await,
            Instruction::Add(add) => Box::pin(self.copy(out, number, state, "ADD", add, &env)).await,
            Instruction::Workdir(path) => {
                let path = shell::word(path, escape, env.as_slice()).map_err(fail)?;
                Box::pin(self.work_directory(out, state, &path)).await
            }
            Instruction::Arg(list) => {
                let said = self.declare(list, escape, &env).map_err(fail)?;
                let text = state.settings.comment(&format!(" ARG {said}"));
                Box::pin(self.commit(out, state, &text)).await
            }
            other => {
                let text = state.settings.apply(other, escape, &env).map_err(fail)?;
                let text = text.expect("the other instructions have their own arms");
                Box::pin(self.commit(out, state, &text)).await
            }
        }
    }

    /// What variables an instruction sees: those of the image, and arguments.
    pub(super) fn env(&self, state: &State) -> Vec<String> {
        let env = &state.settings.image.env;
        env.iter().cloned().chain(self.arguments.visible(env)).collect()
    }

    fn declare(&mut self, list: &[Arg], escape: char, env: &[String]) -> Result<String, String> {
        let mut said = Vec::new();
        for Arg { key, value } in list {
            let key = shell::word(key, escape, env)?;
            let value = value.as_ref().map(|value| shell::word(value, escape, env)).transpose()?;
            said.push(value.as_ref().map_or_else(|| key.clone(), |value| format!("{key}={value}")));
            self.arguments.declare(&key, value);
        }
        Ok(said.join(" "))
    }

    /// The name of a step in the cache.
    pub(super) fn key(&self, state: &State, text: &str, more: &str) -> String {
        let platform = match (&state.image, &state.platform) {
            (Some(image), _) => image.document.platform(),
            (None, Some(platform)) => platform.clone(),
            (None, None) => self.engine().platform().clone(),
        };
        let key = Key {
            version: VERSION,
            parent: state.id(),
            platform: &platform,
            text,
            author: &state.settings.author,
            config: &state.settings.image,
            more,
        };
        key.name()
    }

    /// Takes the image of a step that was done before.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn probe(
        &mut self,
        out: &mut Output,
        state: &mut State,
        key: &str,
        text: &str,
    ) -> Result<bool> {
        if self.request.cache == UseCache::No {
            return Ok(false);
        }
        // As with docker, whoever names the images to take layers from has nothing of the builder's own cache.
        let found = match self.request.cache_from.is_empty() {
            true => self.remembered(key).await?,
            false => self.borrowed(state, key, text).await?,
        };
        let Some(found) = found else { return Ok(false) };
        state.image = Some(found);
        out.text(" ---> Using cache\n").await?;
        Ok(true)
    }

    async fn remembered(&self, key: &str) -> Result<Option<FoundImage>> {
        let Some(digest) = self.builder.shared.cache().get(key) else { return Ok(None) };
        match self.engine().image_of_step(&digest).await {
            Ok(found) => Ok(Some(found)),
            // Somebody has removed it.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.builder.shared.cache().forget(key);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A step that an image of the request's has done on the same layers: its layer is taken, under the configuration that this
    /// build has come to.
    async fn borrowed(&mut self, state: &State, key: &str, text: &str) -> Result<Option<FoundImage>> {
        let below = state.image.as_ref().map(|image| &image.document);
        let history = below.map(|document| document.history.as_slice()).unwrap_or_default();
        let diffs = below.map(|document| document.rootfs.diff_ids.as_slice()).unwrap_or_default();
        let is_hit = |source: &&FoundImage| {
            let theirs = &source.document;
            let same = |(own, other): (&HistoryEntry, &HistoryEntry)| {
                own.created_by == other.created_by && own.empty_layer == other.empty_layer
            };
            theirs.history.len() > history.len()
                && history.iter().zip(&theirs.history).all(same)
                && theirs.rootfs.diff_ids.starts_with(diffs)
                && theirs.history[history.len()].created_by == text
        };
        let Some(source) = self.sources.iter().find(is_hit).cloned() else { return Ok(None) };
        let has_layer = !source.document.history[history.len()].empty_layer;
        let layer = has_layer.then_some((source, diffs.len()));
        let image = self.config(state, text);
        let digest = self.engine().image_with_layer_of(state.image.clone(), layer, image).await?;
        self.remember(key, state, text, &digest);
        Ok(Some(self.engine().image_of_step(&digest).await?))
    }

    pub(super) fn config(&self, state: &State, text: &str) -> ConfigRequest {
        ConfigRequest {
            config: state.settings.image.clone(),
            history: HistoryEntry { created_by: text.to_owned(), ..HistoryEntry::default() },
            author: state.settings.author.clone(),
            platform: state.platform.clone(),
            reference: None,
        }
    }

    /// Makes an image of the configuration that the state has come to, with the same layers.
    pub(super) async fn commit(&mut self, out: &mut Output, state: &mut State, text: &str) -> Result<()> {
        let key = self.key(state, text, "");
        if self.probe(out, state, &key, text).await? {
            return Ok(());
        }
        let id = self.begin_step(out).await?;
        let image = self.config(state, text);
        let digest = self.engine().image_with_config(state.image.clone(), image).await?;
        self.finish(out, state, &key, text, &digest).await?;
        self.end_step(out, &id).await
    }

    /// Docker says of each step in which container it is carried out. Here only commands have one: the others have its name.
    pub(super) async fn begin_step(&self, out: &mut Output) -> Result<String> {
        let id = random_id();
        out.text(format!(" ---> Running in {}\n", short_id(&id))).await?;
        Ok(id)
    }

    pub(super) async fn end_step(&self, out: &mut Output, id: &str) -> Result<()> {
        match self.request.remove {
            crate::Remove::Never => Ok(()),
            _ => out.text(format!(" ---> Removed intermediate container {}\n", short_id(id))).await,
        }
    }

    /// Has the state go on with the image of a step, and remembers that.
    pub(super) async fn finish(
        &mut self,
        _out: &mut Output,
        state: &mut State,
        key: &str,
        text: &str,
        digest: &Digest,
    ) -> Result<()> {
        self.remember(key, state, text, digest);
        state.image = Some(self.engine().image_of_step(digest).await?);
        Ok(())
    }

    fn remember(&self, key: &str, state: &State, text: &str, digest: &Digest) {
        let now = Timestamp::now();
        let entry = Entry {
            parent: state.id().cloned(),
            image: digest.clone(),
            text: text.to_owned(),
            created: now,
            used: now,
            uses: 0,
        };
        self.builder.shared.cache().put(key.to_owned(), entry);
    }

    /// `WORKDIR` makes the directory where there is none.
    async fn work_directory(&mut self, out: &mut Output, state: &mut State, path: &str) -> Result<()> {
        let directory = state.settings.directory(path);
        state.settings.image.working_dir.clone_from(&directory);
        let text = state.settings.comment(&format!("WORKDIR {directory}"));
        let key = self.key(state, &text, "");
        if self.probe(out, state, &key, &text).await? {
            return Ok(());
        }
        let id = self.begin_step(out).await?;
        let image = self.config(state, &text);
        let workspace = self.engine().workspace(state.image.as_ref()).await?;
        let root = workspace.root()?;
        let made = blocking("making a directory", move || {
            use std::os::fd::AsFd;
            if place::is_dir(root.as_fd(), &directory)? {
                return Ok(false);
            }
            place::make(root.as_fd(), &directory, None).map(|()| true)
        })
        .await?;
        let digest = if made {
            self.engine().workspace_commit(workspace, state.image.clone(), image).await?
        } else {
            workspace.end().await;
            self.engine().image_with_config(state.image.clone(), image).await?
        };
        self.finish(out, state, &key, &text, &digest).await?;
        self.end_step(out, &id).await
    }
}
