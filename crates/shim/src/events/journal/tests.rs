use gantry_proto_shim::any::Timestamp;
use gantry_proto_shim::events::{TaskOOM, TaskStart};

use super::*;

fn event(name: &str) -> Envelope {
    Envelope::of("ns", Timestamp::default(), &TaskOOM { container_id: name.into() })
}

fn exit() -> Envelope {
    Envelope::of("ns", Timestamp::default(), &TaskExit::default())
}

/// An event of about this size.
fn long(bytes: usize) -> Envelope {
    Envelope::of("ns", Timestamp::default(), &TaskOOM { container_id: "x".repeat(bytes) })
}

fn journal() -> (tempfile::TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    (dir, journal)
}

/// What waits, in order; all of it is acknowledged.
fn drain(journal: &mut Journal) -> Vec<(u64, Envelope)> {
    let mut found = Vec::new();
    while let Some(first) = journal.first().unwrap() {
        found.push((first.sequence, Envelope::decode(&*first.envelope).unwrap()));
        journal.acknowledge(first.sequence).unwrap();
    }
    found
}

fn bytes(dir: &tempfile::TempDir) -> Vec<u8> {
    fs::read(dir.path().join(FILE)).unwrap()
}

fn sequences(journal: &Journal) -> Vec<u64> {
    journal.waiting.iter().map(|place| place.sequence).collect()
}

#[test]
fn events_come_back_in_order_and_leave_an_empty_file() {
    let (dir, mut journal) = journal();
    for name in ["a", "b", "c"] {
        journal.append(&event(name)).unwrap();
    }
    assert_eq!(drain(&mut journal), [(1, event("a")), (2, event("b")), (3, event("c"))]);
    assert_eq!(bytes(&dir), header(3));
    assert_eq!(journal.append(&event("d")).unwrap(), 4);
}

#[test]
fn layout_is_that_of_the_design() {
    let (dir, mut journal) = journal();
    journal.append(&event("a")).unwrap();
    let envelope = event("a").encode_to_vec();
    let body = [&1_u64.to_le_bytes()[..], &envelope].concat();
    let mut expected = b"gantry-events 1\n\0\0\0\0\0\0\0\0".to_vec();
    expected.extend_from_slice(&u32::try_from(envelope.len()).unwrap().to_le_bytes());
    expected.extend_from_slice(&crc32(&body).to_le_bytes());
    expected.extend_from_slice(&body);
    assert_eq!(bytes(&dir), expected);
}

#[test]
fn next_shim_goes_on_where_the_last_one_was_killed() {
    let (dir, mut journal) = journal();
    for name in ["a", "b", "c"] {
        journal.append(&event(name)).unwrap();
    }
    journal.acknowledge(1).unwrap();
    drop(journal);
    let mut journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.acknowledged(), 1);
    assert_eq!(journal.append(&event("d")).unwrap(), 4);
    assert_eq!(drain(&mut journal), [(2, event("b")), (3, event("c")), (4, event("d"))]);
    drop(journal);
    assert_eq!(Journal::open(dir.path()).unwrap().append(&event("e")).unwrap(), 5);
}

#[test]
fn kill_between_acknowledgement_and_truncation_repeats_nothing() {
    let (dir, mut journal) = journal();
    journal.append(&event("a")).unwrap();
    let mut before = bytes(&dir);
    before[16] = 1;
    fs::write(dir.path().join(FILE), before).unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.first().unwrap(), None);
    assert_eq!(journal.append(&event("b")).unwrap(), 2);
    assert_eq!(drain(&mut journal), [(2, event("b"))]);
}

#[test]
fn damaged_tail_is_cut_off_wherever_it_begins() {
    let (dir, mut journal) = journal();
    journal.append(&event("a")).unwrap();
    let one = bytes(&dir).len();
    journal.append(&event("b")).unwrap();
    let whole = bytes(&dir);
    for length in 0..whole.len() {
        fs::write(dir.path().join(FILE), &whole[..length]).unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        let expected = usize::from(length >= one);
        assert_eq!(journal.waiting(), expected, "cut at {length}");
        // What is written now is not lost behind the damage.
        journal.append(&event("c")).unwrap();
        assert_eq!(Journal::open(dir.path()).unwrap().waiting(), expected + 1);
    }
    for index in one..whole.len() {
        let mut damaged = whole.clone();
        damaged[index] ^= 0x40;
        fs::write(dir.path().join(FILE), &damaged).unwrap();
        assert_eq!(Journal::open(dir.path()).unwrap().waiting(), 1, "flipped at {index}");
    }
}

#[test]
fn other_files_and_versions_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let open = |text: &[u8]| {
        fs::write(dir.path().join(FILE), text).unwrap();
        Journal::open(dir.path()).unwrap_err()
    };
    assert!(matches!(open(b"{}"), JournalError::Foreign(_)));
    assert!(matches!(open(&[0xff; 24]), JournalError::Foreign(_)));
    assert!(matches!(open(&header(u64::MAX)), JournalError::Foreign(_)));
    match open(b"gantry-events 12\n") {
        JournalError::Version { version, .. } => assert_eq!(version, "12"),
        other => panic!("{other:?}"),
    }
    std::os::unix::fs::symlink("/dev/null", dir.path().join("link")).unwrap();
    fs::rename(dir.path().join("link"), dir.path().join(FILE)).unwrap();
    assert!(matches!(Journal::open(dir.path()), Err(JournalError::Io { call: "open", .. })));
}

#[test]
fn beyond_the_bounds_the_oldest_goes_that_is_no_exit() {
    let (dir, mut journal) = journal();
    journal.append(&exit()).unwrap();
    journal.append(&event("a")).unwrap();
    for _ in 2..MAX_EVENTS {
        journal.append(&exit()).unwrap();
    }
    assert_eq!(journal.dropped(), 0);
    journal.append(&event("b")).unwrap();
    assert_eq!(journal.dropped(), 1);
    assert_eq!(sequences(&journal)[..3], [1, 3, 4]);
    // The next shim keeps the bounds as well.
    drop(journal);
    let mut journal = Journal::open(dir.path()).unwrap();
    assert_eq!((journal.waiting(), journal.dropped()), (MAX_EVENTS, 1));
    assert_eq!(sequences(&journal)[..3], [1, 3, 4]);
    // Then the new one itself, and among exits alone the oldest.
    journal.append(&event("c")).unwrap();
    journal.append(&exit()).unwrap();
    journal.append(&exit()).unwrap();
    assert_eq!(sequences(&journal)[..2], [3, 4]);
    assert_eq!(journal.waiting(), MAX_EVENTS);
}

#[test]
fn bytes_have_a_bound_and_the_file_as_well() {
    let (dir, mut journal) = journal();
    let event = long(100_000);
    for _ in 0..1000 {
        journal.append(&event).unwrap();
        assert!(journal.waiting_bytes <= MAX_BYTES);
    }
    let length = fs::metadata(dir.path().join(FILE)).unwrap().len();
    assert!(length < 2 * MAX_BYTES + 2 * event.encoded_len() as u64, "{length}");
    let waiting = journal.waiting();
    drop(journal);
    let mut journal = Journal::open(dir.path()).unwrap();
    assert!(journal.waiting() >= waiting);
    assert!(journal.waiting_bytes <= MAX_BYTES);
    let drained = drain(&mut journal);
    assert!(drained.iter().all(|(_, found)| *found == event));
    assert_eq!(drained.last().map(|(sequence, _)| *sequence), Some(1000));
    assert!(!dir.path().join(NEW_FILE).exists());
}

#[test]
fn slow_daemon_does_not_let_the_file_grow() {
    let (dir, mut journal) = journal();
    let event = long(10_000);
    journal.append(&event).unwrap();
    for sequence in 1..2000 {
        journal.append(&event).unwrap();
        assert_eq!(journal.first().unwrap().unwrap().sequence, sequence);
        journal.acknowledge(sequence).unwrap();
    }
    let length = fs::metadata(dir.path().join(FILE)).unwrap().len();
    assert!(length < 2 * MIN_GARBAGE_BYTES, "{length}");
    drop(journal);
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(sequences(&journal), [2000]);
}

#[test]
fn too_long_an_event_changes_nothing() {
    let (dir, mut journal) = journal();
    let before = bytes(&dir);
    assert!(matches!(journal.append(&long(MAX_EVENT_BYTES)), Err(JournalError::TooLong(_))));
    assert_eq!(bytes(&dir), before);
    assert_eq!(journal.append(&event("a")).unwrap(), 1);
}

#[test]
fn late_and_foreign_acknowledgements_do_no_harm() {
    let (_dir, mut journal) = journal();
    journal.acknowledge(7).unwrap();
    assert_eq!(journal.append(&event("a")).unwrap(), 1);
    journal.acknowledge(0).unwrap();
    assert_eq!(journal.waiting(), 1);
    journal.append(&Envelope::of("ns", Timestamp::default(), &TaskStart::default())).unwrap();
    journal.acknowledge(u64::MAX).unwrap();
    assert_eq!((journal.waiting(), journal.acknowledged()), (0, 2));
    assert_eq!(journal.waiting.capacity(), 0);
}
