use super::criu::parse;
use super::wire::fields;

/// A message of criu's.
pub fn criu_message(bytes: &[u8]) {
    let known = parse(bytes).is_some();
    let whole = fields(bytes).all(|field| field.is_some());
    assert!(whole || !known, "cut short and accepted");
}
