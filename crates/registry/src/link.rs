//! The `Link` header (RFC 8288), as far as lists that come in pages need it.

/// The longest header that is read, in bytes.
const MAX_BYTES: usize = 16 << 10;

/// The target of the first link with `rel=next`.
pub(crate) fn next(header: &str) -> Option<&str> {
    let mut rest = header.get(..MAX_BYTES).unwrap_or(header);
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (target, after) = rest.strip_prefix('<')?.split_once('>')?;
        let (is_next, after) = parameters(after)?;
        if is_next {
            return Some(target);
        }
        rest = after;
    }
}

/// Whether the parameters of a link say `rel=next`, and what follows them.
fn parameters(text: &str) -> Option<(bool, &str)> {
    let mut rest = text;
    let mut is_next = false;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let Some(after) = rest.strip_prefix(';') else { return Some((is_next, rest)) };
        let after = after.trim_start_matches([' ', '\t']);
        let end = after.find(['=', ';', ',']).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let (value, after) = match after.strip_prefix('=') {
            None => ("", after),
            Some(after) => match after.trim_start_matches([' ', '\t']).strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_at(after.find([';', ',']).unwrap_or(after.len())),
            },
        };
        let is_rel = name.trim().eq_ignore_ascii_case("rel");
        is_next |= is_rel && value.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("next"));
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found() {
        let check = |header: &str, expect: Option<&str>| assert_eq!(next(header), expect, "{header}");
        check(r#"</v2/_catalog?last=b&n=2>; rel="next""#, Some("/v2/_catalog?last=b&n=2"));
        check("<x>; rel=next", Some("x"));
        check(r#"<a>; rel="prev", <b,c>; title="x;y,z"; REL="last next""#, Some("b,c"));
        check(r#"<a>; rel="prev""#, None);
        check("<a>", None);
        check("", None);
        check("a; rel=next", None);
        check("<a", None);
        check(r#"<a>; rel="next"#, None);
    }
}
