//! Go's `text/template`, as much of it as `--format` is used for: fields, variables, pipelines, `if`, `range`, `with`,
//! and Go's and Docker's functions.
//!
//! A template comes from the command line and values from an engine: nesting and output have limits.

mod function;
mod lex;
mod parse;
mod render;
#[cfg(test)]
mod tests;
mod text;

use serde_json::{Map, Value};

pub(crate) use parse::Template;
pub(crate) use render::Mode;
pub(crate) use text::{Html, json};

/// The deepest nesting.
pub(crate) const MAX_DEPTH: usize = 64;
/// The longest text that a template makes of one value, in bytes.
pub(crate) const MAX_OUTPUT: usize = 16 << 20;

/// Why a template does not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("template parsing error: {0}")]
    Syntax(String),
    #[error("template: {0}")]
    Run(String),
    #[error("template: more than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("template: output is longer than {MAX_OUTPUT} bytes")]
    TooLong,
}

/// What a template is applied to.
pub(crate) trait Subject {
    /// The value that the dot is.
    fn dot(&self) -> &Value;

    /// Whether it is a row of a list.
    fn is_row(&self) -> bool {
        false
    }

    /// A method that takes a word, such as `.Label "a"`.
    fn method(&self, _name: &str, _argument: &str) -> Option<Value> {
        None
    }
}

impl Subject for Value {
    fn dot(&self) -> &Value {
        self
    }
}

/// A value's field: Go's names differ from the wire's only in case.
pub(crate) fn field<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name)
        .or_else(|| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}
