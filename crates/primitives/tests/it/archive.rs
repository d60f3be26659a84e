//! Archives out and in.

use std::io::Write;
use std::process::Command;
use std::sync::{Arc, Mutex};

use gantry_primitives::progress::Reporter;
use gantry_primitives::{Breadth, ExportImage, ExportRequest, Holder, ImportRequest, Unpack};
use gantry_testkit::{Need, require};
use gantry_types::platform::Matcher;
use gantry_types::{ErrorKind, Labels};

use crate::harness::{Fixture, context, request};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn import_request() -> ImportRequest {
    ImportRequest {
        platforms: Matcher::default(),
        naming: ImportRequest::own_names(),
        breadth: Breadth::default(),
        compress: false,
        index_names: Vec::new(),
        labels: Labels::new(),
        unpack: vec![Unpack { snapshotter: String::new(), platform: Matcher::host() }],
        holder: Holder::Docker,
        reporter: Reporter::default(),
    }
}

async fn export(fixture: &Fixture, sample: &str) -> (String, Vec<u8>) {
    let test = context("test");
    let pulled = fixture.store.pull(test.clone(), request(sample, "")).await.expect("a pull");
    let image = ExportImage { target: pulled.target, names: vec![pulled.images[0].name.clone()] };
    let sink = Sink::default();
    let wanted = ExportRequest {
        images: vec![image],
        platforms: Matcher::host(),
        skip_missing: false,
        skip_foreign: false,
        skip_docker: false,
        reporter: Reporter::default(),
    };
    fixture.store.export(test, Box::new(sink.clone()), wanted).await.expect("an export");
    let bytes = std::mem::take(&mut *sink.0.lock().expect("no panic"));
    (pulled.images[0].name.clone(), bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_imported_the_same() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let (from, to) = (Fixture::new(), Fixture::new());
    for sample in ["busybox", "everything", "multi"] {
        let (name, bytes) = export(&from, sample).await;
        let again = export(&from, sample).await.1;
        assert!(bytes == again, "{sample}: two exports differ");
        let source = Box::new(std::io::Cursor::new(bytes));
        let imported = to.store.import(context("test"), source, import_request()).await.unwrap();
        let names: Vec<&str> = imported.images.iter().map(|image| image.name.as_str()).collect();
        assert_eq!(names, [name.as_str()]);
        let (one, other) = (
            from.store.image_get(context("test"), name.clone()).await.unwrap(),
            to.store.image_get(context("test"), name).await.unwrap(),
        );
        assert_eq!(one.target.digest, other.target.digest);
    }
    assert_eq!(to.store.collect().await.unwrap().removed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_of_an_archive_is_named_by_its_digest_on_demand() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let (from, to) = (Fixture::new(), Fixture::new());
    let bytes = export(&from, "busybox").await.1;
    let index_names = vec!["whole:1".to_owned(), "digested@".to_owned()];
    let request = ImportRequest { index_names, ..import_request() };
    let source = Box::new(std::io::Cursor::new(bytes));
    let imported = to.store.import(context("test"), source, request).await.unwrap();
    for name in ["whole:1".to_owned(), format!("digested@{}", imported.index.digest)] {
        let image = to.store.image_get(context("test"), name).await.unwrap();
        assert_eq!(image.target.digest, imported.index.digest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_reads_and_writes_the_same_archives() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let (from, to) = (Fixture::new(), Fixture::new());
    let (_, bytes) = export(&from, "busybox").await;
    let scratch = tempfile::tempdir().unwrap();
    let ours = scratch.path().join("ours.tar");
    std::fs::write(&ours, bytes).unwrap();
    for (number, form) in ["docker-archive", "oci-archive"].into_iter().enumerate() {
        let theirs = scratch.path().join(format!("theirs{number}.tar"));
        let status = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet"])
            .arg(format!("{form}:{}", ours.display()))
            .arg(format!("{form}:{}:example.com/theirs/{number}:1", theirs.display()))
            .status()
            .unwrap();
        assert!(status.success(), "{form}");
        let source = Box::new(std::fs::File::open(&theirs).unwrap());
        let imported = to.store.import(context("test"), source, import_request()).await.unwrap();
        assert_eq!(imported.images[0].name, format!("example.com/theirs/{number}:1"), "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_image_is_refused_and_leaves_nothing() {
    require!(Need::Root);
    let fixture = Fixture::new();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    archive.append_data(&mut header, "blobs/sha256/x", &b"abc"[..]).unwrap();
    let bytes = archive.into_inner().unwrap();
    let source = Box::new(std::io::Cursor::new(bytes));
    let error = fixture.store.import(context("test"), source, import_request()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    fixture.store.collect().await.unwrap();
    assert_eq!(fixture.blob_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_not_what_its_name_says_is_refused() {
    require!(Need::Root);
    let fixture = Fixture::new();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    let name = format!("blobs/sha256/{}", "0".repeat(64));
    archive.append_data(&mut header, name, &b"abc"[..]).unwrap();
    let source = Box::new(std::io::Cursor::new(archive.into_inner().unwrap()));
    let error = fixture.store.import(context("test"), source, import_request()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert_eq!(fixture.blob_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2023_25153_documents_of_an_archive_are_bounded() {
    require!(Need::Root);
    let fixture = Fixture::new();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    let size = gantry_types::image::MAX_DOCUMENT_BYTES + 1;
    header.set_size(size);
    archive.append_data(&mut header, "index.json", std::io::Read::take(std::io::repeat(b' '), size)).unwrap();
    let source = Box::new(std::io::Cursor::new(archive.into_inner().unwrap()));
    let error = fixture.store.import(context("test"), source, import_request()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_dockers_archives_are_compressed_on_demand() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let (from, to) = (Fixture::new(), Fixture::new());
    let (name, bytes) = export(&from, "plain").await;
    // Without the layout it is docker's alone.
    let docker = without(&bytes, &["index.json", "oci-layout"]);
    let types = async |compress: bool| {
        let wanted = ImportRequest { compress, ..import_request() };
        let source = Box::new(std::io::Cursor::new(docker.clone()));
        to.store.import(context("test"), source, wanted).await.unwrap();
        let image = to.store.image_get(context("test"), name.clone()).await.unwrap();
        let manifest = to.store.content_reader(context("test"), image.target.digest).await.unwrap();
        let manifest: serde_json::Value =
            serde_json::from_slice(&manifest.read(0, 1 << 20).await.unwrap()).unwrap();
        let layers = manifest["layers"].as_array().unwrap().clone();
        let field = |layer: &serde_json::Value, key: &str| layer[key].as_str().unwrap().to_owned();
        layers.iter().map(|layer| (field(layer, "mediaType"), field(layer, "digest"))).collect::<Vec<_>>()
    };
    let plain = types(false).await;
    assert!(plain.iter().all(|(kind, _)| kind.ends_with("diff.tar")), "{plain:?}");
    let compressed = types(true).await;
    assert!(compressed.iter().all(|(kind, _)| kind.ends_with("diff.tar.gzip")), "{compressed:?}");
    assert_eq!(types(true).await, compressed);
    // It is unpacked to the same snapshots: what was there before is all there is.
    let snapshots = to.store.snapshot_list(context("test"), String::new(), Vec::new()).await.unwrap();
    assert_eq!(snapshots.len(), plain.len());
}

/// The archive without these files.
fn without(archive: &[u8], names: &[&str]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(archive).entries().expect("an archive") {
        let entry = entry.expect("an archive");
        let path = entry.path().expect("an archive").into_owned();
        if !names.iter().any(|name| path.as_os_str() == *name) {
            out.append(&entry.header().clone(), entry).expect("an archive");
        }
    }
    out.into_inner().expect("an archive")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_lists_each_image_once_for_docker_and_needs_a_platform() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let fixture = Fixture::new();
    let mut wanted = request("multi", "");
    wanted.platforms = Matcher::default();
    let pulled = fixture.store.pull(context("test"), wanted).await.unwrap();
    let export = async |names: &[&str], platforms: &[&str]| {
        let image =
            |name: &&str| ExportImage { target: pulled.target.clone(), names: vec![(*name).to_owned()] };
        let sink = Sink::default();
        let wanted = ExportRequest {
            images: names.iter().map(image).collect(),
            platforms: Matcher(platforms.iter().map(|name| name.parse().unwrap()).collect()),
            skip_missing: false,
            skip_foreign: false,
            skip_docker: false,
            reporter: Reporter::default(),
        };
        fixture.store.export(context("test"), Box::new(sink.clone()), wanted).await?;
        let bytes = std::mem::take(&mut *sink.0.lock().expect("no panic"));
        Ok::<_, gantry_primitives::Error>(docker_list(&bytes))
    };
    let both = export(&["a.test/b:1", "a.test/b:2"], &[]).await.unwrap();
    assert_eq!(both.len(), 1, "{both:?}");
    assert_eq!(both[0]["RepoTags"], serde_json::json!(["a.test/b:1", "a.test/b:2"]));
    let other = export(&["a.test/b:1"], &["linux/arm64"]).await.unwrap();
    assert_eq!(other[0]["RepoTags"], serde_json::json!(["a.test/b:1"]));
    assert_ne!(other[0]["Config"], both[0]["Config"]);
    let missing = export(&["a.test/b:1"], &["linux/s390x"]).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

fn docker_list(archive: &[u8]) -> Vec<serde_json::Value> {
    for entry in tar::Archive::new(archive).entries().expect("an archive") {
        let entry = entry.expect("an archive");
        if entry.path().expect("an archive").as_os_str() == "manifest.json" {
            return serde_json::from_reader(entry).expect("an archive");
        }
    }
    Vec::new()
}
