//! What a stream's name stands for: a path, or an address with a scheme.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::failure::Failure;

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 8192;

/// Where a stream goes to or comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nowhere.
    Null,
    /// A FIFO: a path alone, or `fifo://`.
    Fifo(PathBuf),
    /// A file for appending: `file://`.
    File(PathBuf),
    /// A program that takes the output: `binary://`, `binary-v2://`.
    Binary(Binary),
    /// A log driver of ours, by its address.
    Log(String),
    /// Clients that attach: `attach:`.
    Attach,
}

/// A logging program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    pub(crate) path: PathBuf,
    /// Its arguments: keys and values, in order.
    pub(crate) args: Vec<OsString>,
    /// Whether it has to say that it is ready; the older protocol takes its closing for that, too.
    pub(crate) says_ready: bool,
}

impl Target {
    /// Reads a name.
    ///
    /// # Errors
    /// InvalidArgument for an unknown scheme, and for names too long.
    pub(crate) fn parse(name: &str) -> Result<Self, Failure> {
        if name.is_empty() {
            return Ok(Target::Null);
        }
        if name.len() > MAX_NAME_BYTES || name.contains('\0') {
            return Err(Failure::invalid("the name of a stream is too long or has a NUL byte"));
        }
        if name == "attach:" {
            return Ok(Target::Attach);
        }
        let Some((scheme, rest)) = name.split_once("://") else {
            return Ok(Target::Fifo(PathBuf::from(name)));
        };
        // Some of them have no path; what is wrong with one is said by whoever writes the log.
        if matches!(scheme, "json-file" | "local" | "cri" | "syslog" | "journald") {
            return Ok(Target::Log(name.to_owned()));
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = PathBuf::from(OsString::from_vec(unescape(path, false)?));
        if !path.is_absolute() {
            return Err(Failure::invalid(format!("{name:?} does not name an absolute path")));
        }
        match scheme {
            "fifo" => Ok(Target::Fifo(path)),
            "file" => Ok(Target::File(path)),
            "binary" | "binary-v2" => {
                let args = arguments(query)?;
                Ok(Target::Binary(Binary { path, args, says_ready: scheme == "binary-v2" }))
            }
            _ => Err(Failure::invalid(format!("unknown scheme {scheme:?} of a stream"))),
        }
    }
}

/// `key=value` pairs as arguments; an empty value adds none.
fn arguments(query: &str) -> Result<Vec<OsString>, Failure> {
    let mut args = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        args.push(OsString::from_vec(unescape(key, true)?));
        if !value.is_empty() {
            args.push(OsString::from_vec(unescape(value, true)?));
        }
    }
    if args.iter().any(|arg| arg.as_encoded_bytes().contains(&0)) {
        return Err(Failure::invalid("an argument of a logging binary has a NUL byte"));
    }
    Ok(args)
}

/// Takes percent escapes out: RFC 3986, 2.1; in queries a plus is a blank.
fn unescape(text: &str, query: bool) -> Result<Vec<u8>, Failure> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(Failure::invalid(format!("a broken escape in {text:?}")));
                };
                out.push((high << 4 | low) as u8);
            }
            b'+' if query => out.push(b' '),
            byte => out.push(byte),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_streams_are_understood() {
        let check = |name: &str, expect: Target| assert_eq!(Target::parse(name).unwrap(), expect, "{name}");
        check("", Target::Null);
        check("attach:", Target::Attach);
        check("/run/f", Target::Fifo("/run/f".into()));
        check("fifo:///run/f", Target::Fifo("/run/f".into()));
        check("file:///a%20b", Target::File("/a b".into()));
        check("cri:///l?max-line=1", Target::Log("cri:///l?max-line=1".into()));
        check("journald://?tag=t", Target::Log("journald://?tag=t".into()));
        let args = ["k", "v w", "x"].map(OsString::from).to_vec();
        let binary = Binary { path: "/b".into(), args, says_ready: true };
        check("binary-v2:///b?k=v+w&x=", Target::Binary(binary));
        for wrong in ["http://x/y", "file://relative", "file:///%4", "fifo://"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
