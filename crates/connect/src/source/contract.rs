//! The contract every source keeps, checked for every entry of the list, and what tests share.

use std::path::PathBuf;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Result, Timestamp};
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::*;

/// A project folder in a temporary place.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, bytes) in files {
            folder.write(name, bytes);
        }
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn source(&self, name: &str) -> Box<dyn Source> {
        self.source_with(name, json!({}))
    }

    pub(crate) fn source_with(&self, name: &str, connection: Value) -> Box<dyn Source> {
        let ctx = SourceContext { base_dir: self.path(""), now: now() };
        SourceEntry::named(name).unwrap().build(connection, &ctx).unwrap()
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::parse("2024-06-01").unwrap()
}

/// An incremental read of a file stream.
pub(crate) fn request(_source: &str, stream: Value) -> ReadRequest {
    ReadRequest::incremental(stream, now())
}

pub(crate) async fn read(folder: &Folder, name: &str, request: &ReadRequest) -> Result<Vec<Page>> {
    folder.source(name).read(request).try_collect().await
}

/// The rows as text; `∅` is "no value". Rows of earlier pages are filled up to the last width.
pub(crate) fn cells(pages: &[Page]) -> Vec<Vec<String>> {
    let width = pages.iter().map(|page| page.batch.num_columns()).max().unwrap_or(0);
    let mut rows = Vec::new();
    for page in pages {
        let options = FormatOptions::default().with_null("∅");
        let columns: Vec<_> = page
            .batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..page.batch.num_rows() {
            let mut row: Vec<String> =
                columns.iter().map(|column| column.value(row).to_string()).collect();
            row.resize(width, "∅".to_owned());
            rows.push(row);
        }
    }
    rows
}

pub(crate) fn codes(pages: &[Page]) -> Vec<&str> {
    pages.iter().flat_map(|page| &page.rejected).map(|r| r.code.as_str()).collect()
}

pub(crate) fn rejected_at(pages: &[Page]) -> Vec<(u64, &str, Option<&str>)> {
    let rejected = pages.iter().flat_map(|page| &page.rejected);
    rejected.map(|r| (r.line.unwrap_or(0), r.code.as_str(), r.column.as_deref())).collect()
}
