//! The database as its user sees it.
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code")]

mod damage;
mod fixture;
mod journal;
mod killed;
mod opening;
mod records;
mod releases;
mod salvage;
mod tasks;
