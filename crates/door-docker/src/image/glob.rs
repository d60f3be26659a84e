//! Patterns of the filter `reference`: Go's `path.Match`.

/// The most steps of a match: a pattern of many stars would take long.
const MAX_STEPS: usize = 100_000;

/// Whether a name, or its repository, is what a pattern means.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let repository = || {
        let name = name.split('@').next().unwrap_or(name);
        let start = name.rfind('/').map_or(0, |slash| slash + 1);
        name[start..].find(':').map_or(name, |colon| &name[..start + colon])
    };
    glob(pattern, name) || glob(pattern, repository())
}

/// `*` and `?` stand for anything but a slash, `[a-c]` and `[^a-c]` for one of some characters; a backslash takes the meaning away.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last star.
    let mut again: Option<(usize, usize)> = None;
    for _ in 0..MAX_STEPS {
        if p == pattern.len() && t == text.len() {
            return true;
        }
        if pattern.get(p) == Some(&'*') {
            again = Some((p + 1, t));
            p += 1;
            continue;
        }
        if let (Some(c), Some(next)) = (text.get(t), one(&pattern, p, text.get(t).copied())) {
            let _ = c;
            (p, t) = (next, t + 1);
            continue;
        }
        match again {
            Some((star, taken)) if text.get(taken).is_some_and(|c| *c != '/') => {
                again = Some((star, taken + 1));
                (p, t) = (star, taken + 1);
            }
            _ => return false,
        }
    }
    false
}

/// Where the pattern goes on if what stands at `p` means `c`.
fn one(pattern: &[char], p: usize, c: Option<char>) -> Option<usize> {
    let c = c?;
    match *pattern.get(p)? {
        '?' => (c != '/').then_some(p + 1),
        '\\' => (*pattern.get(p + 1)? == c).then_some(p + 2),
        '[' => {
            let mut at = p + 1;
            let negated = pattern.get(at) == Some(&'^');
            at += usize::from(negated);
            let (mut found, first) = (false, at);
            while *pattern.get(at)? != ']' || at == first {
                let low = *pattern.get(at)?;
                let mut high = low;
                if pattern.get(at + 1) == Some(&'-') && pattern.get(at + 2).is_some_and(|end| *end != ']') {
                    high = pattern[at + 2];
                    at += 2;
                }
                found |= (low..=high).contains(&c);
                at += 1;
            }
            (found != negated && c != '/').then_some(at + 1)
        }
        plain => (plain == c).then_some(p + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_names_or_repositories() {
        for (pattern, name, expect) in [
            ("bb", "bb:1", true),
            ("bb:1", "bb:1", true),
            ("bb:2", "bb:1", false),
            ("b*", "bb:1", true),
            ("*", "r.example:5000/a/b:1", false),
            ("*/*/*", "r.example:5000/a/b:1", true),
            ("r.example:5000/a/b", "r.example:5000/a/b:1", true),
            ("*:1", "bb:1", true),
            ("b?:[0-2]", "bb:1", true),
            ("b?:[^0-2]", "bb:1", false),
            ("b\\*", "bb", false),
            ("[", "bb", false),
            ("", "bb", false),
        ] {
            assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        }
        let stars = "*a".repeat(200);
        assert!(!matches(&stars, &"a".repeat(150)));
    }
}
