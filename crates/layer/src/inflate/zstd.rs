use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::{InflateError, Progress};

const MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Sixteen magic numbers of frames that carry no data (RFC 8878, 3.1.2).
const SKIPPABLE: u32 = 0x184d_2a50;

/// Whether a stream that begins so is zstd's.
pub(super) fn is_magic(head: &[u8]) -> bool {
    let number = head.first_chunk().map(|&bytes| u32::from_le_bytes(bytes));
    head.starts_with(MAGIC) || head.len() >= 8 && number.is_some_and(|number| number & !0xf == SKIPPABLE)
}

/// A zstd stream: frames one after another, skippable ones among them.
pub(super) struct Zstd {
    decoder: Decoder<'static>,
    /// The frame ended, and no other has begun.
    between: bool,
    window_log: u32,
}

impl Zstd {
    pub(super) fn new(window_log: u32) -> Result<Self, InflateError> {
        let make = || {
            let mut decoder = Decoder::new()?;
            decoder.set_parameter(DParameter::WindowLogMax(window_log))?;
            Ok(decoder)
        };
        let decoder = make().map_err(|error: std::io::Error| corrupt(0, &error))?;
        Ok(Self { decoder, between: true, window_log })
    }

    pub(super) fn is_whole(&self) -> bool {
        self.between
    }

    pub(super) fn step(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        offset: u64,
    ) -> Result<Progress, InflateError> {
        if self.between && input.is_empty() {
            return Ok(Progress::default());
        }
        let mut source = InBuffer::around(input);
        let mut sink = OutBuffer::around(output);
        let mut stalled = false;
        while !stalled && sink.pos() < sink.capacity() {
            let before = (source.pos(), sink.pos());
            let hint =
                self.decoder.run(&mut source, &mut sink).map_err(|error| self.error(offset, &error))?;
            self.between = hint == 0;
            stalled = before == (source.pos(), sink.pos()) || hint == 0 && source.pos() == input.len();
        }
        Ok(Progress { consumed: source.pos(), produced: sink.pos() })
    }

    fn error(&self, offset: u64, error: &std::io::Error) -> InflateError {
        // What libzstd says for a window over the limit; it gives no number through the wrapper.
        if error.to_string().contains("too much memory") {
            return InflateError::Limit { what: "bytes of zstd window", limit: 1 << self.window_log };
        }
        corrupt(offset, error)
    }
}

fn corrupt(offset: u64, error: &std::io::Error) -> InflateError {
    InflateError::Corrupt { format: "zstd", offset, detail: error.to_string() }
}
