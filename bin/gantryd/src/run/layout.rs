//! OCI image layouts (image-spec v1.1.0, image-layout.md): what is read is what its digest says.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// The longest manifest or configuration that is read.
const MAX_JSON_BYTES: u64 = 4 << 20;
/// How deep indexes may be nested.
const MAX_INDEXES: u32 = 4;
const TAG: &str = "org.opencontainers.image.ref.name";

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

/// `sha256:` and 64 digits: safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Digest(String);

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64);
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match digits {
            Some(digits) if digits.bytes().all(is_hex) => Ok(Self(digits.to_owned())),
            _ => Err(format!("{text:?} is no sha256 digest")),
        }
    }
}

impl Digest {
    pub(crate) fn hex(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// What an image says of its containers.
#[derive(Debug, Deserialize)]
pub(crate) struct Image {
    #[serde(default)]
    pub(crate) config: Config,
    pub(crate) rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Config {
    pub(crate) user: String,
    pub(crate) env: Option<Vec<String>>,
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    pub(crate) working_dir: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RootFs {
    pub(crate) diff_ids: Vec<Digest>,
}

/// A layout's directory.
#[derive(Debug)]
pub(crate) struct Layout(PathBuf);

impl Layout {
    /// Opens `DIR` or `DIR:TAG`, and finds the image.
    pub(crate) fn open(name: &str) -> Result<(Self, Manifest)> {
        let (dir, tag) = match name.rsplit_once(':') {
            Some((dir, tag)) if !Path::new(name).is_dir() => (dir, Some(tag)),
            _ => (name, None),
        };
        let layout = Self(dir.into());
        let path = layout.0.join("index.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let index: Index =
            serde_json::from_slice(&text).with_context(|| format!("cannot parse {}", path.display()))?;
        let mut found = select(index, tag).with_context(|| format!("no image {name:?}"))?;
        for _ in 0..MAX_INDEXES {
            if !found.media_type.contains("index") && !found.media_type.contains("manifest.list") {
                let manifest = layout.json(&found)?;
                return Ok((layout, manifest));
            }
            found = select(layout.json(&found)?, None).with_context(|| format!("no image in {name:?}"))?;
        }
        bail!("{name:?} has more than {MAX_INDEXES} indexes within each other")
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, descriptor: &Descriptor) -> Result<T> {
        let digest = descriptor.digest.hex();
        ensure!(descriptor.size <= MAX_JSON_BYTES, "blob {digest} of {} bytes is too long", descriptor.size);
        let mut text = Vec::new();
        let mut blob = self.blob(descriptor)?;
        blob.read_to_end(&mut text).with_context(|| format!("cannot read blob {digest}"))?;
        blob.check(&descriptor.digest)?;
        serde_json::from_slice(&text).with_context(|| format!("cannot parse blob {digest}"))
    }

    /// The bytes of a blob, which are to be read to their end and then checked.
    pub(crate) fn blob(&self, descriptor: &Descriptor) -> Result<Hashed<io::Take<File>>> {
        let path = self.0.join("blobs/sha256").join(descriptor.digest.hex());
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        // One byte more changes the digest.
        Ok(Hashed::new(file.take(descriptor.size.saturating_add(1))))
    }
}

impl Descriptor {
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// The first image of that tag for this machine.
fn select(index: Index, tag: Option<&str>) -> Option<Descriptor> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let fits = |platform: &Platform| platform.os == "linux" && platform.architecture == architecture;
    let mut images = index.manifests.into_iter().filter(|one| one.platform.as_ref().is_none_or(fits));
    images.find(|one| tag.is_none_or(|tag| one.annotations.get(TAG).is_some_and(|name| name == tag)))
}

/// A reader that knows the digest of what it has read.
#[derive(Debug)]
pub(crate) struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Hashed<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    /// Reads to the end.
    pub(crate) fn check(&mut self, expected: &Digest) -> Result<()> {
        io::copy(self, &mut io::sink())?;
        let hash = self.hash.clone().finalize();
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(hex == expected.hex(), "sha256:{} is promised, sha256:{hex} is there", expected.hex());
        Ok(())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}
