use std::fs;
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use gantry_testkit::Bundle;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A layout of an image with two layers: busybox, and a small one in gzip.
pub(crate) struct Image {
    dir: tempfile::TempDir,
    last: PathBuf,
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Image {
    pub(crate) fn build() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        let blobs = dir.path().join("blobs/sha256");
        let put = |kind: &str, bytes: &[u8]| -> Value {
            fs::write(blobs.join(hex(bytes)), bytes).unwrap();
            let digest = format!("sha256:{}", hex(bytes));
            json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": bytes.len() })
        };
        let (first, second) = (first(), second());
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&second).unwrap();
        let gzip = gzip.finish().unwrap();
        let diff_ids = [&first, &second].map(|layer| format!("sha256:{}", hex(layer)));
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": { "Cmd": ["sh"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let manifest = json!({
            "schemaVersion": 2,
            "config": put("config.v1+json", config.to_string().as_bytes()),
            "layers": [put("layer.v1.tar", &first), put("layer.v1.tar+gzip", &gzip)],
        });
        let mut manifest = put("manifest.v1+json", manifest.to_string().as_bytes());
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "test" });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(dir.path().join("index.json"), index.to_string()).unwrap();
        let last = blobs.join(hex(&gzip));
        Self { dir, last }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}:test", self.dir.path().display())
    }

    /// Changes a byte of the last layer.
    pub(crate) fn damage(&self) {
        let mut bytes = fs::read(&self.last).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&self.last, bytes).unwrap();
    }
}

fn first() -> Vec<u8> {
    let bundle = Bundle::new();
    let mut layer = tar::Builder::new(Vec::new());
    layer.follow_symlinks(false);
    layer.append_dir_all(".", bundle.rootfs()).unwrap();
    for path in ["layer", "hidden/one"] {
        append(&mut layer, path, "one\n");
    }
    layer.into_inner().unwrap()
}

fn second() -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    for (path, text) in [("hidden/.wh..wh..opq", ""), ("hidden/two", ""), ("layer", "two\n")] {
        append(&mut layer, path, text);
    }
    layer.into_inner().unwrap()
}

fn append(layer: &mut tar::Builder<Vec<u8>>, path: &str, text: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(text.len() as u64);
    layer.append_data(&mut header, path, text.as_bytes()).unwrap();
}
