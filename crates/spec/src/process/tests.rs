use super::*;

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

#[test]
fn entry_point_and_command_follow_dockers_rules() {
    let image = Command { entrypoint: strings(&["entry"]), cmd: strings(&["cmd"]) };
    let check = |entrypoint: Option<&[&str]>, cmd: &[&str], expect: &[&str]| {
        let entrypoint = entrypoint.map(strings);
        let command = process_args(&image, entrypoint.as_deref(), &strings(cmd));
        assert_eq!(command.args().unwrap_or_default(), expect, "{entrypoint:?} {cmd:?}");
    };
    check(None, &[], &["entry", "cmd"]);
    check(None, &["x"], &["entry", "x"]);
    check(Some(&["e"]), &[], &["e"]);
    check(Some(&["e"]), &["x", "y"], &["e", "x", "y"]);
    check(Some(&[]), &[], &["cmd"]);
    check(Some(&[]), &["x"], &["x"]);
    check(Some(&[""]), &["x"], &["x"]);
    check(Some(&[""]), &[], &[]);
    assert!(matches!(Command::default().args(), Err(Error::NoCommand)));
}

#[test]
fn the_requests_environment_comes_before_the_images() {
    let image = strings(&["PATH=/i", "A=image", "B=image"]);
    let merged = merge_env(&image, &strings(&["A=user", "C=", "B"]));
    assert_eq!(merged, ["A=user", "C=", "B", "PATH=/i"]);
    let env = process_env(&merged, "h", Terminal::None);
    assert_eq!(env, ["PATH=/i", "HOSTNAME=h", "A=user", "C="]);
}

#[test]
fn variables_without_a_value_are_taken_away() {
    let env = process_env(&strings(&["PATH", "X=1", "X=2", "X", "Y"]), "h", Terminal::Attached);
    assert_eq!(env, ["HOSTNAME=h", "TERM=xterm"]);
    assert_eq!(
        overlay_env(strings(&["A=1", "B=2"]), &strings(&["A=3", "C=4", "C=5"])),
        ["A=3", "B=2", "C=5"]
    );
}

#[test]
fn zero_bytes_and_nameless_variables_are_refused() {
    assert!(check_strings("arguments", &strings(&["a\0b"])).is_err());
    assert!(check_env(&strings(&["=x"])).is_err());
    assert!(check_env(&strings(&["A=\0"])).is_err());
    assert!(check_env(&strings(&["A=b\nc", "A"])).is_ok());
}

fn ulimit(name: &str, soft: i64, hard: i64) -> Ulimit {
    Ulimit { name: name.to_owned(), soft, hard }
}

#[test]
fn limits_are_lowered_to_what_the_host_can_give() {
    let mut host = Host::default();
    let check = |host: &Host| {
        let limits = rlimits(&[ulimit("nofile", 100, 200), ulimit("core", -1, -1)], host).unwrap();
        limits.iter().map(|l| (l.type_.clone(), l.soft, l.hard)).collect::<Vec<_>>()
    };
    let core = ("RLIMIT_CORE".to_owned(), u64::MAX, u64::MAX);
    assert_eq!(check(&host), [("RLIMIT_NOFILE".to_owned(), 100, 200), core.clone()]);
    host.rlimit_ceilings.insert("RLIMIT_NOFILE".to_owned(), 50);
    assert_eq!(check(&host), [("RLIMIT_NOFILE".to_owned(), 50, 50), core]);
    host.oom_score_adj_floor = Some(200);
    assert_eq!(oom_score_adj(-500, &host).unwrap(), 200);
    assert_eq!(oom_score_adj(500, &host).unwrap(), 500);
    assert!(oom_score_adj(1001, &host).is_err());
}

#[test]
fn limits_that_mean_nothing_are_refused() {
    for bad in [ulimit("nofile", 2, 1), ulimit("nofile", -2, 1), ulimit("as", 1, 1), ulimit("core", -1, 5)] {
        assert!(rlimits(std::slice::from_ref(&bad), &Host::default()).is_err(), "{bad:?}");
    }
    let twice = rlimits(&[ulimit("core", 1, 1), ulimit("core", 2, 2)], &Host::default()).unwrap();
    assert_eq!(twice.len(), 1);
    assert_eq!(twice[0].soft, 2);
}
