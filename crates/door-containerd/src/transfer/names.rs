//! The names that a destination gives to what arrives.

use std::sync::Arc;

use gantry_primitives::{Breadth, Image, Naming, Timestamp};
use gantry_proto_containerd::transfer::{ImageReference, ImageStore};
use gantry_types::{Descriptor, Digest, Labels, labels};
use tonic::Status;

use crate::status;

/// A name goes when the image that this label names does.
const BACK_REFERENCE: &str = "containerd.io/gc.bref.image";
/// What ties a name to another.
pub(super) const TIES: [&str; 2] = [BACK_REFERENCE, labels::GC_EXPIRE];
/// Where the index of an archive has the whole name of an image.
const WHOLE_NAME: &str = "io.containerd.image.name";
/// Where it has its tag, or its whole name.
const TAG: &str = "org.opencontainers.image.ref.name";

/// A name that an image gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) labels: Labels,
}

/// The names of an image with that digest, the main one first.
///
/// Prefixes without a digest have no meaning but in archives, which name their images themselves. Names beside the main
/// one last as long as that does.
///
/// # Errors
/// NotFound if there is none.
pub(super) fn names(destination: &ImageStore, digest: &Digest, now: Timestamp) -> Result<Vec<Named>, Status> {
    let main = &destination.name;
    let mut names = Vec::new();
    if !main.is_empty() {
        names.push(Named { name: main.clone(), labels: destination.labels.clone() });
    }
    for reference in &destination.extra_references {
        let name = match (reference.is_prefix, reference.add_digest) {
            (true, false) => continue,
            (_, true) => format!("{}@{digest}", reference.name),
            (false, false) => reference.name.clone(),
        };
        names.push(Named { name, labels: extra_labels(destination, now) });
    }
    if names.is_empty() {
        return Err(status::not_found("no image name found"));
    }
    Ok(names)
}

/// The names that images of an archive get: by what the archive's index says of them, and a prefix for who has a tag only.
pub(super) fn of_archive(destination: &ImageStore) -> Naming {
    let prefixes = destination.extra_references.iter().filter(|reference| reference.is_prefix);
    let prefixes: Vec<ImageReference> = prefixes.cloned().collect();
    Arc::new(move |image| prefixes.iter().flat_map(|prefix| with_prefix(prefix, image)).collect())
}

/// The names that the index of an archive gets: the main one, and the others that are whole; an `@` at the end stands for its digest.
pub(super) fn of_index(destination: &ImageStore) -> Vec<String> {
    let main = Some(destination.name.clone()).filter(|name| !name.is_empty());
    let extra = destination.extra_references.iter().filter(|reference| !reference.is_prefix);
    let extra = extra.map(|reference| match reference.add_digest {
        true => format!("{}@", reference.name),
        false => reference.name.clone(),
    });
    main.into_iter().chain(extra).collect()
}

/// Which manifests of an index a destination wants.
pub(super) fn breadth(destination: &ImageStore) -> Breadth {
    let manifest_limit = usize::try_from(destination.manifest_limit).unwrap_or(usize::MAX);
    Breadth { all_metadata: destination.all_metadata, manifest_limit }
}

/// The images whose names have a prefix: those with a tag, and with `add_digest` those with a digest; with
/// `skip_named_digest` the latter only where there is no tag for the same.
pub(super) fn of_prefix(prefix: &ImageReference, images: Vec<Image>) -> Vec<Image> {
    let rest = |image: &Image| image.name.strip_prefix(prefix.name.as_str()).map(str::to_owned);
    let (mut named, digested): (Vec<Image>, Vec<Image>) = images
        .into_iter()
        .filter(|image| rest(image).is_some_and(|rest| rest.starts_with([':', '@'])))
        .partition(|image| rest(image).is_some_and(|rest| !rest.contains('@')));
    if prefix.add_digest {
        let is_named = |image: &Image| named.iter().any(|other| other.target.digest == image.target.digest);
        let more: Vec<Image> =
            digested.into_iter().filter(|image| !(prefix.skip_named_digest && is_named(image))).collect();
        named.extend(more);
    }
    named
}

fn with_prefix(prefix: &ImageReference, image: &Descriptor) -> Vec<String> {
    let annotation = |key| image.annotations.get(key).filter(|text| !text.is_empty());
    let named = match annotation(WHOLE_NAME) {
        // It is whole, or of no use.
        Some(name) => translated(prefix, name).filter(|translated| translated == name),
        None => annotation(TAG).and_then(|tag| translated(prefix, tag)),
    };
    let by_digest = || format!("{}@{}", prefix.name, image.digest);
    match named {
        None if prefix.add_digest => vec![by_digest()],
        None => Vec::new(),
        Some(name) if prefix.add_digest && !prefix.skip_named_digest => vec![name, by_digest()],
        Some(name) => vec![name],
    }
}

/// A tag with the prefix; a whole name as it is, if it has the prefix or need not.
fn translated(prefix: &ImageReference, name: &str) -> Option<String> {
    if prefix.name.is_empty() {
        return None;
    }
    if !name.contains(['/', ':', '@']) {
        return Some(format!("{}:{name}", prefix.name));
    }
    let rest = name.strip_prefix(prefix.name.as_str());
    let has_prefix = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']));
    (prefix.allow_overwrite || has_prefix).then(|| name.to_owned())
}

pub(super) fn extra_labels(destination: &ImageStore, now: Timestamp) -> Labels {
    let mut labels = destination.labels.clone();
    if !destination.name.is_empty() {
        labels.insert(BACK_REFERENCE.to_owned(), destination.name.clone());
        labels.insert(labels::GC_EXPIRE.to_owned(), now.to_string());
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(name: &str) -> ImageReference {
        ImageReference { name: name.into(), is_prefix: true, ..Default::default() }
    }

    #[test]
    fn images_of_an_archive_are_named_by_it() {
        let check = |prefix: ImageReference, key: &str, value: &str, expected: &[&str]| {
            let mut image = Descriptor::of("", b"");
            image.annotations.insert(key.into(), value.into());
            let destination = ImageStore { extra_references: vec![prefix], ..Default::default() };
            assert_eq!(of_archive(&destination)(&image), expected, "{key} {value}");
        };
        let any = ImageReference { allow_overwrite: true, ..prefix("import-1") };
        check(any.clone(), TAG, "v1", &["import-1:v1"]);
        check(any.clone(), TAG, "a.b/c:d", &["a.b/c:d"]);
        check(any.clone(), WHOLE_NAME, "a.b/c:d", &["a.b/c:d"]);
        check(any, WHOLE_NAME, "v1", &[]);
        check(prefix("a.b/c"), WHOLE_NAME, "a.b/c:d", &["a.b/c:d"]);
        check(prefix("a.b/c"), WHOLE_NAME, "a.b/cc:d", &[]);
        check(prefix("a.b/c"), "other", "x", &[]);
        let digest = Digest::sha256(b"");
        let with = ImageReference { add_digest: true, ..prefix("a.b/c") };
        check(with.clone(), "other", "x", &[&format!("a.b/c@{digest}")]);
        check(with.clone(), TAG, "d", &["a.b/c:d", &format!("a.b/c@{digest}")]);
        check(ImageReference { skip_named_digest: true, ..with }, TAG, "d", &["a.b/c:d"]);
    }

    #[test]
    fn images_of_a_prefix_are_those_with_its_tags_and_digests() {
        let image = |name: String, bytes: &[u8]| {
            Image::new(name, Descriptor::of("application/x", bytes), Labels::new())
        };
        let digest = |bytes: &[u8]| Digest::sha256(bytes);
        let (both, only) = (format!("a/b@{}", digest(b"1")), format!("a/b@{}", digest(b"2")));
        let check = |prefix: ImageReference, expected: &[&str]| {
            let images = vec![
                image("a/b:1".into(), b"1"),
                image("a/bc:1".into(), b"1"),
                image("a/b/c:1".into(), b"1"),
                image(both.clone(), b"1"),
                image(only.clone(), b"2"),
            ];
            let found = of_prefix(&prefix, images);
            let names: Vec<&str> = found.iter().map(|image| image.name.as_str()).collect();
            assert_eq!(names, expected);
        };
        check(prefix("a/b"), &["a/b:1"]);
        let with = ImageReference { add_digest: true, ..prefix("a/b") };
        check(with.clone(), &["a/b:1", &both, &only]);
        check(ImageReference { skip_named_digest: true, ..with }, &["a/b:1", &only]);
        check(prefix("x"), &[]);
    }

    #[test]
    fn the_index_of_an_archive_gets_whole_names_only() {
        let whole =
            |name: &str, add_digest| ImageReference { name: name.into(), add_digest, ..Default::default() };
        let destination = ImageStore {
            name: "i".into(),
            extra_references: vec![prefix("a"), whole("b:1", false), whole("c", true)],
            ..Default::default()
        };
        assert_eq!(of_index(&destination), ["i", "b:1", "c@"]);
        assert!(of_index(&ImageStore::default()).is_empty());
    }

    #[test]
    fn names_beside_the_main_one_last_as_long_as_that() {
        let digest = Digest::sha256(b"");
        let destination = ImageStore {
            name: "a/b:c".into(),
            extra_references: vec![
                ImageReference {
                    name: "a/b".into(),
                    is_prefix: true,
                    add_digest: true,
                    ..Default::default()
                },
                ImageReference { name: "x/y".into(), is_prefix: true, ..Default::default() },
                ImageReference { name: "x/y:z".into(), ..Default::default() },
            ],
            ..Default::default()
        };
        let found = names(&destination, &digest, Timestamp::UNIX_EPOCH).unwrap();
        let only: Vec<&str> = found.iter().map(|named| named.name.as_str()).collect();
        assert_eq!(only, ["a/b:c", &format!("a/b@{digest}"), "x/y:z"]);
        assert!(found[0].labels.is_empty());
        assert_eq!(found[1].labels[BACK_REFERENCE], "a/b:c");
        assert_eq!(found[1].labels[labels::GC_EXPIRE], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn an_image_without_a_name_is_not_stored() {
        let error = names(&ImageStore::default(), &Digest::sha256(b""), Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(error.code(), tonic::Code::NotFound);
    }
}
