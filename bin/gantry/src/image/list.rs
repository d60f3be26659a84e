//! `images`.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use gantry_docker_api::image::ImageSummary;

use super::name;
use crate::client::Call;
use crate::command::Verb;
use crate::container::list::{Length, filters};
use crate::container::prune::with_filters;
use crate::format::words::{ago, local_time, short_id, size, size_fine};
use crate::format::{Listing, Row};
use crate::output;
use crate::session::Session;

/// List images
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Show all images (default hides intermediate images)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json', 'TEMPLATE'
    #[arg(long, value_name = "STRING")]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Only images of this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

/// The words above the columns.
pub(crate) const HEADER: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

const NONE: &str = "<none>";

impl Verb for Images {
    async fn run(self, session: &Session) -> Result<u8> {
        let mut filters = filters(&self.filter)?;
        if let Some(name) = &self.name {
            filters.add("reference", name);
        }
        let call = with_filters(Call::get("/images/json").query_flag("all", self.all), &filters);
        let images: gantry_docker_api::List<ImageSummary> = session.client()?.json(call).await?;
        let own = session.config()?.format("imagesFormat");
        let format = self.format.as_deref().or(own.filter(|_| !self.quiet));
        let length = if self.no_trunc { Length::Full } else { Length::Short };
        let needs_digest = self.digests || format.is_some_and(|format| format.contains(".Digest"));
        let rows: Vec<Row> = images.iter().flat_map(|image| rows(image, length, needs_digest)).collect();
        let table = if self.digests {
            "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
        } else {
            "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
        };
        let format = if self.quiet && self.format.is_none() { Some("{{.ID}}") } else { format };
        output::print(&Listing { format, default: table, header: HEADER }.render(&rows)?);
        Ok(0)
    }
}

/// The rows of an image: one for each of its names.
pub(crate) fn rows(image: &ImageSummary, length: Length, has_digests: bool) -> Vec<Row> {
    let named =
        |(repository, tag, digest): (String, String, String)| row(image, length, repository, tag, digest);
    names(image, has_digests).into_iter().map(named).collect()
}

fn names(image: &ImageSummary, has_digests: bool) -> Vec<(String, String, String)> {
    let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut digests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in image.repo_tags.iter().filter(|name| !name.starts_with(NONE)) {
        let (repository, tag) = name::split(name);
        tags.entry(repository).or_default().push(tag);
    }
    for name in image.repo_digests.iter().filter(|name| !name.starts_with(NONE)) {
        let (repository, digest) = name::split(name);
        digests.entry(repository).or_default().push(digest);
    }
    let mut names = Vec::new();
    for (repository, tags) in tags {
        // What has a tag has no line for its digest alone.
        let known = digests.remove(&repository).filter(|_| has_digests);
        let known = known.unwrap_or_else(|| vec![NONE.to_owned()]);
        for tag in tags {
            names.extend(known.iter().map(|digest| (repository.clone(), tag.clone(), digest.clone())));
        }
    }
    for (repository, digests) in digests {
        if has_digests {
            names.extend(digests.into_iter().map(|digest| (repository.clone(), NONE.to_owned(), digest)));
        } else {
            names.push((repository, NONE.to_owned(), String::new()));
        }
    }
    if names.is_empty() {
        names.push((NONE.to_owned(), NONE.to_owned(), NONE.to_owned()));
    }
    names
}

fn row(image: &ImageSummary, length: Length, repository: String, tag: String, digest: String) -> Row {
    let known = |number: i64, text: String| if number < 0 { "N/A".to_owned() } else { text };
    let unique = if image.shared_size < 0 { -1 } else { image.size - image.shared_size };
    Row::new()
        .with("ID", if length == Length::Short { short_id(&image.id) } else { &image.id })
        .with("Repository", repository)
        .with("Tag", tag)
        .with("Digest", digest)
        .with("CreatedSince", if image.created == 0 { "N/A".to_owned() } else { ago(image.created) })
        .with("CreatedAt", if image.created == 0 { "N/A".to_owned() } else { local_time(image.created) })
        .with("Size", size(image.size))
        .with("Containers", known(image.containers, image.containers.to_string()))
        .with("VirtualSize", size_fine(image.size))
        .with("SharedSize", known(image.shared_size, size_fine(image.shared_size)))
        .with("UniqueSize", known(unique, size_fine(unique)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_row_for_each_name() {
        let mut image = ImageSummary::default();
        assert_eq!(names(&image, false), [(NONE.into(), NONE.into(), NONE.into())]);
        image.repo_tags = vec!["h:5/a:1".to_owned(), "h:5/a:2".to_owned()].into();
        image.repo_digests = vec!["h:5/a@sha256:1".to_owned(), "b@sha256:2".to_owned()].into();
        let texts = |has_digests| {
            let text = |(a, b, c): (String, String, String)| format!("{a} {b} {c}");
            names(&image, has_digests).into_iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(texts(false), ["h:5/a 1 <none>", "h:5/a 2 <none>", "b <none> "]);
        assert_eq!(texts(true), ["h:5/a 1 sha256:1", "h:5/a 2 sha256:1", "b <none> sha256:2"]);
    }
}
