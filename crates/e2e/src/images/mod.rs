//! Images of the tests, made of bytes that are the same each time, and written as OCI layouts.

mod layer;
mod layout;
mod samples;

pub use layer::{Compression, Layer};
pub use layout::{Image, Layout, digest};
pub use samples::{Samples, samples};
