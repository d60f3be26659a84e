//! `export`, and writing a download to a file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::path;
use crate::client::Call;
use crate::command::Verb;
use crate::session::Session;
use crate::terminal;

/// Export a container's filesystem as a tar archive
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "STRING")]
    output: Option<String>,
    /// Container
    container: String,
}

impl Verb for Export {
    async fn run(self, session: &Session) -> Result<u8> {
        let target = Target::of(self.output.as_deref())?;
        let response = session.client()?.send(Call::get(path(&self.container, "/export"))).await?;
        target.write(response.into_body()).await?;
        Ok(0)
    }
}

/// Where an archive goes.
pub(crate) enum Target {
    Output,
    /// A file that is whole or not there.
    File(PathBuf),
    /// What is no regular file, and cannot be replaced.
    Device(PathBuf),
}

impl Target {
    pub(crate) fn of(output: Option<&str>) -> Result<Self> {
        let Some(path) = output.filter(|path| !path.is_empty() && *path != "-") else {
            ensure!(
                !terminal::is_stdout(),
                "cowardly refusing to save to a terminal. Use the -o flag or redirect"
            );
            return Ok(Self::Output);
        };
        let path = PathBuf::from(path);
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        ensure!(
            dir.is_dir(),
            "invalid output path: directory {:?} does not exist",
            dir.display().to_string()
        );
        match fs::metadata(&path) {
            Ok(status) if status.is_dir() => {
                bail!("invalid output path: {:?} is a directory", path.display().to_string())
            }
            Ok(status) if !status.is_file() => {
                let kind = status.file_type();
                ensure!(kind.is_char_device() || kind.is_fifo(), "got a device: {}", path.display());
                Ok(Self::Device(path))
            }
            _ => Ok(Self::File(path)),
        }
    }

    pub(crate) async fn write(self, body: Incoming) -> Result<()> {
        match self {
            Self::Output => copy(body, &mut io::stdout().lock()).await,
            Self::Device(path) => {
                let mut file = File::options().write(true).open(&path)?;
                copy(body, &mut file).await
            }
            Self::File(path) => {
                let mut name = path.file_name().context("the output has no name")?.to_owned();
                name.push(format!(".gantry-{}", std::process::id()));
                let partial = path.with_file_name(name);
                let written = async {
                    let mut file = File::options().write(true).create_new(true).open(&partial)?;
                    copy(body, &mut file).await?;
                    Ok(fs::rename(&partial, &path)?)
                };
                let result: Result<()> = written.await;
                result.inspect_err(|_| drop(fs::remove_file(&partial)))
            }
        }
    }
}

async fn copy(mut body: Incoming, file: &mut impl Write) -> Result<()> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.context("the archive broke off")?.into_data() {
            file.write_all(&data)?;
        }
    }
    Ok(file.flush()?)
}
