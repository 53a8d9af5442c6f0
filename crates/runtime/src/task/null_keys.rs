//! Rows without a key, which cannot be written by it.

use arrow::array::{Array, BooleanArray};
use arrow::buffer::NullBuffer;
use flywheel_base::Result;
use flywheel_connect::Page;
use flywheel_connect::destination::Refused;

use super::deliver::rejected;

/// Moves the rows of a page that have no value in a column of `key` to those that are set aside, as
/// destinations with keys do.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Internal`] if the rows do not stay a page.
pub(crate) fn set_aside(page: &mut Page, source: &str, table: &str, key: &[String]) -> Result<()> {
    let nulls = |name: &String| {
        let nulls = page.batch.column_by_name(name)?.logical_nulls()?;
        (nulls.null_count() > 0).then(|| (name.clone(), nulls))
    };
    let missing: Vec<(String, NullBuffer)> = key.iter().filter_map(nulls).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let lacks = |row: usize| missing.iter().find(|(_, nulls)| nulls.is_null(row));
    let mut bad = Vec::new();
    for row in 0..page.batch.num_rows() {
        if let Some((name, _)) = lacks(row) {
            let refused = Refused {
                row,
                column: Some(name.clone()),
                code: "null-key".to_owned(),
                reason: "no value in a column of the key".to_owned(),
            };
            bad.push(rejected(source, table, page, &refused)?);
        }
    }
    let rows = 0..page.batch.num_rows();
    let kept: BooleanArray = rows.map(|row| Some(lacks(row).is_none())).collect();
    page.keep(&kept)?;
    page.rejected.append(&mut bad);
    Ok(())
}
