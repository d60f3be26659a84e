//! Events.

use gantry_docker_api::event::{Actor, Event as ApiEvent};
use gantry_docker_api::{ApiVersion, media_type as types};
use gantry_engine::Event;
use jiff::Timestamp;

/// An event, for a client of `version`; with its place in the journal if the client wants to go on from there.
pub(crate) fn event(event: &Event, at: Timestamp, cursor: Option<u64>, version: ApiVersion) -> ApiEvent {
    let told = ApiEvent {
        kind: event.kind.as_str().to_owned(),
        action: event.action.clone(),
        actor: Actor { id: event.id.clone(), attributes: event.attributes.clone().into() },
        scope: "local".to_owned(),
        time: at.as_second(),
        time_nano: i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX),
        gantry_cursor: cursor.map(|cursor| format!("cursor:{cursor}")).unwrap_or_default(),
        ..ApiEvent::default()
    };
    told.for_version(version)
}

/// The media type of a stream of events that suits a client best, and what stands before each.
pub(crate) fn media_type(accept: &str) -> (&'static str, &'static str) {
    let mut wanted = accept.split(',').map(|entry| entry.split(';').next().unwrap_or_default().trim());
    let known = wanted.find_map(|wanted| match wanted {
        types::JSON_SEQ => Some((types::JSON_SEQ, "\u{1e}")),
        types::NDJSON => Some((types::NDJSON, "")),
        types::JSONL => Some((types::JSONL, "")),
        types::JSON | "*/*" => Some((types::JSON, "")),
        _ => None,
    });
    known.unwrap_or((types::JSON, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_type_is_taken() {
        assert_eq!(media_type("").0, types::JSON);
        assert_eq!(media_type("text/html, application/x-ndjson;q=0.5, application/json").0, types::NDJSON);
        assert_eq!(media_type("application/json-seq"), (types::JSON_SEQ, "\u{1e}"));
    }
}
