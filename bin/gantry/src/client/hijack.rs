//! A connection that a request has taken over.

use anyhow::{Context, Result};
use gantry_docker_api::media_type::MULTIPLEXED_STREAM;
use http::Response;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

/// Bytes in both directions.
pub(crate) struct Hijacked {
    pub(crate) stream: TokioIo<Upgraded>,
    /// Whether the engine said that it sends frames.
    pub(crate) is_multiplexed: bool,
}

impl Hijacked {
    pub(super) async fn of(response: Response<Incoming>) -> Result<Self> {
        let content_type = response.headers().get(http::header::CONTENT_TYPE);
        let is_multiplexed =
            content_type.is_some_and(|value| value.as_bytes() == MULTIPLEXED_STREAM.as_bytes());
        let upgraded = hyper::upgrade::on(response).await.context("the engine does not give the stream")?;
        Ok(Self { stream: TokioIo::new(upgraded), is_multiplexed })
    }
}
