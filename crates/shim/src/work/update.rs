//! Update.

use gantry_types::oci::Resources;

use super::Subject;
use crate::failure::Failure;
use crate::worker::Done;

/// Changes a container's limits; `resources` are OCI resources in JSON.
pub(crate) fn update(subject: &Subject, resources: &[u8]) -> Result<Done, Failure> {
    if let Some(external) = subject.external() {
        external.update(resources)?;
        return Ok(Done::default());
    }
    let resources: Resources = gantry_types::oci::from_json(resources)
        .map_err(|error| Failure::invalid(format!("resources: {error}")))?;
    gantry_runtime::update(&subject.host(), &subject.id, &resources)?;
    Ok(Done::default())
}
