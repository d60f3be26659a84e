//! The cases.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use gantry_types::{Algorithm, Digest, ErrorKind, Hasher};

use super::{Case, Subject, Writer};

pub(super) fn all<S: Subject>() -> Vec<Case<S>> {
    vec![
        ("writers of every kind of announcement commit", writers_commit::<S>),
        ("status follows the writes", status_follows_writes::<S>),
        ("content that exists is said so at the start and at the commit", existing_content::<S>),
        ("a writer goes on where the last one stopped", resume::<S>),
        ("a writer begins anew after a truncation", truncate::<S>),
        ("one writer has a key", one_writer::<S>),
        ("a refused commit keeps the bytes and frees the key", refused_commit::<S>),
        ("the commit's announcement counts", late_announcement::<S>),
        ("an abort removes the ingest", abort::<S>),
        ("small and empty blobs are read past their end", small_blobs::<S>),
        ("content is gone when it is removed", remove::<S>),
        ("sha512 names content as well", sha512::<S>),
        ("keys are free text", keys::<S>),
    ]
}

/// Bytes that no other call gave.
fn content(length: usize) -> (Vec<u8>, Digest) {
    static SEED: AtomicU32 = AtomicU32::new(1);
    let mut state = SEED.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    let bytes: Vec<u8> = std::iter::repeat_with(next).take(length).collect();
    let digest = Digest::sha256(&bytes);
    (bytes, digest)
}

fn length(bytes: &[u8]) -> Option<u64> {
    Some(bytes.len() as u64)
}

#[track_caller]
fn begin<S: Subject>(store: &S, key: &str, total: Option<u64>, expected: Option<&Digest>) -> S::Writer {
    store.ingest(key, total, expected).expect("a writer")
}

#[track_caller]
fn refusal<W>(result: Result<W, ErrorKind>) -> ErrorKind {
    result.err().expect("a refusal")
}

#[track_caller]
fn check_blob<S: Subject>(store: &S, digest: &Digest, bytes: &[u8]) {
    assert_eq!(store.size(digest), Ok(bytes.len() as u64));
    assert!(store.read(digest, 0, bytes.len() + 1).expect("its bytes") == bytes, "other bytes");
    assert!(store.list().expect("a list").contains(digest));
}

fn writers_commit<S: Subject>(store: &S) {
    for (index, size) in [256, 256, 256, 256, 3 << 20].into_iter().enumerate() {
        let (bytes, digest) = content(size);
        let total = (index % 2 == 1).then_some(bytes.len() as u64);
        let expected = (index >= 2).then_some(&digest);
        let mut writer = begin(store, &format!("c{index}"), total, expected);
        for part in bytes.chunks(1000) {
            writer.write(part).expect("written");
        }
        assert_eq!(refusal(store.size(&digest)), ErrorKind::NotFound, "visible before the commit");
        assert_eq!(writer.digest(), Ok(digest.clone()));
        assert_eq!(writer.commit(None, None), Ok(digest.clone()));
        check_blob(store, &digest, &bytes);
        assert_eq!(refusal(store.status(&format!("c{index}"))), ErrorKind::NotFound);
    }
    assert_eq!(store.list().map(|list| list.len()), Ok(5));
    assert_eq!(store.statuses(), Ok(Vec::new()));
}

fn status_follows_writes<S: Subject>(store: &S) {
    let (bytes, digest) = content(256);
    let before = SystemTime::now();
    let mut writer = begin(store, "c1", length(&bytes), Some(&digest));
    let started = SystemTime::now();
    let mut written = 0;
    for end in [0, 64, 192, 256] {
        let update = SystemTime::now();
        writer.write(&bytes[written..end]).expect("written");
        written = end;
        let status = writer.status().expect("a status");
        assert_eq!((status.key.as_str(), status.offset, status.total), ("c1", end as u64, 256));
        assert!(before <= status.started_at && status.started_at <= started);
        assert!(update <= status.updated_at && status.updated_at <= SystemTime::now());
        assert_eq!(writer.digest(), Ok(Digest::sha256(&bytes[..end])));
        let seen = store.status("c1").expect("a status");
        assert_eq!((seen.offset, seen.total, seen.started_at), (end as u64, 256, status.started_at));
        assert_eq!(store.statuses().map(|all| all.len()), Ok(1));
    }
    writer.commit(None, None).expect("committed");
}

fn existing_content<S: Subject>(store: &S) {
    let (bytes, digest) = content(256);
    let mut writer = begin(store, "c1", None, Some(&digest));
    writer.write(&bytes).expect("written");
    writer.commit(None, None).expect("committed");
    assert_eq!(refusal(store.ingest("c2", None, Some(&digest))), ErrorKind::AlreadyExists);
    for expected in [Some(&digest), None] {
        let mut writer = begin(store, "c3", None, None);
        writer.write(&bytes).expect("written");
        assert_eq!(writer.commit(length(&bytes), expected), Err(ErrorKind::AlreadyExists));
        assert_eq!(refusal(store.status("c3")), ErrorKind::NotFound, "its bytes are worth nothing");
    }
    check_blob(store, &digest, &bytes);
}

fn resume<S: Subject>(store: &S) {
    for size in [500, 5_000, 50_000] {
        for tenths in [0, 1, 5, 9, 10] {
            let (bytes, digest) = content(size);
            let (first, second) = bytes.split_at(size * tenths / 10);
            let key = format!("ref-{size}-{tenths}");
            let mut writer = begin(store, &key, length(&bytes), Some(&digest));
            writer.write(first).expect("written");
            let before = writer.status().expect("a status");
            drop(writer);
            let idle = store.status(&key).expect("it is kept");
            assert_eq!((idle.offset, idle.total), (first.len() as u64, size as u64));

            let mut writer = begin(store, &key, length(&bytes), Some(&digest));
            let after = writer.status().expect("a status");
            assert_eq!(
                (after.offset, after.total, after.started_at),
                (idle.offset, idle.total, before.started_at)
            );
            assert_eq!(writer.digest(), Ok(Digest::sha256(first)));
            writer.write(second).expect("written");
            assert_eq!(writer.commit(length(&bytes), Some(&digest)), Ok(digest.clone()));
            check_blob(store, &digest, &bytes);
        }
    }
}

fn truncate<S: Subject>(store: &S) {
    let (bytes, digest) = content(5_000);
    let mut writer = begin(store, "c1", None, None);
    writer.write(&bytes[..4_000]).expect("written");
    drop(writer);
    let mut writer = begin(store, "c1", None, None);
    writer.truncate().expect("truncated");
    assert_eq!(writer.status().map(|status| status.offset), Ok(0));
    assert_eq!(writer.digest(), Ok(Digest::sha256(b"")));
    for part in bytes.chunks(700) {
        writer.write(part).expect("written");
    }
    assert_eq!(writer.commit(length(&bytes), Some(&digest)), Ok(digest.clone()));
    check_blob(store, &digest, &bytes);
}

fn one_writer<S: Subject>(store: &S) {
    let writer = begin(store, "c1", None, None);
    assert_eq!(refusal(store.ingest("c1", None, None)), ErrorKind::Unavailable);
    let _other = begin(store, "c2", None, None);
    drop(writer);
    begin(store, "c1", None, None);
}

fn refused_commit<S: Subject>(store: &S) {
    let (bytes, digest) = content(256);
    let (_, other) = content(256);
    let mut writer = begin(store, "c1", None, None);
    writer.write(&bytes).expect("written");
    assert_eq!(writer.commit(length(&bytes), Some(&other)), Err(ErrorKind::FailedPrecondition));
    let writer = begin(store, "c1", None, None);
    assert_eq!(writer.status().map(|status| status.offset), Ok(256), "the bytes are kept");
    assert_eq!(writer.commit(Some(255), None), Err(ErrorKind::FailedPrecondition));
    let writer = begin(store, "c1", None, None);
    assert_eq!(writer.commit(Some(257), None), Err(ErrorKind::FailedPrecondition));
    for digest in [&digest, &other] {
        assert_eq!(refusal(store.size(digest)), ErrorKind::NotFound);
    }
    let writer = begin(store, "c1", None, None);
    assert_eq!(writer.commit(Some(256), Some(&digest)), Ok(digest.clone()));
    check_blob(store, &digest, &bytes);
    let writer = begin(store, "c1", None, None);
    assert_eq!(writer.status().map(|status| status.offset), Ok(0), "the key is as new");
}

/// A writer may turn out to be of other content than was announced.
fn late_announcement<S: Subject>(store: &S) {
    let (bytes, announced) = content(100);
    let longer = [&bytes[..], b"appended"].concat();
    let digest = Digest::sha256(&longer);
    let mut writer = begin(store, "c1", Some(100), Some(&announced));
    writer.write(&longer).expect("written");
    assert_eq!(writer.commit(length(&longer), Some(&digest)), Ok(digest.clone()));
    check_blob(store, &digest, &longer);
    assert_eq!(refusal(store.size(&announced)), ErrorKind::NotFound);
}

fn abort<S: Subject>(store: &S) {
    assert_eq!(store.abort("c1"), Err(ErrorKind::NotFound));
    let mut writer = begin(store, "c1", None, None);
    writer.write(b"bytes").expect("written");
    drop(writer);
    store.abort("c1").expect("aborted");
    assert_eq!(refusal(store.status("c1")), ErrorKind::NotFound);
    assert_eq!(store.abort("c1"), Err(ErrorKind::NotFound));
    let writer = begin(store, "c1", None, None);
    assert_eq!(writer.status().map(|status| status.offset), Ok(0));
    store.abort("c1").expect("aborted while it is written");
    writer.commit(None, None).expect_err("it is gone");
    assert_eq!(store.list(), Ok(Vec::new()));
}

fn small_blobs<S: Subject>(store: &S) {
    for bytes in [&b"foobar"[..], b""] {
        let digest = Digest::sha256(bytes);
        let mut writer = begin(store, "c1", length(bytes), Some(&digest));
        writer.write(bytes).expect("written");
        assert_eq!(writer.commit(None, None), Ok(digest.clone()));
        check_blob(store, &digest, bytes);
        assert_eq!(store.read(&digest, bytes.len() as u64, 10), Ok(Vec::new()));
    }
}

fn remove<S: Subject>(store: &S) {
    let (bytes, digest) = content(100);
    assert_eq!(store.remove(&digest), Err(ErrorKind::NotFound));
    for _ in 0..2 {
        let mut writer = begin(store, "c1", None, Some(&digest));
        writer.write(&bytes).expect("written");
        writer.commit(None, None).expect("committed");
        store.remove(&digest).expect("removed");
        assert_eq!(refusal(store.size(&digest)), ErrorKind::NotFound);
        assert_eq!(refusal(store.read(&digest, 0, 1)), ErrorKind::NotFound);
        assert_eq!(store.list(), Ok(Vec::new()));
    }
}

fn sha512<S: Subject>(store: &S) {
    let (bytes, short) = content(3_000);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&bytes);
    let digest = hasher.finish();
    // Announced at the start, on resumption, and at the commit only.
    for (first, second, last) in
        [(Some(&digest), Some(&digest), None), (None, Some(&digest), None), (None, None, Some(&digest))]
    {
        let mut writer = begin(store, "c1", None, first);
        writer.write(&bytes[..1_000]).expect("written");
        drop(writer);
        let mut writer = begin(store, "c1", None, second);
        writer.write(&bytes[1_000..]).expect("written");
        assert_eq!(writer.commit(None, last), Ok(digest.clone()));
        check_blob(store, &digest, &bytes);
        assert_eq!(refusal(store.size(&short)), ErrorKind::NotFound);
        store.remove(&digest).expect("removed");
    }
}

fn keys<S: Subject>(store: &S) {
    assert_eq!(refusal(store.ingest("", None, None)), ErrorKind::InvalidArgument);
    let keys =
        ["../../etc/passwd", "/", ".", "..", "a/b", "a\nb", "layer-sha256:ab", "ü", "\"}", &"k".repeat(512)];
    let writers: Vec<_> = keys.iter().map(|key| begin(store, key, None, None)).collect();
    let mut seen: Vec<_> = store.statuses().expect("a list").into_iter().map(|status| status.key).collect();
    seen.sort();
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    assert_eq!(seen, sorted);
    drop(writers);
    for key in keys {
        store.abort(key).expect("aborted");
    }
    assert_eq!(store.statuses(), Ok(Vec::new()));
}
