//! Rows as people and other programs read them: texts, values of JSON, and lines of CSV.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Error, Result};
use serde_json::{Map, Number, Value};

/// Hands over the rows of `batch` as texts, one by one; a cell without a value has none. Moments with a
/// time zone are in UTC. Lists, structs and maps are JSON.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Internal`] for a type that has no text.
pub fn texts(batch: &RecordBatch, mut row_of: impl FnMut(Vec<Option<String>>)) -> Result<()> {
    let columns = columns(batch)?;
    for row in 0..batch.num_rows() {
        let cell = |column: &Shown<'_>| column.text(row);
        row_of(columns.iter().map(cell).collect());
    }
    Ok(())
}

/// Hands over the rows of `batch` as JSON, one by one: lists are arrays, structs and maps are objects, and
/// what has no parts is what `plain` makes of its type and text.
///
/// # Errors
/// As [`texts`].
pub fn values(
    batch: &RecordBatch,
    plain: impl Fn(&DataType, String) -> Value,
    mut row_of: impl FnMut(Vec<Value>),
) -> Result<()> {
    let columns = columns(batch)?;
    for row in 0..batch.num_rows() {
        let cell = |column: &Shown<'_>| column.value(row, &plain);
        row_of(columns.iter().map(cell).collect());
    }
    Ok(())
}

fn columns(batch: &RecordBatch) -> Result<Vec<Shown<'_>>> {
    let options = FormatOptions::default()
        .with_null("NULL")
        .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.fZ"));
    let shown = batch.columns().iter().map(|column| Shown::new(column.as_ref(), &options));
    shown
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| Error::internal("a column cannot be shown").caused_by(e))
}

/// A column as it is shown.
struct Shown<'a> {
    /// A column without a type has no values, and does not say so row by row.
    nulls: Option<NullBuffer>,
    form: Form<'a>,
}

enum Form<'a> {
    Plain(ArrayFormatter<'a>, &'a DataType),
    /// The items of all rows, and which of them are a row's.
    Items(Bounds<'a>, Box<Shown<'a>>),
    Members(Vec<(&'a str, Shown<'a>)>),
    /// The keys and the values of all rows.
    Entries(Bounds<'a>, Box<(Shown<'a>, Shown<'a>)>),
}

/// Where the items of a row lie among those of all rows.
enum Bounds<'a> {
    Short(&'a [i32]),
    Long(&'a [i64]),
    /// Every row has as many.
    Same(usize),
}

impl Bounds<'_> {
    fn of(&self, row: usize) -> Range<usize> {
        let offset = |at: usize| match self {
            Self::Short(offsets) => offsets.get(at).and_then(|at| usize::try_from(*at).ok()),
            Self::Long(offsets) => offsets.get(at).and_then(|at| usize::try_from(*at).ok()),
            Self::Same(count) => Some(at * count),
        };
        offset(row).unwrap_or_default()..offset(row + 1).unwrap_or_default()
    }
}

impl<'a> Shown<'a> {
    fn new(
        column: &'a dyn Array,
        options: &FormatOptions<'a>,
    ) -> std::result::Result<Self, ArrowError> {
        let inner = |column: &'a dyn Array| Self::new(column, options);
        let form = match column.data_type() {
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                let items = Box::new(inner(list.values().as_ref())?);
                Form::Items(Bounds::Short(list.value_offsets()), items)
            }
            DataType::LargeList(_) => {
                let list = column.as_list::<i64>();
                let items = Box::new(inner(list.values().as_ref())?);
                Form::Items(Bounds::Long(list.value_offsets()), items)
            }
            DataType::FixedSizeList(_, count) => {
                let items = Box::new(inner(column.as_fixed_size_list().values().as_ref())?);
                Form::Items(Bounds::Same(usize::try_from(*count).unwrap_or_default()), items)
            }
            DataType::Struct(fields) => {
                let members = fields.iter().zip(column.as_struct().columns());
                let member = |(field, column): (&'a Arc<Field>, &'a ArrayRef)| {
                    Ok((field.name().as_str(), inner(column.as_ref())?))
                };
                let members: std::result::Result<Vec<_>, ArrowError> =
                    members.map(member).collect();
                Form::Members(members?)
            }
            DataType::Map(..) => {
                let map = column.as_map();
                let (keys, values) = (inner(map.keys().as_ref())?, inner(map.values().as_ref())?);
                Form::Entries(Bounds::Short(map.value_offsets()), Box::new((keys, values)))
            }
            kind => Form::Plain(ArrayFormatter::try_new(column, options)?, kind),
        };
        Ok(Self { nulls: column.logical_nulls(), form })
    }

    fn is_missing(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    fn text(&self, row: usize) -> Option<String> {
        if self.is_missing(row) {
            return None;
        }
        Some(match &self.form {
            Form::Plain(formatter, _) => formatter.value(row).to_string(),
            _ => self.value(row, &exact).to_string(),
        })
    }

    fn value(&self, row: usize, plain: &dyn Fn(&DataType, String) -> Value) -> Value {
        if self.is_missing(row) {
            return Value::Null;
        }
        match &self.form {
            Form::Plain(formatter, kind) => plain(kind, formatter.value(row).to_string()),
            Form::Items(bounds, items) => {
                Value::Array(bounds.of(row).map(|at| items.value(at, plain)).collect())
            }
            Form::Members(members) => {
                let member =
                    |(name, column): &(&str, Self)| ((*name).to_owned(), column.value(row, plain));
                Value::Object(members.iter().map(member).collect())
            }
            Form::Entries(bounds, entries) => {
                let (keys, values) = entries.as_ref();
                let mut object = Map::new();
                for at in bounds.of(row) {
                    let key = keys.text(at).unwrap_or_else(|| "null".to_owned());
                    object.insert(key, values.value(at, plain));
                }
                Value::Object(object)
            }
        }
    }
}

/// A value without parts as it stands within one with parts: whole numbers, floats and truth values as JSON has them, all else as
/// exact text.
fn exact(kind: &DataType, text: String) -> Value {
    let number = match kind {
        DataType::Boolean => text.parse::<bool>().ok().map(Value::Bool),
        kind if kind.is_integer() => {
            let whole = text.parse::<i64>().map(Value::from);
            whole.or_else(|_| text.parse::<u64>().map(Value::from)).ok()
        }
        kind if kind.is_floating() => {
            text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
        }
        _ => None,
    };
    number.unwrap_or(Value::String(text))
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
    use arrow::array::builder::{Int64Builder, MapBuilder, StringBuilder};
    use arrow::array::{
        FixedSizeListArray, Int64Array, ListArray, NullArray, StringArray, StructArray,
    };
    use arrow::datatypes::Int64Type;
    use serde_json::json;

    use super::*;

    fn one(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap()
    }

    /// The texts of a column's cells, and its values.
    fn shown(column: ArrayRef) -> (Vec<Option<String>>, Vec<Value>) {
        let (batch, mut cells, mut found) = (one(column), Vec::new(), Vec::new());
        texts(&batch, |row| cells.extend(row)).unwrap();
        values(&batch, exact, |row| found.extend(row)).unwrap();
        (cells, found)
    }

    #[test]
    fn what_has_no_value_is_missing() {
        assert_eq!(shown(Arc::new(NullArray::new(1))), (vec![None], vec![Value::Null]));
    }

    #[test]
    fn what_has_parts_is_json() {
        let rows = [Some(vec![Some(0)]), Some(vec![Some(1), None, Some(i64::MAX)]), None];
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>(rows);
        // A part of a column begins where its first row does.
        let (cells, found) = shown(Arc::new(list.slice(1, 2)));
        let big = format!("[1,null,{}]", i64::MAX);
        assert_eq!(cells, [Some(big), None]);
        assert_eq!(found, [json!([1, null, i64::MAX]), Value::Null]);

        let pairs = [Some(vec![Some(1), Some(2)]), Some(vec![Some(3), None])];
        let same = FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>(pairs, 2);
        assert_eq!(shown(Arc::new(same.slice(1, 1))).1, [json!([3, null])]);

        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a \"b\""), None]));
        let counts: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let both = StructArray::try_from(vec![("n", counts), ("name", names)]).unwrap();
        let (cells, found) = shown(Arc::new(both));
        assert_eq!(found, [json!({"n": 1, "name": "a \"b\""}), json!({"n": 2, "name": null})]);
        assert_eq!(cells[1].as_deref(), Some(r#"{"n":2,"name":null}"#));

        let mut map = MapBuilder::new(None, Int64Builder::new(), StringBuilder::new());
        map.keys().append_value(7);
        map.values().append_value("seven");
        map.append(true).unwrap();
        map.append(true).unwrap();
        assert_eq!(shown(Arc::new(map.finish())).1, [json!({"7": "seven"}), json!({})]);
    }

    #[test]
    fn csv_tells_missing_from_empty_and_quotes_what_needs_it() {
        let cells = [Some("a,\"b\""), None, Some(""), Some("两\n行"), Some("1")];
        assert_eq!(csv_line(cells), "\"a,\"\"b\"\"\",,\"\",\"两\n行\",1");
    }
}
