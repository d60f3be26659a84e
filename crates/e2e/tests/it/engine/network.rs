//! The default bridge: addresses, names, published ports.

use gantry_e2e::{Docker, require_engine};
use gantry_testkit::{Invocation, Namespace, until_true};

use super::{detached, remove, shared};

const SERVER: &str = "mkdir /w; echo served > /w/index.html; exec httpd -f -p 80 -h /w";

#[test]
fn containers_of_the_bridge_reach_each_other_and_are_published() {
    require_engine!("dockerd");
    // Alone in a network: another daemon that starts in it writes the rules of all ports anew.
    let host = Namespace::new("network", &[]);
    let (_daemon, docker) = &Docker::engine_apart(&host, "gt-engw");
    detached(docker, "e-web", &["--publish", "127.0.0.1:0:80"], &["sh", "-c", SERVER]);
    let address = docker.inspect("e-web", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    let get = |url: &str| {
        let call = docker.docker(["run", "--rm", "busybox", "wget", "-q", "-O", "-", url]).run();
        (call.status.success(), call.text().to_owned())
    };
    until_true("the server", || get(&format!("http://{address}/")) == (true, "served".to_owned()));
    let port = docker.docker(["port", "e-web", "80/tcp"]).run().ok().text().to_owned();
    let from_host = || {
        let enter = Invocation::new("nsenter").arg(format!("--net={}", host.path().display()));
        enter.args(["busybox", "wget", "-q", "-O", "-", &format!("http://{port}/")]).run()
    };
    until_true("the published port", || from_host().text() == "served");
    let shared_network = docker.docker(["run", "--rm", "--network", "container:e-web", "busybox"]);
    let output = shared_network.args(["wget", "-q", "-O", "-", "http://127.0.0.1/"]).run().ok();
    assert_eq!(output.text(), "served");
    remove(docker, "e-web");
    from_host().fails();
}

#[test]
fn modes_without_a_bridge() {
    require_engine!("dockerd");
    let docker = shared();
    let devices = |mode: &str| {
        let call = docker.docker(["run", "--rm", "--network", mode, "busybox", "ls", "/sys/class/net"]);
        call.run().ok().text().to_owned()
    };
    assert_eq!(devices("none"), "lo");
    assert!(devices("host").contains("lo"));
    assert_eq!(devices("bridge"), "eth0\nlo");
    let listed = docker.docker(["network", "ls", "--format", "{{.Name}} {{.Driver}}"]).run().ok();
    let mut listed: Vec<&str> = listed.text().lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, ["bridge bridge", "host host", "none null"]);
}

#[test]
fn names_and_servers_of_names_are_in_the_files() {
    require_engine!("dockerd");
    let docker = shared();
    let options = [
        "--dns",
        "10.1.2.3",
        "--dns-search",
        "example.test",
        "--add-host",
        "there:10.9.8.7",
        "--hostname",
        "me",
    ];
    let output = docker.docker(["run", "--rm"]).args(options);
    let output =
        output.args(["busybox", "cat", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname"]).run().ok();
    for line in ["nameserver 10.1.2.3", "search example.test", "10.9.8.7\tthere", "\tme", "me"] {
        assert!(output.stdout.lines().any(|found| found.ends_with(line)), "{line}: {output}");
    }
}
