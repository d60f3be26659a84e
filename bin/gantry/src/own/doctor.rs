//! `doctor`: whether this machine can run containers, and what is to be done where it cannot. Works without the engine.

mod checks;
mod userns;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::command::{Failure, Verb};
use crate::output;
use crate::session::Session;

/// Check this machine: kernel, cgroups, namespaces, file systems, firewall, disk, engine
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// 'json' for programs
    #[arg(long, value_name = "STRING")]
    format: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Something is missing that not every container needs.
    Poor,
    /// No container runs.
    Bad,
}

/// What was found, and what helps.
#[derive(Debug)]
struct Finding {
    subject: &'static str,
    verdict: Verdict,
    what: String,
    /// Empty where nothing is to be done.
    remedy: String,
}

impl Finding {
    fn good(subject: &'static str, what: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Good, what: what.into(), remedy: String::new() }
    }

    fn poor(subject: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Poor, what: what.into(), remedy: remedy.into() }
    }

    fn bad(subject: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Bad, what: what.into(), remedy: remedy.into() }
    }
}

impl Verb for Doctor {
    async fn run(self, session: &Session) -> Result<u8> {
        let mut findings = vec![
            checks::privilege(),
            checks::kernel(),
            checks::cgroups(),
            checks::namespaces(),
            checks::overlay(),
            userns::ids(),
            checks::seccomp(),
            checks::nftables(),
            checks::forwarding(),
        ];
        findings.extend(checks::disk());
        findings.push(checks::engine(session).await);
        if self.format.as_deref() == Some("json") {
            for finding in &findings {
                output::line(
                    json!({
                        "subject": finding.subject, "verdict": word(finding.verdict), "what": finding.what, "remedy": finding.remedy,
                    })
                    .to_string(),
                );
            }
        } else {
            for finding in &findings {
                output::line(format!("{:<5}{:<12}{}", word(finding.verdict), finding.subject, finding.what));
                if !finding.remedy.is_empty() {
                    output::line(format!("{:<17}remedy: {}", "", finding.remedy));
                }
            }
        }
        let is_bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
        if is_bad { Err(Failure::silent(1)) } else { Ok(0) }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Poor => "poor",
        Verdict::Bad => "bad",
    }
}
