//! The kernel's settings of the host's network namespace, `net.*` of sysctl(8), and what is remembered of them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::options::Forwarding;

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
/// Below the directory of network namespaces, which ends with the machine as the setting does.
const CLOSED: &str = ".closed";
/// Longer than the names of all devices of any host.
const MAX_CLOSED_BYTES: u64 = 1 << 20;

fn failed(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Setting { step, path: path.to_owned(), source }
}

/// Writes a setting unless it has the value: a write may cost a lock, and be refused where the value is right.
fn set(path: &Path, value: &str) -> Result<(), Error> {
    let current = fs::read_to_string(path).map_err(failed("reading", path))?;
    if current.trim_end() == value { Ok(()) } else { fs::write(path, value).map_err(failed("writing", path)) }
}

/// Whether the host forwards IPv4.
pub(crate) fn forwards() -> Result<bool, Error> {
    let path = Path::new(IP_FORWARD);
    Ok(fs::read_to_string(path).map_err(failed("reading", path))?.trim_end() != "0")
}

/// Turns forwarding of IPv4 on.
pub(crate) fn forward() -> Result<(), Error> {
    set(Path::new(IP_FORWARD), "1")
}

/// Lets connections from 127.0.0.1 leave by the bridge, and takes no router advertisements from containers (CVE-2020-10749).
pub(crate) fn tune_bridge(bridge: &str) -> Result<(), Error> {
    set(&PathBuf::from(format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet")), "1")?;
    let accept_ra = PathBuf::from(format!("/proc/sys/net/ipv6/conf/{bridge}/accept_ra"));
    match set(&accept_ra, "0") {
        // A kernel without IPv6.
        Err(Error::Setting { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The devices between which nothing was forwarded before we came: found where forwarding is off, remembered below
/// `directory` for those who find it on because of us.
pub(crate) fn closed_devices(
    forwarding: Forwarding,
    directory: &Path,
    present: impl FnOnce() -> Result<Vec<String>, Error>,
) -> Result<Vec<String>, Error> {
    let path = directory.join(CLOSED);
    if forwarding == Forwarding::Leave {
        return Ok(Vec::new());
    }
    if forwards()? {
        return match fs::metadata(&path) {
            Ok(metadata) if metadata.len() <= MAX_CLOSED_BYTES => {
                let text = fs::read_to_string(&path).map_err(failed("reading", &path))?;
                Ok(text.lines().map(str::to_owned).collect())
            }
            Ok(_) => Err(failed("reading", &path)(ErrorKind::FileTooLarge.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed("reading", &path)(error)),
        };
    }
    let devices = present()?;
    let temporary = directory.join(".closed.new");
    fs::write(&temporary, devices.join("\n")).map_err(failed("writing", &temporary))?;
    fs::rename(&temporary, &path).map_err(failed("writing", &path))?;
    Ok(devices)
}
