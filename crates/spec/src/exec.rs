//! One more process in a container that runs.

use gantry_types::oci::{ConsoleSize, Process, User as OciUser};

use crate::error::at_most;
use crate::host::Host;
use crate::options::Confinement;
use crate::process::{check_env, check_strings};
use crate::user::User;
use crate::{Error, capabilities};

/// The most groups of a process (NGROUPS_MAX).
const MAX_GROUPS: usize = 65_536;

/// What a process of `exec` is to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exec {
    /// What to run.
    pub args: Vec<String>,
    /// Its whole environment: [`crate::overlay_env`] of the container's ([`crate::process_env`]) with what was asked for.
    pub env: Vec<String>,
    /// The working directory; the container's when empty.
    pub cwd: String,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Its size, if that is known.
    pub console_size: Option<ConsoleSize>,
    /// Who it is; who the container's process is when `None`.
    pub user: Option<User>,
    /// The container's `--group-add`, for a user that was asked for.
    pub group_add: Vec<u32>,
    /// Whether it has all capabilities. The container's filter and profiles hold all the same.
    pub privileged: bool,
}

/// Makes the process of an exec from that of its container's configuration.
///
/// # Errors
/// [`Error`]: nothing to run, or values that mean nothing.
pub fn exec(container: &Process, wanted: &Exec, host: &Host) -> Result<Process, Error> {
    check_strings("arguments", &wanted.args)?;
    check_env(&wanted.env)?;
    if wanted.args.is_empty() {
        return Err(Error::NoCommand);
    }
    let mut process = container.clone();
    process.args.clone_from(&wanted.args);
    process.env.clone_from(&wanted.env);
    if !wanted.cwd.is_empty() {
        process.cwd = directory(&wanted.cwd)?;
    }
    process.terminal = wanted.tty;
    process.console_size = if wanted.tty { size(&wanted.console_size) } else { None };
    if let Some(user) = &wanted.user {
        process.user = identity(user, &wanted.group_add)?;
    }
    if wanted.privileged {
        let all = Confinement { privileged: true, ..Confinement::default() };
        process.capabilities = Some(capabilities::sets(capabilities(&all, host)?));
    }
    if let Some(sets) = &mut process.capabilities {
        // CVE-2022-29162: not by way of a configuration that somebody else wrote, either.
        sets.inheritable.clear();
        sets.ambient.clear();
    }
    Ok(process)
}

/// A working directory: absolute, the root when empty.
pub(crate) fn directory(path: &str) -> Result<String, Error> {
    match path {
        "" => Ok("/".to_owned()),
        path if path.starts_with('/') && !path.contains('\0') => Ok(path.to_owned()),
        path => Err(Error::invalid("working directory", path, "it is not absolute")),
    }
}

/// The size of a terminal, where somebody knows it.
pub(crate) fn size(size: &Option<ConsoleSize>) -> Option<ConsoleSize> {
    size.clone().filter(|size| size.height > 0 || size.width > 0)
}

/// CVE-2022-36109: the group itself is one of the additional ones, so that a file which it may not read stays unreadable
/// for a program that changes its group.
pub(crate) fn identity(user: &User, group_add: &[u32]) -> Result<OciUser, Error> {
    let all = std::iter::once(&user.gid).chain(&user.additional_gids).chain(group_add);
    let mut seen = std::collections::BTreeSet::new();
    let gids: Vec<u32> = all.copied().filter(|gid| seen.insert(*gid)).collect();
    at_most("groups of a process", gids.len(), MAX_GROUPS)?;
    Ok(OciUser { uid: user.uid, gid: user.gid, additional_gids: gids, ..OciUser::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    fn container(change: impl FnOnce(&mut Options)) -> Process {
        let mut options = Options { args: vec!["sleep".into()], cwd: "/srv".into(), ..Options::default() };
        change(&mut options);
        crate::generate(&options, &Host::default()).unwrap().process.unwrap()
    }

    fn wanted() -> Exec {
        Exec { args: vec!["id".into()], env: vec!["A=b".into()], ..Exec::default() }
    }

    #[test]
    fn what_is_not_asked_for_is_as_in_the_container() {
        let container = container(|o| {
            o.tty = true;
            o.confinement.no_new_privileges = true;
            o.oom_score_adj = 5;
            o.user.uid = 7;
        });
        let process = exec(&container, &wanted(), &Host::default()).unwrap();
        assert_eq!((process.cwd.as_str(), process.terminal, process.user.uid), ("/srv", false, 7));
        assert!(process.no_new_privileges && process.oom_score_adj == Some(5));
        assert_eq!(process.env, ["A=b"]);
        assert_eq!(process.capabilities, container.capabilities);
    }

    #[test]
    fn users_bring_their_groups_and_those_that_were_added() {
        let user = User { uid: 5, gid: 6, additional_gids: vec![8], ..User::default() };
        let wanted =
            Exec { user: Some(user), group_add: vec![9, 6], cwd: "/x".into(), tty: true, ..wanted() };
        let process = exec(&container(|_| {}), &wanted, &Host::default()).unwrap();
        assert_eq!((process.user.uid, process.user.gid, process.user.additional_gids), (5, 6, vec![6, 8, 9]));
        assert!(process.terminal && process.console_size.is_none() && process.cwd == "/x");
    }

    #[test]
    fn cve_2022_29162_inheritable_capabilities_are_none() {
        let mut foreign = container(|_| {});
        let sets = foreign.capabilities.as_mut().unwrap();
        (sets.inheritable, sets.ambient) = (vec!["CAP_KILL".into()], vec!["CAP_KILL".into()]);
        for privileged in [false, true] {
            let process = exec(&foreign, &Exec { privileged, ..wanted() }, &Host::default()).unwrap();
            let sets = process.capabilities.unwrap();
            assert!(sets.inheritable.is_empty() && sets.ambient.is_empty());
            assert_eq!(sets.bounding.len(), if privileged { 41 } else { 14 });
        }
    }

    #[test]
    fn nothing_to_run_and_nowhere_to_run_it_are_refused() {
        let container = container(|_| {});
        for bad in [
            Exec::default(),
            Exec { args: vec!["\0".into()], ..wanted() },
            Exec { env: vec!["=".into()], ..wanted() },
            Exec { cwd: "x".into(), ..wanted() },
        ] {
            assert!(exec(&container, &bad, &Host::default()).is_err(), "{bad:?}");
        }
    }
}
