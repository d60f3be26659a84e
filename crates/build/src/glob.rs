//! Patterns of paths: those of Go's `filepath.Match`, which `COPY` and `ADD` take, and those of `.dockerignore`, with `**`.

/// The longest pattern.
pub(crate) const MAX_PATTERN_BYTES: usize = 4096;

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// `*`: anything but a slash.
    Star,
    /// `**`: anything.
    All,
    /// `**/`: any directories, or none.
    Dirs,
    /// `?`: one character, and no slash.
    One,
    /// `[a-z]`, `[^a]`.
    Class { ranges: Vec<(char, char)>, negated: bool },
    /// Itself.
    Char(char),
}

/// Which patterns are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Without `**`.
    Go,
    /// With it.
    Ignore,
}

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    /// What it begins with and is no pattern.
    prefix: Vec<char>,
    pieces: Vec<Piece>,
}

/// Whether a text has anything of a pattern.
pub(crate) fn has_wildcards(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

impl Glob {
    /// Reads one; None for a malformed or too long one.
    pub(crate) fn parse(text: &str, dialect: Dialect) -> Option<Self> {
        if text.len() > MAX_PATTERN_BYTES {
            return None;
        }
        let mut chars = text.chars().peekable();
        let mut pieces: Vec<Piece> = Vec::new();
        while let Some(c) = chars.next() {
            let piece = match c {
                '*' if dialect == Dialect::Ignore && chars.next_if_eq(&'*').is_some() => {
                    while chars.next_if_eq(&'*').is_some() {}
                    if chars.next_if_eq(&'/').is_some() { Piece::Dirs } else { Piece::All }
                }
                '*' => Piece::Star,
                '?' => Piece::One,
                '[' => class(&mut chars)?,
                '\\' => Piece::Char(chars.next()?),
                c => Piece::Char(c),
            };
            if !(piece == Piece::Star && pieces.last() == Some(&Piece::Star)) {
                pieces.push(piece);
            }
        }
        let plain = pieces.iter().take_while(|piece| matches!(piece, Piece::Char(_))).count();
        let rest = pieces.split_off(plain);
        let prefix = pieces.into_iter().filter_map(|piece| match piece {
            Piece::Char(c) => Some(c),
            _ => None,
        });
        Some(Self { prefix: prefix.collect(), pieces: rest })
    }

    /// Whether it is all of `text`. The time is the product of the lengths at most.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        let mut rest = text.chars();
        if !self.prefix.iter().all(|c| rest.next() == Some(*c)) {
            return false;
        }
        if self.pieces.is_empty() {
            return rest.as_str().is_empty();
        }
        let rest: Vec<char> = rest.collect();
        // Which ends of the text the pieces so far can have come to.
        let mut reached = vec![false; rest.len() + 1];
        reached[0] = true;
        for piece in &self.pieces {
            reached = step(piece, &rest, &reached);
            if !reached.contains(&true) {
                return false;
            }
        }
        reached[rest.len()]
    }
}

fn step(piece: &Piece, text: &[char], from: &[bool]) -> Vec<bool> {
    let mut to = vec![false; from.len()];
    match piece {
        Piece::Star => {
            let mut open = false;
            for at in 0..from.len() {
                open = from[at] || open && text[at - 1] != '/';
                to[at] = open;
            }
        }
        Piece::All => {
            let mut open = false;
            for at in 0..from.len() {
                open |= from[at];
                to[at] = open;
            }
        }
        Piece::Dirs => {
            let mut open = false;
            for at in 0..from.len() {
                to[at] = from[at] || open && text[at - 1] == '/';
                open |= from[at];
            }
        }
        one => {
            for at in 0..text.len() {
                to[at + 1] = from[at] && is_one(one, text[at]);
            }
        }
    }
    to
}

fn is_one(piece: &Piece, c: char) -> bool {
    match piece {
        Piece::One => c != '/',
        Piece::Char(own) => *own == c,
        Piece::Class { ranges, negated } => {
            c != '/' && ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
        }
        _ => false,
    }
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Piece> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Some(Piece::Class { ranges, negated });
        }
        let low = member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { member(chars)? } else { low };
        ranges.push((low, high));
    }
}

fn member(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_patterns_know_no_directories() {
        let check = |pattern: &str, text: &str, expect: bool| {
            let glob = Glob::parse(pattern, Dialect::Go).unwrap();
            assert_eq!(glob.is_match(text), expect, "{pattern} {text}");
        };
        check("abc", "abc", true);
        check("*", "abc", true);
        check("*c", "abc", true);
        check("a*", "ab/c", false);
        check("a*/b", "a/c/b", false);
        check("a*b*c*d*e*/f", "axbxcxdxe/f", true);
        check("a[b-d]?", "acx", true);
        check("a[^b]", "ab", false);
        check("a[^b]", "a/", false);
        check("a\\*", "a*", true);
        check("**", "a/b", false);
        check("", "", true);
        check("?", "é", true);
        for wrong in ["[", "[]a]", "a\\", "[a-", "[-x]", &"a".repeat(MAX_PATTERN_BYTES + 1)] {
            assert_eq!(Glob::parse(wrong, Dialect::Go), None, "{wrong}");
        }
    }

    #[test]
    fn two_stars_go_through_directories() {
        let check = |pattern: &str, text: &str, expect: bool| {
            let glob = Glob::parse(pattern, Dialect::Ignore).unwrap();
            assert_eq!(glob.is_match(text), expect, "{pattern} {text}");
        };
        check("**", "a/b", true);
        check("**/x", "x", true);
        check("**/x", "a/b/x", true);
        check("**/x", "ax", false);
        check("a/**", "a/b/c", true);
        check("a/**/b", "a/b", true);
        check("a/**/b", "a/x/y/b", true);
        check("**/*.o", "d/e.o", true);
        check("a**b", "a/x/b", true);
    }
}
