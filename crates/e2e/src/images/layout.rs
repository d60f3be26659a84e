use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::layer::Compression;

/// An image: tars with how each is compressed, for one platform.
#[derive(Debug, Clone)]
pub struct Image {
    architecture: &'static str,
    variant: Option<&'static str>,
    layers: Vec<(Vec<u8>, Compression)>,
}

impl Image {
    /// An image for `linux/amd64`.
    pub fn new(layers: impl IntoIterator<Item = (Vec<u8>, Compression)>) -> Self {
        Self { architecture: "amd64", variant: None, layers: layers.into_iter().collect() }
    }

    /// The same for another platform.
    #[must_use]
    pub fn of_platform(mut self, architecture: &'static str, variant: Option<&'static str>) -> Self {
        (self.architecture, self.variant) = (architecture, variant);
        self
    }

    /// The same with all layers in one compression.
    #[must_use]
    pub fn in_one(&self, compression: Compression) -> Self {
        let mut image = self.clone();
        image.layers.iter_mut().for_each(|layer| layer.1 = compression);
        image
    }

    /// The tars of its layers.
    pub fn tars(&self) -> impl Iterator<Item = &[u8]> {
        self.layers.iter().map(|layer| layer.0.as_slice())
    }

    fn platform(&self) -> Value {
        let mut platform = json!({ "os": "linux", "architecture": self.architecture });
        if let Some(variant) = self.variant {
            platform["variant"] = variant.into();
        }
        platform
    }

    fn configuration(&self) -> Value {
        let mut config = self.platform();
        let diffs: Vec<String> = self.tars().map(digest).collect();
        let history = self.layers.iter().map(|_| json!({ "created_by": "gantry-e2e" }));
        config["config"] = json!({ "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"] });
        config["history"] = history.collect();
        config["rootfs"] = json!({ "type": "layers", "diff_ids": diffs });
        config
    }
}

/// The digest of bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// An OCI layout with images by tag.
#[derive(Debug)]
pub struct Layout {
    dir: PathBuf,
    images: Vec<Value>,
}

impl Layout {
    /// An empty one at `dir`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).expect("a directory");
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("oci-layout");
        Self { dir: dir.to_owned(), images: Vec::new() }
    }

    /// `DIR:TAG`, as skopeo and umoci have it.
    pub fn name(&self, tag: &str) -> String {
        format!("{}:{tag}", self.dir.display())
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        fs::write(self.dir.join("blobs/sha256").join(&digest["sha256:".len()..]), bytes).expect("a blob");
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    fn manifest(&self, image: &Image) -> Value {
        let layer = |(tar, compression): &(Vec<u8>, Compression)| {
            self.blob(compression.media_type(), &compression.compress(tar))
        };
        let layers: Vec<Value> = image.layers.iter().map(layer).collect();
        let config = self.blob(CONFIG, image.configuration().to_string().as_bytes());
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    fn tag(&mut self, tag: &str, mut descriptor: Value) -> String {
        let digest = descriptor["digest"].as_str().unwrap_or_default().to_owned();
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        self.images.push(descriptor);
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": self.images });
        fs::write(self.dir.join("index.json"), index.to_string()).expect("index.json");
        digest
    }

    /// Adds an image; returns the digest of its manifest.
    pub fn add(&mut self, tag: &str, image: &Image) -> String {
        let descriptor = self.manifest(image);
        self.tag(tag, descriptor)
    }

    /// Adds an index of images; returns its digest.
    pub fn add_index(&mut self, tag: &str, images: &[Image]) -> String {
        let described = images.iter().map(|image| {
            let mut descriptor = self.manifest(image);
            descriptor["platform"] = image.platform();
            descriptor
        });
        let manifests: Vec<Value> = described.collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let descriptor = self.blob(INDEX, index.to_string().as_bytes());
        self.tag(tag, descriptor)
    }
}
