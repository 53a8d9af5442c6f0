//! Rows as messages.

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use flywheel_base::{Error, Result};

use super::TopicTarget;
use super::key::Keys;
use crate::destination::{Refused, WriteMode, WriteRequest, Written};
use crate::output::{JsonRows, refuse_json};

/// What a batch with a single message weighs besides key and value.
pub(crate) const OVERHEAD_BYTES: usize = 128;

/// Makes messages of the rows of one write.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    mode: WriteMode,
    key: Vec<String>,
    deleted: Option<String>,
    json_columns: Vec<String>,
    /// Whether a message without key would be refused.
    keyed: bool,
    message_bytes_max: usize,
}

impl Encoder {
    /// Takes what the rows are written by.
    pub(crate) fn new(
        request: &WriteRequest,
        target: &TopicTarget,
        keyed: bool,
        message_bytes_max: usize,
    ) -> Self {
        Self {
            mode: request.mode,
            key: request.key.clone(),
            deleted: request.deleted.clone().filter(|_| request.mode == WriteMode::Mirror),
            json_columns: target.json_columns.clone(),
            keyed,
            message_bytes_max,
        }
    }

    /// Takes what rows are written by that are no messages of a queue, and of any length.
    pub(crate) fn of_rows(request: &WriteRequest, json_columns: &[String]) -> Self {
        Self {
            mode: request.mode,
            key: if request.mode == WriteMode::Append { Vec::new() } else { request.key.clone() },
            deleted: request.deleted.clone().filter(|_| request.mode == WriteMode::Mirror),
            json_columns: json_columns.to_vec(),
            keyed: false,
            message_bytes_max: usize::MAX,
        }
    }

    /// Hands key and value of every row that can be sent to `send`, in order; a deleted row has no
    /// value. Returns the rows that cannot be sent, and how many of each kind were.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the batch lacks a column of the key; those of `send`.
    pub(crate) fn encode(
        &self,
        batch: &RecordBatch,
        mut send: impl FnMut(Option<&[u8]>, Option<&[u8]>) -> Result<()>,
    ) -> Result<(Vec<Refused>, Written)> {
        let gone = self.gone(batch)?;
        let keys = Keys::of(batch, &self.key)?;
        let (values, mut sent) = (self.without_mark(batch)?, Written::default());
        let mut unfit = vec![None; batch.num_rows()];
        for refused in refuse_json(&values, &self.json_columns)? {
            let row = refused.row;
            if let Some(slot) = unfit.get_mut(row) {
                *slot = Some(refused);
            }
        }
        let rows = JsonRows::new(&values.schema(), &self.json_columns)?;
        let cells = JsonRows::cells(&values)?;
        let (mut refused, mut value) = (Vec::new(), Vec::new());
        for (row, unfit) in unfit.into_iter().enumerate() {
            let gone = gone.get(row).copied().unwrap_or(false);
            if let Some(unfit) = unfit.filter(|_| !gone) {
                refused.push(unfit);
                continue;
            }
            let key = match self.key_of(&keys, row) {
                Ok(key) => key,
                Err(unfit) => {
                    refused.push(unfit);
                    continue;
                }
            };
            value.clear();
            if !gone {
                rows.push(&cells, row, &mut value)?;
            }
            let size = value.len() + key.as_ref().map_or(0, Vec::len) + OVERHEAD_BYTES;
            if size > self.message_bytes_max {
                refused.push(self.too_large(row));
                continue;
            }
            send(key.as_deref(), (!gone).then_some(value.as_slice()))?;
            if gone {
                sent.rows_deleted += 1;
            } else {
                sent.rows_written += 1;
            }
        }
        Ok((refused, sent))
    }

    fn too_large(&self, row: usize) -> Refused {
        let limit = self.message_bytes_max;
        Refused {
            row,
            column: None,
            code: "message-too-large".to_owned(),
            reason: format!(
                "the message is larger than the topic's max.message.bytes of {limit} allows"
            ),
        }
    }

    fn key_of(&self, keys: &Keys, row: usize) -> Result<Option<Vec<u8>>, Refused> {
        let refuse = |column: Option<String>, code: &str, reason: String| Refused {
            row,
            column,
            code: code.to_owned(),
            reason,
        };
        let by_key = self.mode != WriteMode::Append;
        if by_key && let Some(column) = keys.missing(row) {
            let reason = "no value in a column of the key".to_owned();
            return Err(refuse(Some(column.to_owned()), "no-key", reason));
        }
        match keys.key(row) {
            Ok(None) if self.keyed => {
                let reason = "no key, which a compacted topic needs; set `key`".to_owned();
                Err(refuse(self.key.first().cloned(), "no-key", reason))
            }
            Ok(key) => Ok(key),
            Err((column, misfit)) => Err(refuse(Some(column), misfit.code, misfit.reason)),
        }
    }

    /// Which rows are marked as deleted.
    fn gone(&self, batch: &RecordBatch) -> Result<Vec<bool>> {
        let marked = self.deleted.as_ref();
        let Some(array) = marked.and_then(|name| batch.column_by_name(name)) else {
            return Ok(Vec::new());
        };
        if array.data_type() != &DataType::Boolean {
            return Err(Error::invalid("the column that marks deleted rows is not boolean")
                .hint("Set `deleted` to a column of truth values."));
        }
        let array = array.as_boolean();
        Ok((0..array.len()).map(|row| array.is_valid(row) && array.value(row)).collect())
    }

    /// The rows as they are sent.
    fn without_mark(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let schema = batch.schema();
        let Some(mark) = &self.deleted else { return Ok(batch.clone()) };
        let kept = schema.fields().iter().enumerate().filter(|(_, field)| field.name() != mark);
        let kept: Vec<usize> = kept.map(|(at, _)| at).collect();
        batch
            .project(&kept)
            .map_err(|error| Error::internal("columns cannot be left out").caused_by(error))
    }
}
