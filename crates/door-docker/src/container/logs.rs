//! Logs.

use futures_util::stream;
use gantry_docker_api::{ApiVersion, Timestamp, media_type};
use gantry_engine::{LogRequest, LogStream};

use super::find;
use crate::failure::{Failure, chain};
use crate::http::{Answer, Body, Broken, Call, Outcome};

const V1_42: ApiVersion = ApiVersion::new(1, 42);

/// `GET /containers/{name}/logs`
pub(super) async fn logs(call: Call, name: &str) -> Outcome {
    let mut request = request(&call)?;
    let container = find(&call, name).await?;
    request.multiplexed = !container.record().options.process.tty;
    let log = call.door.engine.container_logs(&container, request).await?;
    let is_framed = container.record().options.process.tty || call.version < V1_42;
    let media_type = if is_framed { media_type::RAW_STREAM } else { media_type::MULTIPLEXED_STREAM };
    Ok(Answer::body(media_type, Body::stream(lines(log, call))))
}

/// What a request asks of a log.
fn request(call: &Call) -> Result<LogRequest, Failure> {
    let query = &call.query;
    let (stdout, stderr) = (query.is_set("stdout"), query.is_set("stderr"));
    if !stdout && !stderr {
        return Err(Failure::invalid("Bad parameters: you must choose at least one stream"));
    }
    Ok(LogRequest {
        stdout,
        stderr,
        since: time(query.text("since"))?,
        until: time(query.text("until"))?,
        // What is no number is all.
        tail: query.text("tail").parse().ok(),
        follow: query.is_set("follow"),
        timestamps: query.is_set("timestamps"),
        details: query.is_set("details"),
        multiplexed: false,
    })
}

/// A time in seconds, as clients send it; None for none, and for the beginning of time.
pub(crate) fn time(text: &str) -> Result<Option<jiff::Timestamp>, Failure> {
    if matches!(text, "" | "0") {
        return Ok(None);
    }
    let read = Timestamp::parse_unix(text).or_else(|| Timestamp::parse_rfc3339(text));
    let read = read.and_then(|time| jiff::Timestamp::from_nanosecond(time.as_nanoseconds()).ok());
    match read {
        Some(time) => Ok(Some(time)),
        None => Err(Failure::invalid(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
    }
}

/// The log as a body; it ends with the daemon, too.
fn lines(
    log: LogStream,
    call: Call,
) -> impl futures_util::Stream<Item = Result<bytes::Bytes, Broken>> + Send {
    stream::unfold(Some((log, call)), |state| async move {
        let (mut log, call) = state?;
        let next = tokio::select! {
            next = log.next() => next,
            () = call.door.stopping() => return None,
        };
        match next {
            Ok(Some(bytes)) => Some((Ok(bytes), Some((log, call)))),
            Ok(None) => None,
            Err(error) => Some((Err(Broken(chain(&error))), None)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_dates() {
        assert_eq!(time("").unwrap(), None);
        assert_eq!(time("0").unwrap(), None);
        assert_eq!(time("5.25").unwrap().unwrap().as_millisecond(), 5_250);
        assert_eq!(time("1970-01-01T00:00:05Z").unwrap().unwrap().as_second(), 5);
        assert!(time("bad").is_err());
    }
}
