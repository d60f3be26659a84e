//! `FROM`: what a stage begins with, and the triggers of that.

use std::sync::Arc;

use gantry_engine::image::{FoundImage, ImagePull};
use gantry_types::{ErrorKind, Platform, Reference};

use super::{Build, State};
use crate::arguments::Global;
use crate::dockerfile::{Stage, shell, trigger};
use crate::output::Output;
use crate::plan::named;
use crate::settings::{DEFAULT_PATH, Settings};
use crate::{Error, Pull, Result};

/// No image at all.
const SCRATCH: &str = "scratch";
/// The most triggers of an image.
const MAX_TRIGGERS: usize = 1024;

impl Build {
    /// Begins a stage, and carries out the triggers of its image.
    pub(super) async fn begin(&mut self, out: &mut Output, number: usize, stage: &Stage) -> Result<State> {
        let base = self.plan.bases[number].clone();
        if base.is_empty() {
            let message = format!("base name ({}) should not be blank", stage.base);
            return Err(Error::line(stage.line, message));
        }
        let platform = self.stage_platform(stage)?;
        let mut state = if let Some(other) = named(&self.dockerfile, &base, number) {
            self.result(other)?.clone()
        } else if base == SCRATCH {
            State { platform: platform.clone(), ..State::default() }
        } else {
            let image = self.find_or_pull(out, &base, platform.as_ref()).await?;
            let settings = Settings { image: image.document.config.clone(), ..Settings::default() };
            State { image: Some(image), settings, ..State::default() }
        };
        state.begun = true;
        state.settings.has_cmd = false;
        state.platform = platform;
        let env = &state.settings.image.env;
        if !env.iter().any(|entry| entry.starts_with("PATH=")) {
            state.settings.image.env.push(DEFAULT_PATH.to_owned());
        }
        let triggers = std::mem::take(&mut state.settings.image.on_build);
        self.pull_triggers(out, number, &mut state, triggers).await?;
        Ok(state)
    }

    async fn pull_triggers(
        &mut self,
        out: &mut Output,
        number: usize,
        state: &mut State,
        triggers: Vec<String>,
    ) -> Result<()> {
        match triggers.len() {
            0 => return Ok(()),
            1 => out.text("# Executing 1 build trigger\n").await?,
            count if count > MAX_TRIGGERS => {
                let what = "the base image".to_owned();
                return Err(Error::Limit { what, limit: MAX_TRIGGERS as u64, unit: "triggers" });
            }
            count => out.text(format!("# Executing {count} build triggers\n")).await?,
        }
        for text in triggers {
            let step = trigger(&text, self.dockerfile.escape)?;
            self.dispatch(out, number, state, &step).await?;
        }
        Ok(())
    }

    fn stage_platform(&self, stage: &Stage) -> Result<Option<Platform>> {
        if stage.platform.is_empty() {
            return Ok(self.request.platform.clone());
        }
        let invalid = |message| Error::line(stage.line, message);
        let text = shell::word(&stage.platform, self.dockerfile.escape, &Global(&self.arguments));
        let text = text.map_err(invalid)?;
        let platform = text.parse::<Platform>().map_err(|error| invalid(error.to_string()))?;
        Ok(Some(platform))
    }

    /// What a stage has come to.
    pub(super) fn result(&self, number: usize) -> Result<&State> {
        self.results[number].as_ref().ok_or_else(|| {
            // A trigger names it, which nobody could know before.
            let name = &self.dockerfile.stages[number].name;
            Error::Invalid(format!("stage {name} was not built, because nothing in the Dockerfile needs it"))
        })
    }

    /// An image by its name: pulled, if it is not here.
    pub(super) async fn find_or_pull(
        &self,
        out: &Output,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<FoundImage> {
        let engine = self.engine();
        if self.request.pull == Pull::Missing {
            match engine.image(name, platform).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                found => return Ok(found?),
            }
        }
        let invalid = |error: gantry_types::reference::InvalidReference| {
            Error::Invalid(format!("invalid reference format: {error}"))
        };
        let reference = match Reference::parse_familiar(name) {
            Ok(reference) => reference,
            // An id is no name, and is in no registry.
            Err(error) => return engine.image(name, platform).await.map_err(|_| invalid(error)),
        };
        let credential = self.request.credentials.as_ref().and_then(|of| of(reference.host()));
        let pull = ImagePull {
            reference: reference.clone(),
            all_tags: false,
            platform: platform.cloned(),
            credential,
            listener: Arc::clone(&out.pulls()),
        };
        tokio::select! {
            pulled = engine.image_pull(pull) => drop(pulled?),
            () = out.closed() => return Err(Error::Cancelled),
        }
        Ok(engine.image(&reference.to_string(), platform).await?)
    }
}
