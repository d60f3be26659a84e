//! `POST /images/prune`

use gantry_docker_api::image::ImagePruneResponse;
use gantry_docker_api::{Filters, List, Timestamp};
use gantry_engine::image::ImagePrune;

use super::remove;
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};

/// Removes images that nothing uses: by default those without a name.
pub(super) async fn prune(call: &Call) -> Outcome {
    let filters = call.filters()?;
    filters.check(&["dangling", "label", "label!", "until"])?;
    let which = ImagePrune {
        all: filters.boolean("dangling")? == Some(false),
        until: until(&filters)?,
        labels: labels(&filters, "label"),
        without_labels: labels(&filters, "label!"),
    };
    let pruned = call.door.engine.image_prune(which).await?;
    let items: Vec<_> = pruned.removed.into_iter().map(remove::item).collect();
    let images_deleted = if items.is_empty() { List::default() } else { items.into() };
    Ok(Answer::json(&ImagePruneResponse { images_deleted, space_reclaimed: pruned.bytes }))
}

/// The point in time of the filter `until`.
///
/// # Errors
/// 400 for what is none, and for several.
pub(crate) fn until(filters: &Filters) -> Result<Option<jiff::Timestamp>, Failure> {
    let mut values = filters.values("until");
    let Some(text) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::invalid("more than one until filter specified"));
    }
    let time = Timestamp::parse(text, Timestamp::now(), &jiff::tz::TimeZone::UTC)?;
    let time = jiff::Timestamp::from_nanosecond(time.as_nanoseconds());
    time.map(Some).map_err(|error| Failure::invalid(error.to_string()))
}

fn labels(filters: &Filters, name: &str) -> Vec<(String, Option<String>)> {
    let pair = |text: &str| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    };
    filters.values(name).map(pair).collect()
}
