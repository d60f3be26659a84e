use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::{Disk, Keep, Names, isolated};
use crate::{Need, require};

const NEEDS: [Need; 2] = [Need::Root, Need::File("/dev/fuse")];

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

/// The file, and its name.
fn sync_named(path: &Path) {
    sync(path);
    sync(path.parent().unwrap());
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

#[test]
fn disk_behaves_as_any_other() {
    require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        let disk = Disk::new(Names::Journal);
        let root = disk.path();
        fs::create_dir(root.join("a")).unwrap();
        fs::write(root.join("a/file"), vec![7; 1 << 20]).unwrap();
        fs::hard_link(root.join("a/file"), root.join("hard")).unwrap();
        symlink("a/file", root.join("soft")).unwrap();
        fs::set_permissions(root.join("hard"), fs::Permissions::from_mode(0o4755)).unwrap();
        let stat = fs::metadata(root.join("soft")).unwrap();
        assert_eq!((stat.size(), stat.nlink(), stat.mode() & 0o7777), (1 << 20, 2, 0o4755));
        fs::rename(root.join("a"), root.join("b")).unwrap();
        fs::write(root.join("short"), "x").unwrap();
        fs::rename(root.join("short"), root.join("b/file")).unwrap();
        assert_eq!(fs::read(root.join("b/file")).unwrap(), b"x");
        assert_eq!(fs::metadata(root.join("hard")).unwrap().nlink(), 1);
        assert_eq!(names(root), ["b", "hard", "soft"]);
        assert_eq!(fs::remove_dir(root.join("b")).unwrap_err().raw_os_error(), Some(39));
        let status = Command::new("mkfifo").arg(root.join("fifo")).status().unwrap();
        assert!(status.success());
        fs::remove_dir_all(root.join("b")).unwrap();
        let mut many = File::create(root.join("hole")).unwrap();
        many.set_len(10_000).unwrap();
        many.write_all_at(b"end", 9_997).unwrap();
        many.set_len(9_999).unwrap();
        many.flush().unwrap();
        let hole = fs::read(root.join("hole")).unwrap();
        assert!(hole.len() == 9_999 && hole.ends_with(b"en") && hole[..9_997].iter().all(|byte| *byte == 0));
    });
}

#[test]
fn directories_of_many_are_listed_whole() {
    require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        let disk = Disk::new(Names::Journal);
        for index in 0..2_000 {
            fs::write(disk.path().join(format!("a rather long name of a file {index:04}")), "").unwrap();
        }
        assert_eq!(names(disk.path()).len(), 2_000);
        // Removal while it is read misses nothing.
        for entry in fs::read_dir(disk.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        assert_eq!(names(disk.path()), Vec::<String>::new());
    });
}

#[test]
fn unsynced_bytes_and_names_are_lost() {
    require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        for names_of in [Names::Journal, Names::Directory] {
            let mut disk = Disk::new(names_of);
            let path = disk.path().join("file");
            fs::write(&path, "synced").unwrap();
            sync_named(&path);
            File::options().append(true).open(&path).unwrap().write_all(b" and not").unwrap();
            fs::write(disk.path().join("other"), "x").unwrap();
            disk.cut(Keep::Synced);
            assert_eq!(fs::read_to_string(&path).unwrap(), "synced");
            assert_eq!(names(disk.path()), ["file"]);
        }
    });
}

#[test]
fn open_files_are_dead_after_a_cut() {
    require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        let mut disk = Disk::new(Names::Journal);
        let mut file = File::create(disk.path().join("file")).unwrap();
        file.sync_all().unwrap();
        disk.cut(Keep::Synced);
        file.write_all(b"late").unwrap_err();
        file.sync_all().unwrap_err();
        drop(file);
        assert_eq!(fs::read(disk.path().join("file")).unwrap(), b"");
    });
}

#[test]
fn names_go_as_the_file_system_says() {
    require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        for (names_of, left) in [(Names::Journal, &["dir", "first", "second"][..]), (Names::Directory, &[])] {
            let mut disk = Disk::new(names_of);
            fs::write(disk.path().join("first"), "x").unwrap();
            fs::create_dir(disk.path().join("dir")).unwrap();
            fs::write(disk.path().join("dir/inside"), "x").unwrap();
            fs::write(disk.path().join("second"), "x").unwrap();
            sync_named(&disk.path().join("dir/inside"));
            sync(&disk.path().join("second"));
            let image = disk.image();
            disk.cut(Keep::Synced);
            assert_eq!(names(disk.path()), left);
            let disk = Disk::of(image);
            sync(disk.path());
            let mut disk = Disk::of(disk.image());
            disk.cut(Keep::Synced);
            assert_eq!(names(disk.path()), ["dir", "first", "second"]);
            assert_eq!(fs::read_to_string(disk.path().join("dir/inside")).unwrap(), "x");
        }
    });
}

#[test]
fn synced_directory_has_its_names_and_empty_files() {
    require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        for names_of in [Names::Journal, Names::Directory] {
            let mut disk = Disk::new(names_of);
            fs::create_dir(disk.path().join("dir")).unwrap();
            fs::write(disk.path().join("dir/file"), "bytes").unwrap();
            sync_named(&disk.path().join("dir"));
            disk.cut(Keep::Synced);
            assert_eq!(fs::read(disk.path().join("dir/file")).unwrap(), b"");
        }
    });
}

#[test]
fn rename_is_one_step_and_flushes_nothing() {
    require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        for names_of in [Names::Journal, Names::Directory] {
            let mut disk = Disk::new(names_of);
            let root = disk.path().to_owned();
            for dir in ["from", "to"] {
                fs::create_dir(root.join(dir)).unwrap();
            }
            fs::write(root.join("from/file"), "new").unwrap();
            fs::write(root.join("to/file"), "old").unwrap();
            sync_named(&root.join("to/file"));
            sync_named(&root.join("from"));
            fs::rename(root.join("from/file"), root.join("to/file")).unwrap();
            let image = disk.image();
            sync(&root.join("to"));
            disk.cut(Keep::Synced);
            // With the directory, the name moved; the bytes were nobody's business.
            assert_eq!(
                (names(&root.join("from")), names(&root.join("to"))),
                (vec![], vec!["file".to_owned()])
            );
            assert_eq!(fs::read(root.join("to/file")).unwrap(), b"");
            let before = Disk::of(image.after_cut(Keep::Synced));
            assert_eq!(fs::read(before.path().join("to/file")).unwrap(), b"old");
            assert_eq!(names(&before.path().join("from")), ["file"]);
        }
    });
}

#[test]
fn removed_names_come_back_until_they_are_synced() {
    require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        for names_of in [Names::Journal, Names::Directory] {
            let mut disk = Disk::new(names_of);
            let path = disk.path().join("file");
            fs::write(&path, "x").unwrap();
            sync_named(&path);
            fs::remove_file(&path).unwrap();
            disk.cut(Keep::Synced);
            assert_eq!(fs::read(&path).unwrap(), b"x");
            fs::remove_file(&path).unwrap();
            fs::write(&path, "again").unwrap();
            fs::remove_file(&path).unwrap();
            sync(disk.path());
            disk.cut(Keep::Synced);
            assert_eq!(names(disk.path()), Vec::<String>::new());
        }
    });
}

#[test]
fn journal_without_bytes_gives_zeros() {
    require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        let mut disk = Disk::new(Names::Journal);
        let path = disk.path().join("file");
        fs::write(&path, "synced").unwrap();
        sync(&path);
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[7; 10_000], 5_000).unwrap();
        fs::write(disk.path().join("new"), "12345").unwrap();
        disk.cut(Keep::Names);
        assert_eq!(fs::read(disk.path().join("new")).unwrap(), [0; 5]);
        let bytes = fs::read(&path).unwrap();
        assert!(
            bytes.len() == 15_000 && bytes.starts_with(b"synced") && bytes[6..].iter().all(|byte| *byte == 0)
        );
    });
}

#[test]
fn random_cuts_keep_what_was_synced_and_differ() {
    require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        let disk = Disk::new(Names::Journal);
        fs::write(disk.path().join("synced"), vec![1; 20_000]).unwrap();
        sync(&disk.path().join("synced"));
        for index in 0..10 {
            fs::write(disk.path().join(format!("{index}")), vec![1; 50_000]).unwrap();
        }
        let image = disk.image();
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let cut = Disk::of(image.after_cut(Keep::Some { seed }));
            assert_eq!(fs::read(cut.path().join("synced")).unwrap(), vec![1; 20_000]);
            let found = names(cut.path());
            let sum = |name: &String| {
                fs::read(cut.path().join(name)).unwrap().iter().map(|byte| u64::from(*byte)).sum::<u64>()
            };
            seen.insert((found.len(), found.iter().map(sum).sum::<u64>()));
        }
        assert!(seen.len() > 10, "{seen:?}");
        let all = Disk::of(image.after_cut(Keep::All));
        assert_eq!(fs::read(all.path().join("9")).unwrap(), vec![1; 50_000]);
    });
}

/// What a shared mapping wrote is there after msync(2) and fsync(2), and SQLite's write-ahead log works with its `-shm`.
#[test]
fn sqlite_keeps_what_it_promised() {
    require!(NEEDS[0], NEEDS[1], Need::Program("python3"));
    const SCRIPT: &str = "
import sqlite3, sys
full = sqlite3.connect(sys.argv[1] + '/db', isolation_level=None)
assert full.execute('pragma journal_mode=wal').fetchone()[0] == 'wal'
full.execute('pragma synchronous=full')
full.execute('create table t(x)')
other = sqlite3.connect(sys.argv[1] + '/db', isolation_level=None)
for i in range(100):
    full.execute('insert into t values(?)', (i,))
    assert other.execute('select count(*) from t').fetchone()[0] == i + 1
full.execute('pragma synchronous=normal')
for i in range(100):
    full.execute('insert into t values(?)', (i,))
print(flush=True)
sys.stdin.read()
";
    const CHECK: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1] + '/db')
assert db.execute('pragma integrity_check').fetchone()[0] == 'ok'
print(db.execute('select count(*) from t').fetchone()[0])
";
    isolated(|| {
        let disk = Disk::new(Names::Journal);
        let mut child = Command::new("python3")
            .args(["-c", SCRIPT])
            .arg(disk.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(child.stdout.as_mut().unwrap().read(&mut [0]).unwrap(), 1, "the script");
        let image = disk.image();
        let count = |keep| {
            let disk = Disk::of(image.after_cut(keep));
            let output = Command::new("python3").args(["-c", CHECK]).arg(disk.path()).output().unwrap();
            assert!(output.status.success(), "{keep:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().parse::<u32>().unwrap()
        };
        assert_eq!(count(Keep::Synced), 100);
        assert_eq!(count(Keep::All), 200);
        for seed in 0..10 {
            assert!((100..=200).contains(&count(Keep::Some { seed })));
        }
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn pictures_are_taken_before_each_sync_and_thin_out() {
    require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        let disk = Disk::new(Names::Journal);
        disk.record(10);
        for index in 0..100 {
            let path = disk.path().join(format!("{index:03}"));
            fs::write(&path, "x").unwrap();
            sync(&path);
        }
        let pictures = disk.recorded();
        assert!((6..=11).contains(&pictures.len()), "{}", pictures.len());
        let counts: Vec<_> = pictures
            .iter()
            .map(|picture| names(Disk::of(picture.after_cut(Keep::Synced)).path()).len())
            .collect();
        assert!(counts.is_sorted() && counts[0] < 30 && counts.last() == Some(&100), "{counts:?}");
    });
}

/// Snapshots stand on it as well: whiteouts, opaque directories, owners.
#[test]
fn overlay_stands_on_it() {
    require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        let mut disk = Disk::new(Names::Journal);
        let root = disk.path().to_owned();
        for dir in ["lower/dir", "upper", "work", "merged"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for file in ["lower/gone", "lower/dir/changed"] {
            fs::write(root.join(file), "lower").unwrap();
        }
        let options = format!("lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work", root.display());
        let merged = root.join("merged");
        let mounted =
            Command::new("mount").args(["-t", "overlay", "-o", &options, "overlay"]).arg(&merged).status();
        assert!(mounted.unwrap().success());
        fs::remove_file(merged.join("gone")).unwrap();
        fs::write(merged.join("dir/changed"), "upper").unwrap();
        std::os::unix::fs::chown(merged.join("dir/changed"), Some(1_000), Some(1_001)).unwrap();
        assert_eq!(names(&merged), ["dir"]);
        rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::empty()).unwrap();
        for path in ["upper/dir/changed", "upper/dir", "upper"] {
            sync(&root.join(path));
        }
        disk.cut(Keep::Synced);
        let whiteout = fs::metadata(root.join("upper/gone")).unwrap();
        assert_eq!((whiteout.mode() & 0o170_000, whiteout.rdev()), (0o020_000, 0));
        let changed = fs::metadata(root.join("upper/dir/changed")).unwrap();
        assert_eq!((changed.uid(), changed.gid()), (1_000, 1_001));
        assert_eq!(fs::read(root.join("upper/dir/changed")).unwrap(), b"upper");
    });
}

#[test]
fn nothing_is_left_of_a_disk() {
    require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        let disk = Disk::new(Names::Journal);
        let path = disk.path().to_owned();
        let open = File::create(path.join("open")).unwrap();
        drop(disk);
        assert!(!path.exists());
        open.sync_all().unwrap_err();
    });
}
