//! Values as text, in the notation of GVariant, as they stand in `org.systemd.property.*` annotations.
//!
//! | text | type |
//! |---|---|
//! | `true`, `false` | `b` |
//! | `'text'`, `"text"` | `s` |
//! | `5`, `-5`, `0x1f` | `i` |
//! | `1.5` | `d` |
//! | `uint64 5`, `byte 5`, `int16 5`, … | the named one |
//! | `objectpath '/x'`, `signature 's'` | `o`, `g` |
//! | `['a', 'b']`, `@as []` | an array |
//! | `('a', uint64 5)` | a struct |
//! | `<5>` | `v` |

use super::value::{MAX_DEPTH, Property, Value, first_type};
use crate::error::PathError;

/// Longer values of annotations are refused.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// What annotations for systemd begin with.
const PREFIX: &str = "org.systemd.property.";

impl Property {
    /// Reads the annotations `org.systemd.property.<name>` among those of a container. As in runc, a name in `…Sec`
    /// with a number of seconds is the property in `…USec`.
    ///
    /// Whether a container may set properties of its unit is the caller's to decide: they reach beyond its cgroup.
    ///
    /// # Errors
    /// `InvalidArgument`, with the annotation and what is wrong with it.
    pub fn from_annotations<'a>(
        annotations: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<Vec<Self>, PathError> {
        let mut properties = Vec::new();
        for (annotation, value) in annotations {
            let Some(name) = annotation.strip_prefix(PREFIX) else { continue };
            let error = |reason| PathError::Annotation {
                name: annotation.chars().take(256).collect(),
                value: value.chars().take(256).collect(),
                reason,
            };
            properties.push(Self::from_annotation(name, value).map_err(error)?);
        }
        Ok(properties)
    }

    pub(super) fn from_annotation(name: &str, value: &str) -> Result<Self, &'static str> {
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err("a property name has three letters or more, and nothing else");
        }
        if ["PIDs", "PIDFDs", "Slice"].contains(&name) {
            return Err("the property is the runtime's to set");
        }
        let value = parse(value).ok_or("not a value in the notation of GVariant")?;
        match name.strip_suffix("Sec") {
            Some(stem) if stem.ends_with(|last: char| last.is_ascii_lowercase()) => {
                let value = microseconds(&value).ok_or("not a number of seconds")?;
                Ok(Self { name: format!("{stem}USec"), value: Value::U64(value) })
            }
            _ => Ok(Self { name: name.to_owned(), value }),
        }
    }
}

fn microseconds(value: &Value) -> Option<u64> {
    const SECOND: u64 = 1_000_000;
    let seconds = match *value {
        Value::Byte(n) => n.into(),
        Value::U16(n) => n.into(),
        Value::U32(n) => n.into(),
        Value::U64(n) => n,
        Value::I16(n) => u64::try_from(n).ok()?,
        Value::I32(n) => u64::try_from(n).ok()?,
        Value::I64(n) => u64::try_from(n).ok()?,
        Value::Double(n) if (0.0..1e12).contains(&n) => return Some((n * SECOND as f64) as u64),
        _ => return None,
    };
    seconds.checked_mul(SECOND)
}

fn parse(text: &str) -> Option<Value> {
    let mut parser =
        Parser { rest: text.get(..MAX_TEXT_BYTES.min(text.len())).filter(|t| t.len() == text.len())? };
    let value = parser.value(None, 0)?;
    parser.skip_space();
    parser.rest.is_empty().then_some(value)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn eat(&mut self, token: char) -> bool {
        self.skip_space();
        let after = self.rest.strip_prefix(token);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn word(&mut self) -> &'a str {
        self.skip_space();
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
        let end = self.rest.find(|c| !inside(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// Reads a value, of a type if one is expected.
    fn value(&mut self, expect: Option<&str>, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_space();
        match self.rest.chars().next()? {
            quote @ ('\'' | '"') => text_of(self.quoted(quote)?, expect.unwrap_or("s")),
            '[' => self.array(expect, depth),
            '(' => self.tuple(expect, depth),
            '<' => {
                self.eat('<');
                let inner = self.value(None, depth + 1)?;
                (self.eat('>') && expect.is_none_or(|expect| expect == "v"))
                    .then(|| Value::Variant(Box::new(inner)))
            }
            '@' => {
                self.eat('@');
                let (signature, rest) = first_type(self.rest)?;
                if !rest.starts_with(|c: char| c.is_ascii_whitespace())
                    || expect.is_some_and(|e| e != signature)
                {
                    return None;
                }
                self.rest = rest;
                self.value(Some(signature), depth + 1)
            }
            _ => self.plain(expect, depth),
        }
    }

    fn plain(&mut self, expect: Option<&str>, depth: usize) -> Option<Value> {
        let word = self.word();
        let named = match word {
            "true" | "false" => {
                return expect.is_none_or(|expect| expect == "b").then_some(Value::Bool(word == "true"));
            }
            "boolean" => "b",
            "byte" => "y",
            "int16" => "n",
            "uint16" => "q",
            "int32" => "i",
            "uint32" => "u",
            "int64" => "x",
            "uint64" => "t",
            "double" => "d",
            "string" => "s",
            "objectpath" => "o",
            "signature" => "g",
            number => return number_of(number, expect),
        };
        expect.is_none_or(|expect| expect == named).then_some(())?;
        self.value(Some(named), depth + 1)
    }

    fn array(&mut self, expect: Option<&str>, depth: usize) -> Option<Value> {
        let mut element = match expect {
            Some(signature) => Some(signature.strip_prefix('a')?.to_owned()),
            None => None,
        };
        self.eat('[');
        let mut items = Vec::new();
        while !self.eat(']') {
            if !items.is_empty() && !self.eat(',') {
                return None;
            }
            // The first element gives the type where none is given.
            let item = self.value(element.as_deref(), depth + 1)?;
            element.get_or_insert_with(|| item.signature());
            items.push(item);
        }
        Some(Value::Array(element?, items))
    }

    fn tuple(&mut self, expect: Option<&str>, depth: usize) -> Option<Value> {
        let mut left = match expect {
            Some(signature) => Some(signature.strip_prefix('(')?.strip_suffix(')')?),
            None => None,
        };
        self.eat('(');
        let mut fields = Vec::new();
        while !self.eat(')') {
            if !fields.is_empty() && !self.eat(',') {
                return None;
            }
            // A comma may follow the last one, and must follow an only one.
            if !fields.is_empty() && self.eat(')') {
                break;
            }
            let field = match left {
                Some(signature) => {
                    let (first, rest) = first_type(signature)?;
                    left = Some(rest);
                    self.value(Some(first), depth + 1)?
                }
                None => self.value(None, depth + 1)?,
            };
            fields.push(field);
        }
        (!fields.is_empty() && left.is_none_or(str::is_empty)).then_some(Value::Struct(fields))
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        self.eat(quote);
        let mut out = String::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next()? {
                c if c == quote => {
                    self.rest = chars.as_str();
                    // No string of the bus holds a NUL.
                    return (!out.contains('\0')).then_some(out);
                }
                '\\' => out.push(match chars.next()? {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'a' => '\x07',
                    'b' => '\x08',
                    'f' => '\x0c',
                    'v' => '\x0b',
                    'u' => code_point(&mut chars, 4)?,
                    'U' => code_point(&mut chars, 8)?,
                    other => other,
                }),
                c => out.push(c),
            }
        }
    }
}

fn code_point(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let mut code = 0_u32;
    for _ in 0..digits {
        code = (code << 4) | chars.next()?.to_digit(16)?;
    }
    char::from_u32(code)
}

fn text_of(text: String, signature: &str) -> Option<Value> {
    match signature {
        "s" => Some(Value::Str(text)),
        "o" => is_path(&text).then_some(Value::Path(text)),
        "g" => {
            let mut rest = text.as_str();
            while !rest.is_empty() {
                rest = first_type(rest)?.1;
            }
            (text.len() <= 255).then_some(Value::Signature(text))
        }
        _ => None,
    }
}

fn is_path(text: &str) -> bool {
    let element = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    text == "/" || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(element))
}

fn number_of(text: &str, expect: Option<&str>) -> Option<Value> {
    let digits = text.trim_start_matches(['+', '-']);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let is_hex = digits.starts_with("0x") || digits.starts_with("0X");
    let looks_double = !is_hex && text.contains(['.', 'e', 'E']);
    let signature = expect.unwrap_or(if looks_double { "d" } else { "i" });
    if signature == "d" {
        return text.parse().ok().map(Value::Double);
    }
    let magnitude = if is_hex { i128::from_str_radix(&digits[2..], 16) } else { digits.parse() }.ok()?;
    let n = if text.starts_with('-') { magnitude.checked_neg()? } else { magnitude };
    Some(match signature {
        "y" => Value::Byte(n.try_into().ok()?),
        "n" => Value::I16(n.try_into().ok()?),
        "q" => Value::U16(n.try_into().ok()?),
        "i" => Value::I32(n.try_into().ok()?),
        "u" => Value::U32(n.try_into().ok()?),
        "x" => Value::I64(n.try_into().ok()?),
        "t" => Value::U64(n.try_into().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation_of_gvariant_is_read() {
        let pair = Value::Struct(vec![Value::Str("/dev/null".into()), Value::Str("rw".into())]);
        for (text, value) in [
            ("true", Value::Bool(true)),
            (" 'a b' ", Value::Str("a b".into())),
            (r#""q\"\n\u00e4""#, Value::Str("q\"\nä".into())),
            ("5", Value::I32(5)),
            ("-0x10", Value::I32(-16)),
            ("1.5", Value::Double(1.5)),
            ("uint64 18446744073709551615", Value::U64(u64::MAX)),
            ("byte 255", Value::Byte(255)),
            ("objectpath '/a/b'", Value::Path("/a/b".into())),
            ("['a','b']", Value::strings(["a", "b"])),
            ("@as []", Value::strings::<&str>([])),
            ("@at [1, 2]", Value::Array("t".into(), vec![Value::U64(1), Value::U64(2)])),
            ("[uint32 1, 2]", Value::Array("u".into(), vec![Value::U32(1), Value::U32(2)])),
            ("[('/dev/null', 'rw')]", Value::Array("(ss)".into(), vec![pair])),
            ("@a(ss) []", Value::Array("(ss)".into(), vec![])),
            ("<uint64 5>", Value::Variant(Box::new(Value::U64(5)))),
            ("('x',)", Value::Struct(vec![Value::Str("x".into())])),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            "'a",
            "a",
            "1 2",
            "byte 256",
            "uint64 -1",
            "[]",
            "['a', 1]",
            "['a' 'b']",
            "()",
            "@as [1]",
            "@zz []",
            "@as[]",
            "true false",
            "99999999999",
            "objectpath 'x'",
            "'a\0'",
            r"'\ud800'",
            "<",
            "[,]",
            "0x",
            "--",
            "uint64 'x'",
            "nan",
            "inf",
            "('x' 'y')",
            &"[".repeat(100_000),
            &"<".repeat(50),
        ] {
            assert_eq!(parse(bad), None, "{}", &bad[..bad.len().min(40)]);
        }
    }

    #[test]
    fn only_annotations_for_systemd_are_read() {
        let annotations = [("org.systemd.property.CollectMode", "'inactive'"), ("io.x", "y")];
        let map: std::collections::BTreeMap<String, String> =
            annotations.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let expect = Property { name: "CollectMode".into(), value: Value::Str("inactive".into()) };
        assert_eq!(Property::from_annotations(&map).unwrap(), [expect]);
        let map = [("org.systemd.property.CollectMode".to_owned(), "inactive".to_owned())];
        let error = Property::from_annotations(map.iter().map(|(name, value)| (name, value))).unwrap_err();
        assert!(error.to_string().starts_with("annotation org.systemd.property.CollectMode=\"inactive\": "));
    }

    #[test]
    fn seconds_become_microseconds() {
        let property = |name, value| Property::from_annotation(name, value);
        let expect = Property { name: "TimeoutStopUSec".into(), value: Value::U64(1_500_000) };
        assert_eq!(property("TimeoutStopSec", "1.5"), Ok(expect.clone()));
        assert_eq!(property("TimeoutStopUSec", "uint64 1500000"), Ok(expect));
        assert!(property("TimeoutStopSec", "'a'").is_err() && property("TimeoutStopSec", "-1").is_err());
        assert!(property("RuntimeMaxSec", "uint64 18446744073709551615").is_err());
        for bad in ["", "ab", "After-", "X1Y", "A\n", "CPU_", "PIDs", "Slice"] {
            assert!(property(bad, "true").is_err(), "{bad}");
        }
    }
}
