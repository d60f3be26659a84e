//! The filters of containerd's lists and subscriptions.
//!
//! ```text
//! filters  := a list of filter; a thing passes if it passes one of them, or if there is none
//! filter   := selector ("," selector)*; all must hold
//! selector := path [("==" | "!=" | "~=") value]; without operator: the field is there
//! path     := part ("." part)*;  part := word | quoted
//! value    := quoted | anything up to "," or white space;  after "~=" also /regex/ and |regex|
//! ```
//! The language is containerd's (`pkg/filters`, v2.1); regular expressions are those of the `regex` crate, which reads RE2's
//! syntax as Go does. It never looks at anything but the values that a [`Fields`] gives.

use std::fmt;

use regex::Regex;

/// The longest filter, in bytes.
pub const MAX_FILTER_BYTES: usize = 16 << 10;
/// The most filters of one request.
pub const MAX_FILTERS: usize = 256;
/// The most memory for one regular expression, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// What a filter can look at.
pub trait Fields {
    /// The value of a field, if it is there. Of `labels.a.b`, `path` is `["labels", "a", "b"]`.
    fn field(&self, path: &[&str]) -> Option<String>;
}

impl<F: Fn(&[&str]) -> Option<String>> Fields for F {
    fn field(&self, path: &[&str]) -> Option<String> {
        self(path)
    }
}

/// Why a filter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidFilter {
    /// Not of the grammar.
    #[error("invalid filter {filter:?}: {expected} expected at byte {at}")]
    Syntax {
        /// The filter.
        filter: String,
        /// What should be there.
        expected: &'static str,
        /// Where.
        at: usize,
    },
    /// The regular expression is none.
    #[error("invalid filter {filter:?}: {reason}")]
    Regex {
        /// The filter.
        filter: String,
        /// What the regular expressions' parser says.
        reason: String,
    },
    /// A limit of this module.
    #[error("a filter of {0} bytes is longer than {MAX_FILTER_BYTES}")]
    TooLong(usize),
    /// Another one.
    #[error("{0} filters are more than {MAX_FILTERS}")]
    TooMany(usize),
}

#[derive(Debug, Clone)]
enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

#[derive(Debug, Clone)]
struct Selector {
    path: Vec<String>,
    test: Test,
}

/// Filters, one of which has to hold.
#[derive(Debug, Clone, Default)]
pub struct Filters(Vec<Vec<Selector>>);

impl Filters {
    /// Reads the filters of a request. Empty ones hold for everything, as with containerd.
    ///
    /// # Errors
    /// [`InvalidFilter`].
    pub fn parse(filters: &[impl AsRef<str>]) -> Result<Self, InvalidFilter> {
        if filters.len() > MAX_FILTERS {
            return Err(InvalidFilter::TooMany(filters.len()));
        }
        filters.iter().map(|filter| parse(filter.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `thing` passes.
    pub fn passes(&self, thing: &(impl Fields + ?Sized)) -> bool {
        self.0.is_empty() || self.0.iter().any(|all| all.iter().all(|selector| selector.holds(thing)))
    }

    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.0.iter().any(Vec::is_empty) || self.0.is_empty()
    }

    /// The only values that `field` of a passing thing can have, if the filters say so.
    pub fn only(&self, field: &str) -> Option<Vec<&str>> {
        if self.is_empty() {
            return None;
        }
        self.0
            .iter()
            .map(|all| {
                all.iter().find_map(|selector| match &selector.test {
                    Test::Equal(value) if selector.path == [field] => Some(value.as_str()),
                    _ => None,
                })
            })
            .collect()
    }
}

impl Selector {
    fn holds(&self, thing: &(impl Fields + ?Sized)) -> bool {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let value = thing.field(&path);
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(wanted) => value.is_some_and(|value| value == *wanted),
            // What is not there counts as empty, here only.
            Test::NotEqual(unwanted) => value.unwrap_or_default() != *unwanted,
            Test::Matches(regex) => value.is_some_and(|value| regex.is_match(&value)),
        }
    }
}

/// A labels field: `["labels", …]` beyond its first part, with the dots put back.
pub fn label(labels: &gantry_types::Labels, path: &[&str]) -> Option<String> {
    if path.is_empty() {
        (!labels.is_empty()).then(String::new)
    } else {
        labels.get(&path.join(".")).cloned()
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

fn parse(text: &str) -> Result<Vec<Selector>, InvalidFilter> {
    if text.len() > MAX_FILTER_BYTES {
        return Err(InvalidFilter::TooLong(text.len()));
    }
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut parser = Parser { text, at: 0 };
    let mut selectors = Vec::new();
    loop {
        parser.skip_space();
        selectors.push(parser.selector()?);
        parser.skip_space();
        if parser.rest().is_empty() {
            return Ok(selectors);
        }
        parser.take(",").ok_or_else(|| parser.syntax("',' or the end"))?;
    }
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> Option<()> {
        self.rest().starts_with(token).then(|| self.at += token.len())
    }

    fn syntax(&self, expected: &'static str) -> InvalidFilter {
        InvalidFilter::Syntax { filter: self.text.chars().take(200).collect(), expected, at: self.at }
    }

    fn selector(&mut self) -> Result<Selector, InvalidFilter> {
        let mut path = vec![self.part()?];
        while self.take(".").is_some() {
            path.push(self.part()?);
        }
        self.skip_space();
        let test = if self.take("==").is_some() {
            Test::Equal(self.value(false)?)
        } else if self.take("!=").is_some() {
            Test::NotEqual(self.value(false)?)
        } else if self.take("~=").is_some() {
            let text = self.value(true)?;
            let regex = regex::RegexBuilder::new(&text).size_limit(MAX_REGEX_BYTES).build();
            Test::Matches(regex.map_err(|error| InvalidFilter::Regex {
                filter: self.text.chars().take(200).collect(),
                reason: error.to_string(),
            })?)
        } else {
            Test::Present
        };
        Ok(Selector { path, test })
    }

    fn part(&mut self) -> Result<String, InvalidFilter> {
        if self.rest().starts_with('"') {
            return self.quoted();
        }
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | ':');
        let length = self.rest().find(|c| !word(c)).unwrap_or(self.rest().len());
        if length == 0 {
            return Err(self.syntax("a field"));
        }
        let part = self.rest()[..length].to_owned();
        self.at += length;
        Ok(part)
    }

    fn value(&mut self, regex: bool) -> Result<String, InvalidFilter> {
        self.skip_space();
        match self.rest().chars().next() {
            Some('"') => self.quoted(),
            Some(quote @ ('/' | '|')) if regex => self.delimited(quote),
            _ => {
                let length =
                    self.rest().find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(self.rest().len());
                let value = self.rest()[..length].to_owned();
                self.at += length;
                Ok(value)
            }
        }
    }

    /// A text between two `quote`s, in which a backslash before one stands for it.
    fn delimited(&mut self, quote: char) -> Result<String, InvalidFilter> {
        let mut text = String::new();
        let mut characters = self.rest()[1..].char_indices();
        while let Some((offset, c)) = characters.next() {
            match c {
                c if c == quote => {
                    self.at += 1 + offset + c.len_utf8();
                    return Ok(text);
                }
                '\\' => match characters.next() {
                    Some((_, next)) if next == quote => text.push(next),
                    Some((_, next)) => text.extend(['\\', next]),
                    None => break,
                },
                c => text.push(c),
            }
        }
        Err(self.syntax("the quote's end"))
    }

    /// A text in Go's double quotes.
    fn quoted(&mut self) -> Result<String, InvalidFilter> {
        let mut text = String::new();
        let mut characters = self.rest()[1..].char_indices();
        while let Some((offset, c)) = characters.next() {
            match c {
                '"' => {
                    self.at += 1 + offset + 1;
                    return Ok(text);
                }
                '\\' => {
                    let escaped =
                        characters.next().map(|(_, c)| c).ok_or_else(|| self.syntax("an escape"))?;
                    text.push(unescape(escaped, &mut characters).ok_or_else(|| self.syntax("an escape"))?);
                }
                c => text.push(c),
            }
        }
        Err(self.syntax("the quote's end"))
    }
}

/// What follows a backslash in Go's double quotes.
fn unescape(escaped: char, rest: &mut std::str::CharIndices<'_>) -> Option<char> {
    let mut number = |digits: usize, radix: u32| {
        let text: String = rest.take(digits).map(|(_, c)| c).collect();
        (text.len() == digits)
            .then(|| u32::from_str_radix(&text, radix).ok())
            .flatten()
            .and_then(char::from_u32)
    };
    match escaped {
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        'x' => number(2, 16),
        'u' => number(4, 16),
        'U' => number(8, 16),
        '\\' | '"' | '\'' => Some(escaped),
        _ => None,
    }
}

impl fmt::Display for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} filters", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thing with these fields, joined by dots.
    fn thing(path: &[&str]) -> Option<String> {
        let fields = [
            ("name", "docker.io/library/busybox:latest"),
            ("kind", "active"),
            ("namespace", "moby"),
            ("topic", "/tasks/start"),
            ("labels.foo", "bar"),
            ("labels.a.b/c", "d e"),
            ("labels.very complex", "x"),
            ("empty", ""),
        ];
        fields.iter().find(|(name, _)| *name == path.join(".")).map(|(_, value)| (*value).to_owned())
    }

    fn check(filter: &str, expect: bool) {
        assert_eq!(Filters::parse(&[filter]).unwrap().passes(&thing), expect, "{filter}");
    }

    #[test]
    fn what_clients_send_is_understood() {
        check("", true);
        check("name==docker.io/library/busybox:latest", true);
        check("name~=busybox", true);
        check("name~=^busybox", false);
        check("namespace==moby,topic~=|^/tasks/|", true);
        check("namespace==moby,topic~=/^.tasks.stop/", false);
        check(r#"kind=="active""#, true);
        check("kind!=active", false);
        check("missing!=x", true);
        check("missing!=\"\"", false);
        check("labels.foo", true);
        check("labels.none", false);
        check("empty", true);
        check("labels.foo==bar,kind==view", false);
        check(r#"labels."a.b/c"=="d e""#, true);
        check(r#"labels."very complex"==x"#, true);
        check(r#"name=="\x64ocker.io/library/busybox:latest""#, true);
        check(" kind == active , labels.foo == bar ", true);
    }

    #[test]
    fn one_filter_of_several_is_enough() {
        assert!(Filters::parse(&["kind==view", "kind==active"]).unwrap().passes(&thing));
        assert!(!Filters::parse(&["kind==view", "kind==committed"]).unwrap().passes(&thing));
    }

    #[test]
    fn values_that_must_be_are_known() {
        let filters = Filters::parse(&["name==a,labels.x", "name==b"]).unwrap();
        assert_eq!(filters.only("name"), Some(vec!["a", "b"]));
        assert_eq!(Filters::parse(&["name==a", "kind==x"]).unwrap().only("name"), None);
        assert_eq!(Filters::parse(&["name==a", ""]).unwrap().only("name"), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for filter in ["==x", "a==\"x", "a~=/x", "a~=(", "a b", "a,", ",", "a.==x", "a=x", r#"a=="\q""#] {
            assert!(Filters::parse(&[filter]).is_err(), "{filter}");
        }
        assert!(Filters::parse(&["a~=(x{1000}){1000}"]).is_err());
        assert!(Filters::parse(&[&"x".repeat(MAX_FILTER_BYTES + 1)]).is_err());
    }
}
