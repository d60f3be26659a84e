//! The protocol buffers of criu's messages: <https://protobuf.dev/programming-guides/encoding/>.

/// A message that is being written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

const VARINT: u64 = 0;
const BYTES: u64 = 2;

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number, a truth value or an enum's value. Negative ones are extended to 64 bits.
    pub(super) fn number(&mut self, field: u32, value: i64) -> &mut Self {
        self.varint(u64::from(field) << 3 | VARINT);
        self.varint(value as u64);
        self
    }

    /// A truth value; false is what absence means.
    pub(super) fn switch(&mut self, field: u32, value: bool) -> &mut Self {
        if value { self.number(field, 1) } else { self }
    }

    pub(super) fn text(&mut self, field: u32, value: &str) -> &mut Self {
        self.bytes(field, value.as_bytes())
    }

    pub(super) fn message(&mut self, field: u32, value: &Message) -> &mut Self {
        self.bytes(field, &value.0)
    }

    fn bytes(&mut self, field: u32, value: &[u8]) -> &mut Self {
        self.varint(u64::from(field) << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// The encoded message.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A field's value as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message in their order; an error ends them with `None` for the field.
pub(super) fn fields(message: &[u8]) -> impl Iterator<Item = Option<(u32, Value<'_>)>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = take_field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field)
    })
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Value<'a>)> {
    let key = take_varint(rest)?;
    let field = u32::try_from(key >> 3).ok()?;
    let mut take = |len: usize| {
        let (value, after) = rest.split_at_checked(len)?;
        *rest = after;
        Some(Value::Bytes(value))
    };
    let value = match key & 7 {
        VARINT => Value::Number(take_varint(rest)?),
        1 => take(8)?,
        BYTES => {
            let len = usize::try_from(take_varint(rest)?).ok()?;
            let (value, after) = rest.split_at_checked(len)?;
            *rest = after;
            Value::Bytes(value)
        }
        5 => take(4)?,
        _ => return None,
    };
    Some((field, value))
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_encoded_as_the_specification_has_them() {
        let mut message = Message::default();
        message.number(1, 150).text(2, "testing").switch(3, false).number(4, -1);
        let expect = b"\x08\x96\x01\x12\x07testing\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(message.as_bytes(), expect);
        let mut outer = Message::default();
        outer.message(16, &message);
        let fields: Vec<_> = fields(outer.as_bytes()).collect();
        assert_eq!(fields, [Some((16, Value::Bytes(expect)))]);
    }

    #[test]
    fn what_is_cut_short_is_an_error_and_the_end() {
        for cut in [&b"\x08"[..], b"\x12\x05abc", b"\x0b", b"\xff", b"\x0d\x01", &[0xff; 12]] {
            assert_eq!(fields(cut).collect::<Vec<_>>(), [None], "{cut:?}");
        }
        assert_eq!(fields(b"").next(), None);
        let fixed: Vec<_> = fields(b"\x0d\x01\x02\x03\x04\x10\x05").collect();
        assert_eq!(fixed, [Some((1, Value::Bytes(&[1, 2, 3, 4]))), Some((2, Value::Number(5)))]);
    }
}
