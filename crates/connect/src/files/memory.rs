//! Reading a text in memory as if it were a file: previews, fuzzing, tests of decoders.

use std::collections::BTreeSet;

use flywheel_base::{Error, Result};
use serde_json::Value;

use super::drive::{FileReader, Fill, SAMPLE_ROWS};
use super::sample::Sample;
use crate::column::DeclaredColumn;
use crate::page::{Column, Page, PageBuilder, Position, TableSchema};

/// Column changes one text may cause; each adds at least one column.
const ROUNDS_MAX: usize = 10_000;

/// A text that a format can read more than once.
pub(crate) trait InMemory {
    /// Adds its first rows to a sample.
    fn sample(&self, rows: usize, sample: &mut Sample) -> Result<()>;

    /// Opens it at its start.
    fn open(&self) -> Result<Box<dyn FileReader>>;
}

/// Reads a text into pages; the positions are empty.
pub(crate) fn decode(
    text: &dyn InMemory,
    source: &'static str,
    declared: &[DeclaredColumn],
    lineage: bool,
    page_rows: usize,
) -> Result<Vec<Page>> {
    let mut sample = Sample::default();
    text.sample(SAMPLE_ROWS, &mut sample)?;
    let mut columns: Vec<Column> = sample.columns().collect();
    for declared in declared {
        let declared = Column::declared(declared);
        match columns.iter_mut().find(|column| column.name == declared.name) {
            Some(column) => *column = declared,
            None => columns.push(declared),
        }
    }
    let mut schema = TableSchema::new(columns, lineage);
    let mut page = PageBuilder::new(source, &schema, page_rows);
    let mut reader = text.open()?;
    let mut pages = Vec::new();
    let mut rounds = 0;
    loop {
        match reader.fill(&schema, &BTreeSet::new(), &mut page)? {
            Fill::PageFull => pages.push(page.finish(&schema, Position(Value::Null))?),
            Fill::FileEnd => {
                pages.push(page.finish(&schema, Position(Value::Null))?);
                return Ok(pages);
            }
            Fill::NewColumns(new) => {
                rounds += 1;
                if rounds > ROUNDS_MAX {
                    return Err(Error::exhausted("the text has too many columns"));
                }
                if page.rows() > 0 {
                    pages.push(page.finish(&schema, Position(Value::Null))?);
                }
                schema = schema.extended(new);
                page.widen(&schema);
            }
            Fill::WiderColumns(_) => {
                return Err(Error::internal("the values of a text have types of their own"));
            }
        }
    }
}
