//! Docker's multiplexed streams, `application/vnd.docker.multiplexed-stream`: what a container without a terminal
//! prints, in one connection.
//!
//! ```text
//! 0        1  2  3   4  5  6  7          8
//! ├────────┼─────────┼───────────────────┼──────────────
//! │channel │ 0  0  0 │ length, big endian│ that many bytes
//! ```

use bytes::{BufMut, Bytes, BytesMut};

/// The length of what stands before each frame's bytes.
pub const HEADER_LEN: usize = 8;

/// The longest frame that [`encode`] makes, in bytes. Longer ones are read: nothing is kept of them.
pub const MAX_FRAME: usize = 1 << 20;

/// Whose bytes a frame has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Channel {
    /// 0: standard input, never sent by the engine.
    Stdin = 0,
    /// 1.
    Stdout = 1,
    /// 2.
    Stderr = 2,
    /// 3: the engine's own error, after which the stream ends.
    SystemError = 3,
}

impl Channel {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Stdin, Self::Stdout, Self::Stderr, Self::SystemError].into_iter().find(|it| *it as u8 == byte)
    }
}

/// Why bytes are no multiplexed stream. Each is InvalidArgument, of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first byte of a header is none.
    #[error("frame of the unknown channel {0}")]
    UnknownChannel(u8),
    /// The stream ended within a frame.
    #[error("stream ended with {missing} bytes of a frame missing")]
    Truncated {
        /// How many, of the header or of the bytes.
        missing: usize,
    },
}

/// The header of a frame of `length` bytes.
#[must_use]
pub fn header(channel: Channel, length: u32) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = length.to_be_bytes();
    [channel as u8, 0, 0, 0, a, b, c, d]
}

/// Frames bytes: as several frames if they are more than [`MAX_FRAME`], as none if there are none.
#[must_use]
pub fn encode(channel: Channel, bytes: &[u8]) -> Bytes {
    let mut output = BytesMut::with_capacity(bytes.len() + HEADER_LEN * (bytes.len() / MAX_FRAME + 1));
    encode_into(channel, bytes, &mut output);
    output.freeze()
}

/// The same after what is in `output`.
pub fn encode_into(channel: Channel, bytes: &[u8], output: &mut BytesMut) {
    for part in bytes.chunks(MAX_FRAME) {
        let length = u32::try_from(part.len()).expect("a frame's limit fits");
        output.put_slice(&header(channel, length));
        output.put_slice(part);
    }
}

/// Some bytes of a channel, in the order of the stream: a frame, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Whose.
    pub channel: Channel,
    /// Never empty.
    pub bytes: &'a [u8],
}

/// Takes frames apart, from input that comes in any pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER_LEN],
    header_len: usize,
    /// The frame whose bytes come, and how many still do.
    frame: Option<(Channel, u32)>,
}

impl Decoder {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece off the front of `input`; none when more input is needed, and then all of it was taken.
    ///
    /// # Errors
    /// A header is none; the stream is of no use from there on.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, FrameError> {
        loop {
            if let Some((channel, left)) = self.frame {
                if left == 0 {
                    self.frame = None;
                    continue;
                }
                if input.is_empty() {
                    return Ok(None);
                }
                let count = input.len().min(left as usize);
                let (bytes, rest) = input.split_at(count);
                *input = rest;
                let left = left - u32::try_from(count).expect("at most what is left");
                self.frame = Some((channel, left));
                return Ok(Some(Piece { channel, bytes }));
            }
            if !self.fill_header(input) {
                return Ok(None);
            }
            let [channel, _, _, _, length @ ..] = self.header;
            let channel = Channel::from_byte(channel).ok_or(FrameError::UnknownChannel(channel))?;
            self.frame = Some((channel, u32::from_be_bytes(length)));
            self.header_len = 0;
        }
    }

    /// Tells whether the stream may end here.
    ///
    /// # Errors
    /// It is within a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        let missing = match self.frame {
            Some((_, left)) => left as usize,
            None if self.header_len > 0 => HEADER_LEN - self.header_len,
            None => 0,
        };
        if missing == 0 { Ok(()) } else { Err(FrameError::Truncated { missing }) }
    }

    fn fill_header(&mut self, input: &mut &[u8]) -> bool {
        let count = input.len().min(HEADER_LEN - self.header_len);
        let (bytes, rest) = input.split_at(count);
        self.header[self.header_len..self.header_len + count].copy_from_slice(bytes);
        self.header_len += count;
        *input = rest;
        self.header_len == HEADER_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(stream: &[u8], step: usize) -> Result<Vec<(Channel, Vec<u8>)>, FrameError> {
        let mut decoder = Decoder::new();
        let mut joined: Vec<(Channel, Vec<u8>)> = Vec::new();
        for mut input in stream.chunks(step) {
            while let Some(piece) = decoder.next(&mut input)? {
                match joined.last_mut() {
                    Some((channel, bytes)) if *channel == piece.channel => {
                        bytes.extend_from_slice(piece.bytes)
                    }
                    _ => joined.push((piece.channel, piece.bytes.to_vec())),
                }
            }
            assert!(input.is_empty());
        }
        decoder.finish().map(|()| joined)
    }

    #[test]
    fn what_was_framed_is_read_in_pieces_of_any_length() {
        let mut stream = BytesMut::new();
        encode_into(Channel::Stdout, b"hello", &mut stream);
        encode_into(Channel::Stderr, b"", &mut stream);
        encode_into(Channel::Stderr, b"no", &mut stream);
        stream.put_slice(&header(Channel::Stdout, 0));
        encode_into(Channel::Stdout, b"!", &mut stream);
        let expected = [
            (Channel::Stdout, b"hello".to_vec()),
            (Channel::Stderr, b"no".to_vec()),
            (Channel::Stdout, b"!".to_vec()),
        ];
        for step in 1..=stream.len() {
            assert_eq!(decode(&stream, step).unwrap(), expected, "{step}");
        }
    }

    #[test]
    fn the_header_is_dockers() {
        assert_eq!(&encode(Channel::Stderr, b"ab")[..], b"\x02\0\0\0\0\0\0\x02ab");
        assert_eq!(encode(Channel::Stdout, &vec![0; MAX_FRAME + 1]).len(), MAX_FRAME + 1 + 2 * HEADER_LEN);
    }

    #[test]
    fn unknown_channels_and_unfinished_frames_are_errors() {
        assert_eq!(decode(b"\x04\0\0\0\0\0\0\x01a", 9), Err(FrameError::UnknownChannel(4)));
        assert_eq!(decode(b"HTTP/1.1", 3), Err(FrameError::UnknownChannel(b'H')));
        assert_eq!(decode(b"\x01\0", 9), Err(FrameError::Truncated { missing: 6 }));
        assert_eq!(
            decode(b"\x01\0\0\0\xff\xff\xff\xffa", 9),
            Err(FrameError::Truncated { missing: 0xffff_fffe })
        );
    }
}
