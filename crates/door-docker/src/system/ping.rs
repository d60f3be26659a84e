//! Whether the engine answers, and what clients have to know before anything else.

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderName, Method};

use crate::http::{Answer, Call};

/// The classic builder: BuildKit's protocol is not spoken.
const BUILDER_VERSION: &str = "1";

/// `GET` and `HEAD /_ping`.
pub(super) fn ping(call: &Call) -> Answer {
    let answer = if call.method == Method::HEAD { Answer::text("") } else { Answer::text("OK") };
    answer
        .header(HeaderName::from_static("builder-version"), BUILDER_VERSION)
        .header(HeaderName::from_static("swarm"), "inactive")
        .header(CACHE_CONTROL, "no-cache, no-store, must-revalidate")
        .header(PRAGMA, "no-cache")
}
