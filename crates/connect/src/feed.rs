//! Feeds: programs that write one message a line, records and states among them, read as pages.
//!
//! ```text
//! program ─► line ─► message ─► columns, rows, rejected rows, states ─► pages
//! ```
//! A state is the program's own mark: a program started from it goes on after the records before it.
//! A position is the last state and how many records came after it. A read from such a position
//! starts the program from the state and passes over that many records, if they are the same ones,
//! which a digest tells. If they are not, all of them are read again: a target that merges by a key
//! ends right, and a target that appends is told to stop.
//!
//! Programs send the records at their last mark again. Those are left out, if the read knows which
//! field it follows.

mod read;
mod schema;
mod stored;

use std::collections::BTreeSet;

use async_trait::async_trait;
use flywheel_base::{Error, Result};

use crate::column::{ColumnType, Misfit};
use crate::process::{Mask, Running};

pub(crate) use self::read::feed;
pub(crate) use self::schema::{TypedField, fields};

/// What one line says.
#[derive(Debug)]
pub(crate) enum Message<'a> {
    /// The fields of the records that follow.
    Fields(Vec<TypedField>),
    /// A record, as JSON text.
    Record(&'a str),
    /// A state, as JSON text.
    State(&'a str),
    /// Something a person should know; it is said once.
    Notice(&'static str, String),
    /// Nothing that matters here.
    Nothing,
    /// A line that is no message.
    Garbage(Misfit),
    /// The program says that it failed.
    Failed(Error),
}

/// What programs of one kind are asked and how they answer.
#[async_trait]
pub(crate) trait Protocol: Send + Sync {
    /// Starts a read of the stream, from a state on or from its beginning.
    ///
    /// # Errors
    /// As [`crate::process::Program::start`].
    async fn start(&self, state: Option<&str>) -> Result<Running>;

    /// The fields that are known before the first message.
    fn fields(&self) -> &[TypedField] {
        &[]
    }

    /// What a line says.
    fn message<'a>(&self, line: &'a str) -> Message<'a>;

    /// What hides the configuration in texts.
    fn mask(&self) -> &Mask;
}

/// What a read of a feed is about.
#[derive(Clone, Debug)]
pub(crate) struct FeedStream {
    /// The source's name.
    pub(crate) source: &'static str,
    /// What is read, for people.
    pub(crate) label: String,
    /// How the program reads it; a position holds for this way only.
    pub(crate) way: &'static str,
    /// The field that grows with every change, if the read follows one.
    pub(crate) cursor: Option<String>,
    /// The only fields to take, if not all.
    pub(crate) select: Option<BTreeSet<String>>,
}

/// The columns of typed fields, those selected.
pub(crate) fn selected<'a>(
    fields: &'a [TypedField],
    select: Option<&'a BTreeSet<String>>,
) -> impl Iterator<Item = (&'a str, ColumnType)> {
    let wanted = move |field: &&TypedField| select.is_none_or(|names| names.contains(&field.name));
    fields.iter().filter(wanted).map(|field| (field.name.as_str(), field.kind))
}
