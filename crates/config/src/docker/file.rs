use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use super::{DockerCredential, Helper, Hidden};
use crate::Error;
use crate::load::read;

/// The largest `config.json`, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// Docker Hub's key.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A `config.json`.
#[derive(Debug, Clone, Default)]
pub struct DockerConfig {
    path: PathBuf,
    auths: BTreeMap<String, DockerCredential>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

/// Where the credential of a registry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In the file.
    Credential(DockerCredential),
    /// With a program. What the file has is for when the program has nothing.
    Helper {
        /// The program.
        helper: Helper,
        /// The file's.
        otherwise: Option<DockerCredential>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    auths: Option<BTreeMap<String, RawAuth>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl DockerConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error`], without what the file says.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::parse(path, &read(path, MAX_BYTES)?)
    }

    /// Reads a text as if it were the file `path`.
    ///
    /// # Errors
    /// [`Error`], without what the text says.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        // serde_json's own message may quote the text, which has secrets.
        let raw: Raw = serde_json::from_str(text).map_err(|error| Error::Syntax {
            path: path.into(),
            line: error.line(),
            message: format!("not what config.json has to be, at column {}", error.column()),
        })?;
        let mut auths = BTreeMap::new();
        for (server, auth) in raw.auths.unwrap_or_default() {
            if let Some(credential) = credential(auth).map_err(|expected| Error::Value {
                path: path.into(),
                line: line_of(text, &server),
                key: format!("auths.{server:?}.auth"),
                expected: expected.into(),
                found: "something else".into(),
            })? {
                auths.insert(server, credential);
            }
        }
        let helpers = raw.cred_helpers.unwrap_or_default();
        let store = raw.creds_store.filter(|name| !name.is_empty());
        Ok(Self { path: path.into(), auths, helpers, store })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the credential of `host` is, which is `name` or `name:port`.
    pub fn find(&self, host: &str) -> Option<Source> {
        let is_hub = matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io");
        let server = if is_hub { DOCKER_HUB } else { host };
        let filed = self.auths.get(server).or_else(|| {
            let same = |key: &str| match host_of(key) {
                "docker.io" | "index.docker.io" | "registry-1.docker.io" => is_hub,
                name => name == host,
            };
            self.auths.iter().find(|(key, _)| same(key)).map(|(_, credential)| credential)
        });
        let helper = self.helpers.get(server).or_else(|| self.helpers.get(host));
        let helper =
            helper.or_else(|| self.helpers.get("docker.io").filter(|_| is_hub)).or(self.store.as_ref());
        match helper.filter(|name| !name.is_empty()) {
            Some(name) => {
                Some(Source::Helper { helper: Helper::new(name, server), otherwise: filed.cloned() })
            }
            None => filed.cloned().map(Source::Credential),
        }
    }
}

/// The host of a key, which may be an URL.
fn host_of(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

/// The line on which a registry is first named.
fn line_of(text: &str, server: &str) -> usize {
    let at = text.find(server).unwrap_or(0);
    1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

fn credential(auth: RawAuth) -> Result<Option<DockerCredential>, &'static str> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = given(auth.registrytoken) {
        return Ok(Some(DockerCredential::RegistryToken(Hidden(token))));
    }
    if let Some(token) = given(auth.identitytoken) {
        return Ok(Some(DockerCredential::IdentityToken(Hidden(token))));
    }
    if let Some(encoded) = given(auth.auth) {
        return decode(encoded.trim()).map(Some);
    }
    match (given(auth.username), auth.password) {
        (Some(username), Some(password)) => {
            Ok(Some(DockerCredential::User { username, secret: Hidden(password) }))
        }
        _ => Ok(None),
    }
}

/// `base64(name:password)`.
fn decode(encoded: &str) -> Result<DockerCredential, &'static str> {
    const EXPECTED: &str = "base64 of a name, a colon and a password";
    let bytes =
        STANDARD.decode(encoded).or_else(|_| STANDARD_NO_PAD.decode(encoded)).map_err(|_| EXPECTED)?;
    let text = String::from_utf8(bytes).map_err(|_| EXPECTED)?;
    let (username, password) = text.split_once(':').ok_or(EXPECTED)?;
    let secret = Hidden(password.trim_end_matches('\0').to_owned());
    Ok(DockerCredential::User { username: username.to_owned(), secret })
}

/// What a helper has answered.
pub(super) fn from_helper(username: String, secret: String) -> DockerCredential {
    if username == "<token>" {
        DockerCredential::IdentityToken(Hidden(secret))
    } else {
        DockerCredential::User { username, secret: Hidden(secret) }
    }
}
