//! Messages of long operations: pulls, pushes, builds, loads and imports answer a stream of these.

use serde_json::Value;

use crate::wire::wire;

wire! {
    /// One message. On the wire each is followed by CR LF.
    pub struct Message {
        /// What a build prints.
        omit "stream" stream: String,
        omit "status" status: String,
        omit "progressDetail" progress_detail: Option<Progress>,
        /// The progress bar as text.
        omit "progress" progress: String,
        /// The layer, or the tag, that it is about.
        omit "id" id: String,
        omit "from" from: String,
        omit "time" time: i64,
        omit "timeNano" time_nano: i64,
        /// The error that ended it.
        omit "errorDetail" error_detail: Option<MessageError>,
        /// The same as text.
        omit "error" error: String,
        /// A value for programs, such as the built image's id.
        omit "aux" aux: Option<Value>,
    }
}

wire! {
    /// How far something is.
    pub struct Progress {
        omit "current" current: i64,
        omit "total" total: i64,
        /// Seconds since 1970.
        omit "start" start: i64,
        omit "hidecounts" hide_counts: bool,
        /// What is counted; bytes if empty.
        omit "units" units: String,
    }
}

wire! {
    /// An error in a stream.
    pub struct MessageError {
        omit "code" code: i64,
        omit "message" message: String,
    }
}

impl Message {
    /// A status line.
    #[must_use]
    pub fn status(status: impl Into<String>) -> Self {
        Self { status: status.into(), ..Self::default() }
    }

    /// A status line about a layer, without progress: `progressDetail` is `{}`, as Docker's are.
    #[must_use]
    pub fn of_layer(id: impl Into<String>, status: impl Into<String>) -> Self {
        Self {
            status: status.into(),
            id: id.into(),
            progress_detail: Some(Progress::default()),
            ..Self::default()
        }
    }

    /// How far a layer is.
    #[must_use]
    pub fn progress(id: impl Into<String>, status: impl Into<String>, current: i64, total: i64) -> Self {
        Self {
            progress_detail: Some(Progress { current, total, ..Progress::default() }),
            ..Self::of_layer(id, status)
        }
    }

    /// Output of a build.
    #[must_use]
    pub fn stream(text: impl Into<String>) -> Self {
        Self { stream: text.into(), ..Self::default() }
    }

    /// A value for programs.
    #[must_use]
    pub fn aux(value: Value) -> Self {
        Self { aux: Some(value), ..Self::default() }
    }

    /// The error that ends a stream.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self::error_with_code(0, message)
    }

    /// The same with a code: a build's is the exit status of the command.
    #[must_use]
    pub fn error_with_code(code: i64, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { error: message.clone(), error_detail: Some(MessageError { code, message }), ..Self::default() }
    }
}

wire! {
    /// The body of every answer that is an error.
    pub struct ErrorResponse {
        put "message" message: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_as_docker_does() {
        for (message, text) in [
            (
                Message::of_layer("a1", "Pull complete"),
                r#"{"status":"Pull complete","progressDetail":{},"id":"a1"}"#,
            ),
            (
                Message::progress("a1", "Downloading", 1, 2),
                r#"{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"a1"}"#,
            ),
            (Message::error("no"), r#"{"errorDetail":{"message":"no"},"error":"no"}"#),
            (Message::stream("Step 1/1"), r#"{"stream":"Step 1/1"}"#),
        ] {
            assert_eq!(serde_json::to_string(&message).unwrap(), text);
            assert_eq!(serde_json::from_str::<Message>(text).unwrap(), message);
        }
    }
}
