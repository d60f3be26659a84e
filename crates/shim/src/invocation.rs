//! The command line, as containerd's shim manager writes it: flags in Go's style, then an action.

use std::path::PathBuf;

use crate::failure::Failure;

/// What the binary is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// Nothing was asked for.
    #[default]
    None,
    /// Start a shim, or find the one of the group.
    Start,
    /// Become a shim, on the socket that the standard input brings.
    Serve,
    /// Remove a container whose shim is gone.
    Delete,
    /// Go on in the place of another binary, with the handover of this descriptor.
    TakeOver(i32),
    /// Tell the runtime's features.
    Info,
    /// Tell the version.
    Version,
    /// Tell how to use it.
    Help,
}

/// The flags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invocation {
    /// What to do.
    pub action: Action,
    /// The tenancy.
    pub namespace: String,
    /// The container's id.
    pub id: String,
    /// The daemon's gRPC socket.
    pub address: String,
    /// The daemon's binary.
    pub publish_binary: String,
    /// The bundle, for delete and serve; otherwise it is the working directory.
    pub bundle: Option<PathBuf>,
    /// Where a foreign socket is; unused, since `start` says where ours is.
    pub socket: String,
    /// Whether to log steps.
    pub debug: bool,
}

impl Invocation {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// InvalidArgument for an unknown flag or action, a flag without its value, and missing flags.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, Failure> {
        let mut parsed = Invocation::default();
        let mut args = args.into_iter();
        let mut named = false;
        while let Some(arg) = args.next() {
            let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
                if named {
                    return Err(Failure::invalid(format!("unexpected argument {arg:?}")));
                }
                named = true;
                parsed.action = match arg.as_str() {
                    "start" => Action::Start,
                    "serve" => Action::Serve,
                    "delete" => Action::Delete,
                    "help" => Action::Help,
                    _ => {
                        let text = format!("unknown action {arg:?}: start, serve or delete");
                        return Err(Failure::invalid(text));
                    }
                };
                continue;
            };
            let (name, value) =
                flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
            parsed.flag(name, value.map(str::to_owned), &mut args)?;
        }
        if parsed.action == Action::None {
            return Err(Failure::invalid("an action is needed: start, serve or delete (try -help)"));
        }
        let needs = matches!(parsed.action, Action::Start | Action::Serve | Action::Delete);
        if needs && parsed.namespace.is_empty() {
            return Err(Failure::invalid("shim namespace cannot be empty: -namespace"));
        }
        if needs && parsed.id.is_empty() {
            return Err(Failure::invalid("shim id cannot be empty: -id"));
        }
        Ok(parsed)
    }

    fn flag(
        &mut self,
        name: &str,
        value: Option<String>,
        args: &mut impl Iterator<Item = String>,
    ) -> Result<(), Failure> {
        let switch = |value: Option<String>| match value.as_deref() {
            None | Some("true" | "1" | "t") => Ok(true),
            Some("false" | "0" | "f") => Ok(false),
            Some(other) => Err(Failure::invalid(format!("{other:?} is no truth value for -{name}"))),
        };
        match name {
            "debug" => self.debug = switch(value)?,
            "v" | "version" => {
                if switch(value)? {
                    self.action = Action::Version;
                }
            }
            "info" => {
                if switch(value)? {
                    self.action = Action::Info;
                }
            }
            "h" | "help" => self.action = Action::Help,
            "handover" => {
                let number = value.or_else(|| args.next()).and_then(|number| number.parse().ok());
                let number = number.ok_or_else(|| Failure::invalid("-handover needs a descriptor"))?;
                self.action = Action::TakeOver(number);
            }
            "namespace" | "id" | "address" | "publish-binary" | "bundle" | "socket" => {
                let value = value
                    .or_else(|| args.next())
                    .ok_or_else(|| Failure::invalid(format!("flag needs an argument: -{name}")))?;
                match name {
                    "namespace" => self.namespace = value,
                    "id" => self.id = value,
                    "address" => self.address = value,
                    "publish-binary" => self.publish_binary = value,
                    "bundle" => self.bundle = Some(value.into()),
                    _ => self.socket = value,
                }
            }
            _ => return Err(Failure::invalid(format!("flag provided but not defined: -{name}"))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, Failure> {
        Invocation::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_those_of_containerd() {
        let line = "-namespace n -address /a -publish-binary /b --id=x -debug start";
        let parsed = parse(line).unwrap();
        let expect = ("n", "x", "/a", true, Action::Start);
        let Invocation { namespace, id, address, debug, action, .. } = &parsed;
        assert_eq!((namespace.as_str(), id.as_str(), address.as_str(), *debug, *action), expect);
        let parsed = parse("-namespace n -id x -bundle /c delete").unwrap();
        assert_eq!((parsed.action, parsed.bundle), (Action::Delete, Some("/c".into())));
        assert_eq!(parse("-namespace n -id x serve").unwrap().action, Action::Serve);
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert_eq!(parse("-info").unwrap().action, Action::Info);
        for wrong in
            ["start", "serve", "-namespace n start", "-namespace n -id", "-x", "-namespace n -id x stop"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
