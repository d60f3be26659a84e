//! What is printed: tables, Go's templates, JSON.

pub(crate) mod json;
pub(crate) mod row;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod words;

pub(crate) use row::{Listing, Row};
