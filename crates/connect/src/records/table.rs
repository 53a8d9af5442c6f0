//! The table that records become rows of.

use std::collections::BTreeSet;
use std::str::FromStr;

use flywheel_base::Result;

use crate::column::{
    ColumnBuilder, ColumnType, DeclaredColumn, Inference, Misfit, Parsing, Scalar,
};
use crate::page::{Column, Page, PageBuilder, Position, TableSchema, raw};
use crate::source::jsonl::object;

/// Columns a table can gain from fields; a record with more is set aside.
const COLUMNS_MAX: usize = 5_000;

/// Collects records into pages.
#[derive(Debug)]
pub(crate) struct RecordTable {
    nested: BTreeSet<String>,
    parsing: Parsing,
    schema: TableSchema,
    page: PageBuilder,
    /// Fields that so far were only `null`.
    empty: Vec<String>,
    /// For each column the number of the last row that had a value for it.
    filled: Vec<u64>,
    row: u64,
}

impl RecordTable {
    /// Starts with the declared columns and those of a position.
    pub(crate) fn new(
        source: &'static str,
        declared: &[DeclaredColumn],
        remembered: &[(String, String)],
        page_rows: usize,
    ) -> Self {
        let remembered = remembered.iter().map(|(name, kind)| {
            Column::inferred(name, ColumnType::from_str(kind).unwrap_or(ColumnType::Text))
        });
        Self::typed(source, declared, remembered.collect(), page_rows)
    }

    /// The table, whose pages end at so many bytes.
    pub(crate) fn limited(mut self, bytes_max: usize) -> Self {
        self.page = self.page.limited(bytes_max);
        self
    }

    /// Starts with columns that have types already; the declared ones win.
    pub(crate) fn typed(
        source: &'static str,
        declared: &[DeclaredColumn],
        columns: Vec<Column>,
        page_rows: usize,
    ) -> Self {
        let schema = TableSchema::new(with_declared(columns, declared), false);
        Self {
            nested: object::nested(declared),
            parsing: Parsing::default(),
            page: PageBuilder::new(source, &schema, page_rows),
            schema,
            empty: Vec::new(),
            filled: Vec::new(),
            row: 0,
        }
    }

    /// The same with texts read in another way.
    pub(crate) fn with_parsing(mut self, parsing: Parsing) -> Self {
        self.parsing = parsing;
        self
    }

    /// The columns.
    pub(crate) fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// The page under construction.
    pub(crate) fn page(&mut self) -> &mut PageBuilder {
        &mut self.page
    }

    /// The columns as a position keeps them.
    pub(crate) fn remembered(&self) -> Vec<(String, String)> {
        let columns = self.schema.columns().iter();
        columns.map(|column| (column.name.clone(), column.type_text())).collect()
    }

    /// The columns these records bring that are not known yet, typed by all of them.
    pub(crate) fn unknown<'a>(&mut self, records: impl Iterator<Item = &'a str>) -> Vec<Column> {
        let mut names: Vec<String> = Vec::new();
        let mut seen: Vec<Inference> = Vec::new();
        for record in records {
            let Ok(leaves) = object::leaves(record, &self.nested) else { continue };
            if leaves.len() > COLUMNS_MAX {
                continue;
            }
            for (path, value) in leaves {
                if self.schema.place(&path).is_some() {
                    continue;
                }
                let place = match names.iter().position(|name| *name == path) {
                    Some(place) => place,
                    None => {
                        names.push(path.into_owned());
                        seen.push(Inference::default());
                        names.len() - 1
                    }
                };
                if let Some(seen) = seen.get_mut(place) {
                    seen.see(object::kind(value, &self.parsing));
                }
            }
        }
        let mut columns = Vec::new();
        for (name, seen) in names.into_iter().zip(seen) {
            if seen.is_empty() {
                if !self.empty.contains(&name) {
                    self.empty.push(name);
                }
                continue;
            }
            self.empty.retain(|empty| *empty != name);
            columns.push(Column::inferred(name, seen.resolve()));
        }
        columns.truncate(COLUMNS_MAX.saturating_sub(self.schema.columns().len()));
        columns
    }

    /// Adds columns; the page must have no rows.
    pub(crate) fn widen(&mut self, columns: Vec<Column>) {
        self.schema = self.schema.extended(columns);
        self.page.widen(&self.schema);
    }

    /// The fields that never had a value, as text columns.
    pub(crate) fn never_filled(&mut self) -> Vec<Column> {
        let empty = std::mem::take(&mut self.empty);
        empty.into_iter().map(|name| Column::inferred(name, ColumnType::Text)).collect()
    }

    /// Adds a record, or sets it aside.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Exhausted`] if a page grows beyond what arrays hold.
    pub(crate) fn push(&mut self, place: &str, line: u64, record: &str) -> Result<()> {
        self.push_made(place, line, record, record)
    }

    /// Adds a record that was made of what was `read`, or sets what was read aside.
    ///
    /// # Errors
    /// As [`RecordTable::push`].
    pub(crate) fn push_made(
        &mut self,
        place: &str,
        line: u64,
        record: &str,
        read: &str,
    ) -> Result<()> {
        match self.fill(record) {
            Ok(()) => self.page.commit(place, line, record.len()),
            Err((column, misfit)) => {
                self.page.rollback();
                let column = column.and_then(|column| self.schema.columns().get(column));
                let misfit = match column {
                    Some(column) => column.explain(misfit),
                    None => misfit,
                };
                let name = column.map(|column| column.name.as_str());
                self.page.reject(place, Some(line), name, misfit, raw(read));
                Ok(())
            }
        }
    }

    /// Whether a column can hold what a record has for it; it can if there is no such column.
    pub(crate) fn reads(&self, record: &str, name: &str) -> bool {
        let column = self.schema.place(name).and_then(|place| self.schema.columns().get(place));
        let Some(column) = column else { return true };
        let Ok(leaves) = object::leaves(record, &self.nested) else { return true };
        leaves.iter().filter(|(path, _)| path == name).all(|(_, value)| {
            let mut builder = ColumnBuilder::new(column.kind, 1);
            object::push(column, &mut builder, value, &self.parsing).is_ok()
        })
    }

    /// Sets a record aside.
    pub(crate) fn reject(
        &mut self,
        place: &str,
        line: u64,
        column: Option<&str>,
        misfit: Misfit,
        record: &str,
    ) {
        self.page.reject(place, Some(line), column, misfit, raw(record));
    }

    fn fill(&mut self, record: &str) -> Result<(), (Option<usize>, Misfit)> {
        let leaves = object::leaves(record, &self.nested).map_err(|misfit| (None, misfit))?;
        if leaves.len() > COLUMNS_MAX {
            let reason = format!("its fields would make more than {COLUMNS_MAX} columns");
            return Err((None, Misfit::new("too-many-columns", reason)));
        }
        self.row += 1;
        self.filled.resize(self.schema.columns().len(), 0);
        for (path, value) in &leaves {
            let Some(place) = self.schema.place(path) else { continue };
            let Some(column) = self.schema.columns().get(place) else { continue };
            let Some(builder) = self.page.columns.get_mut(place) else { continue };
            object::push(column, builder, value, &self.parsing)
                .map_err(|misfit| (Some(place), misfit))?;
            if let Some(filled) = self.filled.get_mut(place) {
                *filled = self.row;
            }
        }
        for (place, filled) in self.filled.iter().enumerate() {
            if *filled == self.row {
                continue;
            }
            if self.schema.columns().get(place).is_some_and(|column| column.not_null) {
                let misfit = Misfit::new("null-value", "no value in a column that is required");
                return Err((Some(place), misfit));
            }
            if let Some(builder) = self.page.columns.get_mut(place) {
                builder
                    .push(Scalar::Null, &self.parsing)
                    .map_err(|misfit| (Some(place), misfit))?;
            }
        }
        Ok(())
    }

    /// Hands over the page.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if the columns do not form a batch.
    pub(crate) fn finish(&mut self, position: Position) -> Result<Page> {
        self.page.finish(&self.schema, position)
    }
}

/// Lets declared types win over found ones.
fn with_declared(mut columns: Vec<Column>, declared: &[DeclaredColumn]) -> Vec<Column> {
    for declared in declared {
        let column = Column::declared(declared);
        match columns.iter_mut().find(|known| known.name == column.name) {
            Some(known) => *known = column,
            None => columns.push(column),
        }
    }
    columns
}
