//! Indexes, manifests and image configurations (image specification v1.1.1), as far as the store reads them.
//!
//! What is unknown is ignored here: the bytes in the store are the document of record and are never written anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Descriptor, DiffId, media_type};

/// The largest manifest, index or configuration that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: u64 = 8 << 20;
/// The most manifests of an index.
pub const MAX_MANIFESTS: usize = 4096;
/// The most layers of a manifest.
pub const MAX_LAYERS: usize = 1024;

/// `null` for an empty map or list, which some writers produce.
pub(crate) fn nullable<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDocument {
    /// Not JSON of the shape that the specification gives.
    #[error("invalid {what}")]
    Json {
        /// Which document.
        what: &'static str,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// The document says that it is of another type than its descriptor does (CVE-2021-41190).
    #[error("the {what} says that it is {found:?}, its descriptor {expected:?}")]
    MediaType {
        /// Which document.
        what: &'static str,
        /// In the document.
        found: String,
        /// In the descriptor.
        expected: String,
    },
    /// It has fields of both an index and a manifest (CVE-2021-41190).
    #[error("the {0} has both manifests and layers, so it could be read in two ways")]
    Ambiguous(&'static str),
    /// Docker's schema 1.
    #[error(
        "{0:?} is Docker's image manifest schema 1, which is not supported: push the image anew with a current tool"
    )]
    Schema1(String),
    /// A limit of this module.
    #[error("{count} {what} are more than {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2.
    pub schema_version: u32,
    /// The document's type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The type of the artifact that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests, in order of preference.
    #[serde(default, deserialize_with = "nullable")]
    pub manifests: Vec<Descriptor>,
    /// The manifest that it says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Whatever its maker wrote.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
}

/// An image or an artifact for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2.
    pub schema_version: u32,
    /// The document's type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The type of the artifact that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    #[serde(default, deserialize_with = "nullable")]
    pub layers: Vec<Descriptor>,
    /// The manifest that it says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Whatever its maker wrote.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
}

/// What both kinds of documents could have, to tell them apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// Checks that a document is what its descriptor says and nothing else at the same time.
fn unambiguous(what: &'static str, bytes: &[u8], expected: &str) -> Result<(), InvalidDocument> {
    let shape: Shape =
        serde_json::from_slice(bytes).map_err(|source| InvalidDocument::Json { what, source })?;
    let found = shape.media_type.unwrap_or_default();
    if media_type::kind(expected) == media_type::Kind::Schema1 || shape.fs_layers.is_some() {
        return Err(InvalidDocument::Schema1(expected.to_owned()));
    }
    if shape.manifests.is_some() && (shape.layers.is_some() || shape.config.is_some()) {
        return Err(InvalidDocument::Ambiguous(what));
    }
    if !found.is_empty() && found != expected {
        return Err(InvalidDocument::MediaType { what, found, expected: expected.to_owned() });
    }
    Ok(())
}

fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), InvalidDocument> {
    if count > limit { Err(InvalidDocument::TooMany { what, count, limit }) } else { Ok(()) }
}

impl Index {
    /// Reads an index whose descriptor has `media_type`.
    ///
    /// # Errors
    /// [`InvalidDocument`].
    pub fn read(bytes: &[u8], media_type: &str) -> Result<Self, InvalidDocument> {
        unambiguous("index", bytes, media_type)?;
        let index: Self = serde_json::from_slice(bytes)
            .map_err(|source| InvalidDocument::Json { what: "index", source })?;
        at_most("manifests of an index", index.manifests.len(), MAX_MANIFESTS)?;
        Ok(index)
    }
}

impl Manifest {
    /// Reads a manifest whose descriptor has `media_type`.
    ///
    /// # Errors
    /// [`InvalidDocument`].
    pub fn read(bytes: &[u8], media_type: &str) -> Result<Self, InvalidDocument> {
        unambiguous("manifest", bytes, media_type)?;
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|source| InvalidDocument::Json { what: "manifest", source })?;
        at_most("layers of a manifest", manifest.layers.len(), MAX_LAYERS)?;
        Ok(manifest)
    }
}

/// An image's configuration (image specification v1.1.1, config.md), as far as the store reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The processor.
    #[serde(default)]
    pub architecture: String,
    /// The operating system.
    #[serde(default)]
    pub os: String,
    /// The processor's variant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// The operating system's version.
    #[serde(default, rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// The layers.
    #[serde(default)]
    pub rootfs: RootFs,
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
}

/// The layers of an image's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The diff ids, the lowest first.
    #[serde(default, deserialize_with = "nullable")]
    pub diff_ids: Vec<DiffId>,
}

impl ImageConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`InvalidDocument`].
    pub fn read(bytes: &[u8]) -> Result<Self, InvalidDocument> {
        let config: Self = serde_json::from_slice(bytes)
            .map_err(|source| InvalidDocument::Json { what: "image configuration", source })?;
        at_most("diff ids of an image configuration", config.rootfs.diff_ids.len(), MAX_LAYERS)?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn descriptor() -> String {
        format!(r#"{{"mediaType":"x","digest":"{}","size":1}}"#, Digest::sha256(b"x"))
    }

    #[test]
    fn cve_2021_41190_documents_of_two_kinds_are_refused() {
        let both = format!(r#"{{"schemaVersion":2,"config":{0},"layers":[],"manifests":[]}}"#, descriptor());
        for result in [
            Manifest::read(both.as_bytes(), media_type::OCI_MANIFEST).map(drop),
            Index::read(both.as_bytes(), media_type::OCI_INDEX).map(drop),
        ] {
            assert!(matches!(result, Err(InvalidDocument::Ambiguous(_))));
        }
        let other = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[]}}"#,
            media_type::OCI_INDEX,
            descriptor()
        );
        let result = Manifest::read(other.as_bytes(), media_type::OCI_MANIFEST);
        assert!(matches!(result, Err(InvalidDocument::MediaType { .. })));
    }

    #[test]
    fn schema_1_is_refused_by_name() {
        let old = br#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#;
        let result = Manifest::read(old, media_type::DOCKER_SCHEMA1_SIGNED);
        assert!(matches!(result, Err(InvalidDocument::Schema1(_))));
    }

    #[test]
    fn null_lists_are_empty_ones() {
        let text =
            format!(r#"{{"schemaVersion":2,"config":{},"layers":null,"annotations":null}}"#, descriptor());
        let manifest = Manifest::read(text.as_bytes(), media_type::OCI_MANIFEST).unwrap();
        assert!(manifest.layers.is_empty() && manifest.annotations.is_empty());
        assert!(ImageConfig::read(br#"{"rootfs":{"diff_ids":null}}"#).unwrap().rootfs.diff_ids.is_empty());
    }
}
