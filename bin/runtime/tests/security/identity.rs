//! Users, groups and names.

use std::fs;

use gantry_testkit::{Bundle, Canary, Need, Runtime, require};

#[test]
fn cve_2016_3697_a_user_that_looks_like_a_number_is_a_number() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    bundle.write("etc/passwd", "root:x:0:0::/:/bin/sh\n1000:x:0:0::/:/bin/sh\n");
    let container = runtime.running(&bundle);
    assert_eq!(container.exec(&["--user", "1000"], ["id", "-u"]).ok().text(), "1000");
    assert_eq!(container.exec(&["--user", "1000:1000"], ["id", "-g"]).ok().text(), "1000");
}

#[test]
fn cve_2026_30892_users_of_exec_that_cannot_be_parsed_are_never_root() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let odd = [
        "",
        ":",
        "1000:",
        ":1000",
        "x",
        "1000:x",
        "x:1000",
        "-1",
        "-0",
        "+0",
        "0x0",
        "1e3",
        " 0",
        "0 ",
        "1000 ",
        "1000,0",
        "1000:1000:1000",
        "1000.1000",
        "\u{ff11}000",
        "99999999999999999999",
        "1000:99999999999999999999",
        "1000\n",
    ];
    for user in odd {
        let output = container.exec(&["--user", user], ["id", "-u"]);
        // Go's parser takes a sign: for runc these are root, and rightly so.
        if !runtime.is_ours() && ["-0", "+0"].contains(&user) {
            continue;
        }
        // An empty option is no option: the container's own user.
        if output.status.success() && !user.is_empty() {
            assert_eq!(output.text(), "1000", "{user:?}: {output}");
        }
    }
}

#[test]
fn cve_2024_40635_ids_beyond_32_bits_are_refused() {
    // runc cuts them off: 4294967296 becomes 0.
    require!(Need::Ours);
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    for user in ["4294967296", "4294967295", "1000:4294967296", "1000:4294967295", "18446744073709551616"] {
        container.exec(&["--user", user], ["id", "-u"]).fails();
    }
}

#[test]
fn files_of_the_image_that_never_end_are_not_read_to_the_end() {
    // CVE-2024-9676, CVE-2026-47262: a FIFO, a device or a giant for /etc/passwd.
    require!(Need::Ours);
    let runtime = Runtime::new();
    for kind in ["fifo", "zero", "huge"] {
        // A program that reads neither: what is looked at is the runtime.
        let bundle = Bundle::docker().args(["echo", "0"]);
        for name in ["passwd", "group"] {
            let path = bundle.rootfs().join("etc").join(name);
            fs::remove_file(&path).unwrap();
            match kind {
                "fifo" => {
                    let mode = rustix::fs::Mode::from_raw_mode(0o644);
                    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
                }
                "zero" => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                _ => fs::File::create(&path).unwrap().set_len(1 << 40).unwrap(),
            }
        }
        let call = runtime.run_command(&bundle, &[]).limit(std::time::Duration::from_secs(15));
        let output = call.run();
        assert!(!output.status.success() || output.text() == "0", "{kind}: {output}");
    }
}

#[test]
fn a_passwd_that_is_a_link_to_the_host_is_not_read() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    fs::write(canary.path().join("file"), "user:x:1000:1000::/from-the-host:/bin/sh\n").unwrap();
    let bundle = Bundle::new().sh("echo $HOME").edit(|c| {
        c["process"]["user"] = serde_json::json!({ "uid": 1000, "gid": 1000 });
    });
    fs::remove_file(bundle.rootfs().join("etc/passwd")).unwrap();
    std::os::unix::fs::symlink(canary.dotted().join("file"), bundle.rootfs().join("etc/passwd")).unwrap();
    let output = runtime.run(&bundle);
    assert!(!output.stdout.contains("from-the-host"), "{output}");
}

#[test]
fn ids_of_containers_never_leave_the_state_directory() {
    let runtime = Runtime::new();
    let outside = runtime.state_dir().parent().unwrap().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("state.json"), "{}").unwrap();
    for id in ["../outside", "..", ".", "/", "a/../../outside", "../outside/", ""] {
        for verb in ["state", "start", "kill", "delete", "pause", "ps"] {
            runtime.command([verb, "--"]).arg(id).run().fails();
        }
        let _ = runtime.command(["delete", "--force", "--"]).arg(id).run();
        assert!(outside.join("state.json").exists() && runtime.state_dir().is_dir(), "{id}");
    }
}
