use flate2::{Decompress, FlushDecompress, Status};

use super::{InflateError, Progress};

/// The magic number and the only method there is.
pub(super) const MAGIC: &[u8] = &[0x1f, 0x8b, 8];
/// Deflate's largest window.
const WINDOW_BITS: u8 = 15;

/// A gzip stream: members one after another, and zeros behind them, which tar and tapes pad with.
pub(super) struct Gzip {
    member: Option<Decompress>,
    padding: bool,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self { member: Some(Decompress::new_gzip(WINDOW_BITS)), padding: false }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.member.is_none()
    }

    pub(super) fn step(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        offset: u64,
    ) -> Result<Progress, InflateError> {
        let mut progress = Progress::default();
        while progress.consumed < input.len() || (self.member.is_some() && progress.produced < output.len()) {
            let rest = &input[progress.consumed..];
            let member = match &mut self.member {
                Some(member) => member,
                None if rest[0] == 0 => {
                    self.padding = true;
                    progress.consumed += rest.iter().take_while(|&&byte| byte == 0).count();
                    continue;
                }
                None if self.padding => {
                    return Err(corrupt(offset + progress.consumed as u64, "data after its end"));
                }
                // eStargz has a member for each file.
                None => self.member.insert(Decompress::new_gzip(WINDOW_BITS)),
            };
            let (before_in, before_out) = (member.total_in(), member.total_out());
            let status =
                member.decompress(rest, &mut output[progress.produced..], FlushDecompress::None).map_err(
                    |error| corrupt(offset + progress.consumed as u64, error.message().unwrap_or("bad data")),
                )?;
            let consumed = (member.total_in() - before_in) as usize;
            let produced = (member.total_out() - before_out) as usize;
            progress.consumed += consumed;
            progress.produced += produced;
            if status == Status::StreamEnd {
                self.member = None;
            } else if consumed == 0 && produced == 0 || progress.produced == output.len() {
                break;
            }
        }
        Ok(progress)
    }
}

fn corrupt(offset: u64, detail: &str) -> InflateError {
    InflateError::Corrupt { format: "gzip", offset, detail: detail.to_owned() }
}
