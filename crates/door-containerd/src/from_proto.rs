//! From the wire to our types. What does not fit is the client's mistake.

use gantry_primitives::{Container, Opaque, Sandbox, Timestamp};
use gantry_proto_containerd::{Any, FieldMask, containers, types};
use gantry_types::{Descriptor, Digest, Mount, Namespace, Platform};
use tonic::Status;

use crate::status;

/// A digest.
pub(crate) fn digest(text: &str) -> Result<Digest, Status> {
    Digest::parse(text).map_err(|error| status::invalid_argument(format!("digest {text:?}: {error}")))
}

/// A digest that may be left out.
pub(crate) fn optional_digest(text: &str) -> Result<Option<Digest>, Status> {
    if text.is_empty() { Ok(None) } else { digest(text).map(Some) }
}

/// A namespace that is named in a message.
pub(crate) fn namespace(name: &str) -> Result<Namespace, Status> {
    name.parse().map_err(|error| status::invalid_argument(format!("namespace: {error}")))
}

/// A length or an offset; negative ones are what clients send for none.
pub(crate) fn length(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

/// A message that has to be there.
pub(crate) fn required<T>(what: &str, value: Option<T>) -> Result<T, Status> {
    value.ok_or_else(|| status::invalid_argument(format!("{what} is required")))
}

/// What is to be changed; nothing stands for everything that can be.
pub(crate) fn fields(mask: Option<FieldMask>) -> Vec<String> {
    mask.map(|mask| mask.paths).unwrap_or_default()
}

/// A descriptor with a digest.
pub(crate) fn descriptor(given: types::Descriptor) -> Result<Descriptor, Status> {
    let size = u64::try_from(given.size)
        .map_err(|_| status::invalid_argument(format!("descriptor: a size of {}", given.size)))?;
    let descriptor = Descriptor::new(given.media_type, digest(&given.digest)?, size);
    Ok(Descriptor { annotations: given.annotations, ..descriptor })
}

/// A platform.
pub(crate) fn platform(given: types::Platform) -> Platform {
    let types::Platform { os, architecture, variant, os_version, os_features } = given;
    Platform { os, architecture, variant, os_version, os_features }.normalized()
}

/// A list of mounts.
pub(crate) fn mounts(given: Vec<types::Mount>) -> Vec<Mount> {
    let mount =
        |types::Mount { r#type, source, target, options }| Mount { kind: r#type, source, target, options };
    given.into_iter().map(mount).collect()
}

/// A time that may be left out.
pub(crate) fn time(given: Option<gantry_proto_containerd::Timestamp>) -> Result<Option<Timestamp>, Status> {
    let Some(given) = given else { return Ok(None) };
    let wrong = || status::invalid_argument(format!("a time of {} s and {} ns", given.seconds, given.nanos));
    let time = crate::time::from_proto(given).ok_or_else(wrong)?;
    Timestamp::try_from(time).map(Some).map_err(|_| wrong())
}

/// A value of a type that is not looked at.
pub(crate) fn opaque(given: Any) -> Opaque {
    Opaque { type_url: given.type_url, value: given.value.into() }
}

/// The record of a container; its times are the store's to say.
pub(crate) fn container(given: containers::Container) -> Container {
    let runtime = given.runtime.unwrap_or_default();
    Container {
        id: given.id,
        labels: given.labels,
        image: given.image,
        runtime: runtime.name,
        runtime_options: runtime.options.map(opaque),
        spec: given.spec.map(opaque),
        snapshotter: given.snapshotter,
        snapshot_key: given.snapshot_key,
        extensions: given.extensions.into_iter().map(|(name, value)| (name, opaque(value))).collect(),
        sandbox: given.sandbox,
        created: Timestamp::UNIX_EPOCH,
        updated: Timestamp::UNIX_EPOCH,
    }
}

/// The record of a sandbox; its times are the store's to say.
pub(crate) fn sandbox(given: types::Sandbox) -> Sandbox {
    let runtime = given.runtime.unwrap_or_default();
    Sandbox {
        labels: given.labels,
        runtime: runtime.name,
        runtime_options: runtime.options.map(opaque),
        spec: given.spec.map(opaque),
        sandboxer: given.sandboxer,
        extensions: given.extensions.into_iter().map(|(name, value)| (name, opaque(value))).collect(),
        ..Sandbox::new(given.sandbox_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_keep_what_they_say() {
        let given = types::Descriptor {
            media_type: "a/b".into(),
            digest: Digest::sha256(b"x").to_string(),
            size: 1,
            annotations: [("k".to_owned(), "v".to_owned())].into(),
        };
        let ours = descriptor(given.clone()).unwrap();
        assert_eq!(crate::into_proto::descriptor(&ours), given);
    }

    #[test]
    fn records_keep_all_that_clients_say() {
        let any = |name: &str| Any { type_url: format!("host/{name}"), value: vec![0, 255].into() };
        let text = |text: &str| text.to_owned();
        let options = Some(any("options"));
        let container = containers::Container {
            id: text("c"),
            labels: [(text("k"), text("v"))].into(),
            image: text("i"),
            runtime: Some(containers::container::Runtime { name: text("r"), options: options.clone() }),
            spec: Some(any("spec")),
            snapshotter: text("s"),
            snapshot_key: text("key"),
            created_at: crate::into_proto::timestamp(Timestamp::UNIX_EPOCH),
            updated_at: crate::into_proto::timestamp(Timestamp::UNIX_EPOCH),
            extensions: [(text("e"), any("x"))].into(),
            sandbox: text("pod"),
        };
        assert_eq!(crate::into_proto::container(super::container(container.clone())), container);
        let sandbox = types::Sandbox {
            sandbox_id: text("s"),
            runtime: Some(types::sandbox::Runtime { name: text("r"), options }),
            spec: None,
            labels: container.labels.clone(),
            created_at: container.created_at,
            updated_at: container.updated_at,
            extensions: container.extensions.clone(),
            sandboxer: text("podsandbox"),
        };
        assert_eq!(crate::into_proto::sandbox(super::sandbox(sandbox.clone())), sandbox);
    }

    #[test]
    fn what_is_no_descriptor_is_refused() {
        let good = types::Descriptor { digest: Digest::sha256(b"x").to_string(), ..Default::default() };
        for wrong in [
            types::Descriptor { digest: String::new(), ..good.clone() },
            types::Descriptor { digest: "sha256:12".into(), ..good.clone() },
            types::Descriptor { size: -1, ..good.clone() },
        ] {
            assert_eq!(descriptor(wrong).unwrap_err().code(), tonic::Code::InvalidArgument);
        }
        assert_eq!(optional_digest("").unwrap(), None);
        assert_eq!(length(-1), 0);
    }
}
