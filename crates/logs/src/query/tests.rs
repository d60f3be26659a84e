use std::fs;
use std::io::Write;

use flate2::{Compression, GzBuilder};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use super::*;
use crate::{Driver, LogWriter, Process};

/// It is moved to threads that may wait.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<LogCursor>();
};

const START: i64 = 1_709_251_200;

/// A line of json-file whose time is `number` seconds after the start.
fn json(number: i64) -> String {
    let stream = if number % 2 == 0 { "stdout" } else { "stderr" };
    let time = Timestamp::new(START + number, 0);
    format!("{{\"log\":\"line {number}\\n\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n")
}

fn lines(numbers: std::ops::Range<i64>) -> String {
    numbers.map(json).collect()
}

fn gz(path: &Path, text: &str, last: Option<i64>) {
    let mut builder = GzBuilder::new();
    if let Some(last) = last {
        builder = builder.extra(format!("{{\"lastTime\":\"{}\"}}", Timestamp::new(START + last, 0)));
    }
    let mut encoder = builder.write(fs::File::create(path).unwrap(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap();
}

/// A log of 30 lines in three files, the oldest of which is compressed.
fn rotated() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.log");
    gz(&dir.path().join("c.log.2.gz"), &lines(0..10), Some(9));
    fs::write(dir.path().join("c.log.1"), lines(10..20)).unwrap();
    fs::write(&path, lines(20..30)).unwrap();
    (dir, path)
}

/// What there is until the next wait, or the end.
fn contents(cursor: &mut LogCursor) -> (Vec<String>, bool) {
    let mut found = Vec::new();
    loop {
        match cursor.next_step().unwrap() {
            Step::Record(record) => found.push(String::from_utf8(record.content.to_vec()).unwrap()),
            Step::Wait => return (found, false),
            Step::End => return (found, true),
        }
    }
}

fn expected(numbers: impl Iterator<Item = i64>) -> Vec<String> {
    numbers.map(|number| format!("line {number}")).collect()
}

fn check(path: &Path, query: Query, numbers: impl Iterator<Item = i64>) {
    let mut cursor = LogCursor::open(path, Format::JsonFile, query.clone()).unwrap();
    assert_eq!(contents(&mut cursor), (expected(numbers), true), "{query:?}");
    assert_eq!(cursor.damaged_records(), 0);
}

#[test]
fn the_tail_is_found_across_rotated_files() {
    let (_dir, path) = rotated();
    for tail in [0, 1, 9, 10, 11, 19, 20, 21, 29, 30, 31, 1_000_000] {
        let query = Query { tail: Some(tail), ..Query::default() };
        check(&path, query, (30 - (tail as i64).min(30))..30);
    }
    check(&path, Query::default(), 0..30);
}

#[test]
fn a_last_line_that_is_being_written_does_not_count() {
    let (_dir, path) = rotated();
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"log\":\"torn").unwrap();
    for (tail, first) in [(0, 30), (1, 29), (12, 18)] {
        check(&path, Query { tail: Some(tail), ..Query::default() }, first..30);
    }
}

#[test]
fn times_and_streams_choose_after_the_tail() {
    let (dir, path) = rotated();
    let at = |number| Some(Timestamp::new(START + number, 0));
    check(&path, Query { since: at(7), ..Query::default() }, 7..30);
    check(&path, Query { since: at(15), until: at(22), ..Query::default() }, 15..=22);
    check(&path, Query { since: at(15), tail: Some(3), ..Query::default() }, 27..30);
    check(&path, Query { until: at(22), tail: Some(3), ..Query::default() }, 0..0);
    check(&path, Query { stdout: false, tail: Some(4), ..Query::default() }, [27, 29].into_iter());
    // What is older by its header is not even decompressed.
    gz(&dir.path().join("c.log.2.gz"), "nonsense", Some(9));
    check(&path, Query { since: at(10), ..Query::default() }, 10..30);
}

#[test]
fn only_the_first_record_counts_for_since_because_clocks_are_set() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.log");
    fs::write(&path, [5, 6, 2, 7].map(json).concat()).unwrap();
    check(
        &path,
        Query { since: Some(Timestamp::new(START + 6, 0)), ..Query::default() },
        [6, 2, 7].into_iter(),
    );
}

/// Waits as a caller does.
fn wait(cursor: &LogCursor) {
    let wait = cursor.wait();
    assert_eq!(wait.at_most, None);
    let mut fds = [PollFd::from_borrowed_fd(wait.descriptor.unwrap(), PollFlags::IN)];
    let deadline = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut fds, Some(&deadline)), Ok(1));
}

/// Follows until `count` records have come.
fn follow(cursor: &mut LogCursor, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let (more, ended) = contents(cursor);
        found.extend(more);
        if found.len() >= count || ended {
            return found;
        }
        wait(cursor);
    }
}

#[test]
fn what_is_added_is_followed_through_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.log");
    for options in ["", "max-size=400&max-file=3", "max-size=400", "max-size=400&max-file=4&compress=true"] {
        let driver: Driver = format!("json-file://{}?{options}", path.display()).parse().unwrap();
        let mut log = LogWriter::open(&driver, Process::Threaded).unwrap();
        let query = Query { tail: Some(0), follow: true, ..Query::default() };
        let mut cursor = LogCursor::open(&path, Format::JsonFile, query).unwrap();
        assert_eq!(contents(&mut cursor), (Vec::new(), false));
        for number in 0..50 {
            let line = format!("line {number}\n");
            log.write(Stream::Stdout, line.as_bytes(), Timestamp::now());
            log.flush().unwrap();
            assert_eq!(follow(&mut cursor, 1), expected(number..=number), "{options}");
        }
        log.write(Stream::Stdout, b"line 50\n", Timestamp::now());
        log.close().unwrap();
        cursor.finish();
        assert_eq!(contents(&mut cursor), (expected(50..=50), true));
        assert_eq!(contents(&mut cursor), (Vec::new(), true));
        assert_eq!(cursor.damaged_records(), 0);
    }
}

#[test]
fn a_follower_that_was_away_for_several_rotations_misses_nothing_and_sees_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.log");
    for compress in ["false", "true"] {
        let options = format!("max-size=400&max-file=9&compress={compress}");
        let driver: Driver = format!("json-file://{}?{options}", path.display()).parse().unwrap();
        let mut log = LogWriter::open(&driver, Process::Threaded).unwrap();
        let query = Query { tail: Some(0), follow: true, ..Query::default() };
        let mut cursor = LogCursor::open(&path, Format::JsonFile, query).unwrap();
        for round in 0..5 {
            let numbers = round * 20..round * 20 + 20;
            for number in numbers.clone() {
                log.write(Stream::Stdout, format!("line {number}\n").as_bytes(), Timestamp::now());
                log.flush().unwrap();
            }
            assert_eq!(follow(&mut cursor, 20), expected(numbers), "{compress}");
        }
        log.close().unwrap();
    }
}

#[test]
fn a_log_that_is_truncated_is_followed_from_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.log");
    fs::write(&path, lines(0..5)).unwrap();
    let query = Query { follow: true, ..Query::default() };
    let mut cursor = LogCursor::open(&path, Format::JsonFile, query).unwrap();
    assert_eq!(contents(&mut cursor), (expected(0..5), false));
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.set_len(0).unwrap();
    wait(&cursor);
    assert_eq!(contents(&mut cursor), (Vec::new(), false));
    // In two steps: half a record is waited for.
    let line = json(7);
    file.write_all(&line.as_bytes()[..9]).unwrap();
    wait(&cursor);
    assert_eq!(contents(&mut cursor), (Vec::new(), false));
    file.write_all(&line.as_bytes()[9..]).unwrap();
    assert_eq!(follow(&mut cursor, 1), expected(7..8));
}

#[test]
fn following_ends_when_the_time_is_over() {
    let (_dir, path) = rotated();
    let until = Some(Timestamp::new(START + 60, 0));
    let query = Query { follow: true, until, tail: Some(1), ..Query::default() };
    check(&path, query, 29..30);
    let far = Some(Timestamp::new(Timestamp::now().parts().0 + 60, 0));
    let mut cursor =
        LogCursor::open(&path, Format::JsonFile, Query { follow: true, until: far, ..Query::default() })
            .unwrap();
    assert_eq!(contents(&mut cursor), (expected(0..30), false));
    let left = cursor.wait().at_most.unwrap();
    assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60), "{left:?}");
}

fn filled(text: &str, frames: Frames) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.log");
    fs::write(&path, text).unwrap();
    let mut cursor = LogCursor::open(&path, Format::JsonFile, Query::default()).unwrap();
    let mut out = Vec::new();
    assert_eq!(cursor.fill(frames, &mut out, usize::MAX).unwrap(), Progress::End);
    out
}

#[test]
fn frames_are_dockers() {
    let log = "{\"log\":\"a\\u003cb\\n\",\"stream\":\"stdout\",\"time\":\"2024-03-01T00:00:00.5Z\"}\n\
        {\"log\":\"cut\",\"stream\":\"stderr\",\"attrs\":{\"z\":\"x y/é\",\"a\":\"b\"},\"time\":\"2024-03-01T00:00:00Z\"}\n";
    let frames = Frames { framing: Framing::Multiplexed, timestamps: false, details: false };
    assert_eq!(filled(log, frames), b"\x01\0\0\0\0\0\0\x04a<b\n\x02\0\0\0\0\0\0\x03cut");
    let raw = Frames { framing: Framing::Raw, timestamps: true, details: true };
    let expected =
        "2024-03-01T00:00:00.500000000Z  a<b\n2024-03-01T00:00:00.000000000Z a=b,z=x+y%2F%C3%A9 cut";
    assert_eq!(String::from_utf8(filled(log, raw)).unwrap(), expected);
}

#[test]
fn frames_come_in_chunks_of_whole_records() {
    let (_dir, path) = rotated();
    let mut cursor = LogCursor::open(&path, Format::JsonFile, Query::default()).unwrap();
    let frames = Frames { framing: Framing::Multiplexed, timestamps: false, details: false };
    let (mut out, mut all) = (Vec::new(), Vec::new());
    loop {
        let progress = cursor.fill(frames, &mut out, 40).unwrap();
        all.append(&mut out);
        match progress {
            Progress::Full => {}
            Progress::End => break,
            Progress::Wait => panic!(),
        }
    }
    assert_eq!(all.iter().filter(|byte| **byte == b'\n').count(), 30);
}
