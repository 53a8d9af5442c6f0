//! The loop's own tables: `system.decisions`, `actions`, `outcomes`, `lift`, `lift_sums`,
//! `credits`, `attribution`, `evaluations`, `experiments`, `reported_outcomes`, `exposures`,
//! `suppressed`.
//!
//! Each row type is a struct whose serde form is the row; its `SCHEMA` says columns and types. A new
//! table is one file and one line in [`TABLES`].

mod action;
mod attribution;
mod credit;
mod decision;
mod evaluation;
mod experiment;
mod exposure;
mod lift;
mod lift_sums;
mod outcome;
mod reported;
mod suppressed;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use flywheel_base::{Error, Result};
use flywheel_warehouse::{Checkpoint, Commit, Lake, Location, RowStream, Write, WriteMode};
use serde::Serialize;

use crate::context::location;

pub use action::ActionRow;
pub use attribution::AttributionRow;
pub(crate) use credit::CreditRow;
pub use decision::DecisionRow;
pub use evaluation::EvaluationRow;
pub use experiment::ExperimentRow;
pub use lift::LiftRow;
pub(crate) use lift_sums::LiftSumRow;
pub use outcome::OutcomeRow;
pub(crate) use reported::ReportedRow;
pub use suppressed::SuppressedRow;

/// A column: name, type, what it says.
pub type Column = (&'static str, ColumnType, &'static str);

/// The types system tables use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Text.
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// A number of 64 bits with fraction.
    Number,
    /// True or false.
    Flag,
    /// A calendar day.
    Day,
    /// A moment in UTC, in microseconds.
    Moment,
}

impl ColumnType {
    /// The Arrow type.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Integer => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::Flag => DataType::Boolean,
            Self::Day => DataType::Date32,
            Self::Moment => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }

    /// The name in SQL.
    #[must_use]
    pub fn sql(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "bigint",
            Self::Number => "double",
            Self::Flag => "boolean",
            Self::Day => "date",
            Self::Moment => "timestamp",
        }
    }
}

/// One system table.
#[derive(Clone, Copy, Debug)]
pub struct SystemTable {
    /// Its name within `system`.
    pub name: &'static str,
    /// One row per what.
    pub about: &'static str,
    /// Its columns.
    pub columns: &'static [Column],
}

/// The tables of this crate, in the order of the loop.
pub const TABLES: &[SystemTable] = &[
    decision::TABLE,
    suppressed::TABLE,
    action::TABLE,
    outcome::TABLE,
    lift::TABLE,
    lift_sums::TABLE,
    credit::TABLE,
    attribution::TABLE,
    evaluation::TABLE,
    experiment::TABLE,
    reported::TABLE,
    exposure::TABLE,
];

impl SystemTable {
    /// The Arrow schema; every column may be missing.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let field = |(name, kind, _): &Column| Field::new(*name, kind.arrow(), true);
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    /// Turns rows into a batch of this table.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if a row does not fit the schema.
    pub fn batch<R: Serialize>(&self, rows: &[R]) -> Result<RecordBatch> {
        let schema = self.schema();
        let broken =
            |e| Error::internal(format!("a row does not fit system.{}", self.name)).caused_by(e);
        let mut decoder = arrow::json::ReaderBuilder::new(Arc::clone(&schema))
            .with_batch_size(rows.len().max(1))
            .build_decoder()
            .map_err(broken)?;
        decoder.serialize(rows).map_err(broken)?;
        let batch = decoder.flush().map_err(broken)?;
        Ok(batch.unwrap_or_else(|| RecordBatch::new_empty(schema)))
    }

    /// Appends rows in one commit that also moves `app` to `checkpoint`; nothing happens if the
    /// sequence is already committed.
    ///
    /// # Errors
    /// Those of the lake.
    pub async fn append<R: Serialize>(
        &self,
        lake: &Lake,
        rows: &[R],
        checkpoint: Option<(String, Checkpoint)>,
    ) -> Result<Commit> {
        self.write(lake, WriteMode::Append, rows, checkpoint).await
    }

    /// Writes rows as `mode` says in one commit that also moves `app` to `checkpoint`; nothing happens if the
    /// sequence is already committed.
    ///
    /// # Errors
    /// Those of the lake.
    pub(crate) async fn write<R: Serialize>(
        &self,
        lake: &Lake,
        mode: WriteMode,
        rows: &[R],
        checkpoint: Option<(String, Checkpoint)>,
    ) -> Result<Commit> {
        self.write_batch(lake, mode, self.batch(rows)?, checkpoint).await
    }

    /// Appends a batch of this table in one commit.
    ///
    /// # Errors
    /// Those of the lake.
    pub async fn append_batch(&self, lake: &Lake, batch: RecordBatch) -> Result<Commit> {
        self.write_batch(lake, WriteMode::Append, batch, None).await
    }

    async fn write_batch(
        &self,
        lake: &Lake,
        mode: WriteMode,
        batch: RecordBatch,
        checkpoint: Option<(String, Checkpoint)>,
    ) -> Result<Commit> {
        let rows = RowStream::from_batches(self.schema(), vec![batch]);
        let verb = match mode {
            WriteMode::Append => "append",
            WriteMode::Merge { .. } => "merge",
            _ => "replace",
        };
        let mut write = Write::new(mode, rows, format!("{verb} {}", self.name)).add_columns();
        write.checkpoint = checkpoint;
        lake.write(&self.location()?, write).await
    }

    /// Makes the table, without rows, if it is not there; one that was made before a column was known gets the column,
    /// without values.
    ///
    /// # Errors
    /// Those of the lake.
    pub async fn ensure(&self, lake: &Lake) -> Result<()> {
        let at = self.location()?;
        let rows = RowStream::empty(self.schema());
        let write = match lake.head(&at).await? {
            None => Write::new(WriteMode::Replace, rows, format!("create {}", self.name)),
            Some(head) => {
                let known = |column: &Column| head.schema.field_with_name(column.0).is_ok();
                if self.columns.iter().all(known) {
                    return Ok(());
                }
                let operation = format!("add columns to {}", self.name);
                Write::new(WriteMode::Append, rows, operation).add_columns()
            }
        };
        lake.write(&at, write).await?;
        Ok(())
    }

    /// Where it lies in the lake.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if its name is no folder.
    pub fn location(&self) -> Result<Location> {
        location(&format!("system/{}", self.name))
    }

    /// The table of this crate with this name.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if there is none.
    pub fn named(name: &str) -> Result<&'static Self> {
        TABLES
            .iter()
            .find(|table| table.name == name)
            .ok_or_else(|| Error::internal(format!("no system table \"{name}\"")))
    }
}

#[cfg(test)]
mod tests {
    use flywheel_base::FixedClock;
    use flywheel_warehouse::LakeOptions;
    use tempfile::TempDir;

    use super::*;

    #[tokio::test]
    async fn a_table_of_an_older_version_gets_the_columns_that_came_since_once() {
        let dir = TempDir::new().unwrap();
        let moment = flywheel_base::Timestamp::parse("2024-05-01").unwrap();
        let options = LakeOptions {
            memory_bytes: 256 << 20,
            spill_dir: dir.path().join("spill"),
            partitions: 1,
            clock: Arc::new(FixedClock::new(moment)),
            exact_division: false,
        };
        let lake = Lake::open(&dir.path().join("lake"), options).await.unwrap();
        let table = SystemTable::named("suppressed").unwrap();
        let (_, older) = table.columns.split_last().unwrap();
        SystemTable { columns: older, ..*table }.ensure(&lake).await.unwrap();
        let at = table.location().unwrap();
        for _ in 0..2 {
            table.ensure(&lake).await.unwrap();
            let head = lake.head(&at).await.unwrap().unwrap();
            assert_eq!((head.schema.fields().len(), head.version), (table.columns.len(), 1));
        }
    }
}
