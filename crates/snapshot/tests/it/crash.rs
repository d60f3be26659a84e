use std::fs;
use std::path::{Path, PathBuf};

use gantry_snapshot::{Driver, Kind, Local, MemoryRecords, Native, Request, SnapshotNumber, Snapshotter};
use gantry_types::Labels;

const LABELS: &Labels = &Labels::new();
const ACTIVE: Request<'_> = Request { kind: Kind::Active, labels: LABELS, volatile: false };

/// A driver's directory as a crash may leave it: a snapshot, one that was being made, one that was removed.
fn crashed() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("native");
    for name in ["3/fs/dir", "new-7/fs", "trash-5/fs/deep", "lost+found"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::write(root.join("trash-5/fs/file"), "x").unwrap();
    (dir, root)
}

fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn numbers_go_on_after_everything_that_has_a_directory() {
    let (_dir, root) = crashed();
    let driver = Native::open(&root).unwrap();
    assert_eq!(driver.highest().unwrap(), Some(SnapshotNumber(7)));
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(Native::open(empty.path()).unwrap().highest().unwrap(), None);
}

#[test]
fn what_no_record_knows_is_removed_and_nothing_else() {
    let (_dir, root) = crashed();
    let driver = Native::open(&root).unwrap();
    driver.prepare(SnapshotNumber(8), &[], &ACTIVE).unwrap();
    let known = |number: SnapshotNumber| number.0 == 8;
    let mut orphans = driver.cleanup(&known).unwrap();
    orphans.sort();
    assert_eq!(orphans, [SnapshotNumber(3), SnapshotNumber(7)]);
    assert_eq!(names(&root), ["8", "lost+found", "trash-3", "trash-5", "trash-7"]);
    while driver.collect().unwrap() > 0 {}
    assert_eq!(names(&root), ["8", "lost+found"]);
    assert_eq!(driver.cleanup(&known).unwrap(), []);
}

#[test]
fn one_that_is_being_made_is_left_alone_while_its_number_is_known() {
    let (_dir, root) = crashed();
    let driver = Native::open(&root).unwrap();
    assert_eq!(driver.cleanup(&|number| number.0 == 7).unwrap(), [SnapshotNumber(3)]);
    assert!(root.join("new-7").exists());
}

#[test]
fn files_of_what_an_earlier_process_removed_are_deleted() {
    let (_dir, root) = crashed();
    let driver = Native::open(&root).unwrap();
    // `fs/deep`, `fs/file`, `fs` and the directory itself.
    assert_eq!(driver.collect().unwrap(), 4);
    assert_eq!(driver.collect().unwrap(), 0);
    assert_eq!(names(&root), ["3", "lost+found", "new-7"]);
}

#[test]
fn a_removed_snapshot_is_out_of_sight_before_its_files_are_gone() {
    let (_dir, root) = crashed();
    let driver = Native::open(&root).unwrap();
    driver.remove(&[SnapshotNumber(3), SnapshotNumber(999)]).unwrap();
    assert!(!root.join("3").exists() && root.join("trash-3/fs/dir").exists());
    while driver.collect().unwrap() > 0 {}
    assert!(!root.join("trash-3").exists());
}

#[test]
fn many_files_are_deleted_in_bounded_turns() {
    let dir = tempfile::tempdir().unwrap();
    let driver = Native::open(dir.path()).unwrap();
    driver.prepare(SnapshotNumber(1), &[], &ACTIVE).unwrap();
    for n in 0..20_000 {
        fs::write(dir.path().join("1/fs").join(n.to_string()), "").unwrap();
    }
    driver.remove(&[SnapshotNumber(1)]).unwrap();
    let turns = std::iter::repeat_with(|| driver.collect().unwrap()).take_while(|count| *count > 0);
    let turns = turns.collect::<Vec<_>>();
    assert_eq!(turns.iter().sum::<u64>(), 20_002);
    assert!(turns.len() > 1, "{turns:?}");
}

#[test]
fn a_failed_preparation_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let driver = Native::open(dir.path()).unwrap();
    assert!(driver.prepare(SnapshotNumber(2), &[SnapshotNumber(1)], &ACTIVE).is_err());
    while driver.collect().unwrap() > 0 {}
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn a_clean_up_beside_preparations_removes_nothing_that_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let local = Local::new(Native::open(dir.path()).unwrap(), MemoryRecords::new()).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                local.cleanup().unwrap();
            }
        });
        for n in 0..300 {
            let mounts = local.prepare(&format!("key-{n}"), None, LABELS).unwrap();
            assert!(Path::new(&mounts[0].source).exists(), "{mounts:?}");
            if n % 3 == 0 {
                local.remove(&format!("key-{n}")).unwrap();
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let mut left = 0;
    local
        .walk(&[], &mut |info| {
            left += 1;
            assert!(Path::new(&local.mounts(&info.name)?[0].source).exists());
            Ok(())
        })
        .unwrap();
    local.cleanup().unwrap();
    assert_eq!((left, names(dir.path()).len()), (200, 200));
}

#[test]
fn one_key_is_won_by_one_of_those_who_want_it() {
    let dir = tempfile::tempdir().unwrap();
    let local = Local::new(Native::open(dir.path()).unwrap(), MemoryRecords::new()).unwrap();
    for n in 0..50 {
        let key = format!("key-{n}");
        let won = std::thread::scope(|scope| {
            let racers: Vec<_> =
                (0..4).map(|_| scope.spawn(|| local.prepare(&key, None, LABELS).is_ok())).collect();
            racers.into_iter().filter_map(|racer| racer.join().ok()).filter(|won| *won).count()
        });
        assert_eq!(won, 1);
    }
    local.cleanup().unwrap();
    assert_eq!(names(dir.path()).len(), 50, "losers leave no directories");
}
