use std::fmt;

/// Deeper nesting is refused, in what is read and in what is written; the bus itself allows 32 of each kind.
pub(super) const MAX_DEPTH: usize = 16;

/// A value of D-Bus: the types that properties of units have.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `y`
    Byte(u8),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`
    Double(f64),
    /// `s`
    Str(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `a…`, with the signature of its elements.
    Array(String, Vec<Value>),
    /// `(…)`
    Struct(Vec<Value>),
    /// `v`
    Variant(Box<Value>),
}

impl Value {
    /// The type, as it stands in a message.
    pub fn signature(&self) -> String {
        let mut out = String::new();
        self.write_signature(&mut out);
        out
    }

    pub(super) fn write_signature(&self, out: &mut String) {
        match self {
            Self::Bool(_) => out.push('b'),
            Self::Byte(_) => out.push('y'),
            Self::I16(_) => out.push('n'),
            Self::U16(_) => out.push('q'),
            Self::I32(_) => out.push('i'),
            Self::U32(_) => out.push('u'),
            Self::I64(_) => out.push('x'),
            Self::U64(_) => out.push('t'),
            Self::Double(_) => out.push('d'),
            Self::Str(_) => out.push('s'),
            Self::Path(_) => out.push('o'),
            Self::Signature(_) => out.push('g'),
            Self::Variant(_) => out.push('v'),
            Self::Array(element, _) => {
                out.push('a');
                out.push_str(element);
            }
            Self::Struct(fields) => {
                out.push('(');
                fields.iter().for_each(|field| field.write_signature(out));
                out.push(')');
            }
        }
    }

    /// An array of strings.
    pub fn strings<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Self {
        Self::Array("s".into(), items.into_iter().map(|item| Self::Str(item.into())).collect())
    }

    /// An array of bytes.
    pub(super) fn bytes(bytes: &[u8]) -> Self {
        Self::Array("y".into(), bytes.iter().map(|&byte| Self::Byte(byte)).collect())
    }
}

/// A property of a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    /// As in `MemoryMax`.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl Property {
    pub(super) fn new(name: &str, value: Value) -> Self {
        Self { name: name.to_owned(), value }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?}", self.name, self.value)
    }
}

/// The end of the first complete type of a signature.
pub(super) fn first_type(signature: &str) -> Option<(&str, &str)> {
    let end = type_end(signature.as_bytes(), 0, 0)?;
    Some(signature.split_at(end))
}

fn type_end(signature: &[u8], at: usize, depth: usize) -> Option<usize> {
    if depth > MAX_DEPTH {
        return None;
    }
    match signature.get(at)? {
        b'b' | b'y' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v' | b'h' => {
            Some(at + 1)
        }
        b'a' if signature.get(at + 1) == Some(&b'{') => {
            let key = type_end(signature, at + 2, depth + 1)?;
            let value = type_end(signature, key, depth + 1)?;
            (signature.get(value) == Some(&b'}')).then_some(value + 1)
        }
        b'a' => type_end(signature, at + 1, depth + 1),
        b'(' => {
            let mut next = type_end(signature, at + 1, depth + 1)?;
            while signature.get(next)? != &b')' {
                next = type_end(signature, next, depth + 1)?;
            }
            Some(next + 1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_specification() {
        let device = Value::Struct(vec![Value::Str("/dev/null".into()), Value::Str("rwm".into())]);
        assert_eq!(Value::Array(device.signature(), vec![device]).signature(), "a(ss)");
        assert_eq!(Value::Variant(Box::new(Value::U64(1))).signature(), "v");
        assert_eq!(Value::bytes(&[1]).signature(), "ay");
    }

    #[test]
    fn signatures_are_taken_apart() {
        assert_eq!(first_type("ua(sv)s"), Some(("u", "a(sv)s")));
        assert_eq!(first_type("a(sv)s"), Some(("a(sv)", "s")));
        assert_eq!(first_type("a{sv}s"), Some(("a{sv}", "s")));
        for bad in ["", "a", "(s", "()", "a{s}", "z", &"a".repeat(40), &"(".repeat(1000)] {
            assert_eq!(first_type(bad), None, "{bad}");
        }
    }
}
