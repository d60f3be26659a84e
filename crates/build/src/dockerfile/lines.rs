//! From the bytes of a Dockerfile to its logical lines: directives, comments, continuations, here-documents.

use crate::{Error, Result};

/// The longest Dockerfile.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// The longest line, and the longest of several that are continued: dockerd's for one.
const MAX_LINE_BYTES: usize = 65_535;
const MAX_LOGICAL_BYTES: usize = 512 << 10;
/// The most instructions.
const MAX_LINES: usize = 4096;
/// The most here-documents of an instruction.
const MAX_HEREDOCS: usize = 32;

/// What the directives at the beginning say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Directives {
    /// What makes the next character an ordinary one, and goes on in the next line.
    pub(crate) escape: char,
}

impl Default for Directives {
    fn default() -> Self {
        Self { escape: '\\' }
    }
}

/// A text that stands behind an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heredoc {
    /// What ends it.
    pub(crate) name: String,
    /// The text; without the tabs that begin its lines, where `<<-` says so.
    pub(crate) text: String,
    /// Whether variables are put in: not if the name has quotes.
    pub(crate) expands: bool,
}

/// An instruction as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Where it begins, from 1.
    pub(crate) number: usize,
    /// Its lines as one.
    pub(crate) text: String,
    /// The texts behind it.
    pub(crate) heredocs: Vec<Heredoc>,
    /// Whether an empty line is in it, which docker warns of.
    pub(crate) has_gap: bool,
}

/// Reads the lines of a Dockerfile.
///
/// # Errors
/// Dockerfile, and Limit.
pub(crate) fn read(bytes: &[u8]) -> Result<(Directives, Vec<Line>)> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::Limit { what: "the Dockerfile".into(), limit: MAX_BYTES as u64, unit: "bytes" });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        Error::line(line, "is not UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let physical: Vec<&str> = text.lines().collect();
    if let Some(place) = physical.iter().position(|line| line.len() > MAX_LINE_BYTES) {
        let message = format!("dockerfile line greater than maximum allowed size of {MAX_LINE_BYTES}");
        return Err(Error::line(place + 1, message));
    }
    let directives = directives(&physical)?;
    let mut lines = Vec::new();
    let mut next = 0;
    while next < physical.len() {
        if let Some(line) = logical(&physical, &mut next, directives.escape)? {
            lines.push(line);
            if lines.len() > MAX_LINES {
                let limit = MAX_LINES as u64;
                return Err(Error::Limit { what: "the Dockerfile".into(), limit, unit: "instructions" });
            }
        }
    }
    Ok((directives, lines))
}

/// The comments of the form `key=value` before everything else.
fn directives(lines: &[&str]) -> Result<Directives> {
    let mut found = Directives::default();
    let mut seen: Vec<String> = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        let Some((key, value)) = line.strip_prefix('#').and_then(|rest| rest.split_once('=')) else { break };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        let is_word = key.starts_with(|c: char| c.is_ascii_alphabetic())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_word || value.is_empty() {
            break;
        }
        if !matches!(key.as_str(), "escape" | "syntax" | "check") {
            // Any other one is a comment, which ends them.
            break;
        }
        if seen.contains(&key) {
            return Err(Error::line(place + 1, format!("only one {key} parser directive can be used")));
        }
        if key == "escape" {
            found.escape = match value {
                "\\" => '\\',
                "`" => '`',
                other => {
                    return Err(Error::line(place + 1, format!("invalid ESCAPE '{other}'. Must be ` or \\")));
                }
            };
        }
        seen.push(key);
    }
    Ok(found)
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// A line without the character that continues it, and whether it had one.
fn continued(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(rest) => (rest, true),
        None => (line, false),
    }
}

fn logical(physical: &[&str], next: &mut usize, escape: char) -> Result<Option<Line>> {
    let number = *next + 1;
    let first = physical[*next].trim_start();
    *next += 1;
    if first.starts_with('#') {
        return Ok(None);
    }
    let (head, mut goes_on) = continued(first, escape);
    let mut text = head.to_owned();
    let mut has_gap = false;
    if text.is_empty() && !goes_on {
        return Ok(None);
    }
    while goes_on && *next < physical.len() {
        let line = physical[*next];
        *next += 1;
        if is_comment(line) || line.trim().is_empty() {
            has_gap |= line.trim().is_empty();
            continue;
        }
        let (part, more) = continued(line, escape);
        text.push_str(part);
        goes_on = more;
        if text.len() > MAX_LOGICAL_BYTES {
            let what = format!("the instruction on line {number}");
            return Err(Error::Limit { what, limit: MAX_LOGICAL_BYTES as u64, unit: "bytes" });
        }
    }
    if text.trim().is_empty() {
        return Ok(None);
    }
    let heredocs =
        if may_have_heredocs(&text) { heredocs(&text, physical, next, number)? } else { Vec::new() };
    Ok(Some(Line { number, text: text.trim_end().to_owned(), heredocs, has_gap }))
}

fn may_have_heredocs(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let mut word = words.next().unwrap_or_default().to_ascii_uppercase();
    if word == "ONBUILD" {
        word = words.next().unwrap_or_default().to_ascii_uppercase();
    }
    // An array has no here-documents.
    let is_json = words.find(|word| !word.starts_with("--")).is_some_and(|word| word.starts_with('['));
    matches!(word.as_str(), "RUN" | "COPY" | "ADD") && !is_json && text.contains("<<")
}

/// A `<<NAME`, before its text is read.
struct Marker {
    name: String,
    strips_tabs: bool,
    expands: bool,
}

fn heredocs(text: &str, physical: &[&str], next: &mut usize, number: usize) -> Result<Vec<Heredoc>> {
    let mut found = Vec::new();
    for Marker { name, strips_tabs, expands } in markers(text) {
        if found.len() == MAX_HEREDOCS {
            let what = format!("the instruction on line {number}");
            return Err(Error::Limit { what, limit: MAX_HEREDOCS as u64, unit: "here-documents" });
        }
        let mut body = String::new();
        loop {
            let Some(line) = physical.get(*next) else {
                return Err(Error::line(number, format!("unterminated heredoc {name}")));
            };
            *next += 1;
            let line = if strips_tabs { line.trim_start_matches('\t') } else { line };
            if line == name {
                break;
            }
            body.push_str(line);
            body.push('\n');
        }
        found.push(Heredoc { name, text: body, expands });
    }
    Ok(found)
}

/// The `<<NAME`, `<<-NAME` and `<<"NAME"` of a line: each is a word of its own, as in BuildKit, so that `$((1<<2))` is none.
fn markers(text: &str) -> Vec<Marker> {
    raw_words(text).into_iter().filter_map(marker).collect()
}

/// Words with their quotes and escapes, as far as spaces tell them apart.
pub(super) fn raw_words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut quote, mut begin, mut escaped) = (None, None, false);
    for (place, c) in text.char_indices() {
        match quote {
            _ if escaped => escaped = false,
            None if c.is_whitespace() => words.extend(begin.take().map(|begin| &text[begin..place])),
            _ => {
                begin.get_or_insert(place);
                escaped = c == '\\' && quote != Some('\'');
                quote = match quote {
                    None if c == '"' || c == '\'' => Some(c),
                    Some(open) if open == c => None,
                    other => other,
                };
            }
        }
    }
    words.extend(begin.map(|begin| &text[begin..]));
    words
}

fn marker(word: &str) -> Option<Marker> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (strips_tabs, name) = match rest.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, rest),
    };
    let bare: String = name.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
    let expands = bare.len() == name.len();
    (!bare.is_empty() && !bare.contains('<')).then_some(Marker { name: bare, strips_tabs, expands })
}

/// Whether a word is the mark of a here-document.
pub(super) fn is_marker(word: &str) -> bool {
    marker(word).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(dockerfile: &str) -> Vec<(usize, String)> {
        read(dockerfile.as_bytes()).unwrap().1.into_iter().map(|line| (line.number, line.text)).collect()
    }

    #[test]
    fn lines_are_joined_and_comments_left_out() {
        let found =
            texts("\u{feff}# c\n\nFROM x\n  RUN a \\\n  # in between\n\n   b \\  \n c\n#end\nCMD d\\");
        let expect = [(3, "FROM x"), (4, "RUN a    b  c"), (10, "CMD d")];
        assert_eq!(found, expect.map(|(number, text)| (number, text.to_owned())));
        assert_eq!(texts("RUN a\r\n"), [(1, "RUN a".to_owned())]);
        assert!(texts("\n\\\n").is_empty());
    }

    #[test]
    fn directives_come_first_and_once() {
        let escape = |text: &str| read(text.as_bytes()).map(|(directives, _)| directives.escape);
        assert_eq!(escape("# escape=`\n").unwrap(), '`');
        assert_eq!(escape("#  Syntax = x/y:1\n#ESCAPE=`\n").unwrap(), '`');
        assert_eq!(escape("# hello\n# escape=`\n").unwrap(), '\\');
        assert_eq!(escape("\n# escape=`\n").unwrap(), '\\');
        assert!(escape("# escape=x\n").is_err());
        assert!(escape("# escape=`\n# escape=`\n").is_err());
        assert_eq!(texts("# escape=`\nRUN a\\`\n b"), [(2, "RUN a\\ b".to_owned())]);
    }

    #[test]
    fn heredocs_belong_to_their_line() {
        let (_, lines) = read(b"RUN <<EOF cat 3<<-'x y'\na\n# b\nEOF\n\tc\n\tx y\nCMD x").unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].heredocs.len(), 2);
        let first = Heredoc { name: "EOF".into(), text: "a\n# b\n".into(), expands: true };
        let second = Heredoc { name: "x y".into(), text: "c\n".into(), expands: false };
        assert_eq!(lines[0].heredocs, [first, second]);
        let none = |text: &str| read(text.as_bytes()).unwrap().1[0].heredocs.is_empty();
        for text in ["RUN echo $((1<<2))", "RUN cat <<<x", "RUN [\"<<EOF\"]", "ENV a=<<EOF", "RUN '<<EOF'"] {
            assert!(none(text), "{text}");
        }
        assert!(read(b"RUN <<EOF\nx").is_err());
    }

    #[test]
    fn hostile_files_are_refused() {
        assert!(read(&vec![b'a'; MAX_BYTES + 1]).is_err());
        assert!(read(&[b'a'; MAX_LINE_BYTES + 1]).is_err());
        assert!(read("a\n".repeat(MAX_LINES + 1).as_bytes()).is_err());
        assert!(read(format!("RUN a\\\n{}", "aaaa\\\n".repeat(150_000)).as_bytes()).is_err());
        assert!(read(b"FROM \xff").is_err());
    }
}
