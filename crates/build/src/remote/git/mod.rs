//! Repositories of git: read by the program `git`, as dockerd does, since there is no other whole implementation of it.
//!
//! What is asked for is a stranger's, and so is the repository. The program gets no hook, no template and no terminal; its protocols
//! are http, https, git and ssh, in submodules as well (CVE-2022-39253: never the host's files; `ext::` would be a command); what a
//! stranger names is an operand, never an option (CVE-2019-13139). It is ended with all that it has started when nobody waits any
//! more, or after [`LIMIT`].

mod checkout;
mod source;

pub(crate) use checkout::{Metadata, checkout};
pub(crate) use source::{Source, is_repository};
