//! What was done, and what should not have come of it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use gantry_ttrpc::{CallError, Code};

/// Counts operations by their outcome, and collects what is wrong: a soak goes on after the first defect.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    outcomes: Mutex<BTreeMap<String, u64>>,
    wrong: Mutex<BTreeMap<String, (u64, String)>>,
}

impl Ledger {
    /// Counts an answer. Only what a caller can have done wrong may be refused.
    pub(super) fn answer<T>(&self, method: &str, answer: Result<T, CallError>) -> Option<T> {
        let error = match answer {
            Ok(answer) => {
                self.count(&format!("{method} ok"));
                return Some(answer);
            }
            Err(error) => error,
        };
        let Some(status) = error.status() else {
            self.wrong(&format!("{method} without an answer"), &error);
            return None;
        };
        // Aborted is what was killed by another call while it was set up.
        let refusals = [Code::NotFound, Code::FailedPrecondition, Code::AlreadyExists, Code::Aborted];
        // What another runtime refuses has words, but no kind.
        let by_runc = status.message.starts_with("OCI runtime runc: ");
        if by_runc || refusals.iter().any(|code| *code as i32 == status.code) {
            self.count(&format!("{method} refused"));
        } else {
            self.wrong(&format!("{method} fails with code {}", status.code), &status.message);
        }
        None
    }

    pub(super) fn count(&self, outcome: &str) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        *outcomes.entry(outcome.to_owned()).or_default() += 1;
    }

    /// Something that must not be.
    pub(super) fn wrong(&self, what: &str, detail: &impl Debug) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if !wrong.contains_key(what) {
            println!("WRONG {what}: {detail:?}");
        }
        wrong.entry(what.to_owned()).or_insert_with(|| (0, format!("{detail:?}"))).0 += 1;
    }

    /// How much was wrong until now.
    pub(super) fn wrongs(&self) -> u64 {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).values().map(|(count, _)| count).sum()
    }

    /// Prints the counts; nothing may have been wrong.
    pub(super) fn close(&self) {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{} operations: {outcomes:?}", outcomes.values().sum::<u64>());
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// Whether a call was refused because there is no such thing.
pub(super) fn is_not_found<T>(answer: &Result<T, CallError>) -> bool {
    let status = answer.as_ref().err().and_then(CallError::status);
    status.is_some_and(|status| status.code == Code::NotFound as i32)
}
