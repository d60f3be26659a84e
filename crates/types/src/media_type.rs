//! Media types of images, OCI's and Docker's (image specification v1.1.1, media-types.md; Docker's schema 2).

/// An OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer of OCI, not compressed; `+gzip` and `+zstd` may follow.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer of OCI, compressed with gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer of OCI, compressed with zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// A layer of OCI that registries need not have.
pub const OCI_LAYER_NONDISTRIBUTABLE: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
/// `{}`.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Docker's index.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's layer, not compressed.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker's layer, compressed with gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker's layer, compressed with zstd.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
/// Docker's layer that registries need not have.
pub const DOCKER_LAYER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
/// Docker's first manifest, which nobody makes any more.
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// The same, signed.
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// How a layer is compressed, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// zstd (RFC 8878).
    Zstd,
}

/// What a media type stands for in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A list of manifests.
    Index,
    /// A manifest.
    Manifest,
    /// An image's configuration.
    Config,
    /// A layer of files.
    Layer(Compression),
    /// A layer of files that registries need not have.
    ForeignLayer(Compression),
    /// A manifest of Docker's schema 1: refused, by name.
    Schema1,
    /// Anything else: an artifact's.
    Other,
}

/// What `media_type` stands for.
pub fn kind(media_type: &str) -> Kind {
    match media_type {
        OCI_INDEX | DOCKER_INDEX => return Kind::Index,
        OCI_MANIFEST | DOCKER_MANIFEST => return Kind::Manifest,
        OCI_CONFIG | DOCKER_CONFIG => return Kind::Config,
        DOCKER_SCHEMA1 | DOCKER_SCHEMA1_SIGNED => return Kind::Schema1,
        _ => {}
    }
    for (prefix, separator, foreign) in [
        (OCI_LAYER, '+', false),
        (OCI_LAYER_NONDISTRIBUTABLE, '+', true),
        (DOCKER_LAYER, '.', false),
        (DOCKER_LAYER_FOREIGN, '.', true),
    ] {
        let Some(rest) = media_type.strip_prefix(prefix) else { continue };
        let compression = match rest.strip_prefix(separator) {
            None if rest.is_empty() => Compression::None,
            Some("gzip") => Compression::Gzip,
            Some("zstd") => Compression::Zstd,
            _ => continue,
        };
        return if foreign { Kind::ForeignLayer(compression) } else { Kind::Layer(compression) };
    }
    Kind::Other
}

impl Kind {
    /// Whether it is a layer, of either sort.
    pub fn is_layer(self) -> bool {
        matches!(self, Self::Layer(_) | Self::ForeignLayer(_))
    }

    /// Whether its content refers to other content by descriptors.
    pub fn has_children(self) -> bool {
        matches!(self, Self::Index | Self::Manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_what_the_specification_says() {
        let check = |text: &str, expect: Kind| assert_eq!(kind(text), expect, "{text}");
        check(OCI_INDEX, Kind::Index);
        check(DOCKER_MANIFEST, Kind::Manifest);
        check(OCI_LAYER, Kind::Layer(Compression::None));
        check(OCI_LAYER_ZSTD, Kind::Layer(Compression::Zstd));
        check(DOCKER_LAYER_GZIP, Kind::Layer(Compression::Gzip));
        check(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            Kind::ForeignLayer(Compression::Gzip),
        );
        check("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", Kind::Other);
        check("application/vnd.oci.image.layer.v1.tarx", Kind::Other);
        check(DOCKER_SCHEMA1_SIGNED, Kind::Schema1);
        check("", Kind::Other);
    }
}
