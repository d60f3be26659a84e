//! `run`: create, attach, wait, start — the second and third at once, over connections that were made meanwhile.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use clap::{ArgAction, Args};
use gantry_docker_api::container::{ContainerConfig, ContainerCreateRequest, ContainerWaitResponse};
use http_body_util::BodyExt as _;

use super::create::{create, prepare, unstarted};
use super::options::{Attachment, Options};
use super::{attach, path};
use crate::client::{Call, Client, Hijacked};
use crate::command::{Failure, Verb, chain};
use crate::output;
use crate::session::Session;
use crate::terminal::{self, End, Flow};

/// Create and run a new container from an image
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    options: Options,
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "STRING")]
    detach_keys: Option<String>,
    /// Proxy received signals to the process
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,
    /// Print how long each step took
    #[arg(long)]
    timing: bool,
    /// Image, and the command with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE")]
    words: Vec<String>,
}

impl Verb for Run {
    async fn run(self, session: &Session) -> Result<u8> {
        let began = Instant::now();
        let (image, command) = self.words.split_first().expect("the image is required");
        let client = session.client()?;
        if self.timing {
            client.timings.turn_on();
        }
        let attachment = if self.detach { Attachment::Detached } else { Attachment::Attached };
        let made = async {
            ensure!(
                !self.detach || self.options.attach.is_empty(),
                "conflicting options: cannot specify both --attach and --detach"
            );
            let mut options = self.options;
            if options.tty && !self.detach && options.interactive && !terminal::is_stdin() {
                bail!("cannot attach stdin to a TTY-enabled container because stdin is not a terminal");
            }
            options.interactive |= options.attach.iter().any(|name| name.eq_ignore_ascii_case("stdin"));
            let request = prepare(session, &options, image, command, attachment)?;
            Ok::<_, anyhow::Error>((options, request))
        };
        let (options, request) = made.await.map_err(|error| unstarted(&error))?;
        // Those of attach and wait, while the engine is at work.
        let connections = if self.detach { 0 } else { 2 };
        let creation = create(session, &options, &request);
        let (id, ()) = tokio::join!(creation, client.connect_ahead(connections));
        let id = id.map_err(|error| unstarted(&error))?;
        if self.detach {
            start(client, &id).await?;
            output::line(&id);
            tell_timings(client, began);
            return Ok(0);
        }
        let keys = attach::detach_keys(session, self.detach_keys.as_deref())?;
        let code = attached(client, &id, &request, keys, self.sig_proxy, began).await;
        tell_timings(client, began);
        code
    }
}

async fn attached(
    client: &Client,
    id: &str,
    request: &ContainerCreateRequest,
    keys: attach::Keys,
    proxies: bool,
    began: Instant,
) -> Result<u8> {
    let config = &request.config;
    // From here on a signal is the container's. Else it is ours, and what it does by itself.
    let signals = proxies.then(|| terminal::forward(|name| attach::kill(client, id.to_owned(), name)));
    let removes = request.host_config.as_ref().is_some_and(|host| host.auto_remove);
    let condition = if removes { "removed" } else { "next-exit" };
    let (stream, waiting) = tokio::join!(attach_to(client, id, config, &keys), wait(client, id, condition));
    let stream = stream.map_err(|error| unstarted(&error))?;
    let waiting = waiting.map_err(|error| unstarted(&error))?;
    let has_stream = config.attach_stdin || config.attach_stdout || config.attach_stderr;
    if let Err(error) = start(client, id).await {
        // A container that removes itself does it now; waiting for that is what docker does, too.
        if removes {
            let _ = waiting.collect().await;
        }
        return Err(error);
    }
    client.timings.add("until it runs", began);
    let flow = Flow { has_input: config.attach_stdin, has_terminal: config.tty, detach_keys: keys.keys };
    let work = async {
        if has_stream {
            let stream = stream.expect("a stream was asked for");
            if terminal::pump(stream, &flow).await? == End::Detached {
                return Ok(0);
            }
        }
        status(waiting).await
    };
    let resize = async {
        if config.tty && terminal::is_stdout() {
            terminal::on_resize(|size| attach::resize(client, path(id, "/resize"), size)).await;
        }
        std::future::pending::<()>().await;
    };
    let proxy = async {
        match signals {
            Some(signals) => signals.await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        code = work => code,
        () = resize => unreachable!("it does not end"),
        () = proxy => unreachable!("it does not end"),
    }
}

async fn attach_to(
    client: &Client,
    id: &str,
    config: &ContainerConfig,
    keys: &attach::Keys,
) -> Result<Option<Hijacked>> {
    if !(config.attach_stdin || config.attach_stdout || config.attach_stderr) {
        return Ok(None);
    }
    let call = Call::post(path(id, "/attach"))
        .query("stream", "1")
        .query_flag("stdin", config.attach_stdin)
        .query_flag("stdout", config.attach_stdout)
        .query_flag("stderr", config.attach_stderr)
        .query_some("detachKeys", keys.text.as_deref());
    client.hijack(call).await.map(Some)
}

/// Begins to wait; the body comes when the container has ended.
pub(super) async fn wait(client: &Client, id: &str, condition: &str) -> Result<hyper::body::Incoming> {
    let call = Call::post(path(id, "/wait")).query("condition", condition);
    Ok(client.send(call).await?.into_body())
}

/// The exit code, once it is known.
pub(super) async fn status(waiting: hyper::body::Incoming) -> Result<u8> {
    let lost = |error: String| Failure::with(125, format!("error waiting for container: {error}"));
    let body = waiting.collect().await.map_err(|error| lost(error.to_string()))?.to_bytes();
    let answer: ContainerWaitResponse =
        serde_json::from_slice(&body).map_err(|error| lost(error.to_string()))?;
    if let Some(error) = answer.error.filter(|error| !error.message.is_empty()) {
        return Err(lost(error.message));
    }
    Ok(exit_code(answer.status_code))
}

/// A status as a shell would have it.
pub(super) fn exit_code(status: i64) -> u8 {
    u8::try_from(status.rem_euclid(256)).unwrap_or(u8::MAX)
}

pub(super) async fn start(client: &Client, id: &str) -> Result<()> {
    let started = client.unit(Call::post(path(id, "/start"))).await;
    started.map_err(|error| Failure::with(code_of(&chain(&error)), format!("gantry: {}", chain(&error))))
}

/// What a failing start means to a shell: 127 is "not found", 126 "cannot be executed".
fn code_of(message: &str) -> u8 {
    const NOT_FOUND: [&str; 3] =
        ["executable file not found", "no such file or directory", "system cannot find the file specified"];
    const NOT_EXECUTABLE: [&str; 2] = ["permission denied", "is a directory"];
    let message = message.to_ascii_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if has(&NOT_FOUND) {
        127
    } else if has(&NOT_EXECUTABLE) {
        126
    } else {
        125
    }
}

/// Shows how long requests took, and what the engine says of its own steps.
pub(super) fn tell_timings(client: &Client, began: Instant) {
    let steps = client.timings.take();
    if steps.is_empty() {
        return;
    }
    let milliseconds = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    output::note("     at ms   took ms  step");
    for step in steps {
        let at = milliseconds(step.began - began.min(step.began));
        output::note(format!("{at:>10.2}{:>10.2}  {}", milliseconds(step.took), step.name));
        for (name, took) in step.server {
            output::note(format!("{:>10}{took:>10.2}    engine: {name}", ""));
        }
    }
    output::note(format!("{:>10}{:>10.2}  all", "", milliseconds(began.elapsed())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_starts_have_the_codes_of_shells() {
        for (message, code) in [
            ("exec: \"nope\": executable file not found in $PATH: unknown", 127),
            ("stat /nope: no such file or directory", 127),
            ("exec: \"/etc\": permission denied: unknown", 126),
            ("exec: \"/etc\": is a directory", 126),
            ("port is already allocated", 125),
        ] {
            assert_eq!(code_of(message), code, "{message}");
        }
        assert_eq!((exit_code(0), exit_code(256), exit_code(-1), exit_code(137)), (0, 0, 255, 137));
    }
}
