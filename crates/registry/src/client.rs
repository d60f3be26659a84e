use std::sync::Arc;

use gantry_types::Reference;

use crate::auth::Knowledge;
use crate::transport::Transport;
use crate::{Credentials, Error, Hosts, Options, Repository};

/// Connections, tokens and what is known of hosts; one for the process. Clones share everything.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) options: Arc<Options>,
    pub(crate) transport: Transport,
    pub(crate) knowledge: Knowledge,
}

impl Client {
    /// A client without connections yet.
    ///
    /// # Errors
    /// [`Error::Configuration`]: a proxy's URL or the certificates cannot be used.
    pub fn new(options: Options) -> Result<Self, Error> {
        let options = Arc::new(options);
        let transport = Transport::new(Arc::clone(&options))?;
        Ok(Self { shared: Arc::new(Shared { options, transport, knowledge: Knowledge::default() }) })
    }

    /// The repository of `reference`, as whoever `credentials` are of sees it through `hosts`.
    pub fn repository(
        &self,
        reference: &Reference,
        hosts: Arc<dyn Hosts>,
        credentials: Arc<dyn Credentials>,
    ) -> Repository {
        Repository::new(self.clone(), reference.host(), reference.repository(), hosts, credentials)
    }
}
