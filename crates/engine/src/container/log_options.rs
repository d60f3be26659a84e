//! The options of log drivers: docker's words, checked when a container is made, as those of the drivers.

use std::collections::BTreeMap;
use std::path::Path;

use regex::{Regex, RegexBuilder};

use crate::options::LogOptions;
use crate::record::Record;
use crate::{Error, Result};

/// Docker's default driver.
pub(super) const DEFAULT_DRIVER: &str = "json-file";
/// What is kept here of a log that is sent away.
pub(super) const CACHE: &str = "container-cached.log";
/// How large a pattern of a client may become.
const PATTERN_BYTES: usize = 256 << 10;
/// The only mode in which there is a buffer.
const NON_BLOCKING: &str = "non-blocking";
/// How many characters of an image's id are its short one.
const SHORT_IMAGE: usize = 12;
/// What makes attributes of the container's labels and variables.
const ATTRIBUTES: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];

/// A container's own options over the default ones, which count where the driver is the same.
pub(super) fn merge(own: &LogOptions, default: &LogOptions) -> LogOptions {
    let name = |options: &LogOptions| match options.driver.as_str() {
        "" => DEFAULT_DRIVER.to_owned(),
        driver => driver.to_owned(),
    };
    if own.driver.is_empty() || own.driver == name(default) {
        let mut options = default.options.clone();
        options.extend(own.options.clone());
        return LogOptions { driver: name(default), options };
    }
    own.clone()
}

/// Checks what all drivers have in common.
pub(super) fn check(log: &LogOptions) -> Result<()> {
    let mode = log.options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | NON_BLOCKING) {
        return Err(Error::Invalid(format!("logger: logging mode not supported: {mode}")));
    }
    if let Some(text) = log.options.get("max-buffer-size") {
        if mode != NON_BLOCKING {
            return Err(Error::Invalid(format!(
                "logger: max-buffer-size option is only supported with 'mode={NON_BLOCKING}'"
            )));
        }
        bytes("max-buffer-size", text)?;
    }
    Ok(())
}

/// The options of a driver that writes files: those that it knows, and attributes.
pub(super) fn of_file(driver: &str, log: &LogOptions, record: &Record) -> Result<Vec<(String, String)>> {
    let mut options = Vec::new();
    for (key, value) in &log.options {
        match key.as_str() {
            "max-size" => options.push((key.clone(), bytes(key, value)?.to_string())),
            "max-file" | "compress" | "mode" => options.push((key.clone(), value.clone())),
            "max-buffer-size" => {}
            key if ATTRIBUTES.contains(&key) && driver == DEFAULT_DRIVER => {}
            other if driver == DEFAULT_DRIVER => {
                return Err(Error::Invalid(format!("unknown log opt '{other}' for {driver} log driver")));
            }
            other => {
                return Err(Error::Invalid(format!("unknown log opt '{other}' for log driver {driver}")));
            }
        }
    }
    if driver == DEFAULT_DRIVER {
        let attrs = attributes(log, record)?;
        if !attrs.is_empty() {
            options.push(("attrs".to_owned(), serde_json::to_string(&attrs).expect("strings are JSON")));
        }
    }
    Ok(options)
}

/// Whether the log of a driver that sends lines away is kept beside it, too.
pub(super) fn is_cached(log: &LogOptions) -> Result<bool> {
    match log.options.get("cache-disabled").map_or("false", String::as_str) {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(false),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(true),
        other => Err(Error::Invalid(format!("log opt cache-disabled={other:?}: neither true nor false"))),
    }
}

/// The options of a driver that sends lines away, and of the log beside it.
pub(super) fn of_remote(
    driver: &str,
    log: &LogOptions,
    record: &Record,
    directory: &Path,
) -> Result<Vec<(String, String)>> {
    let tag = match log.options.get("tag") {
        Some(tag) => tagged(tag, record)?,
        None => record.short_id().to_owned(),
    };
    let mut options = vec![("tag".to_owned(), tag)];
    let is_cached = is_cached(log)?;
    if is_cached {
        options.push(("cache".to_owned(), directory.join(CACHE).display().to_string()));
    }
    for (key, value) in &log.options {
        match (driver, key.as_str()) {
            (_, "max-buffer-size" | "cache-disabled") => {}
            (_, key) if ATTRIBUTES.contains(&key) => {}
            (_, "mode") => options.push((key.clone(), value.clone())),
            (_, "cache-max-file" | "cache-compress") if is_cached => {
                options.push((key.clone(), value.clone()))
            }
            (_, "cache-max-size") if is_cached => options.push((key.clone(), bytes(key, value)?.to_string())),
            (_, "cache-max-file" | "cache-compress" | "cache-max-size") => {}
            ("syslog", "syslog-address" | "syslog-facility" | "syslog-format") => {
                options.push((key.trim_start_matches("syslog-").to_owned(), value.clone()));
            }
            (_, other) => {
                return Err(Error::Invalid(format!("unknown log opt '{other}' for {driver} log driver")));
            }
        }
    }
    if driver == "journald" {
        let known = [("id", &record.id), ("name", &record.name), ("image", &record.image.reference)];
        options.extend(known.map(|(key, value)| (key.to_owned(), value.clone())));
        let mut fields = attributes(log, record)?;
        fields.remove("tag");
        if !fields.is_empty() {
            options.push(("fields".to_owned(), serde_json::to_string(&fields).expect("strings are JSON")));
        }
    }
    Ok(options)
}

/// Labels and variables of the container that its log lines carry, by their names and by patterns of these.
fn attributes(log: &LogOptions, record: &Record) -> Result<BTreeMap<String, String>> {
    let variables: BTreeMap<String, String> = record
        .process
        .env
        .iter()
        .filter_map(|entry| entry.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut found = BTreeMap::new();
    for (key, values) in [("labels", &record.labels), ("env", &variables)] {
        let names = log.options.get(key).map(|list| list.split(',').map(str::trim).collect::<Vec<_>>());
        let pattern = pattern(log, &format!("{key}-regex"))?;
        let is_asked = |name: &str| {
            names.as_ref().is_some_and(|names| names.contains(&name))
                || pattern.as_ref().is_some_and(|pattern| pattern.is_match(name))
        };
        let asked = values.iter().filter(|(name, _)| is_asked(name));
        found.extend(asked.map(|(name, value)| (name.clone(), value.clone())));
    }
    if let Some(tag) = log.options.get("tag") {
        found.insert("tag".to_owned(), tagged(tag, record)?);
    }
    Ok(found)
}

fn pattern(log: &LogOptions, key: &str) -> Result<Option<Regex>> {
    let Some(text) = log.options.get(key).filter(|text| !text.is_empty()) else { return Ok(None) };
    let built = RegexBuilder::new(text).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build();
    built
        .map(Some)
        .map_err(|error| Error::Invalid(format!("invalid pattern of the log option {key}: {error}")))
}

/// A tag: docker's template, in which names of values may stand, and nothing else of Go's templates.
fn tagged(template: &str, record: &Record) -> Result<String> {
    let mut made = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("{{") {
        let wrong = |why: &str| Error::Invalid(format!("invalid log tag {template:?}: {why}"));
        let (name, behind) = behind.split_once("}}").ok_or_else(|| wrong("a {{ without its }}"))?;
        made.push_str(before);
        let value = value(name.trim(), record);
        made.push_str(
            &value.ok_or_else(|| wrong("it may have {{.ID}}, {{.Name}}, {{.ImageName}} and the like"))?,
        );
        rest = behind;
    }
    made.push_str(rest);
    Ok(made)
}

fn value(name: &str, record: &Record) -> Option<String> {
    let image = || record.image.target.as_ref().map(ToString::to_string).unwrap_or_default();
    Some(match name {
        ".ID" => record.short_id().to_owned(),
        ".FullID" => record.id.clone(),
        ".Name" => record.name.clone(),
        ".FullName" => format!("/{}", record.name),
        ".ImageID" => image().chars().take(SHORT_IMAGE).collect(),
        ".ImageFullID" => image(),
        ".ImageName" => record.image.reference.clone(),
        ".Command" => record.args().join(" "),
        ".DaemonName" => "docker".to_owned(),
        _ => return None,
    })
}

fn bytes(key: &str, text: &str) -> Result<u64> {
    size(text).ok_or_else(|| Error::Invalid(format!("invalid value {text:?} of the log option {key}")))
}

/// Bytes: a number with a unit, which is a power of 1024.
fn size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    Some((number * (1u64 << shift) as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(driver: &str, options: &[(&str, &str)]) -> LogOptions {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        LogOptions { driver: driver.to_owned(), options: options.collect() }
    }

    fn record() -> Record {
        let text = format!(
            r#"{{"id":"{}","name":"n","created":"2026-01-01T00:00:00Z","image":{{"reference":"bb:1"}},"options":{{}},
                "process":{{"env":["A_X=1","B=2"],"cmd":["sh","-c"]}},"mounts":[],"state":{{}},
                "labels":{{"a.x":"3","b":"4"}}}}"#,
            "a".repeat(64)
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn sizes_have_units() {
        let check = |text: &str, expect| assert_eq!(size(text), expect, "{text}");
        check("10", Some(10));
        check("10k", Some(10 << 10));
        check("1.5M", Some(3 << 19));
        check("2GiB", Some(2 << 30));
        check("x", None);
        check("10q", None);
    }

    #[test]
    fn default_options_count_for_the_default_driver() {
        let default = log("local", &[("max-size", "1m"), ("max-file", "3")]);
        assert_eq!(
            merge(&log("", &[("max-file", "5")]), &default),
            log("local", &[("max-size", "1m"), ("max-file", "5")])
        );
        assert_eq!(merge(&log("local", &[]), &default), default);
        assert_eq!(merge(&log("none", &[]), &default), log("none", &[]));
        assert_eq!(merge(&log("", &[("a", "b")]), &LogOptions::default()), log("json-file", &[("a", "b")]));
    }

    #[test]
    fn attributes_are_asked_for_by_names_and_by_patterns() {
        let check = |options: &[(&str, &str)], expect: &[(&str, &str)]| {
            let found = attributes(&log("json-file", options), &record()).unwrap();
            let found: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(found, expect, "{options:?}");
        };
        check(&[("labels", "b,none")], &[("b", "4")]);
        check(&[("labels-regex", "^a")], &[("a.x", "3")]);
        check(&[("env", "B"), ("env-regex", "_X$")], &[("A_X", "1"), ("B", "2")]);
        check(&[("tag", "{{.Name}}/{{ .ID }}")], &[("tag", "n/aaaaaaaaaaaa")]);
        check(&[("tag", "{{.Command}} {{.ImageName}}")], &[("tag", "sh -c bb:1")]);
        for wrong in [("labels-regex", "("), ("tag", "{{.Nope}}"), ("tag", "{{.ID")] {
            assert!(attributes(&log("json-file", &[wrong]), &record()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_buffer_is_of_one_mode() {
        assert!(check(&log("", &[("mode", "blocking")])).is_ok());
        assert!(check(&log("", &[("mode", "non-blocking"), ("max-buffer-size", "4m")])).is_ok());
        for wrong in [
            &[("mode", "x")][..],
            &[("max-buffer-size", "4m")],
            &[("mode", "non-blocking"), ("max-buffer-size", "x")],
        ] {
            assert!(check(&log("", wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_sent_away_is_kept_unless_that_is_not_wanted() {
        let keys = |options: &[(&str, &str)]| -> Vec<String> {
            let made = of_remote("syslog", &log("syslog", options), &record(), Path::new("/d")).unwrap();
            made.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(&[("cache-max-size", "1m")]), ["tag", "cache", "cache-max-size"]);
        assert_eq!(keys(&[("cache-max-size", "1m"), ("cache-disabled", "true")]), ["tag"]);
    }
}
