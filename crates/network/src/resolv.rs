//! A container's `/etc/resolv.conf`, from the host's: resolv.conf(5), and what docker makes of it.
//!
//! Pure functions, but for [`HostFiles::read`].

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::error::Error;

/// The host's own file, and the one that systemd-resolved writes for those who cannot ask it on 127.0.0.53.
const PATH: &str = "/etc/resolv.conf";
const RESOLVED_PATH: &str = "/run/systemd/resolve/resolv.conf";
/// The address at which systemd-resolved answers.
const RESOLVED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
/// What is asked where the host names nobody that a container could ask: docker's choice, Google's.
const DEFAULT_SERVERS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4))];
/// More than any resolver reads.
const MAX_FILE_BYTES: u64 = 256 << 10;
/// As a search domain: none at all.
const NO_SEARCH: &str = ".";

/// Whose addresses a container can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A network namespace of its own on the bridge: neither the host's loopback addresses nor IPv6.
    Bridge,
    /// The host's network namespace.
    Host,
}

/// What is configured for a container, or else for the daemon, instead of the host's: `--dns`, `--dns-search`, `--dns-option`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overrides<'a> {
    /// Who is asked.
    pub servers: &'a [IpAddr],
    /// What is appended to names; `.` alone for nothing.
    pub search: &'a [String],
    /// Options of the resolver, such as `ndots:2`.
    pub options: &'a [String],
}

/// The host's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFiles {
    /// `/etc/resolv.conf`.
    pub main: String,
    /// `/run/systemd/resolve/resolv.conf`, if there is one.
    pub resolved: Option<String>,
}

impl HostFiles {
    /// Reads them. One that is not there is empty.
    ///
    /// # Errors
    /// If one cannot be read, or has more than 256 KiB.
    pub fn read() -> Result<Self, Error> {
        let main = read_limited(Path::new(PATH))?.unwrap_or_default();
        Ok(HostFiles { main, resolved: read_limited(Path::new(RESOLVED_PATH))? })
    }

    /// The one that is for containers.
    fn effective(&self) -> &str {
        let asks_resolved = Parsed::of(&self.main).servers == [IpAddr::V4(RESOLVED)];
        match &self.resolved {
            Some(resolved) if asks_resolved => resolved,
            _ => &self.main,
        }
    }
}

fn read_limited(path: &Path) -> Result<Option<String>, Error> {
    let failed = |source| Error::Setting { step: "reading", path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(failed(io::Error::from(ErrorKind::FileTooLarge)));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[derive(Debug, Default)]
struct Parsed<'a> {
    servers: Vec<IpAddr>,
    search: Vec<&'a str>,
    options: Vec<&'a str>,
}

impl<'a> Parsed<'a> {
    fn of(text: &'a str) -> Self {
        let mut parsed = Parsed::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                // An address with a zone is of a link that a container does not have.
                Some("nameserver") => {
                    parsed.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()))
                }
                // The last line of these counts.
                Some("search" | "domain") => parsed.search = words.collect(),
                Some("options") => parsed.options.extend(words),
                _ => {}
            }
        }
        parsed
    }
}

/// A container's file.
///
/// # Errors
/// InvalidArgument for a search domain or an option that is no single word.
pub fn render(host: &HostFiles, reach: Reach, overrides: Overrides<'_>) -> Result<String, Error> {
    for (what, words) in [("search domain", overrides.search), ("resolver's option", overrides.options)] {
        let wrong =
            |word: &&String| word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control());
        if let Some(word) = words.iter().find(wrong) {
            return Err(Error::invalid(what, word.clone(), "it is no single word"));
        }
    }
    let nothing = overrides.servers.is_empty() && overrides.search.is_empty() && overrides.options.is_empty();
    if reach == Reach::Host && nothing {
        return Ok(host.main.clone());
    }
    let parsed = Parsed::of(match reach {
        Reach::Host => &host.main,
        Reach::Bridge => host.effective(),
    });
    let mut servers = if overrides.servers.is_empty() { parsed.servers } else { overrides.servers.to_vec() };
    if reach == Reach::Bridge && overrides.servers.is_empty() {
        servers.retain(|server| server.is_ipv4() && !server.is_loopback() && !server.is_unspecified());
    }
    if servers.is_empty() {
        servers.extend(DEFAULT_SERVERS);
    }
    let mut search: Vec<&str> = overrides.search.iter().map(String::as_str).collect();
    if search.is_empty() {
        search = parsed.search;
    } else if search == [NO_SEARCH] {
        search.clear();
    }
    let mut options: Vec<&str> = overrides.options.iter().map(String::as_str).collect();
    if options.is_empty() {
        options = parsed.options;
    }
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    for (keyword, words) in [("search", search), ("options", options)] {
        if !words.is_empty() {
            text.push_str(&format!("{keyword} {}\n", words.join(" ")));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(main: &str, resolved: Option<&str>, overrides: Overrides<'_>, expected: &str) {
        let host = HostFiles { main: main.to_owned(), resolved: resolved.map(str::to_owned) };
        assert_eq!(render(&host, Reach::Bridge, overrides).unwrap(), expected, "{main:?}");
    }

    #[test]
    fn servers_that_a_container_cannot_reach_are_dropped() {
        let none = Overrides::default();
        check("nameserver 10.0.0.1\n", None, none, "nameserver 10.0.0.1\n");
        check("nameserver 127.0.0.1\nnameserver 10.0.0.1\n", None, none, "nameserver 10.0.0.1\n");
        check(
            "nameserver ::1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\nnameserver 10.0.0.1",
            None,
            none,
            "nameserver 10.0.0.1\n",
        );
        check("", None, none, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
        check("nameserver 127.0.0.1\n", None, none, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
    }

    #[test]
    fn those_that_systemd_resolved_asks_are_asked_themselves() {
        let none = Overrides::default();
        let stub = "# stub\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n";
        check(stub, Some("nameserver 10.0.0.1\nsearch lan\n"), none, "nameserver 10.0.0.1\nsearch lan\n");
        check(
            stub,
            None,
            none,
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch lan\noptions edns0 trust-ad\n",
        );
        // Not where the host asks others, too.
        let mixed = "nameserver 127.0.0.53\nnameserver 10.0.0.2\n";
        check(mixed, Some("nameserver 10.0.0.1\n"), none, "nameserver 10.0.0.2\n");
    }

    #[test]
    fn what_is_configured_goes_before_the_hosts() {
        let host = "nameserver 10.0.0.1\nsearch a b\ndomain c\noptions ndots:1\noptions rotate\n; comment\n";
        check(host, None, Overrides::default(), "nameserver 10.0.0.1\nsearch c\noptions ndots:1 rotate\n");
        let servers = ["127.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let (search, options) = (["x".to_owned()], ["ndots:5".to_owned()]);
        check(
            host,
            None,
            Overrides { servers: &servers, search: &search, options: &options },
            "nameserver 127.0.0.1\nnameserver 2001:db8::1\nsearch x\noptions ndots:5\n",
        );
        let nothing = [".".to_owned()];
        let overrides = Overrides { search: &nothing, ..Overrides::default() };
        check(host, None, overrides, "nameserver 10.0.0.1\noptions ndots:1 rotate\n");
    }

    #[test]
    fn the_hosts_network_has_the_hosts_file() {
        let main = "# mine\nnameserver 127.0.0.53\n".to_owned();
        let host = HostFiles { main: main.clone(), resolved: Some("nameserver 10.0.0.1\n".to_owned()) };
        assert_eq!(render(&host, Reach::Host, Overrides::default()).unwrap(), main);
        let search = ["x".to_owned()];
        let overrides = Overrides { search: &search, ..Overrides::default() };
        assert_eq!(render(&host, Reach::Host, overrides).unwrap(), "nameserver 127.0.0.53\nsearch x\n");
    }

    #[test]
    fn words_that_are_lines_are_refused() {
        for word in ["", "a b", "a\nnameserver 6.6.6.6", "a\0"] {
            let search = [word.to_owned()];
            let overrides = Overrides { search: &search, ..Overrides::default() };
            assert!(render(&HostFiles::default(), Reach::Bridge, overrides).is_err(), "{word:?}");
        }
    }
}
