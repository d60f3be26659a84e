use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use gantry_testkit::{Need, require};
use gantry_types::{ErrorKind, Labels};

use super::*;

const ONE: SnapshotNumber = SnapshotNumber(1);
const TWO: SnapshotNumber = SnapshotNumber(2);
const THREE: SnapshotNumber = SnapshotNumber(3);

fn open(options: Options) -> (tempfile::TempDir, Overlayfs) {
    let dir = tempfile::tempdir().unwrap();
    let driver = Overlayfs::open(&dir.path().join("overlayfs"), options).unwrap();
    (dir, driver)
}

fn plain() -> Options {
    Options { mount_options: vec!["index=off".into()], ..Options::default() }
}

fn request(kind: Kind, labels: &Labels) -> Request<'_> {
    Request { kind, labels, volatile: false }
}

/// The mounts as ctr prints them, with `/R` for the driver's directory.
fn shown(driver: &Overlayfs, kind: Kind, parents: &[SnapshotNumber], labels: &Labels) -> String {
    let mounts = driver.mounts(THREE, parents, &request(kind, labels)).unwrap();
    let text = mounts
        .iter()
        .map(|mount| format!("{} {} {}", mount.kind, mount.source, mount.options.join(",")))
        .collect::<Vec<_>>()
        .join("\n");
    text.replace(&driver.path, "/R")
}

#[test]
fn mounts_are_those_of_containerd() {
    require!(Need::Root);
    let (_dir, driver) = open(plain());
    let check = |kind, parents: &[SnapshotNumber], expected: &str| {
        assert_eq!(shown(&driver, kind, parents, &Labels::new()), expected, "{kind:?} on {parents:?}");
    };
    check(Kind::Active, &[], "bind /R/3/fs rw,rbind");
    check(Kind::View, &[], "bind /R/3/fs ro,rbind");
    check(Kind::View, &[TWO], "bind /R/2/fs ro,rbind");
    check(Kind::View, &[TWO, ONE], "overlay overlay lowerdir=/R/2/fs:/R/1/fs,index=off");
    check(
        Kind::Active,
        &[TWO, ONE],
        "overlay overlay workdir=/R/3/work,upperdir=/R/3/fs,lowerdir=/R/2/fs:/R/1/fs,index=off",
    );
    let error = driver.mounts(THREE, &[], &request(Kind::Committed, &Labels::new())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn mappings_of_ids_lead_the_options_and_own_the_root() {
    require!(Need::Root);
    let (dir, mut driver) = open(plain());
    driver.capabilities.remap_ids = true;
    let labels = [(labels::UID_MAPPING, "0:100000:65536"), (labels::GID_MAPPING, "0:200000:65536")];
    let labels: Labels = labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let active = request(Kind::Active, &labels);
    driver.prepare(THREE, &[], &active).unwrap();
    let root = dir.path().join("overlayfs/3/fs").metadata().unwrap();
    assert_eq!((root.uid(), root.gid()), (100_000, 200_000));
    assert_eq!(
        shown(&driver, Kind::Active, &[], &labels),
        "bind /R/3/fs uidmap=0:100000:65536,gidmap=0:200000:65536,rw,rbind"
    );
    assert_eq!(
        shown(&driver, Kind::Active, &[TWO], &labels),
        "overlay overlay uidmap=0:100000:65536,gidmap=0:200000:65536,workdir=/R/3/work,upperdir=/R/3/fs,\
         lowerdir=/R/2/fs,index=off"
    );
    driver.capabilities.remap_ids = false;
    assert_eq!(shown(&driver, Kind::Active, &[], &labels), "bind /R/3/fs rw,rbind");
    let wrong = Labels::from([(labels::UID_MAPPING.to_owned(), "1:2".to_owned())]);
    let error = driver.prepare(TWO, &[], &request(Kind::Active, &wrong)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(!dir.path().join("overlayfs/2").exists());
}

#[test]
fn options_that_were_given_are_not_overruled() {
    require!(Need::Root);
    let given = |options: &[&str]| Options {
        mount_options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Options::default()
    };
    let (_dir, driver) = open(given(&["index=on", "metacopy=on"]));
    assert_eq!(driver.options.mount_options, ["index=on", "metacopy=on"]);
    let (_dir, driver) = open(given(&["volatile"]));
    let labels = Labels::new();
    let volatile = Request { kind: Kind::Active, labels: &labels, volatile: true };
    let mounts = driver.mounts(THREE, &[TWO], &volatile).unwrap();
    assert_eq!(mounts[0].options.iter().filter(|option| *option == "volatile").count(), 1);
}

#[test]
fn only_what_is_written_once_is_volatile() {
    require!(Need::Root);
    let (_dir, driver) = open(plain());
    let labels = Labels::new();
    let volatile = |kind, parents: &[SnapshotNumber]| {
        let mounts =
            driver.mounts(THREE, parents, &Request { kind, labels: &labels, volatile: true }).unwrap();
        mounts[0].options.iter().any(|option| option == "volatile")
    };
    assert!(volatile(Kind::Active, &[TWO]));
    assert!(!volatile(Kind::Active, &[]), "a bind mount has no such option");
    assert!(!volatile(Kind::View, &[TWO, ONE]));
}

#[test]
fn directories_are_those_that_are_needed_with_containerds_modes() {
    require!(Need::Root);
    let (dir, driver) = open(plain());
    let (labels, root) = (Labels::new(), dir.path().join("overlayfs"));
    let mode = |path: &str| root.join(path).metadata().map(|facts| facts.mode() & 0o7777).ok();
    driver.prepare(ONE, &[], &request(Kind::Active, &labels)).unwrap();
    driver.prepare(TWO, &[ONE], &request(Kind::Active, &labels)).unwrap();
    driver.prepare(THREE, &[ONE], &request(Kind::View, &labels)).unwrap();
    assert_eq!(mode(""), Some(0o700));
    assert_eq!((mode("1"), mode("1/fs"), mode("1/work")), (Some(0o700), Some(0o755), None));
    assert_eq!((mode("2"), mode("2/fs"), mode("2/work")), (Some(0o700), Some(0o755), Some(0o711)));
    assert_eq!(mode("3"), None, "a view of layers has nothing of its own");
    driver.remove(&[THREE]).unwrap();
}

#[test]
fn a_new_root_has_owner_mode_and_attributes_of_the_nearest_layers() {
    require!(Need::Root);
    let (dir, driver) = open(plain());
    let (labels, root) = (Labels::new(), dir.path().join("overlayfs"));
    driver.prepare(ONE, &[], &request(Kind::Active, &labels)).unwrap();
    let below = root.join("1/fs");
    chown(&below, Some(5), Some(6)).unwrap();
    fs::set_permissions(&below, fs::Permissions::from_mode(0o1770)).unwrap();
    let set = |name, value: &[u8]| {
        rustix::fs::setxattr(&below, name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set("user.note", b"kept");
    set("trusted.overlay.opaque", b"y");
    driver.prepare(TWO, &[ONE], &request(Kind::Active, &labels)).unwrap();
    let facts = root.join("2/fs").metadata().unwrap();
    assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o7777), (5, 6, 0o1770));
    let get = |name| rustix::fs::getxattr(root.join("2/fs"), name, &mut [0; 16]).ok();
    assert_eq!((get("user.note"), get("trusted.overlay.opaque")), (Some(4), None));
}

#[test]
fn a_layer_is_applied_to_its_own_directory_beside_those_below() {
    require!(Need::Root);
    let (dir, driver) = open(plain());
    let (labels, root) = (Labels::new(), dir.path().join("overlayfs"));
    for number in [ONE, TWO, THREE] {
        driver.prepare(number, &[], &request(Kind::Active, &labels)).unwrap();
    }
    let target = driver.layers(THREE, &[TWO, ONE]).unwrap();
    let inode = |path: &str| root.join(path).metadata().unwrap().ino();
    let of = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
    assert_eq!(of(&target.upper), inode("3/fs"));
    assert_eq!(target.lower.iter().map(of).collect::<Vec<_>>(), [inode("2/fs"), inode("1/fs")]);
    assert_eq!(target.format, Format::Overlay { user_xattr: false });
    driver.sync(THREE).unwrap();
    let missing = SnapshotNumber(9);
    assert_eq!(driver.layers(missing, &[]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(driver.usage(missing).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(driver.sync(missing).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        driver.prepare(SnapshotNumber(4), &[missing], &request(Kind::Active, &labels)).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn a_path_that_mount_options_cannot_carry_is_refused() {
    for path in ["/tmp/a,b", "/tmp/a:b", "/tmp/a\\b", "relative"] {
        let error = Overlayfs::open(Path::new(path), Options::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{path}");
    }
}

#[test]
fn the_path_of_the_files_is_shown_where_asked_for() {
    require!(Need::Root);
    let (_dir, driver) = open(plain());
    assert_eq!(driver.shown_label(ONE), None);
    let (_dir, driver) = open(Options { upperdir_label: true, ..plain() });
    assert_eq!(driver.shown_label(ONE), Some((labels::UPPER_DIR, format!("{}/1/fs", driver.path))));
}

#[test]
fn what_a_client_may_do_about_ids_is_told() {
    require!(Need::Root);
    let (_dir, driver) = open(plain());
    assert!(driver.capabilities().names().contains(&"only-remap-ids"));
    assert!(driver.capabilities().names().contains(&"rebase"));
    let (_dir, driver) = open(Options { slow_chown: true, ..plain() });
    assert!(!driver.capabilities().names().contains(&"only-remap-ids"));
}
