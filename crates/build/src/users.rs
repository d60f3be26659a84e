//! `--chown`: from names to numbers, by the files of the image.
//!
//! The files are read in this process, and nothing of the image is ever loaded or run (CVE-2019-14271). Links lead nowhere but into
//! the image.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;

use gantry_sys::path::open_in_root;
use rustix::fs::{FileType, OFlags, fstat};

/// The longest file of users or groups.
const MAX_BYTES: u64 = 8 << 20;

/// The numbers behind `user[:group]`. Without a group, the user's name is the group's, too, as with docker.
///
/// # Errors
/// The text of an error.
pub(crate) fn owner(root: BorrowedFd<'_>, text: &str) -> Result<(u32, u32), String> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    if user.is_empty() || group.is_empty() || group.contains(':') {
        return Err(format!("invalid chown string {text:?}"));
    }
    Ok((number(root, c"etc/passwd", "user", user)?, number(root, c"etc/group", "group", group)?))
}

fn number(root: BorrowedFd<'_>, file: &std::ffi::CStr, what: &str, name: &str) -> Result<u32, String> {
    // The largest number means "as before" to the kernel.
    if let Ok(number) = name.parse::<u32>() {
        return if number == u32::MAX { Err(format!("{what} {name} is none")) } else { Ok(number) };
    }
    let missing =
        || format!("unable to convert uid/gid chown string to host mapping: can't find {what} {name}");
    let text = read(root, file).ok_or_else(missing)?;
    let line = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1).and_then(|field| field.parse().ok()))
    });
    line.flatten().ok_or_else(missing)
}

fn read(root: BorrowedFd<'_>, path: &std::ffi::CStr) -> Option<String> {
    let file = open_in_root(root, path, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
    let stat = fstat(&file).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut bytes = Vec::new();
    File::from(file).take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn names_are_those_of_the_image() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/:\nweb:x:33:34::/:\n1000:x:7:7::/:\n")
            .unwrap();
        std::fs::write(dir.path().join("etc/group"), "root:x:0:\nweb:x:35:\nadm:x:4:\n").unwrap();
        let root = File::open(dir.path()).unwrap();
        let owner = |text| owner(root.as_fd(), text);
        assert_eq!(owner("web"), Ok((33, 35)));
        assert_eq!(owner("web:adm"), Ok((33, 4)));
        assert_eq!(owner("7:web"), Ok((7, 35)));
        // CVE-2016-3697: what looks like a number is one.
        assert_eq!(owner("1000"), Ok((1000, 1000)));
        for wrong in ["nobody", "web:nobody", "", ":", "a:", "1:2:3", "4294967295", "-1"] {
            assert!(owner(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_outside_the_image_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("etc/passwd")).unwrap();
        let root = File::open(dir.path()).unwrap();
        assert!(owner(root.as_fd(), "root:0").is_err());
    }
}
