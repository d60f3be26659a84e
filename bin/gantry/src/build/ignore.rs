//! `.dockerignore`: patterns as Docker matches them, the last one that says something of a path decides.

use anyhow::{Result, ensure};

/// The most patterns.
const MAX_PATTERNS: usize = 10_000;
/// The longest pattern, in characters.
const MAX_LENGTH: usize = 4096;

/// What is left out.
#[derive(Debug, Default)]
pub(super) struct Ignore(Vec<Pattern>);

#[derive(Debug)]
struct Pattern {
    text: String,
    tokens: Vec<Token>,
    /// `!`: what is taken after all.
    is_exception: bool,
}

#[derive(Debug, PartialEq)]
enum Token {
    Char(char),
    /// `?`: one character of a name.
    Any,
    /// `*`: characters of a name.
    Star,
    /// `**` at the end: anything.
    Everything,
    /// `**/`: directories.
    Directories,
    /// `[a-z]`.
    Class {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Ignore {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut patterns = Vec::new();
        for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (is_exception, line) =
                line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
            let clean = clean(line);
            if clean.is_empty() {
                continue;
            }
            ensure!(patterns.len() < MAX_PATTERNS, "more than {MAX_PATTERNS} patterns");
            ensure!(clean.len() <= MAX_LENGTH, "a pattern is longer than {MAX_LENGTH} characters");
            patterns.push(Pattern { tokens: tokens(&clean)?, text: clean, is_exception });
        }
        Ok(Self(patterns))
    }

    /// Whether a path is left out: by itself, or with a directory that it is in.
    pub(super) fn is_ignored(&self, path: &str) -> bool {
        let parents: Vec<&str> = path.match_indices('/').map(|(end, _)| &path[..end]).chain([path]).collect();
        let mut is_ignored = false;
        for pattern in &self.0 {
            // One that would change nothing need not be asked.
            if pattern.is_exception == is_ignored && parents.iter().any(|path| pattern.matches(path)) {
                is_ignored = !pattern.is_exception;
            }
        }
        is_ignored
    }

    /// Whether something below a directory that is left out may be taken after all.
    pub(super) fn may_include_below(&self, dir: &str) -> bool {
        let below = format!("{dir}/");
        self.0.iter().filter(|pattern| pattern.is_exception).any(|pattern| {
            let fixed = pattern
                .text
                .find(['*', '?', '[', '\\'])
                .map_or(pattern.text.as_str(), |end| &pattern.text[..end]);
            fixed.starts_with(&below) || below.starts_with(fixed)
        })
    }
}

/// A path without a slash before and behind it, and without dots.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn tokens(pattern: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                while chars.next_if_eq(&'*').is_some() {}
                if chars.next_if_eq(&'/').is_some() { Token::Directories } else { Token::Everything }
            }
            '*' => Token::Star,
            '?' => Token::Any,
            '[' => class(&mut chars, pattern)?,
            '\\' => match chars.next() {
                Some(c) => Token::Char(c),
                None => anyhow::bail!("syntax error in pattern {pattern:?}"),
            },
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, pattern: &str) -> Result<Token> {
    let is_negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let Some(mut first) = chars.next() else { anyhow::bail!("syntax error in pattern {pattern:?}") };
        if first == ']' && !ranges.is_empty() {
            return Ok(Token::Class { is_negated, ranges });
        }
        if first == '\\' {
            first = chars.next().unwrap_or('\\');
        }
        let mut last = first;
        if chars.next_if_eq(&'-').is_some() {
            last = match chars.next() {
                Some('\\') => chars.next().unwrap_or('\\'),
                Some(last) if last != ']' => last,
                _ => anyhow::bail!("syntax error in pattern {pattern:?}"),
            };
        }
        ranges.push((first, last));
    }
}

impl Pattern {
    /// Whether the whole path matches: a table of how far pattern and path have come, so that no pattern takes long.
    fn matches(&self, path: &str) -> bool {
        let path: Vec<char> = path.chars().collect();
        let mut reached = vec![false; path.len() + 1];
        reached[0] = true;
        for token in &self.tokens {
            let mut next = vec![false; path.len() + 1];
            for place in 0..=path.len() {
                if !reached[place] {
                    continue;
                }
                match token {
                    Token::Everything => next[place..].fill(true),
                    Token::Star => {
                        let name = path[place..].iter().take_while(|c| **c != '/').count();
                        next[place..=place + name].fill(true);
                    }
                    Token::Directories => {
                        next[place] = true;
                        let ends = path[place..].iter().enumerate().filter(|(_, c)| **c == '/');
                        ends.for_each(|(end, _)| next[place + end + 1] = true);
                    }
                    one => {
                        if path.get(place).is_some_and(|c| one.takes(*c)) {
                            next[place + 1] = true;
                        }
                    }
                }
            }
            reached = next;
        }
        reached[path.len()]
    }
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::Any => c != '/',
            Self::Class { is_negated, ranges } => {
                c != '/' && ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *is_negated
            }
            Self::Star | Self::Everything | Self::Directories => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_dockers_do() {
        for (pattern, path, expected) in [
            ("a", "a", true),
            ("a", "a/b", true),
            ("/a/", "a", true),
            ("a", "b/a", false),
            ("*.go", "x.go", true),
            ("*.go", "d/x.go", false),
            ("**/*.go", "x.go", true),
            ("**/*.go", "d/e/x.go", true),
            ("**", "a/b", true),
            ("a/**", "a/b/c", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/b/b/c", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("./a/../b", "b", true),
            ("# no", "# no", false),
        ] {
            assert_eq!(Ignore::parse(pattern).unwrap().is_ignored(path), expected, "{pattern} {path}");
        }
        assert!(Ignore::parse("[a").is_err() && Ignore::parse("a\\").is_err());
    }

    #[test]
    fn the_last_pattern_decides() {
        let ignore = Ignore::parse("*.md\n!README*\nREADME-secret.md\n").unwrap();
        assert!(
            ignore.is_ignored("x.md")
                && !ignore.is_ignored("README.md")
                && ignore.is_ignored("README-secret.md")
        );
        let ignore = Ignore::parse("d\n!d/e/f").unwrap();
        assert!(ignore.is_ignored("d/x") && !ignore.is_ignored("d/e/f"));
        assert!(
            ignore.may_include_below("d")
                && ignore.may_include_below("d/e")
                && !ignore.may_include_below("x")
        );
    }

    #[test]
    fn no_pattern_takes_long() {
        let ignore = Ignore::parse(&"*a".repeat(200)).unwrap();
        assert!(!ignore.is_ignored(&"a".repeat(199)));
        assert!(!Ignore::parse(&"**/a*b".repeat(100)).unwrap().is_ignored(&"a/".repeat(100)));
    }
}
