//! Applying a stored layer to what mounts show.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use gantry_layer::Whiteouts;
use gantry_snapshot::{ApplyTarget, Format, SnapshotNumber};
use gantry_types::{Descriptor, Mount, media_type};

use super::view::{self, open_directory};
use crate::pull::pipeline::{self, Unpacked};
use crate::spans::{blob_span, blocking_within};
use crate::store::Inner;
use crate::{Context, Error, Result, Store};

/// How much of a layer is read at once.
const READ_BYTES: usize = 256 << 10;

impl Inner {
    /// Applies a stored layer to a directory.
    pub(crate) fn apply_blob(&self, blob: &gantry_content::Blob, target: &ApplyTarget) -> Result<Unpacked> {
        let whiteouts = match target.format {
            Format::Overlay { user_xattr } => Whiteouts::Overlay { userxattr: user_xattr },
            Format::Plain => Whiteouts::Delete,
        };
        let lower: Vec<_> = target.lower.iter().map(AsFd::as_fd).collect();
        let target = gantry_layer::Target { root: target.upper.as_fd(), whiteouts, lower: &lower };
        let feed = |give: &mut dyn FnMut(bytes::Bytes) -> bool| {
            let mut offset = 0;
            while offset < blob.size() {
                let chunk = crate::content::read_blob(blob, offset, READ_BYTES)?;
                offset += chunk.len() as u64;
                if chunk.is_empty() || !give(chunk) {
                    break;
                }
            }
            Ok(())
        };
        Ok(pipeline::run(&target, &self.layer_limits(), feed)?.1)
    }

    /// What `mounts` would show, to write to without mounting: the upper directory of an overlay, the source of a bind mount.
    fn target_of(&self, mounts: &[Mount]) -> Result<(ApplyTarget, Option<SnapshotNumber>)> {
        let [mount] = mounts else {
            return Err(Error::Unimplemented(format!("applying a layer to {} mounts", mounts.len())));
        };
        if !mount.target.is_empty() {
            return Err(Error::Unimplemented("applying a layer to a mount below the root".to_owned()));
        }
        if mount.options.iter().any(|option| option == "ro") {
            return Err(Error::Invalid { what: "mounts", reason: "are read-only".to_owned() });
        }
        match mount.kind.as_str() {
            "bind" | "rbind" => {
                let upper = open_directory(&mount.source)?;
                Ok((ApplyTarget { upper, lower: Vec::new(), format: Format::Plain }, None))
            }
            "overlay" => self.overlay_target(mount),
            other => Err(Error::Unimplemented(format!("applying a layer to a mount of type {other:?}"))),
        }
    }

    fn overlay_target(&self, mount: &Mount) -> Result<(ApplyTarget, Option<SnapshotNumber>)> {
        let parts = view::parts(mount)?;
        let upper = parts.upper.ok_or_else(|| Error::Invalid {
            what: "mounts",
            reason: "have no upperdir: a view cannot be written to".to_owned(),
        })?;
        let lower = parts.lower.iter().map(|path| open_directory(path)).collect::<Result<Vec<_>>>()?;
        let number = if lower.is_empty() { self.number_of(Path::new(&upper)) } else { None };
        let upper = open_directory(&upper)?;
        Ok((ApplyTarget { upper, lower, format: Format::Overlay { user_xattr: parts.user_xattr } }, number))
    }

    /// The snapshot whose files lie in `path`, if it is one of ours.
    fn number_of(&self, path: &Path) -> Option<SnapshotNumber> {
        let driver = self.drivers.get("overlayfs")?;
        let rest = path.strip_prefix(driver.root()).ok()?;
        let mut parts = rest.components().map(|part| part.as_os_str().to_str());
        let number = parts.next()??.parse().ok()?;
        (parts.next()?? == "fs" && parts.next().is_none()).then_some(SnapshotNumber(number))
    }
}

impl Store {
    /// Applies a layer of the namespace's content to `mounts`, and gives the descriptor of the uncompressed layer. With
    /// `sync`, its files are durable then.
    ///
    /// # Errors
    /// NotFound for the content; InvalidArgument for a malformed layer or mounts that cannot be written to; ResourceExhausted
    /// for limits; Unimplemented for other mounts than one bind mount or overlay.
    pub async fn diff_apply(
        &self,
        context: Context,
        descriptor: Descriptor,
        mounts: Vec<Mount>,
        sync: bool,
    ) -> Result<Descriptor> {
        let inner = Arc::clone(&self.inner);
        let span = blob_span!("apply", descriptor);
        let work = move || {
            let blob = inner.open_content(&context, &descriptor.digest)?;
            let (target, number) = inner.target_of(&mounts)?;
            let unpacked = blocking_within(&span, || inner.apply_blob(&blob, &target))?;
            if sync {
                rustix::fs::syncfs(&target.upper).map_err(Error::errno("syncing", "the layer"))?;
            }
            let size = unpacked.applied.archive_bytes;
            if let Some(number) = number {
                inner.implied.put(number, unpacked.applied.implied);
            }
            Ok(Descriptor::new(media_type::OCI_LAYER, unpacked.diff_id.0, size))
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::panicked("applying a layer"))?
    }
}
