//! Columns that a lake table does not have and nobody has declared, where they are not to be added by themselves.

use std::collections::BTreeSet;

use arrow::array::{Array, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Schema;
use flywheel_base::{Error, Result};
use flywheel_connect::Page;
use flywheel_connect::destination::Refused;
use flywheel_project::resource::sync::{NewColumns, Stream};
use flywheel_warehouse::DELETED;

use super::deliver::rejected;

/// Moves the rows of a page that have a value in a column that neither the table, as it was before the read, nor the stream's
/// file knows to those that are set aside, and leaves such columns out; only with `new_columns: quarantine`. The first read of
/// a table makes it, so that it knows everything.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Internal`] if the rows do not stay a page.
pub(crate) fn set_aside(
    page: &mut Page,
    source: &str,
    stream: &Stream,
    there: Option<&Schema>,
) -> Result<()> {
    let Some(there) = there.filter(|_| stream.new_columns == NewColumns::Quarantine) else {
        return Ok(());
    };
    let schema = page.batch.schema();
    let known = |name: &str| {
        name == DELETED
            || stream.deleted.as_deref() == Some(name)
            || there.field_with_name(name).is_ok()
            || stream.columns.iter().any(|column| column.name == name)
    };
    let new: BTreeSet<usize> = schema
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| !known(field.name()))
        .map(|(at, _)| at)
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let rows = page.batch.num_rows();
    let valued = |at: &usize| {
        let nulls: Option<NullBuffer> = page.batch.column(*at).logical_nulls();
        (schema.field(*at).name().clone(), nulls)
    };
    let valued: Vec<(String, Option<NullBuffer>)> = new.iter().map(valued).collect();
    let has = |row: usize| {
        valued.iter().find(|(_, nulls)| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)))
    };
    let table = stream.table();
    let mut bad = Vec::new();
    for row in 0..rows {
        if let Some((name, _)) = has(row) {
            let refused = Refused {
                row,
                column: Some(name.clone()),
                code: "new-column".to_owned(),
                reason: format!(
                    "{table} has no column \"{name}\"; declare it under `columns` of the stream and replay"
                ),
            };
            bad.push(rejected(source, &table, page, &refused)?);
        }
    }
    let kept: BooleanArray = (0..rows).map(|row| Some(has(row).is_none())).collect();
    page.keep(&kept)?;
    page.rejected.append(&mut bad);
    let old: Vec<usize> = (0..schema.fields().len()).filter(|at| !new.contains(at)).collect();
    page.batch = page
        .batch
        .project(&old)
        .map_err(|error| Error::internal("columns cannot be left out").caused_by(error))?;
    Ok(())
}
