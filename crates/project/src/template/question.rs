//! What templates ask the database while a node is built, and what they are told.
//!
//! A template is never run while a query runs. It is rendered until it asks something whose answer is not known yet; whoever
//! renders it finds the answer and renders it again from its beginning. So rendering stays without side effects, and the same
//! answers give the same text.

use std::fmt;
use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime};
use flywheel_base::{Error, Result};

use super::Raised;

/// How many different things one rendering may ask.
pub const QUESTIONS_MAX: usize = 64;

/// Something that a template asks the database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// The rows of a query: `run_query('select …')`.
    Query(String),
    /// The columns of the table of this name, `schema.name`: a row of `name`, `type` and `kind` (`table` or `view`) each; no
    /// row if there is no such table.
    Table(String),
    /// The tables whose schema and name fit patterns of `LIKE`, without those whose name fits `exclude`: a row of `schema`
    /// and `name` each, sorted.
    Tables {
        /// The pattern of the schema.
        schema: String,
        /// The pattern of the name.
        name: String,
        /// The pattern of names that are left out; none if empty.
        exclude: String,
    },
}

/// A value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// None.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// A text, and what has no other form.
    Text(String),
    /// A day.
    Day(NaiveDate),
    /// A moment; in UTC if it has a zone.
    Moment(NaiveDateTime),
}

/// An answer: named columns, and rows with a value for each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

/// Finds answers: none yet if it has to be looked up first, which whoever renders does.
pub type Ask<'a> = dyn Fn(&Question) -> Result<Option<Arc<Rows>>> + 'a;

/// Who answers what a template asks the database.
#[derive(Clone, Copy)]
pub enum Asking<'a> {
    /// Nobody: to ask is a mistake.
    Closed,
    /// Nobody now: what asks is rendered as dbt parses it, with `execute` false and empty answers.
    Away,
    /// Who knows or finds out.
    By(&'a Ask<'a>),
}

impl fmt::Debug for Asking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "Closed",
            Self::Away => "Away",
            Self::By(_) => "By",
        })
    }
}

/// What a template was told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// The answer.
    Rows(Arc<Rows>),
    /// Why there is none.
    Refused(Raised),
}

impl From<Result<Arc<Rows>>> for Told {
    fn from(answer: Result<Arc<Rows>>) -> Self {
        match answer {
            Ok(rows) => Self::Rows(rows),
            Err(error) => Self::Refused(error.into()),
        }
    }
}

impl Told {
    /// To a template that may not ask.
    pub(super) fn closed(word: &str) -> Self {
        let error = Error::invalid(format!("{word} asks the database, which is not possible here"));
        Self::Refused(Raised::from(error.hint(
            "Models, snapshots, hooks and statements around builds may ask; elsewhere let SQL itself do the work, or write the values into a var.",
        )))
    }
}
