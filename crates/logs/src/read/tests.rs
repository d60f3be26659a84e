use std::io::Write;

use super::*;

fn entries(bytes: &'static [u8], format: Format) -> (Vec<String>, u64) {
    let mut reader = LogReader::new(bytes, format);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let content = String::from_utf8_lossy(&entry.content).into_owned();
        found.push(format!("{} {:?} {content}", entry.stream.name(), entry.ending));
    }
    (found, reader.damaged_lines())
}

#[test]
fn damaged_lines_are_passed_over() {
    let json = br#"{"log":"a\n","stream":"stdout","time":"2024-03-01T00:00:00Z"}
{"log":"cut","stream":"stderr","attrs":{"a":"b"},"time":"2024-03-01T00:00:00.5+01:00"}
not json
{"log":"x","stream":"stdin","time":"2024-03-01T00:00:00Z"}
{"log":"x","stream":"stdout","time":"yesterday"}
{"stream":"stdout","time":"2024-03-01T00:00:00Z"}
{"log":"torn","stream":"std"#;
    let expected = ["stdout Line a", "stderr Cut cut", "stdout Cut "].map(str::to_owned).to_vec();
    assert_eq!(entries(json, Format::JsonFile), (expected, 4));

    let cri = b"2024-03-01T00:00:00Z stdout F a b\n\n2024-03-01T00:00:00Z stderr P:x \n\
        2024-03-01T00:00:00Z stdout Q a\n2024-03-01T00:00:00Z stdout F\n\0\0\x002024-03-01T00:00:00Z stdout F z\n";
    let expected = ["stdout Line a b", "stderr Cut ", "stdout Line z"].map(str::to_owned).to_vec();
    assert_eq!(entries(cri, Format::Cri), (expected, 3));
}

#[test]
fn lines_beyond_the_limit_are_passed_over_without_their_memory() {
    let long = io::repeat(b'x').take(3 * MAX_READ_LINE_BYTES as u64);
    let rest = &b"\n2024-03-01T00:00:00Z stdout F a\n"[..];
    let mut reader = LogReader::new(long.chain(rest), Format::Cri);
    assert_eq!(reader.next_entry().unwrap().unwrap().content, b"a");
    assert_eq!(reader.damaged_lines(), 1);
}

#[test]
fn the_kubelets_rotated_files_are_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    let line = |text: &str| format!("2024-03-01T00:00:00Z stdout F {text}\n");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(line("one").as_bytes()).unwrap();
    std::fs::write(dir.path().join("0.log.20240101-000000.gz"), gz.finish().unwrap()).unwrap();
    std::fs::write(dir.path().join("0.log.20240102-000000"), line("two")).unwrap();
    std::fs::write(dir.path().join("0.log.20240102-000000.gz"), "half").unwrap();
    std::fs::write(dir.path().join("0.log.20240103-000000.tmp"), line("never")).unwrap();
    std::fs::write(dir.path().join("0.log.20240104-000000.gz"), "no gzip\n").unwrap();
    std::fs::write(&path, line("three")).unwrap();
    let mut reader = LogReader::open(&path, Format::Cri).unwrap();
    let found: Vec<_> = reader.by_ref().map(|entry| entry.unwrap().content).collect();
    assert_eq!(found, [&b"one"[..], b"two", b"three"]);
    assert_eq!(reader.damaged_lines(), 1);
}

#[test]
fn a_log_that_is_not_there_is_not_found() {
    let error = LogReader::open(Path::new("/nonexistent/log"), Format::JsonFile).unwrap_err();
    assert_eq!(error.kind(), gantry_types::ErrorKind::NotFound);
}

/// What dockerd 28.5 wrote for `echo out; echo err >&2; echo`, a line of 40,000 bytes, and `torn` without a line's end.
#[test]
fn a_local_log_of_dockerds_is_read() {
    let written = &include_bytes!("testdata/local-28.5.log.gz")[..];
    let mut reader = LogReader::new(flate2::read::GzDecoder::new(written), Format::Local);
    let mut outputs = [Vec::new(), Vec::new()];
    while let Some(entry) = reader.next_entry().unwrap() {
        let output = &mut outputs[entry.stream as usize];
        output.extend_from_slice(&entry.content);
        output.extend((entry.ending == Ending::Line).then_some(b'\n'));
    }
    let expected = [&b"out\n\n"[..], &[b'x'; 40_000], b"\ntorn"].concat();
    assert!(outputs[0] == expected);
    assert_eq!(outputs[1], b"err\n");
    assert_eq!(reader.damaged_lines(), 0);
}
