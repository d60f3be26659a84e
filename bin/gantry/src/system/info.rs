//! `info`.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use gantry_docker_api::size;
use gantry_docker_api::system::Info as Answer;
use serde_json::{Value, json};

use crate::client::Call;
use crate::command::{Failure, Verb, chain};
use crate::format::row::unescape;
use crate::format::template::{Html, Mode, Template, json as to_json};
use crate::output;
use crate::session::Session;

/// Display system-wide information
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// Format output using a custom template: 'json', 'TEMPLATE'
    #[arg(short, long, value_name = "STRING")]
    format: Option<String>,
}

impl Verb for Info {
    async fn run(self, session: &Session) -> Result<u8> {
        let answer = session.client()?.json::<Value>(Call::get("/info")).await;
        let ours = json!({
            "Debug": session.is_debug(), "Context": "default", "Version": env!("CARGO_PKG_VERSION"), "Plugins": [], "Warnings": null,
        });
        let Some(format) = self.format.as_deref().filter(|format| !format.is_empty()) else {
            let debug = session.is_debug();
            output::print(&format!(
                "Client: Gantry\n Version:    {}\n Context:    default\n Debug Mode: {debug}\n\nServer:\n",
                env!("CARGO_PKG_VERSION")
            ));
            return match answer {
                Ok(value) => {
                    let answer: Answer = serde_json::from_value(value)?;
                    output::print(&(text(&answer) + "\n"));
                    answer.warnings.iter().for_each(output::note);
                    Ok(0)
                }
                Err(error) => {
                    Err(Failure::with(1, format!("{}\nerrors pretty printing info", chain(&error))))
                }
            };
        };
        let mut value = match answer {
            Ok(value) => value,
            Err(error) => json!({"ServerErrors": [chain(&error)]}),
        };
        value["ClientInfo"] = ours;
        match format {
            "json" => output::line(to_json(&value, Html::Plain)),
            format => output::line(Template::parse(&unescape(format))?.render(&value, Mode::Values)?),
        }
        match value.get("ServerErrors") {
            Some(errors) => Err(Failure::with(1, errors[0].as_str().unwrap_or_default())),
            None => Ok(0),
        }
    }
}

/// What a person reads of the engine.
fn text(info: &Answer) -> String {
    let mut text = String::new();
    let mut line = |depth: usize, name: &str, value: &dyn std::fmt::Display| {
        let value = value.to_string();
        let blank = if value.is_empty() { "" } else { " " };
        let _ = writeln!(text, "{}{name}:{blank}{value}", " ".repeat(depth));
    };
    line(1, "Containers", &info.containers);
    line(2, "Running", &info.containers_running);
    line(2, "Paused", &info.containers_paused);
    line(2, "Stopped", &info.containers_stopped);
    line(1, "Images", &info.images);
    said(&mut line, 1, "Server Version", &info.server_version);
    said(&mut line, 1, "Storage Driver", &info.driver);
    info.driver_status.iter().for_each(|[name, value]| line(2, name, value));
    info.system_status.iter().for_each(|[name, value]| line(1, name, value));
    said(&mut line, 1, "Logging Driver", &info.logging_driver);
    said(&mut line, 1, "Cgroup Driver", &info.cgroup_driver);
    said(&mut line, 1, "Cgroup Version", &info.cgroup_version);
    line(1, "Plugins", &"");
    line(2, "Volume", &info.plugins.volume.join(" "));
    line(2, "Network", &info.plugins.network.join(" "));
    if !info.plugins.authorization.is_empty() {
        line(2, "Authorization", &info.plugins.authorization.join(" "));
    }
    line(2, "Log", &info.plugins.log.join(" "));
    if let Some(dirs) = info.cdi_spec_dirs.as_ref().filter(|dirs| !dirs.is_empty()) {
        let _ = writeln!(text, " CDI spec directories:");
        dirs.iter().for_each(|dir| text.push_str(&format!("  {dir}\n")));
    }
    runtime(info, &mut text);
    host(info, &mut text);
    text
}

type Line<'a> = dyn FnMut(usize, &str, &dyn std::fmt::Display) + 'a;

/// A line for what there is.
fn said(line: &mut Line<'_>, depth: usize, name: &str, value: &str) {
    if !value.is_empty() {
        line(depth, name, &value);
    }
}

fn runtime(info: &Answer, text: &mut String) {
    let _ = writeln!(text, " Swarm: {}", info.swarm.local_node_state);
    if !info.runtimes.is_empty() {
        let names: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
        let _ = writeln!(text, " Runtimes: {}\n Default Runtime: {}", names.join(" "), info.default_runtime);
    }
    if info.os_type == "linux" {
        let _ = writeln!(
            text,
            " Init Binary: {}\n containerd version: {}\n runc version: {}\n init version: {}",
            info.init_binary, info.containerd_commit.id, info.runc_commit.id, info.init_commit.id
        );
        if !info.security_options.is_empty() {
            let _ = writeln!(text, " Security Options:");
        }
        for option in &info.security_options {
            let mut pairs = option.split(',').filter_map(|pair| pair.split_once('='));
            let name = pairs.next().map_or(option.as_str(), |(_, name)| name);
            let _ = writeln!(text, "  {name}");
            for (key, value) in pairs {
                let key = if key == "profile" { "Profile" } else { key };
                let _ = writeln!(text, "   {key}: {value}");
            }
        }
    }
}

fn host(info: &Answer, text: &mut String) {
    #[allow(clippy::cast_precision_loss)] // four digits are shown
    let memory = size::human_binary(info.mem_total as f64);
    let _ = writeln!(
        text,
        " Kernel Version: {}\n Operating System: {}\n OSType: {}\n Architecture: {}\n CPUs: {}\n Total Memory: {memory}\n Name: {}\n ID: {}\n Docker Root Dir: {}\n Debug Mode: {}",
        info.kernel_version,
        info.operating_system,
        info.os_type,
        info.architecture,
        info.n_cpu,
        info.name,
        info.id,
        info.docker_root_dir,
        info.debug,
    );
    if info.debug {
        let _ = writeln!(
            text,
            "  File Descriptors: {}\n  Goroutines: {}\n  System Time: {}\n  EventsListeners: {}",
            info.n_fd, info.n_goroutines, info.system_time, info.n_events_listener
        );
    }
    for (name, value) in
        [("HTTP Proxy", &info.http_proxy), ("HTTPS Proxy", &info.https_proxy), ("No Proxy", &info.no_proxy)]
    {
        if !value.is_empty() {
            let _ = writeln!(text, " {name}: {value}");
        }
    }
    if !info.labels.is_empty() {
        let _ = writeln!(text, " Labels:");
        info.labels.iter().for_each(|label| text.push_str(&format!("  {label}\n")));
    }
    let _ = writeln!(text, " Experimental: {}", info.experimental_build);
    if let Some(registries) = &info.registry_config {
        let by_name =
            registries.index_configs.iter().filter(|(_, index)| !index.secure).map(|(name, _)| name);
        let insecure: Vec<&String> = by_name.chain(&registries.insecure_registry_cidrs).collect();
        if !insecure.is_empty() {
            let _ = writeln!(text, " Insecure Registries:");
            insecure.iter().for_each(|name| text.push_str(&format!("  {name}\n")));
        }
        if !registries.mirrors.is_empty() {
            let _ = writeln!(text, " Registry Mirrors:");
            registries.mirrors.iter().for_each(|name| text.push_str(&format!("  {name}\n")));
        }
    }
    let _ = writeln!(text, " Live Restore Enabled: {}", info.live_restore_enabled);
    if !info.default_address_pools.is_empty() {
        let _ = writeln!(text, " Default Address Pools:");
        for pool in &info.default_address_pools {
            let _ = writeln!(text, "   Base: {}, Size: {}", pool.base, pool.size);
        }
    }
    if let Some(firewall) = &info.firewall_backend {
        let _ = writeln!(text, " Firewall Backend: {}", firewall.driver);
        firewall.info.iter().for_each(|[name, value]| text.push_str(&format!("  {name}: {value}\n")));
    }
}
