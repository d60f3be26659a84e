//! Keepers of data: their volumes outlive kills, containers and versions.

use std::thread;

use gantry_e2e::Docker;
use gantry_testkit::Output;

use super::{Server, docker, healthy, inside, logged, require_packages, serve, stop};
use crate::engine::remove;

const APPEND_ONLY: [&str; 2] = ["--appendonly", "yes"];

#[test]
fn redis_keeps_what_it_was_given() {
    require_packages!();
    let docker = docker();
    let options = ["--volume", "p-redis:/data", "--memory", "256m"];
    let image = Server::Redis.image();
    serve(docker, "p-redis", &options, image, &APPEND_ONLY);
    let cli = |args: &[&str]| inside(docker, "p-redis", &[&["redis-cli"], args].concat());
    for number in 0..50 {
        assert_eq!(cli(&["set", &format!("key {number}"), &format!("värde {number}")]), "OK");
    }
    // Root has become somebody else before it served.
    assert_eq!(inside(docker, "p-redis", &["stat", "--format", "%U %G", "/proc/1"]), "redis redis");
    assert_eq!(inside(docker, "p-redis", &["stat", "--format", "%u:%g", "/data/appendonlydir"]), "999:999");
    docker.docker(["kill", "p-redis"]).run().ok();
    docker.docker(["wait", "p-redis"]).run().ok();
    docker.docker(["start", "p-redis"]).run().ok();
    healthy(docker, "p-redis");
    assert_eq!((cli(&["get", "key 49"]).as_str(), cli(&["dbsize"]).as_str()), ("värde 49", "50"));
    docker.docker(["restart", "p-redis"]).run().ok();
    healthy(docker, "p-redis");
    let before = cli(&["dbsize"]);
    assert!(logged(docker, "p-redis").contains("bye bye"));
    // The volume has a name: it stays when its container goes, and another one gets it.
    remove(docker, "p-redis");
    let upgraded = Server::Redis.upgrade();
    serve(docker, "p-redis", &options, &upgraded, &APPEND_ONLY);
    assert_eq!((cli(&["dbsize"]), before.as_str()), (before.clone(), "50"));
    assert_ne!(version(docker, image, "redis-server"), version(docker, &upgraded, "redis-server"));
    assert_eq!(docker.inspect("p-redis", "{{index .Config.Labels \"upgraded\"}} {{json .Config.Cmd}}"), {
        "yes [\"--appendonly\",\"yes\"]"
    });
    assert_eq!(stop(docker, "p-redis"), "exited 0");
    remove(docker, "p-redis");
    docker.docker(["volume", "rm", "p-redis"]).run().ok();
}

/// The version of a package in an image.
fn version(docker: &Docker, image: &str, package: &str) -> String {
    let ask = ["dpkg-query", "--show", "--showformat", "${Version}", package];
    let call = docker.docker(["run", "--rm", "--network", "none", "--entrypoint", ask[0], image]);
    call.args(&ask[1..]).run().ok().text().to_owned()
}

fn sql(docker: &Docker, name: &str, query: &str) -> Output {
    docker
        .docker([
            "exec",
            "--user",
            "postgres",
            name,
            "psql",
            "--no-align",
            "--tuples-only",
            "--command",
            query,
        ])
        .run()
}

#[test]
fn postgres_keeps_its_tables() {
    require_packages!();
    let docker = docker();
    let image = Server::Postgres.image();
    docker.docker(["volume", "create", "p-pg"]).run().ok();
    // Without a password it says what it wants, on its standard error.
    docker.docker(["run", "--rm", image]).run().says("is needed to make a database").exits(1);
    let options = [
        "--volume",
        "p-pg:/var/lib/postgresql/data",
        "--shm-size",
        "128m",
        "--env",
        "POSTGRES_PASSWORD=s p%",
    ];
    serve(docker, "p-pg", &options, image, &[]);
    let ask = |query: &str| sql(docker, "p-pg", query).ok().text().to_owned();
    ask("CREATE TABLE kept (number int PRIMARY KEY, word text)");
    ask("INSERT INTO kept SELECT n, 'word ' || n FROM generate_series(1, 10000) n");
    assert_eq!(inside(docker, "p-pg", &["df", "--output=size", "/dev/shm"]), "1K-blocks\n   131072");
    // Workers share memory of that file system.
    ask(
        "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET min_parallel_table_scan_size = 0; \
         SELECT sum(number) FROM kept",
    );
    assert_eq!(inside(docker, "p-pg", &["stat", "--format", "%U", "/proc/1"]), "postgres");
    passwords_count_over_the_bridge(docker, image);
    let late = || ask("SELECT count(*) FROM kept WHERE number < 0").parse::<u32>().unwrap();
    // Killed while clients are busy: what was acknowledged is there.
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut acknowledged = 0;
            while sql(docker, "p-pg", &format!("INSERT INTO kept VALUES (-{acknowledged} - 1, 'late')"))
                .status
                .success()
            {
                acknowledged += 1;
            }
            acknowledged
        });
        gantry_testkit::until_true("writes", || late() >= 3);
        docker.docker(["kill", "p-pg"]).run().ok();
        let acknowledged = writer.join().unwrap();
        docker.docker(["start", "p-pg"]).run().ok();
        healthy(docker, "p-pg");
        let found = late();
        assert!(found >= acknowledged, "{found} of {acknowledged}");
    });
    assert!(logged(docker, "p-pg").contains("automatic recovery in progress"));
    assert_eq!(stop(docker, "p-pg"), "exited 0");
    assert!(logged(docker, "p-pg").trim_end().ends_with("database system is shut down"));
    remove(docker, "p-pg");
    // The next version on the same volume, which needs no password any more.
    let upgraded = Server::Postgres.upgrade();
    assert_ne!(version(docker, image, "postgresql-15"), version(docker, &upgraded, "postgresql-15"));
    serve(docker, "p-pg", &options[..4], &upgraded, &[]);
    assert_eq!(ask("SELECT word FROM kept WHERE number = 10000"), "word 10000");
    assert!(!logged(docker, "p-pg").contains("recovery"));
    assert_eq!(stop(docker, "p-pg"), "exited 0");
    remove(docker, "p-pg");
    docker.docker(["volume", "rm", "p-pg"]).run().ok();
}

fn passwords_count_over_the_bridge(docker: &Docker, image: &str) {
    let ask = |password: &str| {
        let password = format!("PGPASSWORD={password}");
        let options =
            ["--rm", "--link", "p-pg:db", "--env", &password, "--user", "65534", "--entrypoint", "psql"];
        let call = docker.docker(["run"]).args(options).arg(image);
        call.args([
            "--host",
            "db",
            "--user",
            "postgres",
            "--no-align",
            "--tuples-only",
            "--command",
            "SELECT count(*) FROM kept",
        ])
        .run()
    };
    assert_eq!(ask("s p%").ok().text(), "10000");
    ask("wrong").fails().says("password authentication failed");
}
