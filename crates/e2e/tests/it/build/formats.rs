//! Archives of every compression, wherever clients may send them.

use std::io::Read;

use gantry_e2e::{Docker, require_engine};

use super::base::{build, context, shared};

/// A compression's name, and what it makes of bytes.
type Format = (&'static str, fn(&[u8]) -> Vec<u8>);

const FORMATS: [Format; 5] = [
    ("tar", <[u8]>::to_vec),
    ("gz", |bytes| read(flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()))),
    ("bz2", |bytes| read(bzip2::read::BzEncoder::new(bytes, bzip2::Compression::fast()))),
    ("xz", |bytes| read(liblzma::read::XzEncoder::new(bytes, 1))),
    ("zst", |bytes| zstd::encode_all(bytes, 1).unwrap()),
];

fn read(mut reader: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    all
}

pub(crate) fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// What a command of an image prints.
fn said(docker: &Docker, image: &str, command: &[&str]) -> String {
    docker.docker(["run", "--rm", image]).args(command).run().ok().text().to_owned()
}

#[test]
fn contexts_and_added_archives_have_any_compression() {
    require_engine!("dockerd");
    let docker = shared();
    for (name, pack) in FORMATS {
        let file = format!("a.{name}");
        let dockerfile = format!("FROM base:1\nADD {file} /unpacked/\nCOPY {file} /copied/\n");
        let dir = context(&[("Dockerfile", &dockerfile)]);
        std::fs::write(dir.path().join(&file), pack(&archive(&[("inner", name)]))).unwrap();
        let tag = format!("format-{name}");
        build(docker, &["--tag", &tag], dir.path()).run().ok();
        assert_eq!(said(docker, &tag, &["cat", "/unpacked/inner"]), name);
        assert_eq!(said(docker, &tag, &["ls", "/copied"]), file);
        let sent = archive(&[("Dockerfile", "FROM base:1\nCOPY x /x\n"), ("x", name)]);
        let call = docker.docker(["build", "--tag", &tag, "-"]).env("DOCKER_BUILDKIT", "0");
        call.stdin(pack(&sent)).run().ok();
        assert_eq!(said(docker, &tag, &["cat", "/x"]), name);
    }
}

#[test]
fn what_only_begins_as_an_archive_is_a_file() {
    require_engine!("dockerd");
    let docker = shared();
    let dir =
        context(&[("Dockerfile", "FROM base:1\nADD a b /d/\n"), ("a", "BZh9 no bzip2"), ("b", "\u{1f8b}")]);
    std::fs::write(dir.path().join("b"), b"\xfd7zXZ\0 no xz").unwrap();
    build(docker, &["--tag", "format-none"], dir.path()).run().ok();
    assert_eq!(said(docker, "format-none", &["cat", "/d/a"]), "BZh9 no bzip2");
    assert_eq!(said(docker, "format-none", &["ls", "/d"]), "a\nb");
}

#[test]
fn imports_loads_and_copies_have_any_compression() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = tempfile::tempdir().unwrap();
    let saved = dir.path().join("saved");
    docker.docker(["save", "--output"]).arg(&saved).arg("base:1").run().ok();
    let saved = std::fs::read(saved).unwrap();
    docker.docker(["create", "--name", "format-copy", "base:1", "sh"]).run().ok();
    for (name, pack) in FORMATS {
        let tag = format!("format-import:{name}");
        docker.docker(["import", "-", &tag]).stdin(pack(&archive(&[("inner", name)]))).run().ok();
        docker.docker(["rmi", &tag]).run().ok();
        let loaded = docker.docker(["load"]).stdin(pack(&saved)).run().ok();
        assert!(loaded.text().contains("Loaded image: base:1"), "{name}: {}", loaded.text());
        let copied = archive(&[(&format!("from-{name}"), name)]);
        docker.docker(["cp", "-", "format-copy:/tmp"]).stdin(pack(&copied)).run().ok();
        docker.docker(["cp", &format!("format-copy:/tmp/from-{name}"), "-"]).run().ok();
    }
    docker.docker(["rm", "format-copy"]).run().ok();
}
