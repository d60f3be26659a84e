//! Dockerfiles of `cases`, whose output, configuration, history and layers are those that dockerd 28.5 gives.
//!
//! `GANTRY_BLESS=1` writes what is expected: with `GANTRY_DAEMON=containerd` and dockerd 28.5 in `GANTRY_DOCKERD`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use gantry_e2e::{Docker, require_engine};
use gantry_testkit::Output;
use serde_json::Value;

use super::base::{build, copy, shared};

/// Times before this are those of files that were copied with them.
const BEFORE_TESTS: u64 = 1_700_000_000;

#[test]
fn metadata() {
    check("metadata", &[]);
    // The triggers of the image before.
    check("triggers", &[]);
}

#[test]
fn entrypoint() {
    check("entrypoint", &[]);
}

#[test]
fn arguments() {
    let given = ["given=G", "unused=u", "HTTP_PROXY=http://p"];
    let options: Vec<&str> = given.iter().flat_map(|arg| ["--build-arg", arg]).collect();
    check("arguments", &options);
}

#[test]
fn copies() {
    check("copy", &[]);
}

#[test]
fn additions() {
    check("add", &[]);
}

#[test]
fn stages() {
    check("stages", &["--label", "z=1", "--label", "y=2"]);
}

#[test]
fn scratch() {
    check("scratch", &[]);
}

#[test]
fn commands() {
    check("run", &[]);
}

#[test]
fn failures() {
    for case in ["fails", "missing", "outside", "unknown"] {
        check(case, &[]);
    }
}

#[test]
fn volumes_are_not_in_layers() {
    check("volume", &[]);
}

#[test]
fn users() {
    check("user", &[]);
}

fn check(case: &str, options: &[&str]) {
    require_engine!("dockerd");
    let docker = shared();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/build");
    let context = tempfile::tempdir().unwrap();
    copy(&tests.join("cases").join(case), context.path());
    let tag = format!("result-{case}");
    let options: Vec<&str> = ["--tag", &tag].into_iter().chain(options.iter().copied()).collect();
    let found = shown(docker, &tag, &build(docker, &options, context.path()).run());
    let expected: PathBuf = tests.join("expected").join(case);
    if std::env::var_os("GANTRY_BLESS").is_some() {
        fs::write(expected, found).unwrap();
        return;
    }
    let expected = fs::read_to_string(expected).unwrap();
    let first = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
    let first = first.unwrap_or(0);
    let part =
        |text: &str| text.lines().skip(first.saturating_sub(3)).take(12).collect::<Vec<_>>().join("\n");
    assert!(found == expected, "{case}: found\n{}\nexpected\n{}", part(&found), part(&expected));
}

/// Everything that can be compared of a build.
fn shown(docker: &Docker, tag: &str, output: &Output) -> String {
    let mut text = without_ids(&output.stdout);
    let errors = output.stderr.lines().filter(|line| line.contains("rror") || line.contains("returned"));
    errors.for_each(|line| writeln!(text, "{}", without_ids(line)).unwrap());
    writeln!(text, "status {}", output.code()).unwrap();
    if output.code() != 0 {
        return text;
    }
    let images = docker.docker(["image", "inspect", tag]).run().ok().json();
    let config: BTreeMap<&String, &Value> = images[0]["Config"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, value)| !is_nothing(value))
        .filter(|(key, _)| !["Image", "Hostname"].contains(&key.as_str()))
        .collect();
    writeln!(text, "{}", serde_json::to_string_pretty(&config).unwrap()).unwrap();
    writeln!(text, "author {}", images[0]["Author"].as_str().unwrap_or_default()).unwrap();
    let format = ["history", "--no-trunc", "--format", "{{.CreatedBy}}", tag];
    text.push_str(&without_ids(docker.docker(format).run().ok().text()));
    text.push('\n');
    layers(docker, tag, &mut text);
    text
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Identifiers are replaced by the number of their digits.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_id = [12, 64].contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match is_id {
            true => write!(out, "<{}>{}", digits.len(), &word[digits.len()..]).unwrap(),
            false => out.push_str(word),
        }
    }
    out
}

/// The entries of all layers but the base image's.
fn layers(docker: &Docker, tag: &str, text: &mut String) {
    let dir = tempfile::tempdir().unwrap();
    let saved = dir.path().join("saved.tar");
    docker.docker(["save", "--output"]).arg(&saved).arg(tag).run().ok();
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut archive = tar::Archive::new(fs::File::open(&saved).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(path, bytes);
    }
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let config: Value = serde_json::from_slice(&files[manifest[0]["Config"].as_str().unwrap()]).unwrap();
    let empty = config["history"].as_array().unwrap().iter().map(|step| step["empty_layer"] == true);
    writeln!(text, "empty {:?}", empty.collect::<Vec<_>>()).unwrap();
    let layers = manifest[0]["Layers"].as_array().unwrap();
    let has_base = config["history"][0]["comment"].as_str().is_some_and(|text| text.starts_with("Imported"));
    for layer in &layers[usize::from(has_base)..] {
        writeln!(text, "layer").unwrap();
        let bytes = &files[layer.as_str().unwrap()];
        let mut plain = Vec::new();
        match bytes.starts_with(&[0x1f, 0x8b]) {
            true => drop(flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap()),
            false => plain.clone_from(bytes),
        }
        let mut rows = entries(&plain);
        rows.sort();
        rows.iter().for_each(|row| writeln!(text, "  {row}").unwrap());
    }
}

fn entries(layer: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(layer);
    let entries = archive.entries().unwrap();
    let row = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let header = entry.header().clone();
        // What a whiteout's mode is, nobody says.
        let mode = if path.contains(".wh.") { 0 } else { header.mode().unwrap() & 0o7777 };
        let link = entry.link_name().unwrap().map(|link| link.display().to_string()).unwrap_or_default();
        let time = header.mtime().unwrap();
        let time = if header.entry_type().is_file() && time < BEFORE_TESTS { time } else { 0 };
        let kind = header.entry_type().as_byte() as char;
        let (uid, gid) = (header.uid().unwrap(), header.gid().unwrap());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let contents = match String::from_utf8(bytes) {
            Ok(short) if short.len() < 64 => format!("{short:?}"),
            Ok(long) => format!("{} bytes", long.len()),
            Err(error) => format!("{} bytes", error.as_bytes().len()),
        };
        format!("{} {kind} {mode:o} {uid}:{gid} {link} {contents} {time}", path.trim_matches('/'))
    };
    entries.map(row).collect()
}
