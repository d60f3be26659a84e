use super::{InflateError, Progress};

/// What one call of a decoder has done.
pub(super) struct Turn {
    pub(super) progress: Progress,
    /// Whether the member has ended.
    pub(super) ended: bool,
}

/// The decoder of one member of a stream.
pub(super) trait Member: Sized {
    /// The name of the format.
    const FORMAT: &'static str;
    /// How zeros may stand behind a member.
    const PADDING: Padding;

    /// A decoder for another member. `window_log` is the power of two that its memory is limited by.
    ///
    /// # Errors
    /// Limit for what takes too much memory.
    fn begin(window_log: u32) -> Result<Self, InflateError>;

    /// Decodes as much as there is input and room for. Places of errors are put in by [`Members`].
    ///
    /// # Errors
    /// Corrupt, Limit.
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Turn, Broken>;
}

/// Why a member cannot be decoded.
pub(super) enum Broken {
    /// It is not what it began as: what the decoder says.
    Corrupt(String),
    /// It wants more memory than this.
    Memory(u64),
}

/// Zeros behind a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Padding {
    /// Any number, and nothing behind them: tar and tapes pad with them.
    Last,
    /// Fours, and members may follow them.
    Fours,
}

/// Members one after another, and zeros behind them.
pub(super) struct Members<M> {
    member: Option<M>,
    zeros: u64,
    window_log: u32,
}

impl<M: Member> Members<M> {
    pub(super) fn new(window_log: u32) -> Result<Self, InflateError> {
        Ok(Self { member: Some(M::begin(window_log)?), zeros: 0, window_log })
    }

    pub(super) fn is_whole(&self) -> bool {
        self.member.is_none() && (M::PADDING == Padding::Last || self.zeros.is_multiple_of(4))
    }

    /// Whether a member may begin here.
    fn may_begin(&self) -> bool {
        match M::PADDING {
            Padding::Last => self.zeros == 0,
            Padding::Fours => self.zeros.is_multiple_of(4),
        }
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
            let corrupt = |detail| {
                let offset = offset + progress.consumed as u64;
                InflateError::Corrupt { format: M::FORMAT, offset, detail }
            };
            let may_begin = self.may_begin();
            let member = match &mut self.member {
                Some(member) => member,
                None if rest[0] == 0 => {
                    let count = rest.iter().take_while(|&&byte| byte == 0).count();
                    self.zeros += count as u64;
                    progress.consumed += count;
                    continue;
                }
                None if !may_begin => return Err(corrupt("data after its end".to_owned())),
                // eStargz has a member for each file.
                None => {
                    self.zeros = 0;
                    self.member.insert(M::begin(self.window_log)?)
                }
            };
            let turn =
                member.decode(rest, &mut output[progress.produced..]).map_err(|broken| match broken {
                    Broken::Corrupt(detail) => corrupt(detail),
                    Broken::Memory(limit) => InflateError::Limit { what: "bytes of memory", limit },
                })?;
            progress.consumed += turn.progress.consumed;
            progress.produced += turn.progress.produced;
            if turn.ended {
                self.member = None;
            } else if turn.progress == Progress::default() || progress.produced == output.len() {
                break;
            }
        }
        Ok(progress)
    }
}
