//! Errors with an exit code, and how errors are told.

use anyhow::{Error, Result};

use crate::output;

/// An error with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// Empty where everything has been said.
    pub(crate) message: String,
}

impl Failure {
    /// Ends without a word.
    pub(crate) fn silent(code: u8) -> Error {
        Self { code, message: String::new() }.into()
    }

    pub(crate) fn with(code: u8, message: impl Into<String>) -> Error {
        Self { code, message: message.into() }.into()
    }
}

/// Tells an error, and gives the exit code.
pub(super) fn report(result: Result<u8>, words: &str, is_debug: bool) -> u8 {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    let (code, message) = match error.downcast_ref::<Failure>() {
        Some(failure) => (failure.code, failure.message.clone()),
        None => (1, chain(&error)),
    };
    if !message.is_empty() {
        output::note(&message);
    }
    // As docker does for what could not be started at all.
    if code >= 125 && !message.is_empty() {
        output::note(format!("\nRun '{words} --help' for more information"));
    }
    if is_debug {
        output::note(format!("{error:?}"));
    }
    code
}

/// An error with its causes, each once.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Joins the errors of several things: each on its line, exit code 1.
pub(crate) fn collect(errors: Vec<Error>) -> Result<u8> {
    if errors.is_empty() {
        return Ok(0);
    }
    let lines: Vec<String> = errors.iter().map(chain).collect();
    Err(Failure::with(1, lines.join("\n")))
}
