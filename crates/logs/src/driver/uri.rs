//! From a driver's options to the text of its URI.

use std::path::Path;

use super::Driver;

impl Driver {
    /// Writes a URI: a scheme, the path of the file for drivers that have one, and options. It is not looked at whether the
    /// driver has them; parsing does that.
    pub fn uri<'a>(
        scheme: &str,
        path: Option<&Path>,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> String {
        let mut uri = format!("{scheme}://");
        for byte in path.map_or(&[][..], |path| path.as_os_str().as_encoded_bytes()) {
            push(&mut uri, *byte, b"/");
        }
        for (number, (name, value)) in options.into_iter().enumerate() {
            uri.push(if number == 0 { '?' } else { '&' });
            name.bytes().for_each(|byte| push(&mut uri, byte, b""));
            uri.push('=');
            value.bytes().for_each(|byte| push(&mut uri, byte, b""));
        }
        uri
    }
}

/// RFC 3986, 2.3: what is not unreserved is encoded.
fn push(uri: &mut String, byte: u8, also: &[u8]) {
    if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also.contains(&byte) {
        uri.push(char::from(byte));
    } else {
        uri.push_str(&format!("%{byte:02X}"));
    }
}
