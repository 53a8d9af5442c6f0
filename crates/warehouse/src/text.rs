//! Rows as people and other programs read them: texts, and lines of CSV.

use arrow::array::{Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Error, Result};

/// Hands over the rows of `batch` as texts, one by one; a cell without a value has none. Moments with a
/// time zone are in UTC, and a missing value within a list or a struct is `NULL`.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Internal`] for a type that has no text.
pub fn texts(batch: &RecordBatch, mut row_of: impl FnMut(Vec<Option<String>>)) -> Result<()> {
    let options = FormatOptions::default()
        .with_null("NULL")
        .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.fZ"));
    let formatters = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| Error::internal("a column cannot be shown").caused_by(e))?;
    // A column without a type has no values, and does not say so row by row.
    let nulls: Vec<Option<NullBuffer>> =
        batch.columns().iter().map(|column| column.logical_nulls()).collect();
    for row in 0..batch.num_rows() {
        let cell = |(formatter, nulls): (&ArrayFormatter<'_>, &Option<NullBuffer>)| {
            let missing = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            (!missing).then(|| formatter.value(row).to_string())
        };
        row_of(formatters.iter().zip(&nulls).map(cell).collect());
    }
    Ok(())
}

/// A line of CSV without its end: a missing value is empty and an empty text is `""`, so that a reader
/// can tell them apart.
#[must_use]
pub fn csv_line<'a>(cells: impl IntoIterator<Item = Option<&'a str>>) -> String {
    let cell = |cell: Option<&str>| match cell {
        None => String::new(),
        Some("") => "\"\"".to_owned(),
        Some(text) if text.contains([',', '"', '\n', '\r']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Some(text) => text.to_owned(),
    };
    cells.into_iter().map(cell).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, ListArray, NullArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn what_has_no_value_is_missing_and_is_named_within_a_list() {
        let of = [Some([Some(1), None, Some(2)])];
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(of));
        let none: ArrayRef = Arc::new(NullArray::new(1));
        let columns = [("x", none, true), ("l", list, true)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let mut rows = Vec::new();
        texts(&batch, |row| rows.push(row)).unwrap();
        assert_eq!(rows, [[None, Some("[1, NULL, 2]".to_owned())]]);
    }

    #[test]
    fn csv_tells_missing_from_empty_and_quotes_what_needs_it() {
        let cells = [Some("a,\"b\""), None, Some(""), Some("两\n行"), Some("1")];
        assert_eq!(csv_line(cells), "\"a,\"\"b\"\"\",,\"\",\"两\n行\",1");
    }
}
