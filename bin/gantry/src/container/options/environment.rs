//! Variables and labels, from flags and from files.

use std::fs::File;
use std::io::Read as _;

use anyhow::{Context, Result, bail, ensure};

use super::values::pairs;

/// The largest file of variables or labels, in bytes.
const MAX_FILE: u64 = 8 << 20;

/// The variables of files, then those of flags. A name alone is taken from our own environment, and stays alone if it is
/// not there: it takes the image's away.
pub(crate) fn environment(files: &[String], flags: &[String]) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    for file in files {
        for line in lines(file)? {
            match line.split_once('=') {
                Some(_) => variables.push(line),
                None => variables.extend(std::env::var(&line).ok().map(|value| format!("{line}={value}"))),
            }
        }
    }
    for flag in flags {
        ensure!(!flag.is_empty() && !flag.starts_with('='), "invalid environment variable: {flag}");
        match flag.contains('=') {
            true => variables.push(flag.clone()),
            false => {
                variables.push(std::env::var(flag).map_or(flag.clone(), |value| format!("{flag}={value}")))
            }
        }
    }
    Ok(variables)
}

/// The labels of files, then those of flags.
pub(crate) fn labels(files: &[String], flags: &[String]) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for file in files {
        // As docker does it: in a file, a name alone says nothing.
        all.extend(lines(file)?.into_iter().filter(|line| line.contains('=')));
    }
    all.extend(flags.iter().cloned());
    Ok(pairs(&all))
}

/// Lines that say something.
fn lines(path: &str) -> Result<Vec<String>> {
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("failed to open {path}"))?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).with_context(|| format!("{path} cannot be read"))?;
    ensure!(text.len() as u64 <= MAX_FILE, "{path} is larger than {MAX_FILE} bytes");
    let mut lines = Vec::new();
    for line in text.strip_prefix('\u{feff}').unwrap_or(&text).lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() {
            bail!("invalid env file ({path}): no variable name on line '{line}'");
        }
        let name = if line.contains('=') { name } else { name.trim_end() };
        ensure!(
            !name.contains(char::is_whitespace),
            "invalid env file ({path}): variable '{name}' contains whitespaces"
        );
        lines.push(if line.contains('=') { line.to_owned() } else { name.to_owned() });
    }
    Ok(lines)
}
