//! What is elsewhere: files that `ADD` fetches, contexts of addresses and of git, imports, searches.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use gantry_e2e::{Docker, on_reference, require_engine};
use gantry_testkit::{Invocation, until};

use super::base::{build_text, shared};
use super::formats::archive;
use super::web::{Reply, Web};

fn web() -> Web {
    Web::new(|path| match path {
        "/from" => Reply::new(302, "").with("Location", "/dir/a.txt"),
        "/named/" => Reply::new(200, "named").with("Content-Disposition", "attachment; filename=\"x/given\""),
        "/nameless/" => Reply::new(200, "nameless"),
        "/missing" => Reply::new(404, "nothing here\n"),
        "/Dockerfile" => Reply::new(200, "FROM base:1\nLABEL from=web\n"),
        "/copies" => Reply::new(200, "FROM base:1\nCOPY x /x\n").with("Content-Type", "text/plain"),
        "/page" => Reply::new(200, "<html>").with("Content-Type", "text/html"),
        "/context.tar" | "/a.tar" => {
            let files =
                [("Dockerfile", "FROM base:1\nCOPY x /x\n"), ("x", "of the web"), ("other", "FROM base:1\n")];
            Reply::new(200, archive(&files)).with("Content-Type", "application/x-tar")
        }
        _ => Reply::new(200, "data").with("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    })
}

fn said(docker: &Docker, image: &str, command: &[&str]) -> String {
    docker.docker(["run", "--rm", image]).args(command).run().ok().text().to_owned()
}

#[test]
fn added_addresses_are_files() {
    require_engine!("dockerd");
    let (docker, web) = (shared(), web());
    let text = format!(
        "FROM base:1\nADD {} /d/\nADD {} {} /d/\nADD {} /plain\nADD --chown=web {} /owned\nADD --chmod=640 {} /d/mode\n",
        web.url("/dir/a.txt?x=1#y"),
        web.url("/from"),
        web.url("/named/"),
        web.url("/nameless/"),
        web.url("/x"),
        web.url("/x")
    );
    // dockerd's classic builder knows no --chmod.
    let text = if on_reference() { text.replace("ADD --chmod=640", "ADD") } else { text };
    let first = build_text(docker, &["--tag", "web"], &text).ok();
    assert!(!first.text().contains("Using cache"), "{}", first.text());
    let stat = said(
        docker,
        "web",
        &["stat", "-c", "%a %u:%g %Y %n", "/d/a.txt", "/d/from", "/d/given", "/plain", "/owned"],
    );
    let expected = [
        "600 0:0 784111777 /d/a.txt",
        "600 0:0 784111777 /d/from",
        "600 0:0 0 /d/given",
        "600 0:0 0 /plain",
        "600 33:34 784111777 /owned",
    ];
    assert_eq!(stat.lines().collect::<Vec<_>>(), expected);
    assert_eq!(said(docker, "web", &["cat", "/d/a.txt", "/d/given"]), "datanamed");
    let again = build_text(docker, &["--tag", "web"], &text).ok();
    assert_eq!(again.text().matches("Using cache").count(), 5, "{}", again.text());
    let history = docker.docker(["history", "--no-trunc", "--format", "{{.CreatedBy}}", "web"]).run().ok();
    let last = history.lines().last().unwrap().to_owned();
    let hash = history.lines()[4].split("ADD ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert!(hash.len() == 64 && !last.contains("file:"), "{}", history.text());
}

#[test]
fn added_archives_of_the_web_stay_archives() {
    require_engine!("dockerd");
    let (docker, web) = (shared(), web());
    build_text(docker, &["--tag", "web-tar"], &format!("FROM base:1\nADD {} /d/\n", web.url("/a.tar"))).ok();
    assert_eq!(said(docker, "web-tar", &["ls", "/d"]), "a.tar");
}

#[test]
fn what_cannot_be_added_is_said() {
    require_engine!("dockerd");
    let (docker, web) = (shared(), web());
    let fails = |instruction: String, words: &str| {
        build_text(docker, &[], &format!("FROM base:1\n{instruction}\n")).fails().says(words);
    };
    let missing = web.url("/missing");
    fails(
        format!("ADD {missing} /d/"),
        &format!("ADD failed: failed to GET {missing} with status 404 Not Found: nothing here"),
    );
    fails(
        format!("ADD {} /d/", web.url("/nameless/")),
        &format!("ADD failed: cannot determine filename for source {}", web.url("/nameless/")),
    );
    fails(format!("COPY {} /d/", web.url("/x")), "COPY failed: source can't be a URL for COPY");
    fails("ADD http://127.0.0.1:9/x /d/".to_owned(), "127.0.0.1:9");
}

#[test]
fn checksums_of_files_of_the_web_count() {
    require_engine!("dockerd");
    if on_reference() {
        // BuildKit's alone.
        return;
    }
    let (docker, web) = (shared(), web());
    let build = |checksum: &str, source: &str| {
        build_text(docker, &[], &format!("FROM base:1\nARG S={checksum}\nADD --checksum=$S {source} /d/\n"))
    };
    let right = "sha256:3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7";
    build(right, &web.url("/x")).ok();
    let wrong = format!("sha256:{}", "0".repeat(64));
    build(&wrong, &web.url("/x")).fails().says(&format!("digest mismatch {right}: {wrong}"));
    build("sha256:x", &web.url("/x")).fails().says("invalid checksum");
    build(right, "file").fails().says("checksum requires HTTP(S) sources");
    build(right, &format!("{} {}", web.url("/x"), web.url("/y"))).fails().says("multiple sources");
}

/// A build whose context the engine gets: docker's own client would get it by itself.
fn remote(docker: &Docker, options: &[&str], context: &str) -> Invocation {
    docker.gantry(["build"]).args(options).arg(context)
}

#[test]
fn contexts_of_the_web_are_dockerfiles_or_archives() {
    require_engine!("dockerd");
    let (docker, web) = (shared(), web());
    remote(docker, &["--tag", "remote"], &web.url("/Dockerfile")).run().ok();
    assert_eq!(docker.inspect("remote", "{{.Config.Labels.from}}"), "web");
    remote(docker, &["--tag", "remote"], &web.url("/context.tar")).run().ok();
    assert_eq!(said(docker, "remote", &["cat", "/x"]), "of the web");
    remote(docker, &["--file", "other"], &web.url("/context.tar")).run().ok();
    remote(docker, &[], &web.url("/copies")).run().fails().says("COPY failed: missing build context");
    let page = web.url("/page");
    remote(docker, &[], &page).run().fails().says(&format!(
        "error detecting content type for remote {page}: unsupported Content-Type \"text/html\""
    ));
    let missing = web.url("/missing");
    remote(docker, &[], &missing).run().fails().says(&format!(
        "error downloading remote context {missing}: failed to GET {missing} with status 404 Not Found: nothing here"
    ));
}

/// Runs git as somebody.
fn git(dir: &Path, args: &[&str]) {
    let call = Invocation::new("git").arg("-C").arg(dir.display().to_string());
    let call = call.args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always"]);
    call.args(args).run().ok();
}

/// A bare repository with a branch, a tag, a directory, and a submodule; served as plain files, and by git's own protocol.
fn repository(dir: &Path) {
    let (work, module) = (dir.join("work"), dir.join("module"));
    for (path, file) in [(&module, "inner"), (&work, "x")] {
        fs::create_dir_all(path).unwrap();
        git(path, &["init", "--quiet", "--initial-branch=master"]);
        fs::write(path.join(file), file).unwrap();
        git(path, &["add", "."]);
        git(path, &["commit", "--quiet", "-m", "1"]);
    }
    let bare = |from: &Path, name: &str| {
        git(dir, &["clone", "--quiet", "--bare", &from.display().to_string(), name]);
        git(&dir.join(name), &["update-server-info"]);
    };
    bare(&module, "module.git");
    fs::write(work.join("Dockerfile"), "FROM base:1\nCOPY . /all\n").unwrap();
    fs::create_dir(work.join("sub")).unwrap();
    fs::write(work.join("sub/Dockerfile"), "FROM base:1\nLABEL is=sub\nCOPY . /all\n").unwrap();
    std::os::unix::fs::symlink("/etc", work.join("out")).unwrap();
    git(&work, &["add", "."]);
    git(&work, &["commit", "--quiet", "-m", "2"]);
    git(&work, &["tag", "v1"]);
    git(&work, &["checkout", "--quiet", "-b", "other"]);
    fs::write(work.join("x"), "other").unwrap();
    git(&work, &["commit", "--quiet", "-a", "-m", "3"]);
    git(&work, &["checkout", "--quiet", "-b", "modules"]);
    git(&work, &["submodule", "--quiet", "add", &dir.join("module.git").display().to_string(), "module"]);
    // As it is seen from where the repository is.
    git(&work, &["submodule", "--quiet", "set-url", "module", "../module.git"]);
    git(&work, &["commit", "--quiet", "-a", "-m", "4"]);
    git(&work, &["checkout", "--quiet", "-b", "hostile"]);
    git(&work, &["submodule", "--quiet", "set-url", "module", "/etc"]);
    git(&work, &["commit", "--quiet", "-a", "-m", "5"]);
    git(&work, &["checkout", "--quiet", "master"]);
    bare(&work, "repo.git");
}

fn files(dir: &Path) -> Web {
    let dir = dir.to_owned();
    Web::new(move |path| match fs::read(dir.join(path.split('?').next().unwrap().trim_start_matches('/'))) {
        Ok(bytes) => Reply::new(200, bytes),
        Err(_) => Reply::new(404, ""),
    })
}

#[test]
fn contexts_of_git_are_a_state_and_a_directory() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = tempfile::tempdir().unwrap();
    repository(dir.path());
    let web = files(dir.path());
    let url = web.url("/repo.git");
    let built = |fragment: &str| {
        remote(docker, &["--tag", "git"], &format!("{url}{fragment}")).run().ok();
        said(docker, "git", &["cat", "/all/x"])
    };
    assert_eq!((built(""), built("#other"), built("#v1")), ("x".into(), "other".into(), "x".into()));
    assert!(said(docker, "git", &["ls", "-a", "/all"]).contains(".git"));
    remote(docker, &["--tag", "git"], &format!("{url}#v1:sub")).run().ok();
    assert_eq!(docker.inspect("git", "{{.Config.Labels.is}}"), "sub");
    assert_eq!(said(docker, "git", &["ls", "/all"]), "Dockerfile");
    remote(docker, &[], &format!("{url}#nope")).run().fails().says("error fetching");
    remote(docker, &[], &format!("{url}#v1:nope")).run().fails();
    remote(docker, &[], &format!("{url}#v1:x")).run().fails();
}

/// The repositories of a directory by git's own protocol. It ends with the pid namespace of the tests.
fn daemon(dir: &Path) -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let call = Invocation::new("git").args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1"]);
    let base = format!("--base-path={}", dir.display());
    let mut daemon = call.arg(format!("--port={port}")).arg(base).spawn();
    until("git daemon to listen", || {
        assert!(!daemon.has_ended(), "{}", daemon.stderr());
        TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())
    });
    std::mem::forget(daemon);
    format!("git://127.0.0.1:{port}")
}

#[test]
fn contexts_of_git_have_their_submodules() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = tempfile::tempdir().unwrap();
    repository(dir.path());
    let url = daemon(dir.path());
    remote(docker, &["--tag", "git-modules"], &format!("{url}/repo.git#modules")).run().ok();
    assert_eq!(said(docker, "git-modules", &["cat", "/all/module/inner"]), "inner");
    if !on_reference() {
        // Of a server without git's protocol, too.
        let url = files(dir.path()).url("/repo.git#modules");
        remote(docker, &["--tag", "git-modules"], &url).run().ok();
        assert_eq!(said(docker, "git-modules", &["cat", "/all/module/inner"]), "inner");
    }
}

#[test]
fn cve_2019_13139_a_reference_of_git_is_no_option() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = tempfile::tempdir().unwrap();
    let web = files(dir.path());
    let pwned = dir.path().join("pwned");
    let url = web.url(&format!("/repo.git#--upload-pack=touch {};:", pwned.display()));
    remote(docker, &[], &url).run().fails().says("invalid refspec");
    assert!(!pwned.exists() && web.seen().is_empty());
}

#[test]
fn cve_2022_39253_submodules_are_not_of_the_host() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = tempfile::tempdir().unwrap();
    repository(dir.path());
    let web = files(dir.path());
    remote(docker, &[], &web.url("/repo.git#hostile")).run().fails().says("submodule");
}

#[test]
fn cve_2026_33748_a_directory_of_git_is_inside_it() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = tempfile::tempdir().unwrap();
    repository(dir.path());
    let web = files(dir.path());
    for inner in ["out", "../../../../../../etc", "out/../../etc", "sub/../../../etc"] {
        let url = web.url(&format!("/repo.git#v1:{inner}"));
        let output = remote(docker, &["--tag", "outside"], &url).run();
        assert_ne!(output.code(), 0, "{inner}: {}", output.stdout);
    }
}

#[test]
fn added_repositories_have_no_history() {
    require_engine!("dockerd");
    if on_reference() {
        // BuildKit's alone.
        return;
    }
    let docker = shared();
    let dir = tempfile::tempdir().unwrap();
    repository(dir.path());
    let web = files(dir.path());
    let url = web.url("/repo.git");
    let text = format!(
        "FROM base:1\nADD {url}#other /a\nADD --keep-git-dir=true {url}#v1:sub /b/\nADD {url}#other /a\n"
    );
    build_text(docker, &["--tag", "git-add"], &text).ok();
    assert_eq!(said(docker, "git-add", &["ls", "-A", "/a"]), "Dockerfile\nout\nsub\nx");
    assert_eq!(said(docker, "git-add", &["ls", "-A", "/b"]), "Dockerfile");
    build_text(docker, &[], &format!("FROM base:1\nADD {url}#nope /a\n"))
        .fails()
        .says("ADD failed: error fetching");
}

#[test]
fn imports_come_from_the_web() {
    require_engine!("dockerd");
    let (docker, web) = (shared(), web());
    let url = web.url("/a.tar");
    let output = docker.docker(["import", &url, "web-import:1"]).run().ok();
    assert!(output.text().starts_with(&format!("Downloading from {url}")), "{}", output.text());
    let comment =
        docker.docker(["history", "--no-trunc", "--format", "{{.Comment}}", "web-import:1"]).run().ok();
    assert_eq!(comment.text(), format!("Imported from {url}"));
    let missing = web.url("/missing");
    docker
        .docker(["import", &missing, "web-import:2"])
        .run()
        .fails()
        .says(&format!("failed to GET {missing} with status 404 Not Found: nothing here"));
    docker.docker(["import", &web.url("/x"), "web-import:2"]).run().fails();
    docker.docker(["import", "http://127.0.0.1:9/x", "web-import:2"]).run().fails().says("127.0.0.1:9");
}

#[test]
fn searches_ask_the_index_of_the_term() {
    require_engine!("dockerd");
    let docker = shared();
    let web = Web::new(|path| match path {
        "/v1/_ping" => Reply::new(200, "true"),
        path if path.starts_with("/v1/search?q=team%2Fapp&n=") => Reply::new(
            200,
            r#"{"num_results":3,"query":"x","results":[
                {"name":"a","description":"A\nline","star_count":5,"is_official":true,"is_automated":false},
                {"name":"b/c","description":"B","star_count":50,"is_official":false,"is_automated":true},
                {"name":"d","description":null,"star_count":0,"is_official":false,"is_automated":false}]}"#,
        )
        .with("Content-Type", "application/json"),
        _ => Reply::new(500, "{}"),
    });
    let term = web.at("/team/app");
    let rows = |options: &[&str]| {
        let shown = docker.docker([
            "search",
            "--format",
            "{{.Name}} {{.Description}} {{.StarCount}} {{.IsOfficial}}",
        ]);
        shown.args(options).arg(&term).run().ok().lines().join("|")
    };
    assert_eq!(rows(&[]), "a A line 5 [OK]|b/c B 50|d  0");
    assert_eq!(rows(&["--filter", "stars=3", "--limit", "7"]), "a A line 5 [OK]|b/c B 50");
    assert_eq!(rows(&["--filter", "is-official=true"]), "a A line 5 [OK]");
    assert_eq!(rows(&["--filter", "is-automated=true"]), "");
    assert!(web.seen().contains(&"/v1/search?q=team%2Fapp&n=25".to_owned()), "{:?}", web.seen());
    assert!(web.seen().contains(&"/v1/search?q=team%2Fapp&n=7".to_owned()), "{:?}", web.seen());
    let shown = docker.gantry(["search", &term]).run().ok();
    assert!(shown.text().contains("b/c"), "{}", shown.text());
    let fails = |options: &[&str], term: &str, words: &str| {
        docker.docker(["search"]).args(options).arg(term).run().fails().says(words);
    };
    fails(&["--limit", "101"], &term, "limit 101 is outside the range of [1, 100]");
    fails(&["--filter", "bad=1"], &term, "invalid filter 'bad'");
    fails(&["--filter", "stars=x"], &term, "invalid filter 'stars=x'");
    fails(
        &[],
        "http://x/y",
        "invalid repository name: repository name (http://x/y) should not have a scheme",
    );
    fails(&[], "127.0.0.1:9/x", "127.0.0.1:9");
    fails(&[], &web.at("/broken"), "500");
}
