//! From a template's text to words.

use super::TemplateError;

/// A part of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    Action(Vec<Token>),
}

/// A word of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A keyword, a function, `true`, `nil`.
    Word(String),
    /// `.a.b`, as its names; the dot alone has none.
    Field(Vec<String>),
    /// `$x.a`.
    Variable(String, Vec<String>),
    Text(String),
    Integer(i64),
    Float(f64),
    Pipe,
    Open,
    /// A bracket, and the fields after it.
    Close(Vec<String>),
    Declare,
    Assign,
    Comma,
}

pub(super) fn split(template: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = template;
    let mut is_trimmed = false;
    while let Some(start) = rest.find("{{") {
        let mut text = &rest[..start];
        let after = &rest[start + 2..];
        if is_trimmed {
            text = text.trim_start();
        }
        let trims = after.starts_with('-') && after[1..].starts_with(char::is_whitespace);
        if trims {
            text = text.trim_end();
        }
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        let body = if trims { &after[1..] } else { after };
        let end = end_of_action(body).ok_or_else(|| syntax("unclosed action"))?;
        let mut inner = &body[..end];
        is_trimmed = inner.ends_with('-') && inner[..inner.len() - 1].ends_with(char::is_whitespace);
        if is_trimmed {
            inner = &inner[..inner.len() - 1];
        }
        rest = &body[end + 2..];
        if !inner.trim_start().starts_with("/*") {
            parts.push(Part::Action(tokens(inner)?));
        }
    }
    let text = if is_trimmed { rest.trim_start() } else { rest };
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(parts)
}

/// Where `}}` is, outside of quotes and comments.
fn end_of_action(body: &str) -> Option<usize> {
    let trimmed = body.trim_start();
    if trimmed.starts_with("/*") {
        let comment = body.find("*/")?;
        return body[comment..].find("}}").map(|end| comment + end);
    }
    let mut quote = None;
    let mut chars = body.char_indices();
    while let Some((index, c)) = chars.next() {
        match (quote, c) {
            (Some('"' | '\''), '\\') => {
                chars.next();
            }
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`' | '\'') => quote = Some(c),
            (None, '}') if body[index..].starts_with("}}") => return Some(index),
            _ => {}
        }
    }
    None
}

fn tokens(body: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = body.trim_start();
    while let Some(c) = rest.chars().next() {
        let (token, after) = match c {
            '|' => (Token::Pipe, &rest[1..]),
            '(' => (Token::Open, &rest[1..]),
            ')' => {
                let (fields, after) = fields(&rest[1..]);
                (Token::Close(fields), after)
            }
            ',' => (Token::Comma, &rest[1..]),
            ':' if rest.starts_with(":=") => (Token::Declare, &rest[2..]),
            '=' => (Token::Assign, &rest[1..]),
            '"' | '`' | '\'' => quoted(rest, c)?,
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let (fields, after) = fields(rest);
                let after = if fields.is_empty() { &rest[1..] } else { after };
                (Token::Field(fields), after)
            }
            '$' => {
                let (name, after) = identifier(&rest[1..]);
                let (fields, after) = fields(after);
                (Token::Variable(name.to_owned(), fields), after)
            }
            c if c.is_ascii_digit() || matches!(c, '.' | '-' | '+') => number(rest)?,
            c if is_letter(c) => {
                let (name, after) = identifier(rest);
                (Token::Word(name.to_owned()), after)
            }
            c => return Err(syntax(format!("unexpected {c:?} in an action"))),
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

fn is_letter(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn identifier(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c| !is_letter(c)).unwrap_or(text.len()))
}

/// `.a.b` at the front.
fn fields(mut text: &str) -> (Vec<String>, &str) {
    let mut fields = Vec::new();
    while let Some(after) = text.strip_prefix('.') {
        let (name, rest) = identifier(after);
        if name.is_empty() {
            break;
        }
        fields.push(name.to_owned());
        text = rest;
    }
    (fields, text)
}

fn number(text: &str) -> Result<(Token, &str), TemplateError> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_');
    let (number, rest) = text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()));
    if let Ok(integer) = number.parse() {
        return Ok((Token::Integer(integer), rest));
    }
    match number.parse() {
        Ok(float) => Ok((Token::Float(float), rest)),
        Err(_) => Err(syntax(format!("bad number {number:?}"))),
    }
}

fn quoted(text: &str, quote: char) -> Result<(Token, &str), TemplateError> {
    let mut value = String::new();
    let mut chars = text[1..].char_indices();
    while let Some((index, c)) = chars.next() {
        if c == quote {
            let rest = &text[index + 2..];
            return match quote {
                '\'' => {
                    let code = value.chars().next().map_or(0, |c| i64::from(u32::from(c)));
                    Ok((Token::Integer(code), rest))
                }
                _ => Ok((Token::Text(value), rest)),
            };
        }
        if c != '\\' || quote == '`' {
            value.push(c);
            continue;
        }
        let Some((_, escaped)) = chars.next() else { break };
        value.push(match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'v' => '\x0b',
            '\\' | '"' | '\'' => escaped,
            'x' => code(&mut chars, 2)?,
            'u' => code(&mut chars, 4)?,
            'U' => code(&mut chars, 8)?,
            other => return Err(syntax(format!("unknown escape \\{other}"))),
        });
    }
    Err(syntax("unterminated quoted string"))
}

fn code(chars: &mut std::str::CharIndices<'_>, digits: usize) -> Result<char, TemplateError> {
    let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
    let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == digits);
    code.and_then(char::from_u32).ok_or_else(|| syntax("bad character in an escape"))
}

pub(super) fn syntax(reason: impl Into<String>) -> TemplateError {
    TemplateError::Syntax(reason.into())
}
