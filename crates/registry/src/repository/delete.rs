use gantry_types::Digest;
use http::Method;

use super::{Call, Place, Repository, Tries};
use crate::{Capability, Error, Host};

impl Repository {
    /// Removes a manifest.
    ///
    /// # Errors
    /// [`Error`]; of the kind `Unimplemented` where the registry does not delete.
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<(), Error> {
        self.delete(&format!("manifests/{digest}"), &format!("the removal of manifest {digest}")).await
    }

    /// Removes a tag and leaves its manifest.
    ///
    /// # Errors
    /// [`Error`]; of the kind `Unimplemented` where the registry does not delete tags.
    pub async fn delete_tag(&self, tag: &str) -> Result<(), Error> {
        self.checked_tag(tag)?;
        self.delete(&format!("manifests/{tag}"), &format!("the removal of tag {tag}")).await
    }

    /// Removes a blob.
    ///
    /// # Errors
    /// [`Error`]; of the kind `Unimplemented` where the registry does not delete.
    pub async fn delete_blob(&self, digest: &Digest) -> Result<(), Error> {
        self.delete(&format!("blobs/{digest}"), &format!("the removal of blob {digest}")).await
    }

    async fn delete(&self, path: &str, what: &str) -> Result<(), Error> {
        let host = self.push_host()?;
        let scope = self.scope(&["pull", "push", "delete"]);
        let call = Call::new(Method::DELETE, Place::Path(path), &scope, what);
        self.call(&host, call, Tries::All).await.map(drop)
    }

    /// The host that changes are made at: the first that takes any.
    pub(crate) fn push_host(&self) -> Result<Host, Error> {
        let capability = Capability::Push;
        let first = self.hosts(capability)?.into_iter().next();
        first.ok_or_else(|| Error::NoHost { registry: self.registry().to_owned(), capability })
    }
}
