//! `RUN`: a container whose files become a layer when its program has succeeded.

use std::sync::Arc;

use gantry_engine::image::Afterwards;
use gantry_engine::{
    AttachRequest, Attached, Container, Frame, HealthCheck, Isolation, LogOptions, MountKind, MountRequest,
    NetworkOptions, Options, Process, WaitFor,
};

use super::{Build, State};
use crate::dockerfile::{Form, Heredoc, Network};
use crate::output::{Output, short_id};
use crate::{Error, Remove, Result};

/// Where scripts are seen that name their own program.
const SCRIPTS: &str = "/dev/pipes";

impl Build {
    pub(super) async fn run_command(
        &mut self,
        out: &mut Output,
        state: &mut State,
        form: &Form,
        heredocs: &[Heredoc],
        network: Network,
    ) -> Result<()> {
        let line = command_line(form, heredocs, &state.settings.shell());
        let arguments = self.arguments.visible(&state.settings.image.env);
        let text = self.said(&line.said, &arguments);
        let key = self.key(state, &text, &format!("{network:?}"));
        if self.probe(out, state, &key, &text).await? {
            return Ok(());
        }
        let Some(parent) = state.image.clone() else {
            return Err(Error::Invalid("there is nothing to RUN in an image without files".to_owned()));
        };
        let command = line.command;
        let mut options = self.options(state, &command, arguments, network);
        if let Some(script) = line.script {
            options.mounts.push(self.script(&script)?);
        }
        let platform = parent.document.platform();
        let target = parent.image.target.digest.to_string();
        let created = self.engine().container_create(None, &target, Some(platform), options).await?;
        let container = self.engine().container(&created.id)?;
        self.containers.push(Arc::clone(&container));
        out.text(format!(" ---> Running in {}\n", short_id(&container.id))).await?;
        let code = self.run_container(out, &container).await?;
        if code != 0 {
            return Err(Error::Command { command: command.join(" "), code });
        }
        let image = self.config(state, &text);
        let afterwards = match self.request.remove {
            Remove::Never => Afterwards::Kept,
            Remove::OnSuccess | Remove::Always => Afterwards::Given,
        };
        let digest = self.engine().image_from_container(&container, parent, image, afterwards).await?;
        self.finish(out, state, &key, &text, &digest).await
    }

    /// The mount of a script that names its own program, where BuildKit has it: in `/dev`, so that nothing of it stays.
    fn script(&self, script: &Heredoc) -> Result<MountRequest> {
        let source = self.scratch.write_script(&script.name, &script.text)?;
        Ok(MountRequest {
            kind: MountKind::Bind,
            source: source.display().to_string(),
            target: SCRIPTS.to_owned(),
            read_only: true,
            ..MountRequest::default()
        })
    }

    /// What the history says: the command, with the arguments that it has seen.
    fn said(&self, command: &[String], arguments: &[String]) -> String {
        let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
        let traces: Vec<&String> =
            arguments.iter().filter(|entry| self.arguments.leaves_trace(&key(entry))).collect();
        let mut words = Vec::new();
        if !arguments.is_empty() {
            words.push(format!("|{}", traces.len()));
            words.extend(traces.into_iter().cloned());
        }
        words.extend(command.iter().cloned());
        words.join(" ")
    }

    fn options(
        &self,
        state: &State,
        command: &[String],
        arguments: Vec<String>,
        network: Network,
    ) -> Options {
        let config = &state.settings.image;
        let request = &self.request;
        let mode = match network {
            Network::Default => request.network_mode.clone(),
            Network::None => "none".to_owned(),
            Network::Host => "host".to_owned(),
        };
        Options {
            process: Process {
                entrypoint: Some(Vec::new()),
                cmd: Some(command.to_vec()),
                env: config.env.iter().cloned().chain(arguments).collect(),
                working_dir: config.working_dir.clone(),
                user: config.user.clone(),
                ..Process::default()
            },
            isolation: Isolation {
                security_opt: request.security_opt.clone(),
                shm_size: request.shm_size,
                ..Isolation::default()
            },
            resources: request.resources.clone(),
            network: NetworkOptions {
                mode,
                extra_hosts: request.extra_hosts.clone(),
                ..NetworkOptions::default()
            },
            // What it writes goes to the client alone.
            log: LogOptions { driver: "none".to_owned(), ..LogOptions::default() },
            health: Some(HealthCheck { test: vec!["NONE".to_owned()], ..HealthCheck::default() }),
            ..Options::default()
        }
    }

    /// Runs a container to its end, and tells what it writes.
    async fn run_container(&self, out: &mut Output, container: &Arc<Container>) -> Result<i32> {
        let engine = self.engine();
        let wants = AttachRequest { stdin: false, stdout: true, stderr: true };
        let attached = engine.attach(container, wants).await?;
        let ended = container.wait(WaitFor::NextExit);
        engine.container_start(container).await?;
        let streams = match attached {
            Attached::Now(streams) => Some(streams),
            Attached::AtStart(place) => place.await.ok().transpose()?,
        };
        if let Some(streams) = streams {
            let (mut output, _input) = streams.split();
            let (mut stdout, mut stderr) = (Text::default(), Text::default());
            let closed = out.closed();
            tokio::pin!(closed);
            loop {
                let frame = tokio::select! {
                    frame = output.next() => frame?,
                    () = &mut closed => return Err(Error::Cancelled),
                };
                let Some(frame) = frame else { break };
                match frame {
                    Frame::Stdout(bytes) => out.text(stdout.take(&bytes)).await?,
                    Frame::Stderr(bytes) => out.error_text(&stderr.take(&bytes)).await?,
                    Frame::Exit(_) => {}
                }
            }
        }
        let closed = out.closed();
        tokio::select! {
            moment = ended => Ok(moment.exit_code),
            () = closed => Err(Error::Cancelled),
        }
    }
}

/// Text of bytes that come in pieces: a character that is cut is kept until its rest comes.
#[derive(Default)]
struct Text {
    rest: Vec<u8>,
}

impl Text {
    fn take(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let end = match std::str::from_utf8(&self.rest) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.rest.len(),
        };
        let rest = self.rest.split_off(end);
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest = rest;
        text
    }
}

/// A command on its way into a container.
#[derive(Debug)]
struct Line {
    /// What runs.
    command: Vec<String>,
    /// What the history says of it: that has all of a script.
    said: Vec<String>,
    /// A script that names its own program.
    script: Option<Heredoc>,
}

/// What runs: the command, or a here-document alone as a script, as BuildKit has it.
fn command_line(form: &Form, heredocs: &[Heredoc], shell: &[String]) -> Line {
    let plain = |command: Vec<String>| Line { said: command.clone(), command, script: None };
    let (Form::Shell(text), [first, rest @ ..]) = (form, heredocs) else {
        return plain(form.with_shell(shell));
    };
    let is_alone = rest.is_empty() && text.split_whitespace().count() == 1;
    if is_alone && first.text.starts_with("#!") {
        return Line {
            command: vec![format!("{SCRIPTS}/{}", first.name)],
            said: vec![format!("{text}\n{}", first.written())],
            script: Some(first.clone()),
        };
    }
    let script = if is_alone {
        first.text.clone()
    } else {
        let texts = heredocs.iter().map(|heredoc| format!("\n{}", heredoc.written()));
        std::iter::once(text.clone()).chain(texts).collect()
    };
    plain(Form::Shell(script).with_shell(shell))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_cut() {
        let mut text = Text::default();
        assert_eq!(text.take(b"a\xc3"), "a");
        assert_eq!(text.take(b"\xa9\xff"), "é\u{fffd}");
        assert_eq!(text.take(b""), "");
    }

    #[test]
    fn heredocs_are_scripts_or_input() {
        let shell = ["/bin/sh", "-c"].map(str::to_owned);
        let heredoc = |text: &str| Heredoc { name: "E".into(), text: text.into(), expands: true };
        let line = |text: &str, body: &str| command_line(&Form::Shell(text.into()), &[heredoc(body)], &shell);
        assert_eq!(line("<<E", "a\nb\n").command, ["/bin/sh", "-c", "a\nb\n"]);
        assert_eq!(line("cat <<E", "a\n").command, ["/bin/sh", "-c", "cat <<E\na\nE"]);
        let script = line("<<E", "#!/bin/x\ny\n");
        assert_eq!(
            (script.command, script.said),
            (vec!["/dev/pipes/E".to_owned()], vec!["<<E\n#!/bin/x\ny\nE".to_owned()])
        );
        assert!(script.script.is_some() && line("cat <<E", "#!/bin/x\n").script.is_none());
        let exec = Form::Exec(vec!["x".into()]);
        assert_eq!(command_line(&exec, &[], &shell).command, ["x"]);
    }
}
