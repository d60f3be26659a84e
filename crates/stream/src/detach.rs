//! Keys that detach from a terminal: `ctrl-p,ctrl-q`, and the search for them in what a person types.

use std::str::FromStr;

/// The longest sequence, in keys.
const MAX_KEYS: usize = 64;
/// What follows `ctrl-`, from the code 0 on.
const CONTROLS: &str = "@abcdefghijklmnopqrstuvwxyz[\\]^_";

/// A sequence of keys, as the bytes that a terminal sends for them; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// Why a text is no sequence of keys. Each is InvalidArgument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DetachError {
    /// A key that is neither a character nor `ctrl-` and one, nor `DEL`.
    #[error("Unknown character: '{0}'")]
    UnknownKey(String),
    /// Longer than the limit.
    #[error("more than {MAX_KEYS} detach keys")]
    TooMany,
}

impl Default for DetachKeys {
    /// `ctrl-p,ctrl-q`.
    fn default() -> Self {
        Self(vec![16, 17])
    }
}

impl DetachKeys {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for DetachKeys {
    type Err = DetachError;

    fn from_str(text: &str) -> Result<Self, DetachError> {
        let keys: Vec<&str> = text.splitn(MAX_KEYS + 1, ',').collect();
        if keys.len() > MAX_KEYS {
            return Err(DetachError::TooMany);
        }
        keys.into_iter().map(key).collect::<Result<_, _>>().map(Self)
    }
}

fn key(text: &str) -> Result<u8, DetachError> {
    if let [byte] = text.as_bytes() {
        return Ok(*byte);
    }
    let control = text.strip_prefix("ctrl-").filter(|rest| rest.len() == 1);
    match control.and_then(|control| CONTROLS.find(control)) {
        Some(code) => Ok(u8::try_from(code).expect("there are 32 controls")),
        None if text == "DEL" => Ok(127),
        None => Err(DetachError::UnknownKey(text.chars().take(32).collect())),
    }
}

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// Nothing: go on.
    Passed,
    /// The keys. What came after them is dropped.
    Detached,
}

/// Looks for the keys in input that comes in any pieces, and passes everything else on.
///
/// A beginning of the sequence is held back until it is clear that it is no more than that.
#[derive(Debug)]
pub struct Scanner {
    keys: Vec<u8>,
    /// How many keys the input ends with.
    matched: usize,
    /// For each number of matched keys, with how many of them the search goes on when the next is another (Knuth, Morris
    /// and Pratt).
    shorter: Vec<usize>,
}

impl Scanner {
    /// For these keys.
    #[must_use]
    pub fn new(keys: &DetachKeys) -> Self {
        let keys = keys.0.clone();
        let mut shorter = vec![0; keys.len() + 1];
        let mut length = 0;
        for index in 1..keys.len() {
            while length > 0 && keys[index] != keys[length] {
                length = shorter[length];
            }
            length += usize::from(keys[index] == keys[length]);
            shorter[index + 1] = length;
        }
        Self { keys, matched: 0, shorter }
    }

    /// Reads input, and appends to `output` what is for the container.
    pub fn scan(&mut self, input: &[u8], output: &mut Vec<u8>) -> Scan {
        for &byte in input {
            while self.matched > 0 && self.keys[self.matched] != byte {
                let shorter = self.shorter[self.matched];
                output.extend_from_slice(&self.keys[..self.matched - shorter]);
                self.matched = shorter;
            }
            if self.keys[self.matched] != byte {
                output.push(byte);
                continue;
            }
            self.matched += 1;
            if self.matched == self.keys.len() {
                self.matched = 0;
                return Scan::Detached;
            }
        }
        Scan::Passed
    }

    /// At the end of the input: appends what was held back.
    pub fn finish(&mut self, output: &mut Vec<u8>) {
        output.extend_from_slice(&self.keys[..self.matched]);
        self.matched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_docker_reads_them() {
        for (text, bytes) in [
            ("ctrl-p,ctrl-q", &[16, 17][..]),
            ("ctrl-a", &[1]),
            ("a", b"a"),
            ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,DEL", &[0, 27, 28, 29, 30, 31, 127]),
            ("q,u,i,t", b"quit"),
        ] {
            assert_eq!(text.parse::<DetachKeys>().unwrap().as_bytes(), bytes, "{text}");
        }
        for text in ["", ",", "ab", "ctrl-A", "ctrl-", "ctrl-ab", "Ctrl-a", "ctrl-p,", "é", &"a,".repeat(70)]
        {
            assert!(text.parse::<DetachKeys>().is_err(), "{text}");
        }
    }

    fn scan(keys: &str, input: &[u8], step: usize) -> (Vec<u8>, bool) {
        let mut scanner = Scanner::new(&keys.parse().unwrap());
        let mut output = Vec::new();
        for part in input.chunks(step) {
            if scanner.scan(part, &mut output) == Scan::Detached {
                return (output, true);
            }
        }
        scanner.finish(&mut output);
        (output, false)
    }

    #[test]
    fn keys_are_found_wherever_the_input_is_cut() {
        for (keys, input, output, detached) in [
            ("ctrl-p,ctrl-q", &b"ls\x10\x11more"[..], &b"ls"[..], true),
            ("ctrl-p,ctrl-q", b"\x10\x10\x11", b"\x10", true),
            ("ctrl-p,ctrl-q", b"a\x10b\x10", b"a\x10b\x10", false),
            ("a,a,b", b"aaab", b"a", true),
            ("a,b,a,c", b"ababac", b"ab", true),
            ("a,b,a,c", b"abab", b"abab", false),
            ("x", b"abc", b"abc", false),
        ] {
            for step in 1..=input.len() {
                assert_eq!(scan(keys, input, step), (output.to_vec(), detached), "{keys} {step}");
            }
        }
    }
}
