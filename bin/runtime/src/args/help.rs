use super::{Command, Flag, HELP, Kind};

/// The help of the whole program.
pub(crate) fn application_help(
    program: &str,
    about: &str,
    version: &str,
    commands: &[&Command],
    flags: &[&Flag],
) -> String {
    let mut out = format!(
        "NAME:\n   {program} - {about}\n\nUSAGE:\n   {program} [global options] command [command options] [arguments...]\n\n\
         VERSION:\n   {version}\n\nCOMMANDS:\n"
    );
    let help = ("help, h", "list the commands, or explain one");
    let rows: Vec<_> = commands.iter().map(|command| (command.name, command.summary)).chain([help]).collect();
    push_columns(&mut out, &rows);
    out.push_str("\nGLOBAL OPTIONS:\n");
    push_flags(&mut out, flags);
    out
}

/// The help of one command.
pub(crate) fn command_help(program: &str, command: &Command) -> String {
    let Command { name, summary, usage, about, flags, .. } = command;
    let options = if flags.is_empty() { "" } else { " [command options]" };
    let mut out =
        format!("NAME:\n   {program} {name} - {summary}\n\nUSAGE:\n   {program} {name}{options} {usage}\n");
    if !about.is_empty() {
        out.push_str("\nDESCRIPTION:\n   ");
        out.push_str(about);
        out.push('\n');
    }
    out.push_str("\nOPTIONS:\n");
    push_flags(&mut out, flags);
    out
}

fn push_flags(out: &mut String, flags: &[&Flag]) {
    let visible = flags.iter().copied().chain([&HELP]).filter(|flag| !flag.help.is_empty());
    let rows: Vec<_> = visible.map(|flag| (spell(flag), explain(flag))).collect();
    let rows: Vec<_> = rows.iter().map(|(left, right)| (left.as_str(), right.as_str())).collect();
    push_columns(out, &rows);
}

/// A flag with all its names, as `--bundle value, -b value`.
fn spell(flag: &Flag) -> String {
    let value = if flag.kind == Kind::Switch { "" } else { " value" };
    let mut out = String::new();
    for name in flag.names {
        let separator = if out.is_empty() { "" } else { ", " };
        let dashes = if name.len() == 1 { "-" } else { "--" };
        out.extend([separator, dashes, name, value]);
    }
    out
}

fn explain(flag: &Flag) -> String {
    let mut out = flag.help.to_owned();
    if !flag.default.is_empty() {
        out.extend([" (default: ", flag.default, ")"]);
    }
    out
}

fn push_columns(out: &mut String, rows: &[(&str, &str)]) {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    for (left, right) in rows {
        out.push_str("   ");
        out.push_str(left);
        out.extend(std::iter::repeat_n(' ', width - left.len() + 2));
        out.push_str(right);
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FILE: Flag = Flag::text(&["file", "f"], "read FILE").with_default("\"-\"");
    static QUIET: Flag = Flag::switch(&["quiet"], "say less");
    static OLD: Flag = Flag::switch(&["old"], "");

    #[test]
    fn flags_line_up_and_hidden_ones_are_absent() {
        let mut out = String::new();
        push_flags(&mut out, &[&FILE, &QUIET, &OLD]);
        assert_eq!(
            out,
            "   --file value, -f value  read FILE (default: \"-\")\n\
             \x20  --quiet                 say less\n\
             \x20  --help, -h              show this help\n"
        );
    }
}
