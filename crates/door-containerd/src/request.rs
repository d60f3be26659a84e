//! What the metadata of a request says: its namespace, its lease, where its events begin.

use gantry_primitives::Context;
use gantry_proto_containerd::header;
use gantry_types::Namespace;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::status;

/// On whose behalf a request is made: its namespace, and the lease that is to keep what it creates.
///
/// # Errors
/// As of [`namespace`].
pub(crate) fn context(metadata: &MetadataMap) -> Result<Context, Status> {
    let lease = text(metadata, header::LEASE)?.map(str::to_owned);
    Ok(Context { namespace: namespace(metadata)?, lease })
}

/// The namespace of a request.
///
/// # Errors
/// FailedPrecondition without one, InvalidArgument for what is none.
pub(crate) fn namespace(metadata: &MetadataMap) -> Result<Namespace, Status> {
    let Some(name) = text(metadata, header::NAMESPACE)? else {
        return Err(status::failed_precondition("namespace is required"));
    };
    name.parse().map_err(|error| status::invalid_argument(format!("namespace: {error}")))
}

/// The cursor after which the events of a subscription begin.
///
/// # Errors
/// InvalidArgument for what is no number.
pub(crate) fn since(metadata: &MetadataMap) -> Result<Option<u64>, Status> {
    let Some(cursor) = text(metadata, header::SINCE)? else { return Ok(None) };
    let cursor = cursor.parse().map_err(|_| {
        status::invalid_argument(format!("{}: {cursor:?} is no cursor of an event", header::SINCE))
    })?;
    Ok(Some(cursor))
}

/// The first value of that name; None if it is empty.
fn text<'a>(metadata: &'a MetadataMap, name: &str) -> Result<Option<&'a str>, Status> {
    let Some(value) = metadata.get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| status::invalid_argument(format!("{name} is no text")))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}
