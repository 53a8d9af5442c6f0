//! Rows as the split sees them: digests of their keys and references, and of what they hold.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Error, Result, digest};
use flywheel_project::resource::split::{Place, Split, SplitTable};
use flywheel_reconcile::record::Side;
use flywheel_reconcile::split::Digest;

use crate::migrate::common;

/// The columns of a table that matter to the split.
#[derive(Debug)]
pub(super) struct Spec {
    /// The table's name.
    pub(super) table: String,
    /// The columns of its key.
    pub(super) key: Vec<String>,
    /// The columns of its references.
    pub(super) references: Vec<String>,
    /// The condition that divides its rows, and the part of those that meet it.
    pub(super) condition: Option<(String, Side)>,
}

impl Spec {
    pub(super) fn new(table: &SplitTable, split: &Split) -> Result<Self> {
        let condition = match &table.place {
            Place::Divided { condition, to } => {
                let first = split.parts.first().is_some_and(|part| part.part == *to);
                Some((condition.clone(), if first { Side::Left } else { Side::Right }))
            }
            _ => None,
        };
        Ok(Self {
            table: table.table.clone(),
            key: table.key.clone(),
            references: table.references.iter().map(|known| known.column.clone()).collect(),
            condition,
        })
    }

    /// The keys and references of every row.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a column of the key is not there. A reference that is not
    /// there is empty.
    pub(super) fn keys(&self, batch: &RecordBatch) -> Result<RowKeys> {
        let column = |name: &String| batch.column_by_name(name).map(Arc::clone);
        let key = self.key.iter().map(|name| {
            column(name).ok_or_else(|| {
                Error::invalid(format!("table \"{}\" has no column \"{name}\"", self.table))
            })
        });
        let key = key.collect::<Result<Vec<_>>>()?;
        let references = self.references.iter().map(|name| match column(name) {
            Some(array) => digests(&[array], batch.num_rows()),
            None => Ok(vec![None; batch.num_rows()]),
        });
        Ok(RowKeys {
            keys: digests(&key, batch.num_rows())?,
            references: references.collect::<Result<_>>()?,
        })
    }

    /// The key of a row, for people.
    pub(super) fn shown(&self, batch: &RecordBatch, row: usize) -> Result<String> {
        let options = FormatOptions::default().with_null("NULL");
        let values = self.key.iter().filter_map(|name| batch.column_by_name(name)).map(|array| {
            let formatter =
                ArrayFormatter::try_new(array.as_ref(), &options).map_err(unreadable)?;
            Ok(formatter.value(row).to_string())
        });
        Ok(values.collect::<Result<Vec<_>>>()?.join(", "))
    }
}

/// The keys and references of the rows of a batch.
#[derive(Debug)]
pub(super) struct RowKeys {
    /// By row; none if a column of the key is empty.
    pub(super) keys: Vec<Option<Digest>>,
    /// By reference, then by row; none if the reference is empty.
    pub(super) references: Vec<Vec<Option<Digest>>>,
}

impl RowKeys {
    /// Where the references of a row lead.
    pub(super) fn references_of(&self, row: usize) -> impl Iterator<Item = Option<Digest>> + '_ {
        self.references.iter().map(move |values| values.get(row).copied().flatten())
    }
}

/// A digest of the values of several columns for each row; none where one of them is empty.
///
/// Values are taken as what they mean, so that a key and what refers to it agree whatever width or scale
/// their columns have.
fn digests(columns: &[ArrayRef], rows: usize) -> Result<Vec<Option<Digest>>> {
    let columns = columns.iter().map(Values::new).collect::<Result<Vec<_>>>()?;
    let formatters = columns.iter().map(Values::formatter).collect::<Result<Vec<_>>>()?;
    let (mut bytes, mut text) = (Vec::new(), String::new());
    let mut all = Vec::with_capacity(rows);
    for row in 0..rows {
        bytes.clear();
        let mut whole = true;
        for (values, formatter) in columns.iter().zip(&formatters) {
            text.clear();
            if values.array.is_valid(row) {
                write!(text, "{}", formatter.value(row))
                    .map_err(|error| Error::internal("a key cannot be written").caused_by(error))?;
            }
            let shown = values.meant(&text);
            whole &= !shown.trim().is_empty();
            bytes.extend_from_slice(&(shown.len() as u64).to_le_bytes());
            bytes.extend_from_slice(shown.as_bytes());
        }
        // A digest is never 0, which stands for "none" elsewhere.
        all.push(whole.then(|| digest::hash128(&bytes).max(1)));
    }
    Ok(all)
}

/// A column whose values are compared with those of another one.
struct Values {
    array: ArrayRef,
    fraction: bool,
}

impl Values {
    fn new(array: &ArrayRef) -> Result<Self> {
        let kind = common(array.data_type());
        let fraction = kind.as_ref().is_some_and(|kind| kind.is_decimal() || kind.is_floating());
        let array = match kind {
            Some(kind) if kind != *array.data_type() => cast(array, &kind).map_err(unreadable)?,
            _ => Arc::clone(array),
        };
        Ok(Self { array, fraction })
    }

    fn formatter(&self) -> Result<ArrayFormatter<'_>> {
        const OPTIONS: FormatOptions<'static> = FormatOptions::new();
        ArrayFormatter::try_new(self.array.as_ref(), &OPTIONS).map_err(unreadable)
    }

    /// A number without the zeros at its end: 10.00 and 10 are one key.
    fn meant<'t>(&self, text: &'t str) -> &'t str {
        match self.fraction && text.contains('.') && !text.contains(['e', 'E']) {
            true => text.trim_end_matches('0').trim_end_matches('.'),
            false => text,
        }
    }
}

/// What rows hold: how many there are, and the sum of the digests of all their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) rows: u64,
    pub(crate) sum: u128,
}

impl Content {
    /// Adds the rows of a batch, whose order does not matter.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = batch.columns().iter().map(comparable).collect::<Result<Vec<_>>>()?;
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
        let converter = RowConverter::new(fields.collect()).map_err(unreadable)?;
        let rows = converter.convert_columns(&columns).map_err(unreadable)?;
        for row in &rows {
            self.sum = self.sum.wrapping_add(digest::hash128(row.as_ref()));
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }
}

/// A column as one whose rows have bytes; nested values of kinds that have none as text.
fn comparable(array: &ArrayRef) -> Result<ArrayRef> {
    if RowConverter::supports_fields(&[SortField::new(array.data_type().clone())]) {
        return Ok(Arc::clone(array));
    }
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options).map_err(unreadable)?;
    let text = |row| array.is_valid(row).then(|| formatter.value(row).to_string());
    Ok(Arc::new((0..array.len()).map(text).collect::<StringArray>()))
}

/// The values of a column as text, for people.
pub(super) fn texts(batch: &RecordBatch, name: &str) -> Result<Vec<String>> {
    let Some(array) = batch.column_by_name(name) else {
        return Ok(vec![String::new(); batch.num_rows()]);
    };
    let array = cast(array, &DataType::Utf8).map_err(unreadable)?;
    let values = array.as_string::<i32>().iter();
    Ok(values.map(|value| value.unwrap_or_default().to_owned()).collect())
}

pub(super) fn unreadable(error: arrow::error::ArrowError) -> Error {
    Error::internal("rows of a split cannot be read").caused_by(error)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Int32Array, Int64Array};

    use super::*;

    fn of(columns: &[ArrayRef]) -> Vec<Option<Digest>> {
        digests(columns, columns[0].len()).unwrap()
    }

    #[test]
    fn a_key_and_what_refers_to_it_agree_whatever_their_types() {
        let whole: ArrayRef = Arc::new(Int64Array::from(vec![Some(10), None, Some(7)]));
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![Some(10), None, Some(8)]));
        let decimal: ArrayRef = Arc::new(
            Decimal128Array::from(vec![Some(1000), None, Some(701)])
                .with_precision_and_scale(12, 2)
                .unwrap(),
        );
        let text: ArrayRef =
            Arc::new(StringArray::from(vec![Some("10"), Some("  "), Some("10.0")]));
        let [ten, none, seven] = of(&[Arc::clone(&whole)])[..] else { panic!("three rows") };
        assert!(ten.is_some() && seven.is_some() && none.is_none());
        for (column, last) in [(narrow, false), (decimal, false), (text, false)] {
            let found = of(&[column]);
            assert_eq!((found[0], found[1]), (ten, None), "an empty text refers to nothing");
            assert_eq!(found[2] == seven, last);
        }
        assert_ne!(of(&[Arc::clone(&whole), Arc::clone(&whole)])[0], ten);
        let (a, b): (ArrayRef, ArrayRef) = (
            Arc::new(StringArray::from(vec!["ab", "a"])),
            Arc::new(StringArray::from(vec!["c", "bc"])),
        );
        let pairs = of(&[a, b]);
        assert_ne!(pairs[0], pairs[1], "columns of a key do not run into each other");
    }

    #[test]
    fn content_is_that_of_the_rows_in_any_order() {
        let content = |values: Vec<i64>| {
            let mut content = Content::default();
            let column: ArrayRef = Arc::new(Int64Array::from(values));
            content.add(&RecordBatch::try_from_iter([("n", column)]).unwrap()).unwrap();
            content
        };
        assert_eq!(content(vec![1, 2, 3]), content(vec![3, 1, 2]));
        assert_ne!(content(vec![1, 2, 3]), content(vec![1, 2, 4]));
    }
}
