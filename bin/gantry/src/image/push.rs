//! `push`.

use anyhow::{Result, ensure};
use clap::Args;
use gantry_docker_api::auth::AuthConfig;
use serde_json::{Value, json};

use super::{name, pull};
use crate::client::{Call, segment};
use crate::command::Verb;
use crate::output;
use crate::session::Session;

/// Upload an image to a registry
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Skip image signing; there is none, so this changes nothing
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Push a platform-specific manifest as a single-platform image to the registry
    #[arg(long, value_name = "STRING")]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG]")]
    image: String,
}

impl Verb for Push {
    async fn run(self, session: &Session) -> Result<u8> {
        let reference = name::parse(&self.image)?;
        let (repository, tag) = name::split(&self.image);
        ensure!(!self.all_tags || tag.is_empty(), "tag can't be used with --all-tags/-a");
        let tag = match tag.as_str() {
            "" if self.all_tags => None,
            "" => {
                if !self.quiet {
                    output::line("Using default tag: latest");
                }
                Some("latest")
            }
            tag => Some(tag),
        };
        let auth = session.config()?.auth_of_image(&self.image)?;
        // The engine wants the header, even when it says nothing.
        let auth = if auth.is_empty() { AuthConfig::default().encode() } else { auth };
        let platform = self.platform.as_deref().map(platform).transpose()?;
        let call = Call::post(format!("/images/{}/push", segment(&repository)))
            .query_some("tag", tag)
            .query_some("platform", platform.map(|platform| platform.to_string()))
            .registry_auth(&auth);
        let response = session.client()?.send(call).await?;
        let show = if self.quiet { pull::Show::Nothing } else { pull::Show::Output };
        pull::show_messages(response.into_body(), show).await?;
        if self.quiet {
            let tag = tag.map_or_else(String::new, |tag| format!(":{tag}"));
            output::line(format!("{}/{}{tag}", reference.host(), reference.repository()));
        }
        Ok(0)
    }
}

/// `os/architecture[/variant]` as the engine takes it.
pub(crate) fn platform(text: &str) -> Result<Value> {
    let parts: Vec<&str> = text.split('/').collect();
    ensure!((2..=3).contains(&parts.len()), "invalid platform {text:?}: os/architecture[/variant]");
    let mut platform = json!({"os": parts[0], "architecture": parts[1]});
    if let Some(variant) = parts.get(2) {
        platform["variant"] = json!(variant);
    }
    Ok(platform)
}
