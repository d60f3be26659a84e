use crate::error::PathError;

/// The longest name of a unit: `UNIT_NAME_MAX` of systemd.
const MAX_UNIT_BYTES: usize = 255;

const DEFAULT_PREFIX: &str = "gantry";

/// A transient scope, and the slice that it is in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unit {
    /// The scope, as in `docker-1234.scope`.
    pub name: String,
    /// The slice, as in `system.slice`.
    pub slice: String,
    /// What the scope is for, as it stands in its description.
    pub container: String,
}

impl Unit {
    /// Reads `slice:prefix:name`; an empty path is a scope of the runtime in the default slice.
    pub(crate) fn parse(path: &str, id: &str, user: bool) -> Result<Self, PathError> {
        let default_slice = if user { "user.slice" } else { "system.slice" };
        let mut parts = path.split(':');
        let (slice, prefix, name) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(""), None, ..) => (default_slice, DEFAULT_PREFIX, id),
            (Some(""), Some(prefix), Some(name), None) => (default_slice, prefix, name),
            (Some(slice), Some(prefix), Some(name), None) => (slice, prefix, name),
            _ => return Err(PathError::NotSystemd(path.chars().take(MAX_UNIT_BYTES).collect())),
        };
        expand_slice(slice)?;
        let unit =
            Self { name: format!("{prefix}-{name}.scope"), slice: slice.into(), container: name.into() };
        if name.is_empty() || !is_unit_name(&unit.name) || name.ends_with(".slice") {
            return Err(PathError::Unit(unit.name.chars().take(MAX_UNIT_BYTES).collect()));
        }
        Ok(unit)
    }

    /// The cgroup, relative to that of the manager.
    pub(crate) fn cgroup(&self) -> String {
        let slice = expand_slice(&self.slice).expect("checked by parse");
        if slice.is_empty() { self.name.clone() } else { format!("{slice}/{}", self.name) }
    }
}

/// The cgroup of a slice: `a-b.slice` is at `a.slice/a-b.slice`, and `-.slice` at the root.
fn expand_slice(slice: &str) -> Result<String, PathError> {
    let invalid = || PathError::Slice(slice.chars().take(MAX_UNIT_BYTES).collect());
    let name = slice.strip_suffix(".slice").filter(|_| is_unit_name(slice)).ok_or_else(invalid)?;
    if name == "-" {
        return Ok(String::new());
    }
    let mut path = String::with_capacity(slice.len() * 2);
    let mut prefix = String::with_capacity(slice.len());
    for component in name.split('-') {
        if component.is_empty() {
            return Err(invalid());
        }
        if !prefix.is_empty() {
            path.push('/');
            prefix.push('-');
        }
        prefix.push_str(component);
        path.push_str(&prefix);
        path.push_str(".slice");
    }
    Ok(path)
}

/// The grammar of systemd.unit(5): a name that is none would be read by systemd as a path or refused.
fn is_unit_name(name: &str) -> bool {
    let fits =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@');
    name.len() <= MAX_UNIT_BYTES && !name.starts_with('.') && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_expand_to_their_parents() {
        for (slice, path) in [
            ("system.slice", "system.slice"),
            ("a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice"),
            ("-.slice", ""),
        ] {
            assert_eq!(expand_slice(slice).unwrap(), path);
        }
        for bad in
            [".slice", "a", "a.scope", "-a.slice", "a--b.slice", "a-.slice", "a/b.slice", "../x.slice", ""]
        {
            assert!(expand_slice(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn units_are_read_as_runc_reads_them() {
        let unit = |path| Unit::parse(path, "id", false).map(|unit| (unit.slice, unit.name)).unwrap();
        assert_eq!(unit(""), ("system.slice".into(), "gantry-id.scope".into()));
        assert_eq!(unit(":libpod:x"), ("system.slice".into(), "libpod-x.scope".into()));
        assert_eq!(unit("machine.slice:libpod:x"), ("machine.slice".into(), "libpod-x.scope".into()));
        assert_eq!(Unit::parse("", "id", true).unwrap().slice, "user.slice");
    }

    #[test]
    fn paths_and_odd_names_are_refused() {
        for bad in [
            "/a/b",
            "a:b",
            "a.slice:b:c:d",
            "a.slice:b:",
            "a.slice:b:../c",
            "a.slice:b:c/d",
            "a.slice:b:x.slice",
        ] {
            assert!(Unit::parse(bad, "id", false).is_err(), "{bad}");
        }
        assert!(Unit::parse(&format!("a.slice:b:{}", "n".repeat(250)), "id", false).is_err());
    }
}
