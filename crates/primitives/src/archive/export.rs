//! Exporting: images of the namespace become an archive that is an OCI layout and docker's format at once.

use std::collections::BTreeMap;
use std::io::Write;

use gantry_types::image::{Index, Manifest};
use gantry_types::media_type::{self, Kind};
use gantry_types::platform::Matcher;
use gantry_types::{Descriptor, Digest, Reference};

use super::docker::DockerImage;
use super::{ANNOTATION_NAME, ANNOTATION_REF, INDEX, LAYOUT, MANIFEST};
use crate::progress::{Reporter, Stage};
use crate::spans::{blocking_within, span};
use crate::store::Inner;
use crate::{Context, Error, Result, Store};

/// The deepest nesting of indexes.
const MAX_DEPTH: usize = 8;
/// How much is copied at once.
const COPY_BYTES: usize = 256 << 10;

/// One image of an archive.
#[derive(Debug, Clone)]
pub struct ExportImage {
    /// What it is.
    pub target: Descriptor,
    /// Its names in the archive.
    pub names: Vec<String>,
}

/// What is exported.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// The images.
    pub images: Vec<ExportImage>,
    /// Which manifests of an index are written; none means all.
    pub platforms: Matcher,
    /// Whether manifests that are not in the store are left out of the archive, and stay in its indexes.
    pub skip_missing: bool,
    /// Whether foreign layers are left out.
    pub skip_foreign: bool,
    /// Whether docker's list is left out.
    pub skip_docker: bool,
    /// Who is told how it goes.
    pub reporter: Reporter,
}

/// What goes into the archive.
#[derive(Default)]
struct Plan {
    blobs: BTreeMap<Digest, Descriptor>,
    docker: Vec<DockerImage>,
}

impl Plan {
    /// Lists an image for docker: once, with all its names.
    fn list(&mut self, image: DockerImage) {
        let same =
            |other: &&mut DockerImage| (&other.config, &other.layers) == (&image.config, &image.layers);
        match self.docker.iter_mut().find(same) {
            Some(known) => {
                let names = known.repo_tags.get_or_insert_default();
                for name in image.repo_tags.unwrap_or_default() {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
            None => self.docker.push(image),
        }
    }
}

impl Store {
    /// Writes an archive of images to `out`. The same images give the same bytes.
    ///
    /// # Errors
    /// NotFound for content that is not in the store; those of `out`.
    pub async fn export(
        &self,
        context: Context,
        out: Box<dyn Write + Send>,
        request: ExportRequest,
    ) -> Result<()> {
        let span = span!("export", images = request.images.len());
        self.blocking(move |inner| {
            request.reporter.step(Stage::Begun, "export");
            blocking_within(&span, || inner.write_archive(&context, out, &request))?;
            request.reporter.step(Stage::Done, "export");
            Ok(())
        })
        .await
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::File { action: "writing", path: "the archive".into(), source: error }
}

impl Inner {
    fn write_archive(
        &self,
        context: &Context,
        out: Box<dyn Write + Send>,
        request: &ExportRequest,
    ) -> Result<()> {
        let mut plan = Plan::default();
        let mut index =
            Index { schema_version: 2, media_type: media_type::OCI_INDEX.into(), ..Index::default() };
        for image in &request.images {
            self.plan_export(context, &image.target, &image.names, request, 0, &mut plan)?;
            index.manifests.extend(named(image));
        }
        // Buffered: tar writes headers of 512 bytes.
        let mut archive = tar::Builder::new(std::io::BufWriter::with_capacity(COPY_BYTES, out));
        let mut directory = String::new();
        append_directory(&mut archive, "blobs/")?;
        for descriptor in plan.blobs.values() {
            let algorithm = descriptor.digest.algorithm().name();
            if directory != algorithm {
                append_directory(&mut archive, &format!("blobs/{algorithm}/"))?;
                directory = algorithm.to_owned();
            }
            let blob = self.content.open_blob(&descriptor.digest)?;
            let mut header = header(tar::EntryType::Regular, 0o444, blob.size());
            archive.append_data(&mut header, blob_path(&descriptor.digest), blob).map_err(failed)?;
            request.reporter.content(Stage::Complete, descriptor, None, descriptor.size);
        }
        let documents = [
            (INDEX, serde_json::to_vec(&index)),
            (LAYOUT, serde_json::to_vec(&serde_json::json!({ "imageLayoutVersion": "1.0.0" }))),
            (MANIFEST, serde_json::to_vec(&plan.docker)),
        ];
        for (name, bytes) in documents {
            if name == MANIFEST && (request.skip_docker || plan.docker.is_empty()) {
                continue;
            }
            let bytes = bytes.map_err(|error| Error::Invalid { what: name, reason: error.to_string() })?;
            let mut header = header(tar::EntryType::Regular, 0o444, bytes.len() as u64);
            archive.append_data(&mut header, name, bytes.as_slice()).map_err(failed)?;
        }
        archive.into_inner().and_then(|mut out| out.flush()).map_err(failed)
    }

    fn plan_export(
        &self,
        context: &Context,
        descriptor: &Descriptor,
        names: &[String],
        request: &ExportRequest,
        depth: usize,
        plan: &mut Plan,
    ) -> Result<()> {
        if depth > MAX_DEPTH {
            let (count, limit) = (depth as u64, MAX_DEPTH as u64);
            return Err(Error::Limit { what: "nested indexes", count, limit });
        }
        let refuse = |source| Error::Document { digest: descriptor.digest.clone(), source };
        match descriptor.kind() {
            Kind::Index => {
                let bytes = self.document(context, descriptor)?;
                let index = Index::read(&bytes, &descriptor.media_type).map_err(refuse)?;
                let wanted: Vec<&Descriptor> = index
                    .manifests
                    .iter()
                    .filter(|child| request.platforms.rank(child.platform.as_ref()).is_some())
                    .collect();
                if wanted.is_empty() && !index.manifests.is_empty() {
                    let platforms: Vec<String> =
                        request.platforms.0.iter().map(ToString::to_string).collect();
                    let name = format!("{} in {}", platforms.join(", "), descriptor.digest);
                    return Err(Error::NotFound { what: "image for platform", name });
                }
                let named = docker_choice(&wanted, &request.platforms);
                for child in wanted {
                    let missing = request.skip_missing && !self.content_is_there(&child.digest)?;
                    if !missing {
                        let names = if Some(&child.digest) == named { names } else { &[] };
                        self.plan_export(context, child, names, request, depth + 1, plan)?;
                    }
                }
            }
            Kind::Manifest => {
                let bytes = self.document(context, descriptor)?;
                let manifest = Manifest::read(&bytes, &descriptor.media_type).map_err(refuse)?;
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    let foreign = request.skip_foreign && matches!(blob.kind(), Kind::ForeignLayer(_));
                    if !foreign {
                        self.open_content(context, &blob.digest)?;
                        plan.blobs.insert(blob.digest.clone(), blob.clone());
                    }
                }
                if manifest.config.kind() == Kind::Config && (depth == 0 || !names.is_empty()) {
                    plan.list(docker_image(&manifest, names));
                }
            }
            _ => drop(self.open_content(context, &descriptor.digest)?),
        }
        plan.blobs.insert(descriptor.digest.clone(), descriptor.clone());
        Ok(())
    }
}

/// Which manifest has the names in docker's list, whose images have one platform: the one that suits best.
fn docker_choice<'a>(wanted: &[&'a Descriptor], platforms: &Matcher) -> Option<&'a Digest> {
    let host = Matcher::host();
    let matcher = if platforms.0.is_empty() { &host } else { platforms };
    let ranked = wanted.iter().filter_map(|child| Some((matcher.rank(child.platform.as_ref())?, child)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, child)| &child.digest)
}

fn docker_image(manifest: &Manifest, names: &[String]) -> DockerImage {
    let familiar =
        |name: &String| Reference::parse(name).map_or_else(|_| name.clone(), |name| name.familiar());
    DockerImage {
        config: blob_path(&manifest.config.digest),
        repo_tags: Some(names.iter().map(familiar).collect()),
        layers: Some(manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect()),
    }
}

/// An image as `index.json` lists it: once for each name.
fn named(image: &ExportImage) -> Vec<Descriptor> {
    if image.names.is_empty() {
        return vec![image.target.clone()];
    }
    let named = image.names.iter().map(|name| {
        let mut target = image.target.clone();
        let tag = Reference::parse(name).ok().and_then(|name| name.tag().map(str::to_owned));
        target.annotations.insert(ANNOTATION_NAME.into(), name.clone());
        target.annotations.insert(ANNOTATION_REF.into(), tag.unwrap_or_else(|| name.clone()));
        target
    });
    named.collect()
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn append_directory(archive: &mut tar::Builder<impl Write>, name: &str) -> Result<()> {
    let mut header = header(tar::EntryType::Directory, 0o755, 0);
    archive.append_data(&mut header, name, std::io::empty()).map_err(failed)
}
