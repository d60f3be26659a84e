//! What happens, as it happens, and what happened.
//!
//! The journal has a place for each event. A client that gives the last place that it knows, as `since=cursor:N`, gets exactly
//! what came after it, also of a daemon that was started anew meanwhile.

use gantry_docker_api::Filters;
use gantry_engine::{Event, EventKind, Events};
use jiff::Timestamp;

use crate::container::log_time;
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome, Sender};
use crate::into_api;

/// What a place in the journal begins with, in a query and in an event.
const CURSOR: &str = "cursor:";
/// A client that wants places sends this header, or this parameter.
const CURSOR_HEADER: &str = "x-gantry-cursor";
const CURSOR_PARAMETER: &str = "cursor";
/// Actions behind whose colon is what a client sent.
const WITH_DETAILS: [&str; 3] = ["exec_create", "exec_start", "health_status"];

/// Where events begin.
enum Since {
    Now,
    Time(Timestamp),
    Cursor(u64),
}

/// What of an event a client gets.
struct Telling {
    call: Call,
    filters: Filters,
    until: Option<Timestamp>,
    with_cursor: bool,
    separator: &'static str,
}

/// `GET /events`
pub(super) async fn events(call: Call) -> Outcome {
    let since = since(call.query.text("since"))?;
    let until = log_time(call.query.text("until"))?;
    if let (Since::Time(from), Some(to)) = (&since, until)
        && *from > to
    {
        let (from, to) = (call.query.text("since"), call.query.text("until"));
        return Err(Failure::invalid(format!("`since` time ({from}) cannot be after `until` time ({to})")));
    }
    let filters = call.filters()?;
    let engine = &call.door.engine;
    let (past, next) = match since {
        Since::Now => (Vec::new(), None),
        Since::Cursor(cursor) => (Vec::new(), Some(cursor)),
        Since::Time(from) => {
            let (past, next) = engine.past_events(from).await?;
            (past, Some(next))
        }
    };
    // From here on nothing is missed: a client does what it waits for when it has the head of the answer.
    let live = engine.events(next).await?;
    let with_cursor = next.is_some() && call.query.text("since").starts_with(CURSOR)
        || call.query.is_set(CURSOR_PARAMETER)
        || !call.header(CURSOR_HEADER).is_empty();
    let (media_type, separator) = into_api::event_media_type(call.header("accept"));
    let telling = Telling { call, filters, until, with_cursor, separator };
    Ok(Answer::stream(media_type, async move |sender| {
        for (envelope, event) in past {
            if !telling.tell(&sender, &event, envelope.time, envelope.cursor).await {
                return;
            }
        }
        telling.follow(sender, live).await;
    }))
}

fn since(text: &str) -> Result<Since, Failure> {
    if let Some(cursor) = text.strip_prefix(CURSOR) {
        let cursor =
            cursor.parse().map_err(|_| Failure::invalid(format!("{text:?} is no cursor of the journal")))?;
        return Ok(Since::Cursor(cursor));
    }
    match (text, log_time(text)?) {
        ("", _) => Ok(Since::Now),
        (_, time) => Ok(Since::Time(time.unwrap_or(Timestamp::UNIX_EPOCH))),
    }
}

impl Telling {
    /// Tells of one event, if the client asks for it; false if there are to be no more.
    async fn tell(&self, sender: &Sender, event: &Event, at: Timestamp, cursor: u64) -> bool {
        if self.until.is_some_and(|until| at > until) {
            return false;
        }
        if !matches(&self.filters, event) {
            return true;
        }
        let cursor = self.with_cursor.then_some(cursor);
        let told = into_api::event(event, at, cursor, self.call.version);
        let mut line = self.separator.as_bytes().to_vec();
        serde_json::to_writer(&mut line, &told).expect("the API's types are JSON");
        line.push(b'\n');
        sender.send(line).await
    }

    async fn follow(&self, sender: Sender, mut live: Events) {
        let over = async {
            match self.until {
                None => std::future::pending().await,
                Some(until) => {
                    let left = until.duration_since(Timestamp::now());
                    tokio::time::sleep(std::time::Duration::try_from(left).unwrap_or_default()).await;
                }
            }
        };
        tokio::pin!(over);
        loop {
            tokio::select! {
                biased;
                () = sender.left() => return,
                next = live.next() => match next {
                    Ok((envelope, event)) => {
                        if !self.tell(&sender, &event, envelope.time, envelope.cursor).await {
                            return;
                        }
                    }
                    // A client that is so slow learns that it has missed something.
                    Err(error) => return sender.broken(&error).await,
                },
                () = &mut over => return,
                () = self.call.door.stopping() => return,
            }
        }
    }
}

/// Whether an event is asked for.
fn matches(filters: &Filters, event: &Event) -> bool {
    let attribute = |key: &str| event.attributes.get(key).map(String::as_str);
    matches_action(filters, &event.action)
        && filters.matches_exactly("type", event.kind.as_str())
        && filters.matches_exactly("scope", "local")
        && filters.matches_labels("label", attribute)
        && [
            ("container", EventKind::Container),
            ("volume", EventKind::Volume),
            ("network", EventKind::Network),
            ("daemon", EventKind::Daemon),
        ]
        .into_iter()
        .all(|(name, kind)| {
            !is_given(filters, name) || event.kind == kind && matches_name(filters, name, event)
        })
        && (!is_given(filters, "image") || matches_image(filters, event))
        && !["plugin", "node", "service", "secret", "config"].into_iter().any(|name| is_given(filters, name))
}

fn is_given(filters: &Filters, name: &str) -> bool {
    filters.values(name).next().is_some()
}

fn matches_action(filters: &Filters, action: &str) -> bool {
    let is_asked = |wanted: &str| {
        wanted == action
            || WITH_DETAILS.contains(&wanted)
                && action.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(':'))
    };
    !is_given(filters, "event") || filters.values("event").any(is_asked)
}

/// By the beginning of a name or an id.
fn matches_name(filters: &Filters, name: &str, event: &Event) -> bool {
    let called = event.attributes.get("name").map_or("", String::as_str);
    filters.matches_start(name, &event.id) || filters.matches_start(name, called)
}

/// An image, or what was made of it; with or without its tag.
fn matches_image(filters: &Filters, event: &Event) -> bool {
    let key = if event.kind == EventKind::Image { "name" } else { "image" };
    let name = event.attributes.get(key).map_or("", String::as_str);
    let bare = match name.rsplit_once(':') {
        Some((bare, tag)) if !tag.contains('/') => bare,
        _ => name,
    };
    let is_id = event.kind == EventKind::Image && filters.matches_exactly("image", &event.id);
    is_id || filters.matches_exactly("image", name) || filters.matches_exactly("image", bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, action: &str) -> Event {
        let attributes = [("name", "web"), ("image", "r:5000/a:1"), ("k", "v")];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Event { kind, action: action.to_owned(), id: "abc".to_owned(), attributes }
    }

    #[test]
    fn filters_choose_events() {
        let start = event(EventKind::Container, "start");
        let exec = event(EventKind::Container, "exec_create: ls");
        for (text, of_start, of_exec) in [
            ("{}", true, true),
            (r#"{"event":["start"]}"#, true, false),
            (r#"{"event":["exec_create"]}"#, false, true),
            (r#"{"event":["exec"]}"#, false, false),
            (r#"{"type":["container"]}"#, true, true),
            (r#"{"type":["image"]}"#, false, false),
            (r#"{"container":["we"]}"#, true, true),
            (r#"{"container":["ab","x"]}"#, true, true),
            (r#"{"container":["b"]}"#, false, false),
            (r#"{"volume":["web"]}"#, false, false),
            (r#"{"image":["r:5000/a"]}"#, true, true),
            (r#"{"image":["r:5000/a:1"]}"#, true, true),
            (r#"{"image":["r"]}"#, false, false),
            (r#"{"label":["k=v"]}"#, true, true),
            (r#"{"label":["k=w"]}"#, false, false),
            (r#"{"plugin":["x"]}"#, false, false),
            (r#"{"nosuch":["x"]}"#, true, true),
        ] {
            let filters = Filters::parse(text).unwrap();
            assert_eq!((matches(&filters, &start), matches(&filters, &exec)), (of_start, of_exec), "{text}");
        }
    }

    #[test]
    fn events_begin_now_then_or_behind_a_place() {
        assert!(matches!(since(""), Ok(Since::Now)));
        assert!(matches!(since("0"), Ok(Since::Time(time)) if time == Timestamp::UNIX_EPOCH));
        assert!(matches!(since("cursor:7"), Ok(Since::Cursor(7))));
        assert!(since("cursor:x").is_err() && since("bad").is_err());
    }
}
