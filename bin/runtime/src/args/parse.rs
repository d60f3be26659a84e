use std::fmt;

use super::value::{BadValue, parse_bool, parse_duration, parse_integer};
use super::{Flag, Flags, HELP, Kind, Parsed};

/// A command line that does not follow the table, in the words of Go's `flag` package.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UsageError<'a> {
    Undefined(&'a str),
    Syntax(&'a str),
    NoValue(&'a str),
    Switch { flag: &'a str, value: &'a str },
    Value { flag: &'a str, value: &'a str, reason: BadValue },
}

impl fmt::Display for UsageError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undefined(flag) => write!(f, "flag provided but not defined: -{flag}"),
            Self::Syntax(argument) => write!(f, "bad flag syntax: {argument}"),
            Self::NoValue(flag) => write!(f, "flag needs an argument: -{flag}"),
            Self::Switch { flag, value } => {
                write!(f, "invalid boolean value {value:?} for -{flag}: parse error")
            }
            Self::Value { flag, value, reason } => {
                let reason = match reason {
                    BadValue::Syntax => "parse error",
                    BadValue::Range => "value out of range",
                };
                write!(f, "invalid value {value:?} for flag -{flag}: {reason}")
            }
        }
    }
}

/// Reads `arguments` by `table`; `None` when help was asked for.
pub(crate) fn parse<'a>(
    table: &'static [&'static Flag],
    placement: Flags,
    arguments: &'a [String],
) -> Result<Option<Parsed<'a>>, UsageError<'a>> {
    let mut parsed = Parsed { table, ..Parsed::default() };
    let mut help = false;
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        if argument == "--" {
            parsed.operands.extend(rest);
            break;
        }
        let Some(named) = named_flag(argument)? else {
            parsed.operands.push(argument);
            if placement == Flags::BeforeOperands {
                parsed.operands.extend(rest);
                break;
            }
            continue;
        };
        let (name, inline) = match named.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (named, None),
        };
        let Some(flag) = look_up(table, name) else {
            if placement == Flags::AnywhereIfKnown && !parsed.operands.is_empty() {
                parsed.operands.push(argument);
                continue;
            }
            return Err(UsageError::Undefined(name));
        };
        let value = match (flag.kind, inline) {
            (_, Some(value)) => value,
            (Kind::Switch, None) => "true",
            (_, None) => rest.next().ok_or(UsageError::NoValue(name))?,
        };
        check_value(flag.kind, name, value)?;
        if std::ptr::eq(flag, &HELP) {
            help = parse_bool(value).unwrap_or(false);
        } else {
            parsed.flags.push((flag, value));
        }
    }
    Ok((!help).then_some(parsed))
}

/// The part of a flag after its dashes, or `None` for an operand.
fn named_flag(argument: &str) -> Result<Option<&str>, UsageError<'_>> {
    let Some(one) = argument.strip_prefix('-').filter(|name| !name.is_empty()) else { return Ok(None) };
    let name = one.strip_prefix('-').unwrap_or(one);
    if name.is_empty() || name.starts_with(['-', '=']) {
        return Err(UsageError::Syntax(argument));
    }
    Ok(Some(name))
}

fn look_up(table: &'static [&'static Flag], name: &str) -> Option<&'static Flag> {
    table.iter().copied().chain([&HELP]).find(|flag| flag.is_named(name))
}

fn check_value<'a>(kind: Kind, flag: &'a str, value: &'a str) -> Result<(), UsageError<'a>> {
    let number = match kind {
        Kind::Text | Kind::Texts => return Ok(()),
        Kind::Switch if parse_bool(value).is_some() => return Ok(()),
        Kind::Switch => return Err(UsageError::Switch { flag, value }),
        Kind::Integer | Kind::Integers => parse_integer(value).map(drop),
        Kind::Duration => parse_duration(value).map(drop).ok_or(BadValue::Syntax),
    };
    number.map_err(|reason| UsageError::Value { flag, value, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    static BUNDLE: Flag = Flag::text(&["bundle", "b"], "");
    static DETACH: Flag = Flag::switch(&["detach", "d"], "");
    static ENV: Flag = Flag::new(Kind::Texts, &["env", "e"], "");
    static GIDS: Flag = Flag::new(Kind::Integers, &["gids"], "");
    static COUNT: Flag = Flag::new(Kind::Integer, &["count"], "");
    static EVERY: Flag = Flag::new(Kind::Duration, &["every"], "");
    static TABLE: &[&Flag] = &[&BUNDLE, &DETACH, &ENV, &GIDS, &COUNT, &EVERY];

    fn words(line: &str) -> Vec<String> {
        line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// What was set, as `name=value` in order, then the operands after a bar.
    fn read(placement: Flags, line: &str) -> String {
        let words = words(line);
        match parse(TABLE, placement, &words) {
            Err(error) => format!("! {error}"),
            Ok(None) => "help".to_owned(),
            Ok(Some(parsed)) => {
                let flags: Vec<_> =
                    parsed.flags.iter().map(|(flag, value)| format!("{}={value}", flag.names[0])).collect();
                format!("{} | {}", flags.join(" "), parsed.operands.join(" ")).trim().to_owned()
            }
        }
    }

    #[test]
    fn flags_stand_anywhere() {
        for (line, expect) in [
            ("id", "| id"),
            ("-b /x id", "bundle=/x | id"),
            ("--b /x id", "bundle=/x | id"),
            ("-bundle=/x id", "bundle=/x | id"),
            ("--bundle=a=b id", "bundle=a=b | id"),
            ("--bundle= id", "bundle= | id"),
            ("id --bundle /x", "bundle=/x | id"),
            ("--detach id --bundle /x", "detach=true bundle=/x | id"),
            ("--detach=false id", "detach=false | id"),
            ("--detach false id", "detach=true | false id"),
            ("--bundle -d id", "bundle=-d | id"),
            ("--bundle -- id", "bundle=-- | id"),
            ("-e A=1 -e B=2 id", "env=A=1 env=B=2 | id"),
            ("--count -1 id", "count=-1 | id"),
            ("-- -b id", "| -b id"),
            ("id -- -b", "| id -b"),
            ("- id", "| - id"),
            ("id -h", "help"),
            ("--help=false id", "| id"),
        ] {
            assert_eq!(read(Flags::Anywhere, line), expect, "{line}");
        }
    }

    #[test]
    fn the_first_operand_ends_the_flags_of_exec() {
        for (line, expect) in [
            ("-d id ls -l --bundle", "detach=true | id ls -l --bundle"),
            ("id -- ls", "| id -- ls"),
            ("-- id -d", "| id -d"),
            ("id -h", "| id -h"),
            ("-h id", "help"),
        ] {
            assert_eq!(read(Flags::BeforeOperands, line), expect, "{line}");
        }
    }

    #[test]
    fn unknown_flags_after_the_id_are_operands_of_kill() {
        for (line, expect) in [
            ("id -9", "| id -9"),
            ("id --detach 9", "detach=true | id 9"),
            ("-9 id", "! flag provided but not defined: -9"),
        ] {
            assert_eq!(read(Flags::AnywhereIfKnown, line), expect, "{line}");
        }
    }

    #[test]
    fn mistakes_are_told_as_runc_tells_them() {
        for (line, expect) in [
            ("--nope id", "flag provided but not defined: -nope"),
            ("id -nope=1", "flag provided but not defined: -nope"),
            ("---b x", "bad flag syntax: ---b"),
            ("--=x", "bad flag syntax: --=x"),
            ("-=x", "bad flag syntax: -=x"),
            ("--bundle", "flag needs an argument: -bundle"),
            ("-b", "flag needs an argument: -b"),
            ("--detach=maybe", "invalid boolean value \"maybe\" for -detach: parse error"),
            ("--detach=", "invalid boolean value \"\" for -detach: parse error"),
            ("--count x", "invalid value \"x\" for flag -count: parse error"),
            (
                "--count 9223372036854775808",
                "invalid value \"9223372036854775808\" for flag -count: value out of range",
            ),
            ("--gids 1 --gids -", "invalid value \"-\" for flag -gids: parse error"),
            ("--every 5", "invalid value \"5\" for flag -every: parse error"),
        ] {
            assert_eq!(read(Flags::Anywhere, line), format!("! {expect}"), "{line}");
        }
    }

    #[test]
    fn the_last_value_counts_and_an_empty_one_is_none() {
        let words = words("-b /x --bundle /y --count 1 --count 2 --gids 3 --gids 4 --bundle= -d -d=false");
        let parsed = parse(TABLE, Flags::Anywhere, &words).unwrap().unwrap();
        assert_eq!(parsed.text("bundle"), None);
        assert!(parsed.is_set("b"));
        assert_eq!(parsed.integer("count"), Some(2));
        assert_eq!(parsed.integers("gids"), [3, 4]);
        assert!(!parsed.switch("detach"));
        assert_eq!(parsed.texts("env").count(), 0);
        assert_eq!(parsed.duration("every"), None);
    }
}
