//! Copy-on-write: rewrites the files that lose rows, without the rows they lose.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use flywheel_base::{Error, Result};
use futures::TryStreamExt;
use object_store::ObjectStore;

use super::{Change, Waits};
use crate::data_file::{self, DataWriter};
use crate::engine::Engine;
use crate::failure::{from_arrow, from_engine};
use crate::snapshot::{DataFile, Snapshot};
use crate::write::Commit;

/// A file and which of its rows stay.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) file: Arc<DataFile>,
    pub(crate) rows: BooleanBuffer,
}

/// Writes the rows that stay, in their order; `lost` sees every batch with the mask of its rows that go.
pub(crate) async fn rewrite(
    store: &Arc<dyn ObjectStore>,
    schema: &SchemaRef,
    kept: &[Kept],
    writer: &mut DataWriter,
    mut lost: impl FnMut(&RecordBatch, &BooleanArray) -> Result<()>,
) -> Result<()> {
    for Kept { file, rows } in kept {
        let mut batches = data_file::read(store, file, schema).await?;
        let mut at = 0;
        while let Some(batch) = batches.try_next().await? {
            if at + batch.num_rows() > rows.len() {
                return Err(changed(file));
            }
            let stay = BooleanArray::new(rows.slice(at, batch.num_rows()), None);
            at += batch.num_rows();
            let go = BooleanArray::new(!stay.values(), None);
            lost(&batch, &go)?;
            writer.write(filter_record_batch(&batch, &stay).map_err(from_arrow)?).await?;
        }
        if at != rows.len() {
            return Err(changed(file));
        }
    }
    Ok(())
}

/// A file that is not what it was a moment ago.
pub(crate) fn changed(file: &DataFile) -> Error {
    Error::corrupt(format!("data file {} gave different rows on a second read", file.add.path))
        .hint("Check the disk; then run it again.")
}

/// Rows to delete.
#[derive(Debug)]
pub(crate) struct Condition {
    expression: Arc<dyn PhysicalExpr>,
}

impl Condition {
    /// Parses an SQL condition over the table's columns.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is not one, or asks other tables.
    pub(crate) fn new(engine: &Engine, table: &Snapshot, condition: &str) -> Result<Self> {
        let expression = engine.expression(condition, &table.schema)?;
        let data_type = expression.data_type(&table.schema).map_err(from_engine)?;
        match data_type {
            arrow::datatypes::DataType::Boolean => Ok(Self { expression }),
            other => Err(Error::invalid(format!("the condition \"{condition}\" gives {other}"))
                .hint("Write a condition that is true or false, such as id = 7.")),
        }
    }

    /// Rewrites the files in which the condition is true for a row.
    pub(crate) async fn decide(
        &self,
        store: &Arc<dyn ObjectStore>,
        head: &Arc<Snapshot>,
        writer: &mut DataWriter,
    ) -> Result<Change> {
        let mut kept = Vec::new();
        let mut deleted = 0;
        for file in &head.files {
            let rows = self.staying(store, file, &head.schema).await?;
            let gone = rows.len() - rows.count_set_bits();
            if gone > 0 {
                deleted += gone as u64;
                kept.push(Kept { file: Arc::clone(file), rows });
            }
        }
        rewrite(store, &head.schema, &kept, writer, |_, _| Ok(())).await?;
        Ok(Change {
            adds: writer.finish().await?,
            removes: kept.into_iter().map(|kept| kept.file).collect(),
            schema: None,
            commit: Commit { rows_deleted: deleted, ..Commit::default() },
            delta_operation: "DELETE",
            data_change: true,
            always: false,
            waiting: Waits::Same,
        })
    }

    async fn staying(
        &self,
        store: &Arc<dyn ObjectStore>,
        file: &DataFile,
        schema: &SchemaRef,
    ) -> Result<BooleanBuffer> {
        let mut mask = BooleanBufferBuilder::new(0);
        let mut batches = data_file::read(store, file, schema).await?;
        while let Some(batch) = batches.try_next().await? {
            let value = self.expression.evaluate(&batch).map_err(from_engine)?;
            let array = value.into_array(batch.num_rows()).map_err(from_engine)?;
            let array = array
                .as_any()
                .downcast_ref::<BooleanArray>()
                .ok_or_else(|| Error::internal("a condition gave something else than a boolean"))?;
            for row in 0..array.len() {
                mask.append(array.is_null(row) || !array.value(row));
            }
        }
        Ok(mask.finish())
    }
}
