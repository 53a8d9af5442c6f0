//! Reads the Parquet checkpoint of a log: its rows are the same actions as a commit's lines.

use arrow::json::LineDelimitedWriter;
use bytes::Bytes;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use flywheel_base::{Error, Result, task};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::action::Line;
use crate::failure::{from_arrow, from_parquet, from_store};

/// The actions that make up a table's state.
const ACTIONS: [&str; 5] = ["protocol", "metaData", "txn", "add", "sidecar"];

/// Reads every part of a checkpoint.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Corrupt`] if a part is damaged or missing.
pub(crate) async fn read(store: &dyn ObjectStore, parts: &[ObjectMeta]) -> Result<Vec<Line>> {
    require_all_parts(parts)?;
    let mut lines = Vec::new();
    for part in parts {
        let name = part.location.filename().unwrap_or_default().to_owned();
        let failed = |error| from_store("read a checkpoint", error);
        let bytes =
            store.get(&part.location).await.map_err(failed)?.bytes().await.map_err(failed)?;
        lines.extend(task::compute(move || decode(&name, bytes)).await?);
    }
    Ok(lines)
}

/// `N.checkpoint.P.T.parquet` says how many parts there must be.
fn require_all_parts(parts: &[ObjectMeta]) -> Result<()> {
    let total = parts.iter().find_map(|part| {
        let name = part.location.filename()?;
        let mut fields = name.split('.').skip(2);
        let (_, total) = (fields.next()?, fields.next()?);
        total.parse::<usize>().ok()
    });
    match total {
        Some(total) if total != parts.len() => {
            Err(Error::corrupt(format!("a checkpoint has {} of {total} parts", parts.len())))
        }
        _ => Ok(()),
    }
}

fn decode(name: &str, bytes: Bytes) -> Result<Vec<Line>> {
    let damaged = |error| from_parquet(name, error);
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(damaged)?;
    let columns = builder.schema().fields().iter().enumerate();
    let wanted: Vec<usize> = columns
        .filter(|(_, field)| ACTIONS.contains(&field.name().as_str()))
        .map(|(index, _)| index)
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(mask).build().map_err(damaged)?;
    let mut text = LineDelimitedWriter::new(Vec::new());
    for batch in reader {
        text.write(&batch.map_err(from_arrow)?).map_err(from_arrow)?;
    }
    text.finish().map_err(from_arrow)?;
    let text = text.into_inner();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(serde_json::from_slice)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::corrupt(format!("checkpoint {name} is damaged")).caused_by(error))
}
