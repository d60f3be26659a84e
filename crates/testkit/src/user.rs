use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The ordinary user of the tests of rootless containers; `scripts/setup.sh` adds it.
#[derive(Debug, Clone)]
pub struct User {
    /// Its name, also in `/etc/subuid`.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its main group.
    pub gid: u32,
    /// Its home directory.
    pub home: PathBuf,
    /// The first of its 65536 subordinate user ids, 0 when it has none.
    pub sub_uid: u32,
    /// The first of its 65536 subordinate group ids, 0 when it has none.
    pub sub_gid: u32,
}

/// The name of the user with subordinate ids.
const NAME: &str = "gantry-test";

impl User {
    /// The test user, if the machine has it.
    pub fn find() -> Option<Self> {
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        let line = passwd.lines().find(|line| line.split(':').next() == Some(NAME))?;
        let fields: Vec<&str> = line.split(':').collect();
        Some(Self {
            name: NAME.to_owned(),
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
            home: PathBuf::from(fields.get(5)?),
            sub_uid: first_subordinate("/etc/subuid"),
            sub_gid: first_subordinate("/etc/subgid"),
        })
    }

    /// Gives everything at and below `path` to the user, so that it can be its bundle.
    ///
    /// # Panics
    /// When `chown` fails.
    pub fn own(&self, path: &Path) {
        let owner = format!("{}:{}", self.uid, self.gid);
        let status = Command::new("chown").args(["-hR", &owner]).arg(path).status().expect("chown runs");
        assert!(status.success(), "chown -hR {owner} {}: {status}", path.display());
    }

    /// A directory of the user at `path`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make_dir(&self, path: &Path) {
        fs::create_dir_all(path).expect("a directory");
        chown(path, Some(self.uid), Some(self.gid)).expect("chown");
    }
}

fn first_subordinate(file: &str) -> u32 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let entry = text
        .lines()
        .find_map(|line| line.strip_prefix(NAME)?.strip_prefix(':')?.split(':').next()?.parse().ok());
    entry.unwrap_or(0)
}
