//! `pull`, and the pull that `run` does when the image is not there.

use std::io;

use anyhow::{Result, ensure};
use clap::Args;

use super::name;
use crate::client::Call;
use crate::command::Verb;
use crate::output;
use crate::progress::{Display, messages};
use crate::session::Session;
use crate::terminal;

/// Download an image from a registry
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Skip image verification; there is none, so this changes nothing
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "STRING", env = "DOCKER_DEFAULT_PLATFORM", hide_env = true)]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    image: String,
}

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Output,
    /// On standard error: the output is something else's.
    BesideOutput,
    Nothing,
}

impl Verb for Pull {
    async fn run(self, session: &Session) -> Result<u8> {
        let reference = name::parse(&self.image)?;
        let (_, tag) = name::split(&self.image);
        ensure!(!self.all_tags || tag.is_empty(), "tag can't be used with --all-tags/-a");
        if tag.is_empty() && !self.all_tags && !self.quiet {
            output::line("Using default tag: latest");
        }
        let show = if self.quiet { Show::Nothing } else { Show::Output };
        let platform = self.platform.as_deref();
        if self.all_tags {
            pull_named(session, &self.image, "", platform, show).await?;
        } else {
            pull(session, &self.image, platform, show).await?;
        }
        let full = match (reference.tag(), reference.digest()) {
            (_, Some(digest)) => format!("{}/{}@{digest}", reference.host(), reference.repository()),
            (tag, None) => {
                format!("{}/{}:{}", reference.host(), reference.repository(), tag.unwrap_or("latest"))
            }
        };
        output::line(full);
        Ok(0)
    }
}

/// Pulls an image.
pub(crate) async fn pull(session: &Session, image: &str, platform: Option<&str>, show: Show) -> Result<()> {
    name::parse(image)?;
    let (repository, tag) = name::split(image);
    let tag = if tag.is_empty() { "latest" } else { &tag };
    pull_named(session, &repository, tag, platform, show).await
}

async fn pull_named(
    session: &Session,
    repository: &str,
    tag: &str,
    platform: Option<&str>,
    show: Show,
) -> Result<()> {
    let auth = session.config()?.auth_of_image(repository)?;
    let call = Call::post("/images/create")
        .query("fromImage", repository)
        .query_some("tag", (!tag.is_empty()).then_some(tag))
        .query_some("platform", platform)
        .registry_auth(&auth);
    let response = session.client()?.send(call).await?;
    show_messages(response.into_body(), show).await
}

/// Shows what an operation tells.
pub(crate) async fn show_messages(body: hyper::body::Incoming, show: Show) -> Result<()> {
    let width =
        |is_terminal: bool| is_terminal.then(|| terminal::size().map_or(80, |[_, width]| width as usize));
    match show {
        Show::Nothing => messages(body, |_| Ok(())).await,
        Show::Output => {
            let mut display = Display::new(io::stdout(), width(terminal::is_stdout()));
            messages(body, |message| display.show(&message).map(drop)).await
        }
        Show::BesideOutput => {
            let mut display = Display::new(io::stderr(), width(terminal::is_stderr()));
            messages(body, |message| display.show(&message).map(drop)).await
        }
    }
}
