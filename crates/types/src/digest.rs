//! Digests of content, in the grammar of the OCI image specification (v1.1.1, descriptor.md, "Digests").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// The hash functions that content may be named by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, what everybody uses.
    Sha256,
    /// SHA-512, the other one that the specification registers.
    Sha512,
}

impl Algorithm {
    /// The name in a digest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of the encoded part, in characters.
    pub fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// `algorithm:hex` of some content. A value is well formed; that content of it exists is not said.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    text: String,
}

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDigest {
    /// No `algorithm:` before it.
    #[error("invalid digest {0:?}: it has to be algorithm:hex")]
    Format(String),
    /// An algorithm that this build does not know.
    #[error("unsupported digest algorithm {0:?}: sha256 and sha512 are supported")]
    Algorithm(String),
    /// The encoded part is not lower-case hexadecimal of the algorithm's length.
    #[error("invalid digest {0:?}: {1} wants {2} lower-case hexadecimal characters")]
    Encoded(String, &'static str, usize),
}

/// The longest text that is quoted in an error.
const QUOTED: usize = 160;

fn quote(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

impl Digest {
    /// Reads `algorithm:hex`.
    ///
    /// # Errors
    /// [`InvalidDigest`]: another algorithm, another length, or characters that do not belong.
    pub fn parse(text: &str) -> Result<Self, InvalidDigest> {
        let (name, hex) = text.split_once(':').ok_or_else(|| InvalidDigest::Format(quote(text)))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            other => return Err(InvalidDigest::Algorithm(quote(other))),
        };
        let fits = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
        if hex.len() != algorithm.hex_length() || !hex.bytes().all(fits) {
            return Err(InvalidDigest::Encoded(quote(text), algorithm.name(), algorithm.hex_length()));
        }
        Ok(Self { text: text.to_owned() })
    }

    /// The SHA-256 of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::from_parts(Algorithm::Sha256, &sha2::Sha256::digest(bytes))
    }

    /// A digest from the hash's bytes.
    pub fn from_parts(algorithm: Algorithm, hash: &[u8]) -> Self {
        debug_assert_eq!(hash.len() * 2, algorithm.hex_length(), "a hash of another algorithm");
        let mut text = String::with_capacity(algorithm.name().len() + 1 + hash.len() * 2);
        text.push_str(algorithm.name());
        text.push(':');
        for byte in hash {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        Self { text }
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        if self.text.starts_with("sha512:") { Algorithm::Sha512 } else { Algorithm::Sha256 }
    }

    /// The encoded part.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm().name().len() + 1..]
    }

    /// `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A hash in the making.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// A hash of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        })
    }

    /// Takes `bytes` in.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of what was taken in.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(hash) => Digest::from_parts(Algorithm::Sha256, &hash.finalize()),
            State::Sha512(hash) => Digest::from_parts(Algorithm::Sha512, &hash.finalize()),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// The digest of a layer's uncompressed tar (image specification v1.1.1, config.md, "Layer DiffID").
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

/// The name of a stack of layers (image specification v1.1.1, config.md, "Layer ChainID").
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub Digest);

impl ChainId {
    /// The stack of `parent` with `diff` on it.
    pub fn of(parent: Option<&Self>, diff: &DiffId) -> Self {
        match parent {
            None => Self(diff.0.clone()),
            Some(parent) => Self(Digest::sha256(format!("{} {}", parent.0, diff.0).as_bytes())),
        }
    }

    /// The chain id of every layer of a stack, the lowest first.
    pub fn chain(diffs: &[DiffId]) -> Vec<Self> {
        let mut chain: Vec<Self> = Vec::with_capacity(diffs.len());
        for diff in diffs {
            chain.push(Self::of(chain.last(), diff));
        }
        chain
    }

    /// `algorithm:hex`, which is the key of the committed snapshot.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn known_hashes_are_right() {
        assert_eq!(Digest::sha256(b"").as_str(), EMPTY);
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(b"a");
        hasher.update(b"bc");
        assert!(hasher.finish().as_str().starts_with("sha512:ddaf35a193617abacc417349ae204131"));
    }

    #[test]
    fn digests_that_are_names_of_files_elsewhere_are_refused() {
        let short = &EMPTY[..70];
        let upper = EMPTY.replace("e3b0", "E3B0");
        for text in
            ["", "sha256", "sha256:", "md5:00", "sha256:../../etc", short, &upper, "sha512:e3b0", "blake3:ab"]
        {
            assert!(Digest::parse(text).is_err(), "{text}");
        }
        let digest = Digest::parse(EMPTY).unwrap();
        assert_eq!((digest.algorithm(), digest.hex()), (Algorithm::Sha256, &EMPTY[7..]));
    }

    #[test]
    fn chain_of_one_layer_is_its_diff_id() {
        let (a, b) = (DiffId(Digest::sha256(b"a")), DiffId(Digest::sha256(b"b")));
        let chain = ChainId::chain(&[a.clone(), b.clone()]);
        assert_eq!(chain[0].0, a.0);
        assert_eq!(chain[1].0, Digest::sha256(format!("{a} {b}").as_bytes()));
    }
}
