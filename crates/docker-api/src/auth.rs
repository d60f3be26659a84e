//! Credentials of registries, and the headers that carry them.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

use crate::limits::MAX_AUTH_HEADER;
use crate::wire::{Map, Omit, wire};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

/// Text that is not shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "empty" } else { "hidden" })
    }
}

impl Omit for Secret {
    fn is_omitted(&self) -> bool {
        self.0.is_empty()
    }
}

wire! {
    /// A credential: the body of `POST /auth`, and what the header carries.
    pub struct AuthConfig {
        omit "username" username: String,
        omit "password" password: Secret,
        /// `user:password` in base64.
        omit "auth" auth: Secret,
        omit "email" email: String,
        omit "serveraddress" server_address: String,
        /// A refresh token, in place of user and password.
        omit "identitytoken" identity_token: Secret,
        /// A bearer token that is sent as it is.
        omit "registrytoken" registry_token: Secret,
    }
}

/// Why a header is no credential. All are the client's fault.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Longer than [`MAX_AUTH_HEADER`].
    #[error("credential of {0} bytes is longer than the limit of {MAX_AUTH_HEADER}")]
    TooLong(usize),
    /// Neither alphabet of base64.
    #[error("credential is no base64")]
    Base64(#[source] base64::DecodeError),
    /// Base64 of something else.
    #[error("credential is no JSON of the expected form")]
    Json(#[source] serde_json::Error),
}

impl AuthConfig {
    /// Reads the header's value; an empty one is the empty credential.
    ///
    /// # Errors
    /// It is too long, no base64 (with or without padding), or no credential.
    pub fn decode(header: &[u8]) -> Result<Self, AuthError> {
        decode(header)
    }

    /// The header's value.
    #[must_use]
    pub fn encode(&self) -> String {
        encode(self)
    }

    /// Whether it says anything.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.username.is_empty()
            && self.password.is_omitted()
            && self.auth.is_omitted()
            && self.identity_token.is_omitted()
            && self.registry_token.is_omitted()
    }
}

/// Credentials by registry, as builds get them.
pub type AuthConfigs = Map<AuthConfig>;

/// Reads the header of builds.
///
/// # Errors
/// As [`AuthConfig::decode`].
pub fn decode_configs(header: &[u8]) -> Result<AuthConfigs, AuthError> {
    decode(header)
}

/// Writes the header of builds.
#[must_use]
pub fn encode_configs(configs: &AuthConfigs) -> String {
    encode(configs)
}

fn encode(value: &impl Serialize) -> String {
    let text = serde_json::to_vec(value).expect("credentials are texts by text");
    base64::engine::general_purpose::URL_SAFE.encode(text)
}

fn decode<T: for<'de> Deserialize<'de> + Default>(header: &[u8]) -> Result<T, AuthError> {
    if header.len() > MAX_AUTH_HEADER {
        return Err(AuthError::TooLong(header.len()));
    }
    let header = header.trim_ascii();
    if header.is_empty() {
        return Ok(T::default());
    }
    let is_standard = header.iter().any(|byte| matches!(byte, b'+' | b'/'));
    let engine = if is_standard { STANDARD } else { URL_SAFE };
    let text = engine.decode(header).map_err(AuthError::Base64)?;
    serde_json::from_slice::<Option<T>>(&text).map(Option::unwrap_or_default).map_err(AuthError::Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> AuthConfig {
        AuthConfig {
            username: "you?>".into(),
            password: Secret("p>?~".into()),
            server_address: "r.example".into(),
            ..AuthConfig::default()
        }
    }

    #[test]
    fn a_header_is_read_in_either_alphabet_with_and_without_padding() {
        let header = credential().encode();
        let standard = header.replace('-', "+").replace('_', "/");
        for text in [&header, &standard, header.trim_end_matches('='), standard.trim_end_matches('=')] {
            assert_eq!(AuthConfig::decode(text.as_bytes()).unwrap(), credential(), "{text}");
        }
        assert!(AuthConfig::decode(b"").unwrap().is_anonymous());
        assert!(AuthConfig::decode(b"e30=").unwrap().is_anonymous());
        assert!(AuthConfig::decode(b"bnVsbA==").unwrap().is_anonymous());
    }

    #[test]
    fn what_is_no_credential_is_refused() {
        let long = vec![b'A'; MAX_AUTH_HEADER + 1];
        for header in [&b"%%"[..], b"bm8=", b"WzFd", &long] {
            assert!(AuthConfig::decode(header).is_err());
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = format!("{:?}", credential());
        assert!(text.contains("you") && !text.contains("p>?~"), "{text}");
    }
}
