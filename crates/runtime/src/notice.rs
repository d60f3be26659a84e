//! What a caller may want to know of an operation that goes on: warnings, and steps for debugging.

use std::fmt;
use std::sync::Arc;

/// Steps of a process that is being made, in the words of runc: people and tests look for them in a log.
pub(crate) mod step {
    /// The process is cloned, and enters its namespaces.
    pub(crate) const CLONED: &str = "nsexec container setup";
    /// It is in its cgroup, and sets up the rest by itself.
    pub(crate) const INSIDE: &str = "child process in init()";
    /// A container's process is ready, and says nothing more.
    pub(crate) const READY: &str = "init: closing the pipe to signal completion";
    /// An additional process is ready.
    pub(crate) const EXEC: &str = "setns_init: about to exec";
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something of the configuration was passed over.
    Warning,
    /// A step.
    Debug,
}

/// Where notices go; nowhere by default.
///
/// The library does not log: it tells its caller, who knows where the log is.
#[derive(Clone, Default)]
pub struct Notices(Option<Arc<Tell>>);

/// A caller's function.
type Tell = dyn Fn(Severity, &str) + Send + Sync;

impl Notices {
    /// Calls `tell` for every notice.
    pub fn to(tell: impl Fn(Severity, &str) + Send + Sync + 'static) -> Self {
        Notices(Some(Arc::new(tell)))
    }

    /// Tells a warning.
    pub(crate) fn warn(&self, text: fmt::Arguments<'_>) {
        self.tell(Severity::Warning, text);
    }

    /// Tells a step.
    pub(crate) fn debug(&self, text: fmt::Arguments<'_>) {
        self.tell(Severity::Debug, text);
    }

    fn tell(&self, severity: Severity, text: fmt::Arguments<'_>) {
        if let Some(tell) = &self.0 {
            tell(severity, &text.to_string());
        }
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Notices(to a caller)" } else { "Notices(nowhere)" })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn notices_reach_the_caller() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&told);
        let notices =
            Notices::to(move |severity, text| into.lock().unwrap().push((severity, text.to_owned())));
        notices.warn(format_args!("passed over {}", 1));
        notices.debug(format_args!("step"));
        let expect = [(Severity::Warning, "passed over 1".to_owned()), (Severity::Debug, "step".to_owned())];
        assert_eq!(*told.lock().unwrap(), expect);
        Notices::default().warn(format_args!("heard by nobody"));
    }
}
