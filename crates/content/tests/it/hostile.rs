use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use gantry_content::{Options, Store};
use gantry_types::{Digest, ErrorKind};

use crate::{Fixture, files, put};

#[test]
fn keys_never_become_paths() {
    let fixture = Fixture::new();
    for key in ["../../escape", "/etc/passwd", "a/../../b", "\0", ".", "-rf", &"x/".repeat(2_048)] {
        let mut ingest = fixture.store.ingest(key, None, None).unwrap();
        ingest.write(b"x").unwrap();
        drop(ingest);
        assert_eq!(fixture.store.status(key).unwrap().key, key);
    }
    for file in files(fixture.root()) {
        let parts: Vec<_> = file.split('/').collect();
        assert!(parts.len() == 3 && parts[0] == "ingest" && parts[1].len() == 64, "{file}");
    }
}

#[test]
fn directories_are_nobody_elses() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("a/b");
    let store = Store::open(&root, Options::default()).unwrap();
    let mut ingest = store.ingest("key", None, None).unwrap();
    ingest.write(b"secret").unwrap();
    for directory in ["", "blobs", "blobs/sha256", "blobs/sha512", "ingest"] {
        assert_eq!(fs::metadata(root.join(directory)).unwrap().mode() & 0o777, 0o700, "{directory}");
    }
    for file in files(&root) {
        assert_eq!(fs::metadata(root.join(file)).unwrap().mode() & 0o777, 0o600);
    }
    let digest = ingest.commit(None, None).unwrap().digest;
    let blob = root.join("blobs/sha256").join(digest.hex());
    assert_eq!(fs::metadata(blob).unwrap().mode() & 0o777, 0o400);
}

#[test]
fn names_that_are_no_digest_are_no_blobs() {
    let fixture = Fixture::new();
    let digest = put(&fixture.store, b"x");
    let blobs = fixture.root().join("blobs/sha256");
    for name in ["short", "..data", &"Z".repeat(64), &"a".repeat(128)] {
        fs::write(blobs.join(name), b"x").unwrap();
    }
    let found: Vec<_> = fixture.store.blobs().unwrap().map(|blob| blob.unwrap().digest).collect();
    assert_eq!(found, [digest]);
}

#[test]
fn link_in_the_place_of_a_blob_is_not_followed() {
    let fixture = Fixture::new();
    let digest = Digest::sha256(b"x");
    symlink("/etc/passwd", fixture.root().join("blobs/sha256").join(digest.hex())).unwrap();
    fixture.store.open_blob(&digest).unwrap_err();
    let mut ingest = fixture.store.ingest("key", None, None).unwrap();
    ingest.write(b"x").unwrap();
    assert_eq!(ingest.commit(None, None).unwrap_err().error.kind(), ErrorKind::AlreadyExists);
}

#[test]
fn rubbish_in_the_place_of_an_ingest_is_begun_anew() {
    let name = Digest::sha256(b"key").hex().to_owned();
    type Rubbish = fn(&std::path::Path);
    let rubbish: [Rubbish; 6] = [
        |_| {},
        |dir| fs::write(dir.join("status"), "{").unwrap(),
        |dir| fs::write(dir.join("data"), "old bytes").unwrap(),
        |dir| fs::write(dir.join("status"), vec![b' '; 1 << 20]).unwrap(),
        |dir| symlink("/etc/passwd", dir.join("status")).unwrap(),
        |dir| fs::write(dir.join("status.new"), "{}").unwrap(),
    ];
    for (index, make) in rubbish.iter().enumerate() {
        let fixture = Fixture::new();
        let dir = fixture.root().join("ingest").join(&name);
        fs::create_dir(&dir).unwrap();
        make(&dir);
        assert_eq!(fixture.store.status("key").unwrap_err().kind(), ErrorKind::NotFound, "{index}");
        assert_eq!(fixture.store.statuses().unwrap(), []);
        let mut ingest = fixture.store.ingest("key", None, None).unwrap();
        assert_eq!(ingest.offset(), 0);
        ingest.write(b"x").unwrap();
        ingest.commit(None, Some(&Digest::sha256(b"x"))).unwrap();
        assert_eq!(files(fixture.root()).len(), 1);
    }
}

/// Two names of one file are what a file system leaves whose rename a power cut split in two.
#[test]
fn data_that_is_a_blob_as_well_is_not_written_to() {
    let fixture = Fixture::new();
    let digest = put(&fixture.store, b"blob");
    drop(fixture.store.ingest("key", None, None).unwrap());
    let data = fixture.root().join("ingest").join(Digest::sha256(b"key").hex()).join("data");
    let blob = fixture.root().join("blobs/sha256").join(digest.hex());
    fs::remove_file(&data).unwrap();
    fs::hard_link(&blob, &data).unwrap();
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o600)).unwrap();
    let mut ingest = fixture.store.ingest("key", None, None).unwrap();
    ingest.write(b"overwritten").unwrap();
    assert_eq!(fs::read(blob).unwrap(), b"blob");
}

#[test]
fn file_that_somebody_else_changed_is_not_committed() {
    let fixture = Fixture::new();
    let mut ingest = fixture.store.ingest("key", None, None).unwrap();
    ingest.write(b"bytes").unwrap();
    let data = fixture.root().join("ingest").join(Digest::sha256(b"key").hex()).join("data");
    fs::write(&data, b"byte").unwrap();
    assert_eq!(ingest.commit(None, None).unwrap_err().error.kind(), ErrorKind::FailedPrecondition);
}
