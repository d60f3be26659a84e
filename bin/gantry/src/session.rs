//! What every verb has: the engine, and the person's configuration.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use gantry_docker_api::ApiVersion;

use crate::client::{Client, DEFAULT_SOCKET, Endpoint, Files, OnDemand, Tls, Verify};
use crate::config_file::ConfigFile;

/// Flags before the verb.
#[derive(Debug, Args)]
pub(crate) struct Globals {
    /// Location of client config files
    #[arg(long, value_name = "DIR", env = "DOCKER_CONFIG", hide_env = true)]
    pub(crate) config: Option<PathBuf>,
    /// Name of the context to use: there is only "default"
    #[arg(short, long, value_name = "NAME", env = "DOCKER_CONTEXT", hide_env = true)]
    context: Option<String>,
    /// Enable debug mode
    #[arg(short = 'D', long)]
    debug: bool,
    /// Daemon socket to connect to
    #[arg(short = 'H', long, value_name = "HOST", env = "DOCKER_HOST", hide_env = true)]
    host: Option<String>,
    /// Set the logging level
    #[arg(short, long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Use TLS; implied by --tlsverify
    #[arg(long)]
    tls: bool,
    /// Trust certs signed only by this CA
    #[arg(long, value_name = "FILE")]
    tlscacert: Option<PathBuf>,
    /// Path to TLS certificate file
    #[arg(long, value_name = "FILE")]
    tlscert: Option<PathBuf>,
    /// Path to TLS key file
    #[arg(long, value_name = "FILE")]
    tlskey: Option<PathBuf>,
    /// Use TLS and verify the remote
    #[arg(long)]
    tlsverify: bool,
}

/// What a verb works with.
pub(crate) struct Session {
    globals: Globals,
    client: OnceCell<Client>,
    config: OnceCell<ConfigFile>,
}

impl Session {
    pub(crate) fn new(globals: Globals) -> Self {
        Self { globals, client: OnceCell::new(), config: OnceCell::new() }
    }

    /// The engine. Nothing is connected until something is asked.
    pub(crate) fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = self.make_client()?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Docker's `config.json`.
    pub(crate) fn config(&self) -> Result<&ConfigFile> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = ConfigFile::load(&self.config_dir())?;
        Ok(self.config.get_or_init(|| config))
    }

    /// Where it is.
    pub(crate) fn config_dir(&self) -> PathBuf {
        let given = self.globals.config.clone().filter(|dir| !dir.as_os_str().is_empty());
        given.unwrap_or_else(|| {
            let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
            home.map_or_else(|| PathBuf::from("/root"), PathBuf::from).join(".docker")
        })
    }

    pub(crate) fn is_debug(&self) -> bool {
        self.globals.debug
    }

    fn make_client(&self) -> Result<Client> {
        let globals = &self.globals;
        if let Some(context) = globals.context.as_deref().filter(|name| !matches!(*name, "" | "default")) {
            bail!("context {context:?}: there is only \"default\"; give the engine's address with --host");
        }
        let verifies =
            globals.tlsverify || std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|it| !it.is_empty());
        let is_tls =
            verifies || globals.tls || std::env::var_os("DOCKER_TLS").is_some_and(|it| !it.is_empty());
        let host = globals.host.as_deref().filter(|host| !host.is_empty());
        let endpoint = match host {
            Some(host) => Endpoint::parse(host, is_tls)?,
            None if is_tls => Endpoint::parse("tcp://", is_tls)?,
            None => Endpoint::Unix(DEFAULT_SOCKET.into()),
        };
        let needs_tls = matches!(endpoint, Endpoint::Tcp { is_tls: true, .. });
        let verify = if verifies || !globals.tls { Verify::Engine } else { Verify::Nobody };
        let tls = if needs_tls { Some(Tls::load(&self.tls_files(), verify)?) } else { None };
        let is_root = rustix::process::geteuid().is_root();
        let on_demand = if host.is_none() && !is_tls && is_root { OnDemand::Start } else { OnDemand::Fail };
        let version = match std::env::var("DOCKER_API_VERSION") {
            Ok(text) if !text.is_empty() => {
                let text = text.strip_prefix('v').unwrap_or(&text);
                Some(text.parse::<ApiVersion>().context("DOCKER_API_VERSION")?)
            }
            _ => None,
        };
        Ok(Client::new(endpoint, tls, on_demand, version, self.config()?.http_headers()))
    }

    fn tls_files(&self) -> Files {
        let dir = match std::env::var_os("DOCKER_CERT_PATH").filter(|dir| !dir.is_empty()) {
            Some(dir) => PathBuf::from(dir),
            None => self.config_dir(),
        };
        let file =
            |given: &Option<PathBuf>, name: &str| given.clone().unwrap_or_else(|| Path::new(&dir).join(name));
        Files {
            ca: file(&self.globals.tlscacert, "ca.pem"),
            cert: file(&self.globals.tlscert, "cert.pem"),
            key: file(&self.globals.tlskey, "key.pem"),
        }
    }
}
