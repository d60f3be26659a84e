use gantry_types::Namespace;

/// On whose behalf something is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The tenancy.
    pub namespace: Namespace,
    /// The lease that keeps what is created.
    pub lease: Option<String>,
}

impl Context {
    /// Without a lease.
    pub fn new(namespace: Namespace) -> Self {
        Self { namespace, lease: None }
    }

    /// The same with a lease.
    #[must_use]
    pub fn with_lease(&self, lease: impl Into<String>) -> Self {
        Self { namespace: self.namespace.clone(), lease: Some(lease.into()) }
    }
}
