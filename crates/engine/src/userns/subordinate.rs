//! Subordinate ids: subuid(5), subgid(5), and what the files say of users. Read anew whenever something is chosen: an operator
//! adds a line without telling the daemon.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::ids::{IdMaps, Span};
use crate::{Error, Result};

/// The most that is read of a file.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// The most ranges of one user that are used: UID_GID_MAP_MAX_EXTENTS of the kernel.
const MAX_RANGES: usize = 340;
/// Dockerd's user for `default`.
const DEFAULT_USER: &str = "dockremap";
// Ids that no tool gives away: above login.defs' SUB_UID_MAX and systemd's ranges, below 2³¹ and systemd's foreign ids.
/// For `default`, where dockremap has no line.
const FREE_REMAP: Span = Span { first: 0x7000_0000, count: 0x10_0000 };
/// For automatic ranges.
pub(super) const FREE_AUTO: Span = Span { first: 0x7010_0000, count: 0x0fee_0000 };
/// How many ids `default` has.
const DEFAULT_IDS: u32 = 65_536;

/// What the files say.
#[derive(Debug, Clone, Default)]
pub(super) struct Subordinate {
    uids: Vec<(String, Span)>,
    gids: Vec<(String, Span)>,
    users: Vec<(String, u32)>,
    groups: Vec<(String, u32)>,
}

/// Whether a value of `userns-remap` is root, which dockerd takes for none.
pub(super) fn is_root(asked: &str) -> bool {
    matches!(asked.split(':').next(), Some("root" | "0"))
}

impl Subordinate {
    /// Reads the files below `etc`; one that is not there is empty. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn read(etc: &Path) -> Result<Self> {
        let text = |name: &str| text(&etc.join(name));
        Ok(Self {
            uids: spans(&text("subuid")?),
            gids: spans(&text("subgid")?),
            users: named(&text("passwd")?),
            groups: named(&text("group")?),
        })
    }

    /// The ids of `userns-remap`; None for root, which is none.
    ///
    /// # Errors
    /// Invalid for a text that names nobody, and for a user without ranges.
    pub(super) fn remap(&self, asked: &str) -> Result<Option<IdMaps>> {
        let invalid = |reason: String| Error::Invalid(format!("userns-remap {asked:?}: {reason}"));
        let (user, group) = asked.split_once(':').map_or((asked, None), |(user, group)| (user, Some(group)));
        if user.is_empty() || group.is_some_and(|group| group.is_empty() || group.contains(':')) {
            return Err(invalid("it is default, user, user:group, or their numbers".to_owned()));
        }
        if is_root(asked) {
            return Ok(None);
        }
        let known =
            |group: &str| group.parse::<u32>().is_ok() || self.groups.iter().any(|(name, _)| name == group);
        if let Some(group) = group.filter(|group| !known(group)) {
            return Err(invalid(format!("there is no group {group:?}")));
        }
        let name = if asked == "default" { DEFAULT_USER } else { user };
        let (uids, gids) = (self.of(&self.uids, name), self.of(&self.gids, name));
        if asked == "default" && uids.is_empty() && gids.is_empty() {
            return Ok(Some(self.default_ids()?));
        }
        for (spans, file) in [(&uids, "/etc/subuid"), (&gids, "/etc/subgid")] {
            if spans.is_empty() {
                let line = format!("add a line such as {name}:100000:65536");
                return Err(invalid(format!("no subordinate ids of {name:?} in {file}: {line}")));
            }
        }
        Ok(Some(IdMaps::of(&uids, &gids)))
    }

    /// The first free ids.
    fn default_ids(&self) -> Result<IdMaps> {
        let first = |all: Vec<Span>| all.into_iter().find(|span| span.count >= DEFAULT_IDS);
        let (uids, gids) = self.free(FREE_REMAP);
        match (first(uids), first(gids)) {
            (Some(uids), Some(gids)) => {
                let some = |span: Span| [Span { count: DEFAULT_IDS, ..span }];
                Ok(IdMaps::of(&some(uids), &some(gids)))
            }
            _ => Err(Error::Invalid(format!(
                "userns-remap: no range of {DEFAULT_IDS} ids is free: give {DEFAULT_USER} one in /etc/subuid and /etc/subgid"
            ))),
        }
    }

    /// What automatic ranges are taken from: the lines of a user, else what is free. Users, and groups.
    ///
    /// # Errors
    /// Invalid for a user with lines in one of the files only.
    pub(super) fn auto(&self, user: &str) -> Result<(Vec<Span>, Vec<Span>)> {
        match (self.of(&self.uids, user), self.of(&self.gids, user)) {
            (uids, gids) if uids.is_empty() && gids.is_empty() => Ok(self.free(FREE_AUTO)),
            (uids, gids) if uids.is_empty() || gids.is_empty() => {
                let (has, lacks) = if uids.is_empty() { ("subgid", "subuid") } else { ("subuid", "subgid") };
                Err(Error::Invalid(format!(
                    "the user {user} has a line in /etc/{has} and none in /etc/{lacks}"
                )))
            }
            both => Ok(both),
        }
    }

    /// The ranges of a user, by name or number, in the file's order.
    fn of(&self, lines: &[(String, Span)], user: &str) -> Vec<Span> {
        let number = user.parse::<u32>().ok();
        let is_it = |owner: &str| {
            owner == user
                || self.users.iter().any(|(name, uid)| match number {
                    Some(number) => *uid == number && name == owner,
                    None => name == user && owner.parse() == Ok(*uid),
                })
        };
        lines.iter().filter(|(owner, _)| is_it(owner)).map(|(_, span)| *span).take(MAX_RANGES).collect()
    }

    /// Free ids without those that somebody has all the same: users, and groups.
    fn free(&self, of: Span) -> (Vec<Span>, Vec<Span>) {
        let without = |lines: &[(String, Span)], ids: &[(String, u32)]| {
            let ranges = lines.iter().map(|(_, span)| *span);
            let single = ids.iter().map(|(_, id)| Span { first: *id, count: 1 });
            subtract(&[of], &ranges.chain(single).collect::<Vec<_>>())
        };
        (without(&self.uids, &self.users), without(&self.gids, &self.groups))
    }
}

/// What is left of ranges without others, in order.
pub(super) fn subtract(from: &[Span], taken: &[Span]) -> Vec<Span> {
    let mut taken: Vec<Span> = taken.iter().copied().filter(|span| span.count > 0).collect();
    taken.sort_unstable_by_key(|span| span.first);
    let mut left = Vec::new();
    for span in from {
        let mut next = u64::from(span.first);
        let mut keep = |from: u64, to: u64| {
            if let (Ok(first), Ok(count)) = (u32::try_from(from), u32::try_from(to.saturating_sub(from)))
                && count > 0
            {
                left.push(Span { first, count });
            }
        };
        for other in &taken {
            if other.end() <= next || u64::from(other.first) >= span.end() {
                continue;
            }
            keep(next, u64::from(other.first));
            next = other.end();
        }
        keep(next, span.end());
    }
    left
}

fn text(path: &Path) -> Result<String> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        file => file.map_err(Error::io("opening", path))?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("reading", path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::Invalid(format!("{} has more than {MAX_FILE_BYTES} bytes", path.display())));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Lines `owner:first:count`; others are left out, as shadow(5)'s tools do.
fn spans(text: &str) -> Vec<(String, Span)> {
    let line = |line: &str| {
        let mut fields = line.trim().split(':');
        let (owner, first, count) =
            (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let good = fields.next().is_none() && !owner.is_empty() && !owner.starts_with('#') && count > 0;
        good.then(|| (owner.to_owned(), Span { first, count }))
    };
    text.lines().filter_map(line).collect()
}

/// Names and numbers of passwd(5) or group(5).
fn named(text: &str) -> Vec<(String, u32)> {
    let line = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(subuid: &str, subgid: &str) -> Subordinate {
        Subordinate {
            uids: spans(subuid),
            gids: spans(subgid),
            users: named("root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\nfar:x:1879048200:1::/:\n"),
            groups: named("root:x:0:\nstaff:x:50:ann\n"),
        }
    }

    fn uids(maps: Result<Option<IdMaps>>) -> String {
        maps.map_or_else(
            |error| format!("error: {error}"),
            |maps| maps.map_or("none".to_owned(), |maps| IdMaps::option(&maps.uids)),
        )
    }

    #[test]
    fn remapping_takes_the_ranges_of_a_user() {
        let both = "# comment\nann:100000:10\nother:5:5\n1000:200000:20\nann:bad:1\nann:1:0\nann:1:2:3\n";
        let files = files(both, "ann:300000:65536\n");
        for asked in ["ann", "ann:staff", "1000", "1000:50", "ann:50"] {
            assert_eq!(uids(files.remap(asked)), "0:100000:10,10:200000:20", "{asked}");
        }
        assert_eq!(files.remap("ann").unwrap().unwrap().root(), Some((100_000, 300_000)));
        for asked in ["root", "root:root", "0", "0:0"] {
            assert_eq!(uids(files.remap(asked)), "none", "{asked}");
        }
        for asked in ["", ":", "ann:", ":staff", "ann:x:y", "ann:nobody-has-it", "other", "nobody"] {
            assert!(files.remap(asked).is_err(), "{asked}");
        }
        let error = files.remap("other").unwrap_err().to_string();
        assert!(error.contains("/etc/subgid") && error.contains("other:100000:65536"), "{error}");
    }

    #[test]
    fn default_is_dockremap_or_what_is_free() {
        let line = "dockremap:165536:65536\n";
        assert_eq!(uids(files(line, line).remap("default")), "0:165536:65536");
        assert!(files(line, "").remap("default").is_err());
        // A user has an id of the first range, and a line the second one.
        let free = files("ann:1879113736:65536\n", "").remap("default").unwrap().unwrap();
        assert_eq!(free.root(), Some((1_879_179_272, 1_879_048_192)));
    }

    #[test]
    fn automatic_ranges_are_a_users_or_what_is_free() {
        let lines = "containers:1000000:131072\n";
        assert_eq!(
            files(lines, lines).auto("containers").unwrap().0,
            [Span { first: 1_000_000, count: 131_072 }]
        );
        assert!(files(lines, "").auto("containers").is_err());
        assert_eq!(files("", "").auto("containers").unwrap().1, [FREE_AUTO]);
    }

    #[test]
    fn what_is_taken_is_left_out() {
        let span = |first, count| Span { first, count };
        let check = |from: &[Span], taken: &[Span], left: &[Span]| assert_eq!(subtract(from, taken), left);
        check(&[span(10, 10)], &[], &[span(10, 10)]);
        check(&[span(10, 10)], &[span(12, 3), span(0, 11), span(19, 5)], &[span(11, 1), span(15, 4)]);
        check(&[span(10, 10)], &[span(0, 100)], &[]);
        check(&[span(10, 10)], &[span(12, 5), span(13, 1)], &[span(10, 2), span(17, 3)]);
        check(&[span(0, 5), span(10, 5)], &[span(3, 8)], &[span(0, 3), span(11, 4)]);
        check(&[span(u32::MAX - 1, 2)], &[span(0, 1)], &[span(u32::MAX - 1, 2)]);
        check(&[span(0, u32::MAX)], &[span(u32::MAX - 5, u32::MAX)], &[span(0, u32::MAX - 5)]);
    }
}
