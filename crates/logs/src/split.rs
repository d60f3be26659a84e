//! From the bytes of a stream to pieces: a line, or as much of a long one as one record takes.

use memchr::memchr;

/// The longest piece of any format.
pub const MAX_PIECE_BYTES: usize = 1 << 20;
/// Docker's copier has a buffer of this size, and writes it out when no line ends in it.
const JSON_PIECE_BYTES: usize = 16_384;

/// How a piece ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With the end of its line.
    Line,
    /// Amid a line: the next record of its stream goes on with it, or the stream ended there.
    Cut,
}

/// A piece at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    /// The bytes that belong to the record.
    content: usize,
    /// Those, and the line's end.
    taken: usize,
    ending: Ending,
}

/// The rule of a format.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// Cuts when the piece's limit is reached and no line has ended: Docker.
    Json,
    /// Cuts when a line is known to be longer than this; `\r\n` ends a line, too: containerd.
    Cri(usize),
}

impl Rule {
    /// How many bytes decide, at most.
    fn window(self) -> usize {
        match self {
            Self::Json => JSON_PIECE_BYTES,
            // A line of the longest allowed length, and its end.
            Self::Cri(max) => max + 2,
        }
    }

    /// The first piece of `bytes`; `None` when more have to be seen.
    fn piece(self, bytes: &[u8]) -> Option<Piece> {
        let window = self.window();
        let seen = &bytes[..bytes.len().min(window)];
        let end = memchr(b'\n', seen);
        match self {
            Self::Json => match end {
                Some(at) => Some(Piece { content: at, taken: at + 1, ending: Ending::Line }),
                None if seen.len() == window => Some(cut(window)),
                None => None,
            },
            Self::Cri(max) => match end {
                Some(at) => {
                    let content = at - usize::from(at > 0 && seen[at - 1] == b'\r');
                    let whole = Piece { content, taken: at + 1, ending: Ending::Line };
                    Some(if content > max { cut(max) } else { whole })
                }
                None if seen.len() == window => Some(cut(max)),
                None => None,
            },
        }
    }

    /// The longest piece that the end of the stream leaves.
    fn limit(self) -> usize {
        match self {
            Self::Json => JSON_PIECE_BYTES,
            Self::Cri(max) => max,
        }
    }
}

fn cut(len: usize) -> Piece {
    Piece { content: len, taken: len, ending: Ending::Cut }
}

/// Cuts a stream into pieces. Between calls it keeps the beginning of a line, at most a piece and its end.
#[derive(Debug)]
pub(crate) struct Splitter {
    rule: Rule,
    kept: Vec<u8>,
    /// Whether what is kept is a piece that was refused.
    refused: bool,
}

impl Splitter {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule, kept: Vec::new(), refused: false }
    }

    /// Gives the pieces of `bytes` to `emit` until it refuses one: how many bytes were taken.
    ///
    /// A refused piece is given again next time, with the bytes that follow.
    pub(crate) fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&[u8], Ending) -> bool) -> usize {
        let mut rest = bytes;
        while !self.kept.is_empty() {
            if !std::mem::take(&mut self.refused) {
                let room = self.rule.window().saturating_sub(self.kept.len());
                let near = &rest[..rest.len().min(room)];
                let end = memchr(b'\n', near);
                let topped_up = end.map_or(near.len(), |at| at + 1);
                self.kept.extend_from_slice(&rest[..topped_up]);
                rest = &rest[topped_up..];
                if end.is_none() && topped_up < room {
                    return bytes.len();
                }
            }
            let Some(piece) = self.rule.piece(&self.kept) else { return bytes.len() };
            if !emit(&self.kept[..piece.content], piece.ending) {
                self.refused = true;
                return bytes.len() - rest.len();
            }
            self.kept.drain(..piece.taken);
        }
        while let Some(piece) = self.rule.piece(rest) {
            if !emit(&rest[..piece.content], piece.ending) {
                return bytes.len() - rest.len();
            }
            rest = &rest[piece.taken..];
        }
        self.kept.extend_from_slice(rest);
        bytes.len()
    }

    /// The stream has ended: gives what is left of a line to `emit`, which cannot refuse it.
    pub(crate) fn end(&mut self, mut emit: impl FnMut(&[u8], Ending)) {
        let kept = std::mem::take(&mut self.kept);
        let mut rest = &kept[..];
        // Only what was refused before has a line's end.
        while let Some(piece) = self.rule.piece(rest) {
            emit(&rest[..piece.content], piece.ending);
            rest = &rest[piece.taken..];
        }
        for piece in rest.chunks(self.rule.limit()) {
            emit(piece, Ending::Cut);
        }
    }

    /// How many bytes wait for the end of their line.
    pub(crate) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Gives memory back that holds nothing.
    pub(crate) fn relax(&mut self) {
        if self.kept.is_empty() {
            self.kept = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of `bytes` when they come `step` at a time.
    fn pieces(rule: Rule, bytes: &[u8], step: usize) -> Vec<(Vec<u8>, Ending)> {
        let mut splitter = Splitter::new(rule);
        let mut found = Vec::new();
        for part in bytes.chunks(step) {
            let taken = splitter.push(part, |piece, ending| {
                found.push((piece.to_vec(), ending));
                true
            });
            assert_eq!(taken, part.len());
            assert!(splitter.kept() < rule.window());
        }
        splitter.end(|piece, ending| found.push((piece.to_vec(), ending)));
        found
    }

    fn check(rule: Rule, bytes: &[u8], expected: &[(&[u8], Ending)]) {
        let expected: Vec<_> = expected.iter().map(|&(piece, ending)| (piece.to_vec(), ending)).collect();
        for step in [1, 2, 3, 7, 4096, 16_384, 16_385, 1 << 20] {
            assert_eq!(pieces(rule, bytes, step), expected, "{step} at a time");
        }
    }

    use Ending::{Cut, Line};

    #[test]
    fn docker_cuts_at_its_buffers_size() {
        check(Rule::Json, b"a\n\nb\r\nc", &[(b"a", Line), (b"", Line), (b"b\r", Line), (b"c", Cut)]);
        let x = [b'x'; 16_384];
        let line = |len: usize| [&x[..len], b"\n"].concat();
        check(Rule::Json, &line(16_383), &[(&x[..16_383], Line)]);
        check(Rule::Json, &line(16_384), &[(&x, Cut), (b"", Line)]);
        let long = [&x[..], &x[..], &line(5)].concat();
        check(Rule::Json, &long, &[(&x, Cut), (&x, Cut), (&x[..5], Line)]);
    }

    #[test]
    fn containerd_cuts_what_is_longer_than_the_limit() {
        check(
            Rule::Cri(3),
            b"abc\nabc\r\nabcd\n",
            &[(b"abc", Line), (b"abc", Line), (b"abc", Cut), (b"d", Line)],
        );
        check(
            Rule::Cri(3),
            b"\n\r\n\r\r\nabc\rd\n",
            &[(b"", Line), (b"", Line), (b"\r", Line), (b"abc", Cut), (b"\rd", Line)],
        );
        check(Rule::Cri(3), b"abcdefgh", &[(b"abc", Cut), (b"def", Cut), (b"gh", Cut)]);
        check(Rule::Cri(3), b"abc\r", &[(b"abc", Cut), (b"\r", Cut)]);
        check(Rule::Cri(1), b"ab\n", &[(b"a", Cut), (b"b", Line)]);
    }

    #[test]
    fn refused_pieces_come_again() {
        let bytes = b"one\ntwo\nthree\nfour";
        for rule in [Rule::Json, Rule::Cri(3), Rule::Cri(16_384)] {
            for step in [1, 3, 5, 100] {
                let mut splitter = Splitter::new(rule);
                let (mut found, mut asked, mut at) = (Vec::new(), 0, 0);
                while at < bytes.len() {
                    let part = &bytes[at..bytes.len().min(at + step)];
                    at += splitter.push(part, |piece, ending| {
                        asked += 1;
                        if asked % 2 == 1 {
                            return false;
                        }
                        found.push((piece.to_vec(), ending));
                        true
                    });
                }
                splitter.end(|piece, ending| found.push((piece.to_vec(), ending)));
                assert_eq!(found, pieces(rule, bytes, step), "{rule:?} {step}");
            }
        }
    }
}
