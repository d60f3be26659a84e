//! `why`: what became of a container, in sentences.

use anyhow::Result;
use clap::Args;
use gantry_docker_api::container::{ContainerInspect, ContainerState};
use gantry_docker_api::timestamp::ZERO;
use gantry_docker_api::{Timestamp, duration};
use serde_json::Value;

use crate::command::Verb;
use crate::container::inspect_one;
use crate::output;
use crate::session::Session;

/// The deepest nesting of a cause that is told.
const MAX_DEPTH: usize = 4;

/// Say why a container is in the state that it is in
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Container
    container: String,
}

impl Verb for Why {
    async fn run(self, session: &Session) -> Result<u8> {
        let container = inspect_one(session.client()?, &self.container).await?;
        explain(&container).iter().for_each(output::line);
        Ok(0)
    }
}

/// Sentences, the most important one first.
fn explain(container: &ContainerInspect) -> Vec<String> {
    let name = container.name.trim_start_matches('/');
    let state = container.state.clone().unwrap_or_default();
    let mut lines = vec![first(name, &state)];
    if let Some(ran) = ran(&state) {
        lines.push(ran);
    }
    if !state.running {
        lines.extend(exit(&state));
    }
    if !state.error.is_empty() {
        lines.push(format!("The engine said: {}", state.error));
    }
    if let Some(Value::Object(cause)) = &state.gantry_cause {
        let is_sentence = |key: &str| key.eq_ignore_ascii_case("sentence");
        if let Some((_, Value::String(sentence))) = cause.iter().find(|(key, _)| is_sentence(key)) {
            lines.push(format!("Gantry saw: {sentence}."));
        }
        for (key, value) in cause.iter().filter(|(key, _)| !is_sentence(key)) {
            told(&mut lines, key, value, 0);
        }
    }
    if let Some(health) = &state.health {
        lines.push(format!(
            "Its health is {}, {} checks in a row failed.",
            health.status, health.failing_streak
        ));
        let last = health.log.iter().rev().find(|log| log.exit_code != 0);
        if let Some(last) = last {
            lines.push(format!(
                "The last failing check ended with {}: {}",
                last.exit_code,
                last.output.trim()
            ));
        }
    }
    if let Some(host) = &container.host_config {
        let policy = &host.restart_policy;
        if !matches!(policy.name.as_str(), "" | "no") {
            let times = match policy.maximum_retry_count {
                0 => String::new(),
                count => format!(" at most {count} times"),
            };
            lines.push(format!(
                "Its restart policy is {}{times}; it was restarted {} times.",
                policy.name, container.restart_count
            ));
        }
        if state.oom_killed && host.resources.memory > 0 {
            lines.push(format!("Its memory limit is {} bytes (--memory).", host.resources.memory));
        }
    }
    lines
}

fn first(name: &str, state: &ContainerState) -> String {
    match state.status.as_str() {
        "created" => format!("{name} has not been started."),
        "running" => format!("{name} runs, as process {}.", state.pid),
        "paused" => format!("{name} is paused: its processes are frozen (gantry unpause {name})."),
        "restarting" => format!("{name} ended with exit code {} and waits for its restart.", state.exit_code),
        "removing" => format!("{name} is being removed."),
        "dead" => format!("{name} is dead: its removal failed half-way (gantry rm {name} tries again)."),
        "exited" => format!("{name} ended with exit code {}.", state.exit_code),
        other => format!("{name} is {other}."),
    }
}

/// How long it ran, and when that ended.
fn ran(state: &ContainerState) -> Option<String> {
    let time = |text: &str| Timestamp::parse_rfc3339(text).filter(|_| text != ZERO);
    let started = time(&state.started_at)?;
    if state.running {
        return Some(format!("It was started at {}.", state.started_at));
    }
    let ended = time(&state.finished_at)?;
    let took = i64::try_from(ended.as_nanoseconds() - started.as_nanoseconds()).unwrap_or(i64::MAX).max(0);
    Some(format!("It ran for {} and ended at {}.", duration::format(took), state.finished_at))
}

/// What the exit code means.
fn exit(state: &ContainerState) -> Option<String> {
    if state.oom_killed {
        return Some("The kernel killed it: it used all the memory that it may have.".to_owned());
    }
    if state.status == "created" && state.exit_code == 0 {
        return None;
    }
    Some(match state.exit_code {
        0 => "Its process ended by itself, without an error.".to_owned(),
        125 => "125 is the engine's: the container was not started.".to_owned(),
        126 => "126 means that its command was found but could not be executed.".to_owned(),
        127 => "127 means that its command was not found.".to_owned(),
        255 => "255 is its own, or stands for an exit code that is not known.".to_owned(),
        code @ 129..=192 => {
            let signal = code - 128;
            let name = signal_name(signal).map_or_else(String::new, |name| format!(" ({name})"));
            format!(
                "{code} means that signal {signal}{name} ended it, or that its shell reports that of a child."
            )
        }
        code => format!("Its process ended by itself, with {code}; its log may say why (gantry logs)."),
    })
}

fn signal_name(number: i64) -> Option<&'static str> {
    const NAMES: [(i64, &str); 14] = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (5, "SIGTRAP"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (14, "SIGALRM"),
        (15, "SIGTERM"),
        (31, "SIGSYS: a system call that the seccomp profile does not allow"),
    ];
    NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// What Gantry has recorded of the cause, in its own words.
fn told(lines: &mut Vec<String>, key: &str, value: &Value, depth: usize) {
    let words = words(key);
    match value {
        Value::Null => {}
        Value::Object(map) if depth < MAX_DEPTH => {
            lines.push(format!("{}{words}:", "  ".repeat(depth)));
            map.iter().for_each(|(key, value)| told(lines, key, value, depth + 1));
        }
        Value::String(text) => lines.push(format!("{}{words}: {text}", "  ".repeat(depth))),
        Value::Bool(value) => {
            lines.push(format!("{}{words}: {}", "  ".repeat(depth), if *value { "yes" } else { "no" }));
        }
        Value::Number(number) if key.eq_ignore_ascii_case("signal") => {
            let name =
                number.as_i64().and_then(signal_name).map_or_else(String::new, |name| format!(" ({name})"));
            lines.push(format!("{}{words}: {number}{name}", "  ".repeat(depth)));
        }
        other => lines.push(format!("{}{words}: {other}", "  ".repeat(depth))),
    }
}

/// `exitCode`, `exit_code` and `ExitCode` as `Exit code`.
fn words(key: &str) -> String {
    let mut text = String::new();
    let mut before = ' ';
    for c in key.chars() {
        if matches!(c, '_' | '-') {
            text.push(' ');
        } else if c.is_uppercase() && before.is_lowercase() {
            text.push(' ');
            text.extend(c.to_lowercase());
        } else if text.is_empty() {
            text.extend(c.to_uppercase());
        } else {
            text.push(c);
        }
        before = c;
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(state: Value) -> ContainerInspect {
        serde_json::from_value(json!({"Name": "/web", "State": state, "HostConfig": {"Memory": 64}})).unwrap()
    }

    #[test]
    fn the_cause_is_told_in_sentences() {
        let lines = explain(&container(json!({
            "Status": "exited", "ExitCode": 137, "OOMKilled": true,
            "StartedAt": "2026-01-01T00:00:00Z", "FinishedAt": "2026-01-01T00:01:30Z",
            "GantryCause": {"sentence": "killed by the kernel", "signal": 9, "killedBy": "kernel", "limits": {"memory_bytes": 64}},
        })));
        assert_eq!(lines[0], "web ended with exit code 137.");
        assert_eq!(lines[1], "It ran for 1m30s and ended at 2026-01-01T00:01:30Z.");
        assert!(lines[2].contains("kernel killed it"));
        assert_eq!(lines[3], "Gantry saw: killed by the kernel.");
        assert!(lines.contains(&"Killed by: kernel".to_owned()), "{lines:?}");
        assert!(lines.contains(&"Signal: 9 (SIGKILL)".to_owned()), "{lines:?}");
        assert!(lines.contains(&"  Memory bytes: 64".to_owned()), "{lines:?}");
    }

    #[test]
    fn a_container_without_a_cause_is_explained_by_its_state() {
        let running = explain(&container(json!({"Status": "running", "Running": true, "Pid": 7})));
        assert_eq!(running, ["web runs, as process 7."]);
        let created = explain(&container(json!({"Status": "created"})));
        assert_eq!(created, ["web has not been started."]);
        let failed = explain(&container(json!({"Status": "exited", "ExitCode": 3, "Error": "no"})));
        assert_eq!(failed.len(), 3);
    }
}
