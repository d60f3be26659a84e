//! What is done to processes that run: signals to all of them, freezing, and starts that hooks follow.

use gantry_runtime::Scope;

use super::Subject;
use crate::failure::Failure;
use crate::worker::Done;

/// Signals a container's first process, or all of them.
pub(crate) fn kill(subject: &Subject, signal: i32, scope: Scope) -> Result<Done, Failure> {
    match subject.external() {
        Some(external) => external.kill(signal, scope)?,
        None => gantry_runtime::kill(&subject.host(), &subject.id, signal, scope)?,
    }
    Ok(Done::default())
}

/// Freezes a container.
pub(crate) fn freeze(subject: &Subject) -> Result<Done, Failure> {
    match subject.external() {
        Some(external) => external.simple("pause")?,
        None => gantry_runtime::freeze(&subject.host(), &subject.id)?,
    }
    Ok(Done::default())
}

/// Thaws a container.
pub(crate) fn thaw(subject: &Subject) -> Result<Done, Failure> {
    match subject.external() {
        Some(external) => external.simple("resume")?,
        None => gantry_runtime::thaw(&subject.host(), &subject.id)?,
    }
    Ok(Done::default())
}

/// Starts a created container, and runs the hooks that follow.
pub(crate) fn start(subject: &Subject) -> Result<Done, Failure> {
    match subject.external() {
        Some(external) => external.simple("start")?,
        None => gantry_runtime::start(&subject.host(), &subject.id, None)?,
    }
    Ok(Done::default())
}
