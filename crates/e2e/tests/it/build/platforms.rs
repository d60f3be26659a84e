//! Images of several platforms: what is shown, saved, loaded and removed of one.

use std::fs;

use gantry_e2e::images::{Compression, Image, Layer, Layout};
use gantry_e2e::{Docker, on_reference, require_engine};
use serde_json::Value;

use super::base::own;

/// The platforms of the image, and what each calls itself.
const PLATFORMS: [(&str, Option<&str>, &str); 3] = [
    ("amd64", None, "linux/amd64"),
    ("arm64", Some("v8"), "linux/arm64"),
    ("arm", Some("v7"), "linux/arm/v7"),
];

/// The image `multi:1` as an archive: a layer that all platforms share, and one of each.
fn multi() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(dir.path());
    let images = PLATFORMS.map(|(architecture, variant, _)| {
        let layers =
            [Layer::new().file("shared", 0o644, "shared"), Layer::new().file("own", 0o644, architecture)];
        Image::new(layers.map(|layer| (layer.bytes(), Compression::Gzip))).of_platform(architecture, variant)
    });
    layout.add_index("1", &images);
    let index = dir.path().join("index.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    value["manifests"][0]["annotations"]["io.containerd.image.name"] = "docker.io/library/multi:1".into();
    fs::write(&index, value.to_string()).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all(".", dir.path()).unwrap();
    archive.into_inner().unwrap()
}

/// The platforms of which everything is here.
fn available(docker: &Docker, image: &str) -> Vec<String> {
    let call = docker.docker(["image", "ls", "--tree"]);
    // The client's picture of it: a platform without a size is not here.
    let text = call.run().ok().text().to_owned();
    let mut found = Vec::new();
    let mut is_meant = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [mark, platform, _, size, ..] if ["├─", "└─"].contains(mark) => {
                if is_meant && *size != "0B" {
                    found.push((*platform).to_owned());
                }
            }
            [name, ..] => is_meant = without_colour(name) == image,
            [] => {}
        }
    }
    found
}

fn without_colour(text: &str) -> String {
    let mut out = String::new();
    let mut parts = text.split("\u{1b}[");
    out.push_str(parts.next().unwrap_or_default());
    parts.for_each(|part| out.push_str(part.split_once('m').map_or("", |(_, rest)| rest)));
    out
}

#[test]
fn a_platform_is_shown_saved_loaded_and_removed() {
    require_engine!("dockerd");
    let (_daemon, docker) = own("gt-plt");
    let dir = tempfile::tempdir().unwrap();
    let archive = multi();
    let load = || docker.docker(["load"]).stdin(&archive).run().ok();
    load();
    let inspect = |options: &[&str], name: &str| {
        let call = docker.docker(["image", "inspect"]).args(options).arg(name);
        call.run().ok().json()[0].clone()
    };
    let whole = inspect(&[], "multi:1");
    let arm = inspect(&["--platform", "linux/arm64"], "multi:1");
    assert_eq!((&whole["Architecture"], &arm["Architecture"]), (&"amd64".into(), &"arm64".into()));
    assert_ne!(whole["Id"], arm["Id"]);
    assert_eq!(
        (&arm["Descriptor"]["platform"]["variant"], &arm["Descriptor"]["digest"]),
        (&"v8".into(), &arm["Id"])
    );
    assert_eq!(whole["RepoDigests"], arm["RepoDigests"]);
    // The sizes of the index and of one platform, not of all.
    assert!(whole["Size"].as_u64().unwrap() < 3000, "{whole}");
    let ours = docker.gantry(["image", "inspect", "--platform", "linux/arm64", "multi:1"]).run().ok().json();
    assert_eq!(ours[0]["Id"], arm["Id"]);
    let missing =
        "image with reference multi:1 was found but does not provide the specified platform (linux/s390x)";
    for verb in [&["image", "inspect"][..], &["history"], &["save"]] {
        let call = docker.docker(verb).args(["--platform", "linux/s390x", "multi:1"]);
        call.run().fails().says(missing);
    }

    let saved = dir.path().join("saved.tar");
    let call = docker.docker(["save", "--platform", "linux/arm64", "--output"]).arg(&saved).arg("multi:1");
    call.run().ok();
    let one = fs::read(&saved).unwrap();
    docker.docker(["rmi", "multi:1"]).run().ok();
    assert_eq!(docker.docker(["load"]).stdin(&one).run().ok().text(), "Loaded image: multi:1");
    assert_eq!(available(&docker, "multi:1"), ["linux/arm64/v8"]);
    assert_eq!(inspect(&[], "multi:1")["Id"], arm["Id"]);
    docker.docker(["rmi", "multi:1"]).run().ok();

    load();
    let remove = |options: &[&str], platform: &str| {
        docker.docker(["image", "rm", "--platform", platform]).args(options).arg("multi:1").run()
    };
    remove(&[], "linux/arm64")
        .fails()
        .says("Content will be removed from all images referencing this variant");
    remove(&["--force"], "linux/s390x").says("was found but does not provide");
    assert_eq!(available(&docker, "multi:1").len(), 3);
    let said = remove(&["--force"], "linux/arm64").ok();
    assert_eq!(said.text(), format!("Deleted: {}", arm["Id"].as_str().unwrap()));
    remove(&["--force"], "linux/arm64").says("was found but does not provide");
    assert_eq!(available(&docker, "multi:1"), ["linux/amd64", "linux/arm/v7"]);
    load();
    assert_eq!(available(&docker, "multi:1").len(), 3);
    docker.gantry(["image", "rm", "--force", "--platform", "linux/arm64,linux/arm/v7", "multi:1"]).run().ok();
    assert_eq!(available(&docker, "multi:1"), ["linux/amd64"]);
    if !on_reference() {
        let container = docker.docker(["create", "--name", "uses", "multi:1", "/own"]).run().ok();
        remove(&["--force"], "linux/amd64").ok();
        assert!(available(&docker, "multi:1").is_empty());
        // What it was made of is kept with it.
        assert_eq!(docker.docker(["cp", "uses:/own", "-"]).run().ok().code(), 0);
        docker.docker(["rm", container.text()]).run().ok();
        docker
            .docker(["image", "rm", "--force", "--platform", "linux/amd64", "base:1"])
            .run()
            .fails()
            .says("it has no other platform");
    }
    docker.docker(["rmi", "multi:1"]).run().ok();
}
