use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gantry_types::Descriptor;
use gantry_types::image::{Index, InvalidDocument, Manifest};
use gantry_types::media_type::{self, Kind};
use http::{Method, header};

use super::resolve::{ACCEPT, hash};
use super::{Call, Failure, Place, Repository, Tries};
use crate::{Capability, Error, Host};

impl Repository {
    /// The bytes of a manifest or an index: of the digest and size that `descriptor` has, and not to be taken for
    /// anything else (CVE-2021-41190).
    ///
    /// # Errors
    /// [`Error`]; [`Error::Limit`] for more than [`Limits::manifest_bytes`](crate::Limits).
    ///
    /// # Cancel safety
    /// Dropped, it leaves nothing but connections that close.
    pub async fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let what = format!("manifest {}", descriptor.digest);
        let limit = self.options().limits.manifest_bytes;
        if descriptor.size > limit {
            return Err(Error::Limit { host: self.registry().into(), what, limit, unit: "bytes" });
        }
        let known = self.kept(&descriptor.digest).or_else(|| embedded(descriptor));
        if let Some(bytes) = known {
            checked(self.registry(), &what, descriptor, &bytes)?;
            return Ok(bytes);
        }
        let hosts = self.hosts(Capability::Pull)?;
        let mut failure = Failure::default();
        for (index, host) in hosts.iter().enumerate() {
            match self.manifest_at(host, Tries::of(index, hosts.len()), descriptor, &what).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => failure.note(host, error),
            }
        }
        Err(failure.into_error(self, &what))
    }

    async fn manifest_at(
        &self,
        host: &Host,
        tries: Tries,
        descriptor: &Descriptor,
        what: &str,
    ) -> Result<Bytes, Error> {
        let scope = self.scope(&["pull"]);
        let path = format!("manifests/{}", descriptor.digest);
        let accept = format!("{}, {ACCEPT}", descriptor.media_type);
        let accept =
            if media_type::kind(&descriptor.media_type) == Kind::Other { accept } else { ACCEPT.into() };
        let call = Call::new(Method::GET, Place::Path(&path), &scope, what).header(header::ACCEPT, &accept);
        let answer = self.call(host, call, tries).await?;
        let (name, typed) = (answer.host.clone(), answer.media_type().unwrap_or_default().to_owned());
        if answer.length().is_some_and(|length| length != descriptor.size) {
            return Err(size_mismatch(&name, what, descriptor, answer.length().unwrap_or_default()));
        }
        let bytes = answer.collect(what, descriptor.size, &self.options().timeouts).await?;
        let has_children = |typed: &str| media_type::kind(typed).has_children();
        if has_children(&typed) && has_children(&descriptor.media_type) && typed != descriptor.media_type {
            let (found, expected) = (typed, descriptor.media_type.clone());
            let source = InvalidDocument::MediaType { what: "answer", found, expected };
            return Err(Error::Document { host: name, what: what.into(), source });
        }
        checked(&name, what, descriptor, &bytes)?;
        Ok(bytes)
    }
}

fn size_mismatch(host: &str, what: &str, descriptor: &Descriptor, found: u64) -> Error {
    let (expected, found) = (format!("{} bytes", descriptor.size), found.to_string());
    Error::Mismatch { host: host.into(), what: what.into(), expected, found }
}

/// What a descriptor brings along itself.
fn embedded(descriptor: &Descriptor) -> Option<Bytes> {
    let bytes = STANDARD.decode(descriptor.data.as_deref()?).ok()?;
    let fits = bytes.len() as u64 == descriptor.size
        && hash(descriptor.digest.algorithm(), &bytes) == descriptor.digest;
    fits.then(|| bytes.into())
}

/// That `bytes` are what `descriptor` says, and cannot be read as anything else.
fn checked(host: &str, what: &str, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), Error> {
    verified(host, what, descriptor, bytes)?;
    let read = match media_type::kind(&descriptor.media_type) {
        Kind::Index => Index::read(bytes, &descriptor.media_type).map(drop),
        Kind::Manifest => Manifest::read(bytes, &descriptor.media_type).map(drop),
        Kind::Schema1 => Err(InvalidDocument::Schema1(descriptor.media_type.clone())),
        _ => Ok(()),
    };
    read.map_err(|source| Error::Document { host: host.into(), what: what.into(), source })
}

/// That `bytes` have the size and the digest of `descriptor`.
pub(crate) fn verified(host: &str, what: &str, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() as u64 != descriptor.size {
        return Err(size_mismatch(host, what, descriptor, bytes.len() as u64));
    }
    let found = hash(descriptor.digest.algorithm(), bytes);
    if found != descriptor.digest {
        let (expected, found) = (descriptor.digest.to_string(), found.to_string());
        return Err(Error::Mismatch { host: host.into(), what: what.into(), expected, found });
    }
    Ok(())
}
