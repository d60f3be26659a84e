//! Words and variables, as a Dockerfile writes them: quotes, escapes, `$x`, `${x}` and its modifiers.
//!
//! The reference is Dockerfile's, "Environment replacement" (syntax 1). It runs nothing and reads nothing but what it is given.

use std::iter::Peekable;
use std::str::Chars;

/// How deep substitutions may be nested.
const MAX_DEPTH: u32 = 32;
/// The longest result of one text.
const MAX_RESULT_BYTES: usize = 1 << 20;

/// Where variables come from.
pub(crate) trait Variables {
    /// The value of one; None where it is not set.
    fn get(&self, name: &str) -> Option<&str>;
}

impl Variables for [String] {
    fn get(&self, name: &str) -> Option<&str> {
        let named = |entry: &'_ String| entry.split_once('=').is_some_and(|(key, _)| key == name);
        // The first one counts, as in a process's environment.
        self.iter().find(|entry| named(entry)).and_then(|entry| entry.split_once('=')).map(|(_, value)| value)
    }
}

/// What a text becomes.
#[derive(Debug, Default)]
struct Expanded {
    whole: String,
    words: Vec<String>,
    word: Option<String>,
}

impl Expanded {
    fn raw(&mut self, text: &str) {
        self.whole.push_str(text);
        self.word.get_or_insert_default().push_str(text);
    }

    /// Spaces of it end words.
    fn plain(&mut self, c: char) {
        self.whole.push(c);
        if c.is_whitespace() {
            self.words.extend(self.word.take());
        } else {
            self.word.get_or_insert_default().push(c);
        }
    }
}

struct Reader<'a, V: ?Sized> {
    chars: Peekable<Chars<'a>>,
    variables: &'a V,
    escape: char,
    depth: u32,
}

/// A text with its variables put in and its quotes undone, as one word.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn word<V: Variables + ?Sized>(text: &str, escape: char, variables: &V) -> Result<String, String> {
    Ok(expand(text, escape, variables)?.whole)
}

/// The same as several words; a variable may become several.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn words<V: Variables + ?Sized>(
    text: &str,
    escape: char,
    variables: &V,
) -> Result<Vec<String>, String> {
    let mut expanded = expand(text, escape, variables)?;
    expanded.words.extend(expanded.word.take());
    Ok(expanded.words)
}

/// A text with its variables put in and everything else as it is: what stands in a here-document.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn text<V: Variables + ?Sized>(text: &str, escape: char, variables: &V) -> Result<String, String> {
    let mut reader = Reader { chars: text.chars().peekable(), variables, escape, depth: 0 };
    let mut out = String::new();
    while let Some(&c) = reader.chars.peek() {
        if out.len() > MAX_RESULT_BYTES {
            return Err(format!("an expanded text has more than {MAX_RESULT_BYTES} bytes"));
        }
        if c == '$' {
            out.push_str(&reader.dollar()?);
            continue;
        }
        reader.chars.next();
        match reader.chars.peek() {
            Some(&next) if c == escape && (next == '$' || next == escape) => out.extend(reader.chars.next()),
            _ => out.push(c),
        }
    }
    Ok(out)
}

fn expand<V: Variables + ?Sized>(text: &str, escape: char, variables: &V) -> Result<Expanded, String> {
    Reader { chars: text.chars().peekable(), variables, escape, depth: 0 }.until(None, Escapes::Undone)
}

/// What becomes of escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Undone,
    /// They stay, for a pattern.
    Kept,
}

impl<V: Variables + ?Sized> Reader<'_, V> {
    /// Reads until a character, or the end.
    fn until(&mut self, stop: Option<char>, escapes: Escapes) -> Result<Expanded, String> {
        let mut out = Expanded::default();
        while let Some(&c) = self.chars.peek() {
            if out.whole.len() > MAX_RESULT_BYTES {
                return Err(format!("an expanded text has more than {MAX_RESULT_BYTES} bytes"));
            }
            match c {
                c if Some(c) == stop => {
                    self.chars.next();
                    return Ok(out);
                }
                '\'' => {
                    let text = self.single()?;
                    out.raw(&text);
                }
                '"' => {
                    let text = self.double()?;
                    out.raw(&text);
                }
                '$' => self.dollar()?.chars().for_each(|c| out.plain(c)),
                c if c == self.escape => {
                    self.chars.next();
                    let Some(next) = self.chars.next() else { break };
                    if escapes == Escapes::Kept {
                        out.raw("\\");
                    }
                    out.raw(next.encode_utf8(&mut [0; 4]));
                }
                c => {
                    self.chars.next();
                    out.plain(c);
                }
            }
        }
        match stop {
            Some(_) => Err("syntax error: missing '}'".to_owned()),
            None => Ok(out),
        }
    }

    fn single(&mut self) -> Result<String, String> {
        self.chars.next();
        let mut out = String::new();
        loop {
            match self.chars.next() {
                Some('\'') => return Ok(out),
                Some(c) => out.push(c),
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching single-quote".to_owned()
                    );
                }
            }
        }
    }

    fn double(&mut self) -> Result<String, String> {
        self.chars.next();
        let mut out = String::new();
        loop {
            let Some(&c) = self.chars.peek() else {
                return Err("unexpected end of statement while looking for matching double-quote".to_owned());
            };
            match c {
                '"' => {
                    self.chars.next();
                    return Ok(out);
                }
                '$' => out.push_str(&self.dollar()?),
                c => {
                    self.chars.next();
                    let next = self.chars.peek().copied();
                    if c != self.escape {
                        out.push(c);
                    } else if let Some(next) = next {
                        // Only these can be escaped here.
                        if next == '"' || next == '$' || next == self.escape {
                            out.push(next);
                            self.chars.next();
                        } else {
                            out.push(c);
                        }
                    }
                }
            }
        }
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.chars.next();
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(self.variables.get(&name).unwrap_or_default().to_owned());
        }
        let name = self.name();
        match self.chars.next() {
            Some('}') if name.is_empty() => Err("syntax error: bad substitution".to_owned()),
            Some('}') => Ok(self.variables.get(&name).unwrap_or_default().to_owned()),
            Some(':') => match self.chars.next() {
                Some(c @ ('-' | '+' | '?')) => self.modified(&name, c, Empty::IsUnset),
                c => Err(unsupported(&format!(":{}", c.map(String::from).unwrap_or_default()))),
            },
            Some(c @ ('-' | '+' | '?')) => self.modified(&name, c, Empty::IsSet),
            Some(c @ ('#' | '%')) => self.trimmed(&name, c),
            Some('/') => self.replaced(&name),
            Some(c) => Err(unsupported(&c.to_string())),
            None => Err("syntax error: missing '}'".to_owned()),
        }
    }

    fn inner(&mut self, stop: char, escapes: Escapes) -> Result<String, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("substitutions are nested more than {MAX_DEPTH} times"));
        }
        let inner = self.until(Some(stop), escapes);
        self.depth -= 1;
        Ok(inner?.whole)
    }

    fn modified(&mut self, name: &str, modifier: char, empty: Empty) -> Result<String, String> {
        let word = self.inner('}', Escapes::Undone)?;
        let value = self.variables.get(name).filter(|value| empty == Empty::IsSet || !value.is_empty());
        match (modifier, value) {
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            ('?', None) => Err(match word.as_str() {
                "" if empty == Empty::IsUnset => format!("{name}: not allowed to be empty"),
                "" => format!("{name}: not allowed to be unset"),
                message => format!("{name}: {message}"),
            }),
            (_, Some(value)) => Ok(value.to_owned()),
            (_, None) => Ok(String::new()),
        }
    }

    /// `${x#pattern}`, `##`, `%`, `%%`.
    fn trimmed(&mut self, name: &str, side: char) -> Result<String, String> {
        let greedy = self.chars.next_if_eq(&side).is_some();
        let pattern = Pattern::parse(&self.inner('}', Escapes::Kept)?);
        let value: Vec<char> = self.variables.get(name).unwrap_or_default().chars().collect();
        let ends: Vec<usize> = (0..=value.len()).collect();
        let of_prefix = |end: &&usize| pattern.is_match(&value[..**end]);
        let of_suffix = |start: &&usize| pattern.is_match(&value[**start..]);
        let kept = match (side, greedy) {
            ('#', false) => ends.iter().find(of_prefix).map(|&end| &value[end..]),
            ('#', true) => ends.iter().rev().find(of_prefix).map(|&end| &value[end..]),
            (_, false) => ends.iter().rev().find(of_suffix).map(|&start| &value[..start]),
            (_, true) => ends.iter().find(of_suffix).map(|&start| &value[..start]),
        };
        Ok(kept.unwrap_or(&value).iter().collect())
    }

    /// `${x/pattern/text}`, and `//` for all of them.
    fn replaced(&mut self, name: &str) -> Result<String, String> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let pattern = Pattern::parse(&self.inner('/', Escapes::Kept)?);
        let with = self.inner('}', Escapes::Undone)?;
        let value: Vec<char> = self.variables.get(name).unwrap_or_default().chars().collect();
        let mut out = String::new();
        let mut at = 0;
        let mut done = false;
        while at < value.len() {
            let longest = (at + 1..=value.len()).rev().find(|&end| pattern.is_match(&value[at..end]));
            match longest.filter(|_| all || !done) {
                Some(end) => {
                    out.push_str(&with);
                    at = end;
                    done = true;
                }
                None => {
                    out.push(value[at]);
                    at += 1;
                }
            }
            if out.len() > MAX_RESULT_BYTES {
                return Err(format!("an expanded text has more than {MAX_RESULT_BYTES} bytes"));
            }
        }
        Ok(out)
    }

    /// A name: letters, digits and `_`; digits alone; or one of the shell's own.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek() {
            Some(c) if c.is_ascii_digit() => {
                while let Some(c) = self.chars.next_if(char::is_ascii_digit) {
                    name.push(c);
                }
                return name;
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => {
                name.extend(self.chars.next());
                return name;
            }
            _ => {}
        }
        while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
            name.push(c);
        }
        name
    }
}

/// What an empty value counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Empty {
    IsSet,
    IsUnset,
}

fn unsupported(modifier: &str) -> String {
    format!("unsupported modifier ({modifier}) in substitution")
}

/// A pattern of `#`, `%` and `/`: `*` and `?`, and what a backslash makes ordinary.
struct Pattern(Vec<Piece>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Char(char),
}

impl Pattern {
    fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' if pieces.last() == Some(&Piece::Any) => continue,
                '*' => Piece::Any,
                '?' => Piece::One,
                '\\' => Piece::Char(chars.next().unwrap_or('\\')),
                c => Piece::Char(c),
            });
        }
        Self(pieces)
    }

    /// Whether it is all of `text`. The time is the product of the lengths at most.
    fn is_match(&self, text: &[char]) -> bool {
        let (mut piece, mut at) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while at < text.len() {
            match self.0.get(piece) {
                Some(Piece::Any) => {
                    star = Some((piece, at));
                    piece += 1;
                }
                Some(Piece::One) => (piece, at) = (piece + 1, at + 1),
                Some(Piece::Char(c)) if *c == text[at] => (piece, at) = (piece + 1, at + 1),
                _ => match star {
                    Some((place, from)) => {
                        star = Some((place, from + 1));
                        (piece, at) = (place + 1, from + 1);
                    }
                    None => return false,
                },
            }
        }
        self.0[piece..].iter().all(|piece| *piece == Piece::Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> Vec<String> {
        ["A=one", "E=", "S=a b", "P=a/b/c.tar.gz", "A=two"].map(str::to_owned).to_vec()
    }

    fn check(text: &str, expect: &str) {
        assert_eq!(word(text, '\\', env().as_slice()).as_deref(), Ok(expect), "{text}");
    }

    #[test]
    fn variables_are_put_in() {
        check("$A", "one");
        check("${A}", "one");
        check("x${A}y$A.z", "xoneyone.z");
        check("$NO", "");
        check("${NO}x", "x");
        check("$", "$");
        check("a$", "a$");
        check("$.x", "$.x");
        check("$1x", "x");
        check("\\$A", "$A");
        check("'$A'", "$A");
        check("\"$A\"", "one");
        check("\"\\$A\\x\\\"\"", "$A\\x\"");
        check("a\\ b", "a b");
        check("a\\", "a");
    }

    #[test]
    fn modifiers_are_the_shells() {
        check("${NO:-x}", "x");
        check("${E:-x}", "x");
        check("${E-x}", "");
        check("${NO-x}", "x");
        check("${A:-x}", "one");
        check("${A:+x}", "x");
        check("${E:+x}", "");
        check("${E+x}", "x");
        check("${NO+x}", "");
        check("${A:?no}", "one");
        check("${NO:-${A}y}", "oney");
        check("${NO:-'$A'}", "$A");
        check("${NO:-}", "");
        check("${P#*/}", "b/c.tar.gz");
        check("${P##*/}", "c.tar.gz");
        check("${P%.*}", "a/b/c.tar");
        check("${P%%.*}", "a/b/c");
        check("${P%x}", "a/b/c.tar.gz");
        check("${P/b/x}", "a/x/c.tar.gz");
        check("${P//a/x}", "x/b/c.txr.gz");
        for wrong in ["${A", "${", "${}", "${A:x}", "${A!}", "${NO:?}", "${NO?x}", "'a", "\"a", "${A:#x}"] {
            assert!(word(wrong, '\\', env().as_slice()).is_err(), "{wrong}");
        }
        let error = word("${NO:?is needed}", '\\', env().as_slice()).unwrap_err();
        assert_eq!(error, "NO: is needed");
    }

    #[test]
    fn the_escape_is_that_of_the_directive() {
        assert_eq!(word("`$A\\b", '`', env().as_slice()).as_deref(), Ok("$A\\b"));
    }

    #[test]
    fn unquoted_spaces_of_variables_end_words() {
        let check = |text: &str, expect: &[&str]| {
            assert_eq!(words(text, '\\', env().as_slice()).unwrap(), expect, "{text}");
        };
        check("x $S \"$S\" '$S' y\\ z", &["x", "a", "b", "a b", "$S", "y z"]);
        check("  ", &[]);
        check("''", &[""]);
        check("$NO x", &["x"]);
    }

    #[test]
    fn texts_keep_their_quotes() {
        assert_eq!(text("'$A' \\$A \"\\x\\\\\"\n", '\\', env().as_slice()).unwrap(), "'one' $A \"\\x\\\"\n");
    }

    #[test]
    fn hostile_texts_have_an_end() {
        let deep = "${a:-".repeat(10_000);
        assert!(word(&deep, '\\', env().as_slice()).is_err());
        let long: Vec<String> = vec![format!("L={}", "x".repeat(60_000))];
        assert!(word(&"$L".repeat(1000), '\\', long.as_slice()).is_err());
        let stars = vec![format!("L={}", "a".repeat(2000))];
        assert_eq!(word("${L%%*a*a*a*b}", '\\', stars.as_slice()).unwrap().len(), 2000);
    }
}
