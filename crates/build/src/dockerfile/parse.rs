//! From lines to instructions.

use super::lines::{is_marker, raw_words};
use super::{Arg, Check, Directives, Dockerfile, Form, Heredoc, Instruction, Network, Stage, Step, Transfer};
use gantry_engine::image::Healthcheck;

use super::lines::{self, Line};
use crate::{Error, Result};

/// The most stages.
const MAX_STAGES: usize = 256;
/// The most words of an instruction.
const MAX_WORDS: usize = 4096;
/// Instructions that cannot be triggers.
const NO_TRIGGERS: [&str; 3] = ["ONBUILD", "FROM", "MAINTAINER"];

pub(super) fn stages(directives: Directives, lines: Vec<Line>) -> Result<Dockerfile> {
    if lines.is_empty() {
        return Err(Error::Invalid("file with no instructions".to_owned()));
    }
    let mut parsed =
        Dockerfile { escape: directives.escape, args: Vec::new(), stages: Vec::new(), gaps: Vec::new() };
    for line in lines {
        if line.has_gap {
            parsed.gaps.push(line.text.clone());
        }
        let parts = Parts::split(&line, directives.escape)?;
        if parts.keyword == "FROM" {
            let stage = from(&line, &parts)?;
            if !stage.name.is_empty() && parsed.stages.iter().any(|other| other.name == stage.name) {
                return Err(Error::line(line.number, format!("{} stage name already used", stage.name)));
            }
            parsed.stages.push(stage);
            if parsed.stages.len() > MAX_STAGES {
                let limit = MAX_STAGES as u64;
                return Err(Error::Limit { what: "the Dockerfile".into(), limit, unit: "stages" });
            }
            continue;
        }
        let step = step(&line, &parts, directives.escape)?;
        match (parsed.stages.last_mut(), &step.instruction) {
            (Some(stage), _) => stage.steps.push(step),
            (None, Instruction::Arg(_)) => parsed.args.push(step),
            (None, _) => return Err(Error::line(line.number, "no build stage in current context")),
        }
    }
    if parsed.stages.is_empty() {
        return Err(Error::Invalid("no build stage in current context".to_owned()));
    }
    Ok(parsed)
}

/// Reads the instruction of an image's trigger.
///
/// # Errors
/// Dockerfile for what is no instruction, is several, or cannot be a trigger.
pub(crate) fn trigger(text: &str, escape: char) -> Result<Step> {
    let (_, lines) = lines::read(text.as_bytes())?;
    let [line] = &lines[..] else {
        return Err(Error::Invalid("onbuild trigger should be a single expression".to_owned()));
    };
    let parts = Parts::split(line, escape)?;
    refuse_trigger(line.number, &parts.keyword)?;
    step(line, &parts, escape)
}

fn refuse_trigger(number: usize, keyword: &str) -> Result<()> {
    match keyword {
        "ONBUILD" => Err(Error::line(number, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        other if NO_TRIGGERS.contains(&other) => {
            Err(Error::line(number, format!("{other} isn't allowed as an ONBUILD trigger")))
        }
        _ => Ok(()),
    }
}

/// A line, taken apart.
struct Parts {
    number: usize,
    keyword: String,
    flags: Vec<(String, Option<String>)>,
    rest: String,
}

impl Parts {
    fn split(line: &Line, escape: char) -> Result<Self> {
        let text = line.text.trim();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let (flags, rest) = flags(rest.trim_start(), escape);
        Ok(Self {
            number: line.number,
            keyword: word.to_ascii_uppercase(),
            flags,
            rest: rest.trim().to_owned(),
        })
    }

    fn fail(&self, message: impl Into<String>) -> Error {
        Error::line(self.number, message)
    }

    fn no_flags(&self) -> Result<()> {
        match self.flags.first() {
            Some((name, _)) => Err(self.fail(format!("unknown flag: --{name}"))),
            None => Ok(()),
        }
    }

    /// The value of a flag, which must have one.
    fn value(&self, name: &str, value: &Option<String>) -> Result<String> {
        value.clone().ok_or_else(|| self.fail(format!("missing a value on flag: {name}")))
    }

    /// The value of a flag that need not have one.
    fn flag(&self, name: &str, value: &Option<String>) -> Result<bool> {
        match value.as_deref() {
            None | Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(self.fail(format!("expecting boolean value for flag {name}, not: {other}"))),
        }
    }

    fn needs_buildkit(&self, what: &str) -> Error {
        Error::Unsupported(format!(
            "dockerfile line {}: {what} needs BuildKit, which this builder is not",
            self.number
        ))
    }

    /// The whole rest as one value.
    fn one(&self) -> Result<String> {
        self.no_flags()?;
        match self.rest.as_str() {
            "" => Err(self.fail(format!("{} requires exactly one argument", self.keyword))),
            rest => Ok(rest.to_owned()),
        }
    }

    fn words(&self) -> Result<Vec<&str>> {
        let words = raw_words(&self.rest);
        if words.len() > MAX_WORDS {
            let what = format!("the instruction on line {}", self.number);
            return Err(Error::Limit { what, limit: MAX_WORDS as u64, unit: "words" });
        }
        Ok(words)
    }

    /// A list of JSON; None for what is not one. As with docker, what follows it does not count.
    fn json(&self, text: &str) -> Result<Option<Vec<String>>> {
        if !text.starts_with('[') {
            return Ok(None);
        }
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Vec<serde_json::Value>>();
        let Some(Ok(values)) = values.next() else { return Ok(None) };
        let text = |value| match value {
            serde_json::Value::String(text) => Ok(text),
            _ => Err(self.fail("when using JSON array syntax, arrays must be comprised of strings only")),
        };
        values.into_iter().map(text).collect::<Result<Vec<_>>>().map(Some)
    }

    fn form(&self, text: &str) -> Result<Form> {
        Ok(match self.json(text)? {
            Some(list) => Form::Exec(list),
            None => Form::Shell(text.to_owned()),
        })
    }

    /// A list of JSON, or words.
    fn list(&self) -> Result<Vec<String>> {
        let list = match self.json(&self.rest)? {
            Some(list) => list,
            None => self.rest.split_whitespace().map(str::to_owned).collect(),
        };
        if list.is_empty() {
            return Err(self.fail(format!("{} requires at least one argument", self.keyword)));
        }
        Ok(list)
    }

    /// `key=value …`, or `key value` in the old form.
    fn pairs(&self) -> Result<Vec<(String, String)>> {
        self.no_flags()?;
        let words = self.words()?;
        let two = || self.fail(format!("{} must have two arguments", self.keyword));
        let first = words.first().ok_or_else(two)?;
        if !first.contains('=') {
            let (key, value) = self.rest.split_once(char::is_whitespace).ok_or_else(two)?;
            return Ok(vec![(key.to_owned(), value.trim_start().to_owned())]);
        }
        let pair = |word: &&str| match word.split_once('=') {
            Some(("", _)) => Err(self.fail(format!("{} names can not be blank", self.keyword))),
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(self
                .fail(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value"))),
        };
        words.iter().map(pair).collect()
    }
}

/// What begins with two dashes, and the rest.
fn flags(text: &str, escape: char) -> (Vec<(String, Option<String>)>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(flag) = rest.strip_prefix("--") {
        let (mut word, mut quoted, mut end) = (String::new(), false, flag.len());
        let mut chars = flag.char_indices();
        while let Some((place, c)) = chars.next() {
            match c {
                c if c.is_whitespace() && !quoted => {
                    end = place;
                    break;
                }
                '"' => quoted = !quoted,
                c if c == escape => word.extend(chars.next().map(|(_, next)| next)),
                c => word.push(c),
            }
        }
        rest = flag[end..].trim_start();
        if word.is_empty() {
            // `--` alone ends them.
            break;
        }
        found.push(match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        });
    }
    (found, rest)
}

fn from(line: &Line, parts: &Parts) -> Result<Stage> {
    let mut platform = String::new();
    for (name, value) in &parts.flags {
        match name.as_str() {
            "platform" => platform = parts.value(name, value)?,
            _ => return Err(parts.fail(format!("unknown flag: --{name}"))),
        }
    }
    let words: Vec<&str> = parts.rest.split_whitespace().collect();
    let (base, name) = match words[..] {
        [base] => (base, String::new()),
        [base, word, name] if word.eq_ignore_ascii_case("as") => (base, name.to_ascii_lowercase()),
        _ => return Err(parts.fail("FROM requires either one or three arguments")),
    };
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
    };
    if words.len() == 3 && (!is_name(&name) || name == "scratch" || name == "context") {
        return Err(parts.fail(format!(
            "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
        )));
    }
    let (text, base) = (line.text.trim().to_owned(), base.to_owned());
    Ok(Stage { text, line: line.number, base, name, platform, steps: Vec::new() })
}

fn step(line: &Line, parts: &Parts, escape: char) -> Result<Step> {
    let instruction = instruction(line, parts, escape)?;
    Ok(Step { text: line.text.trim().to_owned(), line: line.number, instruction })
}

fn instruction(line: &Line, parts: &Parts, escape: char) -> Result<Instruction> {
    let plain_form = || {
        parts.no_flags()?;
        parts.form(&parts.rest)
    };
    Ok(match parts.keyword.as_str() {
        "RUN" => run(line, parts)?,
        "COPY" => Instruction::Copy(transfer(line, parts)?),
        "ADD" => Instruction::Add(transfer(line, parts)?),
        "ENV" => Instruction::Env(parts.pairs()?),
        "LABEL" => Instruction::Label(parts.pairs()?),
        "ARG" => Instruction::Arg(arguments(parts)?),
        "WORKDIR" => Instruction::Workdir(parts.one()?),
        "USER" => Instruction::User(parts.one()?),
        "STOPSIGNAL" => Instruction::Stopsignal(parts.one()?),
        "MAINTAINER" => Instruction::Maintainer(parts.one()?),
        "EXPOSE" => {
            parts.no_flags()?;
            let words: Vec<String> = parts.words()?.into_iter().map(str::to_owned).collect();
            if words.is_empty() {
                return Err(parts.fail("EXPOSE requires at least one argument"));
            }
            Instruction::Expose(words)
        }
        "VOLUME" => {
            parts.no_flags()?;
            let list = parts.list()?;
            if list.iter().any(|path| path.trim().is_empty()) {
                return Err(parts.fail("VOLUME specified can not be an empty string"));
            }
            Instruction::Volume(list)
        }
        "ENTRYPOINT" => Instruction::Entrypoint(plain_form()?),
        "CMD" => Instruction::Cmd(plain_form()?),
        "SHELL" => match plain_form()? {
            Form::Exec(shell) if !shell.is_empty() => Instruction::Shell(shell),
            Form::Exec(_) => return Err(parts.fail("SHELL requires at least one argument")),
            Form::Shell(_) => return Err(parts.fail("SHELL requires the arguments to be in JSON form")),
        },
        "HEALTHCHECK" => Instruction::Healthcheck(health(parts)?),
        "ONBUILD" => {
            if parts.rest.is_empty() {
                return Err(parts.fail("ONBUILD requires at least one argument"));
            }
            // Checked now, and carried out by who builds on it.
            let inner = Line {
                text: parts.rest.clone(),
                number: line.number,
                heredocs: line.heredocs.clone(),
                has_gap: false,
            };
            let inner_parts = Parts::split(&inner, escape)?;
            refuse_trigger(line.number, &inner_parts.keyword)?;
            if !line.heredocs.is_empty() {
                return Err(parts.fail("a trigger cannot have a heredoc"));
            }
            instruction(&inner, &inner_parts, escape)?;
            Instruction::Onbuild(parts.rest.clone())
        }
        other => return Err(parts.fail(format!("unknown instruction: {other}"))),
    })
}

fn run(line: &Line, parts: &Parts) -> Result<Instruction> {
    let mut network = Network::Default;
    for (name, value) in &parts.flags {
        match name.as_str() {
            "network" => {
                network = match parts.value(name, value)?.as_str() {
                    "default" => Network::Default,
                    "none" => Network::None,
                    "host" => Network::Host,
                    other => return Err(parts.fail(format!("unsupported network mode {other:?}"))),
                }
            }
            "mount" | "security" | "device" => {
                return Err(parts.needs_buildkit(&format!("the --{name} option of RUN")));
            }
            _ => return Err(parts.fail(format!("unknown flag: --{name}"))),
        }
    }
    let form = parts.form(&parts.rest)?;
    if matches!(&form, Form::Shell(text) if text.is_empty()) || form == Form::Exec(Vec::new()) {
        return Err(parts.fail("RUN requires at least one argument"));
    }
    Ok(Instruction::Run { form, heredocs: line.heredocs.clone(), network })
}

fn transfer(line: &Line, parts: &Parts) -> Result<Transfer> {
    let mut made = Transfer::default();
    let is_copy = parts.keyword == "COPY";
    for (name, value) in &parts.flags {
        match name.as_str() {
            "chown" => made.chown = parts.value(name, value)?,
            "chmod" => made.chmod = parts.value(name, value)?,
            "from" if is_copy => made.from = parts.value(name, value)?,
            "checksum" if !is_copy => made.checksum = parts.value(name, value)?,
            // Layers are not linked here, and look the same.
            "link" => {}
            "keep-git-dir" if !is_copy => made.keeps_git = parts.flag(name, value)?,
            "parents" if is_copy => made.parents = parts.flag(name, value)?,
            "exclude" => made.exclude.push(parts.value(name, value)?),
            "unpack" => {
                return Err(parts.needs_buildkit(&format!("the --{name} option of {}", parts.keyword)));
            }
            _ => return Err(parts.fail(format!("unknown flag: --{name}"))),
        }
    }
    let mut words = match parts.json(&parts.rest)? {
        Some(list) => list,
        None => parts.rest.split_whitespace().map(str::to_owned).collect(),
    };
    let Some(target) = words.pop().filter(|_| !words.is_empty()) else {
        let missing = match parts.rest.as_str() {
            "" => format!("{} requires at least one argument", parts.keyword),
            _ => format!(
                "{} requires at least two arguments, but only one was provided. Destination could not be determined",
                parts.keyword
            ),
        };
        return Err(parts.fail(missing));
    };
    if !line.heredocs.is_empty() {
        if !made.from.is_empty() {
            return Err(parts.fail("heredocs cannot be copied from another stage or image"));
        }
        words.retain(|word| !is_marker(word));
        made.texts.clone_from(&line.heredocs);
    }
    made.sources = words;
    made.target = target;
    Ok(made)
}

fn arguments(parts: &Parts) -> Result<Vec<Arg>> {
    parts.no_flags()?;
    let words = parts.words()?;
    if words.is_empty() {
        return Err(parts.fail("ARG requires at least one argument"));
    }
    let argument = |word: &str| match word.split_once('=') {
        Some(("", _)) => Err(parts.fail("ARG names can not be blank")),
        Some((key, value)) => Ok(Arg { key: key.to_owned(), value: Some(value.to_owned()) }),
        None => Ok(Arg { key: word.to_owned(), value: None }),
    };
    words.into_iter().map(argument).collect()
}

fn health(parts: &Parts) -> Result<Check> {
    let mut check = Healthcheck::default();
    for (name, value) in &parts.flags {
        let text = parts.value(name, value)?;
        let time = || {
            let nanos = super::super::duration::nanoseconds(&text)
                .ok_or_else(|| parts.fail(format!("invalid duration {text:?} of --{name}")))?;
            if nanos != 0 && nanos < 1_000_000 {
                return Err(parts.fail(format!("interval {text:?} cannot be less than 1ms")));
            }
            Ok(nanos)
        };
        match name.as_str() {
            "interval" => check.interval = time()?,
            "timeout" => check.timeout = time()?,
            "start-period" => check.start_period = time()?,
            "start-interval" => check.start_interval = time()?,
            "retries" => {
                let count = text.parse::<u32>().map_err(|_| {
                    parts.fail(format!("--retries must be at least 0 and a number, not {text:?}"))
                })?;
                check.retries = i64::from(count);
            }
            _ => return Err(parts.fail(format!("unknown flag: --{name}"))),
        }
    }
    let (kind, rest) = parts.rest.split_once(char::is_whitespace).unwrap_or((&parts.rest, ""));
    check.test = match (kind.to_ascii_uppercase().as_str(), rest.trim()) {
        ("", _) => return Err(parts.fail("HEALTHCHECK requires at least one argument")),
        ("NONE", "") if parts.flags.is_empty() => return Ok(Check::None),
        ("NONE", _) => return Err(parts.fail("HEALTHCHECK NONE takes no arguments")),
        ("CMD", "") => return Err(parts.fail("missing command after HEALTHCHECK CMD")),
        ("CMD", rest) => match parts.json(rest)? {
            Some(list) if list.is_empty() => {
                return Err(parts.fail("missing command after HEALTHCHECK CMD"));
            }
            Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
            None => vec!["CMD-SHELL".to_owned(), rest.to_owned()],
        },
        (kind, _) => return Err(parts.fail(format!("unknown type {kind:?} in HEALTHCHECK (try CMD)"))),
    };
    Ok(Check::Test(check))
}

impl Form {
    /// The command line, with what runs the shell form.
    pub(crate) fn with_shell(&self, shell: &[String]) -> Vec<String> {
        match self {
            Self::Exec(list) => list.clone(),
            Self::Shell(text) if text.is_empty() => Vec::new(),
            Self::Shell(text) => shell.iter().cloned().chain([text.clone()]).collect(),
        }
    }
}

impl Heredoc {
    /// As it is written behind its instruction, for a shell.
    pub(crate) fn written(&self) -> String {
        format!("{}{}", self.text, self.name)
    }
}
