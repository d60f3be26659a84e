//! Docker's links: names for the addresses of others on the bridge, in a container's `/etc/hosts`.
//!
//! Another address of who is linked to, after a start, is written into the files of those who run. They are the containers' to write to, too:
//! only addresses beside the link's names change, and the rest stays as the container has it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use gantry_network::hosts::ExtraHost;
use rustix::fs::OFlags;

use super::files::HOSTS;
use crate::record::{Record, Status};
use crate::{Engine, Error, Result};

/// The longest file that is looked at, in bytes: it is the container's to make longer.
const MAX_HOSTS: u64 = 1 << 20;

/// Who is linked to, and by which name.
fn parts(link: &str) -> (&str, &str) {
    link.split_once(':').unwrap_or((link, link.trim_start_matches('/')))
}

/// The names of a link's other end.
fn names<'a>(other: &'a Record, alias: &'a str) -> [&'a str; 3] {
    [alias, other.short_id(), &other.name]
}

/// The lines for a container that starts.
///
/// # Errors
/// NotFound; Conflict for those who have no address, since they do not run.
pub(crate) fn entries(engine: &Engine, links: &[String]) -> Result<Vec<ExtraHost>> {
    let mut entries = Vec::new();
    for link in links {
        let (name, alias) = parts(link);
        let other = engine.container(name)?.record();
        let Some(endpoint) = &other.endpoint else {
            return Err(Error::Conflict(format!("cannot link to a non running container: /{}", other.name)));
        };
        for name in names(&other, alias) {
            entries.push(ExtraHost { name: name.to_owned(), address: IpAddr::V4(endpoint.address) });
        }
    }
    Ok(entries)
}

impl Engine {
    /// Tells the address of a container that has just got it to those who are linked to it and run.
    pub(crate) async fn tell_linked(&self, target: &Record) {
        let links_to = |link: &String| {
            let (name, _) = parts(link);
            name.trim_start_matches('/') == target.name || target.id.starts_with(name)
        };
        // Nearly nobody is: no thread is asked for then.
        let any = |record: &Record| record.options.network.links.iter().any(links_to);
        if self.containers().iter().any(|container| any(&container.record())) {
            let (engine, target) = (self.clone(), target.clone());
            let told = self.blocking("telling an address", move || {
                engine.refresh_links(&target);
                Ok(())
            });
            // Each that was not told is in the log.
            let _ = told.await;
        }
    }

    fn refresh_links(&self, target: &Record) {
        let Some(address) = target.endpoint.as_ref().map(|endpoint| endpoint.address) else { return };
        for container in self.containers() {
            let record = container.record();
            if !matches!(record.state.status, Status::Running | Status::Paused) {
                continue;
            }
            for link in &record.options.network.links {
                let (name, alias) = parts(link);
                if !self.container(name).is_ok_and(|found| found.id == target.id) {
                    continue;
                }
                let path = self.shared.directory(&record.id).join(HOSTS);
                if let Err(error) = rewrite(&path, &names(target, alias), address) {
                    tracing::warn!(container = %record.id, link, %error, "a link has an old address");
                }
            }
        }
    }
}

/// Changes the file in place, because the container has it mounted.
fn rewrite(path: &Path, names: &[&str], address: Ipv4Addr) -> io::Result<()> {
    let no_follow = OFlags::NOFOLLOW.bits().cast_signed();
    let mut file = File::options().read(true).write(true).custom_flags(no_follow).open(path)?;
    let mut text = Vec::new();
    (&mut file).take(MAX_HOSTS + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_HOSTS {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the container has made its file too long"));
    }
    let Ok(text) = String::from_utf8(text) else { return Err(io::ErrorKind::InvalidData.into()) };
    let next = with_address(&text, names, address);
    if next != text {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(next.as_bytes())?;
        file.set_len(next.len() as u64)?;
    }
    Ok(())
}

/// The text with another address on the lines that are of one of the names alone.
fn with_address(text: &str, names: &[&str], address: Ipv4Addr) -> String {
    let line = |line: &str| match line.trim_end_matches('\n').split_once('\t') {
        Some((_, name)) if names.contains(&name) => format!("{address}\t{name}\n"),
        _ => line.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_lines_of_the_links_names_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(HOSTS);
        let text = "127.0.0.1\tlocalhost\n172.17.0.2\tdb\n# by hand\n192.0.2.1 db other\n172.17.0.2\tpg\n172.17.0.3\tme";
        fs::write(&path, text).unwrap();
        rewrite(&path, &["db", "pg"], Ipv4Addr::new(172, 17, 0, 99)).unwrap();
        let changed = text.replace("172.17.0.2", "172.17.0.99");
        assert_eq!(fs::read_to_string(&path).unwrap(), changed);
        rewrite(&path, &["db", "pg"], Ipv4Addr::new(10, 0, 0, 1)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), changed.replace("172.17.0.99", "10.0.0.1"));
    }

    #[test]
    fn a_file_that_a_container_has_spoilt_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(HOSTS);
        fs::write(&path, vec![b'x'; 2 << 20]).unwrap();
        rewrite(&path, &["db"], Ipv4Addr::LOCALHOST).unwrap_err();
        fs::write(&path, b"\xff\tdb\n").unwrap();
        rewrite(&path, &["db"], Ipv4Addr::LOCALHOST).unwrap_err();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        rewrite(&link, &["db"], Ipv4Addr::LOCALHOST).unwrap_err();
    }
}
