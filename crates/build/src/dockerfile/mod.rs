//! Dockerfiles: from bytes to stages of instructions.
//!
//! The reference is Dockerfile's, syntax 1, as far as docker's classic builder has it. A Dockerfile is a stranger's: everything
//! has limits, and what is wrong is an error with its line. Nothing is expanded here: variables are known only when an
//! instruction is carried out.

mod instruction;
mod lines;
mod parse;
pub(crate) mod shell;
#[cfg(test)]
mod tests;

pub(crate) use instruction::{Arg, Check, Form, Instruction, Network, Stage, Step, Transfer};
pub(crate) use lines::MAX_BYTES;
pub(crate) use lines::{Directives, Heredoc};
pub(crate) use parse::trigger;

use crate::Result;

/// A Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dockerfile {
    /// What makes the next character an ordinary one.
    pub(crate) escape: char,
    /// `ARG` before the first `FROM`.
    pub(crate) args: Vec<Step>,
    /// At least one.
    pub(crate) stages: Vec<Stage>,
    /// Instructions with empty lines in them.
    pub(crate) gaps: Vec<String>,
}

impl Dockerfile {
    /// Reads one.
    ///
    /// # Errors
    /// Dockerfile, Limit, and Unsupported for what needs BuildKit.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let (directives, lines) = lines::read(bytes)?;
        parse::stages(directives, lines)
    }
}
