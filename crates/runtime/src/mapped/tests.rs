use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;

fn mount(options: &[&str]) -> Mount {
    Mount {
        type_: "overlay".into(),
        source: "overlay".into(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    }
}

#[test]
fn options_of_mapping_are_taken_out() {
    assert_eq!(split(&mount(&["lowerdir=/a:/b", "ro"])).unwrap(), None);
    let asked = mount(&["lowerdir=/a:/b", "uidmap=0:1000:1,1:5000:10", "gidmap=0:7:2", ALL]);
    let (rest, ids) = split(&asked).unwrap().unwrap();
    assert_eq!(rest.options, ["lowerdir=/a:/b"]);
    assert!(ids.all);
    assert_eq!(ids.uids[1], IdMapping { container_id: 1, host_id: 5000, size: 10 });
    for wrong in [
        &["uidmap=0:1:2"][..],
        &["gidmap=0:1:2"],
        &["uidmap=0:1", "gidmap=0:1:2"],
        &["uidmap=0:1:x", "gidmap=0:1:2"],
        &["uidmap=0:1:2:3", "gidmap=0:1:2"],
        &["uidmap=", "gidmap="],
        &[ALL],
    ] {
        assert!(split(&mount(wrong)).is_err(), "{wrong:?}");
    }
}

#[test]
fn the_deepest_directory_above_all_layers() {
    let check = |paths: &[&str], expect: Option<&str>| {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        assert_eq!(common(&paths), expect.map(PathBuf::from), "{paths:?}");
    };
    check(&["/s/1/fs", "/s/2/fs", "/s/2/work"], Some("/s"));
    check(&["/s/1/fs"], Some("/s/1"));
    check(&["/s/1", "/s/1/x"], Some("/s"));
    check(&["/a", "/b"], Some("/"));
    check(&["a/b", "a/c"], None);
    check(&[], None);
}

/// Layers with a file of root's each, and what is mounted of them.
struct Layers {
    dir: tempfile::TempDir,
}

impl Layers {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["1", "2", "upper", "work"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join(format!("of-{name}")), name).unwrap();
        }
        Self { dir }
    }

    fn at(&self, name: &str) -> CString {
        CString::new(self.dir.path().join(name).to_str().unwrap()).unwrap()
    }

    fn tree(&self, all: bool, make: &Make<'_>) -> OwnedFd {
        let ids = |host_id| vec![IdMapping { container_id: 0, host_id, size: 65_536 }];
        let ids = Ids { uids: ids(200_000), gids: ids(300_000), all };
        let own = |key: &CStr, name: &str| Parameter { key: key.to_owned(), value: Some(self.at(name)) };
        let rest = [own(c"upperdir", "upper"), own(c"workdir", "work")];
        Overlay { lower: &[self.at("2"), self.at("1")], rest: &rest, ids: &ids }.tree(make).unwrap()
    }

    /// The owner that a file of the mount has, by a directory of the mount that is attached nowhere.
    fn owner(tree: &OwnedFd, name: &str) -> (u32, u32) {
        let stat = rustix::fs::statat(tree, name, rustix::fs::AtFlags::empty()).unwrap();
        (stat.st_uid, stat.st_gid)
    }
}

/// Whether this is the process for `test`, which has one thread: if not, it is run here.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "GANTRY_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    if !rustix::process::geteuid().is_root() || !has(Feature::OverlayMappedLayers) {
        gantry_testkit::skip(&format!("gantry_runtime::{test}"), "needs root and Linux 5.19");
        return false;
    }
    let own = std::env::current_exe().unwrap();
    let arguments = ["--exact", test, "--test-threads=1", "--nocapture"];
    let status = std::process::Command::new(own).args(arguments).env(ALONE, "1").status().unwrap();
    assert!(status.success());
    false
}

fn by_fsopen(lower: &[CString], rest: &[Parameter]) -> Result<Option<OwnedFd>, Errno> {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    };
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"lowerdir", joined_layers(lower).unwrap().as_c_str())?;
    for Parameter { key, value } in rest {
        fsconfig_set_string(context.as_fd(), key.as_c_str(), value.as_ref().unwrap().as_c_str())?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map(Some)
}

#[test]
fn layers_show_mapped_owners_and_keep_their_own() {
    if !is_alone("mapped::tests::layers_show_mapped_owners_and_keep_their_own") {
        return;
    }
    for (all, upper) in [(true, (200_000, 300_000)), (false, (0, 0))] {
        let makes: [&Make<'_>; 2] = [&by_fsopen, &|_, _| Ok(None)];
        for make in makes {
            let layers = Layers::new();
            let tree = layers.tree(all, make);
            assert_eq!(Layers::owner(&tree, "of-1"), (200_000, 300_000));
            assert_eq!(Layers::owner(&tree, "of-2"), (200_000, 300_000));
            assert_eq!(Layers::owner(&tree, "of-upper"), upper);
            let flags = rustix::fs::fstatvfs(&tree).unwrap().f_flag;
            assert!(!flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "it can be written to");
            let metadata = fs::metadata(layers.dir.path().join("1/of-1")).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "the disk is as it was");
            let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!table.contains(layers.dir.path().to_str().unwrap()), "nothing is mounted here");
        }
    }
}
