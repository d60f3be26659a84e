//! Changes of an image's configuration, as `docker commit` and `docker import` take them: some of a Dockerfile's
//! instructions (reference of the Dockerfile, syntax 1), by lines.

use std::time::Duration;

use super::config::{Empty, Healthcheck, ImageSettings};
use crate::{Error, Result};

/// The longest line, and the most of them.
const MAX_LINE_BYTES: usize = 64 << 10;
const MAX_LINES: usize = 1024;
/// What runs the shell form of an instruction where the image names nothing else.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// Instructions that cannot be triggers.
const NO_TRIGGERS: [&str; 3] = ["ONBUILD", "FROM", "MAINTAINER"];

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    keyword: &'static str,
    rest: String,
}

/// The instructions that are changes.
const KEYWORDS: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

impl Change {
    /// Reads instructions; a backslash at the end of a line goes on in the next.
    ///
    /// # Errors
    /// Invalid for other instructions.
    pub fn parse(texts: &[String]) -> Result<Vec<Self>> {
        let mut changes = Vec::new();
        for text in texts {
            let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
            for line in
                joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
            {
                if line.len() > MAX_LINE_BYTES || changes.len() >= MAX_LINES {
                    let text = format!(
                        "changes are more than {MAX_LINES} lines, or longer than {MAX_LINE_BYTES} bytes"
                    );
                    return Err(Error::Invalid(text));
                }
                changes.push(Self::line(line)?);
            }
        }
        Ok(changes)
    }

    fn line(line: &str) -> Result<Self> {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let upper = word.to_ascii_uppercase();
        let keyword = KEYWORDS.into_iter().find(|keyword| *keyword == upper);
        let keyword =
            keyword.ok_or_else(|| Error::Invalid(format!("{upper} is not a valid change command")))?;
        if rest.trim().is_empty() {
            return Err(Error::Invalid(format!("{keyword} requires at least one argument")));
        }
        Ok(Self { keyword, rest: rest.trim().to_owned() })
    }

    /// Makes all of `changes`.
    ///
    /// # Errors
    /// Invalid for what an instruction does not take.
    pub fn apply(changes: &[Self], settings: &mut ImageSettings) -> Result<()> {
        let mut has_cmd = false;
        for change in changes {
            change.make(settings, &mut has_cmd)?;
        }
        Ok(())
    }

    fn make(&self, settings: &mut ImageSettings, has_cmd: &mut bool) -> Result<()> {
        let words = |settings: &ImageSettings| words(&self.rest, &settings.env);
        match self.keyword {
            "CMD" => {
                settings.cmd = command(&self.rest, settings);
                *has_cmd = true;
            }
            "ENTRYPOINT" => {
                settings.entrypoint = command(&self.rest, settings);
                // Arguments of another program.
                if !*has_cmd {
                    settings.cmd.clear();
                }
            }
            "ENV" => {
                for (key, value) in self.pairs(settings)? {
                    settings.env.retain(|known| known.split('=').next() != Some(&key));
                    settings.env.push(format!("{key}={value}"));
                }
            }
            "LABEL" => settings.labels.extend(self.pairs(settings)?),
            "EXPOSE" => {
                for word in words(settings)? {
                    settings.exposed_ports.extend(ports(&word)?.into_iter().map(|port| (port, Empty {})));
                }
            }
            "VOLUME" => {
                let list = match json(&self.rest) {
                    Some(list) => list,
                    None => words(settings)?,
                };
                settings.volumes.extend(list.into_iter().map(|path| (path, Empty {})));
            }
            "USER" => settings.user = self.one(settings)?,
            "STOPSIGNAL" => settings.stop_signal = self.one(settings)?,
            "WORKDIR" => {
                let path = self.one(settings)?;
                settings.working_dir = match (path.starts_with('/'), settings.working_dir.as_str()) {
                    (true, _) => path,
                    (false, "") => format!("/{path}"),
                    (false, below) => format!("{}/{path}", below.trim_end_matches('/')),
                };
            }
            "ONBUILD" => {
                let first = self.rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
                if NO_TRIGGERS.contains(&first.as_str()) {
                    return Err(Error::Invalid(format!("{first} isn't allowed as an ONBUILD trigger")));
                }
                settings.on_build.push(self.rest.clone());
            }
            _ => settings.healthcheck = Some(health(&self.rest, settings)?),
        }
        Ok(())
    }

    /// All words as one, where an instruction takes a single value.
    fn one(&self, settings: &ImageSettings) -> Result<String> {
        Ok(words(&self.rest, &settings.env)?.join(" "))
    }

    /// `key=value …`, or `key value` in the old form.
    fn pairs(&self, settings: &ImageSettings) -> Result<Vec<(String, String)>> {
        let first = self.rest.split_whitespace().next().unwrap_or_default();
        if !first.contains('=') {
            let (key, value) = self
                .rest
                .split_once(char::is_whitespace)
                .ok_or_else(|| Error::Invalid(format!("{} must have two arguments", self.keyword)))?;
            return Ok(vec![(key.to_owned(), expand(value.trim(), &settings.env))]);
        }
        let pair = |word: String| match word.split_once('=') {
            Some(("", _)) => Err(Error::Invalid(format!("{} names can not be blank", self.keyword))),
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(Error::Invalid(format!(
                "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
            ))),
        };
        words(&self.rest, &settings.env)?.into_iter().map(pair).collect()
    }
}

/// A list in JSON, if it is one.
fn json(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

/// The exec form, or the shell form.
fn command(text: &str, settings: &ImageSettings) -> Vec<String> {
    json(text).unwrap_or_else(|| {
        let shell: Vec<String> = if settings.shell.is_empty() {
            SHELL.map(str::to_owned).to_vec()
        } else {
            settings.shell.clone()
        };
        shell.into_iter().chain([text.to_owned()]).collect()
    })
}

/// `80`, `80/udp`, `80-82/tcp`.
fn ports(text: &str) -> Result<Vec<String>> {
    let refuse = || Error::Invalid(format!("Invalid containerPort: {text}"));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(Error::Invalid(format!("Invalid proto: {protocol}")));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().map_err(|_| refuse());
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(refuse());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn health(text: &str, settings: &ImageSettings) -> Result<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        rest = after.trim_start();
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let time = || {
            duration(value).ok_or_else(|| Error::Invalid(format!("invalid duration {value:?} of --{name}")))
        };
        match name {
            "interval" => check.interval = time()?,
            "timeout" => check.timeout = time()?,
            "start-period" => check.start_period = time()?,
            "start-interval" => check.start_interval = time()?,
            "retries" => {
                let count =
                    value.parse::<u32>().map_err(|_| Error::Invalid(format!("invalid retries: {value}")))?;
                check.retries = i64::from(count);
            }
            _ => return Err(Error::Invalid(format!("unknown flag of HEALTHCHECK: --{name}"))),
        }
    }
    let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    check.test = match (kind.to_ascii_uppercase().as_str(), rest.trim()) {
        ("NONE", "") => vec!["NONE".to_owned()],
        ("CMD", "") => return Err(Error::Invalid("Missing command after HEALTHCHECK CMD".to_owned())),
        ("CMD", rest) => match json(rest) {
            Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
            None => vec!["CMD-SHELL".to_owned(), expand(rest, &settings.env)],
        },
        (kind, _) => return Err(Error::Invalid(format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)"))),
    };
    Ok(check)
}

/// Go's durations, such as `1m30s`: in nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let scale = match &rest[digits..unit_end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * scale).ok()?)?;
        rest = &rest[unit_end..];
    }
    i64::try_from(total.as_nanos()).ok().filter(|_| !text.is_empty())
}

/// The words of a line, with quotes and backslashes undone and variables put in.
fn words(text: &str, env: &[String]) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None | Some('"'), '\\') => {
                let next = chars.next();
                let word = word.get_or_insert_default();
                // In double quotes only some characters can be escaped.
                if quote.is_some() && !matches!(next, Some('"' | '\\' | '$')) {
                    word.push('\\');
                }
                word.extend(next);
            }
            (None | Some('"'), '$') => {
                let value = variable(&mut chars, env);
                word.get_or_insert_default().push_str(&value);
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(Error::Invalid(format!(
            "unexpected end of statement while looking for matching quote: {text}"
        )));
    }
    words.extend(word);
    Ok(words)
}

/// The same text with its variables put in.
fn expand(text: &str, env: &[String]) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&'$') => out.extend(chars.next()),
            '$' => out.push_str(&variable(&mut chars, env)),
            c => out.push(c),
        }
    }
    out
}

/// What comes after a dollar: `NAME` or `{NAME}`. Anything else stays as it is.
fn variable(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, env: &[String]) -> String {
    let braces = chars.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    if braces && chars.next_if_eq(&'}').is_none() {
        return format!("${{{name}");
    }
    if name.is_empty() {
        return if braces { "${}".to_owned() } else { "$".to_owned() };
    }
    let found = env.iter().find_map(|entry| entry.split_once('=').filter(|(key, _)| *key == name));
    found.map_or_else(String::new, |(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(lines: &[&str]) -> Result<ImageSettings> {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let mut settings = ImageSettings {
            cmd: vec!["old".into()],
            env: vec!["PATH=/bin".into()],
            ..ImageSettings::default()
        };
        Change::apply(&Change::parse(&lines)?, &mut settings)?;
        Ok(settings)
    }

    #[test]
    fn instructions_change_what_they_say() {
        let settings = applied(&[
            "ENTRYPOINT echo hi",
            "cmd [\"/bin/sh\"]",
            "ENV A=b C=\"d e\" PATH=$PATH:/x D='$A' E=\\$A",
            "ENV old form ${A}",
            "EXPOSE 80 90-91/udp",
            "LABEL x=y \"a b\"=c",
            "VOLUME /data",
            "VOLUME [\"/a b\"]",
            "WORKDIR /w\nWORKDIR below",
            "USER 1:2",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN x",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD true $A",
        ])
        .unwrap();
        assert_eq!(settings.entrypoint, ["/bin/sh", "-c", "echo hi"]);
        assert_eq!(settings.cmd, ["/bin/sh"]);
        assert_eq!(settings.env, ["A=b", "C=d e", "PATH=/bin:/x", "D=$A", "E=$A", "old=form b"]);
        let ports: Vec<&str> = settings.exposed_ports.keys().map(String::as_str).collect();
        assert_eq!(ports, ["80/tcp", "90/udp", "91/udp"]);
        assert_eq!(settings.labels["a b"], "c");
        assert_eq!(settings.volumes.keys().collect::<Vec<_>>(), ["/a b", "/data"]);
        assert_eq!(settings.working_dir, "/w/below");
        assert_eq!((settings.user.as_str(), settings.stop_signal.as_str()), ("1:2", "SIGINT"));
        assert_eq!(settings.on_build, ["RUN x"]);
        let check = settings.healthcheck.unwrap();
        assert_eq!(check.test, ["CMD-SHELL", "true b"]);
        assert_eq!((check.interval, check.retries), (90_000_000_000, 2));
    }

    #[test]
    fn an_entrypoint_takes_the_old_arguments_away() {
        assert!(applied(&["ENTRYPOINT [\"x\"]"]).unwrap().cmd.is_empty());
        assert_eq!(applied(&["CMD [\"y\"]", "ENTRYPOINT [\"x\"]"]).unwrap().cmd, ["y"]);
    }

    #[test]
    fn everything_else_is_refused() {
        let refused = |line: &str| applied(&[line]).unwrap_err().to_string();
        assert_eq!(refused("RUN x"), "RUN is not a valid change command");
        assert_eq!(refused("foo x"), "FOO is not a valid change command");
        for line in [
            "CMD",
            "ENV x",
            "ENV =x",
            "ENV a=b c",
            "LABEL a=\"b",
            "EXPOSE x",
            "EXPOSE 2-1",
            "EXPOSE 1/x",
            "ONBUILD FROM x",
            "HEALTHCHECK CMD",
            "HEALTHCHECK x",
            "HEALTHCHECK --interval=x CMD y",
        ] {
            assert!(applied(&[line]).is_err(), "{line}");
        }
    }

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("1h2m3.5s"), Some(3_723_500_000_000));
        assert_eq!(duration("10ms"), Some(10_000_000));
        for text in ["", "1", "s", "1x", "1.2.3s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
