//! Places at which a test can make the runtime fail or die, in builds with the feature `failpoints` only.
//!
//! `GANTRY_FAILPOINT=name` makes the step of that name fail with EIO; `GANTRY_FAILPOINT=name:kill` kills the process
//! there. Names are `parent.<step>` and `child.<number of the step>`.

/// What a test asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failpoint {
    name: String,
    kill: bool,
}

impl Failpoint {
    /// The one that the environment asks for.
    pub(crate) fn from_environment() -> Option<Self> {
        if !cfg!(feature = "failpoints") {
            return None;
        }
        let text = std::env::var("GANTRY_FAILPOINT").ok()?;
        let (name, kill) = match text.strip_suffix(":kill") {
            Some(name) => (name.to_owned(), true),
            None => (text, false),
        };
        Some(Failpoint { name, kill })
    }

    /// Fails or dies if `name` is the place.
    pub(crate) fn hit(&self, name: std::fmt::Arguments<'_>) -> Result<(), gantry_sys::Errno> {
        if self.name != name.to_string() {
            return Ok(());
        }
        if self.kill {
            let _ = gantry_sys::process::kill(rustix::process::getpid().as_raw_nonzero().get(), 9);
        }
        Err(gantry_sys::Errno::IO)
    }
}
