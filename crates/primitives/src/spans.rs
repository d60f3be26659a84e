//! Spans of the traces: which operation was part of which, how long it took, and what went wrong.
//!
//! Whoever collects them asks for the target [`SPANS`]. Where nobody does, a span is a look at a flag, and its fields are not made.

use tracing::{Instrument as _, Span};

use crate::{Result, chain};

/// The target of all spans, and of nothing else.
pub const SPANS: &str = "gantry::span";

/// A span of that name with those fields, and a place for what went wrong.
macro_rules! span {
    ($name:literal $(, $($fields:tt)*)?) => {
        tracing::info_span!(
            target: $crate::SPANS,
            $name,
            otel.status_description = tracing::field::Empty
            $(, $($fields)*)?
        )
    };
}
pub(crate) use span;

/// A span of that name for a blob, with the fields that containerd has for it.
macro_rules! blob_span {
    ($name:literal, $descriptor:expr) => {
        $crate::spans::span!(
            $name,
            "layer.media.digest" = %$descriptor.digest,
            "layer.media.type" = $descriptor.media_type.as_str(),
            "layer.media.size" = $descriptor.size,
        )
    };
}
pub(crate) use blob_span;

/// Does `work` within `span`.
pub(crate) fn within<'a, T>(
    span: Span,
    work: impl Future<Output = Result<T>> + Send + 'a,
) -> impl Future<Output = Result<T>> + Send {
    // On the heap: transfers are large, and each wrapper would have its own copy on the stack.
    let work = Box::pin(work);
    async move {
        let result = work.instrument(span.clone()).await;
        ended(&span, &result);
        result
    }
}

/// The same for what blocks.
pub(crate) fn blocking_within<T>(span: &Span, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = span.in_scope(work);
    ended(span, &result);
    result
}

fn ended<T>(span: &Span, result: &Result<T>) {
    if let Err(error) = result
        && !span.is_disabled()
    {
        span.record("otel.status_description", chain(error));
    }
}
