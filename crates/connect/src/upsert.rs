//! Records that are written by themselves: the way of an action into a system whose records have keys.
//!
//! A sync hands over batches with a checkpoint and keeps a ledger of what it sent. What an action sends is kept by the
//! outbox, so that this way only sends, one time, and tells what became of each record.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use flywheel_base::{Error, Result, Timestamp};
use serde_json::Value;

use crate::destination::rest::{Attempt, RestSender};
use crate::destination::{NewTargetColumns, WriteMode, WriteRequest};
use crate::http::Unanswered;
use crate::ledger::{OutRow, Sent};

/// Which records are written.
#[derive(Clone, Debug)]
pub struct UpsertRequest {
    /// The destination's target settings.
    pub target: Value,
    /// The field by which a record is found; none if each row makes a record of its own.
    pub key: Option<String>,
    /// The fields that are written, the key among them.
    pub fields: Vec<String>,
    /// The objects whose records they are tied to.
    pub ties: Vec<String>,
    /// Whether no row is ever handed over twice, so that nothing has to tell a repetition.
    pub once: bool,
}

impl UpsertRequest {
    /// The same as a sync would ask for it.
    pub(crate) fn as_write(&self) -> WriteRequest {
        let field = |name: &String| Field::new(name, DataType::Utf8, true);
        let fields: Vec<Field> = self.fields.iter().map(field).collect();
        WriteRequest {
            target: self.target.clone(),
            app: "action".to_owned(),
            schema: Arc::new(Schema::new(fields)),
            mode: if self.key.is_some() { WriteMode::Merge } else { WriteMode::Append },
            key: self.key.iter().cloned().collect(),
            deleted: None,
            new_columns: NewTargetColumns::Ignore,
            now: Timestamp::default(),
        }
    }

    /// Proves that records without key are made once.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a row may be handed over twice.
    pub(crate) fn check_once(&self) -> Result<()> {
        if self.once || self.key.is_some() {
            return Ok(());
        }
        Err(Error::invalid("nothing tells a record that is written again from a new one").hint(
            "Set `key` to a field with unique values, such as an external id, or `guarantee: at-most-once`.",
        ))
    }

    /// Proves that nothing is tied, for systems in which a tie is a field.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if something is.
    pub(crate) fn check_untied(&self) -> Result<()> {
        match self.ties.first() {
            None => Ok(()),
            Some(object) => Err(Error::invalid(format!(
                "records are not tied to {object} apart from their fields"
            ))
            .hint("Leave `associate` out: name the other record in `fields`, by its id.")),
        }
    }
}

/// A way for records into one target.
pub struct Upserts {
    sender: RestSender,
    ties: Vec<Tie>,
}

/// A way to tie records to those of another object: rows have `from` and `to`, the ids of both.
pub(crate) struct Tie {
    /// The other object.
    pub(crate) object: String,
    sender: RestSender,
}

impl Upserts {
    /// A way by requests.
    pub(crate) fn new(sender: RestSender) -> Self {
        Self { sender, ties: Vec::new() }
    }

    /// The same, with records tied to those of one more object.
    pub(crate) fn tied(mut self, object: &str, sender: RestSender) -> Self {
        self.ties.push(Tie { object: object.to_owned(), sender });
        self
    }

    /// How many records one request carries.
    pub(crate) fn rows_max(&self) -> usize {
        self.sender.put.rows_max.max(1)
    }

    /// Sends records with different keys in one request, under an idempotency key.
    pub(crate) async fn send(&self, rows: &[&OutRow], key: &str) -> Result<Attempt, Unanswered> {
        self.sender.attempt(rows, key).await
    }

    /// The objects that records are tied to, in the order that they were asked for.
    pub(crate) fn ties(&self) -> &[Tie] {
        &self.ties
    }
}

impl Tie {
    /// Ties records in one request.
    pub(crate) async fn send(&self, rows: &[&OutRow], key: &str) -> Result<Sent, Unanswered> {
        Ok(self.sender.attempt(rows, key).await?.sent)
    }
}
