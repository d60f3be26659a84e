use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

const PROFILE: &str =
    r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}"#;

fn request(profile: &str) -> Request<'_> {
    Request { profile, native: Arch::X86_64, unknown: UnknownNames::Skip }
}

/// A cache with one entry, and the entry's path.
fn filled() -> (tempfile::TempDir, Cache, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::new(root.path());
    cache.program(&request(PROFILE)).unwrap();
    let path = cache.directory.join(hex(&request(PROFILE).key()));
    (root, cache, path)
}

#[test]
fn what_is_stored_is_found() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::new(root.path());
    assert_eq!(cache.load(&request(PROFILE)), None);
    let program = cache.program(&request(PROFILE)).unwrap();
    assert_eq!(cache.load(&request(PROFILE)), Some(program.clone()));
    assert_eq!(cache.program(&request(PROFILE)).unwrap(), program);
    assert_eq!(program, request(PROFILE).compile().unwrap());
}

#[test]
fn listeners_survive() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::new(root.path());
    let profile = PROFILE.replace("ERRNO", "NOTIFY");
    let program = cache.program(&request(&profile)).unwrap();
    assert!(program.listener);
    assert_eq!(cache.load(&request(&profile)), Some(program));
}

#[test]
fn other_requests_have_other_entries() {
    let (_root, cache, _) = filled();
    assert_eq!(cache.load(&request(&format!("{PROFILE} "))), None);
    assert_eq!(cache.load(&Request { native: Arch::Aarch64, ..request(PROFILE) }), None);
    assert_eq!(cache.load(&Request { unknown: UnknownNames::Refuse, ..request(PROFILE) }), None);
}

#[test]
fn bad_profiles_are_not_stored() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::new(root.path());
    assert!(matches!(cache.program(&request("[")), Err(SeccompError::Json { .. })));
    assert!(cache.program(&request(r#"{"defaultAction":"SCMP_ACT_ODD"}"#)).is_err());
    assert!(!cache.directory.exists());
}

#[test]
fn directory_and_entries_are_private() {
    let (_root, cache, path) = filled();
    assert_eq!(cache.directory.metadata().unwrap().mode() & 0o7777, 0o700);
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
    assert_eq!(cache.directory.read_dir().unwrap().count(), 1);
}

#[test]
fn damaged_entries_are_misses_and_are_replaced() {
    let (_root, cache, path) = filled();
    let sound = std::fs::read(&path).unwrap();
    let check = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(cache.load(&request(PROFILE)), None);
        cache.program(&request(PROFILE)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), sound);
    };
    for offset in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[offset] ^= 1;
        check(&bytes);
    }
    for length in [0, 1, HEADER_BYTES - 1, HEADER_BYTES, sound.len() - 1] {
        check(&sound[..length]);
    }
    let mut long = sound.clone();
    long.extend([0; 8]);
    check(&long);
    check(&vec![0; MAX_FILE_BYTES + 1]);
}

#[test]
fn entry_of_another_profile_is_a_miss() {
    let (_root, cache, path) = filled();
    let other = PROFILE.replace("mkdir", "rmdir");
    std::fs::rename(path, cache.directory.join(hex(&request(&other).key()))).unwrap();
    assert_eq!(cache.load(&request(&other)), None);
}

#[test]
fn links_fifos_and_writable_entries_are_misses() {
    let (root, cache, path) = filled();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o620)).unwrap();
    assert_eq!(cache.load(&request(PROFILE)), None);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    assert!(cache.load(&request(PROFILE)).is_some());

    let elsewhere = root.path().join("elsewhere");
    std::fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert_eq!(cache.load(&request(PROFILE)), None);

    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_eq!(cache.load(&request(PROFILE)), None);
}

#[test]
fn foreign_entries_are_misses() {
    let (_root, cache, path) = filled();
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root to give files away");
        return;
    }
    std::os::unix::fs::chown(&path, Some(1), None).unwrap();
    assert_eq!(cache.load(&request(PROFILE)), None);
}

#[test]
fn nothing_is_stored_in_a_directory_that_others_can_write() {
    let (_root, cache, path) = filled();
    std::fs::remove_file(&path).unwrap();
    std::fs::set_permissions(&cache.directory, PermissionsExt::from_mode(0o777)).unwrap();
    let program = cache.program(&request(PROFILE)).unwrap();
    assert!(!path.exists());
    let error = cache.store(&request(PROFILE), &program).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}

#[test]
fn oldest_entries_go() {
    let (_root, cache, path) = filled();
    let program = request(PROFILE).compile().unwrap();
    let age = |path: &Path, seconds| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    };
    age(&path, 1000);
    let leftover = cache.directory.join(".1.left-by-a-crash");
    std::fs::write(&leftover, "").unwrap();
    age(&leftover, 2000);
    for index in 0..MAX_ENTRIES {
        cache.store(&request(&format!("{PROFILE}{}", " ".repeat(index + 1))), &program).unwrap();
    }
    assert_eq!(cache.directory.read_dir().unwrap().count(), MAX_ENTRIES);
    assert!(!leftover.exists() && !path.exists());
}

/// Entries outlive an upgrade. Whoever changes what comes out of the compiler, and so this hash, also changes
/// [`FORMAT`].
#[test]
fn programs_change_only_with_the_format() {
    let program = request(gantry_testkit::DOCKER_DEFAULT_SECCOMP).compile().unwrap();
    let hash: Key = Sha256::digest(program.to_bytes()).into();
    assert_eq!((FORMAT, &hex(&hash)[..16]), (1, "5b17abcb4eb5ad00"));
}
