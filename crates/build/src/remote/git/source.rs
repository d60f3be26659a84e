//! `https://host/x.git#ref:directory`, and the other forms that docker takes.

/// The state that is taken where none is named: whatever the repository has.
const HEAD: &str = "HEAD";
/// The longest address, reference and directory, in bytes.
const MAX_BYTES: usize = 4096;
/// How repositories begin, whatever they end with.
const PREFIXES: [&str; 4] = ["git://", "github.com/", "git@", "ssh://"];

/// A repository, a state of it, and a directory in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Where it is, for git.
    pub(crate) remote: String,
    /// A branch, a tag, or a commit.
    pub(crate) reference: String,
    /// A directory; empty for all.
    pub(crate) directory: String,
}

/// Whether docker takes something for a repository.
pub(crate) fn is_repository(text: &str) -> bool {
    if PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
        return true;
    }
    let whole = text.split('#').next().unwrap_or(text);
    super::super::is_web(text) && whole.ends_with(".git")
}

impl Source {
    /// Reads an address.
    ///
    /// # Errors
    /// The text of an error, for what git could take for an option, and for what is no address.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES || text.contains(|c: char| c.is_control()) {
            return Err("invalid git address: it is too long, or has control characters".to_owned());
        }
        let (remote, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        if reference.starts_with('-')
            || reference.contains(|c: char| c.is_whitespace() || "+^~*?[\\".contains(c))
        {
            return Err(format!("invalid refspec: {reference}"));
        }
        let remote = match remote.starts_with("github.com/") {
            true => format!("https://{remote}"),
            false => remote.to_owned(),
        };
        check_host(&remote)?;
        let reference = if reference.is_empty() { HEAD } else { reference };
        Ok(Self { remote, reference: reference.to_owned(), directory: directory.to_owned() })
    }

    /// The address without a name and a password: what may be kept and shown.
    pub(crate) fn shown(&self) -> String {
        let Some((scheme, rest)) = self.remote.split_once("://") else { return self.remote.clone() };
        let end = rest.find('/').unwrap_or(rest.len());
        match rest[..end].rsplit_once('@') {
            // The name of an ssh address is a part of it.
            Some((user, host)) if scheme != "ssh" || user.contains(':') => {
                format!("{scheme}://{host}{}", &rest[end..])
            }
            _ => self.remote.clone(),
        }
    }

    /// Takes what is secret out of what a program says of it.
    pub(crate) fn redact(&self, text: &str) -> String {
        let text = text.replace(&self.remote, &self.shown());
        let secret =
            self.remote.split_once("://").and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@'));
        match secret {
            Some((user, _)) if user.contains(':') => text.replace(user, "***"),
            _ => text,
        }
    }
}

/// A host that begins with a dash would be an option of ssh's (CVE-2017-1000117).
fn check_host(remote: &str) -> Result<(), String> {
    let rest = match remote.split_once("://") {
        Some((_, rest)) => rest.split('/').next().unwrap_or_default(),
        None => remote.split(':').next().unwrap_or_default(),
    };
    let host = rest.rsplit('@').next().unwrap_or_default();
    match host.is_empty() || host.starts_with('-') || rest.starts_with('-') {
        true => Err(format!("invalid git address: {host:?} is no host")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_a_state_and_a_directory() {
        let check = |text: &str, remote: &str, reference: &str, directory: &str| {
            let (remote, reference, directory) =
                (remote.to_owned(), reference.to_owned(), directory.to_owned());
            assert_eq!(Source::parse(text), Ok(Source { remote, reference, directory }), "{text}");
        };
        check("https://a/b.git", "https://a/b.git", "HEAD", "");
        check("https://a/b.git#v1", "https://a/b.git", "v1", "");
        check("https://a/b.git#:d/e", "https://a/b.git", "HEAD", "d/e");
        check("git@a:b/c.git#v1:d:e", "git@a:b/c.git", "v1", "d:e");
        check("github.com/a/b#x/y", "https://github.com/a/b", "x/y", "");
    }

    #[test]
    fn cve_2019_13139_a_reference_is_no_option() {
        for text in [
            "https://a/b.git#--upload-pack=touch /tmp/x",
            "https://a/b.git#-c:d",
            "git@a:b#--exec=id",
            "https://a/b.git#a b",
            "https://a/b.git#+refs/heads/*",
        ] {
            assert!(Source::parse(text).unwrap_err().starts_with("invalid refspec"), "{text}");
        }
    }

    #[test]
    fn cve_2017_1000117_a_host_is_no_option() {
        for text in
            ["ssh://-oProxyCommand=id/x", "git@-oProxyCommand=id:x", "git:///x", "https:///x.git", "git@:x"]
        {
            assert!(Source::parse(text).is_err(), "{text}");
        }
        assert!(Source::parse("https://a/b.git#x\n:y").is_err());
    }

    #[test]
    fn cve_2023_26054_passwords_are_neither_shown_nor_kept() {
        let source = Source::parse("https://anna:hunter2@a.example/b.git#x").unwrap();
        assert_eq!(source.shown(), "https://a.example/b.git");
        let said = source.redact("fatal: 'https://anna:hunter2@a.example/b.git/info' and anna:hunter2");
        assert!(!said.contains("hunter2"), "{said}");
        assert_eq!(Source::parse("ssh://git@a/b").unwrap().shown(), "ssh://git@a/b");
    }
}
