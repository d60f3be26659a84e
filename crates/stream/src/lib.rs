//! Framings of hijacked streams: Docker's multiplexed streams, and the keys that detach a terminal.
//!
//! `door-docker` encodes and looks for detach keys; the command line decodes. Bytes only.
//!
//! What it never does: input and output, and buffering: what is decoded are slices of what was given.
#![forbid(unsafe_code)]

mod detach;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

pub use detach::{DetachError, DetachKeys, Scan, Scanner};
pub use frame::{Channel, Decoder, FrameError, HEADER_LEN, MAX_FRAME, Piece, encode, encode_into, header};
