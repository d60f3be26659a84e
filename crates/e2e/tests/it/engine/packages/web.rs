//! nginx, and an application that counts in redis.

use std::fs;
use std::thread;

use gantry_testkit::until_true;

use super::{Server, Site, healthy, inside, logged, published, require_packages, serve, stop};
use crate::engine::remove;

/// A server whose only page says `word`.
fn says(word: &str) -> String {
    format!("server {{ listen 80; location / {{ default_type text/plain; return 200 '{word}'; }} }}\n")
}

fn ok(text: &str) -> Option<(u16, String)> {
    Some((200, text.to_owned()))
}

#[test]
fn nginx_takes_a_new_configuration_on_a_signal() {
    require_packages!();
    let site = Site::shared();
    let docker = &site.docker;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("site.conf");
    fs::write(&file, says("one")).unwrap();
    let bind = format!("{}:/etc/nginx/conf.d:ro", dir.path().display());
    let options = ["--publish", "127.0.0.1:0:80", "--volume", &bind];
    serve(docker, "p-nginx", &options, Server::Nginx.image(), &[]);
    let address = published(docker, "p-nginx", "80/tcp");
    assert_eq!(site.get(&address, "/"), ok("one"));
    docker.docker(["exec", "p-nginx", "touch", "/etc/nginx/conf.d/x"]).run().says("read-only").exits(1);
    fs::write(&file, says("two")).unwrap();
    docker.docker(["kill", "--signal", "HUP", "p-nginx"]).run().ok();
    until_true("the new configuration", || site.get(&address, "/") == ok("two"));
    // A wrong one changes nothing, and is complained about.
    fs::write(&file, "no such directive;\n").unwrap();
    docker.gantry(["kill", "--signal", "SIGHUP", "p-nginx"]).run().ok();
    let logs = || docker.docker(["logs", "p-nginx"]).run().ok();
    until_true("the complaint", || logs().stderr.contains("[emerg]"));
    assert_eq!(site.get(&address, "/asked-for"), ok("two"));
    until_true("the access log", || logs().stdout.contains("GET /asked-for"));
    assert!(!logs().stderr.contains("GET /asked-for"));
    let last = docker.gantry(["logs", "--tail", "1", "p-nginx"]).run().ok();
    assert!(last.stdout.contains("GET /asked-for"), "{last}");
    // Workers are others than who started them.
    let shown = docker.docker(["top", "p-nginx", "-eo", "pid,user,comm"]).run().ok();
    let users: Vec<&str> = shown.lines().iter().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert!(users.contains(&"root") && users.iter().any(|user| !["USER", "root"].contains(user)), "{shown}");
    assert_eq!(docker.inspect("p-nginx", "{{.Config.StopSignal}}"), "SIGQUIT");
    assert_eq!(stop(docker, "p-nginx"), "exited 0");
    assert_eq!(site.get(&address, "/"), None);
    remove(docker, "p-nginx");
}

#[test]
fn requests_go_from_container_to_container() {
    require_packages!();
    let site = Site::shared();
    let docker = &site.docker;
    serve(docker, "p-counter", &[], Server::Redis.image(), &[]);
    let options = ["--link", "p-counter:counter", "--env", "REDIS=counter", "--read-only", "--tmpfs", "/tmp"];
    serve(docker, "p-app", &options, Server::Python.image(), &[]);
    let dir = tempfile::tempdir().unwrap();
    let proxy = "server { listen 80; location / { proxy_pass http://app:8000; } }\n";
    fs::write(dir.path().join("site.conf"), proxy).unwrap();
    let bind = format!("type=bind,source={},target=/etc/nginx/conf.d,readonly", dir.path().display());
    let options = ["--link", "p-app:app", "--publish", "127.0.0.1:0:80", "--mount", &bind];
    serve(docker, "p-front", &options, Server::Nginx.image(), &[]);
    let address = published(docker, "p-front", "80");
    assert_eq!(site.get(&address, "/visits"), ok("visit 1"));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                (0..5).for_each(|_| assert_eq!(site.get(&address, "/visits").map(|it| it.0), Some(200)))
            });
        }
    });
    assert_eq!(site.get(&address, "/visits"), ok("visit 42"));
    assert_eq!(inside(docker, "p-app", &["id", "-un"]), "app");
    // Nobody is left to ask, and then somebody else.
    assert_eq!(stop(docker, "p-counter"), "exited 0");
    assert_eq!(site.get(&address, "/visits").map(|it| it.0), Some(503));
    assert_eq!(site.get(&address, "/health"), ok("well"));
    docker.docker(["start", "p-counter"]).run().ok();
    healthy(docker, "p-counter");
    // It was stopped in order, and has saved what it knew.
    until_true("the counter", || site.get(&address, "/visits") == ok("visit 43"));
    assert_eq!(stop(docker, "p-app"), "exited 0");
    assert!(logged(docker, "p-app").contains("leaving"));
    ["p-front", "p-app", "p-counter"].iter().for_each(|name| remove(docker, name));
}
