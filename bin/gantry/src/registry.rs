//! `login` and `logout`.

use std::io::{BufRead as _, Read as _, Write as _};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use gantry_docker_api::auth::{AuthConfig, Secret};
use gantry_docker_api::system::AuthResponse;

use crate::client::Call;
use crate::command::Verb;
use crate::config_file::{ConfigFile, DOCKER_HUB, server};
use crate::output;
use crate::session::Session;
use crate::terminal;

/// The longest password, in bytes.
const MAX_PASSWORD: u64 = 64 << 10;

/// Authenticate to a registry
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Password or Personal Access Token (PAT)
    #[arg(short, long, value_name = "STRING", allow_hyphen_values = true)]
    password: Option<String>,
    /// Take the Password or Personal Access Token (PAT) from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Username
    #[arg(short, long, value_name = "STRING")]
    username: Option<String>,
    /// Registry; Docker Hub if there is none
    server: Option<String>,
}

impl Verb for Login {
    async fn run(self, session: &Session) -> Result<u8> {
        let server = server(self.server.as_deref().unwrap_or_default());
        let credential = self.credential(session, &server)?;
        let answer: AuthResponse = session.client()?.json(Call::post("/auth").json(&credential)).await?;
        let mut credential = credential;
        if !answer.identity_token.is_empty() {
            credential.password = Secret::default();
            credential.identity_token = Secret(answer.identity_token);
        }
        let mut file = ConfigFile::load(&session.config_dir())?;
        if file.helper_of(&server).is_none() {
            let place = session.config_dir().join("config.json");
            output::note(format!(
                "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
                place.display()
            ));
        }
        file.store(&credential)?;
        if !answer.status.is_empty() {
            output::line(answer.status);
        }
        Ok(0)
    }
}

impl Login {
    fn credential(&self, session: &Session, server: &str) -> Result<AuthConfig> {
        ensure!(
            !(self.password.is_some() && self.password_stdin),
            "conflicting options: cannot specify both --password and --password-stdin"
        );
        if self.password.is_some() {
            output::note("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        }
        let host = if server == DOCKER_HUB { "docker.io" } else { server };
        if self.username.is_none() && self.password.is_none() && !self.password_stdin {
            let known = session.config()?.auth(host)?;
            if !known.is_anonymous() {
                output::line("Authenticating with existing credentials...");
                return Ok(AuthConfig { server_address: server.to_owned(), ..known });
            }
        }
        let username = match self.username.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None if self.password_stdin => bail!("the --password-stdin option requires --username to be set"),
            None => ask_name()?,
        };
        let password = match &self.password {
            Some(password) => password.clone(),
            None if self.password_stdin => {
                let mut text = String::new();
                std::io::stdin()
                    .lock()
                    .take(MAX_PASSWORD)
                    .read_to_string(&mut text)
                    .context("no password")?;
                text.trim_end_matches(['\n', '\r']).to_owned()
            }
            None => ask_password()?,
        };
        ensure!(!username.is_empty(), "username is empty");
        ensure!(!password.is_empty(), "password is empty");
        Ok(AuthConfig {
            username,
            password: Secret(password),
            server_address: server.to_owned(),
            ..AuthConfig::default()
        })
    }
}

fn ask_name() -> Result<String> {
    ensure!(terminal::is_stdin(), "cannot perform an interactive login from a non-TTY device");
    output::print("Username: ");
    read_line()
}

fn ask_password() -> Result<String> {
    ensure!(terminal::is_stdin(), "cannot perform an interactive login from a non-TTY device");
    output::print("Password: ");
    let silent = terminal::Silent::enter();
    let password = read_line();
    drop(silent);
    output::print("\n");
    password
}

fn read_line() -> Result<String> {
    let mut text = String::new();
    std::io::stdout().flush()?;
    std::io::stdin().lock().take(MAX_PASSWORD).read_line(&mut text).context("no answer")?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// Log out from a registry
#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// Registry; Docker Hub if there is none
    server: Option<String>,
}

impl Verb for Logout {
    async fn run(self, session: &Session) -> Result<u8> {
        let server = server(self.server.as_deref().unwrap_or_default());
        let mut file = ConfigFile::load(&session.config_dir())?;
        output::line(format!("Removing login credentials for {server}"));
        let was_there = file.erase(&server)?;
        if !was_there && file.helper_of(&server).is_none() {
            output::line(format!("Not logged in to {server}"));
        }
        Ok(0)
    }
}
