//! What today's Dockerfiles say and docker's classic builder does not know: the rules are BuildKit's.

use gantry_e2e::{Docker, on_reference, require_engine};

use super::base::{build, context, shared};

fn said(docker: &Docker, image: &str, command: &[&str]) -> String {
    docker.docker(["run", "--rm", image]).args(command).run().ok().text().to_owned()
}

const FILES: [(&str, &str); 5] =
    [("a/b/x.txt", "1"), ("a/b/y.md", "2"), ("a/c/x.txt", "3"), ("d/z.txt", "4"), ("top.md", "5")];

#[test]
fn copies_leave_out_and_take_along() {
    require_engine!("dockerd");
    if on_reference() {
        return;
    }
    let docker = shared();
    let dockerfile = "FROM base:1
ARG OUT=**/*.md
COPY --exclude=$OUT --exclude=c . /some/
COPY --exclude=*.md top.md a/ /less/
COPY --parents ./a/b/x.txt ./d /parents
COPY --parents --chown=web a/./*/x.txt /pivot/
ADD --exclude=c a /added/
FROM base:1
COPY --from=0 --parents --exclude=**/d /parents/./** /again/
COPY --from=0 / /zero/
";
    let dir = context(&[&[("Dockerfile", dockerfile)][..], &FILES].concat());
    let first = build(docker, &["--tag", "syntax"], dir.path()).run().ok();
    assert!(!first.text().contains("Using cache"));
    let found = |place: &str| {
        let text = said(docker, "syntax", &["find", place, "-type", "f"]);
        let mut lines: Vec<String> = text.lines().map(|line| line[place.len()..].to_owned()).collect();
        lines.sort();
        lines
    };
    assert_eq!(found("/zero/some/"), ["Dockerfile", "a/b/x.txt", "a/c/x.txt", "d/z.txt"]);
    assert_eq!(found("/zero/less/"), ["b/x.txt", "b/y.md", "c/x.txt"]);
    assert_eq!(found("/zero/parents/"), ["a/b/x.txt", "d/z.txt"]);
    assert_eq!(found("/zero/pivot/"), ["b/x.txt", "c/x.txt"]);
    assert_eq!(found("/zero/added/"), ["b/x.txt", "b/y.md"]);
    assert_eq!(found("/again/"), ["a/b/x.txt"]);
    assert_eq!(
        said(docker, "syntax", &["stat", "-c", "%u %a", "/zero/pivot/b", "/zero/pivot/b/x.txt"]),
        "33 755\n33 644"
    );
    let again = build(docker, &["--tag", "syntax"], dir.path()).run().ok();
    assert_eq!(again.text().matches("Using cache").count(), 8, "{}", again.text());
    std::fs::write(dir.path().join("top.md"), "changed, and left out").unwrap();
    let again = build(docker, &["--tag", "syntax"], dir.path()).run().ok();
    assert_eq!(again.text().matches("Using cache").count(), 8, "{}", again.text());
    for (wrong, words) in [
        ("COPY --exclude=[ a /x", "COPY failed: illegal exclusion pattern"),
        ("COPY --parents nope /x", "COPY failed: file not found in build context"),
        ("COPY --parents ../a /x", "COPY failed: forbidden path outside the build context"),
        ("COPY --parents=maybe a /x", "expecting boolean value for flag parents"),
        ("ADD --parents a /x", "unknown flag: --parents"),
    ] {
        let dir = context(&[("Dockerfile", &format!("FROM base:1\n{wrong}\n")), ("a", "a")]);
        build(docker, &[], dir.path()).run().fails().says(words);
    }
}

#[test]
fn scripts_name_their_own_programs() {
    require_engine!("dockerd");
    if on_reference() {
        return;
    }
    let docker = shared();
    let dockerfile = |word: &str| {
        format!(
            "FROM base:1\nWORKDIR /tmp\nRUN <<END\n#!/bin/sh -e\necho \"$0\" > /tmp/name\nEND\nUSER web\nRUN <<EOF\n#!/bin/cat\n{word}\nEOF\n"
        )
    };
    let dir = context(&[("Dockerfile", &dockerfile("one"))]);
    let output = build(docker, &["--tag", "script"], dir.path()).run().ok();
    assert!(output.text().contains("#!/bin/cat\none\n"), "{}", output.text());
    assert_eq!(said(docker, "script", &["cat", "/tmp/name"]), "/dev/pipes/END");
    let history = docker.docker(["history", "--no-trunc", "--format", "{{.CreatedBy}}", "script"]).run().ok();
    assert!(history.text().contains("<<EOF\n#!/bin/cat\none\nEOF"), "{}", history.text());
    assert_eq!(said(docker, "script", &["sh", "-c", "ls -d /dev/pipes || true"]), "");
    let again = build(docker, &["--tag", "script"], dir.path()).run().ok();
    assert_eq!(again.text().matches("Using cache").count(), 4, "{}", again.text());
    std::fs::write(dir.path().join("Dockerfile"), dockerfile("two")).unwrap();
    let other = build(docker, &["--tag", "script"], dir.path()).run().ok();
    assert!(other.text().contains("#!/bin/cat\ntwo\n"), "{}", other.text());
    let fails = context(&[("Dockerfile", "FROM base:1\nRUN <<EOF\n#!/bin/sh\nexit 7\nEOF\n")]);
    build(docker, &[], fails.path())
        .run()
        .exits(7)
        .says("The command '/dev/pipes/EOF' returned a non-zero code: 7");
}
