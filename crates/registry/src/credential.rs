use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use crate::Error;

/// A future that can be kept behind a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// What opens a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A name and a password, or what stands for one.
    User {
        /// The name.
        username: String,
        /// The password.
        secret: Secret,
    },
    /// A refresh token of the registry's token server (OAuth 2).
    IdentityToken(Secret),
    /// A bearer token, sent as it is.
    RegistryToken(Secret),
    /// The whole value of the `Authorization` header.
    Header(Secret),
}

/// The header of a name and a password; nothing for what no header can say.
pub(crate) fn basic(name: &str, password: &str) -> Option<HeaderValue> {
    let mut value =
        HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Where credentials come from.
pub trait Credentials: Send + Sync {
    /// What opens `host`, which is `name` or `name:port` of the registry or mirror that asked.
    ///
    /// # Errors
    /// [`Error::Credentials`]: they exist but cannot be had.
    fn get<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<Credential>, Error>>;
}

/// No credentials for anybody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn get<'a>(&'a self, _host: &'a str) -> BoxFuture<'a, Result<Option<Credential>, Error>> {
        Box::pin(ready(Ok(None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::new("hunter2");
        let all = [
            Credential::User { username: "anna".into(), secret: secret.clone() },
            Credential::IdentityToken(secret.clone()),
            Credential::RegistryToken(secret.clone()),
            Credential::Header(secret),
        ];
        assert!(!format!("{all:?}").contains("hunter2"));
    }
}
