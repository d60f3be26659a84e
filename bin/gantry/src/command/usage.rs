//! Flags as docker takes them, and what is said of wrong ones.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::tree;
use crate::output;

/// The code for flags that are none.
const FLAG: u8 = 125;
/// The code for operands that are missing or too many.
const OPERAND: u8 = 1;

/// What docker's parser allows: a flag twice, and `--help` but no `-h`.
pub(super) fn as_docker(command: Command) -> Command {
    let command = command.disable_help_flag(true).args_override_self(true);
    command.arg(Arg::new("help").long("help").action(ArgAction::Help).help("Print usage"))
}

/// What is done about `--rm=false`: flags have no values here, so that help does not show any, but docker's do.
/// None if the error is another one, or the value is neither true nor false.
pub(super) fn without_value(error: &clap::Error, arguments: &[OsString]) -> Option<Vec<OsString>> {
    let (ErrorKind::TooManyValues, Some(ContextValue::String(flag))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    else {
        return None;
    };
    let name = flag.split([' ', '=', '[']).next()?;
    let place = arguments.iter().position(|argument| {
        argument.to_str().and_then(|text| text.strip_prefix(name)).is_some_and(|rest| rest.starts_with('='))
    })?;
    let value = boolean(&arguments[place].to_str()?[name.len() + 1..])?;
    let mut arguments = arguments.to_vec();
    if value {
        arguments[place] = name.into();
    } else {
        arguments.remove(place);
    }
    Some(arguments)
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Tells what is wrong with the words; gives the exit code.
pub(super) fn explain(error: &clap::Error, arguments: &[OsString]) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output::print(&error.render().to_string());
            return 0;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            output::print(&error.render().to_string());
            return 0;
        }
        _ => {}
    }
    let words = path(arguments);
    let given = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let invalid = given(ContextKind::InvalidArg).unwrap_or_default();
    let (code, message) = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = given(ContextKind::InvalidSubcommand).unwrap_or_default();
            output::note(format!(
                "gantry: unknown command: {words} {word}\n\nRun '{words} --help' for more information"
            ));
            return OPERAND;
        }
        ErrorKind::UnknownArgument if invalid.starts_with("--") => (FLAG, format!("unknown flag: {invalid}")),
        ErrorKind::UnknownArgument if invalid.starts_with('-') => {
            (FLAG, format!("unknown shorthand flag: '{}' in {invalid}", &invalid[1..]))
        }
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues => (OPERAND, tree::arguments(&words)),
        ErrorKind::MissingRequiredArgument => (OPERAND, tree::arguments(&words)),
        ErrorKind::ArgumentConflict => (OPERAND, first_line(error)),
        _ => (FLAG, first_line(error)),
    };
    let usage = tree::usage(&words).map_or_else(String::new, |usage| format!("Usage:  {usage}\n\n"));
    let look = if code == OPERAND { "See" } else { "Run" };
    output::note(format!("{message}\n\n{usage}{look} '{words} --help' for more information"));
    code
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// The words of the command that was meant.
fn path(arguments: &[OsString]) -> String {
    let mut words = String::from("gantry");
    for argument in arguments.iter().skip(1).filter_map(|argument| argument.to_str()) {
        let longer = format!("{words} {argument}");
        if tree::is_command(&longer) {
            words = longer;
        } else if tree::usage(&words).is_some() {
            break;
        }
    }
    words
}

/// Prints the help of a noun, or of everything.
pub(super) fn help(root: &mut Command, words: &str) -> u8 {
    let mut command = root;
    for word in words.split(' ').skip(1) {
        if command.find_subcommand(word).is_none() {
            break;
        }
        command = command.find_subcommand_mut(word).expect("it was found");
    }
    output::print(&command.render_help().to_string());
    0
}
