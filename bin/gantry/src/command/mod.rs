//! From words to a verb: the tree of commands, usage errors, and exit codes.

mod failure;
mod tree;
mod usage;

pub(crate) use failure::{Failure, chain, collect};
pub(crate) use tree::root;

use std::ffi::OsString;
use std::future::Future;
use std::pin::Pin;

use anyhow::Result;
use clap::{ArgMatches, Args, Command, FromArgMatches as _};

use crate::output;
use crate::session::{Globals, Session};

/// A command: its flags, and what it does. The number is the exit code.
pub(crate) trait Verb: Args {
    fn run(self, session: &Session) -> impl Future<Output = Result<u8>>;
}

/// What a verb's work is called through.
pub(crate) type Work<'a> = Pin<Box<dyn Future<Output = Result<u8>> + 'a>>;

/// A verb in the tree.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) about: &'static str,
    /// What stands after the flags, as help says it.
    pub(crate) operands: &'static str,
    augment: fn(Command) -> Command,
    work: for<'a> fn(&'a Session, &ArgMatches) -> Result<Work<'a>, clap::Error>,
}

/// A verb, or a noun with verbs.
pub(crate) enum Item {
    Verb(Entry),
    Group {
        name: &'static str,
        aliases: &'static [&'static str],
        about: &'static str,
        items: &'static [Item],
    },
}

impl Item {
    fn is_called(&self, word: &str) -> bool {
        let (name, aliases) = match self {
            Self::Verb(entry) => (entry.name, entry.aliases),
            Self::Group { name, aliases, .. } => (*name, *aliases),
        };
        name == word || aliases.contains(&word)
    }
}

/// Puts a verb into the tree.
pub(crate) const fn verb<V: Verb + 'static>(
    name: &'static str,
    aliases: &'static [&'static str],
    operands: &'static str,
    about: &'static str,
) -> Item {
    fn augment<V: Verb>(command: Command) -> Command {
        usage::as_docker(V::augment_args(command))
    }
    fn work<'a, V: Verb + 'static>(
        session: &'a Session,
        matches: &ArgMatches,
    ) -> Result<Work<'a>, clap::Error> {
        let verb = V::from_arg_matches(matches)?;
        Ok(Box::pin(verb.run(session)))
    }
    Item::Verb(Entry { name, aliases, about, operands, augment: augment::<V>, work: work::<V> })
}

/// Runs what the words say; gives the exit code.
pub(crate) async fn main(arguments: Vec<OsString>) -> u8 {
    let mut root = root();
    let mut arguments = arguments;
    let matches = loop {
        match root.try_get_matches_from_mut(&arguments) {
            Ok(matches) => break matches,
            Err(error) => match usage::without_value(&error, &arguments) {
                Some(corrected) => arguments = corrected,
                None => return usage::explain(&error, &arguments),
            },
        }
    };
    if matches.get_flag("version") {
        output::line(format!("Gantry version {}", env!("CARGO_PKG_VERSION")));
        return 0;
    }
    let session = match Globals::from_arg_matches(&matches) {
        Ok(globals) => Session::new(globals),
        Err(error) => return usage::explain(&error, &arguments),
    };
    let mut items = tree::ITEMS;
    let mut at = &matches;
    let mut words = String::from("gantry");
    while let Some((word, below)) = at.subcommand() {
        words = format!("{words} {word}");
        at = below;
        match items.iter().find(|item| item.is_called(word)) {
            Some(Item::Group { items: below, .. }) => items = below,
            Some(Item::Verb(entry)) => {
                return match (entry.work)(&session, at) {
                    Ok(work) => failure::report(work.await, &words, session.is_debug()),
                    Err(error) => usage::explain(&error, &arguments),
                };
            }
            None => break,
        }
    }
    usage::help(&mut root, &words)
}
