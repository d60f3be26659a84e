//! `gantryd oci-hook [--] PROGRAM ARGUMENT...`: executes a program as a hook of a container, told of that by its arguments.
//!
//! containerd's binary has the same, and clients put it into specifications by the path of whatever is called `containerd`: `ctr run --gpus`
//! does. In the arguments and in the environment these are replaced, as Go's templates write them:
//!
//! | | |
//! |---|---|
//! | `{{id}}`, `{{pid}}`, `{{status}}`, `{{bundle}}` | of the state that the runtime gives the hook |
//! | `{{rootfs}}` | the absolute path of the root file system |
//! | `{{annotation "KEY"}}` | empty if there is none |

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};
use gantry_types::oci::State;
use serde::Deserialize;

/// The longest state and the longest configuration, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// The part of a configuration that templates show.
#[derive(Deserialize)]
struct Configuration {
    root: Option<Root>,
}

#[derive(Deserialize)]
struct Root {
    path: String,
}

/// What templates show.
struct Shown {
    state: State,
    /// Absolute, or relative to the bundle.
    root: String,
}

/// Executes the program; returns only if that fails.
///
/// # Errors
/// A state or configuration that cannot be read, a template that is none, and what execve(2) says.
pub(crate) fn run(mut given: impl Iterator<Item = String>) -> Result<()> {
    let mut program = given.next();
    if program.as_deref() == Some("--") {
        program = given.next();
    }
    let program = program.context("oci-hook needs a program")?;
    let shown = Shown::read()?;
    let mut command = Command::new(shown.render(&program)?);
    // As Go's execve(2): a name without a slash is one of the working directory's.
    for argument in given {
        command.arg(shown.render(&argument)?);
    }
    command.env_clear();
    for (name, value) in std::env::vars_os() {
        let value = match value.into_string() {
            Ok(text) => shown.render(&text)?.into(),
            Err(bytes) => bytes,
        };
        command.env::<OsString, OsString>(name, value);
    }
    Err(anyhow!(command.exec()).context(format!("executing {program}")))
}

impl Shown {
    fn read() -> Result<Self> {
        let mut text = Vec::new();
        std::io::stdin()
            .take(MAX_BYTES)
            .read_to_end(&mut text)
            .context("reading the state of the container")?;
        let state: State = serde_json::from_slice(&text).context("the state of the container")?;
        let path = Path::new(&state.bundle).join("config.json");
        let mut text = Vec::new();
        let file = std::fs::File::open(&path).with_context(|| format!("reading {}", path.display()))?;
        file.take(MAX_BYTES).read_to_end(&mut text).with_context(|| format!("reading {}", path.display()))?;
        let configuration: Configuration =
            serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        let root = configuration.root.map(|root| root.path).unwrap_or_default();
        Ok(Self { state, root })
    }

    fn render(&self, template: &str) -> Result<String> {
        let (mut text, mut rest) = (String::new(), template);
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after
                .split_once("}}")
                .with_context(|| format!("{template:?} opens a template and does not close it"))?;
            text.push_str(before);
            text.push_str(&self.value(action.trim()).with_context(|| format!("in {template:?}"))?);
            rest = after;
        }
        Ok(text + rest)
    }

    fn value(&self, action: &str) -> Result<String> {
        let state = &self.state;
        Ok(match action {
            "id" => state.id.clone(),
            "pid" => state.pid.to_string(),
            "status" => state.status.clone(),
            "bundle" => state.bundle.clone(),
            "rootfs" => Path::new(&state.bundle).join(&self.root).display().to_string(),
            _ => {
                let key = action.strip_prefix("annotation").map(str::trim).and_then(quoted);
                let Some(key) = key else {
                    bail!("{action:?} is none of id, pid, status, bundle, rootfs, annotation \"KEY\"");
                };
                state.annotations.get(key).cloned().unwrap_or_default()
            }
        })
    }
}

/// What is in quotes, either kind that Go has for such a text; keys need no escapes.
fn quoted(text: &str) -> Option<&str> {
    let inside = |quote| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inside('"').filter(|key| !key.contains(['"', '\\'])).or_else(|| inside('`'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_show_the_container() {
        let state = State {
            id: "c".into(),
            pid: 7,
            status: "created".into(),
            bundle: "/b".into(),
            annotations: [("a.b/c".to_owned(), "d e".to_owned())].into(),
            ..State::default()
        };
        let mut shown = Shown { state, root: "rootfs".into() };
        for (template, expect) in [
            ("--pid={{pid}}", "--pid=7"),
            ("{{ rootfs }}", "/b/rootfs"),
            ("{{id}}-{{status}}", "c-created"),
            ("{{annotation \"a.b/c\"}}{{annotation `none`}}", "d e"),
            ("no } template {", "no } template {"),
        ] {
            assert_eq!(shown.render(template).unwrap(), expect);
        }
        shown.root = "/r".into();
        assert_eq!(shown.render("{{rootfs}}").unwrap(), "/r");
        for wrong in ["{{", "{{pids}}", "{{annotation}}", "{{annotation \"a}}", "{{}}"] {
            assert!(shown.render(wrong).is_err(), "{wrong}");
        }
    }
}
