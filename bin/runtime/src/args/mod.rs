//! The grammar of the command line: tables of commands and flags, and what reads and prints them.
//!
//! Compatible with runc, whose parser is urfave/cli over Go's `flag` package, and a superset of what crun's callers
//! write:
//!
//! - one dash or two; `--flag value`, `--flag=value`; a switch takes its value only after `=`;
//! - global flags stand before the command, the command's own flags before or after its operands;
//! - `--` ends the flags; in `exec` and `ps` the first operand does so too, the rest belongs to the other program;
//! - a flag given twice counts once, with the last value, but for the repeatable ones.
//!
//! It reads no file and no environment variable, and prints nothing.

mod help;
mod parse;
mod parsed;
mod value;

pub(crate) use help::{application_help, command_help};
pub(crate) use parse::parse;
pub(crate) use parsed::Parsed;

use crate::failure::Failure;
use crate::invocation::Invocation;

/// What a flag's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// On or off; its value is optional and follows `=`.
    Switch,
    /// Any text; the last one counts.
    Text,
    /// Any text; all of them count.
    Texts,
    /// A whole number, in the notations of Go's `strconv.ParseInt` with base 0.
    Integer,
    /// Whole numbers; all of them count.
    Integers,
    /// A length of time in Go's notation, such as `1.5s`.
    Duration,
}

/// One flag, with its names and its help.
#[derive(Debug)]
pub(crate) struct Flag {
    /// The long name first, then its aliases, without dashes.
    pub(crate) names: &'static [&'static str],
    pub(crate) kind: Kind,
    /// The value that help shows as the default; empty for none.
    pub(crate) default: &'static str,
    /// What it does, for help; a hidden flag has none.
    pub(crate) help: &'static str,
}

impl Flag {
    pub(crate) const fn new(kind: Kind, names: &'static [&'static str], help: &'static str) -> Self {
        Self { names, kind, default: "", help }
    }

    pub(crate) const fn switch(names: &'static [&'static str], help: &'static str) -> Self {
        Self::new(Kind::Switch, names, help)
    }

    pub(crate) const fn text(names: &'static [&'static str], help: &'static str) -> Self {
        Self::new(Kind::Text, names, help)
    }

    pub(crate) const fn with_default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    fn is_named(&self, name: &str) -> bool {
        self.names.contains(&name)
    }
}

/// Where a command's flags may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flags {
    /// Before, between and after the operands.
    Anywhere,
    /// As `Anywhere`, but after the first operand an unknown flag is an operand: `kill ID -9`.
    AnywhereIfKnown,
    /// Only before the first operand.
    BeforeOperands,
}

/// One command of the table.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// One line for the list of commands.
    pub(crate) summary: &'static str,
    /// How its operands are written.
    pub(crate) usage: &'static str,
    /// Paragraphs for its own help.
    pub(crate) about: &'static str,
    pub(crate) flags: &'static [&'static Flag],
    pub(crate) placement: Flags,
    /// The fewest operands.
    pub(crate) min: usize,
    /// The most operands.
    pub(crate) max: usize,
    /// Does it, and says with which code the process exits.
    pub(crate) run: fn(&Invocation<'_>) -> Result<u8, Failure>,
}

/// The flag that every command and the program itself has.
pub(crate) static HELP: Flag = Flag::switch(&["help", "h"], "show this help");
