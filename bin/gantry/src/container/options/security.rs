//! Security options: profiles of seccomp are files of ours, so they are read here.

use std::fs::File;
use std::io::Read as _;

use anyhow::{Context, Result, bail, ensure};
use gantry_docker_api::List;
use gantry_docker_api::container::HostConfig;

/// The largest profile, in bytes.
const MAX_PROFILE: u64 = 4 << 20;

pub(super) fn apply(options: &[String], host: &mut HostConfig) -> Result<()> {
    let mut all = Vec::new();
    for option in options {
        if option == "systempaths=unconfined" {
            host.masked_paths = List::empty();
            host.readonly_paths = List::empty();
            continue;
        }
        let split = option.split_once('=').or_else(|| option.split_once(':'));
        match split {
            None if matches!(option.as_str(), "no-new-privileges" | "writable-cgroups") => {
                all.push(option.clone())
            }
            None => bail!("invalid --security-opt: {option:?}"),
            Some(("seccomp", profile)) if !matches!(profile, "unconfined" | "builtin" | "") => {
                all.push(format!("seccomp={}", read(profile)?));
            }
            // Docker's old form has a colon.
            Some(_) => all.push(option.clone()),
        }
    }
    host.security_opt = if all.is_empty() { List::default() } else { all.into() };
    Ok(())
}

/// The profile without its blanks.
fn read(path: &str) -> Result<String> {
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("opening seccomp profile ({path}) failed"))?;
    file.take(MAX_PROFILE + 1).read_to_string(&mut text).with_context(|| format!("{path} cannot be read"))?;
    ensure!(text.len() as u64 <= MAX_PROFILE, "{path} is larger than {MAX_PROFILE} bytes");
    let value: serde_json::Value = serde_json::from_str(&text)
        .with_context(|| format!("compacting json for seccomp profile ({path}) failed"))?;
    Ok(value.to_string())
}
