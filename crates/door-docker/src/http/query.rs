//! What stands behind the question mark, and what a path is made of.

use std::borrow::Cow;

use crate::failure::Failure;

/// The most parameters.
const MAX_PARAMETERS: usize = 1024;

/// Parameters, in the order of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// 400 for what is no UTF-8 behind its percent signs, and for too many.
    pub(crate) fn parse(query: &str) -> Result<Self, Failure> {
        let mut all = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if all.len() == MAX_PARAMETERS {
                return Err(Failure::invalid(format!("more than {MAX_PARAMETERS} parameters")));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            all.push((decode(name, Plus::IsSpace)?.into_owned(), decode(value, Plus::IsSpace)?.into_owned()));
        }
        Ok(Self(all))
    }

    /// The first value of a parameter; None where it is not given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The same, or an empty one.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is given and says no no.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(is_true)
    }

    /// The same for a parameter that has another default.
    pub(crate) fn is_set_or(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, is_true)
    }

    /// A number; None for an empty one or none.
    ///
    /// # Errors
    /// 400 in the words of Go's parser.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let text = text.strip_prefix('+').unwrap_or(text);
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => {
                let is_number =
                    text.strip_prefix('-').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit());
                let reason = if is_number { "value out of range" } else { "invalid syntax" };
                Err(Failure::invalid(format!("strconv.Atoi: parsing {text:?}: {reason}")))
            }
        }
    }
}

fn is_true(value: &str) -> bool {
    !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

/// What a plus sign is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plus {
    /// A plus sign, as in paths.
    IsPlus,
    /// A space, as in queries.
    IsSpace,
}

/// Replaces `%2f` and its like by what they stand for.
///
/// # Errors
/// 400 for percent signs without two digits, for zero bytes, and for what is no UTF-8.
pub(crate) fn decode(text: &str, plus: Plus) -> Result<Cow<'_, str>, Failure> {
    let is_plain =
        !text.bytes().any(|byte| matches!(byte, b'%' | 0) || byte == b'+' && plus == Plus::IsSpace);
    if is_plain {
        return Ok(Cow::Borrowed(text));
    }
    let invalid = || Failure::invalid(format!("invalid URL escape in {text:?}"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        match (first, behind) {
            (b'%', &[high, low, ref behind @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(invalid);
                let byte = digit(high)? << 4 | digit(low)?;
                bytes.push(u8::try_from(byte).map_err(|_| invalid())?);
                rest = behind;
            }
            (b'%', _) => return Err(invalid()),
            (b'+', _) if plus == Plus::IsSpace => bytes.push(b' '),
            (byte, _) => bytes.push(byte),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(Cow::Owned(text)),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_forms() {
        let query = Query::parse("a=1&b=x%20y+z&&c&a=2&d=%7B%22k%22%3A%5B%5D%7D").unwrap();
        assert_eq!(
            (query.get("a"), query.get("b"), query.get("c"), query.get("e")),
            (Some("1"), Some("x y z"), Some(""), None)
        );
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.text("d"), r#"{"k":[]}"#);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for text in ["a=%", "a=%2", "a=%zz", "a=%ff", "%c3=", "a=%00"] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
        assert!(Query::parse(&"a&".repeat(MAX_PARAMETERS + 1)).is_err());
        assert_eq!(decode("a+%2B", Plus::IsPlus).unwrap(), "a++");
    }

    #[test]
    fn words_for_yes_are_dockers() {
        for (text, is_set) in [
            ("a=1", true),
            ("a=true", true),
            ("a=x", true),
            ("a=0", false),
            ("a=False", false),
            ("a=none", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(Query::parse(text).unwrap().is_set("a"), is_set, "{text}");
        }
        assert!(Query::default().is_set_or("a", true));
    }

    #[test]
    fn numbers_are_numbers_or_errors() {
        let number =
            |text: &str| Query::parse(text).unwrap().number::<i32>("a").map_err(|failure| failure.message);
        assert_eq!(number("a=5"), Ok(Some(5)));
        assert_eq!(number("a=-5"), Ok(Some(-5)));
        assert_eq!(number("a="), Ok(None));
        assert!(number("a=x").unwrap_err().ends_with("invalid syntax"));
        assert!(number("a=99999999999").unwrap_err().ends_with("out of range"));
    }
}
