//! Contexts and files that are elsewhere: at an address, or in a repository of git.
//!
//! ```text
//! ADD https://…      ─► file of the web ─► <scratch>/fetched/<n>/<name> ─► copied, never unpacked
//! ADD x.git#ref:dir  ─► git             ─► <scratch>/fetched/<n>/       ─► copied
//! remote=https://…   ─► file of the web ─► a Dockerfile, or an archive  ─► context
//! remote=x.git#…     ─► git             ─► <scratch>/git/               ─► context
//! ```
//! The rules of what is what are those of dockerd's classic builder (moby v28.5, `builder/remotecontext`).

mod context;
mod file;
pub(crate) mod git;
mod sniff;

pub(crate) use context::{context, with_dockerfile};
pub(crate) use file::fetch;

use crate::{Error, Result};

/// What is elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remote {
    /// A repository, a part of it, and of which state.
    Git(git::Source),
    /// An address.
    Web(String),
}

impl Remote {
    /// Reads an address; None for what is none.
    ///
    /// # Errors
    /// Invalid for a repository that git must not be asked for.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>> {
        if git::is_repository(text) {
            return git::Source::parse(text).map(Self::Git).map(Some).map_err(Error::Invalid);
        }
        Ok(is_web(text).then(|| Self::Web(text.to_owned())))
    }
}

fn is_web(text: &str) -> bool {
    let has = |scheme: &str| text.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme));
    has("http://") || has("https://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_with_git_is_a_repository() {
        let is_git = |text: &str| match Remote::parse(text).unwrap() {
            Some(Remote::Git(_)) => Some(true),
            Some(Remote::Web(_)) => Some(false),
            None => None,
        };
        for text in [
            "https://a/b.git",
            "http://a/b.git#x:y",
            "git://a/b",
            "git@a:b",
            "github.com/a/b",
            "ssh://git@a/b",
        ] {
            assert_eq!(is_git(text), Some(true), "{text}");
        }
        for text in ["https://a/b.git/x", "HTTP://a/b.tar", "https://a/b?c=.gitx"] {
            assert_eq!(is_git(text), Some(false), "{text}");
        }
        for text in ["a.git", "/a", "https:/a", "ftp://a/b.git", "ext::sh -c id", "file:///a.git"] {
            assert_eq!(is_git(text), None, "{text}");
        }
    }
}
