//! From the text of a URI to a driver.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{
    Cri, DEFAULT_MAX_LINE_BYTES, Driver, DriverError, JsonFile, Local, MAX_ATTRS_BYTES, MAX_FILES, Mode,
    remote,
};
use crate::escape;
use crate::split::MAX_PIECE_BYTES;

impl FromStr for Driver {
    type Err = DriverError;

    fn from_str(uri: &str) -> Result<Self, DriverError> {
        let scheme = uri.split_once(':').map_or(uri, |(scheme, _)| scheme);
        let parse = match scheme {
            "json-file" => json_file,
            "local" => local,
            "cri" => cri,
            "syslog" | "journald" => {
                let rest = uri[scheme.len()..].strip_prefix("://").unwrap_or("none");
                let query = if rest.is_empty() { Some("") } else { rest.strip_prefix('?') };
                let query = query.ok_or_else(|| DriverError::NoPath(uri.chars().take(256).collect()))?;
                let options = options(query)?;
                return if scheme == "syslog" { remote::syslog(options) } else { remote::journald(options) };
            }
            other => return Err(DriverError::Scheme(other.chars().take(64).collect())),
        };
        let (path, query) = split(uri, scheme)?;
        parse(path, options(query)?)
    }
}

pub(super) type Options = BTreeMap<String, String>;

fn split<'a>(uri: &'a str, scheme: &str) -> Result<(PathBuf, &'a str), DriverError> {
    let wrong = || DriverError::Path(uri.chars().take(256).collect());
    let rest = uri[scheme.len()..].strip_prefix("://").ok_or_else(wrong)?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(wrong());
    }
    let bytes = decode(path, false)?;
    Ok((OsString::from_vec(bytes).into(), query))
}

fn options(query: &str) -> Result<Options, DriverError> {
    let mut options = Options::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = |part: &str| {
            String::from_utf8(decode(part, true)?).map_err(|_| DriverError::Encoding(part.to_owned()))
        };
        let name = text(name)?;
        if options.insert(name.clone(), text(value)?).is_some() {
            return Err(DriverError::Twice(name));
        }
    }
    Ok(options)
}

/// Percent-decoding as Go's net/url does it: in queries, a plus sign is a space.
pub(super) fn decode(text: &str, query: bool) -> Result<Vec<u8>, DriverError> {
    let wrong = || DriverError::Encoding(text.chars().take(256).collect());
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(wrong);
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8,
            b'+' if query => b' ',
            byte => byte,
        });
    }
    if decoded.contains(&0) { Err(wrong()) } else { Ok(decoded) }
}

fn json_file(path: PathBuf, options: Options) -> Result<Driver, DriverError> {
    let mut driver = JsonFile {
        path,
        max_size_bytes: None,
        max_files: 1,
        compress: false,
        attrs: None,
        mode: Mode::Dropping,
    };
    for (name, value) in options {
        match name.as_str() {
            "max-size" => driver.max_size_bytes = Some(positive("max-size", &value, u64::MAX >> 1)?),
            "max-file" => driver.max_files = positive("max-file", &value, MAX_FILES.into())? as u32,
            "compress" => driver.compress = boolean("compress", &value)?,
            "attrs" => driver.attrs = attrs(&value)?,
            "mode" => driver.mode = mode(&value)?,
            _ => return Err(DriverError::Unknown { driver: "json-file", option: name }),
        }
    }
    if driver.compress && (driver.max_files < 2 || driver.max_size_bytes.is_none()) {
        return Err(DriverError::CompressWithoutRotation);
    }
    Ok(Driver::JsonFile(driver))
}

fn local(path: PathBuf, options: Options) -> Result<Driver, DriverError> {
    let mut driver = Local::new(path);
    for (name, value) in options {
        if name == "mode" {
            driver.mode = mode(&value)?;
        } else if !local_option(&mut driver, &name, &value)? {
            return Err(DriverError::Unknown { driver: "local", option: name });
        }
    }
    check_local(&driver)?;
    Ok(Driver::Local(driver))
}

/// An option that a cache has, too.
pub(super) fn local_option(driver: &mut Local, name: &str, value: &str) -> Result<bool, DriverError> {
    match name {
        "max-size" => driver.max_size_bytes = positive("max-size", value, u64::MAX >> 1)?,
        "max-file" => driver.max_files = positive("max-file", value, MAX_FILES.into())? as u32,
        "compress" => driver.compress = boolean("compress", value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

pub(super) fn check_local(driver: &Local) -> Result<(), DriverError> {
    if driver.compress && driver.max_files < 2 { Err(DriverError::CompressWithoutRotation) } else { Ok(()) }
}

fn cri(path: PathBuf, options: Options) -> Result<Driver, DriverError> {
    let mut driver = Cri { path, max_line_bytes: DEFAULT_MAX_LINE_BYTES, mode: Mode::Blocking };
    for (name, value) in options {
        match name.as_str() {
            "max-line" => driver.max_line_bytes = max_line(&value)?,
            "mode" => driver.mode = mode(&value)?,
            _ => return Err(DriverError::Unknown { driver: "cri", option: name }),
        }
    }
    Ok(Driver::Cri(driver))
}

pub(super) fn wrong(option: &'static str, value: &str, reason: &'static str) -> DriverError {
    DriverError::Value { option, value: value.chars().take(256).collect(), reason }
}

pub(super) fn positive(option: &'static str, value: &str, max: u64) -> Result<u64, DriverError> {
    let number: u64 = value.parse().map_err(|_| wrong(option, value, "not a whole number"))?;
    match number {
        0 => Err(wrong(option, value, "must be a positive number")),
        number if number > max => Err(wrong(option, value, "too large")),
        number => Ok(number),
    }
}

/// The words of Go's strconv.ParseBool.
pub(super) fn boolean(option: &'static str, value: &str) -> Result<bool, DriverError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(wrong(option, value, "neither true nor false")),
    }
}

pub(super) fn mode(value: &str) -> Result<Mode, DriverError> {
    match value {
        "blocking" => Ok(Mode::Blocking),
        "non-blocking" => Ok(Mode::Dropping),
        _ => Err(wrong("mode", value, "neither blocking nor non-blocking")),
    }
}

/// 0 and -1 are no limit, as in containerd's configuration.
fn max_line(value: &str) -> Result<usize, DriverError> {
    let number: i64 = value.parse().map_err(|_| wrong("max-line", value, "not a whole number"))?;
    match usize::try_from(number) {
        Ok(0) => Ok(MAX_PIECE_BYTES),
        Ok(number) => Ok(number.min(MAX_PIECE_BYTES)),
        Err(_) if number == -1 => Ok(MAX_PIECE_BYTES),
        Err(_) => Err(wrong("max-line", value, "must be a positive number, 0 or -1")),
    }
}

/// Labels and variables as Docker's daemon marshals them: sorted, HTML escaped; none at all when there is none.
fn attrs(value: &str) -> Result<Option<String>, DriverError> {
    let attrs = texts("attrs", value)?;
    if attrs.is_empty() {
        return Ok(None);
    }
    let mut text = String::from("{");
    for (name, value) in &attrs {
        let comma = if text.len() > 1 { "," } else { "" };
        text.push_str(&format!("{comma}\"{}\":\"{}\"", escape::text(name), escape::text(value)));
    }
    text.push('}');
    if text.len() > MAX_ATTRS_BYTES {
        return Err(wrong("attrs", value, "too large"));
    }
    Ok(Some(text))
}

/// A JSON object of strings.
pub(super) fn texts(option: &'static str, value: &str) -> Result<BTreeMap<String, String>, DriverError> {
    serde_json::from_str(value).map_err(|_| wrong(option, value, "not a JSON object of strings"))
}
