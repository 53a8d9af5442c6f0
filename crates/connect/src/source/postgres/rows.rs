//! Pages under construction: blocks of rows in, parts of a read out.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flywheel_base::{Error, Result};
use serde_json::Value;

use super::block::{BLOCK_ROWS, Block};
use super::decode::{Bad, Decoder, decoder};
use super::kind::shown;
use super::plan::{Plan, is_endless};
use crate::column::Misfit;
use crate::marks::{Marks, mark};
use crate::page::{Origin, Rejected, TableSchema, raw, without_line};

/// Rows that become a page once it is known how many rows come before them.
#[derive(Debug)]
pub(super) struct Part {
    /// The good rows.
    pub(super) batch: RecordBatch,
    /// Where they come from; lines count from 1 within the part.
    pub(super) origin: Vec<Origin>,
    /// The bad rows; lines as above.
    pub(super) rejected: Vec<Rejected>,
    /// Good and bad rows, without those that an earlier read set aside.
    pub(super) rows: u64,
    /// The values of the columns that order the read, in the last row whose cursor others can follow; empty
    /// if there is none.
    pub(super) after: Vec<Option<String>>,
    /// The rows whose cursor no others can follow.
    pub(super) met: Marks,
}

/// Collects rows until a page is full.
pub(super) struct Rows {
    plan: Arc<Plan>,
    schema: TableSchema,
    block: Block,
    decoders: Vec<Box<dyn Decoder>>,
    rows_max: usize,
    bytes_max: usize,
    rows: usize,
    bytes: usize,
    bad: Bad,
    rejected: Vec<Rejected>,
    after: Vec<Option<String>>,
    met: Marks,
    /// Rows of these that an earlier read set aside.
    known: usize,
}

impl Rows {
    /// Starts with no rows.
    pub(super) fn new(
        plan: Arc<Plan>,
        schema: TableSchema,
        limits: (usize, usize),
        nan: bool,
    ) -> Self {
        let (rows_max, bytes_max) = limits;
        let columns = &plan.relation.columns;
        let made = |column: &super::relation::SourceColumn| {
            decoder(column.reading.wire, column.column.kind, nan)
        };
        Self {
            block: Block::new(plan.width),
            decoders: columns.iter().map(made).collect(),
            schema,
            rows_max: rows_max.max(1),
            bytes_max: bytes_max.max(1),
            rows: 0,
            bytes: 0,
            bad: Bad::default(),
            rejected: Vec::new(),
            after: Vec::new(),
            met: Marks::default(),
            known: 0,
            plan,
        }
    }

    /// Takes bytes of a `COPY`; gives the parts that are full.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Part>> {
        self.block.append(bytes);
        let mut parts = Vec::new();
        while self.block.parse(self.rows_max - self.rows)? {
            self.decode();
            if self.rows >= self.rows_max || self.bytes >= self.bytes_max {
                parts.push(self.part()?);
            }
        }
        Ok(parts)
    }

    /// Ends a `COPY`; gives the rows that are left, if there are any.
    pub(super) fn end(&mut self) -> Result<Option<Part>> {
        self.decode();
        self.block.restart()?;
        if self.rows == 0 { Ok(None) } else { self.part().map(Some) }
    }

    /// Decodes the block, column by column.
    fn decode(&mut self) {
        let (block, first) = (&self.block, self.rows);
        let rows = block.rows();
        if rows == 0 {
            return;
        }
        let bad_before = self.bad.0.len();
        for (at, decoder) in self.decoders.iter_mut().enumerate() {
            decoder.decode(block, at, first, &mut self.bad);
        }
        for (at, column) in self.plan.relation.columns.iter().enumerate() {
            if !column.column.not_null {
                continue;
            }
            for (row, value) in block.column(at).enumerate() {
                if value.is_none() {
                    let reason = "no value in a column that is required";
                    self.bad.add(first + row, at, Misfit::new("null-value", reason));
                }
            }
        }
        let followed = self.followed(rows);
        if let Some(at) = self.plan.endless {
            for row in followed..rows {
                let reason = "infinity or NaN in the column that the read follows; read the stream in \
                              full to have it";
                self.bad.0.insert(first + row, (at, Misfit::new("no-cursor", reason)));
            }
        }
        if self.bad.0.len() > bad_before {
            self.reject(first, followed);
        }
        if let Some(last) = followed.checked_sub(1) {
            let fields = self.plan.order.iter().zip(&self.plan.order_fields);
            self.after = fields.map(|(at, field)| self.text(last, *at, *field)).collect();
        }
        self.rows += rows;
        self.bytes += self.block.bytes();
        self.block.clear();
    }

    /// The text of a value that orders the read.
    fn text(&self, row: usize, column: usize, field: usize) -> Option<String> {
        let bytes = self.block.value(row, field)?;
        let wire = self.plan.relation.columns.get(column).filter(|_| column == field);
        Some(match wire.map(|column| shown(column.reading.wire, bytes)) {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => String::from_utf8_lossy(bytes).into_owned(),
        })
    }

    /// How many rows of the block have a cursor that others can follow; the rest of them come last.
    fn followed(&self, rows: usize) -> usize {
        let field = self.plan.order_fields.first().copied();
        let Some((at, field)) = self.plan.endless.zip(field) else { return rows };
        let endless =
            |row: &usize| self.text(*row, at, field).is_some_and(|text| is_endless(&text));
        rows - (0..rows).rev().take_while(endless).count()
    }

    /// Whether more than one read may meet a row of the block, so that its number in this one says nothing.
    fn comes_again(&self, row: usize) -> bool {
        let field = self.plan.order_fields.first().filter(|_| self.plan.comes_again);
        field.is_some_and(|field| self.block.value(row, *field).is_none())
    }

    /// Sets the bad rows of the block aside that starts with row `first` of the page. From the row
    /// `followed` of the block on every read meets them.
    fn reject(&mut self, first: usize, followed: usize) {
        let columns = &self.plan.relation.columns;
        for (row, (at, misfit)) in self.bad.0.range(first..first + BLOCK_ROWS) {
            let mut object = serde_json::Map::new();
            for (place, column) in columns.iter().enumerate() {
                let value = self.block.value(row - first, place);
                let value = value.map_or(Value::Null, |value| shown(column.reading.wire, value));
                object.insert(column.column.name.clone(), value);
            }
            let text = Value::Object(object).to_string();
            let origin = &self.plan.relation.origin;
            let (file, line) = if row - first < followed && self.comes_again(row - first) {
                (without_line(origin, &text), None)
            } else if row - first < followed {
                (origin.clone(), Some(*row as u64 + 1))
            } else {
                let mark = mark(&text);
                self.met.insert(&mark);
                if self.plan.stored.aside.contains(&mark) {
                    self.known += 1;
                    continue;
                }
                // Whatever its number in a read is, the quarantine has it once.
                (without_line(origin, &text), None)
            };
            self.rejected.push(Rejected {
                source: "postgres".into(),
                file,
                line,
                column: columns.get(*at).map(|column| column.column.name.clone()),
                code: misfit.code.into(),
                reason: misfit.reason.clone(),
                raw: raw(&text),
                destination: None,
            });
        }
    }

    /// Hands over what is decoded and starts anew.
    fn part(&mut self) -> Result<Part> {
        let arrays = self.decoders.iter_mut().map(|decoder| decoder.finish());
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let broken =
            |error| Error::internal("a page's columns do not form a batch").caused_by(error);
        let mut batch =
            RecordBatch::try_new_with_options(Arc::clone(self.schema.arrow()), arrays, &options)
                .map_err(broken)?;
        let bad = std::mem::take(&mut self.bad).0;
        let origin = &self.plan.relation.origin;
        let run = |row: usize, line: usize| Origin { row, file: origin.clone(), line: line as u64 };
        let mut runs = Vec::new();
        let (mut good, mut next) = (0, 0);
        for place in bad.keys().copied().chain([self.rows]) {
            if place > next {
                runs.push(run(good, next + 1));
                good += place - next;
            }
            next = place + 1;
        }
        if !bad.is_empty() {
            let keep: BooleanArray =
                (0..self.rows).map(|row| Some(!bad.contains_key(&row))).collect();
            batch = filter_record_batch(&batch, &keep).map_err(broken)?;
        }
        let rows = (std::mem::take(&mut self.rows) - std::mem::take(&mut self.known)) as u64;
        self.bytes = 0;
        let (rejected, after) =
            (std::mem::take(&mut self.rejected), std::mem::take(&mut self.after));
        let met = std::mem::take(&mut self.met);
        Ok(Part { batch, origin: runs, rejected, rows, after, met })
    }
}
