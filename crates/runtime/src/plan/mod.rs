//! The flat plan of a container's or exec's process: everything that the clone child needs, made before the clone.
//!
//! The parent parses, checks, allocates and opens; the child ([`crate::init`]) walks the plan with system calls alone.
//! The child works on a copy of the parent's memory, so the plan needs no encoding, and when a step fails the child
//! names it by number and the parent, who has the same plan, finds the words.

pub(crate) mod identity;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod nodes;
pub(crate) mod options;
pub(crate) mod rootfs;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::exec::StringArray;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::error::Error;

/// What the child does.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) namespaces: namespaces::NamespacePlan,
    /// The root file system; `None` for exec, which finds one.
    pub(crate) rootfs: Option<rootfs::RootfsPlan>,
    pub(crate) hostname: Option<Vec<u8>>,
    pub(crate) domainname: Option<Vec<u8>>,
    pub(crate) process: identity::ProcessPlan,
    /// Hooks that the child runs before pivot_root.
    pub(crate) create_container_hooks: Vec<HookPlan>,
    /// Hooks that the child runs before the payload.
    pub(crate) start_container_hooks: Vec<HookPlan>,
    /// Whether the parent runs hooks once the mounts are made.
    pub(crate) runtime_hooks: bool,
    /// Where the child waits for start.
    pub(crate) gate: Gate,
    /// The child waits until it was put into its cgroups.
    pub(crate) await_cgroup: bool,
    /// The files by which it goes into them itself, where it does.
    pub(crate) entrances: Vec<OwnedFd>,
    /// Where hooks' output goes; the parent reads it on failure.
    pub(crate) hook_output: Option<HookOutput>,
    /// Whether a process of the container may open the child's executable while it still is the runtime's binary: one
    /// with CAP_SYS_PTRACE, in a pid namespace that is not the child's alone.
    pub(crate) traceable: bool,
    /// Whether the child leaves the runtime's binary before it executes its program (CVE-2019-5736).
    pub(crate) leaves_binary: bool,
    pub(crate) failpoint: Option<crate::failpoint::Failpoint>,
}

/// What holds the process back until start.
#[derive(Debug)]
pub(crate) enum Gate {
    /// Nothing: exec.
    Open,
    /// The parent's word on the socket: run.
    Socket,
    /// A byte in the start FIFO; failures go to the result FIFO.
    Fifo {
        /// Read end.
        start: OwnedFd,
        /// Write end.
        result: OwnedFd,
    },
}

/// A hook, ready to be executed.
#[derive(Debug)]
pub(crate) struct HookPlan {
    pub(crate) path: CString,
    pub(crate) args: StringArray,
    pub(crate) env: StringArray,
    /// Whether that is the process's, to which `HOME` may be added.
    pub(crate) env_of_process: bool,
    pub(crate) timeout_ms: Option<u64>,
}

impl HookPlan {
    /// Prepares hooks of one kind; `field` names them in errors. A hook without an environment has that of whoever
    /// runs it, as in runc: the process's for `startContainer`, ours for all others.
    pub(crate) fn prepare(
        hooks: &[gantry_types::oci::Hook],
        field: &str,
        process_env: Option<&[String]>,
    ) -> Result<Vec<Self>, Error> {
        hooks
            .iter()
            .enumerate()
            .map(|(index, hook)| {
                let field = format!("hooks.{field}[{index}]");
                if !hook.path.starts_with('/') {
                    return Err(Error::config(
                        format!("{field}.path"),
                        format!("{:?} is not absolute", hook.path),
                    ));
                }
                if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                    return Err(Error::config(format!("{field}.timeout"), "must be greater than zero"));
                }
                let args = if hook.args.is_empty() { std::slice::from_ref(&hook.path) } else { &hook.args };
                Ok(HookPlan {
                    path: c_string(&hook.path, &format!("{field}.path"))?,
                    args: string_array(args, &format!("{field}.args"))?,
                    env: match process_env {
                        _ if !hook.env.is_empty() => string_array(&hook.env, &format!("{field}.env"))?,
                        Some(env) => string_array(env, "process.env")?,
                        None => own_environment(),
                    },
                    env_of_process: process_env.is_some() && hook.env.is_empty(),
                    timeout_ms: hook.timeout.map(|seconds| seconds.unsigned_abs().saturating_mul(1000)),
                })
            })
            .collect()
    }
}

fn own_environment() -> StringArray {
    use std::os::unix::ffi::OsStringExt;
    let strings = std::env::vars_os().filter_map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        CString::new(name.into_vec()).ok()
    });
    StringArray::new(strings.collect())
}

/// Where hooks' output goes.
#[derive(Debug)]
pub(crate) struct HookOutput {
    /// A memory file that is read when a hook fails.
    memory: OwnedFd,
    /// Files of crun's annotations.
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl HookOutput {
    /// The files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &OwnedFd> {
        [Some(&self.memory), self.stdout.as_ref(), self.stderr.as_ref()].into_iter().flatten()
    }

    /// To a memory file, and to the files that annotations name.
    pub(crate) fn prepare(annotations: &BTreeMap<String, String>) -> Result<Self, Error> {
        let file = |name: &str| -> Result<Option<OwnedFd>, Error> {
            let Some(path) = annotations.get(name) else { return Ok(None) };
            let flags = OFlags::WRONLY
                | OFlags::CREATE
                | OFlags::APPEND
                | OFlags::NOCTTY
                | OFlags::NOFOLLOW
                | OFlags::CLOEXEC;
            openat(CWD, path.as_str(), flags, Mode::from_raw_mode(0o600))
                .map(Some)
                .map_err(Error::io(format!("annotations.{name}: open {path}")))
        };
        Ok(HookOutput {
            memory: crate::parent::memory_file("hook-output", b"")?,
            stdout: file("run.oci.hooks.stdout")?,
            stderr: file("run.oci.hooks.stderr")?,
        })
    }

    /// What hooks write to.
    pub(crate) fn streams(&self) -> [BorrowedFd<'_>; 2] {
        [&self.stdout, &self.stderr].map(|file| file.as_ref().unwrap_or(&self.memory).as_fd())
    }

    /// What was written, cut to a limit, but for what went to files.
    pub(crate) fn text(&self) -> String {
        crate::parent::read_output(self.memory.as_fd())
    }
}

/// A string for the kernel.
pub(crate) fn c_string(text: &str, field: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::config(field, "contains a NUL byte"))
}

/// Strings for execve(2).
pub(crate) fn string_array(items: &[String], field: &str) -> Result<StringArray, Error> {
    let strings = items
        .iter()
        .enumerate()
        .map(|(index, text)| {
            CString::new(text.as_str())
                .map_err(|_| Error::config(format!("{field}[{index}]"), "contains a NUL byte"))
        })
        .collect::<Result<_, _>>()?;
    Ok(StringArray::new(strings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_without_an_environment_inherit_one() {
        let hook = |env: &[&str]| gantry_types::oci::Hook {
            path: "/h".into(),
            env: env.iter().map(|text| (*text).to_owned()).collect(),
            ..Default::default()
        };
        let env = ["P=1".to_owned()];
        let prepare = |hook, env: Option<&[String]>| {
            HookPlan::prepare(&[hook], "prestart", env).unwrap().remove(0).env.strings().to_vec()
        };
        assert_eq!(prepare(hook(&["A=1"]), Some(&env)), [c"A=1".to_owned()]);
        assert_eq!(prepare(hook(&[]), Some(&env)), [c"P=1".to_owned()]);
        assert_eq!(prepare(hook(&[]), None).len(), std::env::vars_os().count());
    }

    #[test]
    fn no_timeout_of_a_hook_wraps() {
        let prepare = |timeout| {
            let hook =
                gantry_types::oci::Hook { path: "/h".into(), timeout: Some(timeout), ..Default::default() };
            HookPlan::prepare(&[hook], "prestart", Some(&[])).map(|mut plans| plans.remove(0).timeout_ms)
        };
        assert_eq!(prepare(5).unwrap(), Some(5000));
        assert_eq!(prepare(i64::MAX).unwrap(), Some(u64::MAX));
        assert!(prepare(0).is_err() && prepare(i64::MIN).is_err());
    }

    #[test]
    fn output_of_hooks_goes_to_the_files_of_annotations() {
        let path = std::env::temp_dir().join(format!("gantry-hook-output-{}", std::process::id()));
        let annotations = [("run.oci.hooks.stderr".to_owned(), path.to_string_lossy().into_owned())];
        let output = HookOutput::prepare(&annotations.into()).unwrap();
        let [stdout, stderr] = output.streams();
        rustix::io::write(stdout, b"out").unwrap();
        rustix::io::write(stderr, b"err").unwrap();
        assert_eq!((output.text().as_str(), std::fs::read(&path).unwrap()), ("out", b"err".to_vec()));
        std::fs::remove_file(&path).unwrap();
    }
}
