//! What an event says of a process. Events come from shims of any make: nothing in them is believed before it is checked.

use std::time::Duration;

use gantry_metadata::{Change, Task, TaskState, Timestamp, tasks};
use gantry_proto_shim::Message as _;
use gantry_proto_shim::any::{self, Any};
use gantry_proto_shim::events::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskPaused, TaskResumed, TaskStart,
};
use gantry_types::{ErrorKind, Namespace, identifier};

use crate::Result;

/// How long an exec that has ended is remembered at least. No event tells of its deletion.
const ENDED_EXECS_KEPT: Duration = Duration::from_secs(3600);
/// The longest cause that is kept, in bytes.
const MAX_CAUSE_BYTES: usize = 64 << 10;

/// [`TaskExit`] with what our own shim adds left out: whatever that is, the exit counts.
#[derive(Clone, PartialEq, prost::Message)]
struct Exit {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    id: String,
    #[prost(uint32, tag = "3")]
    pid: u32,
    #[prost(uint32, tag = "4")]
    exit_status: u32,
    #[prost(message, optional, tag = "5")]
    exited_at: Option<any::Timestamp>,
}

/// What our own shim adds to [`TaskExit`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Addition {
    /// A message for whoever asks why; opaque here.
    #[prost(bytes = "vec", tag = "1000")]
    cause: Vec<u8>,
}

/// News of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    container: String,
    /// Empty for the first process.
    exec: String,
    news: News,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum News {
    Created { pid: u32 },
    Added,
    Started { pid: u32 },
    Paused,
    Resumed,
    Ended { pid: u32, exit_status: u32, exited: Option<Timestamp>, cause: Vec<u8> },
    Deleted,
}

/// Reads an event; None for one that says nothing of a process, or that is broken.
pub(crate) fn read(event: &Any) -> Option<Heard> {
    let heard = |container, exec, news| Heard { container, exec, news };
    let first = String::new;
    let heard = if event.is::<TaskCreate>() {
        let TaskCreate { container_id, pid, .. } = event.unpack().ok()?;
        heard(container_id, first(), News::Created { pid })
    } else if event.is::<TaskStart>() {
        let TaskStart { container_id, pid } = event.unpack().ok()?;
        heard(container_id, first(), News::Started { pid })
    } else if event.is::<TaskExecAdded>() {
        let TaskExecAdded { container_id, exec_id } = event.unpack().ok()?;
        heard(container_id, named(exec_id)?, News::Added)
    } else if event.is::<TaskExecStarted>() {
        let TaskExecStarted { container_id, exec_id, pid } = event.unpack().ok()?;
        heard(container_id, named(exec_id)?, News::Started { pid })
    } else if event.is::<TaskPaused>() {
        heard(event.unpack::<TaskPaused>().ok()?.container_id, first(), News::Paused)
    } else if event.is::<TaskResumed>() {
        heard(event.unpack::<TaskResumed>().ok()?.container_id, first(), News::Resumed)
    } else if event.is::<TaskExit>() {
        let exit = Exit::decode(event.value.as_slice()).ok()?;
        let Exit { container_id, id, pid, exit_status, exited_at } = exit;
        let news = News::Ended { pid, exit_status, exited: exited_at.and_then(time), cause: cause(event) };
        let exec = exec_of(&container_id, id);
        heard(container_id, exec, news)
    } else if event.is::<TaskDelete>() {
        let TaskDelete { container_id, id, .. } = event.unpack().ok()?;
        let exec = exec_of(&container_id, id);
        heard(container_id, exec, News::Deleted)
    } else {
        return None;
    };
    let is_id = |text: &str| identifier::validate(text).is_ok();
    (is_id(&heard.container) && (heard.exec.is_empty() || is_id(&heard.exec))).then_some(heard)
}

fn named(exec: String) -> Option<String> {
    (!exec.is_empty()).then_some(exec)
}

/// The first process goes by no id, or by its container's.
fn exec_of(container: &str, id: String) -> String {
    if id == container { String::new() } else { id }
}

fn time(given: any::Timestamp) -> Option<Timestamp> {
    Timestamp::new(given.seconds, given.nanos).ok()
}

fn cause(event: &Any) -> Vec<u8> {
    let addition = Addition::decode(event.value.as_slice()).unwrap_or_default();
    Some(addition.cause).filter(|cause| cause.len() <= MAX_CAUSE_BYTES).unwrap_or_default()
}

impl Heard {
    /// Writes it down. A task begins with its creation: what comes of one that is not known came too late.
    pub(crate) fn write(self, change: &mut Change<'_>, namespace: &Namespace) -> Result<()> {
        let Self { container, exec, news } = self;
        match news {
            News::Created { pid } => {
                // Of a task before it nothing is left.
                tasks::remove(change, namespace, &container, "")?;
                return Ok(tasks::record(change, namespace, &Task::new(container, "", pid))?);
            }
            News::Deleted => return Ok(tasks::remove(change, namespace, &container, &exec)?),
            News::Added => {
                let oldest = change.now() - ENDED_EXECS_KEPT;
                tasks::remove_ended_execs(change, namespace, &container, oldest)?;
                return match tasks::record(change, namespace, &Task::new(container, exec, 0)) {
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                    result => Ok(result?),
                };
            }
            _ => {}
        }
        let mut task = match tasks::get(change, namespace, &container, &exec) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            task => task?,
        };
        match news {
            News::Ended { pid, exit_status, exited, cause } => {
                task = Task { state: TaskState::Stopped, pid, exit_status, exited, cause, ..task };
            }
            // Its end is the last of it.
            _ if task.state == TaskState::Stopped => return Ok(()),
            News::Started { pid } => task = Task { state: TaskState::Running, pid, ..task },
            News::Paused => task.state = TaskState::Paused,
            News::Resumed => task.state = TaskState::Running,
            News::Created { .. } | News::Added | News::Deleted => {}
        }
        Ok(tasks::record(change, namespace, &task)?)
    }
}

#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(type_url: &str, value: &[u8]) {
    let event = Any { type_url: type_url.to_owned(), value: value.to_vec() };
    let Some(heard) = read(&event) else { return };
    assert!(identifier::validate(&heard.container).is_ok());
    assert!(heard.exec.is_empty() || identifier::validate(&heard.exec).is_ok());
    if let News::Ended { cause, .. } = &heard.news {
        assert!(cause.len() <= MAX_CAUSE_BYTES && cause.len() <= value.len());
    }
    // Under another host's name it is the same.
    let hosted = Any { type_url: format!("host/{type_url}"), ..event };
    assert_eq!(read(&hosted), Some(heard));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(container: &str, exec: &str, news: News) -> Option<Heard> {
        Some(Heard { container: container.into(), exec: exec.into(), news })
    }

    /// An exit with the bytes of field 1000 after it.
    fn exit(id: &str, more: &[u8]) -> Any {
        let exited_at = Some(any::Timestamp { seconds: 5, nanos: 6 });
        let (container_id, id) = ("c".into(), id.into());
        let exit = TaskExit { container_id, id, pid: 7, exit_status: 137, exited_at, cause: None };
        let mut event = Any::pack(&exit);
        event.value.extend_from_slice(more);
        event
    }

    #[test]
    fn cause_of_an_exit_is_kept_as_it_came() {
        let exited = Some(Timestamp::new(5, 6).unwrap());
        let ended = |cause: &[u8]| News::Ended { pid: 7, exit_status: 137, exited, cause: cause.into() };
        // Key 1000 << 3 | 2, and a length.
        assert_eq!(read(&exit("e", &[0xc2, 0x3e, 2, 8, 1])), heard("c", "e", ended(&[8, 1])));
        assert_eq!(read(&exit("c", &[])), heard("c", "", ended(&[])));
        assert_eq!(read(&exit("", &[])), heard("c", "", ended(&[])));
        // A number in its place is no cause.
        assert_eq!(read(&exit("", &[0xc0, 0x3e, 2])), heard("c", "", ended(&[])));
        let mut long = vec![0xc2, 0x3e, 0x81, 0x80, 0x04];
        long.resize(long.len() + MAX_CAUSE_BYTES + 1, b'x');
        assert_eq!(read(&exit("", &long)), heard("c", "", ended(&[])));
    }

    #[test]
    fn what_is_broken_says_nothing() {
        let id = |container: &str| TaskStart { container_id: container.into(), pid: 1 };
        assert_eq!(read(&Any::pack(&id("c"))), heard("c", "", News::Started { pid: 1 }));
        for wrong in ["", "a/b", "..", "x y"] {
            assert_eq!(read(&Any::pack(&id(wrong))), None, "{wrong}");
        }
        let added = TaskExecAdded { container_id: "c".into(), exec_id: String::new() };
        assert_eq!(read(&Any::pack(&added)), None);
        let broken = Any { value: vec![0x0a, 9], ..Any::pack(&id("c")) };
        assert_eq!(read(&broken), None);
        assert_eq!(read(&Any { type_url: "other".into(), ..Any::pack(&id("c")) }), None);
    }

    #[test]
    fn time_that_is_none_is_left_out() {
        for (seconds, nanos) in [(i64::MAX, 0), (i64::MIN, -1), (0, i32::MAX)] {
            assert_eq!(time(any::Timestamp { seconds, nanos }), None);
        }
    }
}
