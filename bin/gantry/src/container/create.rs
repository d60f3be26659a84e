//! `create`, and the creation that `run` begins with.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use gantry_docker_api::container::{ContainerCreateRequest, ContainerCreateResponse};
use gantry_types::Reference;
use http::StatusCode;

use super::options::{self, Attachment, Options};
use crate::client::{ApiError, Call};
use crate::command::{Failure, Verb};
use crate::image::pull;
use crate::output;
use crate::session::Session;

/// Create a new container
#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    options: Options,
    /// Image, and the command with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE")]
    words: Vec<String>,
}

impl Verb for Create {
    async fn run(self, session: &Session) -> Result<u8> {
        let (image, command) = self.words.split_first().expect("the image is required");
        let created = async {
            let request = prepare(session, &self.options, image, command, Attachment::Attached)?;
            create(session, &self.options, &request).await
        };
        let id = created.await.map_err(|error| unstarted(&error))?;
        output::line(id);
        Ok(0)
    }
}

/// An error before anything ran: docker's exit code for it is 125.
pub(super) fn unstarted(error: &anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Failure>() {
        Some(failure) => Failure::with(failure.code, failure.message.clone()),
        None => Failure::with(125, format!("gantry: {}", crate::command::chain(error))),
    }
}

/// The request for the flags.
pub(super) fn prepare(
    session: &Session,
    options: &Options,
    image: &str,
    command: &[String],
    attachment: Attachment,
) -> Result<ContainerCreateRequest> {
    ensure!(!image.is_empty(), "the image's name is empty");
    let proxies = session.config()?.proxies(&session.client()?.endpoint().to_string());
    options::request(options, image, command, attachment, &proxies)
}

/// Makes the container, and pulls its image first if it must; gives the id.
pub(super) async fn create(
    session: &Session,
    options: &Options,
    request: &ContainerCreateRequest,
) -> Result<String> {
    let client = session.client()?;
    let mut file = options.cidfile.as_deref().map(IdFile::create).transpose()?;
    let call = || {
        Call::post("/containers/create")
            .query_some("name", options.name.as_deref())
            .query_some("platform", options.platform.as_deref())
            .json(request)
    };
    let image = &request.config.image;
    match options.pull.as_str() {
        "always" => fetch(session, options, image).await?,
        "missing" | "never" => {}
        other => bail!("invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""),
    }
    let answer = match client.json::<ContainerCreateResponse>(call()).await {
        Err(error) if options.pull == "missing" && is_missing_image(&error) => {
            if !options.quiet {
                let name = Reference::parse_familiar(image).map_or(image.clone(), |name| name.familiar());
                output::note(format!("Unable to find image '{name}' locally"));
            }
            fetch(session, options, image).await?;
            client.json(call()).await?
        }
        answer => answer?,
    };
    for warning in &answer.warnings {
        output::note(format!("WARNING: {warning}"));
    }
    if let Some(file) = &mut file {
        file.write(&answer.id)?;
    }
    Ok(answer.id)
}

async fn fetch(session: &Session, options: &Options, image: &str) -> Result<()> {
    let show = if options.quiet { pull::Show::Nothing } else { pull::Show::BesideOutput };
    pull::pull(session, image, options.platform.as_deref(), show).await
}

fn is_missing_image(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(|error| {
        error.status == StatusCode::NOT_FOUND && error.message.to_ascii_lowercase().contains("no such image")
    })
}

/// The file that gets the id; it goes again if there is none.
struct IdFile<'a> {
    path: &'a Path,
    file: File,
    is_written: bool,
}

impl<'a> IdFile<'a> {
    fn create(path: &'a str) -> Result<Self> {
        let file =
            File::options().write(true).create_new(true).open(path).map_err(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => anyhow::anyhow!(
                    "container ID file found, make sure the other container isn't running or delete {path}"
                ),
                _ => anyhow::Error::new(error)
                    .context(format!("failed to create the container ID file {path}")),
            })?;
        Ok(Self { path: Path::new(path), file, is_written: false })
    }

    fn write(&mut self, id: &str) -> Result<()> {
        self.file
            .write_all(id.as_bytes())
            .with_context(|| format!("{} cannot be written", self.path.display()))?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for IdFile<'_> {
    fn drop(&mut self) {
        if !self.is_written {
            let _ = std::fs::remove_file(self.path);
        }
    }
}
