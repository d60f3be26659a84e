//! A registry with a certificate of a private authority and a password, behind docker's command line and ours.
//!
//! It is at an address that is no loopback: there engines trust everybody. Who is trusted is said as docker's users say it, by
//! `/etc/docker/certs.d/HOST:PORT/ca.crt`, which is in the mount namespace of the tests.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use gantry_e2e::{Access, Docker, Gantryd, PASSWORD, Registry, USER, require_engine};
use gantry_testkit::{Invocation, Namespace, Output};
use serde_json::Value;

use crate::build::base::context;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// An engine and two registries on its host.
struct Site {
    docker: Docker,
    /// TLS alone; nobody has said yet that it can be trusted.
    stranger: Registry,
    /// With a password, and a trusted authority.
    registry: Registry,
    _daemon: Option<Gantryd>,
    _host: Namespace,
}

fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(|| {
        // Ours alone, in the tests' own mount namespace.
        Invocation::new("mount").args(["-t", "tmpfs", "tmpfs", "/etc/docker"]).run().ok();
        let host = Namespace::new("network", &[]);
        let (daemon, docker) = Docker::engine_apart(&host, "gt-reg");
        let stranger = Registry::away(host.path(), ADDRESS, Access::Tls);
        let registry = Registry::away(host.path(), ADDRESS, Access::Password);
        trust(&registry, &fs::read(registry.authority()).expect("a certificate"));
        Site { docker, stranger, registry, _daemon: daemon, _host: host }
    })
}

fn trust(registry: &Registry, certificate: &[u8]) {
    let dir = Path::new("/etc/docker/certs.d").join(registry.host());
    fs::create_dir_all(&dir).expect("a directory of ours");
    fs::write(dir.join("ca.crt"), certificate).expect("a file of ours");
}

/// A command line, with a configuration of its own.
struct Person {
    name: &'static str,
    call: fn(&Docker) -> Invocation,
    home: tempfile::TempDir,
}

impl Person {
    /// One behind each command line.
    fn both() -> [Self; 2] {
        let one = |name, call| Self { name, call, home: tempfile::tempdir().expect("a temporary directory") };
        [
            one("docker", |docker: &Docker| docker.docker([""; 0]).env("DOCKER_BUILDKIT", "0")),
            one("gantry", |docker: &Docker| docker.gantry([""; 0])),
        ]
    }

    fn says(&self, args: &[&str]) -> Invocation {
        let call = (self.call)(&site().docker).env("DOCKER_CONFIG", self.home.path());
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", helpers().display());
        call.env("PATH", path).env("DRAWER", self.drawer()).args(args)
    }

    fn logs_in(&self, password: &str) -> Output {
        let host = site().registry.host();
        self.says(&["login", "--username", USER, "--password-stdin", &host]).stdin(password).run()
    }

    fn drawer(&self) -> PathBuf {
        let dir = self.home.path().join("drawer");
        fs::create_dir_all(&dir).expect("a directory");
        dir
    }

    fn configuration(&self) -> Value {
        let text = fs::read_to_string(self.home.path().join("config.json")).unwrap_or("{}".into());
        serde_json::from_str(&text).expect("JSON")
    }

    fn configure(&self, value: &Value) {
        fs::write(self.home.path().join("config.json"), value.to_string()).expect("a configuration");
    }

    /// The name of an image that only this one uses.
    fn image(&self, word: &str) -> String {
        site().registry.name(&format!("{}/{word}:1", self.name))
    }

    fn pushes(&self, image: &str) {
        self.says(&["tag", "busybox", image]).run().ok();
        self.says(&["push", image]).run().ok();
        self.says(&["rmi", image]).run().ok();
    }
}

/// Where the program that keeps credentials is.
fn helpers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/engine/registry")
}

macro_rules! require_registry {
    () => {
        require_engine!("dockerd");
        require_engine!("docker-registry");
        require_engine!("jq");
    };
}

#[test]
fn an_authority_is_trusted_by_its_file() {
    require_registry!();
    let site = site();
    let registry = &site.stranger;
    let image = registry.name("private:1");
    let push = || site.docker.docker(["push", &image]).run();
    site.docker.docker(["tag", "busybox", &image]).run().ok();
    push().fails().says("certificate");
    // Another one's is none of its own.
    trust(registry, &fs::read(site.registry.authority()).unwrap());
    push().fails().says("certificate");
    trust(registry, &fs::read(registry.authority()).unwrap());
    push().ok();
    site.docker.docker(["rmi", &image]).run().ok();
    site.docker.gantry(["pull", "--quiet", &image]).run().ok();
    site.docker.docker(["run", "--rm", "--network", "none", &image, "true"]).run().ok();
    site.docker.docker(["rmi", &image]).run().ok();
}

#[test]
fn who_has_logged_in_pulls_pushes_and_builds() {
    require_registry!();
    let host = site().registry.host();
    for person in Person::both() {
        let image = person.image("app");
        person.says(&["tag", "busybox", &image]).run().ok();
        person.says(&["push", &image]).run().exits(1).says_any(&[
            "authentication required",
            "no basic auth",
            "unauthorized",
        ]);
        person.logs_in("wrong").exits(1).says_any(&["unauthorized", "authentication"]);
        person.logs_in("").exits(1);
        assert!(person.configuration()["auths"][&host].is_null());
        assert!(person.logs_in(PASSWORD).ok().stdout.contains("Login Succeeded"));
        let file = person.home.path().join("config.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(person.configuration()["auths"][&host]["auth"].is_string());
        let again = person.says(&["login", &host]).run().ok();
        assert!(again.stdout.contains("Login Succeeded"), "{again}");
        person.says(&["push", &image]).run().ok();
        person.says(&["rmi", &image]).run().ok();
        person.says(&["run", "--rm", "--network", "none", &image, "true"]).run().ok();
        person.says(&["rmi", &image]).run().ok();
        // The base of a build.
        let dir = context(&[("Dockerfile", &format!("FROM {image}\nRUN echo built > /built\n"))]);
        let place = dir.path().display().to_string();
        let built = format!("{}-built", person.name);
        person.says(&["build", "--network", "none", "--tag", &built, &place]).run().ok();
        let shown = person.says(&["run", "--rm", "--network", "none", &built, "cat", "/built"]).run().ok();
        assert_eq!(shown.text(), "built");
        person.says(&["rmi", &built]).run().ok();
        person.says(&["rmi", &image]).run();
        let left = person.says(&["logout", &host]).run().ok();
        assert!(left.stdout.contains(&format!("Removing login credentials for {host}")), "{left}");
        assert!(person.configuration()["auths"][&host].is_null());
        person.says(&["pull", &image]).run().exits(1);
        person.says(&["build", "--pull", "--network", "none", &place]).run().exits(1);
        person.says(&["logout", &host]).run().ok();
    }
}

#[test]
fn a_program_keeps_the_passwords() {
    require_registry!();
    let host = site().registry.host();
    for person in Person::both() {
        // One that is not there, for a registry that nobody asks for, is in nobody's way.
        person
            .configure(&serde_json::json!({"credsStore": "drawer", "credHelpers": {"r.example": "missing"}}));
        assert!(person.logs_in(PASSWORD).ok().stdout.contains("Login Succeeded"));
        let text = person.configuration().to_string();
        assert!(!text.contains("\"auth\"") && !text.contains(PASSWORD), "{text}");
        let kept = fs::read_dir(person.drawer())
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        let kept: Vec<Value> = kept.map(|text| serde_json::from_str(&text).unwrap()).collect();
        let keys = |entry: &Value| {
            ["ServerURL", "Username", "Secret"].map(|key| entry[key].as_str().map(str::to_owned))
        };
        let expect = [host.as_str(), USER, PASSWORD].map(|word| Some(word.to_owned()));
        assert_eq!(kept.iter().map(keys).collect::<Vec<_>>(), [expect]);
        let image = person.image("kept");
        person.pushes(&image);
        // A build sends what the program lists, whether the file names it or not. Old clients of docker send nothing when one is missing.
        let others = if person.name == "gantry" { "missing" } else { "drawer" };
        person.configure(&serde_json::json!({"credsStore": "drawer", "credHelpers": {"r.example": others}}));
        let dir = context(&[("Dockerfile", &format!("FROM {image}\nCMD [\"true\"]\n"))]);
        let place = dir.path().display().to_string();
        person.says(&["build", "--quiet", "--pull", &place]).run().ok();
        person.says(&["logout", &host]).run().ok();
        assert_eq!(fs::read_dir(person.drawer()).unwrap().count(), 0);
        person.says(&["pull", &image]).run().exits(1);
    }
}

#[test]
fn one_registry_can_have_a_program_of_its_own() {
    require_registry!();
    let host = site().registry.host();
    for person in Person::both() {
        let helpers = serde_json::json!({"psFormat": "x", "credHelpers": {host.as_str(): "drawer"}});
        person.configure(&helpers);
        person.logs_in("wrong").exits(1);
        assert_eq!(fs::read_dir(person.drawer()).unwrap().count(), 0);
        person.logs_in(PASSWORD).ok();
        assert_eq!(person.configuration()["psFormat"], "x");
        assert!(!person.configuration().to_string().contains("\"auth\""));
        let image = person.image("own");
        person.pushes(&image);
        person.says(&["pull", "--quiet", &image]).run().ok();
        person.says(&["rmi", &image]).run().ok();
        // A program that is away is told by its name.
        person.configure(&serde_json::json!({"credHelpers": {host.as_str(): "missing"}}));
        let output =
            person.says(&["login", &host, "--username", USER, "--password-stdin"]).stdin(PASSWORD).run();
        output.exits(1).says("docker-credential-missing");
    }
}
