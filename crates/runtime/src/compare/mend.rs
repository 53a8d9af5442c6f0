//! Making the lake equal to the source again, key by key.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use flywheel_base::{Error, Result};
use flywheel_project::resource::sync::{Read, Stream};
use flywheel_reconcile::bisect::Found;
use flywheel_reconcile::checksum::{Dialect, TableText};
use flywheel_reconcile::record::Side;
use flywheel_warehouse::{DELETED, Duplicates, RowStream, Write, WriteMode};
use futures::StreamExt;
use serde_json::Value;

use super::Work;
use crate::Workspace;
use crate::erase::Suppression;
use crate::mapping::mapping;
use crate::task::sync::{destination, lands_already, location_of, read_request, source, union};

/// How many keys one query names.
const KEYS_AT_ONCE: usize = 500;

impl Work<'_> {
    /// Reads the rows that differ again and removes those that the source does not have; returns how
    /// many rows that were.
    pub(super) async fn mend(
        &self,
        workspace: &Workspace,
        here: &TableText,
        there: &TableText,
        found: &Found,
    ) -> Result<u64> {
        let plan = found.repair(Side::Left);
        if !plan.ranges.is_empty() {
            return Err(Error::blocked(format!(
                "{} ranges differ as a whole, which is not mended row by row",
                plan.ranges.len()
            ))
            .hint(format!(
                "Read everything again: `flywheel sync {} --restart` for read: cdc, or once with read: full.",
                self.name
            )));
        }
        let mut mended = 0;
        for keys in plan.copy.chunks(KEYS_AT_ONCE) {
            mended += self.copy(workspace, there, keys).await?;
        }
        for keys in plan.delete.chunks(KEYS_AT_ONCE) {
            mended += self.remove(workspace, here, keys).await?;
        }
        Ok(mended)
    }

    async fn copy(&self, workspace: &Workspace, there: &TableText, keys: &[String]) -> Result<u64> {
        let condition = there.has_key(self.dialect, keys)?;
        // Read like any table: what it holds now, without marks of rows that are gone.
        let stream = Stream { read: Read::Full, ..self.stream.clone() };
        let source = source(workspace, self.sync, &stream).await?;
        let mapping = mapping(workspace, self.sync, &stream)?;
        let mut request = read_request(workspace, &stream, &mapping, None)?;
        // Keys are values of rows, in which nothing is a reference.
        if let Some(options) = request.stream.as_object_mut() {
            let both = match options.get("where").and_then(Value::as_str) {
                Some(other) => format!("({other}) and ({condition})"),
                None => condition,
            };
            options.insert("where".to_owned(), both.into());
        }
        // What is compared has landed, and the source may have lost some of it.
        lands_already(&stream, &mut request.columns, |_| true);
        // Who was erased differs for good.
        let kept_out = Suppression::of(workspace, &stream)?;
        let mut batches = Vec::new();
        let mut pages = source.read(&request);
        while let Some(page) = pages.next().await {
            let mut page = mapping.apply(page?)?;
            if let Some(kept_out) = &kept_out {
                kept_out.sift(&mut page)?;
            }
            if let Some(bad) = page.rejected.first() {
                return Err(Error::blocked(format!(
                    "a row that differs cannot be read: {}",
                    bad.reason
                ))
                .hint("Mend it at the source, or see `flywheel quarantine list`."));
            }
            if page.batch.num_rows() > 0 {
                batches.push(page.batch);
            }
        }
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows == 0 {
            return Ok(0);
        }
        let schema = union(&batches)?;
        let rows_in = RowStream::from_batches(schema, batches);
        let key = self.stream.key.clone();
        let mode = WriteMode::Merge { key, duplicates: Duplicates::KeepLast };
        self.write(workspace, mode, rows_in).await?;
        Ok(rows as u64)
    }

    async fn remove(
        &self,
        workspace: &Workspace,
        here: &TableText,
        keys: &[String],
    ) -> Result<u64> {
        let quoted = |name: &String| Dialect::Datafusion.name(name);
        let names: Vec<String> = here.key.iter().map(|(name, _)| quoted(name)).collect();
        let table: Vec<String> = here.table.iter().map(quoted).collect();
        let condition = here.has_key(Dialect::Datafusion, keys)?;
        let sql = format!("select {} from {} where {condition}", names.join(", "), table.join("."));
        let batches = workspace.lake_session().await?.query(&sql).await?.collect().await?;
        let marked = batches.iter().filter(|b| b.num_rows() > 0).map(marked);
        let batches = marked.collect::<Result<Vec<_>>>()?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let Some(first) = batches.first() else { return Ok(0) };
        let rows_in = RowStream::from_batches(first.schema(), batches.clone());
        let mode = WriteMode::MergeChanges {
            key: self.stream.key.clone(),
            duplicates: Duplicates::KeepLast,
            deleted: DELETED.to_owned(),
        };
        self.write(workspace, mode, rows_in).await?;
        Ok(rows as u64)
    }

    async fn write(&self, workspace: &Workspace, mode: WriteMode, rows: RowStream) -> Result<()> {
        let at = location_of(&destination(self.stream)?)?;
        let operation = format!("repair {}.{}", self.name, self.stream.stream);
        let write = Write::new(mode, rows, operation).add_columns();
        Box::pin(workspace.lake.write(&at, write)).await.map(drop)
    }
}

/// Keys with the mark of rows that are gone.
fn marked(keys: &RecordBatch) -> Result<RecordBatch> {
    let schema = keys.schema();
    let mark = Arc::new(Field::new(DELETED, DataType::Boolean, false));
    let fields: Vec<_> = schema.fields().iter().cloned().chain([mark]).collect();
    let gone = Arc::new(BooleanArray::from(vec![true; keys.num_rows()])) as _;
    let columns = keys.columns().iter().cloned().chain([gone]).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Error::internal("keys cannot be marked").caused_by(error))
}
