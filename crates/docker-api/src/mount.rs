//! Mounts in the long form, as `--mount` takes them: `type=bind,source=/a,target=/b,readonly`.

use crate::bind::PROPAGATIONS;
use crate::container::{BindOptions, DriverConfig, Mount, TmpfsOptions};
use crate::error::Invalid;
use crate::limits::MAX_MOUNT;
use crate::{name, size};

/// Reads the long form: one line of comma-separated values, with quotes where a value has a comma.
///
/// # Errors
/// An unknown field or value, a field of another type, no target.
pub fn parse(text: &str) -> Result<Mount, Invalid> {
    if text.len() > MAX_MOUNT {
        return Err(Invalid::MountTooLong(text.len()));
    }
    let invalid = |reason: String| Invalid::Mount { text: name::excerpt(text), reason };
    let mut mount = Mount { kind: "volume".into(), ..Mount::default() };
    let fields = fields(text).ok_or_else(|| invalid("quotes that do not match".into()))?;
    for field in fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.trim().to_ascii_lowercase(), Some(value)),
            None => (field.trim().to_ascii_lowercase(), None),
        };
        set(&mut mount, &key, value, &field).map_err(invalid)?;
    }
    check(&mount).map_err(invalid)?;
    Ok(mount)
}

fn set(mount: &mut Mount, key: &str, value: Option<&str>, field: &str) -> Result<(), String> {
    match (key, value) {
        ("readonly" | "ro", value) => mount.read_only = boolean(key, value)?,
        ("volume-nocopy", value) => {
            mount.volume_options.get_or_insert_default().no_copy = boolean(key, value)?
        }
        ("bind-nonrecursive", value) => bind(mount).non_recursive = boolean(key, value)?,
        (_, None) => return Err(format!("invalid field '{field}' must be a key=value pair")),
        ("type", Some(value)) => mount.kind = value.to_ascii_lowercase(),
        ("source" | "src", Some(value)) => mount.source = value.to_owned(),
        ("target" | "dst" | "destination", Some(value)) => mount.target = value.to_owned(),
        ("consistency", Some(value)) => mount.consistency = value.to_ascii_lowercase(),
        ("bind-propagation", Some(value)) => bind(mount).propagation = value.to_ascii_lowercase(),
        ("bind-recursive", Some(value)) => set_recursive(bind(mount), value)?,
        ("bind-create-src", value) => bind(mount).create_mountpoint = boolean(key, value)?,
        (_, Some(value)) => return set_of_type(mount, key, value, field),
    }
    Ok(())
}

fn set_of_type(mount: &mut Mount, key: &str, value: &str, field: &str) -> Result<(), String> {
    let pair =
        || value.split_once('=').map_or((value.to_owned(), String::new()), |(k, v)| (k.into(), v.into()));
    match key {
        "volume-subpath" => mount.volume_options.get_or_insert_default().subpath = value.to_owned(),
        "volume-label" => {
            let (key, value) = pair();
            mount.volume_options.get_or_insert_default().labels.insert(key, value);
        }
        "volume-driver" => driver(mount).name = value.to_owned(),
        "volume-opt" => {
            let (key, value) = pair();
            driver(mount).options.insert(key, value);
        }
        "image-subpath" => mount.image_options.get_or_insert_default().subpath = value.to_owned(),
        "tmpfs-size" => {
            tmpfs(mount).size_bytes =
                size::parse_binary(value).map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        "tmpfs-mode" => {
            tmpfs(mount).mode = u32::from_str_radix(value, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)
                .ok_or_else(|| format!("invalid value for {key}: {value}"))?;
        }
        "tmpfs-opt" => {
            let option = value.splitn(2, '=').map(str::to_owned).collect();
            tmpfs(mount).options.push(option);
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn set_recursive(options: &mut BindOptions, value: &str) -> Result<(), String> {
    match value {
        "enabled" => {}
        "disabled" => options.non_recursive = true,
        "writable" => options.read_only_non_recursive = true,
        "readonly" => options.read_only_force_recursive = true,
        _ => {
            return Err(format!(
                "invalid value for bind-recursive: {value}: enabled, disabled, writable or readonly"
            ));
        }
    }
    Ok(())
}

fn check(mount: &Mount) -> Result<(), String> {
    let kind = mount.kind.as_str();
    if kind.is_empty() {
        return Err("type is required".into());
    }
    if !matches!(kind, "bind" | "volume" | "tmpfs" | "image" | "cluster" | "npipe") {
        return Err(format!("mount type unknown: {kind}"));
    }
    if mount.target.is_empty() {
        return Err("target is required".into());
    }
    let of_others = [
        (mount.bind_options.is_some() && kind != "bind", "bind-*"),
        (mount.volume_options.is_some() && kind != "volume", "volume-*"),
        (mount.image_options.is_some() && kind != "image", "image-*"),
        (mount.tmpfs_options.is_some() && kind != "tmpfs", "tmpfs-*"),
    ];
    if let Some((_, options)) = of_others.iter().find(|(is_wrong, _)| *is_wrong) {
        return Err(format!("cannot mix '{options}' options with mount type '{kind}'"));
    }
    let propagation = mount.bind_options.as_ref().map_or("", |options| options.propagation.as_str());
    if !propagation.is_empty() && !PROPAGATIONS.contains(&propagation) {
        return Err(format!("invalid propagation: {propagation}"));
    }
    let is_forced = mount.bind_options.as_ref().is_some_and(|options| options.read_only_force_recursive);
    if is_forced && !(mount.read_only && propagation == "rprivate") {
        return Err(
            "option 'bind-recursive=readonly' requires 'readonly' and 'bind-propagation=rprivate'".into()
        );
    }
    Ok(())
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_default()
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_default()
}

fn driver(mount: &mut Mount) -> &mut DriverConfig {
    mount.volume_options.get_or_insert_default().driver_config.get_or_insert_default()
}

fn boolean(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("1" | "true" | "True" | "TRUE" | "t" | "T") => Ok(true),
        Some("0" | "false" | "False" | "FALSE" | "f" | "F") => Ok(false),
        Some(value) => Err(format!("invalid value for {key}: {value}")),
    }
}

/// The fields of a line of comma-separated values; none if quotes do not match.
#[must_use]
pub fn fields(text: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut chars = text.chars().peekable();
    let mut is_quoted = false;
    while let Some(c) = chars.next() {
        let field = fields.last_mut().expect("there is a first field");
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if is_quoted => {
                is_quoted = false;
                // After a quoted field there is a comma or the end.
                if !matches!(chars.peek(), None | Some(',')) {
                    return None;
                }
            }
            '"' if field.is_empty() => is_quoted = true,
            '"' => return None,
            ',' if !is_quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    (!is_quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_form_is_read() {
        let mount = parse("type=bind,source=/a,target=/b,readonly,bind-propagation=rslave").unwrap();
        assert_eq!((mount.kind.as_str(), mount.source.as_str(), mount.target.as_str()), ("bind", "/a", "/b"));
        assert!(mount.read_only);
        let mount =
            parse(r#"dst=/b,src=v,"volume-opt=o=uid=1,gid=2",volume-driver=local,volume-nocopy=true"#)
                .unwrap();
        let options = mount.volume_options.unwrap();
        assert!(options.no_copy);
        assert_eq!(options.driver_config.unwrap().options["o"], "uid=1,gid=2");
        let mount = parse("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap();
        let options = mount.tmpfs_options.unwrap();
        assert_eq!((options.size_bytes, options.mode), (1 << 20, 0o1770));
    }

    #[test]
    fn what_is_no_mount_is_refused() {
        for text in [
            "",
            "type=bind",
            "target=",
            "type=odd,target=/a",
            "type=bind,target=/a,volume-nocopy",
            "target=/a,x=y",
            "target=/a,readonly=maybe",
            "type=tmpfs,target=/a,tmpfs-mode=9",
            "type=tmpfs,target=/a,tmpfs-size=x",
            "type=bind,target=/a,bind-propagation=up",
            "\"target=/a",
            "target=/a,\"x\"y",
            "target",
            "type=bind,target=/a,bind-recursive=readonly",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(matches!(parse(&"a".repeat(MAX_MOUNT + 1)), Err(Invalid::MountTooLong(_))));
    }
}
