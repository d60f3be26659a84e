//! What instructions do to the configuration of an image, and what the image's history says of it.

use gantry_engine::image::{Empty, Healthcheck, ImageSettings};

use crate::dockerfile::{Check, Form, Instruction, shell};
use crate::duration::written;

/// Docker's, where an image has none.
pub(crate) const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Docker's, where no `SHELL` says something else.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// The configuration that a stage has come to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Settings {
    /// The image's.
    pub(crate) image: ImageSettings,
    /// Whether the stage has had a `CMD`: then an `ENTRYPOINT` keeps it.
    pub(crate) has_cmd: bool,
    /// Of `MAINTAINER`.
    pub(crate) author: String,
}

impl Settings {
    /// What runs the shell form.
    pub(crate) fn shell(&self) -> Vec<String> {
        match &self.image.shell[..] {
            [] => DEFAULT_SHELL.map(str::to_owned).to_vec(),
            shell => shell.to_vec(),
        }
    }

    /// What the history says of an instruction that runs nothing.
    pub(crate) fn comment(&self, text: &str) -> String {
        format!("{} #(nop) {text}", self.shell().join(" "))
    }

    /// Carries out an instruction that changes nothing else, and gives what the history says of it. None for other instructions.
    ///
    /// # Errors
    /// The text of an error.
    pub(crate) fn apply(
        &mut self,
        instruction: &Instruction,
        escape: char,
        env: &[String],
    ) -> Result<Option<String>, String> {
        let word = |text: &str| shell::word(text, escape, env);
        let pairs = |pairs: &[(String, String)]| -> Result<Vec<(String, String)>, String> {
            pairs.iter().map(|(key, value)| Ok((word(key)?, word(value)?))).collect()
        };
        let said = match instruction {
            Instruction::Env(list) => {
                let mut said = "ENV".to_owned();
                for (key, value) in pairs(list)? {
                    if key.is_empty() {
                        return Err("ENV names can not be blank".to_owned());
                    }
                    said.push_str(&format!(" {key}={value}"));
                    self.set_env(&key, format!("{key}={value}"));
                }
                said
            }
            Instruction::Label(list) => {
                let mut said = "LABEL".to_owned();
                for (key, value) in pairs(list)? {
                    said.push_str(&format!(" {key}={value}"));
                    self.image.labels.insert(key, value);
                }
                said
            }
            Instruction::Maintainer(author) => {
                self.author.clone_from(author);
                format!("MAINTAINER {author}")
            }
            Instruction::User(user) => {
                self.image.user = word(user)?;
                format!("USER {}", self.image.user)
            }
            Instruction::Stopsignal(signal) => {
                let signal = word(signal)?;
                if !is_signal(&signal) {
                    return Err(format!("Invalid signal: {signal}"));
                }
                self.image.stop_signal = signal.clone();
                format!("STOPSIGNAL {signal}")
            }
            Instruction::Expose(list) => self.expose(list, escape, env)?,
            Instruction::Volume(list) => {
                let list = list.iter().map(|path| word(path)).collect::<Result<Vec<_>, _>>()?;
                let said = format!("VOLUME [{}]", list.join(" "));
                for path in list {
                    if path.trim().is_empty() {
                        return Err("VOLUME specified can not be an empty string".to_owned());
                    }
                    self.image.volumes.insert(path, Empty {});
                }
                said
            }
            Instruction::Shell(shell) => {
                self.image.shell.clone_from(shell);
                format!("SHELL [{}]", shell.join(" "))
            }
            Instruction::Cmd(form) => {
                let command = form.with_shell(&self.shell());
                self.has_cmd = !command.is_empty();
                let said = format!("CMD {}", quoted(&command));
                self.image.cmd = command;
                said
            }
            Instruction::Entrypoint(form) => self.entrypoint(form),
            Instruction::Healthcheck(check) => {
                let check = match check {
                    Check::None => Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() },
                    Check::Test(check) => check.clone(),
                };
                let said = format!("HEALTHCHECK {}", shown(&check));
                self.image.healthcheck = Some(check);
                said
            }
            Instruction::Onbuild(text) => {
                self.image.on_build.push(text.clone());
                format!("ONBUILD {text}")
            }
            Instruction::Run { .. }
            | Instruction::Copy(_)
            | Instruction::Add(_)
            | Instruction::Arg(_)
            | Instruction::Workdir(_) => return Ok(None),
        };
        // Two spaces, as docker writes them; `SHELL` itself is said by the new shell.
        Ok(Some(self.comment(&format!(" {said}"))))
    }

    fn entrypoint(&mut self, form: &Form) -> String {
        let command = form.with_shell(&self.shell());
        let said = format!("ENTRYPOINT {}", quoted(&command));
        self.image.entrypoint = command;
        if !self.has_cmd {
            // Arguments of another program.
            self.image.cmd.clear();
        }
        said
    }

    fn expose(&mut self, list: &[String], escape: char, env: &[String]) -> Result<String, String> {
        let mut words = Vec::new();
        for text in list {
            words.extend(shell::words(text, escape, env)?);
        }
        if words.is_empty() {
            return Err("EXPOSE requires at least one argument".to_owned());
        }
        for word in &words {
            self.image.exposed_ports.extend(ports(word)?.into_iter().map(|port| (port, Empty {})));
        }
        words.sort();
        Ok(format!("EXPOSE {}", words.join(" ")))
    }

    /// Puts a variable in place of one of the same name, or at the end.
    pub(crate) fn set_env(&mut self, key: &str, entry: String) {
        let same = |known: &&mut String| known.split('=').next() == Some(key);
        match self.image.env.iter_mut().find(same) {
            Some(known) => *known = entry,
            None => self.image.env.push(entry),
        }
    }

    /// The directory of a `WORKDIR`: it may be relative to the one before.
    pub(crate) fn directory(&self, path: &str) -> String {
        let whole = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{}/{path}", self.image.working_dir)
        };
        clean(&whole)
    }
}

/// An absolute path without `.`, `..` and empty parts.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A list as Go's `%q` shows it.
fn quoted(list: &[String]) -> String {
    let words: Vec<String> = list.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(" "))
}

fn quote(word: &str) -> String {
    let mut out = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A health check as docker's history shows it.
fn shown(check: &Healthcheck) -> String {
    let times = [check.interval, check.timeout, check.start_period, check.start_interval];
    let times: Vec<String> = times.iter().map(|time| written(*time)).collect();
    format!("&{{[{}] {} {}}}", check.test.join(" "), times.join(" "), check.retries)
}

/// `80`, `80/udp`, `80-82/tcp`.
fn ports(text: &str) -> Result<Vec<String>, String> {
    let invalid = || format!("Invalid containerPort: {text}");
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("Invalid proto: {protocol}"));
    }
    // A port of the host that is named here is nobody's.
    let range = range.rsplit(':').next().unwrap_or(range);
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().map_err(|_| invalid());
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(invalid());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// Whether a text can be a signal: the container's start knows which there are.
fn is_signal(text: &str) -> bool {
    match text.parse::<u32>() {
        Ok(number) => (1..=64).contains(&number),
        Err(_) => {
            let is_word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-".contains(&b));
            text.len() >= 2
                && text.len() <= 16
                && is_word(text)
                && !text.starts_with(|c: char| !c.is_ascii_alphabetic())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::Dockerfile;

    fn applied(lines: &str) -> (Settings, Vec<String>) {
        let dockerfile = Dockerfile::parse(format!("FROM x\n{lines}").as_bytes()).unwrap();
        let mut settings = Settings::default();
        settings.image.env.push("P=/x".into());
        settings.image.cmd.push("old".into());
        let mut said = Vec::new();
        for step in &dockerfile.stages[0].steps {
            let env = settings.image.env.clone();
            said.extend(settings.apply(&step.instruction, '\\', &env).unwrap());
        }
        (settings, said)
    }

    #[test]
    fn configurations_are_as_docker_makes_them() {
        let (settings, said) = applied(
            "ENV a=1 P=$P:$a b=\"x y\"\nENV a=2 c=$a\nLABEL \"k l\"=v x=$a\nUSER u$a\nEXPOSE 80 90-91/udp\n\
             VOLUME /d$a [\"x\"]\nVOLUME [\"/e f\"]\nENTRYPOINT [\"e\"]\nCMD echo $a\nSTOPSIGNAL SIGINT\nMAINTAINER me <x@y>\n\
             HEALTHCHECK --interval=90s --retries=2 CMD [\"t\"]\nONBUILD RUN x\nSHELL [\"/bin/bash\", \"-c\"]",
        );
        let image = &settings.image;
        // What an instruction sets, it does not see itself.
        assert_eq!(image.env, ["P=/x:", "a=2", "b=x y", "c=1"]);
        assert_eq!((image.labels["k l"].as_str(), image.labels["x"].as_str()), ("v", "2"));
        assert_eq!(image.user, "u2");
        assert_eq!(image.exposed_ports.keys().collect::<Vec<_>>(), ["80/tcp", "90/udp", "91/udp"]);
        assert_eq!(image.entrypoint, ["e"]);
        assert_eq!(image.cmd, ["/bin/sh", "-c", "echo $a"]);
        assert_eq!(settings.author, "me <x@y>");
        assert_eq!(image.on_build, ["RUN x"]);
        let nop = |text: &str| format!("/bin/sh -c #(nop)  {text}");
        assert_eq!(said[0], nop("ENV a=1 P=/x: b=x y"));
        assert_eq!(said[4], nop("EXPOSE 80 90-91/udp"));
        assert_eq!(said[7], nop("ENTRYPOINT [\"e\"]"));
        assert_eq!(said[8], nop("CMD [\"/bin/sh\" \"-c\" \"echo $a\"]"));
        assert_eq!(said[11], nop("HEALTHCHECK &{[CMD t] 1m30s 0s 0s 0s 2}"));
        assert_eq!(said[13], "/bin/bash -c #(nop)  SHELL [/bin/bash -c]");
    }

    #[test]
    fn an_entrypoint_takes_inherited_arguments_away() {
        assert!(applied("ENTRYPOINT x").0.image.cmd.is_empty());
        assert_eq!(applied("CMD [\"c\"]\nENTRYPOINT x").0.image.cmd, ["c"]);
    }

    #[test]
    fn directories_are_relative_to_each_other() {
        let mut settings = Settings::default();
        assert_eq!(settings.directory("a"), "/a");
        settings.image.working_dir = "/a".into();
        assert_eq!(settings.directory("b/../c/"), "/a/c");
        assert_eq!(settings.directory("../../.."), "/");
        assert_eq!(settings.directory("/x//y/."), "/x/y");
    }

    #[test]
    fn wrong_values_are_refused() {
        for line in [
            "EXPOSE x",
            "EXPOSE 2-1",
            "EXPOSE 1/x",
            "EXPOSE $NO",
            "STOPSIGNAL 99",
            "STOPSIGNAL a b",
            "USER ${x",
            "VOLUME $NO",
        ] {
            let dockerfile = Dockerfile::parse(format!("FROM x\n{line}").as_bytes()).unwrap();
            let step = &dockerfile.stages[0].steps[0];
            assert!(Settings::default().apply(&step.instruction, '\\', &[]).is_err(), "{line}");
        }
    }
}
