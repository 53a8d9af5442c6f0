//! Writing to one side: rows of the declared columns, in the types that the system has.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use flywheel_base::{Error, Result};
use flywheel_connect::DestinationEntry;
use flywheel_connect::Position;
use flywheel_connect::destination::{
    Checkpoint, NewTargetColumns, Refused, WriteMode, WriteRequest, Writer,
};
use flywheel_project::resource::link::LinkSide;
use serde_json::{Map, Value, json};

use crate::Workspace;
use crate::task::deliver;

/// Marks rows to be removed, for targets that take changes.
const DELETED: &str = "_deleted";

/// A row to be written: values by column.
pub(super) type Row = Map<String, Value>;

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Became {
    /// The system has it.
    Written,
    /// The system will not take it.
    Refused(String),
}

/// Where rows go.
pub(super) struct Target<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) side: &'a LinkSide,
    /// Names the writer, for the target's own notes.
    pub(super) app: String,
    /// The column by which rows are found.
    pub(super) key: &'a str,
    /// The types of the system's columns, as far as they are known.
    pub(super) types: &'a BTreeMap<String, DataType>,
    pub(super) now: flywheel_base::Timestamp,
}

impl Target<'_> {
    /// Writes rows that all have the same columns; each is created or changed.
    ///
    /// # Errors
    /// Those of the system; what became of the rows is then not known.
    pub(super) async fn merge(&self, rows: &[Row]) -> Result<Vec<Became>> {
        self.send(rows, WriteMode::Merge, None).await
    }

    /// Removes the records with these ids.
    ///
    /// # Errors
    /// As [`Target::merge`].
    pub(super) async fn delete(&self, ids: &[Value]) -> Result<Vec<Became>> {
        let row = |id: &Value| {
            Row::from_iter([(self.key.to_owned(), id.clone()), (DELETED.to_owned(), json!(true))])
        };
        let rows: Vec<Row> = ids.iter().map(row).collect();
        self.send(&rows, WriteMode::Mirror, Some(DELETED.to_owned())).await
    }

    /// Proves that such a row can be found there again, without writing it.
    ///
    /// # Errors
    /// Why it cannot, else those of the system.
    pub(super) async fn ready(&self, row: &Row) -> Result<()> {
        let (entry, target) = deliver::open(self.workspace, &self.side.connection)?;
        let request = self.request(entry, self.schema(row), WriteMode::Merge, None)?;
        target.ready(&request).await
    }

    fn request(
        &self,
        entry: &DestinationEntry,
        schema: SchemaRef,
        mode: WriteMode,
        deleted: Option<String>,
    ) -> Result<WriteRequest> {
        Ok(WriteRequest {
            target: self.settings(entry)?,
            app: self.app.clone(),
            schema,
            mode,
            key: vec![self.key.to_owned()],
            deleted,
            new_columns: NewTargetColumns::Fail,
            now: self.now,
        })
    }

    async fn send(
        &self,
        rows: &[Row],
        mode: WriteMode,
        deleted: Option<String>,
    ) -> Result<Vec<Became>> {
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let schema = self.schema(first);
        let mut became = vec![Became::Written; rows.len()];
        let (batch, places) = fitting(&schema, rows, &mut became)?;
        if batch.num_rows() == 0 {
            return Ok(became);
        }
        let (entry, target) = deliver::open(self.workspace, &self.side.connection)?;
        let request = self.request(entry, schema, mode, deleted)?;
        let progress = target.progress(&request).await?;
        let sequence = progress.committed.map_or(0, |checkpoint| checkpoint.sequence) + 1;
        let mut writer = target.writer(&request).await?;
        let refused = put(writer.as_mut(), &batch, sequence).await?;
        writer.finish().await?;
        for one in refused {
            let place = places.get(one.row).copied();
            if let Some(became) = place.and_then(|place| became.get_mut(place)) {
                *became = Became::Refused(match one.column {
                    Some(column) => format!("{column}: {}", one.reason),
                    None => one.reason,
                });
            }
        }
        Ok(became)
    }

    /// The target's settings. What was sent before may have been changed there since, so a row is sent
    /// even if the last one sent was the same.
    fn settings(&self, entry: &DestinationEntry) -> Result<Value> {
        let mut settings = self.workspace.project.resolve_secrets(&self.side.target)?;
        let schema = (entry.target_schema)();
        if schema.as_value().pointer("/properties/unchanged").is_some() {
            settings.insert("unchanged".to_owned(), json!("send"));
        }
        Ok(Value::Object(settings))
    }

    fn schema(&self, row: &Row) -> SchemaRef {
        let field = |(name, value): (&String, &Value)| {
            let guessed = match value {
                Value::Bool(_) => DataType::Boolean,
                Value::Number(number) if number.is_i64() => DataType::Int64,
                Value::Number(_) => DataType::Float64,
                _ => DataType::Utf8,
            };
            Field::new(name, self.types.get(name).cloned().unwrap_or(guessed), true)
        };
        Arc::new(Schema::new(row.iter().map(field).collect::<Vec<_>>()))
    }
}

async fn put(writer: &mut dyn Writer, batch: &RecordBatch, sequence: i64) -> Result<Vec<Refused>> {
    let refused = writer.write(batch).await?;
    writer
        .commit(&Checkpoint { sequence, position: Position(json!({"sequence": sequence})) })
        .await?;
    Ok(refused)
}

/// The rows that fit the system's types, and their places; the others are refused.
fn fitting(
    schema: &SchemaRef,
    rows: &[Row],
    became: &mut [Became],
) -> Result<(RecordBatch, Vec<usize>)> {
    if let Ok(batch) = decode(schema, rows) {
        return Ok((batch, (0..rows.len()).collect()));
    }
    let (mut good, mut places) = (Vec::new(), Vec::new());
    for (place, (row, became)) in rows.iter().zip(became).enumerate() {
        match decode(schema, std::slice::from_ref(row)) {
            Ok(_) => {
                good.push(row.clone());
                places.push(place);
            }
            Err(error) => *became = Became::Refused(format!("the value does not fit: {error}")),
        }
    }
    let batch = decode(schema, &good).map_err(|error| {
        Error::internal("rows that fit one by one do not fit together").caused_by(error)
    })?;
    Ok((batch, places))
}

fn decode(
    schema: &SchemaRef,
    rows: &[Row],
) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    let mut decoder = arrow::json::ReaderBuilder::new(Arc::clone(schema))
        .with_batch_size(rows.len().max(1))
        .with_coerce_primitive(true)
        .build_decoder()?;
    decoder.serialize(rows)?;
    Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(schema))))
}

/// A value as a system shows it in a text column.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_does_not_fit_costs_no_other_row() {
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Utf8, true),
            Field::new("born", DataType::Date32, true),
        ]));
        let row = |id: Value, born: Value| {
            Row::from_iter([("id".to_owned(), id), ("born".to_owned(), born)])
        };
        let rows = [
            row(json!("a"), json!("2024-02-29")),
            row(json!("b"), json!("soon")),
            row(json!(7), json!(null)),
        ];
        let mut became = vec![Became::Written; 3];
        let (batch, places) = fitting(&schema, &rows, &mut became).unwrap();
        assert_eq!((batch.num_rows(), places), (2, vec![0, 2]));
        assert!(matches!(&became[1], Became::Refused(reason) if reason.contains("soon")));
        assert_eq!((&became[0], &became[2]), (&Became::Written, &Became::Written));
    }
}
