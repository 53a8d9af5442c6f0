//! Columns of a query's answer as plain vectors.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch, interleave_record_batch};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use flywheel_base::{Error, Result, suggest};
use serde_json::{Map, Value};

/// How much of a text is shown that cannot be read.
const SHOWN_MAX: usize = 40;

/// The answer of a query that a resource declares.
pub(crate) struct Frame<'a> {
    /// What the query belongs to, for messages: `policy "winback": audience`.
    what: &'a str,
    batches: Vec<RecordBatch>,
}

/// The texts of a column, row by row.
pub(crate) struct Texts(Vec<ArrayRef>);

impl Texts {
    /// Each row's text.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .flat_map(|array| array.as_string::<i32>().iter().map(Option::unwrap_or_default))
    }
}

impl<'a> Frame<'a> {
    /// Wraps the batches of one answer.
    pub(crate) fn new(what: &'a str, batches: Vec<RecordBatch>) -> Self {
        Self { what, batches }
    }

    /// How many rows.
    pub(crate) fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Whether the answer has a column of this name.
    pub(crate) fn has(&self, column: &str) -> bool {
        self.batches.first().is_some_and(|batch| batch.schema().index_of(column).is_ok())
    }

    /// A column as text; anything is cast to its usual text.
    pub(crate) fn text(&self, column: &str) -> Result<Vec<Option<String>>> {
        let mut values = Vec::with_capacity(self.rows());
        for array in self.column(column, &DataType::Utf8)? {
            let array = array.as_string::<i32>();
            values.extend(array.iter().map(|value| value.map(str::to_owned)));
        }
        Ok(values)
    }

    /// A column as text without missing values: ids.
    pub(crate) fn ids(&self, column: &str) -> Result<Vec<String>> {
        self.whole(column, self.text(column)?)
    }

    /// The column `unit_id` where each row is about a unit of its own.
    pub(crate) fn unit_ids(&self) -> Result<Vec<String>> {
        let ids = self.ids("unit_id")?;
        let twice = {
            let mut seen = HashSet::with_capacity(ids.len());
            ids.iter().find(|id| !seen.insert(id.as_str())).cloned()
        };
        match twice {
            None => Ok(ids),
            Some(unit) => {
                Err(Error::invalid(format!("{}: unit \"{unit}\" is there twice", self.what))
                    .hint("Give one row a unit."))
            }
        }
    }

    /// A column as text without missing values, not copied.
    pub(crate) fn texts(&self, column: &str) -> Result<Texts> {
        let arrays = self.column(column, &DataType::Utf8)?;
        let missing = arrays.iter().map(|array| array.null_count()).sum();
        self.none_missing(column, missing)?;
        Ok(Texts(arrays))
    }

    /// A column as text, empty where it is missing, not copied.
    pub(crate) fn texts_or_empty(&self, column: &str) -> Result<Texts> {
        Ok(Texts(self.column(column, &DataType::Utf8)?))
    }

    /// A column as numbers; a text that is none is refused, an empty one is missing.
    pub(crate) fn numbers(&self, column: &str) -> Result<Vec<Option<f64>>> {
        Ok(floats(&self.column(column, &DataType::Float64)?))
    }

    /// As [`Frame::numbers`], with a text that is no number among what is missing.
    pub(crate) fn numbers_if_any(&self, column: &str) -> Result<Vec<Option<f64>>> {
        Ok(floats(&self.cast(column, &DataType::Float64)?))
    }

    /// A column as whole numbers.
    pub(crate) fn integers(&self, column: &str) -> Result<Vec<Option<i64>>> {
        let mut values = Vec::with_capacity(self.rows());
        for array in self.column(column, &DataType::Int64)? {
            values.extend(array.as_primitive::<Int64Type>().iter());
        }
        Ok(values)
    }

    /// A column as moments, in microseconds since the epoch (UTC).
    pub(crate) fn times(&self, column: &str) -> Result<Vec<Option<i64>>> {
        let wanted = DataType::Timestamp(TimeUnit::Microsecond, None);
        let mut values = Vec::with_capacity(self.rows());
        for array in self.column(column, &wanted)? {
            values.extend(array.as_primitive::<TimestampMicrosecondType>().iter());
        }
        Ok(values)
    }

    /// A column of moments without missing values.
    pub(crate) fn moments(&self, column: &str) -> Result<Vec<i64>> {
        self.whole(column, self.times(column)?)
    }

    /// A column of truth values; absent values are `None`.
    pub(crate) fn flags(&self, column: &str) -> Result<Vec<Option<bool>>> {
        let mut values = Vec::with_capacity(self.rows());
        for array in self.column(column, &DataType::Boolean)? {
            values.extend(array.as_boolean().iter());
        }
        Ok(values)
    }

    /// As [`Frame::flags`], of what a person said: a number that is neither 0 nor 1 is refused, as any but 0 would pass
    /// for true.
    pub(crate) fn answers(&self, column: &str) -> Result<Vec<Option<bool>>> {
        if self.is_number(column) {
            let numbers = self.numbers(column)?;
            let others = numbers.into_iter().flatten().filter(|n| *n != 0.0 && *n != 1.0).count();
            if others > 0 {
                return Err(Error::invalid(format!(
                    "{}: column \"{column}\" is neither 0 nor 1 in {others} of {} rows",
                    self.what,
                    self.rows()
                ))
                .hint(format!(
                    "Say in the query which number means yes, such as `{column} = 1 as {column}`."
                )));
            }
        }
        self.flags(column)
    }

    /// The rows whose id in `column` is `wanted`; the others are never turned into values of ours.
    pub(crate) fn only_ids(&self, column: &str, wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let mut flags = Vec::with_capacity(self.rows());
        for array in self.column(column, &DataType::Utf8)? {
            flags.extend(array.as_string::<i32>().iter().map(|id| id.is_some_and(&wanted)));
        }
        self.only(&flags)
    }

    /// The rows that are `wanted`, one flag for each row.
    pub(crate) fn only(&self, wanted: &[bool]) -> Result<Self> {
        let mut rest = wanted;
        let mut batches = Vec::with_capacity(self.batches.len());
        for batch in &self.batches {
            let (these, others) = rest
                .split_at_checked(batch.num_rows())
                .ok_or_else(|| Error::internal(format!("{}: a row without a flag", self.what)))?;
            rest = others;
            let mask = BooleanArray::from(these.to_vec());
            let kept = filter_record_batch(batch, &mask).map_err(|e| self.unreadable("*", e))?;
            batches.push(kept);
        }
        Ok(Self { what: self.what, batches })
    }

    /// The rows at `places`, counted from 0, in the order of `places`.
    pub(crate) fn at(&self, places: &[usize]) -> Result<Self> {
        if places.is_empty() {
            return Ok(Self { what: self.what, batches: Vec::new() });
        }
        let mut rows = 0;
        let mut starts = Vec::with_capacity(self.batches.len());
        for batch in &self.batches {
            starts.push(rows);
            rows += batch.num_rows();
        }
        let found = places.iter().map(|place| {
            // Of batches that start at the same row all but the last are empty.
            let batch = starts.partition_point(|start| start <= place).saturating_sub(1);
            (batch, place - starts.get(batch).copied().unwrap_or_default())
        });
        let found: Vec<(usize, usize)> = found.collect();
        if places.iter().any(|place| *place >= rows) {
            return Err(Error::internal(format!("{}: there is no such row", self.what)));
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let batch =
            interleave_record_batch(&batches, &found).map_err(|e| self.unreadable("*", e))?;
        Ok(Self { what: self.what, batches: vec![batch] })
    }

    /// A column of lists of numbers, or of their JSON; a missing one is empty.
    pub(crate) fn vectors(&self, column: &str) -> Result<Vec<Vec<f32>>> {
        if self.is_text(column) {
            let read = |(row, text): (usize, Option<String>)| match text {
                None => Ok(Vec::new()),
                Some(text) => serde_json::from_str::<Vec<f32>>(&text).map_err(|e| {
                    Error::invalid(format!(
                        "{}: column \"{column}\" holds no list of numbers in row {}",
                        self.what,
                        row + 1
                    ))
                    .hint("Write each as JSON, such as [0.12, -0.5], or as an array of numbers.")
                    .caused_by(e)
                }),
            };
            return self.text(column)?.into_iter().enumerate().map(read).collect();
        }
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let mut vectors = Vec::with_capacity(self.rows());
        for array in self.column(column, &DataType::List(item))? {
            let lists = array.as_list::<i32>();
            for list in lists.iter() {
                let numbers = list.as_ref().map(|list| list.as_primitive::<Float32Type>());
                let numbers = numbers.into_iter().flatten();
                vectors.push(numbers.map(|number| number.unwrap_or(f32::NAN)).collect());
            }
        }
        Ok(vectors)
    }

    /// Every row as a JSON object, missing values as `null`.
    pub(crate) fn objects(&self) -> Result<Vec<Map<String, Value>>> {
        let mut bytes = Vec::new();
        let mut writer = arrow::json::WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, arrow::json::writer::JsonArray>(&mut bytes);
        for batch in &self.batches {
            writer.write(batch).map_err(|e| self.unreadable("*", e))?;
        }
        writer.finish().map_err(|e| self.unreadable("*", e))?;
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        serde_json::from_slice(&bytes).map_err(|e| {
            Error::internal(format!("{}: a row is no JSON object", self.what)).caused_by(e)
        })
    }

    /// Names of all columns, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.batches.first().map_or_else(Vec::new, |batch| {
            batch.schema().fields().iter().map(|field| field.name().clone()).collect()
        })
    }

    /// Whether a column holds text.
    pub(crate) fn is_text(&self, column: &str) -> bool {
        use DataType::{LargeUtf8, Utf8, Utf8View};
        self.batches.first().is_some_and(|batch| {
            let column = batch.column_by_name(column);
            column.is_some_and(|array| matches!(array.data_type(), Utf8 | LargeUtf8 | Utf8View))
        })
    }

    /// Whether a column holds numbers.
    pub(crate) fn is_number(&self, column: &str) -> bool {
        self.batches.first().is_some_and(|batch| {
            batch.column_by_name(column).is_some_and(|array| array.data_type().is_numeric())
        })
    }

    /// A column as another type. A text that has no value of it is refused: it would pass for missing.
    fn column(&self, column: &str, wanted: &DataType) -> Result<Vec<ArrayRef>> {
        let arrays = self.cast(column, wanted)?;
        let mut before = 0;
        for (batch, known) in self.batches.iter().zip(&arrays) {
            if let Some(array) = batch.column_by_name(column) {
                let lost = lost(array, known).map_err(|e| self.unreadable(column, e))?;
                if let Some((row, text)) = lost {
                    return Err(self.refused(column, wanted, &text, before + row));
                }
            }
            before += batch.num_rows();
        }
        Ok(arrays)
    }

    fn cast(&self, column: &str, wanted: &DataType) -> Result<Vec<ArrayRef>> {
        let mut arrays = Vec::with_capacity(self.batches.len());
        for batch in &self.batches {
            let array = batch.column_by_name(column).ok_or_else(|| self.missing(batch, column))?;
            let known = cast(array, wanted);
            arrays.push(known.map_err(|e| self.unlike(column, array.data_type(), wanted, e))?);
        }
        Ok(arrays)
    }

    fn whole<T>(&self, column: &str, values: Vec<Option<T>>) -> Result<Vec<T>> {
        let rows = values.len();
        let known: Vec<T> = values.into_iter().flatten().collect();
        self.none_missing(column, rows - known.len())?;
        Ok(known)
    }

    fn none_missing(&self, column: &str, missing: usize) -> Result<()> {
        if missing == 0 {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{}: column \"{column}\" is missing in {missing} of {} rows",
            self.what,
            self.rows()
        ))
        .hint(format!("Leave these rows out: add `where {column} is not null`.")))
    }

    fn missing(&self, batch: &RecordBatch, column: &str) -> Error {
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Error::invalid(format!("{}: the query has no column \"{column}\"", self.what))
            .hint(suggest::hint(column, names))
    }

    fn refused(&self, column: &str, wanted: &DataType, text: &str, row: usize) -> Error {
        let (none, hint) = match wanted {
            DataType::Timestamp(..) => (
                "no date or time",
                format!("Read it in the query, such as `to_timestamp({column}, '%d/%m/%Y')`."),
            ),
            DataType::Boolean => {
                ("neither true nor false", "Write 0 or 1, true or false in the query.".to_owned())
            }
            _ => (
                "no number",
                format!(
                    "Make a number of it in the query, such as `cast(replace({column}, ',', '') as double)`, or null where there is none."
                ),
            ),
        };
        let shown: String = text.chars().take(SHOWN_MAX).collect();
        let more = if shown.len() < text.len() { "…" } else { "" };
        Error::invalid(format!(
            "{}: column \"{column}\" holds \"{shown}{more}\" in row {}, which is {none}",
            self.what,
            row + 1
        ))
        .hint(hint)
    }

    /// What is said of a column that is of another kind altogether.
    fn unlike(&self, column: &str, of: &DataType, wanted: &DataType, error: ArrowError) -> Error {
        if !(of.is_temporal() && wanted.is_numeric()) {
            return self.unreadable(column, error);
        }
        Error::invalid(format!(
            "{}: column \"{column}\" holds dates or times where numbers are read",
            self.what
        ))
        .hint(format!(
            "Make a number of it in the query, such as the days to another moment, `datediff('day', {column}, …)`, or \
             `extract(month from {column})`."
        ))
        .caused_by(error)
    }

    fn unreadable(&self, column: &str, error: ArrowError) -> Error {
        Error::invalid(format!("{}: column \"{column}\" has an unexpected type", self.what))
            .hint("Cast it in the query: `cast(x as double)`, `cast(x as timestamp)`.")
            .caused_by(error)
    }
}

fn floats(arrays: &[ArrayRef]) -> Vec<Option<f64>> {
    arrays.iter().flat_map(|array| array.as_primitive::<Float64Type>().iter()).collect()
}

/// The first text of `array` that the cast to `known` made nothing of, and its row; an empty text says nothing itself.
fn lost(array: &ArrayRef, known: &ArrayRef) -> Result<Option<(usize, String)>, ArrowError> {
    use DataType::{LargeUtf8, Utf8, Utf8View};
    if !matches!(array.data_type(), Utf8 | LargeUtf8 | Utf8View)
        || known.null_count() == array.null_count()
    {
        return Ok(None);
    }
    let texts = cast(array, &Utf8)?;
    let texts = texts.as_string::<i32>().iter().enumerate();
    let mut lost = texts
        .filter_map(|(row, text)| Some((row, text?)))
        .filter(|(row, text)| known.is_null(*row) && !text.trim().is_empty());
    Ok(lost.next().map(|(row, text)| (row, text.to_owned())))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, ListArray, StringArray};
    use arrow::datatypes::Schema;

    use super::*;

    fn frame(parts: &[&[Option<&str>]]) -> Frame<'static> {
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, true)]));
        let batch = |part: &&[Option<&str>]| {
            let ids: ArrayRef = Arc::new(StringArray::from(part.to_vec()));
            RecordBatch::try_new(Arc::clone(&schema), vec![ids]).unwrap()
        };
        Frame::new("policy \"p\": audience", parts.iter().map(batch).collect())
    }

    #[test]
    fn rows_are_taken_in_the_order_asked_for_across_batches() {
        let parts = frame(&[&[Some("a"), Some("b")], &[], &[Some("c")]]);
        assert_eq!(parts.at(&[2, 0, 1, 2]).unwrap().ids("id").unwrap(), ["c", "a", "b", "c"]);
        assert_eq!(parts.at(&[]).unwrap().rows(), 0);
        assert!(parts.at(&[3]).is_err());
        assert_eq!(parts.texts("id").unwrap().iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn vectors_are_read_from_lists_and_from_json() {
        let texts = frame(&[&[Some("[1, -0.5]"), None], &[Some("[]")]]);
        assert_eq!(texts.vectors("id").unwrap(), [vec![1.0, -0.5], vec![], vec![]]);
        let error = frame(&[&[Some("[1]"), Some("one")]]).vectors("id").unwrap_err().report();
        assert!(error.contains("no list of numbers in row 2") && error.contains("hint"), "{error}");
        let lists: ListArray = ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(2.5), Some(1.0)]),
            None,
            Some(vec![None]),
        ]);
        let schema = Schema::new(vec![Field::new("v", lists.data_type().clone(), true)]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(lists)]).unwrap();
        let found = Frame::new("learner \"l\": items", vec![batch]).vectors("v").unwrap();
        assert_eq!(found[..2], [vec![2.5, 1.0], vec![]]);
        assert!(found[2][0].is_nan());
    }

    #[test]
    fn a_text_that_cannot_be_read_is_refused_with_its_row_and_an_empty_one_is_missing() {
        let amounts = frame(&[&[Some("1000"), None, Some(" ")], &[Some("12.5")]]);
        let known = [Some(1000.0), None, None, Some(12.5)];
        assert_eq!(amounts.numbers("id").unwrap(), known);
        let amounts = frame(&[&[Some("1000"), None], &[Some("2"), Some("1,200"), Some("¥9")]]);
        let error = amounts.numbers("id").unwrap_err().report();
        assert!(
            error.contains("audience: column \"id\" holds \"1,200\" in row 4, which is no number"),
            "{error}"
        );
        assert!(error.contains("replace(id, ',', '')"), "{error}");
        let found = amounts.numbers_if_any("id").unwrap();
        assert_eq!(found, [Some(1000.0), None, Some(2.0), None, None]);
        let days = frame(&[&[Some("2026-11-01"), Some("01/11/2026")]]);
        let error = days.moments("id").unwrap_err().report();
        assert!(error.contains("\"01/11/2026\" in row 2, which is no date or time"), "{error}");
        assert!(error.contains("to_timestamp(id, '%d/%m/%Y')"), "{error}");
        let flags = frame(&[&[Some("yes"), Some("0"), Some("maybe")]]);
        let error = flags.flags("id").unwrap_err().report();
        assert!(error.contains("\"maybe\" in row 3, which is neither true nor false"), "{error}");
        let long = "x".repeat(100);
        let error = frame(&[&[Some(long.as_str())]]).integers("id").unwrap_err().report();
        assert!(error.contains(&format!("\"{}…\"", "x".repeat(40))), "{error}");
    }

    #[test]
    fn a_date_where_a_number_is_read_is_refused_with_what_to_ask_for() {
        let schema = Schema::new(vec![Field::new("signed_on", DataType::Date32, true)]);
        let days: ArrayRef = Arc::new(Date32Array::from(vec![19_000]));
        let batch = RecordBatch::try_new(Arc::new(schema), vec![days]).unwrap();
        let found = Frame::new("learner \"l\": examples", vec![batch]);
        let error = found.numbers("signed_on").unwrap_err().report();
        assert!(error.contains("\"signed_on\" holds dates or times where numbers"), "{error}");
        assert!(error.contains("`datediff('day', signed_on, …)`"), "{error}");
        assert_eq!(found.moments("signed_on").unwrap(), [19_000 * 86_400_000_000]);
    }

    #[test]
    fn a_unit_that_is_there_twice_is_named() {
        let schema = Arc::new(Schema::new(vec![Field::new("unit_id", DataType::Utf8, true)]));
        let units = |ids: &[&str]| {
            let ids: ArrayRef = Arc::new(StringArray::from(ids.to_vec()));
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![ids]).unwrap();
            Frame::new("learner \"l\": score", vec![batch]).unit_ids()
        };
        assert_eq!(units(&["b", "a"]).unwrap(), ["b", "a"]);
        let error = units(&["b", "a", "b"]).unwrap_err().report();
        assert!(error.contains("learner \"l\": score: unit \"b\" is there twice"), "{error}");
    }

    #[test]
    fn a_missing_id_names_the_query_the_column_and_the_fix() {
        let error = frame(&[&[Some("a"), None]]).texts("id").err().unwrap().report();
        assert!(
            error.contains("policy \"p\": audience: column \"id\" is missing in 1 of 2 rows"),
            "{error}"
        );
        assert!(error.contains("where id is not null"), "{error}");
    }
}
