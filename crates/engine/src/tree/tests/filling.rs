//! A daemon that dies while it fills a volume: what the next one makes of what is there.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use gantry_testkit::{Need, require};

use super::root_of;
use crate::tree::copy_up::{fill, settle};

/// An image with `/data`, and a new volume.
struct Case {
    directory: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let case = Self { directory };
        fs::create_dir_all(case.at("image/data/sub")).unwrap();
        fs::write(case.at("image/data/file"), "image").unwrap();
        fs::set_permissions(case.at("image/data"), fs::Permissions::from_mode(0o2750)).unwrap();
        fs::create_dir_all(case.at("volume/_data")).unwrap();
        case
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What a daemon left that died.
    fn left(&self, name: &str) -> PathBuf {
        let path = self.at("volume").join(name);
        fs::create_dir_all(path.join("sub")).unwrap();
        fs::write(path.join("file"), "copied").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711)).unwrap();
        path
    }

    fn settle(&self) {
        settle(&self.at("volume/_data"), &self.at("volume")).unwrap();
    }

    /// The names in the volume and beside it.
    fn names(&self) -> (Vec<String>, usize) {
        let list = |path: PathBuf| -> Vec<String> {
            let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        (list(self.at("volume/_data")), list(self.at("volume")).len())
    }
}

#[test]
fn a_part_is_nothing_and_is_copied_again() {
    require!(Need::Root);
    let case = Case::new();
    case.left(".gantry-filling");
    case.settle();
    assert_eq!(case.names(), (vec![], 1));
    case.left(".gantry-filling");
    let image = root_of(&case.at("image"));
    fill(image.as_fd(), "/data", &case.at("volume/_data"), &case.at("volume")).unwrap();
    assert_eq!(case.names(), (vec!["file".to_owned(), "sub".to_owned()], 1));
    assert_eq!(fs::read_to_string(case.at("volume/_data/file")).unwrap(), "image");
    assert_eq!(fs::metadata(case.at("volume/_data")).unwrap().mode() & 0o7777, 0o2750);
}

#[test]
fn the_whole_goes_where_it_belongs() {
    require!(Need::Root);
    let case = Case::new();
    case.left(".gantry-filled");
    // A part of it had been moved already, and somebody has made a file of his own.
    fs::rename(case.at("volume/.gantry-filled/sub"), case.at("volume/_data/sub")).unwrap();
    fs::write(case.at("volume/_data/mine"), "kept").unwrap();
    case.settle();
    assert_eq!(case.names(), (vec!["file".to_owned(), "mine".to_owned(), "sub".to_owned()], 1));
    assert_eq!(fs::metadata(case.at("volume/_data")).unwrap().mode() & 0o7777, 0o711);
    // What is there counts more than what comes.
    case.left(".gantry-filled");
    fs::write(case.at("volume/_data/file"), "theirs").unwrap();
    case.settle();
    assert_eq!(fs::read_to_string(case.at("volume/_data/file")).unwrap(), "theirs");
    assert_eq!(case.names().1, 1);
}

#[test]
fn a_volume_that_is_a_mount_is_filled_by_way_of_itself() {
    require!(Need::Root);
    let case = Case::new();
    let (image, volume) = (root_of(&case.at("image")), case.at("volume/_data"));
    fs::create_dir(volume.join(".gantry-filling")).unwrap();
    fill(image.as_fd(), "/data", &volume, &volume).unwrap();
    assert_eq!(case.names(), (vec!["file".to_owned(), "sub".to_owned()], 1));
}
