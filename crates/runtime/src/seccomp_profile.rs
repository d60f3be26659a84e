//! The configuration's seccomp profile as a program, compiled or from the cache.

use gantry_types::oci::Seccomp;

use crate::error::Error;
use crate::host::Host;
use crate::seccomp::{self, Arch, Cache, Program, Request, UnknownNames};

/// The program of a profile; and the profile, if it had to be parsed.
pub(crate) fn program(host: &Host, text: &str) -> Result<(Program, Option<Seccomp>), Error> {
    let native = Arch::native().ok_or_else(|| Error::Unsupported("seccomp: unknown architecture".into()))?;
    let cache = Cache::new(&host.root);
    let request = Request { profile: text, native, unknown: UnknownNames::Skip };
    if let Some(program) = cache.load(&request) {
        return Ok((program, None));
    }
    let profile: Seccomp = crate::config::parse_json(text.as_bytes(), "linux.seccomp")?;
    let program = seccomp::compile(&profile, native).map_err(Error::Seccomp)?;
    // A state directory that cannot be written costs the next container time, and nothing else.
    let _ = cache.store(&request, &program);
    Ok((program, Some(profile)))
}
