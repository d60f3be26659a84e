//! The body of a request, for a thread that reads it.

use std::io;

use gantry_engine::image::{ByteSource, byte_source};
use http_body_util::BodyExt as _;

use crate::http::Received;

/// What a client sends, as it comes. A client that leaves early is an error for who reads.
pub(crate) fn upload(body: Option<Received>) -> ByteSource {
    let (send, source) = byte_source();
    let Some(mut body) = body else { return source };
    tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            let piece = match frame {
                Ok(frame) => match frame.into_data() {
                    Ok(bytes) => Ok(bytes),
                    // Trailers.
                    Err(_) => continue,
                },
                Err(error) => Err(io::Error::other(error)),
            };
            let is_last = piece.is_err();
            if send.send(piece).await.is_err() || is_last {
                return;
            }
        }
    });
    source
}
