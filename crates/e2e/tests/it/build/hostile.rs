//! Contexts, Dockerfiles and images of adversaries.

use std::fs;
use std::os::unix::fs::symlink;

use gantry_e2e::require_engine;

use super::base::{build, build_text, context, daemon, shared};

/// A tar of files and links as they are given, whatever their names.
fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, kind, value) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        let bytes = if kind.is_file() { value.as_bytes() } else { b"" };
        header.set_size(bytes.len() as u64);
        let raw = header.as_gnu_mut().unwrap();
        raw.name[..path.len()].copy_from_slice(path.as_bytes());
        if !kind.is_file() {
            raw.linkname[..value.len()].copy_from_slice(value.as_bytes());
        }
        header.set_cksum();
        archive.append(&header, bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn cve_2014_9356_archives_lead_nowhere() {
    require_engine!("dockerd");
    let docker = shared();
    let outside = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let place = outside.path().display().to_string();
    let (file, link, hard) = (tar::EntryType::Regular, tar::EntryType::Symlink, tar::EntryType::Link);
    let dockerfile =
        ("Dockerfile", file, "FROM base:1\nCOPY . /all\nRUN find /all; cat /all/secret /all/hard || true");
    let (secret, through) = (format!("{place}/secret"), "through/pwned");
    for entries in [
        vec![dockerfile, ("through", link, place.as_str()), (through, file, "x")],
        vec![dockerfile, ("../../../../../../../../var/tmp/pwned", file, "x")],
        vec![dockerfile, ("hard", hard, secret.as_str())],
        vec![dockerfile, ("secret", link, secret.as_str())],
    ] {
        let output = docker.docker(["build", "-"]).env("DOCKER_BUILDKIT", "0").stdin(archive(&entries)).run();
        let told = output.stdout.lines().any(|line| line == "secret");
        assert!(!told, "{}", output.stdout);
        assert!(!outside.path().join("pwned").exists() && !std::path::Path::new("/var/tmp/pwned").exists());
    }
}

#[test]
fn links_in_the_context_are_followed_inside_it() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = context(&[("Dockerfile", "FROM base:1\nCOPY link/passwd /x")]);
    symlink("/etc", dir.path().join("link")).unwrap();
    build(docker, &[], dir.path()).run().fails().says("file not found in build context");
    let dir = context(&[("Dockerfile", "FROM base:1\nCOPY up /x")]);
    symlink("../../../../../../etc/passwd", dir.path().join("up")).unwrap();
    build(docker, &[], dir.path()).run().fails().says("file not found in build context");
}

#[test]
fn links_in_the_image_are_followed_inside_it() {
    require_engine!("dockerd");
    let docker = shared();
    let outside = tempfile::tempdir_in("/var/tmp").unwrap();
    let place = outside.path().display();
    let text = format!(
        "FROM base:1\nRUN ln -s {place} /out && ln -s ../../../../../../../..{place} /up && ln -s / /root\n\
         COPY f /out/pwned\nCOPY f /up/\nCOPY d /out\nADD f /root/root/deep\nWORKDIR /out/made\nRUN ls {place} /deep"
    );
    let dir = context(&[("Dockerfile", &text), ("f", "f"), ("d/x", "x")]);
    let output = build(docker, &[], dir.path()).run().ok();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    for name in ["pwned", "f", "x", "made", "/deep"] {
        assert!(output.lines().contains(&name), "{name}: {}", output.stdout);
    }
}

#[test]
fn links_of_a_stage_are_followed_inside_it() {
    require_engine!("dockerd");
    let docker = shared();
    let outside = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let place = outside.path().display();
    let text = format!(
        "FROM base:1 AS evil\nRUN ln -s {place} /link && ln -s {place}/secret /file\nFROM base:1\nCOPY --from=evil /link/secret /x"
    );
    build_text(docker, &[], &text).fails();
    build_text(docker, &[], &text.replace("/link/secret", "/file")).fails();
}

#[test]
fn cve_2019_13139_references_of_git_run_nothing() {
    require_engine!("dockerd");
    let docker = shared();
    let mark = std::path::Path::new("/var/tmp/gantry-git-mark");
    let _ = fs::remove_file(mark);
    // As the API takes it: the client fetches such contexts by itself.
    let remote = "git://r.example/x.git%23--upload-pack=touch%20/var/tmp/gantry-git-mark;%23:";
    let socket = docker.docker(["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]).run().ok();
    let socket = socket.text().strip_prefix("unix://").unwrap().to_owned();
    let url = format!("http://localhost/v1.41/build?remote={remote}");
    let output = gantry_testkit::Invocation::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--request",
            "POST",
            "--unix-socket",
            &socket,
            &url,
        ])
        .run();
    assert!(!mark.exists(), "{}", output.stdout);
}

#[test]
fn cve_2024_24557_images_of_others_do_not_poison_the_cache() {
    require_engine!("dockerd");
    let (Some(_), docker) = daemon() else {
        gantry_testkit::skip_test!("dockerd takes an image that somebody committed here for the step");
    };
    // An image whose history says what the build does, and whose files are others.
    let line = "cat /input > /file || true";
    let evil = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    fs::write(evil.path(), "evil").unwrap();
    let volume = format!("{}:/input:ro", evil.path().display());
    let options =
        ["run", "--detach", "--network", "none", "--volume", &volume, "base:1", "/bin/sh", "-c", line];
    let id = docker.docker(options).run().ok().text().to_owned();
    docker.docker(["wait", &id]).run().ok();
    docker.docker(["commit", &id, "forged"]).run().ok();
    docker.docker(["rm", &id]).run().ok();
    let output = build_text(docker, &["-t", "honest"], &format!("FROM base:1\nRUN {line}")).ok();
    assert!(!output.stdout.contains("Using cache"));
    let seen = docker.docker(["run", "--rm", "--network", "none", "honest", "cat", "/file"]).run().ok();
    assert_eq!(seen.text(), "");
}

#[test]
fn a_stage_cannot_hide_files_behind_its_mounts() {
    require_engine!("dockerd");
    let docker = shared();
    let text = "FROM base:1\nRUN mv /etc /moved && ln -s /var /etc && ls -d /moved\nRUN ls -l /etc/ /moved";
    build_text(docker, &[], text);
    assert!(std::path::Path::new("/etc/passwd").exists());
}
