//! Rows as people and programs are given them: columns with simple types, cells as JSON.

use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use flywheel_base::Result;
use flywheel_warehouse::{Session, csv_line, texts, values};
use futures::StreamExt;
use serde::Serialize;
use serde_json::{Number, Value};

/// The largest whole number that every reader of JSON keeps.
const EXACT_MAX: i64 = 1 << 53;
/// Bytes of rows in memory that one answer may have.
pub const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Rows that one answer may have.
pub const ANSWER_ROWS_MAX: usize = 100_000;

/// A column.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its simple type: `text`, `flag`, `day`, `moment`, `integer`, `number` or `other`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The exact type, in Arrow's words.
    pub arrow_type: String,
}

/// An answer in rows.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, a value for each column; lists are arrays, structs and maps are objects.
    pub rows: Vec<Vec<Value>>,
    /// How many there are.
    pub row_count: usize,
    /// Whether there were more rows.
    pub truncated: bool,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
    /// The query behind it.
    pub sql: String,
}

/// The columns of a schema.
#[must_use]
pub fn columns(schema: &Schema) -> Vec<Column> {
    let column = |field: &std::sync::Arc<arrow::datatypes::Field>| Column {
        name: field.name().clone(),
        kind: kind(field.data_type()),
        arrow_type: field.data_type().to_string(),
    };
    schema.fields().iter().map(column).collect()
}

/// The simple name of a type.
fn kind(of: &DataType) -> &'static str {
    match of {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Boolean => "flag",
        DataType::Date32 | DataType::Date64 => "day",
        DataType::Timestamp(..) => "moment",
        DataType::Dictionary(_, value) => kind(value),
        of if of.is_integer() => "integer",
        of if of.is_numeric() => "number",
        _ => "other",
    }
}

/// Runs a query and keeps what fits.
///
/// # Errors
/// Those of the query.
pub async fn query(session: &Session, sql: &str, limit: usize) -> Result<Table> {
    let watch = Instant::now();
    let (schema, batches, truncated) = batches(session, sql, limit).await?;
    let mut rows = Vec::new();
    for batch in &batches {
        cells(batch, &mut rows)?;
    }
    Ok(Table {
        columns: columns(&schema),
        row_count: rows.len(),
        rows,
        truncated,
        elapsed_ms: watch.elapsed().as_secs_f64() * 1_000.0,
        sql: sql.to_owned(),
    })
}

/// Runs a query and keeps at most `limit` rows and [`ANSWER_BYTES_MAX`]; whether there was more.
///
/// # Errors
/// Those of the query.
pub async fn batches(
    session: &Session,
    sql: &str,
    limit: usize,
) -> Result<(arrow::datatypes::SchemaRef, Vec<RecordBatch>, bool)> {
    let query = session.query(sql).await?;
    let mut stream = query.stream().await?;
    let (mut kept, mut count, mut bytes) = (Vec::new(), 0, 0);
    let limit = limit.min(ANSWER_ROWS_MAX);
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        let room = limit - count;
        let take = batch.num_rows().min(room);
        if take > 0 {
            bytes += batch.get_array_memory_size();
            count += take;
            kept.push(batch.slice(0, take));
        }
        if take < batch.num_rows() || bytes > ANSWER_BYTES_MAX {
            return Ok((query.schema(), kept, true));
        }
    }
    Ok((query.schema(), kept, false))
}

/// Adds the rows of a batch.
pub(crate) fn cells(batch: &RecordBatch, rows: &mut Vec<Vec<Value>>) -> Result<()> {
    values(batch, json, |row| rows.push(row))
}

/// An answer in CSV, as the command line writes it: a missing value is empty, an empty text is `""`, and what has parts is
/// the text of its JSON.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Internal`] for a type that has no text.
pub fn csv(schema: &Schema, batches: &[RecordBatch]) -> Result<String> {
    let names = schema.fields().iter().map(|field| Some(field.name().as_str()));
    let mut lines = csv_line(names) + "\n";
    for batch in batches {
        texts(batch, |row| {
            lines.push_str(&csv_line(row.iter().map(Option::as_deref)));
            lines.push('\n');
        })?;
    }
    Ok(lines)
}

/// A cell with its JSON type; what JSON has no exact form for is text.
fn json(of: &DataType, text: String) -> Value {
    let exact = match kind(of) {
        "flag" => text.parse::<bool>().ok().map(Value::Bool),
        "integer" => text
            .parse::<i64>()
            .ok()
            .filter(|number| (-EXACT_MAX..=EXACT_MAX).contains(number))
            .map(Value::from),
        "number" if of.is_floating() => {
            text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
        }
        // A decimal that a number of 64 bits gives back digit by digit.
        "number" if text.len() <= 16 => {
            text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
        }
        _ => None,
    };
    exact.unwrap_or(Value::String(text))
}

/// `schema.table` as SQL has it, whatever characters the parts have.
#[must_use]
pub fn quoted(table: &str) -> String {
    let part = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    match table.split_once('.') {
        Some((schema, name)) => format!("{}.{}", part(schema), part(name)),
        None => part(table),
    }
}

/// A text as SQL has it.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, ListArray};
    use arrow::datatypes::Int64Type;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_parts_is_json_and_its_numbers_stay_exact() {
        let big = EXACT_MAX + 1;
        let items = [Some([Some(1), None, Some(big)])];
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(items));
        let whole: ArrayRef = Arc::new(Int64Array::from(vec![big]));
        let batch = RecordBatch::try_from_iter([("l", list), ("n", whole)]).unwrap();
        let mut rows = Vec::new();
        cells(&batch, &mut rows).unwrap();
        assert_eq!(rows, [[json!([1, null, big.to_string()]), json!(big.to_string())]]);
        let text = csv(&batch.schema(), &[batch]).unwrap();
        assert_eq!(text, format!("l,n\n\"[1,null,{big}]\",{big}\n"));
    }
}
