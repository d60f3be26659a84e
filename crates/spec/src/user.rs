//! Users and groups of a container: from a text such as `web:staff` and the container's own files to numbers.
//!
//! passwd(5), group(5). The files are the image's and as hostile as the text: they are given as bytes, by a caller that
//! opened them within the root (a FIFO or a device in their place is nothing to wait for) and read [`MAX_FILE_BYTES`] and
//! one more at most. What looks like a number is a number and never a name.

use gantry_types::ErrorKind;

/// The most bytes of /etc/passwd or /etc/group (CVE-2026-47262, CVE-2025-4437).
pub const MAX_FILE_BYTES: usize = 8 << 20;
/// The longest line: the members of a group are all in one.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// The highest id: what 32 bits with a sign can hold (CVE-2024-40635).
pub const MAX_ID: u32 = i32::MAX as u32;
/// The most groups of one user (NGROUPS_MAX).
pub const MAX_GROUPS: usize = 65_536;
/// The longest text.
const MAX_TEXT_BYTES: usize = 1024;

/// A user of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The groups that list the user, if no group was asked for.
    pub additional_gids: Vec<u32>,
    /// The user's name; empty if only the number is known.
    pub name: String,
    /// The user's home; empty if it is not known.
    pub home: String,
}

/// Why there is no such user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not `user`, `user:group` or `:group`.
    #[error("invalid user {0:?}: it is a name or a number, with a colon before that of a group")]
    Malformed(String),
    /// CVE-2026-46680, CVE-2024-40635: a number that is no id.
    #[error("{0:?} is out of range: uids and gids are from 0 to {MAX_ID}")]
    OutOfRange(String),
    /// Not in /etc/passwd.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// Not in /etc/group.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// The entry that was found has no ids.
    #[error("the entry of {name:?} in the {file} file has an id that is none: {id:?}")]
    BadEntry {
        /// `passwd` or `group`.
        file: &'static str,
        /// The entry's name.
        name: String,
        /// What is where its id should be.
        id: String,
    },
    /// A limit of this module.
    #[error("the {file} file has {what} of more than {limit}")]
    TooLarge {
        /// `passwd` or `group`.
        file: &'static str,
        /// What is large.
        what: &'static str,
        /// How large it may be.
        limit: usize,
    },
}

impl Error {
    /// The error's kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } => ErrorKind::ResourceExhausted,
            _ => ErrorKind::InvalidArgument,
        }
    }
}

/// A name or a number.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    Id(u32),
    Name(&'a str),
}

impl<'a> Wanted<'a> {
    /// CVE-2016-3697, CVE-2026-46680: whatever is made of digits, also with a sign, is a number, and if it is too large
    /// it is not looked for as a name, which the image could give to root.
    fn parse(text: &'a str) -> Result<Self, Error> {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self::Name(text));
        }
        id(text.as_bytes()).map(Self::Id).ok_or_else(|| Error::OutOfRange(text.to_owned()))
    }

    fn is(self, entry: &Entry<'_>) -> bool {
        match self {
            Self::Id(wanted) => id(entry.id) == Some(wanted),
            Self::Name(name) => entry.name == name.as_bytes(),
        }
    }
}

/// Digits alone, up to [`MAX_ID`].
fn id(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|id| *id <= MAX_ID)
}

/// A line of either file: both begin with a name, a password and an id.
struct Entry<'a> {
    name: &'a [u8],
    id: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Entry<'a> {
    fn parse(line: &'a [u8]) -> Self {
        let mut fields = line.splitn(4, |b| *b == b':').map(<[u8]>::trim_ascii);
        let name = fields.next().unwrap_or_default();
        let (_password, id) = (fields.next(), fields.next().unwrap_or_default());
        Self { name, id, rest: fields.next().unwrap_or_default() }
    }

    fn id(&self, file: &'static str) -> Result<u32, Error> {
        id(self.id).ok_or_else(|| Error::BadEntry { file, name: lossy(self.name), id: lossy(self.id) })
    }

    /// Of /etc/passwd: `gid:gecos:home:shell`.
    fn field(&self, index: usize) -> &'a [u8] {
        self.rest.split(|b| *b == b':').nth(index).unwrap_or_default()
    }

    /// Of /etc/group: the members.
    fn lists(&self, user: &[u8]) -> bool {
        self.rest.split(|b| *b == b',').any(|member| member.trim_ascii() == user)
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).into_owned()
}

/// The entries of a file, without comments and empty lines.
fn entries<'a>(file: &'static str, bytes: &'a [u8]) -> Result<impl Iterator<Item = Entry<'a>>, Error> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Error::TooLarge { file, what: "bytes", limit: MAX_FILE_BYTES });
    }
    let lines = || bytes.split(|b| *b == b'\n');
    if lines().any(|line| line.len() > MAX_LINE_BYTES) {
        return Err(Error::TooLarge { file, what: "a line with bytes", limit: MAX_LINE_BYTES });
    }
    let said = |line: &&[u8]| !line.is_empty() && line[0] != b'#';
    Ok(lines().map(<[u8]>::trim_ascii).filter(said).map(Entry::parse))
}

/// The two parts of a text.
fn split(text: &str) -> Result<(&str, &str), Error> {
    let malformed = || {
        let shown: String = text.chars().take(256).collect();
        Error::Malformed(shown)
    };
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let odd = |c: char| c == ':' || c.is_control();
    if text.len() > MAX_TEXT_BYTES || user.contains(odd) || group.contains(odd) {
        return Err(malformed());
    }
    Ok((user, group))
}

/// Whether [`resolve`] looks at the files: not for two numbers, so that nobody need open them.
pub fn needs_files(text: &str) -> bool {
    let number = |text: &str| matches!(Wanted::parse(text), Ok(Wanted::Id(_)));
    match split(text) {
        Ok((user, group)) => !(number(user) && number(group)),
        Err(_) => false,
    }
}

/// Finds the user of a text, which is docker's `--user`: `name`, `uid`, either with `:name` or `:gid`, or nothing, which
/// is root. `passwd` and `group` are the container's files, empty where there are none.
///
/// The first entry that fits counts. A number needs no entry; one that has an entry gets its group, name and home. The
/// groups that list the user are added only if no group is asked for.
///
/// # Errors
/// [`Error`].
pub fn resolve(text: &str, passwd: &[u8], group: &[u8]) -> Result<User, Error> {
    let (user_text, group_text) = split(text)?;
    let wanted = match user_text {
        "" => Wanted::Id(0),
        text => Wanted::parse(text)?,
    };
    let mut user = User::default();
    match (entries("passwd", passwd)?.find(|entry| wanted.is(entry)), wanted) {
        (Some(entry), _) => {
            user.uid = entry.id("passwd")?;
            let gid = entry.field(0);
            let bad = || Error::BadEntry { file: "passwd", name: lossy(entry.name), id: lossy(gid) };
            user.gid = id(gid.trim_ascii()).ok_or_else(bad)?;
            user.name = lossy(entry.name);
            user.home = lossy(entry.field(2));
            if group_text.is_empty() {
                user.additional_gids = groups_of(entry.name, group)?;
            }
        }
        (None, Wanted::Id(uid)) => user.uid = uid,
        (None, Wanted::Name(name)) => return Err(Error::NoUser(name.to_owned())),
    }
    if !group_text.is_empty() {
        user.gid = find_group(group_text, group)?;
    }
    Ok(user)
}

/// The groups that list a user, in the file's order.
fn groups_of(user: &[u8], group: &[u8]) -> Result<Vec<u32>, Error> {
    let mut gids = Vec::new();
    if user.is_empty() {
        return Ok(gids);
    }
    for entry in entries("group", group)?.filter(|entry| entry.lists(user)) {
        gids.push(entry.id("group")?);
        if gids.len() > MAX_GROUPS {
            return Err(Error::TooLarge { file: "group", what: "groups of one user", limit: MAX_GROUPS });
        }
    }
    Ok(gids)
}

fn find_group(text: &str, group: &[u8]) -> Result<u32, Error> {
    match Wanted::parse(text)? {
        Wanted::Id(gid) => Ok(gid),
        wanted @ Wanted::Name(name) => match entries("group", group)?.find(|entry| wanted.is(entry)) {
            Some(entry) => entry.id("group"),
            None => Err(Error::NoGroup(name.to_owned())),
        },
    }
}

/// Finds groups by name or number, in their order and each once: docker's `--group-add`.
///
/// # Errors
/// [`Error`].
pub fn resolve_groups<S: AsRef<str>>(texts: &[S], group: &[u8]) -> Result<Vec<u32>, Error> {
    /// Each name costs a walk through the file.
    const MAX_TEXTS: usize = 256;
    if texts.len() > MAX_TEXTS {
        return Err(Error::TooLarge { file: "group", what: "groups to find", limit: MAX_TEXTS });
    }
    let mut gids = Vec::with_capacity(texts.len());
    for text in texts.iter().map(AsRef::as_ref) {
        if text.is_empty()
            || text.len() > MAX_TEXT_BYTES
            || text.contains(|c: char| c == ':' || c.is_control())
        {
            return Err(Error::Malformed(text.chars().take(256).collect()));
        }
        let gid = find_group(text, group)?;
        if !gids.contains(&gid) {
            gids.push(gid);
        }
    }
    Ok(gids)
}

#[cfg(test)]
mod tests;
