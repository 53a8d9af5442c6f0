//! What the tests of logs of changes share: a target that follows a source.

pub(crate) mod ddl;
pub(crate) mod workload;

use std::collections::BTreeMap;

use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Error, Result};
use futures::TryStreamExt as _;
use serde_json::json;

use super::contract::now;
use super::{ChangesPage, ChangesRequest, ReadRequest, Source};
use crate::page::{DELETED_COLUMN, Page, Position};

/// Rows by the first column, each by the names of its columns.
pub(crate) type Rows = BTreeMap<String, BTreeMap<String, String>>;

/// A target with one row for each value of the first column.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    pub(crate) rows: Rows,
    pub(crate) held: Vec<(bool, BTreeMap<String, String>)>,
    pub(crate) position: Option<Position>,
}

impl Target {
    /// Takes a page; rows of a transaction that goes on are held back.
    pub(crate) fn apply(&mut self, page: &ChangesPage) {
        self.take(&page.page);
    }

    fn take(&mut self, page: &Page) {
        self.held.extend(rows(&page.batch));
        if page.position.0.is_null() {
            return;
        }
        self.position = Some(page.position.clone());
        for (deleted, row) in self.held.drain(..) {
            let key = row["id"].clone();
            match deleted {
                true => drop(self.rows.remove(&key)),
                false => self.rows.entry(key).or_default().extend(row),
            }
        }
    }
}

/// The rows of a batch as text by column; `∅` is "no value".
pub(crate) fn rows(batch: &RecordBatch) -> Vec<(bool, BTreeMap<String, String>)> {
    let options = FormatOptions::default().with_null("∅");
    let schema = batch.schema();
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| (field.name(), ArrayFormatter::try_new(column, &options).unwrap()))
        .collect();
    (0..batch.num_rows())
        .map(|at| {
            let mut row: BTreeMap<String, String> = columns
                .iter()
                .map(|(name, column)| ((*name).clone(), column.value(at).to_string()))
                .collect();
            let deleted = row.remove(DELETED_COLUMN).is_some_and(|deleted| deleted == "true");
            (deleted, row)
        })
        .collect()
}

/// Reads until caught up; what stops one of the streams is an error.
pub(crate) async fn drain(
    source: &dyn Source,
    request: &ChangesRequest,
) -> Result<Vec<ChangesPage>> {
    let mut pages: Vec<ChangesPage> = source.changes(request).try_collect().await?;
    let stopped = pages.iter_mut().find_map(|page| page.stopped.take());
    stopped.map_or(Ok(pages), Err)
}

/// Reads until caught up, applies the pages, and moves the request on; what is said of streams that stop.
pub(crate) async fn go_on(
    source: &dyn Source,
    request: &mut ChangesRequest,
    targets: &mut [Target],
) -> Vec<(usize, Error)> {
    let pages: Vec<ChangesPage> = source.changes(request).try_collect().await.unwrap();
    let mut stopped: Vec<(usize, Error)> = Vec::new();
    for page in pages {
        let told = stopped.iter().any(|(stream, _)| *stream == page.stream);
        assert!(!told, "stream {} has a page behind its last one", page.stream);
        let target = &mut targets[page.stream];
        if let Some(error) = page.stopped {
            stopped.push((page.stream, error));
            target.held.clear();
            if page.page.position.0.is_null() {
                continue;
            }
        }
        target.take(&page.page);
    }
    for (stream, target) in request.streams.iter_mut().zip(targets) {
        assert!(target.held.is_empty());
        stream.from.clone_from(&target.position);
    }
    stopped
}

/// Reads until caught up, applies the pages, and moves the request on.
pub(crate) async fn catch_up(
    source: &dyn Source,
    request: &mut ChangesRequest,
    targets: &mut [Target],
) {
    let pages = drain(source, request).await.unwrap();
    for page in &pages {
        assert!(page.page.rejected.is_empty(), "{:?}", page.page.rejected);
        targets[page.stream].apply(page);
    }
    for (stream, target) in request.streams.iter_mut().zip(targets) {
        assert!(target.held.is_empty());
        stream.from.clone_from(&target.position);
    }
}

/// What a full read has.
pub(crate) async fn whole(source: &dyn Source, table: &str) -> Rows {
    let request = ReadRequest::full(json!({ "table": table }), now());
    let pages: Vec<_> = source.read(&request).try_collect().await.unwrap();
    let rows = pages.iter().flat_map(|page| rows(&page.batch));
    rows.map(|(_, row)| (row["id"].clone(), row)).collect()
}
