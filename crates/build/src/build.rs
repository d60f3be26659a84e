//! One build: its stages, one after the other.
//!
//! ```text
//! FROM ─► image of the state ─┬─ RUN       ─► container ─► ended ─► its files are a layer  ─┐
//!                             ├─ COPY, ADD ─► files over the image's ─► they are a layer   ├─► image of the state
//!                             └─ others    ─► another configuration                         ─┘
//! ```
//! Each instruction makes an image, as with docker's classic builder; what was made before is found in the cache.

mod base;
mod command;
mod copy;
mod gather;
mod step;

use std::sync::Arc;

use gantry_engine::image::FoundImage;
use gantry_engine::{Container, RemoveRequest};
use gantry_types::{Digest, Platform, Reference};

use crate::arguments::{Arguments, Global};
use crate::builder::Builder;
use crate::context::{Context, Scratch};
use crate::dockerfile::{Arg, Dockerfile, Instruction, Step, shell};
use crate::output::{Output, short, short_id};
use crate::plan::{Plan, plan};
use crate::settings::Settings;
use crate::{BuildRequest, Error, Remove, Result};

/// What a stage has come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// Its image; None for nothing yet.
    image: Option<FoundImage>,
    /// The configuration of the next one.
    settings: Settings,
    /// Whether it began with `scratch`, or an image.
    begun: bool,
    /// For what it is.
    platform: Option<Platform>,
}

impl State {
    fn id(&self) -> Option<&Digest> {
        self.image.as_ref().map(|image| &image.image.target.digest)
    }
}

/// One build.
pub(crate) struct Build {
    builder: Builder,
    request: BuildRequest,
    dockerfile: Dockerfile,
    scratch: Scratch,
    context: Context,
    arguments: Arguments,
    plan: Plan,
    /// What the stages have come to, by their numbers; None for those that are not built.
    results: Vec<Option<State>>,
    /// Images whose layers may be used.
    sources: Vec<FoundImage>,
    /// Containers that are not removed yet.
    containers: Vec<Arc<Container>>,
    next: usize,
    total: usize,
}

impl Build {
    pub(crate) fn new(
        builder: Builder,
        request: BuildRequest,
        dockerfile: &[u8],
        scratch: Scratch,
        context: Context,
    ) -> Result<Self> {
        let mut dockerfile = Dockerfile::parse(dockerfile)?;
        let host = builder.shared.engine.platform();
        let target = request.platform.as_ref().unwrap_or(host);
        let mut arguments = Arguments::new(request.arguments.clone(), host, target);
        for step in &dockerfile.args {
            let Instruction::Arg(args) = &step.instruction else { continue };
            for Arg { key, value } in args {
                let expand = |value: &String| shell::word(value, dockerfile.escape, &Global(&arguments));
                let value = value.as_ref().map(expand).transpose();
                let value = value.map_err(|message| Error::line(step.line, message))?;
                arguments.declare_global(key, value);
            }
        }
        let plan = plan(&dockerfile, &request.target, &arguments)?;
        if let (Some(&last), false) = (plan.stages.last(), request.labels.is_empty()) {
            dockerfile.stages[last].steps.extend(labels(&request.labels));
        }
        let steps: usize = plan.stages.iter().map(|number| 1 + dockerfile.stages[*number].steps.len()).sum();
        let total = dockerfile.args.len() + steps;
        let results = vec![None; dockerfile.stages.len()];
        let (sources, containers) = (Vec::new(), Vec::new());
        Ok(Self {
            builder,
            request,
            dockerfile,
            scratch,
            context,
            arguments,
            plan,
            results,
            sources,
            containers,
            next: 1,
            total,
        })
    }

    pub(crate) fn tags(&self) -> &[Reference] {
        &self.request.tags
    }

    pub(crate) async fn tag(&self, digest: &Digest, tag: &Reference) -> Result<()> {
        Ok(self.builder.shared.engine.image_tag_built(digest, tag).await?)
    }

    /// Builds all stages of the plan, and gives the image of the last one.
    ///
    /// # Cancel safety
    /// It is not dropped: it ends by itself when nobody listens, and [`Build::end`] undoes what was begun.
    pub(crate) async fn run(&mut self, out: &mut Output) -> Result<Digest> {
        for name in self.request.cache_from.clone() {
            // As with docker, what is not here helps nobody.
            if let Ok(image) = self.builder.shared.engine.image(&name, self.request.platform.as_ref()).await {
                self.sources.push(image);
            }
        }
        let gaps = std::mem::take(&mut self.dockerfile.gaps);
        for text in &gaps {
            out.error_text(&format!("[WARNING]: Empty continuation line found in: {text}\n")).await?;
        }
        if !gaps.is_empty() {
            let text = "[WARNING]: Empty continuation lines will become errors in a future release.\n";
            out.error_text(text).await?;
        }
        for step in self.dockerfile.args.clone() {
            self.announce(out, &step.text).await?;
        }
        let mut last = None;
        for number in self.plan.stages.clone() {
            self.arguments.begin_stage();
            let state = Box::pin(self.stage(out, number)).await?;
            if let Some(id) = state.id() {
                out.image(id).await?;
            }
            last = state.id().cloned();
            self.results[number] = Some(state);
        }
        let unused = self.arguments.unused();
        if !unused.is_empty() {
            let text = format!("[Warning] One or more build-args [{}] were not consumed\n", unused.join(" "));
            out.text(text).await?;
        }
        last.ok_or_else(|| Error::Invalid("No image was generated. Is your Dockerfile empty?".to_owned()))
    }

    async fn stage(&mut self, out: &mut Output, number: usize) -> Result<State> {
        let stage = self.dockerfile.stages[number].clone();
        self.announce(out, &stage.text).await?;
        let mut state = Box::pin(self.begin(out, number, &stage)).await?;
        out.text(format!(" ---> {}\n", short(state.id()))).await?;
        for step in &stage.steps {
            self.announce(out, &step.text).await?;
            self.dispatch(out, number, &mut state, step).await?;
            out.text(format!(" ---> {}\n", short(state.id()))).await?;
        }
        Ok(state)
    }

    async fn announce(&mut self, out: &mut Output, text: &str) -> Result<()> {
        let (next, total) = (self.next, self.total);
        self.next += 1;
        out.text(format!("Step {next}/{total} : {text}")).await?;
        out.text("\n").await
    }

    /// Carries out an instruction, and removes its container when that is wanted.
    async fn dispatch(
        &mut self,
        out: &mut Output,
        number: usize,
        state: &mut State,
        step: &Step,
    ) -> Result<()> {
        let done = Box::pin(self.step(out, number, state, step)).await;
        match (self.request.remove, &done) {
            (Remove::Always, _) | (Remove::OnSuccess, Ok(())) => self.remove_containers(Some(out)).await?,
            _ => {}
        }
        done
    }

    /// Removes the containers of the step.
    async fn remove_containers(&mut self, mut out: Option<&mut Output>) -> Result<()> {
        let request = RemoveRequest { force: true, volumes: true };
        for container in std::mem::take(&mut self.containers) {
            if let Err(error) = self.builder.shared.engine.container_remove(&container, request).await {
                tracing::warn!(container = %container.id, %error, "a container of a build is left");
                continue;
            }
            if let Some(out) = out.as_deref_mut() {
                out.text(format!(" ---> Removed intermediate container {}\n", short_id(&container.id)))
                    .await?;
            }
        }
        Ok(())
    }

    /// Writes down what is to be remembered. The container of a command that failed stays, as with docker, unless the request says
    /// something else; of a build that nobody waits for nothing does.
    pub(crate) async fn end(&mut self, failed: Option<&Error>) {
        self.builder.shared.save_cache().await;
        let removes = matches!(failed, Some(Error::Cancelled)) || self.request.remove == Remove::Always;
        if failed.is_some() && removes {
            // Nothing more can be told.
            let _ = self.remove_containers(None).await;
        }
    }

    fn engine(&self) -> &gantry_engine::Engine {
        &self.builder.shared.engine
    }
}

/// The labels of the request, as an instruction each.
fn labels(labels: &std::collections::BTreeMap<String, String>) -> impl Iterator<Item = Step> {
    // Nothing in them is a variable.
    let quote = |text: &str| format!("'{}'", text.replace('\'', "'\"'\"'"));
    labels.iter().map(move |(key, value)| Step {
        text: format!("LABEL {key}={value}"),
        line: 0,
        instruction: Instruction::Label(vec![(quote(key), quote(value))]),
    })
}
