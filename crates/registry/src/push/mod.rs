//! Uploads.

mod blob;
mod manifest;
mod session;

use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;

use crate::BoxError;

/// Bytes of an upload, or of a part of it.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// What became of a blob that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Exists,
    /// The registry took it from another repository of its own.
    Mounted(String),
    /// Its bytes were sent.
    Uploaded,
}
