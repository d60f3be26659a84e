//! `builder`: what the builder keeps, and what it allows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::keys::{Keys, size};
use crate::Error;

/// `builder.gc`: what becomes of the cache of builds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuilderGc {
    /// `enabled`.
    pub enabled: Option<bool>,
    /// `defaultKeepStorage` or `defaultReservedSpace`: what is kept in any case, in bytes.
    pub reserved_bytes: Option<u64>,
    /// `defaultMaxUsedSpace`, in bytes.
    pub max_used_bytes: Option<u64>,
    /// `defaultMinFreeSpace`, in bytes.
    pub min_free_bytes: Option<u64>,
    /// `policy`, in order.
    pub policy: Vec<BuilderPolicy>,
}

/// One rule of `builder.gc.policy`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuilderPolicy {
    /// `all`: what is internal or shared, too.
    pub all: bool,
    /// `filter`: `key=value`, as `docker builder prune` has them.
    pub filter: Vec<String>,
    /// `keepStorage` or `reservedSpace`, in bytes.
    pub reserved_bytes: Option<u64>,
    /// `maxUsedSpace`, in bytes.
    pub max_used_bytes: Option<u64>,
    /// `minFreeSpace`, in bytes.
    pub min_free_bytes: Option<u64>,
}

const SIZE: &str = "a size such as \"20GB\"";

pub(super) fn take(keys: &mut Keys<'_>) -> Result<(BuilderGc, BTreeMap<String, bool>), Error> {
    let builder = keys.take_map("builder", "a table", |value| value.is_object().then(|| value.clone()))?;
    let mut entitlements = BTreeMap::new();
    let mut gc = BuilderGc::default();
    for (name, value) in &builder {
        match name.as_str() {
            "gc" => gc = read_gc(keys, value)?,
            "entitlements" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    let allowed = value.as_bool().ok_or_else(|| keys.wrong(name, "true or false", value))?;
                    entitlements.insert(name.clone(), allowed);
                }
            }
            // As there: what the builder does not know, nobody looks at.
            _ => {}
        }
    }
    Ok((gc, entitlements))
}

fn read_gc(keys: &Keys<'_>, value: &Value) -> Result<BuilderGc, Error> {
    let mut gc = BuilderGc::default();
    for (name, value) in value.as_object().into_iter().flatten() {
        let bytes = || size(value).map(Some).ok_or_else(|| keys.wrong(name, SIZE, value));
        match name.as_str() {
            "enabled" => {
                gc.enabled = Some(value.as_bool().ok_or_else(|| keys.wrong(name, "true or false", value))?);
            }
            "defaultKeepStorage" | "defaultReservedSpace" => gc.reserved_bytes = bytes()?,
            "defaultMaxUsedSpace" => gc.max_used_bytes = bytes()?,
            "defaultMinFreeSpace" => gc.min_free_bytes = bytes()?,
            "policy" => {
                let list = value.as_array().ok_or_else(|| keys.wrong(name, "a list", value))?;
                gc.policy = list.iter().map(|rule| read_policy(keys, rule)).collect::<Result<_, _>>()?;
            }
            _ => {}
        }
    }
    Ok(gc)
}

fn read_policy(keys: &Keys<'_>, rule: &Value) -> Result<BuilderPolicy, Error> {
    let mut policy = BuilderPolicy::default();
    let rule = rule.as_object().ok_or_else(|| keys.wrong("policy", "a list of tables", rule))?;
    for (name, value) in rule {
        let bytes = || size(value).map(Some).ok_or_else(|| keys.wrong(name, SIZE, value));
        match name.as_str() {
            "all" => policy.all = value.as_bool().ok_or_else(|| keys.wrong(name, "true or false", value))?,
            "keepStorage" | "reservedSpace" => policy.reserved_bytes = bytes()?,
            "maxUsedSpace" => policy.max_used_bytes = bytes()?,
            "minFreeSpace" => policy.min_free_bytes = bytes()?,
            "filter" => {
                policy.filter = filters(value).ok_or_else(|| keys.wrong(name, "a list of texts", value))?
            }
            _ => {}
        }
    }
    Ok(policy)
}

/// A list of `key=value`, or the older table of tables: `{"unused-for": {"48h": true}}`.
fn filters(value: &Value) -> Option<Vec<String>> {
    if let Some(list) = value.as_array() {
        return list.iter().map(|text| text.as_str().map(str::to_owned)).collect();
    }
    let mut filters = Vec::new();
    for (name, values) in value.as_object()? {
        filters.extend(values.as_object()?.keys().map(|value| format!("{name}={value}")));
    }
    Some(filters)
}
