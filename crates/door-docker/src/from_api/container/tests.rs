use super::*;

fn asked(text: &str) -> Result<Asked, String> {
    let request: ContainerCreateRequest = serde_json::from_str(text).unwrap();
    container(request, ApiVersion::MAX).map_err(|failure| failure.message)
}

#[test]
fn every_field_of_the_configuration_has_its_place() {
    let text = r#"{"Hostname":"h","Domainname":"d","User":"1:2","Tty":true,"OpenStdin":true,"StdinOnce":true,"Env":["A=b","C"],
        "Cmd":["c"],"Image":"i","WorkingDir":"/w","Entrypoint":[],"Labels":{"k":"v"},"StopSignal":"INT","StopTimeout":-1,
        "Healthcheck":{"Test":["CMD","x"],"Interval":1000000,"Timeout":2000000,"StartPeriod":3000000,"StartInterval":4000000,"Retries":5}}"#;
    let Asked { image, options, warnings } = asked(text).unwrap();
    assert_eq!((image.as_str(), warnings.len()), ("i", 0));
    let process = &options.process;
    assert_eq!(
        (process.cmd.as_deref(), process.entrypoint.as_deref()),
        (Some(&["c".to_owned()][..]), Some(&[][..]))
    );
    assert_eq!(process.env, ["A=b", "C"]);
    assert_eq!((process.working_dir.as_str(), process.user.as_str()), ("/w", "1:2"));
    assert!(process.tty && process.open_stdin && process.stdin_once);
    assert_eq!((options.isolation.hostname.as_str(), options.isolation.domainname.as_str()), ("h", "d"));
    assert_eq!((options.labels["k"].as_str(), options.stop_signal.as_str()), ("v", "INT"));
    assert_eq!(options.stop_timeout, Some(FOREVER));
    let health = options.health.unwrap();
    let times = [health.interval, health.timeout, health.start_period, health.start_interval];
    assert_eq!(times.map(|time| time.as_millis()), [1, 2, 3, 4]);
    assert_eq!((health.test.len(), health.retries), (2, 5));
}

#[test]
fn every_field_of_the_host_configuration_has_its_place() {
    let text = r#"{"Image":"i","HostConfig":{"Binds":["/a:/b"],"LogConfig":{"Type":"local","Config":{"max-file":"2"}},
        "NetworkMode":"none","RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3},"AutoRemove":true,"VolumesFrom":["x:ro"],
        "ConsoleSize":[24,80],"Annotations":{"a":"b"},"CapAdd":["NET_ADMIN"],"CapDrop":"ALL","CgroupnsMode":"private","Dns":["1.1.1.1"],
        "GroupAdd":["5"],"IpcMode":"shareable","OomScoreAdj":-5,"PidMode":"host","Privileged":true,"ReadonlyRootfs":true,
        "SecurityOpt":["seccomp:unconfined","no-new-privileges"],"UTSMode":"host","UsernsMode":"host","ShmSize":1024,
        "Sysctls":{"net.x":"1"},"Runtime":"r","Memory":6291456,"MaskedPaths":[],"ReadonlyPaths":["/p"],"Init":true}}"#;
    let options = asked(text).unwrap().options;
    let isolation = &options.isolation;
    assert_eq!((options.mounts.len(), options.volumes_from.as_slice()), (1, &["x:ro".to_owned()][..]));
    assert_eq!((options.log.driver.as_str(), options.log.options["max-file"].as_str()), ("local", "2"));
    assert_eq!((options.network.mode.as_str(), options.network.dns.len()), ("none", 1));
    assert_eq!((options.restart, options.auto_remove), (RestartPolicy::OnFailure(3), true));
    assert_eq!((options.process.console_size, options.process.init), ((80, 24), Some(true)));
    assert_eq!((options.annotations["a"].as_str(), options.runtime.as_str()), ("b", "r"));
    assert_eq!(
        (isolation.cap_add.as_slice(), isolation.cap_drop.as_slice()),
        (&["NET_ADMIN".to_owned()][..], &["ALL".to_owned()][..])
    );
    assert_eq!(isolation.security_opt, ["seccomp=unconfined", "no-new-privileges"]);
    let modes = [
        &isolation.ipc_mode,
        &isolation.pid_mode,
        &isolation.uts_mode,
        &isolation.cgroupns_mode,
        &isolation.userns_mode,
    ];
    assert_eq!(modes.map(String::as_str), ["shareable", "host", "host", "private", "host"]);
    assert!(isolation.privileged && isolation.read_only);
    assert_eq!((isolation.oom_score_adj, isolation.shm_size, isolation.sysctls.len()), (-5, 1024, 1));
    assert_eq!(
        (isolation.masked_paths.as_deref(), isolation.readonly_paths.as_deref()),
        (Some(&[][..]), Some(&["/p".to_owned()][..]))
    );
    assert_eq!(
        (options.process.groups.as_slice(), options.resources.memory),
        (&["5".to_owned()][..], 6 << 20)
    );
}

#[test]
fn the_request_is_kept_as_it_was_understood() {
    let options = asked(r#"{"Image":"i","Cmd":"one","Unknown":1}"#).unwrap().options;
    let kept: ContainerCreateRequest = serde_json::from_str(&options.origin).unwrap();
    assert_eq!(kept.config.cmd.to_vec(), ["one"]);
    assert_eq!(kept.host_config.unwrap().network_mode, "bridge");
    assert!(options.isolation.masked_paths.is_none());
}

#[test]
fn what_contradicts_dockers_rules_is_refused_in_its_words() {
    for (text, words) in [
        ("{}", "config cannot be empty in order to create a container"),
        (r#"{"Env":["=x"]}"#, "invalid environment variable: =x"),
        (
            r#"{"WorkingDir":"rel"}"#,
            "the working directory 'rel' is invalid, it needs to be an absolute path",
        ),
        (r#"{"HostConfig":{"ShmSize":-1}}"#, "SHM size can not be less than 0"),
        (
            r#"{"HostConfig":{"OomScoreAdj":2000}}"#,
            "Invalid value 2000, range for oom score adj is [-1000, 1000]",
        ),
        (
            r#"{"HostConfig":{"Annotations":{"":"x"}}}"#,
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ),
        (
            r#"{"HostConfig":{"Isolation":"weird"}}"#,
            "invalid isolation (weird): linux only supports 'default'",
        ),
        (r#"{"HostConfig":{"SecurityOpt":["weird"]}}"#, "invalid --security-opt 1: \"weird\""),
        (r#"{"HostConfig":{"SecurityOpt":["weird=x"]}}"#, "invalid --security-opt 2: \"weird=x\""),
        (
            r#"{"HostConfig":{"SecurityOpt":["no-new-privileges=maybe"]}}"#,
            "invalid --security-opt 2: \"no-new-privileges=maybe\"",
        ),
        (r#"{"Healthcheck":{"Interval":1}}"#, "Interval in Healthcheck cannot be less than 1ms"),
        (r#"{"Healthcheck":{"StartPeriod":-1}}"#, "StartPeriod in Healthcheck cannot be less than 1ms"),
        (r#"{"Healthcheck":{"Retries":-1}}"#, "Retries in Healthcheck cannot be negative"),
    ] {
        assert_eq!(asked(text).unwrap_err(), words, "{text}");
    }
}

#[test]
fn restart_policies_are_dockers() {
    let policy = |name: &str, count| {
        restart_policy(&ApiPolicy { name: name.to_owned(), maximum_retry_count: count })
            .map_err(|failure| failure.message)
    };
    for (name, count, made) in [
        ("", 0, RestartPolicy::No),
        ("no", 0, RestartPolicy::No),
        ("always", 0, RestartPolicy::Always),
        ("unless-stopped", 0, RestartPolicy::UnlessStopped),
        ("on-failure", 0, RestartPolicy::OnFailure(0)),
        ("on-failure", 7, RestartPolicy::OnFailure(7)),
    ] {
        assert_eq!(policy(name, count), Ok(made), "{name}");
    }
    for (name, count, words) in [
        ("weird", 0, "unknown policy 'weird'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"),
        ("always", 3, "maximum retry count can only be used with 'on-failure'"),
        ("on-failure", -1, "maximum retry count cannot be negative"),
        ("", 2, "maximum retry count can only be used with 'on-failure'"),
        (
            "unless-stopped",
            -1,
            "maximum retry count can only be used with 'on-failure' and cannot be negative",
        ),
        ("on-failure", 1 << 40, "maximum retry count 1099511627776 is too large"),
    ] {
        assert_eq!(policy(name, count), Err(format!("invalid restart policy: {words}")));
    }
}

#[test]
fn what_means_nothing_is_told() {
    let warnings = asked(r#"{"HostConfig":{"CpuPercent":5,"OomKillDisable":true}}"#).unwrap().warnings;
    assert_eq!(warnings.len(), 2);
}

#[test]
fn a_request_without_a_host_configuration_has_its_version_s_defaults() {
    let request: ContainerCreateRequest = serde_json::from_str(r#"{"Image":"i"}"#).unwrap();
    let mode = |version| container(request.clone(), version).unwrap().options.isolation.cgroupns_mode;
    assert_eq!(mode(ApiVersion::new(1, 40)), "host");
    assert_eq!(mode(ApiVersion::MAX), "");
}
