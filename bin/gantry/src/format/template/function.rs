//! Go's functions, and those that Docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::render::{Mode, run};
use super::{MAX_OUTPUT, TemplateError, field, text};

type Answer = Result<Option<Value>, TemplateError>;

/// Calls a function.
pub(super) fn call(name: &str, arguments: Vec<Value>, mode: Mode) -> Answer {
    // Above a table, what changes a word does nothing.
    if mode == Mode::Header && matches!(name, "json" | "title" | "lower" | "upper" | "truncate") {
        return Ok(arguments.into_iter().next());
    }
    let value = match (name, arguments.as_slice()) {
        ("json", [value]) => text::json(value, text::Html::Plain).into(),
        ("println", values) => format!("{}\n", spaced(values)).into(),
        ("print", values) => values.iter().map(text::of).collect::<String>().into(),
        ("printf", [format, values @ ..]) => printf(&text::of(format), values)?.into(),
        ("len", [value]) => length(value)?.into(),
        ("index", [value, keys @ ..]) => return index(value, keys),
        ("slice", [value, bounds @ ..]) => slice(value, bounds)?,
        ("not", [value]) => (!text::is_true(value)).into(),
        ("eq", [value, others @ ..]) if !others.is_empty() => {
            others.iter().any(|other| compare(value, other) == Some(Ordering::Equal)).into()
        }
        ("ne", [a, b]) => (compare(a, b) != Some(Ordering::Equal)).into(),
        ("lt" | "le" | "gt" | "ge", [a, b]) => {
            let order = compare(a, b).ok_or_else(|| run("incompatible types for comparison"))?;
            match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }
            .into()
        }
        ("html", values) => escape_html(&spaced(values)).into(),
        ("js", values) => escape_js(&spaced(values)).into(),
        ("urlquery", values) => escape_query(&spaced(values)).into(),
        ("split", [value, separator]) => split(value, separator),
        ("join", [items, separator]) => join(items, &text::of(separator))?.into(),
        ("title", [value]) => title(&text::of(value)).into(),
        ("lower", [value]) => text::of(value).to_lowercase().into(),
        ("upper", [value]) => text::of(value).to_uppercase().into(),
        ("pad", [value, before, after]) => pad(&text::of(value), count(before)?, count(after)?)?.into(),
        ("truncate", [value, length]) => {
            text::of(value).chars().take(count(length)?).collect::<String>().into()
        }
        ("contains", [value, part]) => text::of(value).contains(&text::of(part)).into(),
        (
            "json" | "printf" | "len" | "index" | "slice" | "not" | "eq" | "ne" | "lt" | "le" | "gt" | "ge"
            | "split" | "join" | "title" | "lower" | "upper" | "pad" | "truncate" | "contains",
            given,
        ) => return Err(run(format!("wrong number of args for {name}: got {}", given.len()))),
        _ => return Err(TemplateError::Syntax(format!("function {name:?} not defined"))),
    };
    Ok(Some(value))
}

fn spaced(values: &[Value]) -> String {
    values.iter().map(text::of).collect::<Vec<_>>().join(" ")
}

fn length(value: &Value) -> Result<usize, TemplateError> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        Value::Null => Ok(0),
        other => Err(run(format!("len of {}", text::kind(other)))),
    }
}

fn index(value: &Value, keys: &[Value]) -> Answer {
    let Some((key, rest)) = keys.split_first() else { return Ok(Some(value.clone())) };
    let next = match (value, key) {
        // A map of texts gives the empty one for what it has not.
        (Value::Object(map), Value::String(key)) => Some(field_exact(map, key).unwrap_or_else(|| "".into())),
        (Value::Array(items), Value::Number(number)) => {
            let place = number.as_u64().and_then(|place| usize::try_from(place).ok());
            let item = place.and_then(|place| items.get(place));
            Some(item.cloned().ok_or_else(|| run(format!("index out of range: {number}")))?)
        }
        (Value::String(text), Value::Number(number)) => {
            let place = number.as_u64().and_then(|place| usize::try_from(place).ok());
            let byte = place.and_then(|place| text.as_bytes().get(place).copied());
            Some(byte.ok_or_else(|| run(format!("index out of range: {number}")))?.into())
        }
        (Value::Null, _) => return Err(run("index of untyped nil")),
        (value, _) => return Err(run(format!("can't index item of {}", text::kind(value)))),
    };
    index(&next.unwrap_or(Value::Null), rest)
}

fn field_exact(map: &serde_json::Map<String, Value>, key: &str) -> Option<Value> {
    map.get(key).or_else(|| field(map, key)).cloned()
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, TemplateError> {
    let out_of_range = || run("slice: index out of range");
    let total = length(value)?;
    let bound = |place: usize, default: usize| match bounds.get(place) {
        Some(bound) => count(bound),
        None => Ok(default),
    };
    let (from, to) = (bound(0, 0)?, bound(1, total)?);
    if from > to || to > total {
        return Err(out_of_range());
    }
    match value {
        Value::String(text) => text.get(from..to).map(Into::into).ok_or_else(out_of_range),
        Value::Array(items) => Ok(items[from..to].to_vec().into()),
        other => Err(run(format!("can't slice item of {}", text::kind(other)))),
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) if a == b => Some(Ordering::Equal),
        _ => None,
    }
}

fn split(value: &Value, separator: &Value) -> Value {
    let (text, separator) = (text::of(value), text::of(separator));
    let parts: Vec<Value> = if separator.is_empty() {
        text.chars().map(|c| c.to_string().into()).collect()
    } else {
        text.split(&separator).map(Into::into).collect()
    };
    parts.into()
}

fn join(items: &Value, separator: &str) -> Result<String, TemplateError> {
    match items {
        Value::Array(items) => Ok(items.iter().map(text::of).collect::<Vec<_>>().join(separator)),
        Value::Null => Ok(String::new()),
        other => Err(run(format!("join of {}", text::kind(other)))),
    }
}

fn title(text: &str) -> String {
    let mut is_inside = false;
    let upper = |c: char| c.to_uppercase().next().unwrap_or(c);
    text.chars()
        .map(|c| {
            let is_first = !std::mem::replace(&mut is_inside, c.is_alphanumeric() || c == '_' || c == '\'');
            if is_first { upper(c) } else { c }
        })
        .collect()
}

fn pad(text: &str, before: usize, after: usize) -> Result<String, TemplateError> {
    if before.saturating_add(after) > MAX_OUTPUT {
        return Err(TemplateError::TooLong);
    }
    Ok(if text.is_empty() {
        String::new()
    } else {
        format!("{}{text}{}", " ".repeat(before), " ".repeat(after))
    })
}

fn count(value: &Value) -> Result<usize, TemplateError> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| run(format!("{} is no count", text::of(value))))
}

fn escape_html(text: &str) -> String {
    let escape = |c: char| match c {
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '&' => "&amp;".to_owned(),
        '"' => "&#34;".to_owned(),
        '\'' => "&#39;".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

fn escape_js(text: &str) -> String {
    let escape = |c: char| match c {
        '\\' | '\'' | '"' => format!("\\{c}"),
        '<' | '>' | '&' | '=' => format!("\\u{:04X}", u32::from(c)),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

fn escape_query(text: &str) -> String {
    let escape = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// The verbs that formats use: `%s %v %q %d %f %t %x %X %c %%`, with flags, width and precision.
fn printf(format: &str, values: &[Value]) -> Result<String, TemplateError> {
    let mut output = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            output.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(&flag) = chars.peek() {
            match flag {
                '-' => spec.is_left = true,
                '0' => spec.is_zero = true,
                '+' => spec.is_signed = true,
                ' ' | '#' => {}
                _ => break,
            }
            chars.next();
        }
        spec.width = digits(&mut chars)?;
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(digits(&mut chars)?.unwrap_or(0));
        }
        match chars.next() {
            Some('%') => output.push('%'),
            Some(verb) => match values.next() {
                Some(value) => output.push_str(&spec.apply(verb, value)),
                None => output.push_str(&format!("%!{verb}(MISSING)")),
            },
            None => output.push_str("%!(NOVERB)"),
        }
    }
    Ok(output)
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>, TemplateError> {
    let mut number = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        let next = number.unwrap_or(0) * 10 + digit as usize;
        if next > MAX_OUTPUT {
            return Err(TemplateError::TooLong);
        }
        number = Some(next);
    }
    Ok(number)
}

#[derive(Default)]
struct Spec {
    is_left: bool,
    is_zero: bool,
    is_signed: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

impl Spec {
    fn apply(&self, verb: char, value: &Value) -> String {
        let text = match (verb, value) {
            ('v', value) => text::of(value),
            ('s', Value::String(text)) => match self.precision {
                Some(precision) => text.chars().take(precision).collect(),
                None => text.clone(),
            },
            ('s', value @ (Value::Array(_) | Value::Object(_))) => text::of(value),
            ('q', Value::String(text)) => format!("{text:?}"),
            ('d', Value::Number(number)) if !number.is_f64() => number.to_string(),
            ('f' | 'F', Value::Number(number)) => {
                format!("{:.*}", self.precision.unwrap_or(6), number.as_f64().unwrap_or_default())
            }
            ('t', Value::Bool(value)) => value.to_string(),
            ('x', Value::Number(number)) => format!("{:x}", number.as_i64().unwrap_or_default()),
            ('X', Value::Number(number)) => format!("{:X}", number.as_i64().unwrap_or_default()),
            ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('c', Value::Number(number)) => {
                let code = number.as_u64().and_then(|code| u32::try_from(code).ok());
                code.and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
            }
            (verb, value) => format!("%!{verb}({})", text::of(value)),
        };
        let is_positive = value.as_f64().is_some_and(|number| number >= 0.0);
        let text = if self.is_signed && is_positive { format!("+{text}") } else { text };
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        match (self.is_left, self.is_zero && value.is_number()) {
            (true, _) => text + &" ".repeat(missing),
            (false, true) => "0".repeat(missing) + &text,
            (false, false) => " ".repeat(missing) + &text,
        }
    }
}
