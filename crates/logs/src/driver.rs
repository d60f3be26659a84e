//! URIs of log drivers: `json-file:///path?max-size=BYTES&…` and `cri:///path?max-line=BYTES`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::str::FromStr;

use gantry_types::ErrorKind;

use crate::escape;
use crate::split::MAX_PIECE_BYTES;

/// The longest line of the CRI's format that is not split: containerd's `max_container_log_line_size`.
pub const DEFAULT_MAX_LINE_BYTES: usize = 16_384;
/// The most that `attrs` may take in each record.
pub const MAX_ATTRS_BYTES: usize = 65_536;
/// The most files that a log is rotated through.
const MAX_FILES: u32 = 10_000;

/// Where and how a container's output is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driver {
    /// Docker's `json-file`.
    JsonFile(JsonFile),
    /// The format that the kubelet reads.
    Cri(Cri),
}

/// What becomes of output that cannot be written for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The container waits.
    Blocking,
    /// What does not fit in the backlog is dropped, counted, and named in the log.
    Dropping,
}

/// `json-file:///path?max-size=BYTES&max-file=N&compress=BOOL&attrs=JSON&mode=MODE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonFile {
    /// The file that is written; rotated ones are called `path.1` (the newest), `path.2`, …, or `path.1.gz`.
    pub path: PathBuf,
    /// A file that has at least so many bytes gets no further record.
    pub max_size_bytes: Option<u64>,
    /// How many files there are at most, with the one that is written.
    pub max_files: u32,
    /// Whether rotated files are compressed.
    pub compress: bool,
    /// The JSON object of every record's `attrs`, as Go writes it.
    pub attrs: Option<String>,
    /// `blocking` or `non-blocking`, which is the default.
    pub mode: Mode,
}

/// `cri:///path?max-line=BYTES&mode=MODE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cri {
    /// The file that is written. Whoever rotates it has it reopened.
    pub path: PathBuf,
    /// Longer lines are split; at most [`MAX_PIECE_BYTES`], which stands for no limit, too.
    pub max_line_bytes: usize,
    /// `blocking`, which is the default, or `non-blocking`.
    pub mode: Mode,
}

/// Text that is no URI of a log driver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// Another scheme, or none.
    #[error("log driver {0:?} is neither json-file nor cri")]
    Scheme(String),
    /// A host, a relative path, or none.
    #[error("log driver {0:?} needs an absolute path: SCHEME:///path")]
    Path(String),
    /// Percent-encoding that is cut or has other digits than hexadecimal ones, or a NUL.
    #[error("log driver: {0:?} cannot be decoded")]
    Encoding(String),
    /// An option that the driver does not have.
    #[error("unknown log opt {option:?} for {driver} log driver")]
    Unknown {
        /// The driver.
        driver: &'static str,
        /// The option.
        option: String,
    },
    /// An option that is given twice.
    #[error("log opt {0:?} is given twice")]
    Twice(String),
    /// An option with a value that it cannot have.
    #[error("log opt {option}={value:?}: {reason}")]
    Value {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Compression of a log that is not rotated.
    #[error("compress cannot be true when max-file is less than 2 or max-size is not set")]
    CompressWithoutRotation,
}

impl DriverError {
    /// The error in the words of every door.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

impl Driver {
    /// The file that is written.
    pub fn path(&self) -> &std::path::Path {
        match self {
            Self::JsonFile(driver) => &driver.path,
            Self::Cri(driver) => &driver.path,
        }
    }

    /// What becomes of output that cannot be written.
    pub fn mode(&self) -> Mode {
        match self {
            Self::JsonFile(driver) => driver.mode,
            Self::Cri(driver) => driver.mode,
        }
    }
}

impl FromStr for Driver {
    type Err = DriverError;

    fn from_str(uri: &str) -> Result<Self, DriverError> {
        let scheme = uri.split_once(':').map_or(uri, |(scheme, _)| scheme);
        let parse = match scheme {
            "json-file" => json_file,
            "cri" => cri,
            other => return Err(DriverError::Scheme(other.chars().take(64).collect())),
        };
        let (path, query) = split(uri, scheme)?;
        parse(path, options(query)?)
    }
}

type Options = BTreeMap<String, String>;

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
fn decode(text: &str, query: bool) -> Result<Vec<u8>, DriverError> {
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

fn wrong(option: &'static str, value: &str, reason: &'static str) -> DriverError {
    DriverError::Value { option, value: value.chars().take(256).collect(), reason }
}

fn positive(option: &'static str, value: &str, max: u64) -> Result<u64, DriverError> {
    let number: u64 = value.parse().map_err(|_| wrong(option, value, "not a whole number"))?;
    match number {
        0 => Err(wrong(option, value, "must be a positive number")),
        number if number > max => Err(wrong(option, value, "too large")),
        number => Ok(number),
    }
}

/// The words of Go's strconv.ParseBool.
fn boolean(option: &'static str, value: &str) -> Result<bool, DriverError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(wrong(option, value, "neither true nor false")),
    }
}

fn mode(value: &str) -> Result<Mode, DriverError> {
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
    let attrs: BTreeMap<String, String> =
        serde_json::from_str(value).map_err(|_| wrong("attrs", value, "not a JSON object of strings"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(uri: &str) -> Result<Driver, DriverError> {
        uri.parse()
    }

    #[test]
    fn every_option_of_json_file_is_parsed() {
        let uri = "json-file:///var/log/a%20b%2Fc.log?max-size=1000&max-file=3&compress=true&mode=blocking\
                   &attrs=%7B%22z%22%3A%22%3C%22%2C%22a%22%3A%22b+c%22%7D";
        let expected = JsonFile {
            path: "/var/log/a b/c.log".into(),
            max_size_bytes: Some(1000),
            max_files: 3,
            compress: true,
            attrs: Some(r#"{"a":"b c","z":"\u003c"}"#.into()),
            mode: Mode::Blocking,
        };
        assert_eq!(parse(uri), Ok(Driver::JsonFile(expected)));
    }

    #[test]
    fn defaults_are_those_of_docker_and_containerd() {
        let Ok(Driver::JsonFile(json)) = parse("json-file:///l?attrs={}") else { panic!() };
        assert_eq!((json.max_size_bytes, json.max_files, json.compress), (None, 1, false));
        assert_eq!((json.attrs, json.mode), (None, Mode::Dropping));
        let Ok(Driver::Cri(cri)) = parse("cri:///l") else { panic!() };
        assert_eq!((cri.max_line_bytes, cri.mode), (16_384, Mode::Blocking));
        for uri in ["cri:///l?max-line=0", "cri:///l?max-line=-1", "cri:///l?max-line=9999999999"] {
            let Ok(Driver::Cri(cri)) = parse(uri) else { panic!("{uri}") };
            assert_eq!(cri.max_line_bytes, MAX_PIECE_BYTES, "{uri}");
        }
    }

    #[test]
    fn what_is_no_driver_is_refused() {
        let long = format!("json-file:///l?attrs={{\"a\":\"{}\"}}", "x".repeat(MAX_ATTRS_BYTES));
        for uri in [
            "",
            "/l",
            "file:///l",
            "cri",
            "cri:",
            "cri://",
            "cri://host/l",
            "cri:///",
            "cri:///dir/",
            "cri:///l%",
            "cri:///l%4",
            "cri:///l%zz",
            "cri:///l%00",
            "cri:///l?max-line=x",
            "cri:///l?max-line=-2",
            "cri:///l?max-size=3",
            "cri:///l?mode=",
            "json-file:///l?max-size=0",
            "json-file:///l?max-size=10k",
            "json-file:///l?max-file=0",
            "json-file:///l?max-file=10001",
            "json-file:///l?max-file=2&max-file=2",
            "json-file:///l?compress=yes",
            "json-file:///l?compress=1",
            "json-file:///l?compress=1&max-size=1",
            "json-file:///l?compress=1&max-file=2",
            "json-file:///l?attrs=[]",
            "json-file:///l?attrs={\"a\":1}",
            "json-file:///l?%ff=1",
            &long,
        ] {
            assert!(parse(uri).is_err(), "{uri:?}");
        }
    }
}
