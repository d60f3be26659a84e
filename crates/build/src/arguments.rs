//! `ARG`: which arguments a build has, where, and what they are.
//!
//! An argument of the request counts from the line that declares it to the end of its stage; those before the first `FROM`
//! are for `FROM` lines, and for stages that declare them again. Docker's predefined ones (proxies) need no declaration and leave
//! no trace in the image; those of platforms have values of their own.

use std::collections::{BTreeMap, BTreeSet};

use gantry_types::Platform;

use crate::dockerfile::shell::Variables;

/// Arguments that are there without being declared.
const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The arguments of a build.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arguments {
    /// Of the request.
    given: BTreeMap<String, Option<String>>,
    /// Of platforms.
    automatic: BTreeMap<String, String>,
    /// Declared before the first `FROM`.
    global: BTreeMap<String, Option<String>>,
    /// Declared in the stage.
    stage: BTreeMap<String, Option<String>>,
    /// All that were declared anywhere.
    declared: BTreeSet<String>,
}

impl Arguments {
    pub(crate) fn new(given: BTreeMap<String, Option<String>>, host: &Platform, target: &Platform) -> Self {
        let mut automatic = BTreeMap::new();
        for (prefix, platform) in [("BUILD", host), ("TARGET", target)] {
            let parts = [
                ("PLATFORM", platform.to_string()),
                ("OS", platform.os.clone()),
                ("ARCH", platform.architecture.clone()),
                ("VARIANT", platform.variant.clone()),
            ];
            automatic.extend(parts.map(|(part, value)| (format!("{prefix}{part}"), value)));
        }
        Self { given, automatic, ..Self::default() }
    }

    pub(crate) fn declare_global(&mut self, key: &str, value: Option<String>) {
        self.declared.insert(key.to_owned());
        self.global.insert(key.to_owned(), value);
    }

    pub(crate) fn declare(&mut self, key: &str, value: Option<String>) {
        self.declared.insert(key.to_owned());
        self.stage.insert(key.to_owned(), value);
    }

    pub(crate) fn begin_stage(&mut self) {
        self.stage.clear();
    }

    fn given(&self, key: &str) -> Option<&str> {
        self.given.get(key)?.as_deref()
    }

    /// What an argument of the stage is.
    fn of_stage(&self, key: &str) -> Option<&str> {
        if let Some(value) = self.given(key) {
            return Some(value);
        }
        match self.stage.get(key) {
            Some(Some(value)) => Some(value),
            Some(None) => self.global(key).or_else(|| self.automatic.get(key).map(String::as_str)),
            None => None,
        }
    }

    /// What an argument before the first `FROM` is.
    fn global(&self, key: &str) -> Option<&str> {
        let default = self.global.get(key)?;
        self.given(key).or(default.as_deref())
    }

    /// `key=value` of all arguments that a command sees: those of the stage that the environment does not have, and predefined
    /// ones of the request. Sorted.
    pub(crate) fn visible(&self, env: &[String]) -> Vec<String> {
        let is_env = |key: &str| env.iter().any(|entry| entry.split('=').next() == Some(key));
        let predefined = PREDEFINED.iter().copied().filter(|key| self.given(key).is_some());
        let keys: BTreeSet<&str> = self.stage.keys().map(String::as_str).chain(predefined).collect();
        let entry = |key: &str| {
            let value = self.of_stage(key)?;
            (!is_env(key)).then(|| format!("{key}={value}"))
        };
        keys.into_iter().filter_map(entry).collect()
    }

    /// Whether an argument is written into the image's history: not a predefined one that nobody declared.
    pub(crate) fn leaves_trace(&self, key: &str) -> bool {
        self.declared.contains(key) || !PREDEFINED.contains(&key)
    }

    /// The given ones that nobody declared.
    pub(crate) fn unused(&self) -> Vec<&str> {
        let is_unused = |key: &&String| !self.declared.contains(*key) && !PREDEFINED.contains(&key.as_str());
        self.given.keys().filter(is_unused).map(String::as_str).collect()
    }
}

/// What lines with `FROM`, and arguments before them, see.
pub(crate) struct Global<'a>(pub(crate) &'a Arguments);

impl Variables for Global<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let given = || self.0.automatic.get(name).map(|value| self.0.given(name).unwrap_or(value));
        self.0.global(name).or_else(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(given: &[(&str, Option<&str>)]) -> Arguments {
        let given = given.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect();
        let platform: Platform = "linux/arm64/v8".parse().unwrap();
        Arguments::new(given, &Platform::host(), &platform)
    }

    #[test]
    fn arguments_count_where_they_are_declared() {
        let mut args = arguments(&[("A", Some("given")), ("U", Some("x")), ("N", None)]);
        args.declare_global("A", Some("default".into()));
        args.declare_global("B", Some("b".into()));
        assert_eq!(Global(&args).get("A"), Some("given"));
        assert_eq!(Global(&args).get("B"), Some("b"));
        assert_eq!(Global(&args).get("TARGETARCH"), Some("arm64"));
        assert_eq!(Global(&args).get("U"), None);
        assert!(args.visible(&[]).is_empty());
        args.declare("A", None);
        args.declare("B", None);
        args.declare("C", Some("c".into()));
        args.declare("N", None);
        args.declare("TARGETOS", None);
        assert_eq!(args.visible(&[]), ["A=given", "B=b", "C=c", "TARGETOS=linux"]);
        assert_eq!(args.visible(&["C=env".to_owned()]), ["A=given", "B=b", "TARGETOS=linux"]);
        args.begin_stage();
        assert!(args.visible(&[]).is_empty());
        assert_eq!(args.unused(), ["U"]);
    }

    #[test]
    fn proxies_need_no_declaration_and_leave_no_trace() {
        let mut args = arguments(&[("HTTP_PROXY", Some("p"))]);
        assert_eq!(args.visible(&[]), ["HTTP_PROXY=p"]);
        assert!(!args.leaves_trace("HTTP_PROXY") && args.leaves_trace("A"));
        args.declare("HTTP_PROXY", None);
        assert!(args.leaves_trace("HTTP_PROXY"));
        assert!(args.unused().is_empty());
    }
}
