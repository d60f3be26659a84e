//! `events`.

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use clap::Args;
use gantry_docker_api::Timestamp;
use gantry_docker_api::event::Event;
use gantry_docker_api::limits::MAX_MESSAGE;
use http_body_util::BodyExt as _;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::client::Call;
use crate::command::Verb;
use crate::container::list::filters;
use crate::container::logs::time;
use crate::container::prune::with_filters;
use crate::format::row::unescape;
use crate::format::template::{Html, Mode, Template, json};
use crate::output;
use crate::session::Session;

/// What a position in Gantry's journal begins with.
const CURSOR: &str = "cursor:";

/// Get real time events from the server
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Format output using a custom template: 'json', 'TEMPLATE'
    #[arg(long, value_name = "STRING")]
    format: Option<String>,
    /// Show all events created since timestamp, or after a cursor of Gantry's (`{{.gantryCursor}}`)
    #[arg(long, value_name = "STRING")]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "STRING")]
    until: Option<String>,
}

impl Verb for Events {
    async fn run(self, session: &Session) -> Result<u8> {
        let template = match self.format.as_deref() {
            None | Some("" | "json" | "{{json .}}") => None,
            Some(format) => Some(Template::parse(&unescape(format))?),
        };
        let is_json = self.format.as_deref().is_some_and(|format| matches!(format, "json" | "{{json .}}"));
        let since = match self.since.as_deref() {
            // Gantry's own: it goes through as it is.
            Some(cursor) if cursor.starts_with(CURSOR) => Some(cursor.to_owned()),
            since => time("since", since)?,
        };
        // Where each event stands in Gantry's journal, for whom it may mean something; other engines skip the question.
        let wants_cursor = is_json || self.format.as_deref().is_some_and(|format| format.contains("ursor"));
        let call = Call::get("/events")
            .query_flag("cursor", wants_cursor)
            .query_some("since", since)
            .query_some("until", time("until", self.until.as_deref())?);
        let response = session.client()?.send(with_filters(call, &filters(&self.filter)?)).await?;
        let mut body = response.into_body();
        let mut buffer = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.context("the events broke off")?.into_data() else { continue };
            buffer.extend_from_slice(&data);
            let mut stream = serde_json::Deserializer::from_slice(&buffer).into_iter::<Value>();
            loop {
                let value = match stream.next() {
                    Some(Ok(value)) => value,
                    Some(Err(error)) if error.is_eof() => break,
                    Some(Err(error)) => return Err(error).context("an event is not understood"),
                    None => break,
                };
                output::line(match &template {
                    Some(template) => template.render(&value, Mode::Values)?,
                    None if is_json => json(&value, Html::Plain),
                    None => line(&serde_json::from_value(value).context("an event is not understood")?),
                });
            }
            let read = stream.byte_offset();
            drop(stream);
            let _ = buffer.split_to(read);
            if buffer.len() > MAX_MESSAGE {
                bail!("an event is longer than {MAX_MESSAGE} bytes");
            }
        }
        Ok(0)
    }
}

/// An event as a person reads it.
fn line(event: &Event) -> String {
    let time = match (event.time_nano, event.time) {
        (0, 0) => String::new(),
        (0, seconds) => local(Timestamp::new(seconds, 0)),
        (nano, _) => {
            let subsec = u32::try_from(nano.rem_euclid(1_000_000_000)).unwrap_or(0);
            local(Timestamp::new(nano.div_euclid(1_000_000_000), subsec))
        }
    };
    let attributes: Vec<String> = event
        .actor
        .attributes
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let attributes =
        if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!("{time} {} {} {}{attributes}", event.kind, event.action, event.actor.id).trim_start().to_owned()
}

/// RFC 3339 with nine digits, in our own zone.
fn local(time: Timestamp) -> String {
    let Ok(time) = jiff::Timestamp::from_nanosecond(time.as_nanoseconds()) else { return String::new() };
    let time = time.to_zoned(TimeZone::system());
    let offset = match time.strftime("%:z").to_string() {
        utc if utc == "+00:00" => "Z".to_owned(),
        offset => offset,
    };
    format!("{}{offset}", time.strftime("%Y-%m-%dT%H:%M:%S.%9f"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let mut event = Event { kind: "container".into(), action: "start".into(), ..Event::default() };
        event.actor.id = "c1".into();
        event.actor.attributes.insert("image".into(), "b".into());
        event.actor.attributes.insert("name".into(), "n".into());
        event.actor.attributes.insert("empty".into(), String::new());
        assert_eq!(line(&event), "container start c1 (image=b, name=n)");
        event.time_nano = 1_700_000_000_000_000_001;
        assert!(line(&event).contains(".000000001"), "{}", line(&event));
    }
}
