//! Network devices that move into the container, and what containers without namespaces of their own leave behind.

use gantry_testkit::{Bundle, Invocation, Namespace, Need, Output, Runtime, mounts_below, require};
use serde_json::{Value, json};

/// runc moves devices since 1.4.
const MOVES: Need = Need::Runc(1, 4);

/// Makes a pair of devices in a network namespace that stands for the host's, and runs the runtime there.
const HOST: &str = "ip link add gt0 type veth peer name gt1 && ip addr add 10.11.12.13/24 dev gt0 && \
    ip addr add 169.254.3.4/16 scope link dev gt0 && ip link set gt0 mtu 1300 up && exec \"$@\"";

fn on_host(command: Invocation) -> Output {
    command.wrapped(["unshare", "--net", "sh", "-c", HOST, "sh"]).run()
}

fn run(devices: &Value, script: &str) -> Output {
    let devices = devices.clone();
    let bundle = Bundle::new().sh(script).edit(|c| c["linux"]["netDevices"] = devices);
    let runtime = Runtime::new();
    let output = on_host(runtime.run_command(&bundle, &[]));
    assert!(runtime.leftovers().is_empty());
    output
}

#[test]
fn a_device_moves_with_its_permanent_addresses() {
    require!(Need::Root, Need::Program("ip"), MOVES);
    let output = run(&json!({"gt0": {}}), "ip -o addr show gt0; cat /sys/class/net/gt0/mtu").ok();
    let text = output.text();
    assert!(text.contains("10.11.12.13/24") && text.contains("1300"), "{text}");
    assert!(!text.contains("169.254.3.4"), "an address of link scope is the host's: {text}");
}

#[test]
fn a_device_gets_the_name_that_is_asked_for() {
    require!(Need::Root, Need::Program("ip"), MOVES);
    let output = run(&json!({"gt0": {"name": "eth0"}}), "ip -o addr show eth0; ls /sys/class/net").ok();
    assert!(output.text().contains("10.11.12.13/24"), "{}", output.text());
    assert!(!output.text().contains("gt0"), "{}", output.text());
}

#[test]
fn a_device_moves_into_a_namespace_that_is_joined() {
    require!(Need::Root, Need::Program("ip"), MOVES);
    let namespace = Namespace::new("network", &[]);
    let bundle = Bundle::new()
        .sh("ip -o addr show gt0")
        .namespace("network", Some(namespace.path()))
        .edit(|c| c["linux"]["netDevices"] = json!({"gt0": {}}));
    let output = on_host(Runtime::new().run_command(&bundle, &[])).ok();
    assert!(output.text().contains("10.11.12.13/24"), "{}", output.text());
}

#[test]
fn devices_that_cannot_move_are_refused() {
    require!(Need::Root, Need::Program("ip"), MOVES);
    run(&json!({"gt9": {}}), "true").fails().says("gt9");
    run(&json!({"gt0": {"name": "a/b"}}), "true").fails().says("invalid network device name");
    run(&json!({"gt0": {"name": "lo"}}), "true").fails();
    let bundle = Bundle::new()
        .without_namespace("network")
        .without_mount("/sys")
        .without_mount("/sys/fs/cgroup")
        .edit(|c| c["linux"]["netDevices"] = json!({"gt0": {}}));
    on_host(Runtime::new().run_command(&bundle, &[])).fails().says("without a NET namespace");
}

#[test]
fn mounts_of_a_container_in_the_hosts_mount_namespace_go_with_it() {
    require!(Need::Root, Need::Ours);
    let runtime = Runtime::new();
    let bundle = in_the_hosts_mount_namespace(Bundle::new().sleeping());
    let container = runtime.running(&bundle);
    assert!(mounts_below(&bundle.rootfs()).len() > 1);
    container.delete_force().ok();
    assert_eq!(mounts_below(&bundle.rootfs()).len(), 0);
}

#[test]
fn a_container_in_the_hosts_mount_namespace_that_fails_leaves_no_mount() {
    require!(Need::Root, Need::Ours);
    let runtime = Runtime::new();
    let bundle = in_the_hosts_mount_namespace(Bundle::new().args(["/nothing/here"]));
    runtime.run(&bundle).fails();
    assert_eq!(mounts_below(&bundle.rootfs()).len(), 0);
}

fn in_the_hosts_mount_namespace(bundle: Bundle) -> Bundle {
    bundle.without_namespace("mount").edit(|c| {
        c["linux"]["maskedPaths"] = json!([]);
        c["linux"]["readonlyPaths"] = json!([]);
        c["root"]["readonly"] = json!(false);
    })
}
