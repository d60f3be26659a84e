use gantry_primitives::{Context, Holder, Image, PullRequest, Timestamp, Unpack};
use gantry_proto_containerd::transfer::{ImageStore, OciRegistry, UnpackConfiguration};
use gantry_types::platform::Matcher;
use gantry_types::{Labels, labels};
use tonic::Status;

use super::progress::Display;
use super::{TransferService, names, registry};
use crate::from_proto;
use crate::status::OrStatus as _;

/// How long what was pulled is kept for the names that come after.
const LEASE_SECONDS: i64 = 3600;

impl TransferService {
    /// From a registry to the store.
    pub(super) async fn pull(
        &self,
        context: &Context,
        from: OciRegistry,
        to: ImageStore,
        display: &Display,
    ) -> Result<(), Status> {
        let reference = registry::reference(&from)?;
        let access = self.access.borrow().clone();
        let access = registry::access(&from, &context.namespace, &self.streams, &access)?;
        display.line(format!("Resolving from OCI Registry ({reference})"));
        // Most pulls give one name, which the pull itself does; others depend on what arrives.
        let is_plain = to.extra_references.is_empty() && !to.name.is_empty();
        let request = PullRequest {
            reference: reference.clone(),
            names: if is_plain { vec![to.name.clone()] } else { Vec::new() },
            labels: to.labels.clone(),
            platforms: Matcher(to.platforms.iter().cloned().map(from_proto::platform).collect()),
            breadth: names::breadth(&to),
            unpack: self.unpacks(&to.unpacks),
            holder: Holder::Containerd(context.namespace.clone()),
            access,
            reporter: display.reporter(&reference.to_string()),
        };
        display.line(format!("Pulling from OCI Registry ({reference})"));
        display.image("fetching image content", &reference.to_string(), None);
        if is_plain {
            let pulled = self.store.pull(context.clone(), request).await.or_status()?;
            for image in &pulled.images {
                display.image("saved", &image.name, Some(&image.target));
            }
        } else {
            let lease = self.lease(context).await?;
            let result = self.pull_named(&lease.context, request, &to, display).await;
            lease.end(self).await;
            result?;
        }
        display.line(format!("Completed pull from OCI Registry ({reference})"));
        Ok(())
    }

    async fn pull_named(
        &self,
        context: &Context,
        request: PullRequest,
        to: &ImageStore,
        display: &Display,
    ) -> Result<(), Status> {
        let pulled = self.store.pull(context.clone(), request).await.or_status()?;
        for named in names::names(to, &pulled.target.digest, Timestamp::now())? {
            let image = Image::new(named.name, pulled.target.clone(), named.labels);
            self.save(context, image, display).await?;
        }
        Ok(())
    }

    /// Gives an image its name, or has the name mean it from now on.
    pub(super) async fn save(
        &self,
        context: &Context,
        image: Image,
        display: &Display,
    ) -> Result<(), Status> {
        let holder = Holder::Containerd(context.namespace.clone());
        let image = self.store.image_put(context.clone(), holder, image).await.or_status()?;
        display.image("saved", &image.name, Some(&image.target));
        Ok(())
    }

    /// Where to unpack. As with containerd, a snapshotter that there is not is passed over.
    pub(super) fn unpacks(&self, wanted: &[UnpackConfiguration]) -> Vec<Unpack> {
        let known = wanted.iter().filter(|unpack| {
            let name = &unpack.snapshotter;
            let is_known = name.is_empty() || self.snapshotters.contains(name);
            if !is_known {
                tracing::warn!(snapshotter = name, "an image is not unpacked: there is no such snapshotter");
            }
            is_known
        });
        let unpack = |unpack: &UnpackConfiguration| {
            let platform = unpack.platform.clone().map(from_proto::platform);
            let platform = platform.map_or_else(Matcher::host, |platform| Matcher(vec![platform]));
            Unpack { snapshotter: unpack.snapshotter.clone(), platform }
        };
        known.map(unpack).collect()
    }

    /// A lease that keeps what arrives until it has its names: the request's own, or one for the meantime.
    async fn lease(&self, context: &Context) -> Result<Meantime, Status> {
        if context.lease.is_some() {
            return Ok(Meantime { context: context.clone(), is_ours: false });
        }
        let expires = Timestamp::now().as_second().saturating_add(LEASE_SECONDS);
        let expires = Timestamp::from_second(expires).unwrap_or(Timestamp::MAX);
        let labels = Labels::from([(labels::GC_EXPIRE.to_owned(), expires.to_string())]);
        let id = crate::leases::random_id()?;
        let lease = self.store.lease_create(context.namespace.clone(), id, labels).await.or_status()?;
        Ok(Meantime { context: context.with_lease(lease.id), is_ours: true })
    }
}

/// A context with a lease.
struct Meantime {
    context: Context,
    is_ours: bool,
}

impl Meantime {
    async fn end(self, service: &TransferService) {
        let Context { namespace, lease: Some(id) } = self.context else { return };
        if self.is_ours
            && let Err(error) = service.store.lease_delete(namespace, id, false).await
        {
            let error = gantry_primitives::chain(&error);
            tracing::warn!(error, "the lease of a transfer stays until it expires");
        }
    }
}
