use flate2::{Decompress, FlushDecompress, Status};

use super::members::{Broken, Member, Padding, Turn};
use super::{InflateError, Progress};

/// The magic number and the only method there is.
pub(super) const MAGIC: &[u8] = &[0x1f, 0x8b, 8];
/// Deflate's largest window.
const WINDOW_BITS: u8 = 15;

/// A member of a gzip file.
pub(super) struct Gzip(Decompress);

impl Member for Gzip {
    const FORMAT: &'static str = "gzip";
    const PADDING: Padding = Padding::Last;

    fn begin(_window_log: u32) -> Result<Self, InflateError> {
        Ok(Self(Decompress::new_gzip(WINDOW_BITS)))
    }

    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Turn, Broken> {
        let (before_in, before_out) = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, output, FlushDecompress::None);
        let status =
            status.map_err(|error| Broken::Corrupt(error.message().unwrap_or("bad data").to_owned()))?;
        let consumed = (self.0.total_in() - before_in) as usize;
        let produced = (self.0.total_out() - before_out) as usize;
        Ok(Turn { progress: Progress { consumed, produced }, ended: status == Status::StreamEnd })
    }
}
