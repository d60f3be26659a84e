//! `exec`.

use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use gantry_docker_api::exec::{ExecCreateRequest, ExecCreateResponse, ExecInspect, ExecStartRequest};

use super::options::environment;
use super::{attach, path, run};
use crate::client::Call;
use crate::command::Verb;
use crate::session::Session;
use crate::terminal::{self, End, Flow};

/// Execute a command in a running container
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "STRING")]
    detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "LIST", allow_hyphen_values = true)]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "LIST")]
    env_file: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Print how long each step took
    #[arg(long)]
    timing: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long, value_name = "STRING")]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "STRING")]
    workdir: Option<String>,
    /// Container, and the command with its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_name = "CONTAINER")]
    words: Vec<String>,
}

impl Verb for Exec {
    async fn run(self, session: &Session) -> Result<u8> {
        let began = Instant::now();
        let client = session.client()?;
        if self.timing {
            client.timings.turn_on();
        }
        let keys = attach::detach_keys(session, self.detach_keys.as_deref())?;
        let (container, command) = self.words.split_first().expect("the container is required");
        if self.tty && self.interactive && !self.detach && !terminal::is_stdin() {
            bail!("cannot attach stdin to a TTY-enabled container because stdin is not a terminal");
        }
        let console_size = if self.tty { terminal::size() } else { None };
        let has_input = self.interactive && !self.detach;
        let request = ExecCreateRequest {
            user: self.user.unwrap_or_default(),
            privileged: self.privileged,
            tty: self.tty,
            console_size,
            attach_stdin: has_input,
            attach_stdout: !self.detach,
            attach_stderr: !self.detach,
            detach: self.detach,
            detach_keys: keys.text.clone().unwrap_or_default(),
            env: environment(&self.env_file, &self.env)?.into(),
            working_dir: self.workdir.unwrap_or_default(),
            cmd: command.to_vec().into(),
        };
        let created: ExecCreateResponse =
            client.json(Call::post(path(container, "/exec")).json(&request)).await?;
        let exec = format!("/exec/{}", created.id);
        let start = ExecStartRequest { detach: self.detach, tty: self.tty, console_size };
        let call = Call::post(format!("{exec}/start")).json(&start);
        if self.detach {
            client.unit(call).await?;
            run::tell_timings(client, began);
            return Ok(0);
        }
        let stream = client.hijack(call).await?;
        let flow = Flow { has_input, has_terminal: self.tty, detach_keys: keys.keys };
        let resizes = async {
            if self.tty && terminal::is_stdout() {
                terminal::on_resize(|size| attach::resize(client, format!("{exec}/resize"), size)).await;
            }
            std::future::pending::<()>().await;
        };
        let end = tokio::select! {
            end = terminal::pump(stream, &flow) => end?,
            () = resizes => unreachable!("it does not end"),
        };
        if end == End::Detached {
            return Ok(0);
        }
        let inspect: ExecInspect = client.json(Call::get(format!("{exec}/json"))).await?;
        run::tell_timings(client, began);
        Ok(run::exit_code(inspect.exit_code.unwrap_or(0)))
    }
}
