use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::{Entry, Format, LogReader, MAX_BACKLOG_BYTES};

const NOW: Timestamp = Timestamp::new(1_709_251_200, 0);

fn json(path: &Path, options: &str) -> Driver {
    format!("json-file://{}?{options}", path.display()).parse().unwrap()
}

fn cri(path: &Path, options: &str) -> Driver {
    format!("cri://{}?{options}", path.display()).parse().unwrap()
}

fn open(driver: &Driver) -> LogWriter {
    LogWriter::open(driver, Process::Threaded).unwrap()
}

fn all(path: &Path, format: Format) -> Vec<Entry> {
    let mut reader = LogReader::open(path, format).unwrap();
    let entries = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(reader.damaged_lines(), 0);
    entries
}

/// The output of a stream, put together again from its records.
fn output(entries: &[Entry], stream: Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries.iter().filter(|entry| entry.stream == stream) {
        bytes.extend_from_slice(&entry.content);
        bytes.extend((entry.ending == Ending::Line).then_some(b'\n'));
    }
    bytes
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn lines(count: std::ops::Range<u32>) -> Vec<u8> {
    count.map(|number| format!("line {number:08}\n")).collect::<String>().into_bytes()
}

#[test]
fn the_log_and_its_directories_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/c.log");
    let mut log = open(&json(&path, ""));
    assert_eq!(log.write(Stream::Stdout, b"hello\nwor", NOW), 9);
    assert_eq!(log.write(Stream::Stderr, b"oops\n", NOW), 5);
    log.close().unwrap();
    let expected = "{\"log\":\"hello\\n\",\"stream\":\"stdout\",\"time\":\"2024-03-01T00:00:00Z\"}\n\
                    {\"log\":\"oops\\n\",\"stream\":\"stderr\",\"time\":\"2024-03-01T00:00:00Z\"}\n\
                    {\"log\":\"wor\",\"stream\":\"stdout\",";
    assert!(fs::read_to_string(&path).unwrap().starts_with(expected));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

/// `fixtures/output.gz` was written by a container of dockerd 20.10.24 with the labels `a=b` and `q="<&`, and
/// `docker-20.10.json.gz` is its log, but for the times.
#[test]
fn a_log_has_the_bytes_of_dockers() {
    let unpacked = |packed: &[u8]| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut bytes).unwrap();
        bytes
    };
    let output = unpacked(include_bytes!("../../fixtures/output.gz"));
    let expected = unpacked(include_bytes!("../../fixtures/docker-20.10.json.gz"));
    let dir = tempfile::tempdir().unwrap();
    for step in [1, 100, 4096, 1 << 20] {
        let path = dir.path().join(format!("{step}.log"));
        let mut log = open(&json(&path, "attrs={%22q%22:%22\\%22<%26%22,%22a%22:%22b%22}"));
        for part in output.chunks(step) {
            log.write(Stream::Stdout, part, Timestamp::new(0, 0));
        }
        log.end(Stream::Stdout, Timestamp::new(0, 0));
        log.close().unwrap();
        assert!(fs::read(&path).unwrap() == expected, "{step} at a time");
    }
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("link");
    symlink("/dev/null", &link).unwrap();
    let fifo = dir.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    for path in [&link, &fifo, &dir.path().to_owned(), &PathBuf::from("/dev/null")] {
        let error = LogWriter::open(&cri(path, ""), Process::Threaded).unwrap_err();
        assert_eq!(error.kind(), gantry_types::ErrorKind::InvalidArgument, "{path:?}: {error}");
    }
}

#[test]
fn files_are_rotated_as_dockers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.log");
    let mut log = open(&json(&path, "max-size=100&max-file=3"));
    // 74 bytes each: a file is full with its second.
    for number in 0..7 {
        log.write(Stream::Stdout, &lines(number..number + 1), NOW);
    }
    log.close().unwrap();
    assert_eq!(names(dir.path()), ["c.log", "c.log.1", "c.log.2"]);
    assert_eq!(output(&all(&path, Format::JsonFile), Stream::Stdout), lines(2..7));
    let newest = LogReader::new(fs::File::open(dir.path().join("c.log.1")).unwrap(), Format::JsonFile);
    assert_eq!(output(&newest.map(Result::unwrap).collect::<Vec<_>>(), Stream::Stdout), lines(4..6));
}

#[test]
fn one_file_alone_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.log");
    let mut log = open(&json(&path, "max-size=100"));
    log.write(Stream::Stdout, &lines(0..3), NOW);
    log.close().unwrap();
    assert_eq!(names(dir.path()), ["c.log"]);
    assert_eq!(output(&all(&path, Format::JsonFile), Stream::Stdout), lines(2..3));
}

#[test]
fn rotated_files_are_compressed_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.log");
    let driver = json(&path, "max-size=10000&max-file=4&compress=true");
    let mut log = open(&driver);
    log.write(Stream::Stdout, &lines(0..600), NOW);
    log.close().unwrap();
    assert_eq!(names(dir.path()), ["c.log", "c.log.1.gz", "c.log.2.gz", "c.log.3.gz"]);
    // A record has 74 bytes: four files were filled by 136 each.
    assert!(output(&all(&path, Format::JsonFile), Stream::Stdout) == lines(136..600));
    let tested = Command::new("gzip").arg("-t").arg(dir.path().join("c.log.2.gz")).status().unwrap();
    assert!(tested.success());

    // A writer that died after renaming, and one that died while it compressed.
    fs::rename(&path, dir.path().join("c.log.1")).unwrap();
    fs::remove_file(dir.path().join("c.log.1.gz")).unwrap();
    fs::write(dir.path().join("c.log.tmp.gz"), "half").unwrap();
    open(&driver).close().unwrap();
    assert_eq!(names(dir.path()), ["c.log", "c.log.1.gz", "c.log.2.gz", "c.log.3.gz"]);
}

#[test]
fn a_log_that_cannot_be_rotated_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.log");
    fs::create_dir(dir.path().join("c.log.1")).unwrap();
    fs::write(dir.path().join("c.log.1/x"), "").unwrap();
    let mut log = open(&json(&path, "max-size=100&max-file=2"));
    log.write(Stream::Stdout, &lines(0..1000), NOW);
    log.close().unwrap();
    let reader = LogReader::new(fs::File::open(&path).unwrap(), Format::JsonFile);
    assert!(output(&reader.map(Result::unwrap).collect::<Vec<_>>(), Stream::Stdout) == lines(0..1000));
}

#[test]
fn reopening_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    let mut log = open(&cri(&path, ""));
    log.write(Stream::Stdout, b"one\ntw", NOW);
    fs::rename(&path, dir.path().join("0.log.20240301-000000")).unwrap();
    log.write(Stream::Stdout, b"o\nthr", NOW);
    log.reopen().unwrap();
    log.write(Stream::Stdout, b"ee\n", NOW);
    log.close().unwrap();
    assert_eq!(output(&all(&path, Format::Cri), Stream::Stdout), b"one\ntwo\nthree\n");
    assert_eq!(fs::read(&path).unwrap(), b"2024-03-01T00:00:00Z stdout F three\n");
}

#[test]
fn a_record_that_a_dead_writer_began_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    fs::write(&path, "2024-03-01T00:00:00Z stdout F ha").unwrap();
    let mut log = open(&cri(&path, ""));
    log.write(Stream::Stdout, b"next\n", NOW);
    log.close().unwrap();
    let expected = "2024-03-01T00:00:00Z stdout F ha\n2024-03-01T00:00:00Z stdout F next\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
}

/// Runs the rest of the test in a mount namespace of its own; `None` in the process that waits for that.
fn full_disk(test: &str) -> Option<PathBuf> {
    const INSIDE: &str = "GANTRY_LOGS_FULL_DISK";
    if let Some(dir) = std::env::var_os(INSIDE) {
        return Some(dir.into());
    }
    let dir = tempfile::tempdir().unwrap();
    if !rustix::process::geteuid().is_root() {
        println!("SKIP {test}: needs root");
        return None;
    }
    let script = "mount -t tmpfs -o size=64k tmpfs \"$0\" && exec \"$@\"";
    let exe = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(dir.path()).arg(exe);
    let output = command.args([test, "--exact", "--nocapture"]).env(INSIDE, dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
    None
}

#[test]
fn a_full_disk_tears_no_record_and_is_told_of() {
    let Some(dir) = full_disk("writer::tests::a_full_disk_tears_no_record_and_is_told_of") else { return };
    let path = dir.join("c.log");
    fs::write(dir.join("filler"), vec![0u8; 40 << 10]).unwrap();
    let mut log = open(&json(&path, ""));
    let written = lines(0..40_000);
    assert_eq!(log.write(Stream::Stdout, &written, NOW), written.len());
    assert_eq!(log.flush().unwrap_err().kind(), gantry_types::ErrorKind::ResourceExhausted);
    assert!(log.is_failing() && !log.is_full());
    assert!(fs::read(&path).unwrap().ends_with(b"}\n"));
    let (dropped, kept) = (log.dropped_bytes(), log.backlog_bytes());
    assert!(dropped > 0 && kept < MAX_BACKLOG_BYTES + 200, "{dropped} {kept}");

    // The backlog is longer than the disk: it goes there in parts, as a person makes room.
    let mut seen = Vec::new();
    fs::remove_file(dir.join("filler")).unwrap();
    while log.flush().is_err() {
        seen.append(&mut fs::read(&path).unwrap());
        fs::write(&path, "").unwrap();
    }
    seen.append(&mut fs::read(&path).unwrap());
    let mut reader = LogReader::new(std::io::Cursor::new(seen), Format::JsonFile);
    let entries: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(reader.damaged_lines(), 0);
    let kept = written.len() - dropped as usize;
    assert!(output(&entries, Stream::Stdout) == written[..kept]);
    let notice = String::from_utf8(output(&entries, Stream::Stderr)).unwrap();
    assert!(notice.contains(&format!(" {dropped} bytes")), "{notice}");
}

#[test]
fn a_blocking_log_takes_no_more_than_its_backlog() {
    let Some(dir) = full_disk("writer::tests::a_blocking_log_takes_no_more_than_its_backlog") else { return };
    let path = dir.join("0.log");
    let mut log = open(&cri(&path, ""));
    let written = lines(0..100_000);
    let mut taken = log.write(Stream::Stdout, &written, NOW);
    assert!(taken < written.len() && log.is_full());
    assert_eq!(log.write(Stream::Stdout, &written[taken..], NOW), 0);
    let mut seen = Vec::new();
    while taken < written.len() || log.is_failing() {
        seen.append(&mut fs::read(&path).unwrap());
        fs::write(&path, "").unwrap();
        let _ = log.flush();
        taken += log.write(Stream::Stdout, &written[taken..], NOW);
    }
    let _ = log.flush();
    seen.append(&mut fs::read(&path).unwrap());
    let mut reader = LogReader::new(std::io::Cursor::new(seen), Format::Cri);
    let entries: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!((reader.damaged_lines(), log.dropped_bytes()), (0, 0));
    assert!(output(&entries, Stream::Stdout) == written);
}

fn local(path: &Path, options: &str) -> Driver {
    format!("local://{}?{options}", path.display()).parse().unwrap()
}

#[test]
fn local_logs_are_read_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.log");
    let mut log = open(&local(&path, "max-size=20000&max-file=90"));
    let long = vec![b'x'; 40_000];
    let written = [&lines(0..5000)[..], &long, b"\n\n\xff\ntorn"].concat();
    for part in written.chunks(7001) {
        assert_eq!(log.write(Stream::Stdout, part, NOW), part.len());
        log.flush().unwrap();
    }
    log.close().unwrap();
    assert!(path.with_file_name("c.log.3.gz").exists());
    assert!(output(&all(&path, Format::Local), Stream::Stdout) == written);
    for tail in [0, 1, 4, 5, 700, 5005, 9999] {
        let query = crate::Query { tail: Some(tail), ..crate::Query::default() };
        let mut cursor = crate::LogCursor::open(&path, Format::Local, query).unwrap();
        let mut found = 0;
        while let crate::Step::Record(_) = cursor.next_step().unwrap() {
            found += 1;
        }
        assert_eq!(found, tail.min(5006));
    }
}

#[test]
fn a_record_of_a_local_log_that_was_torn_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.log");
    let mut log = open(&local(&path, ""));
    log.write(Stream::Stdout, b"one\ntwo\n", NOW);
    log.close().unwrap();
    let whole = fs::read(&path).unwrap();
    for torn in 1..whole.len() / 2 {
        fs::write(&path, &whole[..whole.len() - torn]).unwrap();
        let mut log = open(&local(&path, ""));
        log.write(Stream::Stdout, b"three\n", NOW);
        log.close().unwrap();
        assert_eq!(output(&all(&path, Format::Local), Stream::Stdout), b"one\nthree\n");
    }
    // One that is damaged is read as far as it goes.
    fs::write(&path, [&whole[..], b"\0\0\0\x09nonsense"].concat()).unwrap();
    let mut reader = LogReader::open(&path, Format::Local).unwrap();
    assert_eq!(reader.by_ref().count(), 2);
    assert_eq!(reader.damaged_lines(), 1);
}
