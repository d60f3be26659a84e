//! The same builds by docker's command line and by ours: what they tell, what becomes of them, and how they end.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use gantry_e2e::{Docker, require_engine};
use gantry_testkit::{Invocation, Output};

use super::base::{context, shared};

/// A build that both do.
struct Case {
    files: &'static [(&'static str, &'static str)],
    options: &'static [&'static str],
    /// What follows the options; the directory with the files if there is nothing.
    operand: Option<&'static str>,
    stdin: Option<&'static str>,
}

const PLAIN: &[(&str, &str)] =
    &[("Dockerfile", "FROM base:1\nCOPY . /all\nRUN find /all | sort\n"), ("a", "a"), ("d/b", "b")];
const STAGES: &[(&str, &str)] = &[(
    "Dockerfile",
    "ARG BASE=base:1\nFROM $BASE AS first\nARG WORD=none\nRUN echo word $WORD\nFROM first AS second\nRUN exit 42\n",
)];

const fn case(files: &'static [(&'static str, &'static str)], options: &'static [&'static str]) -> Case {
    Case { files, options, operand: None, stdin: None }
}

const CASES: [Case; 20] = [
    case(PLAIN, &["--no-cache"]),
    case(PLAIN, &[]),
    case(PLAIN, &["--no-cache", "--quiet"]),
    case(PLAIN, &["--label", "a=b", "--label", "c", "--tag", "c-one:x", "--tag", "c-two"]),
    case(PLAIN, &["--tag", "Not-A-Name"]),
    case(PLAIN, &["--file", "no-such-file"]),
    case(PLAIN, &["--no-such-flag"]),
    case(
        &[("other/Rezept", "FROM base:1\nCOPY d /d\n"), ("d/x", "x")],
        &["--file", "other/Rezept", "--no-cache"],
    ),
    case(&[("dockerfile", "FROM base:1\nENV A=b\n")], &[]),
    case(&[("a", "no Dockerfile")], &[]),
    case(&[("Dockerfile", "")], &[]),
    case(&[("Dockerfile", "FROM base:1\nNO such instruction\n")], &[]),
    case(&[("Dockerfile", "FROM base:1\nCOPY missing /\n")], &[]),
    case(STAGES, &["--target", "first", "--build-arg", "WORD=given", "--no-cache"]),
    case(STAGES, &["--target", "first", "--build-arg", "UNUSED=x", "--build-arg", "FROM_ENVIRONMENT"]),
    case(STAGES, &[]),
    case(
        &[
            ("Dockerfile", "FROM base:1\nCOPY . /all\nRUN find /all | sort\n"),
            (".dockerignore", "# words\n*.log\n!keep.log\nd/*\n!d/e\n**/deep\nDockerfile\n"),
            ("a.log", ""),
            ("keep.log", ""),
            ("d/b", ""),
            ("d/e/f", ""),
            ("x/y/deep/z", ""),
        ],
        &["--no-cache"],
    ),
    Case {
        files: PLAIN,
        options: &["--no-cache", "--file", "-"],
        operand: None,
        stdin: Some("FROM base:1\nCOPY . /in\nRUN find /in | sort\n"),
    },
    Case {
        files: &[],
        options: &["--no-cache"],
        operand: Some("-"),
        stdin: Some("FROM base:1\nRUN echo alone; ls -a /\n"),
    },
    Case { files: &[], options: &[], operand: Some("/no/such/directory"), stdin: None },
];

fn by(client: &str, docker: &Docker) -> Invocation {
    let call = if client == "docker" { docker.docker(["build"]) } else { docker.gantry(["build"]) };
    call.env("DOCKER_BUILDKIT", "0").env("FROM_ENVIRONMENT", "of the shell")
}

/// What is told of a build, without what is another's each time: identifiers, and the names of containers' directories.
fn told(text: &str) -> Vec<String> {
    let is_id = |word: &str| {
        word.len() >= 12 && word.trim_start_matches("sha256:").bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let plain = |line: &str| {
        line.split(' ').map(|word| if is_id(word) { "ID" } else { word }).collect::<Vec<_>>().join(" ")
    };
    // Only docker's tells of it, on its standard output if that is no terminal.
    text.lines().filter(|line| !line.starts_with("Sending build context")).map(plain).collect()
}

fn image(docker: &Docker, output: &Output) -> Option<String> {
    let word = output.text().rsplit([' ', '\n', ':']).find(|word| word.len() >= 12)?.to_owned();
    let format = "{{json .Config.Env}} {{json .Config.Labels}} {{json .Config.Cmd}}";
    let shown = docker.docker(["image", "inspect", "--format", format, &word]).run();
    shown.status.success().then(|| shown.text().to_owned())
}

#[test]
fn both_command_lines_build_the_same() {
    require_engine!("dockerd");
    let docker = shared();
    for case in &CASES {
        let dir = context(case.files);
        let seen = ["docker", "gantry"].map(|client| {
            let operand = case.operand.map_or(dir.path(), Path::new);
            let call = by(client, docker).cwd(dir.path()).args(case.options).arg(operand);
            let output = call.stdin(case.stdin.unwrap_or_default()).run();
            let (code, lines, image) = (output.code(), told(&output.stdout), image(docker, &output));
            (code, lines, image, output)
        });
        let [(code, lines, found, docker), (our_code, our_lines, our_found, ours)] = seen;
        let both = || format!("{docker}\n\n{ours}");
        assert_eq!(our_code, code, "{}", both());
        // Which steps were there already depends on who came first.
        if !case.options.contains(&"--no-cache") || code != 0 {
            continue;
        }
        assert_eq!(our_lines, lines, "{}", both());
        assert_eq!(our_found, found, "{}", both());
    }
    docker.docker(["rmi", "c-one:x", "c-two"]).run().ok();
}

#[test]
fn each_finds_what_the_other_has_done() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = context(&[("Dockerfile", "FROM base:1\nCOPY a /a\nRUN echo of either > /b\n"), ("a", "a")]);
    symlink("a", dir.path().join("link")).unwrap();
    let cached = |output: &Output| output.stdout.matches("Using cache").count();
    let first = by("docker", docker).args(["--iidfile", "/tmp/c-iid1"]).arg(dir.path()).run().ok();
    let second = by("gantry", docker).args(["--iidfile", "/tmp/c-iid2"]).arg(dir.path()).run().ok();
    assert_eq!((cached(&first), cached(&second)), (0, 2));
    let [one, two] = ["/tmp/c-iid1", "/tmp/c-iid2"].map(|path| fs::read_to_string(path).unwrap());
    assert_eq!(one, two);
    // The Dockerfile from elsewhere is no part of the context.
    let text = "FROM base:1\nCOPY . /all\nRUN find /all | sort\n";
    let foreign =
        |client: &str| by(client, docker).args(["--file", "-"]).arg(dir.path()).stdin(text).run().ok();
    let first = foreign("gantry");
    assert!(!first.stdout.contains(".dockerfile"), "{first}");
    assert_eq!(cached(&foreign("gantry")), 2);
    assert_eq!(cached(&foreign("docker")), 2);
}

#[test]
fn archives_come_by_standard_input() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = context(&[
        ("Dockerfile", "FROM base:1\nCOPY a /a\nRUN cat /a\n"),
        ("sub/Other", "FROM base:1\nRUN echo the other\n"),
        ("a", "from the archive\n"),
    ]);
    let archive = |flag: &str| {
        let call = Invocation::new("sh").cwd(dir.path());
        let line = format!("tar --create {flag} --file=- . > /tmp/c-context.tar");
        call.args(["-c", &line]).run().ok();
        fs::read("/tmp/c-context.tar").unwrap()
    };
    for flag in ["", "--gzip", "--zstd"] {
        for client in ["docker", "gantry"] {
            // The docker of Debian 12 takes such an archive for a Dockerfile.
            if (flag, client) == ("--zstd", "docker") {
                continue;
            }
            let output = by(client, docker).args(["--no-cache", "-"]).stdin(archive(flag)).run().ok();
            assert!(output.lines().contains(&"from the archive"), "{output}");
            let output = by(client, docker)
                .args(["--no-cache", "--file", "sub/Other", "-"])
                .stdin(archive(flag))
                .run()
                .ok();
            assert!(output.lines().contains(&"the other"), "{output}");
        }
    }
    for client in ["docker", "gantry"] {
        by(client, docker).args(["--file", "-", "-"]).stdin("FROM base:1\n").run().exits(1).says("stdin");
        by(client, docker).arg("-").stdin("").run().exits(1);
    }
}
