//! AppArmor: the profile of containers that name none, loaded when the first of them starts.
//!
//! It is `docker-default`, so that a profile which another engine or an administrator loaded under that name counts. Whether
//! it is loaded is looked at before each process, because upgrades of policies unload what is in none of their files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::{Engine, Error, Record, Result};

/// The profile of containers that name none, by docker's name.
pub(crate) const DEFAULT: &str = "docker-default";
/// The word for no profile.
pub(crate) const UNCONFINED: &str = "unconfined";

const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
/// The profiles that the kernel has: a line each, its name and `(enforce)` or another mode.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
/// Where administrators keep their policies.
const POLICIES: &str = "/etc/apparmor.d";
const PARSER: &str = "apparmor_parser";
/// Programs of the administrator, whatever the daemon's PATH is.
const DIRECTORIES: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";
/// A hundred times what compiling the profile takes.
const PARSER_LIMIT: Duration = Duration::from_secs(60);
/// What of the parser's complaint is told.
const MAX_COMPLAINT_BYTES: usize = 1024;

/// What containers get that name no profile: `None` where AppArmor is off. Blocks.
///
/// As with docker, AppArmor without its tools is no reason to start nothing: containers are unconfined by it then, unless
/// they name a profile, and the log says so.
pub(crate) fn default_profile() -> Option<String> {
    let enabled = std::fs::read_to_string(ENABLED).is_ok_and(|text| text.starts_with('Y'));
    // Not in a container of somebody's, where the list is not to be seen.
    if !enabled || !Path::new(LOADED).exists() {
        return None;
    }
    if parser().is_some() || is_loaded(DEFAULT) {
        return Some(DEFAULT.to_owned());
    }
    tracing::warn!(
        "AppArmor is on, but there is no {PARSER} to load {DEFAULT}: containers are not confined by it until the package \
         apparmor is installed and the daemon started again"
    );
    Some(UNCONFINED.to_owned())
}

/// Loads the default profile, one caller at a time.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    alone: Mutex<()>,
}

impl Profiles {
    /// Makes sure that the kernel has a profile which a process is about to get.
    ///
    /// # Errors
    /// Invalid for one of that name which nobody loaded, and for the default one if the parser refuses it.
    pub(crate) async fn ensure(&self, profile: &str) -> Result<()> {
        // Names with a namespace, and stacks of several, are for the kernel to understand.
        if profile.is_empty() || profile == UNCONFINED || profile.contains([':', '&']) || is_loaded(profile) {
            return Ok(());
        }
        if profile != DEFAULT {
            return Err(Error::Invalid(format!(
                "AppArmor profile {profile:?} is not loaded: load it by {PARSER}, or choose another by \
                 --security-opt apparmor=NAME"
            )));
        }
        let _alone = self.alone.lock().await;
        if is_loaded(profile) {
            return Ok(());
        }
        load(&text()).await.map_err(|complaint| {
            Error::Invalid(format!("AppArmor is on, and the profile {DEFAULT} cannot be loaded: {complaint}"))
        })?;
        tracing::info!(profile, "AppArmor profile loaded");
        Ok(())
    }
}

impl Engine {
    /// Whether AppArmor confines containers that do not choose otherwise.
    pub fn has_apparmor(&self) -> bool {
        self.shared.host.apparmor.as_deref() == Some(DEFAULT)
    }

    /// The AppArmor profile of a container's processes; empty where AppArmor is off.
    pub fn apparmor_profile(&self, record: &Record) -> String {
        let Some(default) = &self.shared.host.apparmor else { return String::new() };
        let isolation = &record.options.isolation;
        let mut named = isolation.security_opt.iter().filter_map(|option| option.split_once(['=', ':']));
        match named.rfind(|(key, name)| *key == "apparmor" && !name.is_empty()) {
            Some((_, name)) => name.to_owned(),
            None if isolation.privileged => UNCONFINED.to_owned(),
            None => default.clone(),
        }
    }
}

/// A file of the kernel's memory: reading it waits for nothing.
fn is_loaded(profile: &str) -> bool {
    std::fs::read_to_string(LOADED).is_ok_and(|list| has(&list, profile))
}

/// Names may have spaces, modes have none.
fn has(list: &str, profile: &str) -> bool {
    list.lines().any(|line| line.rsplit_once(" (").is_some_and(|(name, _)| name == profile))
}

fn parser() -> Option<PathBuf> {
    let own = std::env::var("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&own).chain(std::env::split_paths(DIRECTORIES));
    directories.filter(|dir| dir.is_absolute()).map(|dir| dir.join(PARSER)).find(|path| path.is_file())
}

/// Gives a policy to the parser, which compiles and loads it; what it complains of otherwise.
async fn load(policy: &str) -> std::result::Result<(), String> {
    let Some(parser) = parser() else {
        return Err(format!("{PARSER} is not installed (package apparmor)"));
    };
    // Nothing goes to the parser's cache: the policy is in no file.
    let mut command = Command::new(&parser);
    command.args(["--skip-cache", "--replace"]).current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = async {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(policy.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = match timeout(PARSER_LIMIT, ran).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("{}: {error}", parser.display())),
        Err(_) => return Err(format!("{} did not end within {PARSER_LIMIT:?}", parser.display())),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let end = said.floor_char_boundary(MAX_COMPLAINT_BYTES);
    Err(format!("{} ended with {}: {}", parser.display(), output.status, said[..end].trim()))
}

/// The profile as this machine's parser understands it.
fn text() -> String {
    let current = ["/proc/self/attr/apparmor/current", "/proc/self/attr/current"];
    let current = current.iter().find_map(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let has = |name: &str| Path::new(POLICIES).join(name).exists();
    policy(own_profile(&current), has)
}

/// The profile that the daemon and its shims have, from what the kernel says of it.
fn own_profile(current: &str) -> Option<&str> {
    let name = current.trim_end_matches(['\n', '\0']);
    let name = name.rsplit_once(" (").map_or(name, |(name, _)| name);
    let is_plain = !name.contains(['"', '\\', '\n', '{', '[', '*', '?', '@', '^']);
    Some(name).filter(|name| is_plain && !name.is_empty() && *name != UNCONFINED)
}

/// The rules of docker's newest default profile: everything but mounts, and the files of the kernel outside of what is a
/// container's own. Denials say the same more strictly where docker's patterns leave gaps (names in /proc/sys/kernel that
/// share a letter with `shm`).
///
/// `has` tells whether the administrator's policies have a file.
fn policy(own: Option<&str>, has: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    // From 4.0 on, `network` leaves Unix sockets out, and older parsers know no abi at all.
    if has("abi/3.0") {
        text += "abi <abi/3.0>,\n";
    }
    // Only with both: the second has variables of the first.
    let shared = has("tunables/global") && has("abstractions/base");
    if shared {
        text += "#include <tunables/global>\n";
    }
    let _ = writeln!(text, "profile {DEFAULT} flags=(attach_disconnected, mediate_deleted) {{");
    if shared {
        text += "#include <abstractions/base>\n";
    }
    text += RULES;
    if let Some(own) = own {
        let _ = writeln!(text, "signal (receive) peer=\"{own}\",");
    }
    text + "}\n"
}

const RULES: &str = "
network,
capability,
file,
umount,
deny mount,

# Who may end or trace a container's processes: the host, the runtimes that distributions confine, and each other.
signal (receive) peer=unconfined,
signal (receive) peer=runc,
signal (receive) peer=crun,
signal (send, receive) peer=docker-default,
ptrace (read, trace, readby, tracedby) peer=docker-default,

# Of /proc, only the directories of processes, and below sys only the limits of the container's own IPC.
deny /proc/* w,
deny /proc/{[^/1-9s]*,s[^/y]*,sy[^/s]*,sys[^/]*}/** w,
deny /proc/sys/[^/k]** w,
deny /proc/sys/kernel/[^/s]** w,
deny /proc/sys/kernel/s[^/eh]** w,
deny /proc/sys/kernel/se[^/m]** w,
deny /proc/sys/kernel/sh[^/m]** w,
deny /proc/{sysrq-trigger,kcore,mem,kmem} rwklx,

# Of /sys, only the cgroups.
deny /sys/{[^/f]*,f[^/s]*,fs/[^/c]*,fs/c[^/g]*,fs/cg[^/r]*}/** wklx,
deny /sys/firmware/** rwklx,
deny /sys/devices/virtual/powercap/** rwklx,
deny /sys/kernel/security/** rwklx,
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_found_by_their_whole_names() {
        let list = "docker-default (enforce)\n/usr/bin/man//filter (complain)\nwith space (kill)\n";
        for name in ["docker-default", "/usr/bin/man//filter", "with space"] {
            assert!(has(list, name), "{name}");
        }
        for name in ["docker", "default", "", "with", "docker-default (enforce)"] {
            assert!(!has(list, name), "{name}");
        }
    }

    #[test]
    fn the_policy_uses_what_the_administrator_has() {
        let all = policy(None, |_| true);
        for line in ["abi <abi/3.0>,", "#include <tunables/global>", "#include <abstractions/base>"] {
            assert!(all.lines().any(|found| found == line), "{line}");
        }
        let bare = policy(None, |_| false);
        assert!(bare.starts_with("profile docker-default ") && !bare.contains('<'), "{bare}");
        assert!(bare.ends_with("}\n"));
        assert!(!policy(None, |name| name == "abstractions/base").contains("#include"));
    }

    #[test]
    fn a_confined_daemon_may_signal_its_containers() {
        assert_eq!(own_profile("gantryd (enforce)\n"), Some("gantryd"));
        assert_eq!(own_profile("/usr/bin/gantryd (complain)\n"), Some("/usr/bin/gantryd"));
        for none in ["unconfined\n", "unconfined", "", "a\"b (enforce)\n", "{x (enforce)\n"] {
            assert_eq!(own_profile(none), None, "{none:?}");
        }
        let text = policy(own_profile("gantryd (enforce)\n"), |_| true);
        assert!(text.contains("signal (receive) peer=\"gantryd\",\n"), "{text}");
    }
}
