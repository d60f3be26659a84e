//! A daemon that is killed beneath servers at work, with images that came from another daemon.

use gantry_e2e::Docker;
use gantry_testkit::until_true;

use super::{BUILD, Server, Site, docker, healthy, inside, published, require_packages, serve, stop};
use crate::engine::remove;

const ASK: [&str; 4] = ["psql", "--username=postgres", "--no-align", "--tuples-only"];

/// Inserts rows, and prints the number of each once it is told that it is kept.
const WRITER: &str = "i=0; while psql --quiet --host db --user postgres --command \"INSERT INTO kept VALUES ($i)\"; do echo $i; i=$((i + 1)); done";

fn rows(docker: &Docker) -> usize {
    let args = [&ASK[..], &["--command", "SELECT count(*) FROM kept"]].concat();
    inside(docker, "k-pg", &args).parse().unwrap()
}

fn transfer(images: &[&str], to: &Docker) {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("images.tar").display().to_string();
    docker().docker(["save", "--output", &archive]).args(images).limit(BUILD).run().ok();
    let told = to.docker(["load", "--input", &archive]).limit(BUILD).run().ok();
    for image in images {
        assert!(told.stdout.contains(&format!("Loaded image: {image}")), "{told}");
        let id = |docker: &Docker| {
            docker.docker(["images", "--quiet", "--no-trunc", image]).run().ok().text().to_owned()
        };
        assert_eq!(id(docker()), id(to));
    }
}

#[test]
fn servers_and_their_data_outlive_a_daemon_that_is_killed() {
    require_packages!();
    let site = Site::new("gt-pkgk");
    let Some(daemon) = &site.daemon else { gantry_testkit::skip_test!("the reference is not killed") };
    let docker = &site.docker;
    let [nginx, redis, postgres] = [Server::Nginx, Server::Redis, Server::Postgres].map(Server::image);
    transfer(&[nginx, redis, postgres], docker);
    serve(docker, "k-web", &["--publish", "127.0.0.1:0:80", "--restart", "always"], nginx, &[]);
    let volume = ["--volume", "k-redis:/data", "--restart", "unless-stopped"];
    serve(docker, "k-redis", &volume, redis, &["--appendonly", "yes"]);
    let data = ["--volume", "k-pg:/var/lib/postgresql/data", "--env", "POSTGRES_PASSWORD=secret"];
    serve(docker, "k-pg", &data, postgres, &[]);
    inside(docker, "k-pg", &[&ASK[..], &["--command", "CREATE TABLE kept (number int)"]].concat());
    inside(docker, "k-redis", &["redis-cli", "set", "key", "kept"]);
    let client =
        ["--link", "k-pg:db", "--env", "PGPASSWORD=secret", "--user", "postgres", "--entrypoint", "bash"];
    let call = docker.docker(["run", "--detach", "--name", "k-writer"]).args(client);
    call.args([postgres, "-c", WRITER]).run().ok();
    until_true("rows", || rows(docker) > 5);
    let address = published(docker, "k-web", "80/tcp");
    let page = site.get(&address, "/").unwrap();
    let before = rows(docker);
    daemon.kill();
    // They do not notice.
    assert_eq!(site.get(&address, "/"), Some(page.clone()));
    daemon.start();
    assert!(rows(docker) > before);
    for name in ["k-web", "k-redis", "k-pg"] {
        healthy(docker, name);
        docker.docker(["restart", name]).run().ok();
        healthy(docker, name);
    }
    // Who wrote was cut off by the restart; nothing that it was told is lost.
    docker.docker(["wait", "k-writer"]).run().ok();
    let told = docker.docker(["logs", "k-writer"]).run().ok().stdout.lines().count();
    assert!(told >= before && rows(docker) >= told, "{told} told, {} there", rows(docker));
    let kept = rows(docker);
    assert_eq!(inside(docker, "k-redis", &["redis-cli", "get", "key"]), "kept");
    assert_eq!(site.get(&published(docker, "k-web", "80/tcp"), "/"), Some(page));
    // Containers go, too; another daemon's life begins between the old ones and the new.
    for name in ["k-pg", "k-redis"] {
        assert_eq!(stop(docker, name), "exited 0");
        remove(docker, name);
    }
    daemon.kill();
    daemon.start();
    serve(docker, "k-pg", &data, postgres, &[]);
    serve(docker, "k-redis", &volume, redis, &["--appendonly", "yes"]);
    assert_eq!(rows(docker), kept);
    assert_eq!(inside(docker, "k-redis", &["redis-cli", "get", "key"]), "kept");
    changed_files_become_an_image(&site);
    for name in ["k-web", "k-writer", "k-pg", "k-redis"] {
        remove(docker, name);
    }
    docker.docker(["volume", "rm", "k-pg", "k-redis"]).run().ok();
}

/// What a person has changed in the running server is served by a container of the committed image.
fn changed_files_become_an_image(site: &Site) {
    let docker = &site.docker;
    inside(docker, "k-web", &["sh", "-c", "echo 'changed by hand' > /var/www/html/index.html"]);
    docker.docker(["commit", "--message", "by hand", "k-web", "site:2"]).run().ok();
    serve(docker, "k-next", &["--publish", "127.0.0.1:0:80"], "site:2", &[]);
    let address = published(docker, "k-next", "80/tcp");
    assert_eq!(site.get(&address, "/"), Some((200, "changed by hand".to_owned())));
    assert_eq!(stop(docker, "k-next"), "exited 0");
    remove(docker, "k-next");
}
