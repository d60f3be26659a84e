use std::ffi::OsString;

use gantry_runtime::{COMMIT, VERSION};

use crate::args::{Command, Flags, Parsed, application_help, command_help, parse};
use crate::commands;
use crate::failure::Failure;
use crate::globals::{self, Globals};
use crate::invocation::Invocation;
use crate::log::{Level, Log};
use crate::output::print;

/// What the program is, at the head of its help.
const ABOUT: &str = "Open Container Initiative runtime

Makes, starts and looks after containers from bundles. A bundle is a directory with a
configuration (config.json, see \"spec\") and a root file system. Flags, output and exit
codes are those of runc, so that an engine can call either.

To run the bundle in the working directory as a container named web:

    # gantry-runtime run web";

/// The exit code of a question about a command that does not exist.
const NO_SUCH_COMMAND: u8 = 3;

/// Runs the program and gives its exit code. What failed is in the log and on standard error by then.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> u8 {
    let mut log = Log::standard_error();
    let words: Result<Vec<String>, OsString> = arguments.map(OsString::into_string).collect();
    let done = match &words {
        Ok(words) => run_words(words, &mut log),
        Err(word) => Err(Failure::new(format!("argument {word:?} is not valid UTF-8"))),
    };
    done.unwrap_or_else(|failure| {
        log.write_failure(&failure.message);
        failure.exit_code
    })
}

/// Reads the global flags, opens the log that they ask for in place of `log`, and runs the command.
fn run_words(words: &[String], log: &mut Log) -> Result<u8, Failure> {
    let (path, words) = words.split_first().map_or(("", &[][..]), |(path, words)| (path.as_str(), words));
    let program = name_of(path);
    let flags = match parse(globals::FLAGS, Flags::BeforeOperands, words) {
        Ok(Some(flags)) => flags,
        Ok(None) => return print(&own_help(program)).map(|()| 0),
        Err(error) => {
            print(&format!("Incorrect Usage. {error}\n\n{}", own_help(program)))?;
            return Err(Failure::new(error.to_string()));
        }
    };
    if flags.switch("version") {
        return print(&format!("{program} version {}\n", version_lines())).map(|()| 0);
    }
    *log = globals::open_log(&flags)?;
    // The flags ended at the first operand, so the operands are the tail of the words.
    let words = &words[words.len() - flags.operands.len()..];
    let Some((name, words)) = words.split_first() else { return print(&own_help(program)).map(|()| 0) };
    if matches!(name.as_str(), "help" | "h") {
        let text = words.first().map_or_else(|| Ok(own_help(program)), |topic| help_on(program, topic));
        return text.and_then(|text| print(&text)).map(|()| 0);
    }
    let command = find(name)?;
    let args = match command_arguments(path, command, words) {
        Ok(Some(args)) => args,
        Ok(None) => return print(&command_help(program, command)).map(|()| 0),
        Err(Misuse { head, message }) => {
            print(&format!("{head}\n\n{}", command_help(program, command)))?;
            return Err(Failure::new(message));
        }
    };
    log.write(Level::Debug, &format!("{} {}", command.name, args.operands.first().unwrap_or(&"")));
    (command.run)(&Invocation { program, globals: Globals::read(&flags)?, log, args })
}

/// A command called in a way that its table does not allow.
#[derive(Debug)]
struct Misuse {
    /// The line above the help, on standard output.
    head: String,
    /// The error.
    message: String,
}

/// Reads a command's own flags and operands; `None` when its help was asked for.
fn command_arguments<'a>(
    path: &str,
    command: &Command,
    words: &'a [String],
) -> Result<Option<Parsed<'a>>, Misuse> {
    let parsed = match parse(command.flags, command.placement, words) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return Ok(None),
        Err(error) => {
            return Err(Misuse { head: format!("Incorrect Usage: {error}"), message: error.to_string() });
        }
    };
    let Command { name, min, max, .. } = command;
    let count = parsed.operands.len();
    if (*min..=*max).contains(&count) {
        return Ok(Some(parsed));
    }
    let requirement = match () {
        () if min == max => format!("exactly {min}"),
        () if count < *min => format!("a minimum of {min}"),
        () => format!("a maximum of {max}"),
    };
    let message = format!("{path}: {name:?} requires {requirement} argument(s)");
    Err(Misuse { head: "Incorrect Usage.".to_owned(), message })
}

fn find(name: &str) -> Result<&'static Command, Failure> {
    commands::ALL
        .iter()
        .copied()
        .find(|command| command.name == name)
        .ok_or_else(|| Failure::new(format!("No help topic for '{name}'")).with_exit_code(NO_SUCH_COMMAND))
}

fn help_on(program: &str, topic: &str) -> Result<String, Failure> {
    find(topic).map(|command| command_help(program, command))
}

fn own_help(program: &str) -> String {
    application_help(program, ABOUT, &version_lines(), commands::ALL, globals::FLAGS)
}

/// The last part of the path that the program was called by.
fn name_of(path: &str) -> &str {
    match path.rsplit('/').next() {
        None | Some("") => env!("CARGO_BIN_NAME"),
        Some(name) => name,
    }
}

/// The lines that dockerd, podman, containerd and CRI-O take apart: no other may hold the word "version", after which
/// dockerd looks for the number, and `commit:` and `spec:` must start theirs.
fn version_lines() -> String {
    format!("{VERSION}\ncommit: {COMMIT}\nspec: {}", gantry_types::oci::OCI_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command_error(line: &[&str]) -> String {
        let words: Vec<_> = line.iter().map(|word| (*word).to_owned()).collect();
        let command = find(&words[0]).unwrap();
        command_arguments("/usr/bin/gantry-runtime", command, &words[1..])
            .err()
            .map_or(String::new(), |f| f.message)
    }

    #[test]
    fn operands_are_counted_as_runc_counts_them() {
        for (line, expect) in [
            (&["state"][..], "/usr/bin/gantry-runtime: \"state\" requires exactly 1 argument(s)"),
            (&["state", "a", "b"], "/usr/bin/gantry-runtime: \"state\" requires exactly 1 argument(s)"),
            (&["kill"], "/usr/bin/gantry-runtime: \"kill\" requires a minimum of 1 argument(s)"),
            (
                &["kill", "a", "b", "c"],
                "/usr/bin/gantry-runtime: \"kill\" requires a maximum of 2 argument(s)",
            ),
            (&["list", "x"], "/usr/bin/gantry-runtime: \"list\" requires exactly 0 argument(s)"),
            (&["exec"], "/usr/bin/gantry-runtime: \"exec\" requires a minimum of 1 argument(s)"),
            (&["exec", "a", "b", "c", "d"], ""),
            (&["kill", "a", "KILL"], ""),
        ] {
            assert_eq!(command_error(line), expect, "{line:?}");
        }
    }

    #[test]
    fn an_unknown_command_has_a_code_of_its_own() {
        let failure = find("frobnicate").err().unwrap();
        assert_eq!((failure.message.as_str(), failure.exit_code), ("No help topic for 'frobnicate'", 3));
    }

    #[test]
    fn dockerd_finds_version_and_commit() {
        let text = format!("gantry-runtime version {}", version_lines());
        let versions: Vec<_> = text.lines().filter(|line| line.contains("version")).collect();
        assert_eq!(versions, [format!("gantry-runtime version {VERSION}")]);
        assert!(text.lines().any(|line| line.starts_with("commit: ")));
        assert!(text.lines().any(|line| line == "spec: 1.3.0"));
    }

    #[test]
    fn the_program_goes_by_the_name_it_was_called() {
        for (path, expect) in
            [("/usr/bin/runc", "runc"), ("runc", "runc"), ("", "gantry-runtime"), ("/x/", "gantry-runtime")]
        {
            assert_eq!(name_of(path), expect, "{path}");
        }
    }

    #[test]
    fn every_command_explains_itself() {
        for command in commands::ALL {
            let help = command_help("runc", command);
            assert!(help.starts_with(&format!("NAME:\n   runc {} - ", command.name)), "{help}");
            assert!(command.min <= command.max, "{}", command.name);
        }
    }

    #[test]
    fn no_two_flags_of_a_command_share_a_name() {
        let tables = commands::ALL.iter().map(|command| (command.name, command.flags));
        for (command, flags) in tables.chain([("", globals::FLAGS)]) {
            let mut names: Vec<_> = flags.iter().flat_map(|flag| flag.names).copied().collect();
            names.extend(["help", "h"]);
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{command}");
        }
    }
}
