use bzip2::{Decompress, Status};

use super::members::{Broken, Member, Padding, Turn};
use super::{InflateError, Progress};

/// The magic number.
pub(super) const MAGIC: &[u8] = b"BZh";

/// A stream of a bzip2 file. Its memory is what the largest block takes, 4 MiB, whatever it says.
pub(super) struct Bzip2(Decompress);

impl Member for Bzip2 {
    const FORMAT: &'static str = "bzip2";
    const PADDING: Padding = Padding::Last;

    fn begin(_window_log: u32) -> Result<Self, InflateError> {
        Ok(Self(Decompress::new(false)))
    }

    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Turn, Broken> {
        let (before_in, before_out) = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, output);
        let status = status.map_err(|error| Broken::Corrupt(error.to_string()))?;
        if status == Status::MemNeeded {
            return Err(Broken::Corrupt("there is no memory for it".to_owned()));
        }
        let consumed = (self.0.total_in() - before_in) as usize;
        let produced = (self.0.total_out() - before_out) as usize;
        Ok(Turn { progress: Progress { consumed, produced }, ended: status == Status::StreamEnd })
    }
}
