use std::fs;

use gantry_snapshot::testsuite::in_private_mounts;
use gantry_snapshot::{Driver, Kind, Native, Options, Overlayfs, Request, SnapshotNumber};
use gantry_testkit::{Need, require};
use gantry_types::{ErrorKind, Labels};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

const LABELS: &Labels = &Labels::new();
const ACTIVE: Request<'_> = Request { kind: Kind::Active, labels: LABELS, volatile: false };

#[test]
fn files_of_a_mount_inside_a_removed_snapshot_stay() {
    require!(Need::Root);
    in_private_mounts(|| {
        let dir = tempfile::tempdir().unwrap();
        let (host, root) = (dir.path().join("host"), dir.path().join("native"));
        fs::create_dir(&host).unwrap();
        fs::write(host.join("precious"), "x").unwrap();
        let driver = Native::open(&root).unwrap();
        driver.prepare(SnapshotNumber(1), &[], &ACTIVE).unwrap();
        fs::create_dir(root.join("1/fs/mnt")).unwrap();
        mount_bind(&host, root.join("1/fs/mnt")).unwrap();
        assert!(
            driver.usage(SnapshotNumber(1)).unwrap().inodes <= 2,
            "a mount is none of the snapshot's files"
        );
        driver.remove(&[SnapshotNumber(1)]).unwrap();
        driver.collect().unwrap_err();
        assert!(host.join("precious").exists());
        unmount(root.join("trash-1/fs/mnt"), UnmountFlags::DETACH).unwrap();
        while driver.collect().unwrap() > 0 {}
        assert!(!root.join("trash-1").exists() && host.join("precious").exists());
    });
}

#[test]
fn overlayfs_on_overlayfs_is_refused_with_the_next_step() {
    require!(Need::Root);
    in_private_mounts(|| {
        let dir = tempfile::tempdir().unwrap();
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let path = |name: &str| dir.path().join(name).display().to_string();
        let options =
            format!("lowerdir={},upperdir={},workdir={}", path("lower"), path("upper"), path("work"));
        let options = std::ffi::CString::new(options).unwrap();
        mount("overlay", path("merged"), "overlay", MountFlags::empty(), options.as_c_str()).unwrap();
        let error = Overlayfs::open(&dir.path().join("merged/overlayfs"), Options::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        unmount(path("merged"), UnmountFlags::DETACH).unwrap();
    });
}

#[test]
fn overlayfs_on_tmpfs_is_fine() {
    require!(Need::Root);
    in_private_mounts(|| {
        let dir = tempfile::tempdir().unwrap();
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), None).unwrap();
        let driver = Overlayfs::open(&dir.path().join("overlayfs"), Options::default()).unwrap();
        driver.prepare(SnapshotNumber(1), &[], &ACTIVE).unwrap();
        driver.sync(SnapshotNumber(1)).unwrap();
        unmount(dir.path(), UnmountFlags::DETACH).unwrap();
    });
}

/// Says to this program that it runs in a user namespace.
const INSIDE: &str = "GANTRY_TEST_INSIDE";

#[test]
fn in_a_user_namespace_attributes_are_the_users() {
    require!(Need::Root, Need::Program("unshare"));
    if std::env::var_os(INSIDE).is_some() {
        return inside_a_user_namespace();
    }
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "namespaces::in_a_user_namespace_attributes_are_the_users", "--nocapture"])
        .env(INSIDE, "yes")
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn inside_a_user_namespace() {
    let dir = tempfile::tempdir().unwrap();
    let driver = Overlayfs::open(&dir.path().join("overlayfs"), Options::default()).unwrap();
    let left = fs::read_dir(driver.root()).unwrap().count();
    assert_eq!(left, 0, "what was tried is gone");
    assert!(!driver.capabilities().remap_ids);
    let (one, two) = (SnapshotNumber(1), SnapshotNumber(2));
    driver.prepare(one, &[], &ACTIVE).unwrap();
    fs::write(driver.root().join("1/fs/file"), "below").unwrap();
    fs::create_dir_all(driver.root().join("1/fs/dir/dir")).unwrap();
    driver.prepare(two, &[one], &ACTIVE).unwrap();
    let mounts = driver.mounts(two, &[one], &ACTIVE).unwrap();
    assert!(mounts[0].options.contains(&"userxattr".to_owned()), "{mounts:?}");
    let mounted = gantry_snapshot::testsuite::Mounted::new(&mounts, &dir.path().join("merged"));
    assert_eq!(fs::read_to_string(mounted.path().join("file")).unwrap(), "below");
    fs::remove_dir_all(mounted.path().join("dir")).unwrap();
    fs::create_dir(mounted.path().join("dir")).unwrap();
    drop(mounted);
    let opaque = rustix::fs::getxattr(driver.root().join("2/fs/dir"), "user.overlay.opaque", &mut [0; 8]);
    assert_eq!(opaque, Ok(1), "an opaque directory");
    let format = driver.layers(two, &[one]).unwrap().format;
    assert_eq!(format, gantry_snapshot::Format::Overlay { user_xattr: true });
    driver.remove(&[one, two]).unwrap();
    // overlayfs leaves a directory of mode 0 in the one that it works in.
    while driver.collect().unwrap() > 0 {}
    assert_eq!(fs::read_dir(driver.root()).unwrap().count(), 0);
}
