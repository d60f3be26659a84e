//! Why a process ended: worked out when its end is told, and kept with it.

use std::fmt::Write;

use gantry_cgroup::{Cgroup, Features, MemoryLevel, OomEvents};
use gantry_proto_shim::own;
use serde::{Deserialize, Serialize};

use super::Pod;
use super::container::Container;
use super::process::{Exit, Process};

const SIGKILL: u32 = 9;
/// What shells end with when what they ran was killed.
const SHELLS_KILLED: u32 = 128 + SIGKILL;
/// The longest error that is kept, in bytes.
const MAX_ERROR_BYTES: usize = 4096;

/// The fields of [`own::Cause`], in the records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Cause {
    pub(crate) signal: u32,
    pub(crate) by_request: bool,
    pub(crate) out_of_memory: bool,
    pub(crate) cgroup: String,
    pub(crate) memory_limit_bytes: u64,
    pub(crate) memory_peak_bytes: u64,
    pub(crate) memory_current_bytes: u64,
    pub(crate) pressure: String,
    pub(crate) error: String,
    pub(crate) text: String,
}

impl From<&Cause> for own::Cause {
    fn from(cause: &Cause) -> Self {
        let Cause { signal, by_request, out_of_memory, cgroup, pressure, error, text, .. } = cause.clone();
        own::Cause {
            signal,
            by_request,
            out_of_memory,
            cgroup,
            memory_limit_bytes: cause.memory_limit_bytes,
            memory_peak_bytes: cause.memory_peak_bytes,
            memory_current_bytes: cause.memory_current_bytes,
            pressure,
            error,
            text,
        }
    }
}

impl Process {
    /// Why it ended, as clients are told.
    pub(crate) fn told_cause(&self) -> Option<own::Cause> {
        self.cause.as_deref().map(own::Cause::from)
    }

    /// A call has it sent a signal.
    pub(crate) fn note_signal(&mut self, signal: u32) {
        self.requested |= bit(signal);
    }

    /// Why it never ran.
    pub(crate) fn refuse(&mut self, error: &str) {
        let end = error.char_indices().map(|(at, _)| at).find(|at| *at > MAX_ERROR_BYTES);
        self.refusal = error[..end.unwrap_or(error.len())].to_owned();
    }
}

/// The bit of a signal; none for 0.
fn bit(signal: u32) -> u64 {
    signal.checked_sub(1).and_then(|shift| 1u64.checked_shl(shift)).unwrap_or(0)
}

impl Pod {
    /// Why a process has ended. Where that is not plain, files of the cgroup are read, which is there until Delete unless it is
    /// systemd's; none of them makes the kernel wait.
    pub(super) fn cause_of(&mut self, id: &str, exec_id: &str, exit: Exit) -> Cause {
        let Some(container) = self.containers.get_mut(id) else { return Cause::default() };
        let Some(process) = container.process(exec_id) else { return Cause::default() };
        let mut cause = Cause {
            signal: exit.signal,
            by_request: process.requested & bit(exit.signal) != 0,
            error: process.refusal.clone(),
            ..Cause::default()
        };
        if exit.status != 0 && cause.error.is_empty() {
            container.measure(&mut cause, exec_id, exit);
        }
        // What the kernel kills with the first process of a pid namespace is told before that one.
        let with_container = !exec_id.is_empty() && container.init.untold.is_some();
        cause.text = sentence(exit, &cause, with_container);
        cause
    }
}

impl Pod {
    /// Keeps why a process that has no end to be told never ran.
    pub(super) fn refused(&mut self, id: &str, exec_id: &str) {
        let Ok(Some(exit)) = self.process_mut(id, exec_id).map(|process| process.exit) else { return };
        let cause = self.cause_of(id, exec_id, exit);
        if let Ok(process) = self.process_mut(id, exec_id) {
            process.cause = Some(Box::new(cause));
        }
    }
}

impl Container {
    /// Finds out what memory had to do with the end of a process.
    fn measure(&mut self, cause: &mut Cause, exec_id: &str, exit: Exit) {
        let Some(record) = &self.cgroup else { return };
        let cgroup = Cgroup::from_record(record, Features::default());
        let told = self.oom.as_ref().map_or(self.oom_kills, OomEvents::kills);
        let counted = cgroup.oom_kills();
        let is_gone = counted.is_err();
        let kills = counted.unwrap_or(told);
        // The first process stands for those that it has started; of an exec's only a shell tells.
        let concerned = exit.lost
            || exit.signal == SIGKILL && !cause.by_request
            || exit.signal == 0 && (exec_id.is_empty() || exit.status == SHELLS_KILLED);
        let killed = exit.signal == SIGKILL || exit.status == SHELLS_KILLED;
        let in_log = || self.watched.is_some_and(|since| cgroup.oom_kill_in_log(since));
        cause.out_of_memory = concerned && (kills > self.oom_kills || is_gone && killed && in_log());
        if cause.out_of_memory {
            self.oom_kills = kills;
        }
        let memory = if cause.out_of_memory { cgroup.exhausted_memory() } else { cgroup.memory() };
        let told = self.exhausted.take().filter(|_| cause.out_of_memory);
        let Some(memory) = memory.ok().or(told) else { return };
        let MemoryLevel { cgroup, limit_bytes, peak_bytes, current_bytes, pressure } = memory;
        cause.cgroup = cgroup;
        cause.memory_limit_bytes = limit_bytes;
        cause.memory_peak_bytes = peak_bytes;
        cause.memory_current_bytes = current_bytes;
        cause.pressure = pressure;
    }
}

/// One sentence for a person.
fn sentence(exit: Exit, cause: &Cause, with_container: bool) -> String {
    if !cause.error.is_empty() {
        return format!("could not be started: {}", cause.error);
    }
    let mut text = match exit {
        Exit { lost: true, .. } => "its shim died: supervisor lost".to_owned(),
        Exit { signal: 0, status, .. } => format!("exited with status {status}"),
        Exit { signal, .. } => format!("killed by {}", name(signal)),
    };
    if cause.by_request {
        text.push_str(" on request");
    } else if cause.out_of_memory {
        if exit.signal == 0 && !exit.lost {
            text.push_str(" after the kernel had killed a process of it");
        }
        text.push_str(match cause.cgroup.as_str() {
            "" => ": out of memory",
            "/" => ": the machine was out of memory",
            _ => ": out of memory in ",
        });
        if cause.cgroup != "/" {
            text.push_str(&cause.cgroup);
        }
        for (what, bytes) in [("limit", cause.memory_limit_bytes), ("peak", cause.memory_peak_bytes)] {
            if bytes > 0 {
                let _ = write!(text, ", {what} {bytes} bytes");
            }
        }
    } else if exit.signal == SIGKILL && with_container {
        text.push_str(" with its container");
    }
    text
}

/// Names of signals, from 1 on: signal(7).
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

fn name(signal: u32) -> String {
    let index = signal.checked_sub(1).map(|index| index as usize);
    match index.and_then(|index| SIGNALS.get(index)) {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn check(status: u32, signal: u32, cause: Cause, expect: &str) {
        let exit = Exit { status, at: SystemTime::UNIX_EPOCH, signal, lost: false };
        assert_eq!(sentence(exit, &cause, false), expect);
    }

    #[test]
    fn each_end_has_its_sentence() {
        let memory = Cause {
            out_of_memory: true,
            cgroup: "/x".into(),
            memory_limit_bytes: 16_777_216,
            memory_peak_bytes: 16_777_216,
            ..Cause::default()
        };
        let machine = Cause { out_of_memory: true, cgroup: "/".into(), ..Cause::default() };
        let request = Cause { by_request: true, ..Cause::default() };
        let refused = Cause { error: "no such file".into(), ..Cause::default() };
        check(7, 0, Cause::default(), "exited with status 7");
        check(137, 9, Cause::default(), "killed by SIGKILL");
        check(143, 15, request, "killed by SIGTERM on request");
        check(168, 40, Cause::default(), "killed by signal 40");
        let limits = "out of memory in /x, limit 16777216 bytes, peak 16777216 bytes";
        check(137, 9, memory.clone(), &format!("killed by SIGKILL: {limits}"));
        let after = "exited with status 137 after the kernel had killed a process of it";
        check(137, 0, memory, &format!("{after}: {limits}"));
        check(137, 9, machine, "killed by SIGKILL: the machine was out of memory");
        check(255, 0, refused, "could not be started: no such file");
    }

    #[test]
    fn only_the_signal_that_was_asked_for_is_by_request() {
        let mut process = Process::new(1, crate::stdio::Stdio::default());
        for signal in [0, 1, 15, 64] {
            process.note_signal(signal);
        }
        assert_eq!(process.requested, 1 | 1 << 14 | 1 << 63);
        assert_eq!((bit(0), bit(65)), (0, 0));
    }
}
