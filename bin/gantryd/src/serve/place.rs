//! The daemon's directories: made, and kept from a second daemon.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The root: for the daemon alone.
const ROOT_MODE: u32 = 0o700;
/// The state: everybody may reach a socket of which they know the name.
const STATE_MODE: u32 = 0o711;
const LOCK: &str = "lock";
/// How long a daemon that was killed may take to be gone: the kernel closes thousands of descriptors before the lock.
const LOCK_PATIENCE: Duration = Duration::from_millis(1000);
const LOCK_PAUSE: Duration = Duration::from_millis(10);
const UUID: &str = "uuid";

/// The directories, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    /// Names this store for ever.
    pub(crate) uuid: String,
    _lock: File,
}

impl Place {
    /// Makes both directories, and takes the lock of the root.
    pub(crate) fn take(root: &Path, state: &Path) -> Result<Self> {
        make(root, ROOT_MODE)?;
        make(state, STATE_MODE)?;
        let lock = lock(root)?;
        Ok(Self { uuid: uuid(root)?, _lock: lock })
    }
}

impl Place {
    /// Takes the lock of a root that is there, for as long as the result lives.
    pub(crate) fn hold(root: &Path) -> Result<File> {
        lock(root)
    }
}

/// Makes a directory, or gives one that is there its mode.
fn make(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(mode)))
        .with_context(|| format!("cannot make {}", path.display()))
}

/// The lock goes with the process, however it ends.
fn lock(root: &Path) -> Result<File> {
    let path = root.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    let locked = loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(LOCK_PAUSE),
            locked => break locked,
        }
    };
    match locked {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder)?;
            bail!("{} is in use by gantryd, process {}", root.display(), holder.trim());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

/// The daemon that has a root.
pub(crate) fn holder(root: &Path) -> Result<i32> {
    let path = root.join(LOCK);
    let file = File::open(&path).with_context(|| format!("no daemon has {}", root.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => {}
        Ok(()) => bail!("no daemon has {}", root.display()),
        Err(error) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
    let text = std::fs::read_to_string(&path)?;
    text.trim().parse().with_context(|| format!("{} names no process", path.display()))
}

/// Reads the identity of the store, or makes one.
fn uuid(root: &Path) -> Result<String> {
    let path = root.join(UUID);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    if is_uuid(&text) {
        return Ok(text);
    }
    let made = new_uuid()?;
    let part = path.with_extension("new");
    let mut file = File::create(&part)?;
    file.write_all(made.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&part, &path).with_context(|| format!("cannot write {}", path.display()))?;
    File::open(root)?.sync_all()?;
    Ok(made)
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Random, version 4 (RFC 9562).
fn new_uuid() -> Result<String> {
    let mut bytes = [0_u8; 16];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    anyhow::ensure!(got == bytes.len(), "the kernel gave {got} random bytes");
    let number = u128::from_be_bytes(bytes) & !(0xf000 << 64 | 0xc000 << 48) | 0x4000 << 64 | 0x8000 << 48;
    let hex = format!("{number:032x}");
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_has_one_daemon_and_one_identity() {
        let directory = tempfile::tempdir().unwrap();
        let (root, state) = (directory.path().join("root"), directory.path().join("state"));
        let first = Place::take(&root, &state).unwrap();
        let error = Place::take(&root, &state).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        assert_eq!(holder(&root).unwrap(), std::process::id().cast_signed());
        let uuid = first.uuid.clone();
        drop(first);
        assert!(holder(&root).is_err());
        assert_eq!(Place::take(&root, &state).unwrap().uuid, uuid);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&root), mode(&state)), (0o700, 0o711));
    }

    #[test]
    fn identities_are_of_version_four() {
        let uuid = new_uuid().unwrap();
        assert!(is_uuid(&uuid) && uuid.as_bytes()[14] == b'4', "{uuid}");
        assert!(matches!(uuid.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{uuid}");
        assert!(!is_uuid("x"));
    }
}
