//! Docker's `config.json`: who we are at which registry, headers, proxies, formats, detach keys.
//!
//! Reading of credentials is `gantry-config`'s; what `login` writes keeps everything else that the file has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_config::docker::{DockerConfig, DockerCredential, Source};
use gantry_docker_api::auth::{AuthConfig, AuthConfigs, Secret};
use gantry_types::Reference;
use serde_json::{Map, Value, json};

use crate::output;

/// The name of Docker Hub, in the file and to the engine.
pub(crate) const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// Hosts that are Docker Hub.
const HUB_HOSTS: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/// How long a helper may take.
const HELPER: Duration = Duration::from_secs(60);
/// The largest file, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// The file.
pub(crate) struct ConfigFile {
    path: PathBuf,
    values: Map<String, Value>,
    credentials: DockerConfig,
}

impl ConfigFile {
    /// What is not there is empty.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let text = match fs::metadata(&path) {
            Ok(status) => {
                ensure!(status.len() <= MAX_BYTES, "{} is larger than {MAX_BYTES} bytes", path.display());
                fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => "{}".to_owned(),
            // Another user's, of a shell that kept HOME: nothing in it is for us.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                output::note(format!("WARNING: Error loading config file: {}: {error}", path.display()));
                "{}".to_owned()
            }
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        let text = if text.trim().is_empty() { "{}" } else { &text };
        let values =
            serde_json::from_str(text).with_context(|| format!("{} is no JSON object", path.display()))?;
        let credentials = DockerConfig::parse(&path, text).context("credentials")?;
        Ok(Self { path, values, credentials })
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The format of a list, such as `psFormat`.
    pub(crate) fn format(&self, key: &str) -> Option<&str> {
        self.text(key)
    }

    /// `detachKeys`.
    pub(crate) fn detach_keys(&self) -> Option<&str> {
        self.text("detachKeys")
    }

    /// Headers that every request carries.
    pub(crate) fn http_headers(&self) -> BTreeMap<String, String> {
        let headers = self.values.get("HttpHeaders").and_then(Value::as_object);
        let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        let is_ours =
            |name: &str| name.eq_ignore_ascii_case("user-agent") || name.eq_ignore_ascii_case("host");
        headers.into_iter().flatten().filter_map(text).filter(|(name, _)| !is_ours(name)).collect()
    }

    /// The variables of proxies for containers of an engine.
    pub(crate) fn proxies(&self, host: &str) -> Vec<(String, String)> {
        const KEYS: [(&str, &str); 5] = [
            ("httpProxy", "HTTP_PROXY"),
            ("httpsProxy", "HTTPS_PROXY"),
            ("noProxy", "NO_PROXY"),
            ("ftpProxy", "FTP_PROXY"),
            ("allProxy", "ALL_PROXY"),
        ];
        let proxies = self.values.get("proxies").and_then(Value::as_object);
        let of_host = proxies.and_then(|proxies| proxies.get(host).or_else(|| proxies.get("default")));
        let Some(of_host) = of_host else { return Vec::new() };
        let mut variables = Vec::new();
        for (key, name) in KEYS {
            if let Some(value) = of_host.get(key).and_then(Value::as_str).filter(|value| !value.is_empty()) {
                variables.push((name.to_owned(), value.to_owned()));
                variables.push((name.to_ascii_lowercase(), value.to_owned()));
            }
        }
        variables
    }

    /// The credential for an image's registry, as the header carries it; empty without one.
    pub(crate) fn auth_of_image(&self, image: &str) -> Result<String> {
        let Ok(reference) = Reference::parse_familiar(image) else { return Ok(String::new()) };
        let auth = self.auth(reference.host())?;
        Ok(if auth.is_anonymous() { String::new() } else { auth.encode() })
    }

    /// The credential for a registry.
    pub(crate) fn auth(&self, host: &str) -> Result<AuthConfig> {
        let server = server(host);
        let host = if server == DOCKER_HUB { "docker.io" } else { host };
        let credential = match self.credentials.find(host) {
            None => return Ok(AuthConfig::default()),
            Some(Source::Credential(credential)) => Some(credential),
            Some(Source::Helper { helper, otherwise }) => helper.get(HELPER)?.or(otherwise),
        };
        let auth = AuthConfig { server_address: server, ..AuthConfig::default() };
        Ok(match credential {
            None => AuthConfig::default(),
            Some(DockerCredential::User { username, secret }) => {
                AuthConfig { username, password: Secret(secret.expose().to_owned()), ..auth }
            }
            Some(DockerCredential::IdentityToken(token)) => {
                AuthConfig { identity_token: Secret(token.expose().to_owned()), ..auth }
            }
            Some(DockerCredential::RegistryToken(token)) => {
                AuthConfig { registry_token: Secret(token.expose().to_owned()), ..auth }
            }
        })
    }

    /// The credentials of all registries that the file names or the programs know, for builds. What cannot be had is said, and is in
    /// nobody's way: a build may need none of it.
    pub(crate) fn all_auths(&self) -> AuthConfigs {
        let keys =
            |name: &str| self.values.get(name).and_then(Value::as_object).into_iter().flat_map(Map::keys);
        let listed = self.text("credsStore").map(list_of_helper).unwrap_or_default();
        let names: BTreeSet<&String> = keys("auths").chain(keys("credHelpers")).chain(&listed).collect();
        let mut auths = AuthConfigs::empty();
        for name in names {
            match self.auth(&host_of(name)) {
                Ok(auth) if auth.is_anonymous() => {}
                Ok(auth) => drop(auths.insert(name.clone(), auth)),
                Err(error) => output::note(format!("WARNING: no credentials for {name}: {error:#}")),
            }
        }
        auths
    }

    /// Keeps a credential: with the helper for the registry, or in the file.
    pub(crate) fn store(&mut self, auth: &AuthConfig) -> Result<()> {
        let server = auth.server_address.clone();
        let entry = match self.helper_of(&server) {
            Some(helper) => {
                let (username, secret) = match auth.identity_token.0.as_str() {
                    "" => (auth.username.as_str(), &auth.password.0),
                    token => ("<token>", &token.to_owned()),
                };
                let request = json!({"ServerURL": server, "Username": username, "Secret": secret});
                run_helper(&helper, "store", &request.to_string())?;
                json!({})
            }
            None if !auth.identity_token.0.is_empty() => {
                let name = STANDARD.encode(format!("{}:", auth.username));
                json!({"auth": name, "identitytoken": auth.identity_token.0})
            }
            None => json!({"auth": STANDARD.encode(format!("{}:{}", auth.username, auth.password.0))}),
        };
        let auths = self.values.entry("auths").or_insert_with(|| json!({}));
        auths.as_object_mut().context("\"auths\" is no object")?.insert(server, entry);
        self.save()
    }

    /// Whether credentials are kept by a program.
    pub(crate) fn helper_of(&self, server: &str) -> Option<String> {
        let helpers = self.values.get("credHelpers").and_then(Value::as_object);
        let of_server = helpers.and_then(|helpers| helpers.get(server)).and_then(Value::as_str);
        of_server.or_else(|| self.text("credsStore")).map(str::to_owned)
    }

    /// Forgets a credential; tells whether there was one.
    pub(crate) fn erase(&mut self, server: &str) -> Result<bool> {
        if let Some(helper) = self.helper_of(server) {
            run_helper(&helper, "erase", server)?;
        }
        let auths = self.values.get_mut("auths").and_then(Value::as_object_mut);
        let was_there = auths.is_some_and(|auths| auths.remove(server).is_some());
        if was_there {
            self.save()?;
        }
        Ok(was_there)
    }

    /// Replaces the file: whole or not at all, for its owner alone.
    fn save(&self) -> Result<()> {
        // A link is followed: the file that it names is the person's.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let dir = path.parent().unwrap_or(Path::new("."));
        let what = || format!("{} cannot be written", path.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(what)?;
        let next = path.with_extension(format!("json.{}", std::process::id()));
        let write = || -> io::Result<()> {
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&next)?;
            let mut text = Vec::new();
            let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
            let mut serializer = serde_json::Serializer::with_formatter(&mut text, tabs);
            serde::Serialize::serialize(&self.values, &mut serializer)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&next, &path)
        };
        write().inspect_err(|_| drop(fs::remove_file(&next))).with_context(what)
    }
}

/// The name under which a registry's credential is kept.
pub(crate) fn server(host: &str) -> String {
    let bare = host_of(host);
    if bare.is_empty() || HUB_HOSTS.contains(&bare.as_str()) { DOCKER_HUB.to_owned() } else { bare }
}

/// `https://host/v1/` as a host.
fn host_of(name: &str) -> String {
    let bare = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    bare.split('/').next().unwrap_or_default().to_owned()
}

/// The registries that a program has credentials for.
fn list_of_helper(name: &str) -> Vec<String> {
    let listed = ask_helper(name, "list", "").and_then(|text| {
        let listed: Map<String, Value> =
            serde_json::from_slice(&text).with_context(|| format!("docker-credential-{name} list"))?;
        Ok(listed.keys().cloned().collect())
    });
    listed.unwrap_or_else(|error| {
        output::note(format!("WARNING: {error:#}"));
        Vec::new()
    })
}

/// Has a program keep or forget a credential.
fn run_helper(name: &str, action: &str, input: &str) -> Result<()> {
    match ask_helper(name, action, input) {
        Err(error) if action == "erase" && error.to_string().contains("credentials not found") => Ok(()),
        answer => answer.map(drop).context("error storing credentials"),
    }
}

/// Asks a program that keeps credentials.
fn ask_helper(name: &str, action: &str, input: &str) -> Result<Vec<u8>> {
    ensure!(!name.contains('/'), "the credential helper {name:?} has a slash in its name");
    let program = format!("docker-credential-{name}");
    let mut child = Command::new(&program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{program} cannot be started"))?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input.as_bytes()) {
            // One that does not read says why.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(error).with_context(|| format!("{program} does not read"));
            }
            _ => drop(stdin),
        }
    }
    let output = child.wait_with_output().with_context(|| format!("{program} cannot be waited for"))?;
    if !output.status.success() {
        bail!("{program} {action}: {}", String::from_utf8_lossy(&output.stdout).trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> (tempfile::TempDir, ConfigFile) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), text).unwrap();
        let file = ConfigFile::load(dir.path()).unwrap();
        (dir, file)
    }

    #[test]
    fn what_login_writes_is_found_again_and_the_rest_stays() {
        let (dir, mut file) =
            config(r#"{"psFormat":"x","HttpHeaders":{"X-A":"b","User-Agent":"c"},"other":[1]}"#);
        let auth = AuthConfig {
            username: "me".into(),
            password: Secret("p:w".into()),
            server_address: "r.example:5000".into(),
            ..AuthConfig::default()
        };
        file.store(&auth).unwrap();
        let mut file = ConfigFile::load(dir.path()).unwrap();
        assert_eq!(file.auth("r.example:5000").unwrap().password.0, "p:w");
        assert_eq!(
            AuthConfig::decode(file.auth_of_image("r.example:5000/a").unwrap().as_bytes()).unwrap().username,
            "me"
        );
        assert_eq!(file.auth_of_image("busybox").unwrap(), "");
        assert_eq!((file.format("psFormat"), file.http_headers().len()), (Some("x"), 1));
        assert!(file.erase("r.example:5000").unwrap() && !file.erase("r.example:5000").unwrap());
        assert_eq!(ConfigFile::load(dir.path()).unwrap().values["other"], json!([1]));
    }

    #[test]
    fn docker_hub_has_one_name() {
        for name in
            ["", "docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"]
        {
            assert_eq!(server(name), DOCKER_HUB);
        }
        assert_eq!(server("https://r.example/v2/"), "r.example");
        let (_dir, file) = config(r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cHc="}}}"#);
        assert_eq!(file.auth("docker.io").unwrap().server_address, DOCKER_HUB);
        assert_eq!(file.all_auths().len(), 1);
    }

    #[test]
    fn proxies_of_an_engine_come_before_the_defaults() {
        let (_dir, file) =
            config(r#"{"proxies":{"default":{"httpProxy":"http://a"},"tcp://h":{"noProxy":"b"}}}"#);
        assert_eq!(file.proxies("unix:///x")[1], ("http_proxy".into(), "http://a".into()));
        assert_eq!(file.proxies("tcp://h")[0], ("NO_PROXY".into(), "b".into()));
    }
}
