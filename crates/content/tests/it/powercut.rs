//! The order of durability, on a disk whose power is cut.

use std::collections::BTreeSet;
use std::path::Path;

use gantry_content::{Options, Store};
use gantry_testkit::Need;
use gantry_testkit::powercut::{Disk, Image, Keep, Names, isolated};
use gantry_types::{Digest, ErrorKind};

use crate::{bytes, put};

const NEEDS: [Need; 2] = [Need::Root, Need::File("/dev/fuse")];

/// Every way in which the power may go.
fn cuts() -> impl Iterator<Item = Keep> {
    [Keep::Synced, Keep::Names, Keep::All].into_iter().chain((0..16).map(|seed| Keep::Some { seed }))
}

fn boot(name: &str) -> Options {
    Options { boot: Some(name.to_owned()), ..Options::default() }
}

/// What of the store is as it should be after a cut, and what is not.
struct Survey {
    store: Store,
    intact: BTreeSet<Digest>,
    damaged: BTreeSet<Digest>,
}

impl Survey {
    fn of(root: &Path) -> Self {
        let store = Store::open(root, boot("after")).expect("a store");
        let all: Vec<_> = store.blobs().expect("a list").map(|blob| blob.expect("a blob").digest).collect();
        let (intact, damaged) =
            all.into_iter().partition(|digest| store.verify(digest).expect("it can be read"));
        Self { store, intact, damaged }
    }
}

#[test]
fn blob_that_was_promised_survives_every_cut() {
    gantry_testkit::require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        for names in [Names::Journal, Names::Directory] {
            let disk = Disk::new(names);
            let store = Store::open(&disk.path().join("content"), boot("before")).unwrap();
            // What was promised at the moment of each picture.
            let mut pictures: Vec<(Image, BTreeSet<Digest>)> = Vec::new();
            let mut promised = BTreeSet::new();
            for round in 0..4 {
                let some: Vec<_> =
                    (0..40).map(|blob| put(&store, &bytes(round * 100 + blob, 5_000))).collect();
                pictures.push((disk.image(), promised.clone()));
                if round % 2 == 0 {
                    store.sync(&some[..35]).unwrap();
                    promised.extend(some[..35].iter().cloned());
                } else {
                    store.sync_pending().unwrap();
                    promised.extend(store.blobs().unwrap().map(|blob| blob.unwrap().digest));
                }
                pictures.push((disk.image(), promised.clone()));
            }
            for (image, promised) in &pictures {
                for keep in cuts() {
                    let after = Disk::of(image.after_cut(keep));
                    let survey = Survey::of(&after.path().join("content"));
                    let lost: Vec<_> = promised.difference(&survey.intact).collect();
                    assert!(lost.is_empty(), "{names:?} {keep:?}: {lost:?}");
                }
            }
        }
    });
}

#[test]
fn what_is_there_without_its_bytes_is_found_out_and_replaced() {
    gantry_testkit::require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        let mut disk = Disk::new(Names::Journal);
        let root = disk.path().join("content");
        let store = Store::open(&root, boot("before")).unwrap();
        let content = bytes(1, 100_000);
        // The first commit makes everything above durable; of the second, the disk has the name alone: nothing has synced
        // it at the moment of the picture, for that was taken before the flusher could.
        put(&store, b"first");
        store.sync_pending().unwrap();
        let mut ingest = store.ingest("key", None, None).unwrap();
        ingest.write(&content).unwrap();
        let digest = ingest.digest();
        let name = root.join("blobs/sha256").join(digest.hex());
        std::fs::rename(root.join("ingest").join(Digest::sha256(b"key").hex()).join("data"), &name).unwrap();
        disk.cut(Keep::Names);
        drop((ingest, store));

        let survey = Survey::of(&root);
        assert_eq!(survey.damaged, BTreeSet::from([digest.clone()]));
        assert_eq!(survey.store.info(&digest).unwrap().size, 100_000, "it looks as if it were whole");
        let refused = survey.store.sync(std::slice::from_ref(&digest)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::DataLoss);
        // Whoever pulls it again puts the right bytes there.
        put(&survey.store, &content);
        survey.store.sync(std::slice::from_ref(&digest)).unwrap();
        drop(survey);
        disk.cut(Keep::Synced);
        assert!(Survey::of(&root).intact.contains(&digest));
    });
}

#[test]
fn interrupted_ingest_is_resumed_with_right_bytes_or_none() {
    gantry_testkit::require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        let disk = Disk::new(Names::Journal);
        let root = disk.path().join("content");
        let store = Store::open(&root, boot("before")).unwrap();
        put(&store, b"first");
        store.sync_pending().unwrap();
        let content = bytes(1, 200_000);
        let mut pictures = Vec::new();
        for end in [70_000, 140_000, 200_000] {
            let mut ingest = store.ingest("key", Some(200_000), None).unwrap();
            let offset = usize::try_from(ingest.offset()).unwrap();
            ingest.write(&content[offset..end]).unwrap();
            pictures.push(disk.image());
            drop(ingest);
            pictures.push(disk.image());
        }
        let mut offsets = BTreeSet::new();
        for image in &pictures {
            for keep in cuts() {
                let after = Disk::of(image.after_cut(keep));
                let store = Store::open(&after.path().join("content"), boot("after")).unwrap();
                let mut ingest = store.ingest("key", Some(200_000), None).unwrap();
                let offset = usize::try_from(ingest.offset()).unwrap();
                offsets.insert(offset);
                assert_eq!(ingest.digest(), Digest::sha256(&content[..offset]), "{keep:?}");
                ingest.write(&content[offset..]).unwrap();
                ingest.commit(None, Some(&Digest::sha256(&content))).unwrap();
            }
        }
        // Where the bytes came through, they are used.
        assert_eq!(offsets, BTreeSet::from([0, 70_000, 140_000, 200_000]));
    });
}

/// After a failed fdatasync(2) the kernel takes the pages for clean: trying again would succeed, and mean nothing.
#[test]
fn blob_that_the_disk_refused_is_durable_only_when_it_is_written_again() {
    gantry_testkit::require!(NEEDS[0], NEEDS[1]);
    isolated(|| {
        let disk = Disk::new(Names::Journal);
        let store = Store::open(&disk.path().join("content"), boot("before")).unwrap();
        let first = put(&store, b"first");
        store.sync_pending().unwrap();
        disk.break_syncs();
        let digest = put(&store, b"refused");
        assert_eq!(store.sync(std::slice::from_ref(&digest)).unwrap_err().kind(), ErrorKind::DataLoss);
        disk.mend_syncs();
        assert_eq!(store.sync(std::slice::from_ref(&digest)).unwrap_err().kind(), ErrorKind::DataLoss);
        store.sync(std::slice::from_ref(&first)).unwrap();
        let later = put(&store, b"later");
        store.sync_pending().unwrap();
        assert_eq!(put(&store, b"refused"), digest);
        store.sync(&[digest.clone(), later.clone()]).unwrap();
        let after = Disk::of(disk.image().after_cut(Keep::Synced));
        let survey = Survey::of(&after.path().join("content"));
        assert_eq!(survey.intact, BTreeSet::from([first, digest, later]));
    });
}
