use liblzma::stream::{Action, Error, Status, Stream};

use super::members::{Broken, Member, Padding, Turn};
use super::{InflateError, Progress};

/// The magic number.
pub(super) const MAGIC: &[u8] = b"\xfd7zXZ\0";
/// What a decoder takes besides its dictionary, in bytes.
const STATE_BYTES: u64 = 1 << 20;

/// A stream of an xz file. A dictionary over the limit is refused before it is allocated.
pub(super) struct Xz {
    decoder: Stream,
    limit: u64,
}

impl Member for Xz {
    const FORMAT: &'static str = "xz";
    const PADDING: Padding = Padding::Fours;

    fn begin(window_log: u32) -> Result<Self, InflateError> {
        let limit = (1 << window_log) + STATE_BYTES;
        let decoder = Stream::new_stream_decoder(limit, 0)
            .map_err(|_| InflateError::Limit { what: "bytes of memory", limit })?;
        Ok(Self { decoder, limit })
    }

    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Turn, Broken> {
        let (before_in, before_out) = (self.decoder.total_in(), self.decoder.total_out());
        let status = self.decoder.process(input, output, Action::Run);
        let status = status.map_err(|error| match error {
            Error::MemLimit | Error::Mem => Broken::Memory(self.limit),
            error => Broken::Corrupt(error.to_string()),
        })?;
        let consumed = (self.decoder.total_in() - before_in) as usize;
        let produced = (self.decoder.total_out() - before_out) as usize;
        Ok(Turn { progress: Progress { consumed, produced }, ended: status == Status::StreamEnd })
    }
}
