//! A container's `/etc/hosts`: hosts(5), with the lines that docker writes. Pure functions.

use std::fmt::Write;
use std::net::IpAddr;

use crate::error::Error;

/// The lines that every container has.
const COMMON: [(&str, &str); 6] = [
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
];
/// Where an address is expected: the host's, as containers see it.
const HOST_GATEWAY: &str = "host-gateway";
/// The longest line is of some hundred names; a name has at most 253 bytes in DNS.
const MAX_NAME: usize = 255;

/// A further line: docker's `--add-host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Whose it is.
    pub address: IpAddr,
}

impl ExtraHost {
    /// Reads docker's `name:address` or `name=address`; `host-gateway` stands for the address given.
    ///
    /// # Errors
    /// InvalidArgument.
    pub fn parse(text: &str, host_gateway: IpAddr) -> Result<Self, Error> {
        let invalid = |reason| Error::invalid("extra host", text.to_owned(), reason);
        let (name, address) =
            text.split_once([':', '=']).ok_or_else(|| invalid("it is not of the form name:address"))?;
        if !is_name(name) {
            return Err(invalid("the name is no single word of 1 to 255 bytes"));
        }
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let address = match bare {
            HOST_GATEWAY => host_gateway,
            bare => bare.parse().map_err(|_| invalid("the address is none"))?,
        };
        Ok(ExtraHost { name: name.to_owned(), address })
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#')
}

/// What a container is called.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// Its address; none in the host's network namespace.
    pub address: Option<IpAddr>,
    /// Its name.
    pub hostname: &'a str,
    /// Its domain, which may be empty.
    pub domainname: &'a str,
}

/// A container's file.
///
/// # Errors
/// InvalidArgument for a hostname or domain that is no single word.
pub fn render(own: Own<'_>, extra: &[ExtraHost]) -> Result<String, Error> {
    let mut text = String::new();
    let mut line = |address: &dyn std::fmt::Display, names: &str| {
        writeln!(text, "{address}\t{names}").expect("a string takes what is written");
    };
    for (address, names) in COMMON {
        line(&address, names);
    }
    for host in extra {
        if !is_name(&host.name) {
            return Err(Error::invalid(
                "extra host",
                host.name.clone(),
                "it is no single word of 1 to 255 bytes",
            ));
        }
        line(&host.address, &host.name);
    }
    if let Some(address) = own.address {
        let Own { hostname, domainname, .. } = own;
        if !is_name(hostname) {
            return Err(Error::invalid(
                "hostname",
                hostname.to_owned(),
                "it is no single word of 1 to 255 bytes",
            ));
        }
        match domainname {
            "" => line(&address, hostname),
            domain if is_name(domain) => line(&address, &format!("{hostname}.{domain} {hostname}")),
            domain => {
                return Err(Error::invalid(
                    "domain name",
                    domain.to_owned(),
                    "it is no single word of 1 to 255 bytes",
                ));
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway() -> IpAddr {
        "172.17.0.1".parse().unwrap()
    }

    #[test]
    fn the_file_has_dockers_lines() {
        let own = Own { address: "172.17.0.2".parse().ok(), hostname: "box", domainname: "" };
        let extra = [
            ExtraHost::parse("db:10.0.0.9", gateway()).unwrap(),
            ExtraHost::parse("host.docker.internal=host-gateway", gateway()).unwrap(),
        ];
        let expected = "127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::\tip6-localnet\n\
             ff00::\tip6-mcastprefix\n\
             ff02::1\tip6-allnodes\n\
             ff02::2\tip6-allrouters\n\
             10.0.0.9\tdb\n\
             172.17.0.1\thost.docker.internal\n\
             172.17.0.2\tbox\n";
        assert_eq!(render(own, &extra).unwrap(), expected);
    }

    #[test]
    fn a_domain_makes_the_name_whole() {
        let own = Own { address: "172.17.0.2".parse().ok(), hostname: "box", domainname: "example.com" };
        assert!(render(own, &[]).unwrap().ends_with("\n172.17.0.2\tbox.example.com box\n"));
        let host = Own { address: None, ..own };
        assert!(!render(host, &[]).unwrap().contains("box"));
    }

    #[test]
    fn extra_hosts_are_read_strictly() {
        let parse = |text| ExtraHost::parse(text, gateway());
        for (text, address) in
            [("a:1.2.3.4", "1.2.3.4"), ("a:::1", "::1"), ("a:[::1]", "::1"), ("a=::1", "::1")]
        {
            assert_eq!(parse(text).unwrap().address, address.parse::<IpAddr>().unwrap(), "{text}");
        }
        for text in [
            "",
            "a",
            ":1.2.3.4",
            "a:",
            "a:b",
            "a b:1.2.3.4",
            "a\n:1.2.3.4",
            "a:1.2.3.4\n6.6.6.6 b",
            "#:1.2.3.4",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_that_are_lines_are_refused() {
        let own = |hostname, domainname| Own { address: Some(gateway()), hostname, domainname };
        for (hostname, domainname) in [("", ""), ("a\n6.6.6.6 b", ""), ("a", "b c")] {
            assert!(render(own(hostname, domainname), &[]).is_err(), "{hostname:?} {domainname:?}");
        }
    }
}
