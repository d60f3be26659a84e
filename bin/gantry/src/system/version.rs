//! `version`.

use anyhow::Result;
use clap::Args;
use gantry_docker_api::ApiVersion;
use gantry_docker_api::system::Version as Answer;
use serde_json::{Value, json};

use crate::client::Call;
use crate::command::{Failure, Verb, chain};
use crate::format::row::unescape;
use crate::format::template::{Html, Mode, Template, json as to_json};
use crate::output;
use crate::session::Session;

/// Show the Docker version information
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Format output using a custom template: 'json', 'TEMPLATE'
    #[arg(short, long, value_name = "STRING")]
    format: Option<String>,
}

impl Verb for Version {
    async fn run(self, session: &Session) -> Result<u8> {
        let client = session.client()?;
        let template = match self.format.as_deref() {
            None | Some("" | "json") => None,
            Some(format) => Some(Template::parse(&unescape(format))?),
        };
        let answer = client.json::<Value>(Call::get("/version")).await;
        let ours = json!({
            "Platform": {"Name": ""},
            "Version": env!("CARGO_PKG_VERSION"),
            "ApiVersion": client.version().to_string(),
            "DefaultAPIVersion": ApiVersion::MAX.to_string(),
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": go_arch(),
            "BuildTime": "",
            "Context": "default",
        });
        let server = answer.as_ref().ok().cloned();
        match (&template, self.format.as_deref()) {
            (None, Some("json")) => {
                output::line(to_json(&json!({"Client": ours, "Server": server}), Html::Plain));
            }
            (None, _) => {
                let server: Option<Answer> = server.map(serde_json::from_value).transpose()?;
                output::print(&text(&ours, server.as_ref()));
            }
            (Some(template), _) => {
                let value = json!({"Client": ours, "Server": server});
                let shown = template.render(&value, Mode::Values);
                match (shown, &answer) {
                    (Ok(text), _) => output::line(text),
                    (Err(_), Err(_)) => {}
                    (Err(error), Ok(_)) => return Err(error.into()),
                }
            }
        }
        match answer {
            Ok(_) => Ok(0),
            Err(error) => Err(Failure::with(1, chain(&error))),
        }
    }
}

/// The architecture by Go's name.
pub(crate) fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn text(ours: &Value, server: Option<&Answer>) -> String {
    let own = |key: &str| ours[key].as_str().unwrap_or_default();
    let mut api = own("ApiVersion").to_owned();
    if api != own("DefaultAPIVersion") {
        api = format!("{api} (downgraded from {})", own("DefaultAPIVersion"));
    }
    let mut text = format!(
        "Client: Gantry\n Version:           {}\n API version:       {api}\n OS/Arch:           {}/{}\n Context:           default\n",
        own("Version"),
        own("Os"),
        own("Arch"),
    );
    let Some(server) = server else { return text };
    let platform = server.platform.as_ref().map_or("", |platform| platform.name.as_str());
    text += &format!("\nServer:{}{platform}\n", if platform.is_empty() { "" } else { " " });
    for component in &server.components {
        text += &format!(" {}:\n  {:<18}{}\n", component.name, "Version:", component.version);
        let detail = |name: &str| component.details.get(name).map_or("", String::as_str);
        if component.details.contains_key("ApiVersion") {
            let lines = [
                (
                    "API version:",
                    format!("{} (minimum version {})", detail("ApiVersion"), detail("MinAPIVersion")),
                ),
                ("Go version:", detail("GoVersion").to_owned()),
                ("Git commit:", detail("GitCommit").to_owned()),
                ("Built:", built(detail("BuildTime"))),
                ("OS/Arch:", format!("{}/{}", detail("Os"), detail("Arch"))),
                ("Experimental:", detail("Experimental").to_owned()),
            ];
            for (name, value) in lines {
                text += &format!("  {name:<18}{value}\n");
            }
            continue;
        }
        for (name, value) in &component.details {
            text += &format!("  {:<18}{value}\n", format!("{name}:"));
        }
    }
    text
}

/// A time as `Mon Jan  2 15:04:05 2006`.
fn built(time: &str) -> String {
    time.parse::<jiff::Timestamp>().map_or_else(
        |_| time.to_owned(),
        |time| time.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a %b %e %H:%M:%S %Y").to_string(),
    )
}
