use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use gantry_testkit::{Invocation, until_within};

use crate::gantryd::inside;

/// Who may talk to a registry, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Plain HTTP.
    Plain,
    /// TLS with a certificate of [`Registry::authority`].
    Tls,
    /// TLS, and [`USER`] with [`PASSWORD`].
    Password,
}

/// What a client trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The authority that signed the registry's certificate.
    Authority,
    /// Whom the system trusts, which is not this one.
    System,
    /// Everybody.
    Blind,
}

/// The user of registries with a password.
pub const USER: &str = "somebody";
/// The password, with what a URL or a header would need to escape.
pub const PASSWORD: &str = "pa ss:w%rd/ü";

/// How long a registry may take to listen, on a busy machine.
const START: Duration = Duration::from_secs(30);
/// How often another port is tried: the one that was free may not be any more.
const ATTEMPTS: usize = 5;

/// Debian's docker-registry on a port of the loopback device, or of another host.
#[derive(Debug)]
pub struct Registry {
    dir: PathBuf,
    access: Access,
    address: Ipv4Addr,
    port: u16,
    netns: Option<PathBuf>,
    process: Mutex<Option<Child>>,
}

impl Registry {
    /// The one of this test process with that access, started when it is first asked for.
    pub fn shared(access: Access) -> &'static Self {
        static SHARED: [OnceLock<Registry>; 3] = [const { OnceLock::new() }; 3];
        SHARED[access as usize].get_or_init(|| Self::lasting(move |dir| Self::start(dir, access)))
    }

    /// One that is not on a loopback address, where engines trust everybody: at an address that is added to a network namespace.
    ///
    /// # Panics
    /// When it does not start.
    pub fn away(netns: &Path, address: Ipv4Addr, access: Access) -> Self {
        let inside = Invocation::new("nsenter").arg(format!("--net={}", netns.display()));
        inside.args(["ip", "address", "replace", &format!("{address}/32"), "dev", "lo"]).run().ok();
        let netns = netns.to_owned();
        Self::lasting(move |dir| Self::start_at(dir, access, address, Some(netns)))
    }

    /// It ends with the thread that started it: one that lasts as long as this process.
    fn lasting(start: impl FnOnce(&Path) -> Self + Send + 'static) -> Self {
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let dir = tempfile::tempdir().expect("a temporary directory").keep();
            let _ = send.send(start(&dir));
            loop {
                std::thread::park();
            }
        });
        receive.recv().expect("the registry starts")
    }

    /// Starts one that keeps everything below `dir`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(dir: &Path, access: Access) -> Self {
        Self::start_at(dir, access, Ipv4Addr::LOCALHOST, None)
    }

    fn start_at(dir: &Path, access: Access, address: Ipv4Addr, netns: Option<PathBuf>) -> Self {
        fs::create_dir_all(dir.join("data")).expect("a directory");
        if access != Access::Plain {
            make_certificates(dir, address);
        }
        if access == Access::Password {
            let line = Invocation::new("htpasswd").args(["-nbB", USER, PASSWORD]).run().ok().stdout;
            fs::write(dir.join("htpasswd"), line).expect("htpasswd");
        }
        for _ in 0..ATTEMPTS {
            let (dir, netns) = (dir.to_owned(), netns.clone());
            let registry = Self { dir, access, address, port: free_port(), netns, process: Mutex::default() };
            if registry.resume() {
                return registry;
            }
        }
        panic!("docker-registry: {}", fs::read_to_string(dir.join("log")).unwrap_or_default());
    }

    /// Starts it again on its port; whether it did.
    pub fn resume(&self) -> bool {
        fs::write(self.dir.join("config.yml"), self.configuration()).expect("config.yml");
        let log = || fs::File::options().create(true).append(true).open(self.dir.join("log")).expect("a log");
        // It does not outlive whoever started it.
        let mut command = inside(self.netns.as_deref(), "setpriv".as_ref());
        command
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(self.dir.join("config.yml"))
            .env("OTEL_TRACES_EXPORTER", "none");
        let mut process =
            command.stdin(Stdio::null()).stdout(log()).stderr(log()).spawn().expect("docker-registry starts");
        let listens = until_within(START, "docker-registry to listen", || {
            if process.try_wait().expect("the process is ours").is_some() {
                return Some(false);
            }
            self.listens(process.id()).then_some(true)
        });
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        listens
    }

    /// Whether its process does, in whatever network namespace: proc(5), `/proc/PID/net/tcp`.
    fn listens(&self, pid: u32) -> bool {
        let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
        let (port, listening) = (format!(":{:04X}", self.port), "0A");
        table.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next().is_some_and(|local| local.ends_with(&port)) && words.nth(1) == Some(listening)
        })
    }

    /// Kills it; [`Self::resume`] starts it again with what it had.
    pub fn stop(&self) {
        if let Some(mut process) = self.process.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn configuration(&self) -> String {
        let dir = self.dir.display();
        let tls = format!("\n  tls:\n    certificate: {dir}/server.crt\n    key: {dir}/server.key");
        let auth = format!("auth:\n  htpasswd:\n    realm: gantry tests\n    path: {dir}/htpasswd\n");
        format!(
            "version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: false\nstorage:\n  delete:\n    enabled: true\n  \
             filesystem:\n    rootdirectory: {dir}/data\nhttp:\n  addr: {}{}\n{}",
            self.host(),
            if self.access == Access::Plain { "" } else { &tls },
            if self.access == Access::Password { &auth } else { "" },
        )
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Child::id)
    }

    /// Its address in names of images.
    pub fn host(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    /// The name of an image in it.
    pub fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.host())
    }

    /// The certificate of the authority that a client has to trust.
    pub fn authority(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// A `certs.d` of containerd's shape that knows this registry with `trust`; the password is not part of it.
    ///
    /// `ctr` of 1.6 takes every registry on a loopback address for plain HTTP, whatever its other flags say.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn hosts_dir(&self, trust: Trust) -> PathBuf {
        let hosts = self.dir.join(format!("certs.d-{trust:?}"));
        let dir = hosts.join(self.host());
        fs::create_dir_all(&dir).expect("a directory");
        let scheme = if self.access == Access::Plain { "http" } else { "https" };
        let trust = match trust {
            Trust::Authority => format!("ca = \"{}\"", self.authority().display()),
            Trust::Blind => "skip_verify = true".to_owned(),
            Trust::System => String::new(),
        };
        let text = format!(
            "server = \"{scheme}://{0}\"\n[host.\"{scheme}://{0}\"]\n  capabilities = [\"pull\", \"resolve\", \"push\"]\n  \
             {trust}\n",
            self.host()
        );
        fs::write(dir.join("hosts.toml"), text).expect("hosts.toml");
        hosts
    }

    /// Lines of the access log with `part` in them.
    pub fn requests(&self, part: &str) -> Vec<String> {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        log.lines().filter(|line| line.contains("HTTP/") && line.contains(part)).map(str::to_owned).collect()
    }

    /// A command of skopeo that trusts this registry: `inspect`, `copy`, … with what comes after it.
    pub fn skopeo(&self, verb: &str) -> Invocation {
        let call = Invocation::new("skopeo").arg("--insecure-policy").arg(verb);
        call.env("HOME", &self.dir).env("REGISTRY_AUTH_FILE", self.dir.join("auth.json"))
    }

    /// Copies an image of a layout (`DIR:TAG`), as it is, to `repository[:tag]`.
    ///
    /// # Panics
    /// When that fails.
    pub fn push(&self, layout: &str, repository: &str) {
        let mut call =
            self.skopeo("copy").args(["--quiet", "--all", "--preserve-digests", "--dest-tls-verify=false"]);
        if self.access == Access::Password {
            call = call.args(["--dest-creds", &format!("{USER}:{PASSWORD}")]);
        }
        let target = format!("docker://{}", self.name(repository));
        call.arg(format!("oci:{layout}")).arg(target).limit(Duration::from_secs(300)).run().ok();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// An authority of the tests, and a certificate of it for the loopback device and an address.
fn make_certificates(dir: &Path, address: Ipv4Addr) {
    let openssl = |args: &[&str]| {
        Invocation::new("openssl").cwd(dir).env("RANDFILE", dir.join("rnd")).args(args).run().ok();
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let request = |args: &[&str]| openssl(&[&["req"], &key[..], args].concat());
    request(&[
        "-x509",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
        "-days",
        "30",
        "-subj",
        "/CN=authority of the tests",
    ]);
    request(&["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"]);
    let names =
        format!("subjectAltName=IP:127.0.0.1,IP:{address},DNS:localhost\nextendedKeyUsage=serverAuth\n");
    fs::write(dir.join("names"), names).expect("a file");
    let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(&[&sign[..], &["-out", "server.crt", "-days", "30", "-extfile", "names"]].concat());
}
