//! `WWW-Authenticate` (RFC 9110, 11.6.1), as registries write it.

use http::{HeaderMap, header};

/// The longest header that is read, in bytes.
const MAX_BYTES: usize = 16 << 10;
/// The most challenges, and the most parameters of one.
const MAX_PARTS: usize = 32;

/// One way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// In lower case.
    pub(crate) scheme: String,
    /// Names in lower case, in order.
    pub(crate) parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The first parameter of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// All challenges of an answer.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(header::WWW_AUTHENTICATE).iter().take(MAX_PARTS);
    values.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok()).flat_map(parse).collect()
}

/// The challenges of one header. What cannot be read ends it; what was read before counts.
pub(crate) fn parse(text: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    if text.len() > MAX_BYTES {
        return found;
    }
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() || found.len() > MAX_PARTS {
            return found;
        }
        let spaced = after.trim_start_matches([' ', '\t']);
        let value = spaced.strip_prefix('=').map(|after| after.trim_start_matches([' ', '\t']));
        match (value, found.last_mut()) {
            // `word = value`: a parameter of the scheme before it.
            (Some(after), Some(challenge)) if challenge.parameters.len() < MAX_PARTS => {
                let Some((value, after)) = parameter(after) else { return found };
                challenge.parameters.push((word.to_ascii_lowercase(), value));
                rest = after;
            }
            (Some(_), _) => return found,
            // A word alone: a scheme.
            (None, _) => {
                found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
                rest = token68(after);
            }
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn token(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
    text.split_at(end)
}

/// A value in quotes, or without; some registries write addresses without.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return Some((value.to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// Skips what may follow a scheme instead of parameters, as in `Negotiate abcd==`.
fn token68(text: &str) -> &str {
    let spaced = text.trim_start_matches([' ', '\t']);
    let end = spaced.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte)));
    let (word, after) = spaced.split_at(end.unwrap_or(spaced.len()));
    let padded = after.trim_start_matches('=');
    let ended = padded.is_empty() || padded.starts_with([',', ' ', '\t']);
    let is_parameter = padded.len() == after.len() && after.trim_start().starts_with('=');
    // A word that a space follows could be the name of a parameter with spaces around its `=`, or the next scheme.
    let is_last = padded.trim_start().is_empty() || padded.trim_start().starts_with(',');
    if !word.is_empty() && ended && is_last && !is_parameter { padded } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_within_bounds(text in "([ ,=\\\\\"a-cB]|realm=\"|é){0,60}") {
            for challenge in parse(&text) {
                prop_assert!(!challenge.scheme.is_empty());
                prop_assert!(challenge.parameters.iter().all(|(name, value)| !name.is_empty() && value.len() <= text.len()));
            }
        }
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let check = |text: &str, expect: &[(&str, &[(&str, &str)])]| {
            let found = parse(text);
            let found: Vec<_> = found
                .iter()
                .map(|c| {
                    let parameters: Vec<_> =
                        c.parameters.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                    (c.scheme.as_str(), parameters)
                })
                .collect();
            let expect: Vec<_> =
                expect.iter().map(|(scheme, parameters)| (*scheme, parameters.to_vec())).collect();
            assert_eq!(found, expect, "{text}");
        };
        check(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            &[(
                "bearer",
                &[
                    ("realm", "https://auth.docker.io/token"),
                    ("service", "registry.docker.io"),
                    ("scope", "repository:a/b:pull,push"),
                ],
            )],
        );
        check(r#"BASIC Realm="a \"b\" \\ c""#, &[("basic", &[("realm", r#"a "b" \ c"#)])]);
        check("Basic", &[("basic", &[])]);
        check(
            r#"Negotiate, Basic realm=x , Bearer realm = "y", service=z"#,
            &[
                ("negotiate", &[]),
                ("basic", &[("realm", "x")]),
                ("bearer", &[("realm", "y"), ("service", "z")]),
            ],
        );
        check(r#"Negotiate abcd==, Basic realm="x""#, &[("negotiate", &[]), ("basic", &[("realm", "x")])]);
        check(
            "Bearer realm=https://a/b?c=d,service=e",
            &[("bearer", &[("realm", "https://a/b?c=d"), ("service", "e")])],
        );
        check(r#"Bearer realm="unended"#, &[("bearer", &[])]);
        check(r#"realm="x""#, &[]);
        check("", &[]);
        check(",, ,", &[]);
        check("Bearer error=\"insufficient_scope\"", &[("bearer", &[("error", "insufficient_scope")])]);
    }

    #[test]
    fn endless_headers_are_bounded() {
        assert!(parse(&"a ".repeat(MAX_BYTES)).is_empty());
        assert!(parse(&"a, ".repeat(1000)).len() <= MAX_PARTS + 1);
        assert!(parse(&format!("a {}", "b=c,".repeat(1000)))[0].parameters.len() <= MAX_PARTS);
    }
}
