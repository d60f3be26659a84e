//! What clients say of images, in the engine's words.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use gantry_docker_api::auth::AuthConfig;
use gantry_docker_api::header;
use gantry_docker_api::image::OciPlatform;
use gantry_engine::image::{Credential, Secret};
use gantry_types::{Digest, Platform, Reference};

use crate::failure::Failure;
use crate::http::Call;

/// A name, and whether it was given with a tag or a digest.
pub(super) struct Named {
    /// With the tag `latest`, if it was given without.
    pub(super) reference: Reference,
    /// Whether it was given without tag and digest.
    pub(super) is_bare: bool,
}

/// Reads a name as people write it.
///
/// # Errors
/// 400.
pub(super) fn named(text: &str) -> Result<Named, Failure> {
    let reference = Reference::parse_familiar(text)
        .map_err(|error| Failure::from(gantry_engine::image::invalid_name(&error)))?;
    let last = text.rsplit('/').next().unwrap_or(text);
    Ok(Named { reference, is_bare: !last.contains([':', '@']) })
}

/// A repository with the tag, or the digest, of another parameter, which goes before its own.
///
/// # Errors
/// 400.
pub(super) fn with_tag(name: &str, tag: &str) -> Result<Named, Failure> {
    let own = named(name)?;
    if tag.is_empty() {
        return Ok(own);
    }
    let (host, repository) = (own.reference.host(), own.reference.repository());
    let joint = if Digest::parse(tag).is_ok() { '@' } else { ':' };
    let reference = Reference::parse(&format!("{host}/{repository}{joint}{tag}"))
        .map_err(|error| Failure::from(gantry_engine::image::invalid_name(&error)))?;
    Ok(Named { reference, is_bare: false })
}

/// The name for something new: None where none is given.
///
/// # Errors
/// 400 for what is no name, or has a digest.
pub(super) fn new_name(call: &Call) -> Result<Option<Reference>, Failure> {
    let repository = call.query.text("repo");
    if repository.is_empty() {
        return Ok(None);
    }
    let reference = with_tag(repository, call.query.text("tag"))?.reference;
    if reference.digest().is_some() {
        return Err(Failure::invalid("refusing to create a tag with a digest reference"));
    }
    Ok(Some(reference))
}

/// Reads a platform: `linux/arm64`, or an object of OCI's.
///
/// # Errors
/// 400.
pub(crate) fn platform(text: &str) -> Result<Option<Platform>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('{') {
        let value: OciPlatform = serde_json::from_str(text)
            .map_err(|error| Failure::invalid(format!("failed to parse platform: {error}")))?;
        let platform = Platform {
            architecture: value.architecture,
            os: value.os,
            os_version: value.os_version,
            os_features: value.os_features.into_vec(),
            variant: value.variant,
        };
        return Ok(Some(platform.normalized()));
    }
    text.parse()
        .map(Some)
        .map_err(|error: gantry_types::platform::InvalidPlatform| Failure::invalid(error.to_string()))
}

/// All platforms of a parameter.
///
/// # Errors
/// 400.
pub(super) fn platforms(call: &Call, name: &str) -> Result<Vec<Platform>, Failure> {
    call.query.all(name).filter_map(|text| platform(text).transpose()).collect()
}

/// The credential of a request; None for none. What is none is taken for none, as dockerd does: clients send much.
pub(super) fn credential(call: &Call) -> Option<Credential> {
    let text = call.header(header::REGISTRY_AUTH);
    match AuthConfig::decode(text.as_bytes()) {
        Ok(auth) => of(auth),
        Err(error) => {
            tracing::debug!(%error, "a credential that cannot be read counts as none");
            None
        }
    }
}

/// The credential that a client sends.
pub(crate) fn of(auth: AuthConfig) -> Option<Credential> {
    let secret = |text: String| Secret::new(text);
    if !auth.registry_token.0.is_empty() {
        return Some(Credential::RegistryToken(secret(auth.registry_token.0)));
    }
    if !auth.identity_token.0.is_empty() {
        return Some(Credential::IdentityToken(secret(auth.identity_token.0)));
    }
    if !auth.username.is_empty() || !auth.password.0.is_empty() {
        return Some(Credential::User { username: auth.username, secret: secret(auth.password.0) });
    }
    let joined = auth.auth.0.trim();
    let decoded = STANDARD.decode(joined).or_else(|_| STANDARD_NO_PAD.decode(joined)).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some(Credential::User { username: username.to_owned(), secret: secret(password.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_of_its_own_goes_before_that_of_the_name() {
        let name = |name: &str, tag: &str| {
            let named = with_tag(name, tag).unwrap();
            (named.reference.familiar(), named.is_bare)
        };
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(name("a", ""), ("a:latest".to_owned(), true));
        assert_eq!(name("a:1", "2"), ("a:2".to_owned(), false));
        assert_eq!(name("r:5000/a", ""), ("r:5000/a:latest".to_owned(), true));
        assert_eq!(name("a", &digest), (format!("a@{digest}"), false));
        assert!(with_tag("A", "").is_err() && with_tag("a", "b c").is_err());
    }

    #[test]
    fn platforms_come_in_two_forms() {
        assert!(platform("").unwrap().is_none());
        let one = platform("linux/arm64").unwrap();
        assert_eq!(one, platform(r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#).unwrap());
        assert!(platform("a/b/c/d").is_err() && platform("{").is_err());
    }

    #[test]
    fn every_form_of_credential_is_understood() {
        let of_json = |text: &str| of(serde_json::from_str(text).unwrap());
        let user = Some(Credential::User { username: "a".into(), secret: Secret::new("b") });
        assert_eq!(of_json(r#"{"username":"a","password":"b"}"#), user);
        assert_eq!(of_json(r#"{"auth":"YTpi"}"#), user);
        assert_eq!(of_json(r#"{"registrytoken":"t"}"#), Some(Credential::RegistryToken(Secret::new("t"))));
        assert_eq!(of_json(r#"{"identitytoken":"t"}"#), Some(Credential::IdentityToken(Secret::new("t"))));
        assert_eq!(of_json("{}"), None);
    }
}
