use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use gantry_testkit::Bundle;
use serde_json::json;
use sha2::{Digest, Sha256};

/// The name of the image that [`image_archive`] holds.
pub const IMAGE: &str = "docker.io/library/busybox:latest";

/// A busybox image in the format of `docker save`, which all engines load.
///
/// # Panics
/// When it cannot be made.
pub fn image_archive() -> &'static Path {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    ARCHIVE.get_or_init(build)
}

fn build() -> PathBuf {
    // Kept for the life of the process, and removed with the isolated /tmp.
    let dir = tempfile::tempdir().expect("a temporary directory").keep();
    let bundle = Bundle::new();
    tar(&bundle.rootfs(), &dir.join("layer.tar"), &["."]);
    let layer = fs::read(dir.join("layer.tar")).expect("the layer");
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))] },
        "history": [{ "created_by": "gantry-e2e" }],
    })
    .to_string();
    let name = format!("{}.json", hex(config.as_bytes()));
    fs::write(dir.join(&name), &config).expect("the configuration");
    let manifest = json!([{ "Config": name, "RepoTags": ["busybox:latest"], "Layers": ["layer.tar"] }]);
    fs::write(dir.join("manifest.json"), manifest.to_string()).expect("the manifest");
    let archive = dir.join("image.tar");
    tar(&dir, &archive, &["manifest.json", &name, "layer.tar"]);
    archive
}

fn tar(dir: &Path, archive: &Path, names: &[&str]) {
    let status = Command::new("tar")
        .args(["--numeric-owner", "--owner=0", "--group=0", "-cf"])
        .arg(archive)
        .arg("-C")
        .arg(dir)
        .args(names)
        .status()
        .expect("tar runs");
    assert!(status.success(), "tar of {}: {status}", dir.display());
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
