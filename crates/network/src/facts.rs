//! What of the host decides whether containers' packets arrive: for `gantry doctor`. Reads only.

use std::fs;

use gantry_sys::Errno;
use gantry_sys::netlink::{Netlink, Request, attributes};

use crate::filter::TABLE;

const GETGEN: u16 = 10 << 8 | 16;
const GETCHAIN: u16 = 10 << 8 | 4;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const HOOK_NUMBER: u16 = 1;
const FORWARD: u32 = 2;
const DROP: u32 = 0;
/// Families whose chains see forwarded packets of IPv4.
const FAMILY_INET: u8 = 1;
const FAMILY_IPV4: u8 = 2;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostFacts {
    /// Why the kernel has no nf_tables for us, if it has none: then only `iptables=false` works.
    pub nf_tables_error: Option<Errno>,
    /// Whether the host forwards IPv4; unknown without procfs.
    pub ip_forward: Option<bool>,
    /// Whether bridged packets pass the filters of IPv4; unknown without br_netfilter, where they do not.
    pub bridge_netfilter: Option<bool>,
    /// How many connections are tracked, and how many may be; a full table drops packets.
    pub connections: Option<(u64, u64)>,
    /// Others' chains that drop forwarded packets unless a rule of theirs accepts them. A packet has to pass all chains, so
    /// that ours cannot overrule these: docker's `FORWARD`, ufw's, firewalld's.
    pub forward_drops: Vec<Chain>,
    /// Tables of the old iptables (`iptables-legacy`), whose rules nf_tables does not show.
    pub legacy_tables: Vec<String>,
}

/// A chain of nf_tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its table's family: `ip` or `inet`.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
}

impl HostFacts {
    /// Looks at the host of the calling thread's network namespace.
    pub fn find() -> Self {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let flag = |path: &str| number(path).map(|number| number != 0);
        let count = number("/proc/sys/net/netfilter/nf_conntrack_count");
        let legacy = fs::read_to_string("/proc/thread-self/net/ip_tables_names").unwrap_or_default();
        let (nf_tables_error, forward_drops) = match chains() {
            Ok(chains) => (None, chains),
            Err(errno) => (Some(errno), Vec::new()),
        };
        HostFacts {
            nf_tables_error,
            ip_forward: flag("/proc/sys/net/ipv4/ip_forward"),
            bridge_netfilter: flag("/proc/sys/net/bridge/bridge-nf-call-iptables"),
            connections: count.zip(number("/proc/sys/net/netfilter/nf_conntrack_max")),
            forward_drops,
            legacy_tables: legacy.lines().map(str::to_owned).collect(),
        }
    }
}

fn chains() -> Result<Vec<Chain>, Errno> {
    let socket = Netlink::open_netfilter()?;
    socket.execute(Request::new(GETGEN, 0, &[0; 4]))?;
    let mut found = Vec::new();
    socket.dump(Request::new(GETCHAIN, 0, &[0; 4]), &mut |message| found.extend(dropping(message)))?;
    Ok(found)
}

/// The chain, if it is another's that drops what is forwarded.
fn dropping(message: &[u8]) -> Option<Chain> {
    let family = match *message.first()? {
        FAMILY_INET => "inet",
        FAMILY_IPV4 => "ip",
        _ => return None,
    };
    let rest = message.get(4..)?;
    let find = |bytes, wanted| attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let number = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    let text =
        |kind| find(rest, kind).map(|value| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
    let hook = find(rest, CHAIN_HOOK)?;
    let (place, policy) = (number(find(hook, HOOK_NUMBER)?)?, number(find(rest, CHAIN_POLICY)?)?);
    let chain = Chain { family, table: text(CHAIN_TABLE)?, name: text(CHAIN_NAME)? };
    (place == FORWARD && policy == DROP && chain.table != TABLE).then_some(chain)
}
