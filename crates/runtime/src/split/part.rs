//! The rows of one part: chosen from a page, with the references emptied that lead out of it.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, nullif};
use arrow::datatypes::Schema;
use flywheel_base::{Error, ErrorKind, Result};
use flywheel_reconcile::record::Side;
use flywheel_reconcile::split::{Lead, Placed};

use super::rows::{RowKeys, Spec, unreadable};

/// What chooses the rows of a table for a part.
pub(super) struct PartOf<'a> {
    pub(super) placed: &'a Placed<'a>,
    pub(super) spec: &'a Arc<Spec>,
    pub(super) table: usize,
    pub(super) side: Side,
}

/// The rows of a page that are in a part.
pub(super) struct Chosen {
    pub(super) rows: RecordBatch,
    /// The emptied references: the row within the page, and the reference.
    pub(super) cleared: Vec<(usize, usize)>,
}

impl PartOf<'_> {
    /// The rows of `batch` that are in the part.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if a row was not there when the rows were placed.
    pub(super) fn choose(&self, batch: &RecordBatch, keys: &RowKeys) -> Result<Chosen> {
        let mut kept = Vec::with_capacity(batch.num_rows());
        let mut cleared = Vec::new();
        for (row, key) in keys.keys.iter().enumerate() {
            let home = key.and_then(|key| self.placed.home(self.table, key));
            let home = home.ok_or_else(|| changed(&self.spec.table))?;
            let here = *home.of(self.side);
            kept.push(here);
            for (number, value) in keys.references_of(row).enumerate() {
                let Some(value) = value.filter(|_| here) else { continue };
                if self.placed.lead(self.table, number, value, self.side) == Lead::Elsewhere {
                    cleared.push((row, number));
                }
            }
        }
        let whole = self.emptied(batch, &cleared)?;
        let rows = filter_record_batch(&whole, &BooleanArray::from(kept)).map_err(unreadable)?;
        Ok(Chosen { rows, cleared })
    }

    /// The batch without the references that lead out.
    fn emptied(&self, batch: &RecordBatch, cleared: &[(usize, usize)]) -> Result<RecordBatch> {
        if self.spec.references.is_empty() {
            return Ok(batch.clone());
        }
        let schema = batch.schema();
        let mut columns = batch.columns().to_vec();
        // Whether a page empties one or not, all pages have the same columns.
        let fields = schema.fields().iter().map(|field| {
            let refers = self.spec.references.contains(field.name());
            let field = Arc::clone(field);
            if refers { Arc::new(field.as_ref().clone().with_nullable(true)) } else { field }
        });
        let fields: Vec<_> = fields.collect();
        for (number, name) in self.spec.references.iter().enumerate() {
            let mut mask = vec![false; batch.num_rows()];
            let of_this = cleared.iter().filter(|(_, reference)| *reference == number);
            for (row, _) in of_this {
                if let Some(flag) = mask.get_mut(*row) {
                    *flag = true;
                }
            }
            if !mask.contains(&true) {
                continue;
            }
            let Ok(place) = schema.index_of(name) else { continue };
            if let Some(column) = columns.get_mut(place) {
                *column = nullif(column.as_ref(), &BooleanArray::from(mask)).map_err(unreadable)?;
            }
        }
        let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
        RecordBatch::try_new(Arc::new(schema), columns).map_err(unreadable)
    }
}

/// The error of a source that is written while it is taken apart.
pub(super) fn changed(table: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("table \"{table}\" was written while the system was taken apart"),
    )
    .hint("Nothing of this table was written. Stop what writes to the system, then run again.")
}
