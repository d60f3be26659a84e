use gantry_types::Descriptor;
use http::{Method, StatusCode};

use super::session::Session;
use super::{BodyStream, Pushed};
use crate::auth::Scope;
use crate::repository::{Call, Place, Tries};
use crate::{Error, Host, Repository};

/// The most repositories from which a blob is tried to be mounted.
const MAX_MOUNTS: usize = 4;

impl Repository {
    /// Uploads a blob unless it is there: mounted from one of the repositories `mount_from` of the same registry, or
    /// sent. `source` gives its bytes from an offset on, and may be asked again after a failure.
    ///
    /// # Errors
    /// [`Error`].
    ///
    /// # Cancel safety
    /// Dropped, it leaves an unfinished upload at the registry, which forgets it in its time.
    pub async fn push_blob(
        &self,
        descriptor: &Descriptor,
        source: &(dyn Fn(u64) -> BodyStream + Send + Sync),
        mount_from: &[String],
    ) -> Result<Pushed, Error> {
        let what = format!("the upload of blob {}", descriptor.digest);
        let host = self.push_host()?;
        let scope = self.scope(&["pull", "push"]);
        if self.has_blob(&host, descriptor, &scope, &what).await? {
            return Ok(Pushed::Exists);
        }
        let mut session = None;
        for from in mount_from.iter().filter(|from| *from != self.name()).take(MAX_MOUNTS) {
            match self.mount(&host, descriptor, from, &what).await {
                Ok(Mount::Done) => return Ok(Pushed::Mounted(from.clone())),
                Ok(Mount::Session(opened)) => {
                    let before: Option<Session<'_>> = session.replace(opened);
                    if let Some(before) = before {
                        before.cancel().await;
                    }
                }
                // Who may not read the other repository may still write this one.
                Err(error) => tracing::debug!(error = %error, from, "blob cannot be mounted"),
            }
        }
        let session = match session {
            Some(session) => session,
            None => self.session(&host, &scope, &what, None).await?,
        };
        session.upload(descriptor, source).await?;
        Ok(Pushed::Uploaded)
    }

    async fn has_blob(
        &self,
        host: &Host,
        descriptor: &Descriptor,
        scope: &Scope,
        what: &str,
    ) -> Result<bool, Error> {
        let path = format!("blobs/{}", descriptor.digest);
        match self.call(host, Call::new(Method::HEAD, Place::Path(&path), scope, what), Tries::All).await {
            Ok(answer) => Ok(answer.length().is_none_or(|length| length == descriptor.size)),
            // Some may write what they may not read.
            Err(Error::NotFound { .. } | Error::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn mount<'a>(
        &'a self,
        host: &'a Host,
        descriptor: &Descriptor,
        from: &str,
        what: &'a str,
    ) -> Result<Mount<'a>, Error> {
        let mut scope = self.scope(&["pull", "push"]);
        scope.add(&Scope::repository(from, &["pull"]));
        let call = Call::new(Method::POST, Place::Path("blobs/uploads/"), &scope, what)
            .query("mount", descriptor.digest.as_str())
            .query("from", from);
        let answer = self.call(host, call, Tries::All).await?;
        if answer.status() == StatusCode::CREATED {
            return Ok(Mount::Done);
        }
        Session::begun(self, host, self.scope(&["pull", "push"]), what, &answer).map(Mount::Session)
    }

    /// Begins an upload; its blob is to be hashed with `algorithm` if that is not the usual one.
    pub(super) async fn session<'a>(
        &'a self,
        host: &'a Host,
        scope: &Scope,
        what: &'a str,
        algorithm: Option<&str>,
    ) -> Result<Session<'a>, Error> {
        let mut call = Call::new(Method::POST, Place::Path("blobs/uploads/"), scope, what);
        if let Some(algorithm) = algorithm {
            call = call.query("digest-algorithm", algorithm);
        }
        let answer = self.call(host, call, Tries::All).await?;
        Session::begun(self, host, scope.clone(), what, &answer)
    }
}

enum Mount<'a> {
    Done,
    Session(Session<'a>),
}
