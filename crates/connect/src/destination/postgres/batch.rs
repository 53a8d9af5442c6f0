//! A batch on its way: the bytes of a binary `COPY`, and the statements that move waiting rows into
//! the table.

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use flywheel_base::Result;

use super::encode::{Fault, Values};
use super::target::{Fit, Fitted, TableName};
use crate::destination::Refused;
use crate::postgres::quoted;

/// What a binary `COPY` begins with: signature, flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Bytes sent at a time.
const SEND_BYTES: usize = 256 << 10;

/// The columns of a batch as they are sent.
pub(super) struct Columns {
    values: Vec<Values>,
    deleted: Option<BooleanArray>,
    rows: usize,
}

/// Rows as bytes.
pub(super) struct Encoded {
    /// The bytes of a whole `COPY`.
    pub(super) bytes: Vec<u8>,
    /// The places of the rows that are in it.
    pub(super) good: Vec<usize>,
    /// The rows that are not.
    pub(super) refused: Vec<Refused>,
    /// Whether some of them are marked as deleted.
    pub(super) gone: bool,
}

impl Columns {
    /// Takes the columns of a batch that are written.
    pub(super) fn of(fit: &Fit, batch: &RecordBatch) -> Result<Self> {
        let of = |column: &Fitted| Values::of(&column.name, batch.column(column.place));
        Ok(Self {
            values: fit.columns.iter().map(of).collect::<Result<_>>()?,
            deleted: fit.deleted.map(|place| batch.column(place).as_boolean().clone()),
            rows: batch.num_rows(),
        })
    }

    fn is_gone(&self, row: usize) -> bool {
        self.deleted.as_ref().is_some_and(|array| array.is_valid(row) && array.value(row))
    }

    /// Rows for the table itself.
    pub(super) fn direct(&self, fit: &Fit) -> Encoded {
        self.encode(fit, false)
    }

    /// Rows for the table they wait in, with their place and whether they are marked as deleted.
    pub(super) fn waiting(&self, fit: &Fit) -> Encoded {
        self.encode(fit, true)
    }

    fn encode(&self, fit: &Fit, waiting: bool) -> Encoded {
        let mut encoded =
            Encoded { bytes: HEADER.to_vec(), good: Vec::new(), refused: Vec::new(), gone: false };
        let fields = (fit.columns.len() + if waiting { 2 } else { 0 }) as i16;
        for row in 0..self.rows {
            let start = encoded.bytes.len();
            let out = &mut encoded.bytes;
            out.extend_from_slice(&fields.to_be_bytes());
            let gone = self.is_gone(row);
            if waiting {
                out.extend_from_slice(&4i32.to_be_bytes());
                out.extend_from_slice(&(row as i32).to_be_bytes());
                out.extend_from_slice(&1i32.to_be_bytes());
                out.push(u8::from(gone));
            }
            match self.row(fit, row, gone, waiting, out) {
                Ok(()) => {
                    encoded.good.push(row);
                    encoded.gone |= gone;
                }
                Err((column, fault)) => {
                    encoded.bytes.truncate(start);
                    encoded.refused.push(Refused {
                        row,
                        column: Some(column.to_owned()),
                        code: fault.code.to_owned(),
                        reason: fault.reason.to_owned(),
                    });
                }
            }
        }
        encoded.bytes.extend_from_slice(&(-1i16).to_be_bytes());
        encoded
    }

    fn row<'f>(
        &self,
        fit: &'f Fit,
        row: usize,
        gone: bool,
        waiting: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), (&'f str, Fault)> {
        for (column, values) in fit.columns.iter().zip(&self.values) {
            let fail = |fault| (column.name.as_str(), fault);
            // Of a row that is removed only the key is needed.
            let left_out = gone && !column.key;
            if left_out || values.is_null(row) {
                if column.not_null && !left_out {
                    return Err(fail(Fault::NULL));
                }
                out.extend_from_slice(&(-1i32).to_be_bytes());
                continue;
            }
            let before = out.len();
            values.put(row, column.form, out).map_err(fail)?;
            if waiting && column.form != column.form.staged() {
                // Checked as what it will be, sent as what waits.
                out.truncate(before);
                values.put(row, column.form.staged(), out).map_err(fail)?;
            }
        }
        Ok(())
    }
}

/// The bytes in pieces.
pub(super) fn pieces(bytes: Vec<u8>) -> impl Iterator<Item = Bytes> {
    let mut bytes = Bytes::from(bytes);
    std::iter::from_fn(move || {
        (!bytes.is_empty()).then(|| bytes.split_to(bytes.len().min(SEND_BYTES)))
    })
}

/// The statements for rows of one schema.
#[derive(Clone, Debug)]
pub(super) struct Statements {
    /// Sends rows into the table itself.
    pub(super) copy_direct: String,
    /// Makes the table that rows wait in.
    pub(super) create_waiting: String,
    /// Empties it.
    pub(super) clear_waiting: String,
    /// Sends rows into it.
    pub(super) copy_waiting: String,
    table: String,
    waiting: String,
    names: Vec<String>,
    expressions: Vec<String>,
    types: Vec<String>,
    keys: Vec<(String, String)>,
    set: Vec<String>,
    update_first: bool,
}

impl Statements {
    /// Writes the statements; `number` tells the waiting tables of one session apart.
    pub(super) fn new(table: &TableName, fit: &Fit, number: u32) -> Self {
        let waiting = format!("pg_temp._flywheel_rows_{number}");
        let names: Vec<String> = fit.columns.iter().map(|column| quoted(&column.name)).collect();
        let types = fit.columns.iter().map(|column| {
            format!(", {} {}", quoted(&column.name), column.form.staged().staged_type())
        });
        let keys = fit.columns.iter().filter(|column| column.key);
        let set = fit.columns.iter().filter(|column| column.settable);
        let list = names.join(", ");
        Self {
            copy_direct: format!("COPY {} ({list}) FROM STDIN (FORMAT BINARY)", table.sql()),
            create_waiting: format!(
                "CREATE TEMPORARY TABLE {waiting} (_place integer, _gone boolean{}) ON COMMIT DROP",
                types.collect::<String>()
            ),
            clear_waiting: format!("TRUNCATE {waiting}"),
            copy_waiting: format!("COPY {waiting} FROM STDIN (FORMAT BINARY)"),
            table: table.sql(),
            expressions: fit.columns.iter().map(|column| column.expression.clone()).collect(),
            types: fit.columns.iter().map(|column| column.full_type.clone()).collect(),
            keys: keys.map(|key| (quoted(&key.name), key.expression.clone())).collect(),
            set: set.map(|column| quoted(&column.name)).collect(),
            update_first: !fit.lacking.is_empty(),
            waiting,
            names,
        }
    }

    /// The waiting rows of a range, of each key only the last.
    fn last_of_each_key(&self, from: usize, to: usize) -> String {
        let keys: Vec<&str> = self.keys.iter().map(|(_, of)| of.as_str()).collect();
        let keys = keys.join(", ");
        format!(
            "SELECT DISTINCT ON ({keys}) s.* FROM {} AS s WHERE s._place BETWEEN {from} AND {to} \
             ORDER BY {keys}, s._place DESC",
            self.waiting
        )
    }

    fn same_key(&self) -> String {
        let same: Vec<String> =
            self.keys.iter().map(|(name, of)| format!("t.{name} = {of}")).collect();
        same.join(" AND ")
    }

    /// Adds the waiting rows of a range.
    pub(super) fn insert(&self, from: usize, to: usize) -> String {
        format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} AS s \
             WHERE s._place BETWEEN {from} AND {to} ORDER BY s._place",
            self.table,
            self.names.join(", "),
            self.expressions.join(", "),
            self.waiting
        )
    }

    /// Removes the rows whose key is marked in a range.
    pub(super) fn delete(&self, from: usize, to: usize) -> String {
        format!(
            "DELETE FROM {} AS t USING ({}) AS s WHERE s._gone AND {}",
            self.table,
            self.last_of_each_key(from, to),
            self.same_key()
        )
    }

    /// Changes the rows whose key is in a range; none if that is not done on its own.
    pub(super) fn update(&self, from: usize, to: usize) -> Option<String> {
        if !self.update_first || self.set.is_empty() {
            return None;
        }
        let set: Vec<String> = self
            .names
            .iter()
            .zip(&self.expressions)
            .filter(|(name, _)| self.set.contains(name))
            .map(|(name, of)| format!("{name} = {of}"))
            .collect();
        Some(format!(
            "UPDATE {} AS t SET {} FROM ({}) AS s WHERE NOT s._gone AND {}",
            self.table,
            set.join(", "),
            self.last_of_each_key(from, to),
            self.same_key()
        ))
    }

    /// Adds the rows of a range, or changes those that are there; a query that counts both.
    pub(super) fn upsert(&self, from: usize, to: usize) -> String {
        let keys: Vec<&str> = self.keys.iter().map(|(name, _)| name.as_str()).collect();
        let set: Vec<String> =
            self.set.iter().map(|name| format!("{name} = EXCLUDED.{name}")).collect();
        let conflict = if set.is_empty() {
            "DO NOTHING".to_owned()
        } else {
            format!("DO UPDATE SET {}", set.join(", "))
        };
        // A row that needs more than the batch has would be refused before its key is looked at.
        let unknown = if self.update_first {
            format!(" AND NOT EXISTS (SELECT FROM {} AS t WHERE {})", self.table, self.same_key())
        } else {
            String::new()
        };
        format!(
            "WITH written AS (INSERT INTO {} AS t ({}) OVERRIDING SYSTEM VALUE \
             SELECT {} FROM ({}) AS s WHERE NOT s._gone{unknown} \
             ON CONFLICT ({}) {conflict} RETURNING t.xmax = 0 AS fresh) \
             SELECT count(*), count(*) FILTER (WHERE NOT fresh) FROM written",
            self.table,
            self.names.join(", "),
            self.expressions.join(", "),
            self.last_of_each_key(from, to),
            keys.join(", ")
        )
    }

    /// Tries the conversion of one column of one waiting row.
    pub(super) fn conversion(&self, column: usize, place: usize) -> Option<String> {
        let (of, to) = (self.expressions.get(column)?, self.types.get(column)?);
        Some(format!("SELECT ({of})::{to} FROM {} AS s WHERE s._place = {place}", self.waiting))
    }
}
