//! Where a read of a feed stands.

use std::collections::HashMap;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::FeedStream;
use crate::page::Position;
use crate::records::Cursor;
use crate::source::{ReadMode, ReadRequest};

/// Records with the last cursor value that are remembered, so that they are not read twice.
const EDGE_MAX: usize = 1_000;

/// Records that were set aside and are remembered, so that this happens once; the newest ones.
const ASIDE_MAX: usize = 1_000;

/// The position of a feed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Stored {
    /// How the stream was read.
    pub(super) way: String,
    /// The last state, as the program wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<String>,
    /// How many records came after it.
    #[serde(default)]
    pub(super) after: u64,
    /// Their digest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) digest: String,
    /// The field the read follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<String>,
    /// Its greatest value so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seen: Option<Cursor>,
    /// The records with that value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) edge: Vec<String>,
    /// Whether there were more of them than are remembered.
    #[serde(default)]
    pub(super) edge_full: bool,
    /// The records whose value cannot be ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) aside: Vec<String>,
    /// Records that a program started from the state sends again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) known: Vec<String>,
    /// How many records there were in all: their number is what a row is traced to.
    pub(super) rows: u64,
    /// The columns and their types.
    pub(super) schema: Vec<(String, String)>,
    /// Whether the read came to its end.
    pub(super) complete: bool,
}

/// What tells whether a read has moved.
#[derive(PartialEq, Eq)]
pub(super) struct Start {
    state: Option<String>,
    after: u64,
    complete: bool,
}

impl Start {
    /// Where a read stands.
    pub(super) fn of(stored: &Stored) -> Self {
        Self { state: stored.state.clone(), after: stored.after, complete: stored.complete }
    }
}

impl Stored {
    /// Where a read begins.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if the position is another source's,
    /// [`flywheel_base::ErrorKind::Invalid`] if it is of another way to read the stream.
    pub(super) fn begin(stream: &FeedStream, request: &ReadRequest) -> Result<Self> {
        let fresh = || Self {
            way: stream.way.to_owned(),
            cursor: stream.cursor.clone(),
            ..Self::default()
        };
        let Some(position) = &request.from else { return Ok(fresh()) };
        let stored: Self = serde_json::from_value(position.0.clone()).map_err(|error| {
            let source = stream.source;
            Error::corrupt(format!("the stored position is not one of a {source} source"))
                .caused_by(error)
        })?;
        let other_way = stored.way != stream.way || stored.cursor != stream.cursor;
        if request.mode == ReadMode::Full {
            return Ok(if stored.complete || other_way {
                Self { schema: stored.schema, ..fresh() }
            } else {
                stored
            });
        }
        let label = &stream.label;
        if other_way {
            return Err(Error::invalid(format!(
                "the stored position of {label} is of another way to read it"
            ))
            .hint("The read mode or the cursor was changed: read it from its start with `flywheel sync NAME --restart`."));
        }
        if stored.edge_full && request.write_appends {
            return Err(Error::invalid(format!(
                "more than {EDGE_MAX} records of {label} have the last value of the cursor, so that some would be appended twice"
            ))
            .hint("Write with `merge` and a key."));
        }
        if stored.complete && !request.write_appends {
            // Rows that come again change nothing, so that they need not be compared.
            return Ok(Self { after: 0, digest: String::new(), ..stored });
        }
        Ok(stored)
    }

    /// The position as pages carry it.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if it cannot be written.
    pub(super) fn position(&self) -> Result<Position> {
        serde_json::to_value(self)
            .map(Position)
            .map_err(|error| Error::internal("a position cannot be written").caused_by(error))
    }

    /// The records that a program started from the state may send again, by how often.
    pub(super) fn resent(&self) -> HashMap<String, usize> {
        let mut times = HashMap::new();
        for mark in &self.known {
            *times.entry(mark.clone()).or_default() += 1;
        }
        times
    }

    /// Remembers a record that does not move the read, because its value cannot be ordered.
    pub(super) fn set_aside(&mut self, mark: String) {
        self.aside.push(mark);
        if self.aside.len() > ASIDE_MAX {
            self.aside.remove(0);
        }
    }

    /// Takes note of a record's cursor value.
    pub(super) fn see(&mut self, value: Cursor, mark: String) {
        let order = self.seen.as_ref().map_or(std::cmp::Ordering::Greater, |s| value.compare(s));
        let seen = self.seen.as_ref().map(Cursor::rank);
        if order.is_lt() {
            if seen.is_some_and(|seen| value.rank() < seen) {
                self.set_aside(mark);
            }
            return;
        }
        if order.is_gt() {
            let edge = std::mem::take(&mut self.edge);
            if seen.is_some_and(|seen| seen < value.rank()) {
                edge.into_iter().for_each(|mark| self.set_aside(mark));
            }
            self.seen = Some(value);
            self.edge_full = false;
        }
        if self.edge.len() < EDGE_MAX {
            self.edge.push(mark);
        } else {
            self.edge_full = true;
        }
    }
}
