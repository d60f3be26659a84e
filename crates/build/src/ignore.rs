//! `.dockerignore`: what of a context is none of the build's.
//!
//! The rules are docker's: the last pattern that fits a path or a directory above it decides; `!` takes back.

use crate::glob::{Dialect, Glob};
use crate::{Error, Result};

/// The name of the file.
pub(crate) const FILE: &str = ".dockerignore";
/// The longest file.
pub(crate) const MAX_BYTES: u64 = 1 << 20;
/// The most patterns.
const MAX_PATTERNS: usize = 4096;

/// A pattern, and what it decides.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    glob: Glob,
    excludes: bool,
}

/// The patterns of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ignore {
    rules: Vec<Rule>,
}

impl Ignore {
    /// Reads a file.
    ///
    /// # Errors
    /// Invalid for a malformed pattern, Limit.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = String::from_utf8_lossy(bytes);
        let mut rules = Vec::new();
        for line in text.lines() {
            // Only in the first column it is a comment.
            if line.starts_with('#') {
                continue;
            }
            let Some((pattern, excludes)) = clean(line)? else { continue };
            let glob = Glob::parse(&pattern, Dialect::Ignore)
                .ok_or_else(|| Error::Invalid(format!("illegal exclusion pattern in {FILE}: {line:?}")))?;
            rules.push(Rule { glob, excludes });
            if rules.len() > MAX_PATTERNS {
                return Err(Error::Limit { what: FILE.into(), limit: MAX_PATTERNS as u64, unit: "patterns" });
            }
        }
        Ok(Self { rules })
    }

    /// Reads patterns of an instruction's.
    ///
    /// # Errors
    /// Invalid for a malformed pattern, Limit.
    pub(crate) fn of(patterns: &[String]) -> Result<Self> {
        let mut rules = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let Some((clean, excludes)) = clean(pattern)? else { continue };
            let glob = Glob::parse(&clean, Dialect::Ignore)
                .ok_or_else(|| Error::Invalid(format!("illegal exclusion pattern: {pattern:?}")))?;
            rules.push(Rule { glob, excludes });
        }
        Ok(Self { rules })
    }

    /// Whether it says anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether something in a directory that is excluded may be taken back.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| !rule.excludes)
    }

    /// Whether a path, relative and clean, is none of the build's.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        let parents = path.match_indices('/').map(|(place, _)| &path[..place]);
        let all: Vec<&str> = parents.chain([path]).collect();
        let mut excluded = false;
        for rule in &self.rules {
            if rule.excludes != excluded && all.iter().any(|path| rule.glob.is_match(path)) {
                excluded = rule.excludes;
            }
        }
        excluded
    }
}

/// A line as a pattern: without spaces around it, `.` and `..`, and a slash at its beginning.
fn clean(line: &str) -> Result<Option<(String, bool)>> {
    let line = line.trim();
    let (line, excludes) = match line.strip_prefix('!') {
        Some(rest) => (rest.trim(), false),
        None => (line, true),
    };
    if line.is_empty() {
        return if excludes {
            Ok(None)
        } else {
            Err(Error::Invalid(format!("illegal exclusion pattern in {FILE}: \"!\"")))
        };
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in line.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    // The whole context is never excluded.
    Ok((!parts.is_empty()).then(|| (parts.join("/"), excludes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pattern_decides() {
        let ignore = Ignore::parse(
            b"\xef\xbb\xbf# comment\n*.md\n!README*.md\nREADME-secret.md\n/build/\n  ./a/../tmp*  \n**/*.o\n !build/keep \n.\n",
        )
        .unwrap();
        let check = |path: &str, expect: bool| assert_eq!(ignore.excludes(path), expect, "{path}");
        check("x.md", true);
        check("README.md", false);
        check("README-secret.md", true);
        check("sub/x.md", false);
        check("build", true);
        check("build/x/y", true);
        check("build/keep", false);
        check("build/keep/x", false);
        check("tmp1/x", true);
        check("a/b/c.o", true);
        check("# comment", false);
        assert!(ignore.has_exceptions());
        assert!(Ignore::parse(b"#\n\n.\n").unwrap().is_empty());
    }

    #[test]
    fn everything_but_something() {
        let ignore = Ignore::parse(b"*\n!src\n").unwrap();
        assert!(ignore.excludes("x") && !ignore.excludes("src") && !ignore.excludes("src/a/b"));
    }

    #[test]
    fn malformed_patterns_are_refused() {
        assert!(Ignore::parse(b"[").is_err());
        assert!(Ignore::parse(b"!").is_err());
        assert!(Ignore::parse("x\n".repeat(MAX_PATTERNS + 1).as_bytes()).is_err());
    }
}
