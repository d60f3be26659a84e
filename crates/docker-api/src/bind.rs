//! Mounts in the short form, as `-v` and `HostConfig.Binds` have them, and `--tmpfs`.

use crate::error::Invalid;
use crate::limits::MAX_MOUNT;
use crate::name;

/// `source:destination:mode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// What is mounted.
    pub source: BindSource,
    /// Where, an absolute path.
    pub destination: String,
    /// How.
    pub mode: BindMode,
}

/// What a bind mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindSource {
    /// A volume without a name.
    Anonymous,
    /// A volume.
    Volume(String),
    /// A path of the host, absolute.
    Path(String),
}

/// The options of a bind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BindMode {
    /// As it was given.
    pub text: String,
    /// `ro`.
    pub is_read_only: bool,
    /// `nocopy`.
    pub is_no_copy: bool,
    /// `z` and `Z`.
    pub relabel: Option<Relabel>,
    /// `shared`, `rslave` and so on.
    pub propagation: Option<String>,
}

/// Who may use a volume on a host with SELinux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relabel {
    /// `z`: every container.
    Shared,
    /// `Z`: this container alone.
    Private,
}

/// The propagations that a mount may have.
pub const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

impl Bind {
    /// Reads the short form.
    ///
    /// # Errors
    /// More parts than three, paths that are not absolute, unknown or contradicting options, a volume's name that is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > MAX_MOUNT {
            return Err(Invalid::MountTooLong(text.len()));
        }
        let invalid = |reason: &str| Invalid::Mount { text: name::excerpt(text), reason: reason.to_owned() };
        let parts: Vec<&str> = text.split(':').collect();
        let (source, destination, mode) = match parts.as_slice() {
            [destination] => ("", *destination, ""),
            [_, mode] if BindMode::parse(mode).is_some() => {
                return Err(invalid("a volume without a source has no mode"));
            }
            [source, destination] => (*source, *destination, ""),
            [source, destination, mode] => (*source, *destination, *mode),
            _ => return Err(invalid("more than three parts")),
        };
        if parts.len() > 1 && source.is_empty() {
            return Err(invalid("empty section between colons"));
        }
        check_destination(destination).map_err(&invalid)?;
        let mode = match mode {
            "" if parts.len() == 3 => return Err(invalid("empty section between colons")),
            "" => BindMode::default(),
            mode => BindMode::parse(mode).ok_or_else(|| invalid("unknown or contradicting mode"))?,
        };
        let source = match source {
            "" => BindSource::Anonymous,
            path if path.starts_with('/') => BindSource::Path(path.to_owned()),
            volume => BindSource::Volume(name::volume(volume)?.to_owned()),
        };
        if mode.is_no_copy && matches!(source, BindSource::Path(_)) {
            return Err(invalid("nocopy is for volumes"));
        }
        if mode.propagation.is_some() && !matches!(source, BindSource::Path(_)) {
            return Err(invalid("propagation is for paths of the host"));
        }
        Ok(Self { source, destination: destination.to_owned(), mode })
    }
}

impl BindMode {
    /// Reads options between commas; none for what is no mode.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut mode = Self { text: text.to_owned(), ..Self::default() };
        let (mut access, mut consistency) = (0, 0);
        for option in text.split(',') {
            match option {
                "ro" | "rw" => {
                    access += 1;
                    mode.is_read_only = option == "ro";
                }
                "nocopy" if !mode.is_no_copy => mode.is_no_copy = true,
                "z" if mode.relabel.is_none() => mode.relabel = Some(Relabel::Shared),
                "Z" if mode.relabel.is_none() => mode.relabel = Some(Relabel::Private),
                "consistent" | "cached" | "delegated" | "default" => consistency += 1,
                other if PROPAGATIONS.contains(&other) && mode.propagation.is_none() => {
                    mode.propagation = Some(other.to_owned());
                }
                _ => return None,
            }
        }
        (access <= 1 && consistency <= 1).then_some(mode)
    }
}

/// What `--tmpfs` takes: a path and options.
///
/// # Errors
/// A path that is not absolute.
pub fn parse_tmpfs(text: &str) -> Result<(String, String), Invalid> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    check_destination(path)
        .map_err(|reason| Invalid::Mount { text: name::excerpt(text), reason: reason.to_owned() })?;
    Ok((path.to_owned(), options.to_owned()))
}

fn check_destination(path: &str) -> Result<(), &'static str> {
    let is_root = path.split('/').fold(0_i64, |depth, part| match part {
        "" | "." => depth,
        ".." => (depth - 1).max(0),
        _ => depth + 1,
    }) == 0;
    match path {
        path if !path.starts_with('/') => Err("the destination is no absolute path"),
        path if path.contains('\0') => Err("the destination has a zero byte"),
        _ if is_root => Err("the destination cannot be /"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_is_read() {
        let bind = Bind::parse("/a:/b:ro,Z,rslave").unwrap();
        assert_eq!(bind.source, BindSource::Path("/a".into()));
        assert!(bind.mode.is_read_only && bind.mode.relabel == Some(Relabel::Private));
        assert_eq!(bind.mode.propagation.as_deref(), Some("rslave"));
        assert_eq!(Bind::parse("/data").unwrap().source, BindSource::Anonymous);
        assert_eq!(Bind::parse("vol:/data:nocopy").unwrap().source, BindSource::Volume("vol".into()));
        assert_eq!(parse_tmpfs("/run:rw,size=1m").unwrap(), ("/run".into(), "rw,size=1m".into()));
    }

    #[test]
    fn what_is_no_mount_is_refused() {
        for text in [
            "",
            ":",
            "/a:",
            ":/a",
            "a",
            "/a:/b:",
            "/a:/b:ro,rw",
            "/a:/b:x",
            "/a:ro",
            "/a:/",
            "/a:/b/..",
            "/a:b",
            "../x:/b",
            "/a:/b:nocopy",
            "vol:/b:shared",
            "/a:/b:ro:z",
            "/a:/b:z,Z",
            "/a:/b\0",
        ] {
            assert!(Bind::parse(text).is_err(), "{text:?}");
        }
        assert!(parse_tmpfs("run").is_err());
    }
}
