//! Drivers whose records go to another daemon, with or without a cache that can be read.

use std::path::PathBuf;

use super::parse::{Options, check_local, local_option, mode, texts, wrong};
use super::{Driver, DriverError, Local, MAX_ATTRS_BYTES, Mode};

/// The journal's socket: systemd-journald.service(8).
const JOURNAL: &str = "/run/systemd/journal/socket";
/// syslog's port over UDP, and over TCP by habit.
const SYSLOG_PORT: u16 = 514;
/// The longest tag, in bytes.
const MAX_TAG_BYTES: usize = 1024;
/// The longest name of the journal's fields: systemd.journal-fields(7).
const MAX_FIELD_BYTES: usize = 64;
/// How many digits of a container's id are its short one.
const SHORT_ID: usize = 12;

/// `syslog://?address=URI&facility=NAME&tag=TEXT&format=FORMAT&mode=MODE&cache=/path&cache-max-size=BYTES&…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// Who takes the messages.
    pub address: SyslogAddress,
    /// The number of the facility; 3, `daemon`, if it is not given.
    pub facility: u8,
    /// What the messages are marked with.
    pub tag: String,
    /// How they are written.
    pub format: SyslogFormat,
    /// `blocking` or `non-blocking`, which is the default.
    pub mode: Mode,
    /// Where the output is kept, too.
    pub cache: Option<Local>,
}

/// Who takes messages of syslog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogAddress {
    /// The machine's own, at one of the usual sockets.
    Here,
    /// `unix:///path` or `unixgram:///path`, a socket of either kind.
    Unix(PathBuf),
    /// `udp://host:port`.
    Udp(String, u16),
    /// `tcp://host:port`.
    Tcp(String, u16),
}

/// How messages of syslog are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyslogFormat {
    /// As RFC 3164 has them, without the host: what the machine's own daemon takes.
    Local,
    /// `rfc3164`.
    Rfc3164,
    /// `rfc5424`.
    Rfc5424,
    /// `rfc5424micro`: with microseconds.
    Rfc5424Micro,
}

/// `journald://?id=ID&name=NAME&image=NAME&tag=TEXT&fields=JSON&socket=/path&mode=MODE&cache=/path&…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journald {
    /// The journal's socket.
    pub socket: PathBuf,
    /// What every entry has beside its message, by name.
    pub fields: Vec<(String, String)>,
    /// `blocking` or `non-blocking`, which is the default.
    pub mode: Mode,
    /// Where the output is kept, too.
    pub cache: Option<Local>,
}

const FACILITIES: &[&str] = &[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "",
    "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

pub(super) fn syslog(mut options: Options) -> Result<Driver, DriverError> {
    let cache = cache(&mut options)?;
    let mut driver = Syslog {
        address: SyslogAddress::Here,
        facility: 3,
        tag: String::new(),
        format: SyslogFormat::Local,
        mode: Mode::Dropping,
        cache,
    };
    for (name, value) in options {
        match name.as_str() {
            "address" => driver.address = address(&value)?,
            "facility" => driver.facility = facility(&value)?,
            "tag" => driver.tag = tag(&value)?,
            "format" => driver.format = format(&value)?,
            "mode" => driver.mode = mode(&value)?,
            _ => return Err(DriverError::Unknown { driver: "syslog", option: name }),
        }
    }
    if driver.tag.is_empty() {
        return Err(DriverError::Missing { driver: "syslog", option: "tag" });
    }
    Ok(Driver::Syslog(driver))
}

/// Takes the cache's options out.
fn cache(options: &mut Options) -> Result<Option<Local>, DriverError> {
    let path = options.remove("cache").filter(|path| !path.is_empty());
    let mut cache = Local::new(path.clone().unwrap_or_default().into());
    for option in ["max-size", "max-file", "compress"] {
        if let Some(value) = options.remove(&format!("cache-{option}")) {
            local_option(&mut cache, option, &value)?;
        }
    }
    let Some(path) = path else { return Ok(None) };
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(wrong("cache", &path, "not an absolute path"));
    }
    check_local(&cache)?;
    Ok(Some(cache))
}

fn address(value: &str) -> Result<SyslogAddress, DriverError> {
    let fail = |reason| wrong("address", value, reason);
    if value.is_empty() {
        return Ok(SyslogAddress::Here);
    }
    let (scheme, rest) = value.split_once("://").ok_or_else(|| fail("not SCHEME://…"))?;
    match scheme {
        "unix" | "unixgram" if rest.starts_with('/') && rest.len() < 108 => {
            Ok(SyslogAddress::Unix(rest.into()))
        }
        "unix" | "unixgram" => Err(fail("not an absolute path of at most 107 bytes")),
        "udp" | "tcp" => {
            let (host, port) = host(rest).ok_or_else(|| fail("not a host, or a host and a port"))?;
            Ok(if scheme == "udp" { SyslogAddress::Udp(host, port) } else { SyslogAddress::Tcp(host, port) })
        }
        "tcp+tls" => Err(fail("syslog over TLS is not supported; a local daemon may forward the messages")),
        _ => Err(fail("not one of unix, unixgram, udp and tcp")),
    }
}

/// `host`, `host:port`, `[address]:port`.
fn host(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    let fits = (1..=253).contains(&host.len()) && host.chars().all(is_name);
    let port = port.map_or(Some(SYSLOG_PORT), |port| port.parse().ok().filter(|port| *port != 0))?;
    fits.then(|| (host.to_owned(), port))
}

fn facility(value: &str) -> Result<u8, DriverError> {
    let by_name = FACILITIES.iter().position(|name| !name.is_empty() && *name == value);
    let by_number = || value.parse().ok().filter(|number| *number < FACILITIES.len());
    let found = by_name.or_else(by_number);
    found.map(|number| number as u8).ok_or_else(|| wrong("facility", value, "not a facility of syslog"))
}

fn tag(value: &str) -> Result<String, DriverError> {
    let fits = value.len() <= MAX_TAG_BYTES && !value.contains(char::is_control);
    if fits { Ok(value.to_owned()) } else { Err(wrong("tag", value, "too long, or with control characters")) }
}

fn format(value: &str) -> Result<SyslogFormat, DriverError> {
    match value {
        "" => Ok(SyslogFormat::Local),
        "rfc3164" => Ok(SyslogFormat::Rfc3164),
        "rfc5424" => Ok(SyslogFormat::Rfc5424),
        "rfc5424micro" => Ok(SyslogFormat::Rfc5424Micro),
        _ => Err(wrong("format", value, "not one of rfc3164, rfc5424 and rfc5424micro")),
    }
}

pub(super) fn journald(mut options: Options) -> Result<Driver, DriverError> {
    let cache = cache(&mut options)?;
    let mut driver = Journald { socket: JOURNAL.into(), fields: Vec::new(), mode: Mode::Dropping, cache };
    let mut more = Vec::new();
    for (name, value) in options {
        let mut field = |name: &str, value: &str| driver.fields.push((name.to_owned(), value.to_owned()));
        match name.as_str() {
            "id" => {
                field("CONTAINER_ID", value.get(..SHORT_ID).unwrap_or(&value));
                field("CONTAINER_ID_FULL", &value);
            }
            "name" => field("CONTAINER_NAME", &value),
            "image" => field("IMAGE_NAME", &value),
            "tag" => {
                let tag = tag(&value)?;
                field("CONTAINER_TAG", &tag);
                field("SYSLOG_IDENTIFIER", &tag);
            }
            "fields" => more = fields(&value)?,
            "socket" if value.starts_with('/') && value.len() < 108 => driver.socket = value.into(),
            "socket" => return Err(wrong("socket", &value, "not an absolute path of at most 107 bytes")),
            "mode" => driver.mode = mode(&value)?,
            _ => return Err(DriverError::Unknown { driver: "journald", option: name }),
        }
    }
    // What is ours goes before what a container's labels are called.
    more.retain(|(name, _)| !driver.fields.iter().any(|(ours, _)| ours == name));
    driver.fields.extend(more);
    if driver.fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_ATTRS_BYTES {
        return Err(wrong("fields", "", "too large"));
    }
    Ok(Driver::Journald(driver))
}

/// Labels and variables by the names that the journal allows, as Docker makes them: other characters become underscores.
fn fields(value: &str) -> Result<Vec<(String, String)>, DriverError> {
    let named = |(name, value): (String, String)| {
        let mut name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .skip_while(|c| *c == '_' || c.is_ascii_digit())
            .collect();
        name.truncate(MAX_FIELD_BYTES);
        let ours = matches!(name.as_str(), "" | "MESSAGE" | "PRIORITY" | "SYSLOG_TIMESTAMP");
        (!ours && !name.starts_with("CONTAINER_PARTIAL_")).then_some((name, value))
    };
    Ok(texts("fields", value)?.into_iter().filter_map(named).collect())
}
