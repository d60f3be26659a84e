use std::fmt::Write as _;

use crate::Config;
use crate::document::{dotted, quoted, quoted_key};
use crate::section::Section as _;
use crate::value::Value;

impl Config {
    /// Writes every key with its value, as [`Config::load`] reads it.
    pub fn dump(&self) -> String {
        let mut out = String::new();
        for (path, section) in self.sections() {
            if !path.is_empty() {
                let _ = writeln!(out, "\n[{}]", dotted(path));
            }
            for (key, value) in section.keys().iter().zip(section.values()) {
                if let Some(value) = value {
                    let _ = writeln!(out, "{} = {value}", key.name);
                }
            }
        }
        for (name, plugin) in &self.proxy_plugins {
            let table = dotted(&["proxy_plugins", name]);
            let _ = writeln!(out, "\n[{table}]\ntype = \"{}\"", plugin.kind.as_str());
            let optional = |value: Option<String>| value.unwrap_or_else(|| "\"\"".into());
            let _ = writeln!(out, "address = {}", optional(plugin.address.write()));
            let _ = writeln!(out, "capabilities = {}", optional(plugin.capabilities.write()));
            if let Some(platform) = &plugin.platform {
                let _ = writeln!(out, "platform = {}", quoted(platform));
            }
            if !plugin.exports.is_empty() {
                let _ = writeln!(out, "[{table}.exports]");
                for (key, value) in &plugin.exports {
                    let _ = writeln!(out, "{} = {}", quoted_key(key), quoted(value));
                }
            }
        }
        for (name, runtime) in &self.runtimes {
            let _ = writeln!(out, "\n[{}]", dotted(&["runtimes", name]));
            for (key, value) in runtime.keys().iter().zip(runtime.values()) {
                if let Some(value) = value {
                    let _ = writeln!(out, "{} = {value}", key.name);
                }
            }
        }
        out
    }
}
