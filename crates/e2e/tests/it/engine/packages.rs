//! Servers as people run them: images built from Debian's packages by Dockerfiles like those of the official ones.
//!
//! `scripts/packages.sh` downloads the packages, once; without them the tests count as skipped. Each image is built when the first test
//! asks for it, by docker's command line or by ours.

mod crash;
mod data;
mod web;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use gantry_e2e::{Docker, Gantryd};
use gantry_testkit::{Invocation, Namespace, until_within};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::build::base::copy;

/// How long a build may take: hundreds of megabytes are unpacked, hashed and compressed, by a daemon without optimization.
const BUILD: Duration = Duration::from_secs(300);
/// How long a server may take to be healthy.
const HEALTHY: Duration = Duration::from_secs(90);
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(10);
const BASE: &str = "debian:12";

/// Leaves the test, counted as skipped, where the packages were not downloaded.
macro_rules! require_packages {
    () => {
        gantry_e2e::require_engine!("dockerd");
        if !$crate::engine::packages::cache().join("ready").exists() {
            gantry_testkit::skip_test!("needs Debian's packages: scripts/packages.sh downloads them");
        }
    };
}
use require_packages;

/// Where the packages are.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/packages")
}

/// What an image is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Builder {
    Docker,
    Gantry,
}

/// The servers that there are images of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Nginx,
    Python,
    Redis,
    Postgres,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Python => "python",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }

    fn builder(self) -> Builder {
        if matches!(self, Self::Nginx | Self::Postgres) { Builder::Docker } else { Builder::Gantry }
    }

    /// The image, in the daemon of these tests.
    fn image(self) -> &'static str {
        static IMAGES: [OnceLock<String>; 4] = [const { OnceLock::new() }; 4];
        IMAGES[self as usize].get_or_init(|| {
            let dir = tempfile::tempdir().expect("a temporary directory");
            copy(&images().join(self.name()), dir.path());
            copy(&cache().join("release").join(self.name()), &dir.path().join("debs"));
            let tag = format!("{}:1", self.name());
            let base = format!("BASE={BASE}");
            let options = ["--tag", &tag, "--build-arg", &base];
            build(self.builder(), &options, dir.path()).run().ok();
            tag
        })
    }

    /// The same with the packages that have changed since, by the other command line.
    fn upgrade(self) -> String {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let debs = dir.path().join("debs");
        copy(&cache().join("now").join(self.name()), &debs);
        let before = cache().join("release").join(self.name());
        for entry in fs::read_dir(&debs).expect("a directory").flatten() {
            if before.join(entry.file_name()).exists() {
                fs::remove_file(entry.path()).expect("a copy of ours");
            }
        }
        fs::copy(images().join("upgrade.Dockerfile"), dir.path().join("Dockerfile")).expect("a Dockerfile");
        let tag = format!("{}:2", self.name());
        let base = format!("BASE={}", self.image());
        let builder = if self.builder() == Builder::Docker { Builder::Gantry } else { Builder::Docker };
        build(builder, &["--tag", &tag, "--build-arg", &base], dir.path()).run().ok();
        tag
    }
}

/// Dockerfiles, and what they copy.
fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/engine/packages/images")
}

/// An engine, and the network namespace that is its host's.
struct Site {
    host: Namespace,
    daemon: Option<Gantryd>,
    docker: Docker,
}

impl Site {
    fn new(name: &str) -> Self {
        let host = Namespace::new("network", &[]);
        let (daemon, docker) = Docker::engine_apart(&host, name);
        Self { host, daemon, docker }
    }

    /// The one of most of these tests, with Debian as a base image.
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Site> = OnceLock::new();
        SHARED.get_or_init(|| {
            let site = Self::new("gt-pkg");
            let import = site.docker.docker(["import", "--change", "CMD [\"bash\"]"]);
            import.arg(cache().join("base.tar")).arg(BASE).limit(BUILD).run().ok();
            site
        })
    }

    /// The status and the body of `GET path`, if somebody answers on the engine's host.
    fn get(&self, address: &str, path: &str) -> Option<(u16, String)> {
        let host = fs::File::open(self.host.path()).expect("a namespace");
        // A thread of its own, because it does not come back from there.
        thread::scope(|scope| {
            let request = scope.spawn(|| {
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(host.as_fd(), network).expect("setns to a namespace of ours");
                get(address, path)
            });
            request.join().expect("a request does not panic")
        })
    }
}

/// The engine of [`Site::shared`].
fn docker() -> &'static Docker {
    &Site::shared().docker
}

fn build(builder: Builder, options: &[&str], context: &Path) -> Invocation {
    let call = match builder {
        Builder::Docker => docker().docker(["build"]).env("DOCKER_BUILDKIT", "0"),
        Builder::Gantry => docker().gantry(["build"]),
    };
    call.args(options).arg(context).limit(BUILD)
}

/// A container in the background, waited for until its own check says that it is well.
fn serve(docker: &Docker, name: &str, options: &[&str], image: &str, args: &[&str]) {
    docker.docker(["run", "--detach", "--name", name]).args(options).arg(image).args(args).run().ok();
    healthy(docker, name);
}

#[track_caller]
fn healthy(docker: &Docker, name: &str) {
    until_within(HEALTHY, "a healthy server", || {
        let health = docker.inspect(name, "{{.State.Status}} {{.State.Health.Status}}");
        assert!(!health.starts_with("exited"), "{}", docker.docker(["logs", name]).run());
        (health == "running healthy").then_some(())
    });
}

/// What a command in a container prints.
#[track_caller]
fn inside(docker: &Docker, name: &str, args: &[&str]) -> String {
    docker.docker(["exec", name]).args(args).run().ok().text().to_owned()
}

/// Everything that a container has logged.
fn logged(docker: &Docker, name: &str) -> String {
    let output = docker.docker(["logs", name]).run().ok();
    output.stdout + &output.stderr
}

/// Stops it, and tells its status.
fn stop(docker: &Docker, name: &str) -> String {
    docker.docker(["stop", "--time", "30", name]).run().ok();
    docker.inspect(name, "{{.State.Status}} {{.State.ExitCode}}")
}

/// The address of a published port.
fn published(docker: &Docker, name: &str, port: &str) -> String {
    docker.docker(["port", name, port]).run().ok().text().to_owned()
}

fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(REQUEST)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: there\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.trim().to_owned()))
}
