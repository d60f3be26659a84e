//! The database as its user sees it.

mod fixture;
mod journal;
mod opening;
mod records;
mod releases;
