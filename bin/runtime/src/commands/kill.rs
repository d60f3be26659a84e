use gantry_runtime::Scope;

use crate::args::{Command, Flag, Flags};
use crate::failure::Failure;
use crate::invocation::Invocation;

static ALL: Flag = Flag::switch(&["all", "a"], "");

pub(super) static COMMAND: Command = Command {
    name: "kill",
    summary: "send a signal to a container's first process (SIGTERM if none is named)",
    usage: "<container-id> [signal]",
    about: "The signal is a name, with or without SIG before it, a real-time one such as RTMIN+3, or a number.\n   \
            A container without a pid namespace of its own gets SIGKILL in all its processes.",
    flags: &[&ALL],
    placement: Flags::AnywhereIfKnown,
    min: 1,
    max: 2,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    let scope = if call.args.switch("all") { Scope::All } else { Scope::Process };
    let name = call.args.operands.get(1).copied().filter(|name| !name.is_empty()).unwrap_or("SIGTERM");
    let signal = parse_signal(name).ok_or_else(|| Failure::new(format!("unknown signal {name:?}")))?;
    gantry_runtime::kill(&call.host(), &call.container_id()?, signal, scope)?;
    Ok(0)
}

/// The names of the signals from 1 on: signal(7).
static NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names of the same signals.
static ALIASES: [(&str, i32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];

/// The first real-time signal that the C library leaves to programs.
const RTMIN: i32 = 34;
const RTMAX: i32 = gantry_sys::signal::MAX_SIGNAL;

/// Reads the name or the number of a signal. Number 0 asks whether the process is there.
fn parse_signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(index + 1).ok();
    }
    ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, number)| *number).or_else(|| real_time(name))
}

/// `RTMIN`, `RTMIN+n`, `RTMAX` or `RTMAX-n`.
fn real_time(name: &str) -> Option<i32> {
    let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        None => rest.is_empty().then_some(0),
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<i32>().ok())?,
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        RTMIN.checked_add(offset(rest, '+')?)?
    } else {
        RTMAX - offset(name.strip_prefix("RTMAX")?, '-')?
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, expect) in [
            ("TERM", Some(15)),
            ("SIGTERM", Some(15)),
            ("sigterm", Some(15)),
            ("15", Some(15)),
            ("0", Some(0)),
            ("KILL", Some(9)),
            ("SIGSTKFLT", Some(16)),
            ("SIGPOLL", Some(29)),
            ("SYS", Some(31)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX", Some(64)),
            ("rtmax-1", Some(63)),
            ("64", Some(64)),
        ] {
            assert_eq!(parse_signal(text), expect, "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in [
            "",
            "-1",
            "-9",
            "65",
            "99999999999",
            "SIG",
            "SIGSIGTERM",
            "FOO",
            "RTMIN-1",
            "RTMIN+31",
            "RTMAX-31",
            "RTMAX+1",
            "RTMIN+",
            "RTMIN++1",
            "RTMIN+-1",
            "RTMAX-99999999999",
            "TERM ",
            "15 ",
        ] {
            assert_eq!(parse_signal(text), None, "{text:?}");
        }
    }
}
