//! The one thread that writes: it takes what waits, runs it in one transaction with a savepoint for each, and answers
//! after the commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::database::Shared;
use crate::events::{self, Envelope};
use crate::view::{Change, Ledger, View};
use crate::{Durability, Error, sources};

/// Changes in one transaction.
const GROUP: usize = 128;
/// How long a transaction takes in further changes.
const GROUP_TIME: Duration = Duration::from_millis(4);
/// Events after which the journal is shortened, and how long it waits for that at most.
const TRIM_EVERY: u64 = 1000;
const TRIM_PERIOD: Duration = Duration::from_secs(3600);

/// Answers a change, with the error of the commit if that failed.
pub(crate) type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// A change that waits: says whether it is to be kept, and how it is answered.
pub(crate) type Job = Box<dyn FnOnce(&mut Change<'_>) -> (bool, Answer) + Send>;

pub(crate) enum Message {
    Job(Job),
    Stop,
}

pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) shared: Arc<Shared>,
    pub(crate) ledger: Ledger,
    pub(crate) untrimmed: u64,
    pub(crate) trimmed: Instant,
}

impl Writer {
    pub(crate) fn new(connection: Connection, shared: Arc<Shared>, ledger: Ledger) -> Self {
        Self { connection, shared, ledger, untrimmed: u64::MAX, trimmed: Instant::now() }
    }

    pub(crate) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let go_on = match messages.recv_timeout(TRIM_PERIOD) {
                Ok(Message::Job(job)) => self.group(job, messages),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => false,
                Err(RecvTimeoutError::Timeout) => true,
            };
            if !go_on {
                break;
            }
            self.trim();
            self.shared.heed_damage();
        }
        if self.shared.is_damaged() {
            return;
        }
        // What comes after the end is answered by its channel's end.
        if let Err(error) =
            self.connection.execute("INSERT OR REPLACE INTO setting VALUES ('clean', '1')", [])
        {
            tracing::warn!(%error, "database: the clean end is not on record");
        }
    }

    /// Runs `first` and what else waits. Says whether to go on.
    fn group(&mut self, first: Job, messages: &Receiver<Message>) -> bool {
        let begun = Instant::now();
        let mut answers = Vec::new();
        let (mut events, mut released) = (Vec::new(), self.ledger.released);
        let mut next = Some(first);
        let mut go_on = true;
        if let Err(error) = self.statement("BEGIN IMMEDIATE") {
            answers.extend(next.take().and_then(|job| self.refuse(job)));
            answer_all(answers, Err(error));
            return go_on;
        }
        while let Some(job) = next.take() {
            answers.push(self.one(job, &mut events, &mut released));
            // Some errors (a full disk) end the whole transaction.
            if self.connection.is_autocommit() {
                answer_all(
                    answers,
                    Err(Error::Commit("rolled back".into(), gantry_types::ErrorKind::Aborted)),
                );
                return go_on;
            }
            if answers.len() < GROUP && begun.elapsed() < GROUP_TIME {
                match messages.try_recv() {
                    Ok(Message::Job(job)) => next = Some(job),
                    Ok(Message::Stop) | Err(TryRecvError::Disconnected) => go_on = false,
                    Err(TryRecvError::Empty) => {}
                }
            }
        }
        let result = self.commit();
        if result.is_ok() {
            self.ledger.released = released;
            self.shared.committed(&self.ledger);
            self.untrimmed = self.untrimmed.saturating_add(events.len() as u64);
            self.shared.hub.publish(&events);
        }
        answer_all(answers, result);
        go_on
    }

    fn statement(&self, sql: &str) -> Result<(), Error> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    fn commit(&self) -> Result<(), Error> {
        let result = (|| {
            if self.shared.durability == Durability::Full {
                self.shared.flush.run_hook()?;
            }
            self.statement("COMMIT")
        })();
        if result.is_err() && !self.connection.is_autocommit() {
            let _ = self.statement("ROLLBACK");
        }
        result
    }

    /// The answer to a job that could not even begin: it runs against nothing.
    fn refuse(&mut self, job: Job) -> Option<Answer> {
        let mut change = Change::new(View::new(&self.connection, &self.shared.config), &mut self.ledger);
        // Without a transaction every write of it would be one of its own, so that reading alone is allowed.
        self.connection.pragma_update(None, "query_only", true).ok()?;
        let (_, answer) = job(&mut change);
        self.connection.pragma_update(None, "query_only", false).ok()?;
        self.ledger.events.clear();
        self.ledger.anyway.clear();
        Some(answer)
    }

    fn one(&mut self, job: Job, events: &mut Vec<Envelope>, released: &mut i64) -> Answer {
        self.ledger.events.clear();
        self.ledger.anyway.clear();
        self.ledger.releasing = 0;
        if let Err(error) = self.statement("SAVEPOINT change") {
            return with_error(self.refuse(job), error);
        }
        let mut change = Change::new(View::new(&self.connection, &self.shared.config), &mut self.ledger);
        let (keep, answer) = job(&mut change);
        let result = if keep { self.statement("RELEASE change") } else { self.undo() };
        match result {
            Ok(()) => {
                if keep {
                    events.append(&mut self.ledger.events);
                    *released = self.ledger.releasing.max(*released);
                }
                answer
            }
            Err(error) => {
                // What the others of the group did cannot be told from what this one did.
                let _ = self.statement("ROLLBACK");
                with_error(Some(answer), error)
            }
        }
    }

    /// Takes the change back, but for the leases on what exists already.
    fn undo(&mut self) -> Result<(), Error> {
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.statement("ROLLBACK TO change")?;
        let anyway = std::mem::take(&mut self.ledger.anyway);
        let mut change = Change::new(View::new(&self.connection, &self.shared.config), &mut self.ledger);
        for anyway in anyway {
            change.do_anyway(anyway)?;
        }
        self.statement("RELEASE change")
    }

    fn trim(&mut self) {
        let limits = &self.shared.journal;
        let due = self.untrimmed >= TRIM_EVERY.min(limits.max_rows / 8 + 1);
        if !due && self.trimmed.elapsed() < TRIM_PERIOD {
            return;
        }
        let view = View::new(&self.connection, &self.shared.config);
        let trimmed = events::trim(&view, limits.max_rows, limits.max_age);
        match trimmed.and_then(|()| sources::trim(&view)) {
            Ok(()) => self.shared.committed(&self.ledger),
            Err(error) => tracing::warn!(%error, "database: the journal was not shortened"),
        }
        self.untrimmed = 0;
        self.trimmed = Instant::now();
    }
}

/// An answer that tells of `error` whatever becomes of the commit.
fn with_error(answer: Option<Answer>, error: Error) -> Answer {
    Box::new(move |_| {
        if let Some(answer) = answer {
            answer(Err(error));
        }
    })
}

fn answer_all(answers: Vec<Answer>, result: Result<(), Error>) {
    let (text, kind) = match &result {
        Ok(()) => (String::new(), None),
        Err(error) => (describe(error), Some(error.kind())),
    };
    for answer in answers {
        let result = kind.map_or(Ok(()), |kind| Err(Error::Commit(text.clone(), kind)));
        // A caller's panic is its own; the writer goes on for the others.
        if catch_unwind(AssertUnwindSafe(|| answer(result))).is_err() {
            tracing::error!("database: the answer to a change panicked");
        }
    }
}

fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
