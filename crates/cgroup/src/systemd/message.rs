//! Messages of D-Bus: <https://dbus.freedesktop.org/doc/dbus-specification.html>, protocol version 1, little-endian.

use super::value::{MAX_DEPTH, Value, first_type};

/// Messages of more bytes than this are not read. Answers of systemd are shorter than a kilobyte.
pub(super) const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// The part of a message that tells how long it is.
pub(super) const FIXED_BYTES: usize = 16;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A method to call.
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) arguments: &'a [Value],
}

impl Call<'_> {
    pub(super) fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Writer::default();
        let mut signature = String::new();
        for argument in self.arguments {
            argument.write_signature(&mut signature);
            body.value(argument);
        }
        let mut out = Writer::default();
        out.bytes.extend([b'l', CALL, 0, 1]);
        out.u32(body.bytes.len() as u32);
        out.u32(serial);
        let fields = [
            (PATH, Value::Path(self.path.into())),
            (INTERFACE, Value::Str(self.interface.into())),
            (MEMBER, Value::Str(self.member.into())),
            (DESTINATION, Value::Str(self.destination.into())),
            (SIGNATURE, Value::Signature(signature)),
        ];
        out.array("(yv)", |out| {
            for (code, value) in &fields {
                if matches!(value, Value::Signature(text) if text.is_empty()) {
                    continue;
                }
                out.align(8);
                out.bytes.push(*code);
                out.variant(value);
            }
        });
        out.align(8);
        out.bytes.extend(body.bytes);
        out.bytes
    }
}

/// What came from the other side.
#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    Return {
        serial: u32,
        body: Vec<Value>,
    },
    Error {
        serial: u32,
        name: String,
        text: String,
    },
    Signal {
        interface: String,
        member: String,
        body: Vec<Value>,
    },
    /// A call to us, or a kind of message from the future.
    Other,
}

/// How long a message is, from its first bytes; `None` if it cannot be one.
pub(super) fn message_bytes(fixed: &[u8; FIXED_BYTES]) -> Option<usize> {
    let word =
        |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]) as usize;
    if fixed[0] != b'l' || fixed[3] != 1 {
        return None;
    }
    let header = FIXED_BYTES.checked_add(word(12))?.checked_next_multiple_of(8)?;
    header.checked_add(word(4)).filter(|&bytes| bytes <= MAX_MESSAGE_BYTES)
}

/// Reads a whole message; `None` if it is malformed.
pub(super) fn decode(message: &[u8]) -> Option<Incoming> {
    let fixed = message.first_chunk::<FIXED_BYTES>()?;
    if message_bytes(fixed)? != message.len() {
        return None;
    }
    let body_bytes = u32::from_le_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]) as usize;
    let (header, body) = message.split_at(message.len().checked_sub(body_bytes)?);
    let mut header = Reader { bytes: header, at: FIXED_BYTES - 4 };
    let Value::Array(_, fields) = header.value("a(yv)", 0)? else { return None };
    let (mut reply, mut interface, mut member, mut error, mut signature) =
        (None, String::new(), String::new(), String::new(), String::new());
    for field in fields {
        let Value::Struct(pair) = field else { return None };
        let mut pair = pair.into_iter();
        let (Value::Byte(code), Value::Variant(value)) = (pair.next()?, pair.next()?) else { return None };
        match (code, *value) {
            (REPLY_SERIAL, Value::U32(serial)) => reply = Some(serial),
            (INTERFACE, Value::Str(text)) => interface = text,
            (MEMBER, Value::Str(text)) => member = text,
            (ERROR_NAME, Value::Str(text)) => error = text,
            (SIGNATURE, Value::Signature(text)) => signature = text,
            (REPLY_SERIAL | INTERFACE | MEMBER | ERROR_NAME | SIGNATURE, _) => return None,
            _ => {}
        }
    }
    if !matches!(fixed[1], RETURN | ERROR | SIGNAL) {
        return Some(Incoming::Other);
    }
    let mut reader = Reader { bytes: body, at: 0 };
    let mut body = Vec::new();
    let mut rest = signature.as_str();
    while !rest.is_empty() {
        let (first, others) = first_type(rest)?;
        body.push(reader.value(first, 0)?);
        rest = others;
    }
    Some(match fixed[1] {
        RETURN => Incoming::Return { serial: reply?, body },
        ERROR => {
            let text = match body.into_iter().next() {
                Some(Value::Str(text)) => text,
                _ => String::new(),
            };
            Incoming::Error { serial: reply?, name: error, text }
        }
        _ => Incoming::Signal { interface, member, body },
    })
}

/// Bytes, aligned as the wire wants them.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(text.len() as u8);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn variant(&mut self, value: &Value) {
        self.signature(&value.signature());
        self.value(value);
    }

    fn array(&mut self, element: &str, fill: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length_at = self.bytes.len() - 4;
        self.align(alignment(element));
        let start = self.bytes.len();
        fill(self);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => self.u32((*value).into()),
            Value::Byte(value) => self.bytes.push(*value),
            Value::I16(value) => self.number(&value.to_le_bytes()),
            Value::U16(value) => self.number(&value.to_le_bytes()),
            Value::I32(value) => self.number(&value.to_le_bytes()),
            Value::U32(value) => self.number(&value.to_le_bytes()),
            Value::I64(value) => self.number(&value.to_le_bytes()),
            Value::U64(value) => self.number(&value.to_le_bytes()),
            Value::Double(value) => self.number(&value.to_le_bytes()),
            Value::Str(text) | Value::Path(text) => self.string(text),
            Value::Signature(text) => self.signature(text),
            Value::Array(element, items) => {
                self.array(element, |out| items.iter().for_each(|item| out.value(item)));
            }
            Value::Struct(fields) => {
                self.align(8);
                fields.iter().for_each(|field| self.value(field));
            }
            Value::Variant(value) => self.variant(value),
        }
    }

    fn number(&mut self, bytes: &[u8]) {
        self.align(bytes.len());
        self.bytes.extend(bytes);
    }
}

fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 4,
    }
}

/// Bytes of somebody else: every length is checked before it is used.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.checked_next_multiple_of(to)?;
        (self.at <= self.bytes.len()).then_some(())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.align(N)?;
        self.take(N)?.first_chunk().copied()
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let text = str::from_utf8(self.take(length)?).ok()?.to_owned();
        (self.take(1)? == [0]).then_some(text)
    }

    fn string(&mut self) -> Option<String> {
        let length = u32::from_le_bytes(self.number()?) as usize;
        self.text(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = self.take(1)?[0];
        self.text(length.into())
    }

    /// Reads one value of a complete type. Dictionaries come as arrays of pairs.
    fn value(&mut self, signature: &str, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        Some(match signature.as_bytes().first()? {
            b'b' => match u32::from_le_bytes(self.number()?) {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return None,
            },
            b'y' => Value::Byte(self.take(1)?[0]),
            b'n' => Value::I16(i16::from_le_bytes(self.number()?)),
            b'q' => Value::U16(u16::from_le_bytes(self.number()?)),
            b'i' => Value::I32(i32::from_le_bytes(self.number()?)),
            b'u' | b'h' => Value::U32(u32::from_le_bytes(self.number()?)),
            b'x' => Value::I64(i64::from_le_bytes(self.number()?)),
            b't' => Value::U64(u64::from_le_bytes(self.number()?)),
            b'd' => Value::Double(f64::from_le_bytes(self.number()?)),
            b's' => Value::Str(self.string()?),
            b'o' => Value::Path(self.string()?),
            b'g' => Value::Signature(self.signature()?),
            b'v' => {
                let inner = self.signature()?;
                let (first, rest) = first_type(&inner)?;
                if !rest.is_empty() {
                    return None;
                }
                Value::Variant(Box::new(self.value(first, depth + 1)?))
            }
            b'a' => self.array(&signature[1..], depth)?,
            b'(' | b'{' => {
                self.align(8)?;
                let mut rest = &signature[1..signature.len() - 1];
                let mut fields = Vec::new();
                while !rest.is_empty() {
                    let (first, others) = first_type(rest)?;
                    fields.push(self.value(first, depth + 1)?);
                    rest = others;
                }
                Value::Struct(fields)
            }
            _ => return None,
        })
    }

    fn array(&mut self, element: &str, depth: usize) -> Option<Value> {
        let length = u32::from_le_bytes(self.number()?) as usize;
        self.align(alignment(element))?;
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len())?;
        let mut items = Vec::new();
        // Every element takes at least a byte, so the message's length bounds their number.
        while self.at < end {
            items.push(self.value(element, depth + 1)?);
        }
        (self.at == end).then(|| Value::Array(element.to_owned(), items))
    }
}

#[cfg(test)]
pub(super) mod tests;
