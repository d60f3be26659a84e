//! Filters of lists: `{"label":{"a=b":true}}`, or `{"label":["a=b"]}` as old clients send it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::error::Invalid;
use crate::limits::{MAX_FILTER_VALUES, MAX_FILTERS};
use crate::name::excerpt;

/// What a list is filtered by: names, each with values one of which has to match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Map(BTreeMap<String, bool>),
    List(Vec<String>),
}

impl Filters {
    /// Reads the value of the query's `filters`; empty is no filter.
    ///
    /// # Errors
    /// It is no JSON of either form, or more than the limits.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > MAX_FILTERS {
            return Err(Invalid::TooManyFilters);
        }
        if text.is_empty() {
            return Ok(Self::default());
        }
        let raw: Option<BTreeMap<String, Option<Values>>> =
            serde_json::from_str(text).map_err(Invalid::Filters)?;
        let mut filters = BTreeMap::new();
        for (name, values) in raw.unwrap_or_default() {
            let values: BTreeSet<String> = match values {
                Some(Values::Map(map)) => map.into_keys().collect(),
                Some(Values::List(list)) => list.into_iter().collect(),
                None => BTreeSet::new(),
            };
            filters.insert(name, values);
        }
        let count: usize = filters.values().map(|values| values.len() + 1).sum();
        if count > MAX_FILTER_VALUES { Err(Invalid::TooManyFilters) } else { Ok(Self(filters)) }
    }

    /// Adds what `--filter` takes: `name=value`.
    ///
    /// # Errors
    /// There is no `=`.
    pub fn add_argument(&mut self, argument: &str) -> Result<(), Invalid> {
        let (name, value) = argument.split_once('=').ok_or_else(|| Invalid::Filter(excerpt(argument)))?;
        self.add(name.trim().to_ascii_lowercase(), value.trim());
        Ok(())
    }

    /// Adds a value.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.entry(name.into()).or_default().insert(value.into());
    }

    /// The JSON of the current form; empty without filters.
    #[must_use]
    pub fn to_query(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let map: BTreeMap<&str, BTreeMap<&str, bool>> = self
            .0
            .iter()
            .map(|(name, values)| {
                (name.as_str(), values.iter().map(|value| (value.as_str(), true)).collect())
            })
            .collect();
        serde_json::to_string(&map).expect("texts by text")
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a filter is given.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The values of a filter.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Whether `value` is one of the filter's, or there is no such filter.
    #[must_use]
    pub fn matches_exactly(&self, name: &str, value: &str) -> bool {
        self.0.get(name).is_none_or(|values| values.is_empty() || values.contains(value))
    }

    /// Whether one of the filter's values is a part of `value`, or there is no such filter.
    #[must_use]
    pub fn matches_part(&self, name: &str, value: &str) -> bool {
        self.0
            .get(name)
            .is_none_or(|values| values.is_empty() || values.iter().any(|part| value.contains(part)))
    }

    /// Whether `value` begins with one of the filter's values, or there is no such filter.
    #[must_use]
    pub fn matches_start(&self, name: &str, value: &str) -> bool {
        self.0
            .get(name)
            .is_none_or(|values| values.is_empty() || values.iter().any(|part| value.starts_with(part)))
    }

    /// Whether all of the filter's `key` and `key=value` are among the labels.
    pub fn matches_labels<'a>(&self, name: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.values(name).all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => label(key) == Some(value),
            None => label(wanted).is_some(),
        })
    }

    /// A filter that is true or false.
    ///
    /// # Errors
    /// It has several values, or one that is neither.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Invalid> {
        let Some(values) = self.0.get(name) else { return Ok(None) };
        let wrong = |value: &str| Invalid::FilterValue { name: name.to_owned(), value: excerpt(value) };
        let mut values = values.iter().map(String::as_str);
        let value = match (values.next(), values.next()) {
            (Some("1" | "true"), None) => true,
            (Some("0" | "false"), None) => false,
            (first, _) => return Err(wrong(first.unwrap_or_default())),
        };
        Ok(Some(value))
    }

    /// Checks that all filters are known.
    ///
    /// # Errors
    /// One is not.
    pub fn check(&self, known: &[&str]) -> Result<(), Invalid> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Invalid::Filter(excerpt(name))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        for text in [r#"{"label":{"a=b":true,"c":true}}"#, r#"{"label":["c","a=b"]}"#] {
            let filters = Filters::parse(text).unwrap();
            assert_eq!(filters.values("label").collect::<Vec<_>>(), ["a=b", "c"]);
            assert_eq!(filters.to_query(), r#"{"label":{"a=b":true,"c":true}}"#);
        }
        for text in ["", "null", "{}"] {
            assert!(Filters::parse(text).unwrap().is_empty());
        }
        assert!(Filters::parse(r#"{"label":null}"#).unwrap().contains("label"));
    }

    #[test]
    fn other_forms_and_too_many_are_refused() {
        for text in ["x", "[]", r#"{"a":1}"#, r#"{"a":{"b":1}}"#, r#"{"a":[1]}"#] {
            assert!(Filters::parse(text).is_err(), "{text}");
        }
        let many: Vec<String> = (0..MAX_FILTER_VALUES).map(|n| n.to_string()).collect();
        let text = serde_json::to_string(&BTreeMap::from([("id", many)])).unwrap();
        assert!(matches!(Filters::parse(&text), Err(Invalid::TooManyFilters)));
        assert!(Filters::default().add_argument("label").is_err());
    }

    #[test]
    fn values_match_exactly_in_part_and_by_label() {
        let mut filters = Filters::default();
        filters.add_argument("name=web").unwrap();
        filters.add_argument("label=a=b").unwrap();
        filters.add_argument("dangling=true").unwrap();
        assert!(filters.matches_part("name", "/my-web-1") && !filters.matches_exactly("name", "/my-web-1"));
        assert!(filters.matches_exactly("other", "anything"));
        assert!(filters.matches_labels("label", |key| (key == "a").then_some("b")));
        assert!(!filters.matches_labels("label", |key| (key == "a").then_some("c")));
        assert_eq!(filters.boolean("dangling").unwrap(), Some(true));
        assert!(filters.boolean("name").is_err());
        assert!(filters.check(&["name", "label"]).is_err());
    }
}
