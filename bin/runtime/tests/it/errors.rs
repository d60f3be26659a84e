//! Texts of errors that engines look for, and exit codes.
//!
//! dockerd maps parts of the message to the exit codes 126 and 127, podman matches it with regular expressions, and
//! containerd takes the last error of the JSON log.

use gantry_testkit::{Bundle, Need, Peer, Runtime, require};
use serde_json::json;

#[test]
fn a_program_that_is_not_on_the_path_is_named() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["no-such-program"]);
    let output = runtime.container(&bundle).create().fails();
    assert_ne!(output.code(), 0);
    output.says_any(&[
        "exec: \"no-such-program\": executable file not found in $PATH",
        "executable file `no-such-program` not found",
    ]);
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["/no/such/program"]);
    let output = runtime.container(&bundle).create().fails().says("no such file or directory");
    output.says("/no/such/program");
}

#[test]
fn a_program_without_permission_to_execute_is_permission_denied() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["/etc/passwd"]);
    runtime.container(&bundle).create().fails().says("permission denied").says("/etc/passwd");
}

#[test]
fn a_directory_as_program_is_an_error_that_dockerd_maps_to_126() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["/etc"]);
    runtime.container(&bundle).create().fails().says_any(&["is a directory", "permission denied"]);
}

#[test]
fn a_file_as_directory_of_the_program_is_not_a_directory() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["/etc/passwd/x"]);
    runtime.container(&bundle).create().fails().says("not a directory");
}

#[test]
fn a_program_of_no_known_format_fails_at_start() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().writable().sh("true");
    bundle.write("odd", "neither script nor program\n");
    make_executable(&bundle.rootfs().join("odd"));
    let bundle = bundle.args(["/odd"]);
    let output = runtime.run(&bundle).fails();
    output.says("exec format error");
    assert!(runtime.leftovers().is_empty());
}

fn make_executable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn exec_of_a_missing_program_is_named_and_returns_255() {
    require!(Need::Not(Peer::Crun, "returns 1"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let output = container.exec(&[], ["no-such-program"]).exits(255);
    output.says("exec: \"no-such-program\": executable file not found in $PATH");
    container.exec(&[], ["/no/such"]).exits(255).says("no such file or directory");
    container.exec(&[], ["/etc/passwd"]).exits(255).says("permission denied");
}

#[test]
fn commands_on_no_container_say_that_it_does_not_exist() {
    let runtime = Runtime::new();
    for verb in ["start", "state", "kill", "delete", "pause", "resume", "ps", "events"] {
        let output = runtime.command([verb, "nothing"]).run().fails();
        assert!(output.stderr.contains("does not exist"), "{output}");
    }
    runtime.command(["exec", "nothing", "true"]).run().fails().says("does not exist");
    runtime.command(["update", "--memory", "64M", "nothing"]).run().fails().says("does not exist");
}

#[test]
fn errors_exit_with_1() {
    let runtime = Runtime::new();
    runtime.command(["start", "nothing"]).run().exits(1);
    let bundle = Bundle::new().args(["no-such-program"]);
    runtime.container(&bundle).create().exits(1);
    runtime.run(&bundle).exits(1);
}

#[test]
fn a_missing_id_is_refused() {
    let runtime = Runtime::new();
    for verb in
        ["create", "run", "start", "state", "kill", "delete", "exec", "ps", "pause", "resume", "events"]
    {
        runtime.command([verb]).run().fails();
    }
}

#[test]
fn too_many_arguments_are_refused() {
    require!(Need::Not(Peer::Crun, "ignores them"));
    let runtime = Runtime::new();
    for verb in ["create", "run", "start", "state", "delete", "pause", "resume"] {
        runtime.command([verb, "one", "two"]).run().fails();
    }
    runtime.command(["kill", "one", "TERM", "three"]).run().fails();
}

#[test]
fn unknown_commands_and_options_are_refused() {
    let runtime = Runtime::new();
    runtime.command(["state", "--no-such-option", "x"]).run().fails();
    runtime.command(["--no-such-option", "list"]).run().fails();
    runtime.command(["no-such-command"]).run().fails();
}

#[test]
fn ids_outside_the_grammar_are_refused() {
    require!(Need::Not(Peer::Crun, "has a grammar of its own"));
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    for id in ["", ".", "..", "../x", "a/b", "a b", "ä", "a\nb", "a:b", "-", "%"] {
        if id == "-" {
            continue;
        }
        let output = runtime.command(["create", "--bundle"]).arg(bundle.path()).arg("--").arg(id).run();
        output.fails();
    }
    let output = runtime.command(["create", "--bundle"]).arg(bundle.path()).arg("a b").run().fails();
    output.says("invalid container id format");
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn ids_with_every_allowed_character_work() {
    let runtime = Runtime::new();
    for id in ["A_z.0+9-x", "0", "x..y", "_a"] {
        let bundle = Bundle::new();
        runtime.run_named(&bundle, id, &[]).run().ok();
    }
}

#[test]
fn a_bundle_without_configuration_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    std::fs::remove_file(bundle.path().join("config.json")).unwrap();
    let output = runtime.container(&bundle).create().fails();
    output.says("config.json");
}

#[test]
fn a_bundle_that_does_not_exist_is_refused() {
    let runtime = Runtime::new();
    runtime
        .command(["create", "--bundle", "/no/such/bundle", "x"])
        .run()
        .fails()
        .says("no such file or directory");
}

#[test]
fn a_configuration_that_is_no_json_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    for text in ["", "{", "[]", "null", "{\"ociVersion\": 1}", "{}", "\u{feff}{}"] {
        bundle.write_raw(text.as_bytes());
        runtime.container(&bundle).create().fails();
    }
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn a_working_directory_that_is_a_file_fails_and_a_missing_one_is_made() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().writable().args(["pwd"]).edit(|c| c["process"]["cwd"] = json!("/new/dir"));
    assert_eq!(runtime.run(&bundle).ok().text(), "/new/dir");
    let bundle = bundle.edit(|c| c["process"]["cwd"] = json!("/etc/passwd"));
    runtime.container(&bundle).create().fails().says("not a directory");
}

#[test]
fn a_failing_mount_names_its_source_and_destination() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().bind("/no/such/source", "/mnt", &["rbind"]);
    let output = runtime.container(&bundle).create().fails();
    output.says("/no/such/source").says("no such file or directory");
}

#[test]
fn help_and_version_go_to_standard_output() {
    let runtime = Runtime::new();
    let output = runtime.bare().arg("--version").run().ok();
    assert!(output.stdout.contains("spec: 1."), "{output}");
    let output = runtime.bare().arg("--help").run().ok();
    for verb in ["create", "start", "run", "exec", "kill", "delete", "state", "list", "update"] {
        assert!(output.stdout.contains(verb), "{verb}: {output}");
    }
}

#[test]
fn every_command_has_help() {
    let runtime = Runtime::new();
    let verbs = [
        "create", "start", "run", "state", "list", "kill", "delete", "exec", "ps", "pause", "resume",
        "update", "events", "spec", "features",
    ];
    for verb in verbs {
        if (verb == "events" || verb == "features") && runtime.version().peer == Peer::Crun {
            continue;
        }
        if verb == "features" && runtime.version().number < (1, 2) {
            continue;
        }
        let output = runtime.bare().args([verb, "--help"]).run().ok();
        assert!(output.stdout.contains(verb) || output.stderr.contains(verb), "{output}");
    }
}
