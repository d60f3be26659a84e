//! What was last heard of processes. What they do is their shims' to say; this is what is left when a shim is gone.

use gantry_types::{Namespace, identifier};
use rusqlite::types::FromSqlError;
use rusqlite::{Row, params};

use crate::time::{self, Timestamp};
use crate::{Change, Error, View, namespaces, row};

/// A process of a container, as it was last heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The container.
    pub container: String,
    /// The exec; empty for the container's first process.
    pub exec: String,
    /// Its pid, 0 before it has one.
    pub pid: u32,
    /// What it did.
    pub state: State,
    /// How it ended.
    pub exit_status: u32,
    /// When it ended.
    pub exited: Option<Timestamp>,
    /// Why it ended, in its shim's words.
    pub cause: Vec<u8>,
    /// The kernel's boot id under which this was heard. [`record`] writes that of its own boot.
    pub boot: String,
}

impl Task {
    /// A process that was made and does nothing yet.
    pub fn new(container: impl Into<String>, exec: impl Into<String>, pid: u32) -> Self {
        Self {
            container: container.into(),
            exec: exec.into(),
            pid,
            state: State::Created,
            exit_status: 0,
            exited: None,
            cause: Vec::new(),
            boot: String::new(),
        }
    }
}

/// What a process did when it was last heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// It was made, and not started.
    Created = 1,
    /// It ran.
    Running = 2,
    /// It was frozen.
    Paused = 3,
    /// It had ended.
    Stopped = 4,
}

impl State {
    pub(crate) const ALL: [Self; 4] = [Self::Created, Self::Running, Self::Paused, Self::Stopped];
}

const SELECT: &str = "SELECT container, exec, pid, state, exit_status, exited, cause, b.name, namespace
    FROM task JOIN boot AS b ON b.id = task.boot";

/// Writes down what was heard of a process, in place of what was known of it.
///
/// # Errors
/// InvalidArgument for the ids; NotFound for an exec of a container whose first process is not known.
pub fn record(change: &mut Change<'_>, namespace: &Namespace, task: &Task) -> Result<(), Error> {
    identifier::validate(&task.container).map_err(|error| Error::invalid("container id", error))?;
    if task.exec.is_empty() {
        change.enter(namespace)?;
    } else {
        identifier::validate(&task.exec).map_err(|error| Error::invalid("exec id", error))?;
        get(change, namespace, &task.container, "")?;
    }
    change
        .prepare(
            "INSERT OR REPLACE INTO task
             (namespace, container, exec, pid, state, exit_status, exited, cause, boot)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            namespace.as_str(),
            task.container,
            task.exec,
            task.pid,
            task.state as u8,
            task.exit_status,
            task.exited.map(time::to_row),
            task.cause,
            change.config.boot
        ])?;
    Ok(())
}

/// Forgets a process, and with a container's first one all of its execs. One that is not known is forgotten already.
///
/// # Errors
/// Those of the database.
pub fn remove(
    change: &mut Change<'_>,
    namespace: &Namespace,
    container: &str,
    exec: &str,
) -> Result<(), Error> {
    change
        .prepare("DELETE FROM task WHERE namespace = ?1 AND container = ?2 AND (exec = ?3 OR ?3 = '')")?
        .execute([namespace.as_str(), container, exec])?;
    Ok(())
}

/// Forgets the execs of a container that ended before `time`: their shims may say that they were deleted, but need not.
///
/// # Errors
/// Those of the database.
pub fn remove_ended_execs(
    change: &mut Change<'_>,
    namespace: &Namespace,
    container: &str,
    time: Timestamp,
) -> Result<(), Error> {
    change
        .prepare(
            "DELETE FROM task WHERE namespace = ?1 AND container = ?2 AND exec <> '' AND state = ?3
             AND exited < ?4",
        )?
        .execute(params![namespace.as_str(), container, State::Stopped as u8, time::to_row(time)])?;
    Ok(())
}

/// What was last heard of one process.
///
/// # Errors
/// NotFound.
pub fn get(view: &View<'_>, namespace: &Namespace, container: &str, exec: &str) -> Result<Task, Error> {
    let sql = format!("{SELECT} WHERE namespace = ?1 AND container = ?2 AND exec = ?3");
    let found = view.row(&sql, [namespace.as_str(), container, exec], read)?;
    found.ok_or_else(|| match exec {
        "" => Error::not_found("task", container),
        exec => Error::not_found("process", exec),
    })
}

/// All processes of a namespace, by container; its first process comes before its execs.
///
/// # Errors
/// Those of the database.
pub fn list(view: &View<'_>, namespace: &Namespace) -> Result<Vec<Task>, Error> {
    let sql = format!("{SELECT} WHERE namespace = ?1 ORDER BY container, exec");
    view.rows(&sql, [namespace.as_str()], read)
}

/// All processes with their namespaces, in the same order.
///
/// # Errors
/// Those of the database.
pub fn list_all(view: &View<'_>) -> Result<Vec<(Namespace, Task)>, Error> {
    let sql = format!("{SELECT} ORDER BY namespace, container, exec");
    view.rows(&sql, [], |row| Ok((namespaces::parse(row, 8)?, read(row)?)))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Task> {
    let code: u8 = row.get(3)?;
    let state = State::ALL.into_iter().find(|state| *state as u8 == code);
    Ok(Task {
        container: row.get(0)?,
        exec: row.get(1)?,
        pid: row.get(2)?,
        state: state.ok_or_else(|| row::damaged(3, FromSqlError::OutOfRange(code.into())))?,
        exit_status: row.get(4)?,
        exited: row.get::<_, Option<i64>>(5)?.map(time::from_row),
        cause: row.get(6)?,
        boot: row.get(7)?,
    })
}
