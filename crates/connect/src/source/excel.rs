//! The `excel` source: one sheet of each workbook (xlsx, xlsm, xls, xlsb, ods).
//!
//! Formulas give the value they were last calculated to; of those that never were, a notice tells. A
//! number that was typed as text stays text; numbers are whole numbers if all of a column are. Dates follow
//! the workbook's epoch, 1900 or 1904; in a column of text they are written as a date is typed.

mod sheet;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use flywheel_base::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use self::sheet::{Cell, Sheet};
use super::{ReadRequest, Source, SourceConfig, SourceContext};
use crate::column::{ColumnType, Misfit, Parsing, Scalar};
use crate::files::{
    self, FileReader, FileSettings, FileState, Files, Fill, NewColumns, Resume, Sample,
    VisibleFile, read_all,
};
use crate::objects::FilePlace;
use crate::page::{Column, PageBuilder, TableSchema, raw};

/// The largest workbook that is read; a workbook is held in memory as a whole.
const WORKBOOK_BYTES_MAX: u64 = 512 << 20;

/// A folder of workbooks.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Excel(pub FilePlace);

/// The sheet that a stream reads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExcelStream {
    /// The workbook, or a pattern of workbooks: `reports/*.xlsx`.
    pub path: String,
    /// The form of file names that hold a date, `%Y-%m-%d.xlsx`: a file is read from its date on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dated: Option<String>,
    /// The sheet, by name or by number from 1; the first if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sheet: Option<SheetName>,
    /// Whether there is a header row.
    #[serde(default = "yes")]
    pub header: bool,
    /// The row with the names of the columns, as the spreadsheet counts; the first row that is not
    /// empty if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_row: Option<u32>,
    /// The cells that are read, `B2:F100` or `B:F`; all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// What happens to a row with an error cell such as `#N/A`.
    #[serde(default, deserialize_with = "cell_errors")]
    #[schemars(with = "Option<CellErrors>")]
    pub cell_errors: CellErrors,
    /// The texts that mean "no value" in every column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_values: Option<Vec<String>>,
    /// Whether bytes are written as base64, as the `excel` destination does it.
    #[serde(default)]
    pub base64: bool,
    /// What happens to a column the table does not know yet.
    #[serde(default)]
    pub new_columns: NewColumns,
    /// Whether each row carries its file and row number, in the columns `_file` and `_line`.
    #[serde(default)]
    pub lineage_columns: bool,
}

fn yes() -> bool {
    true
}

/// A sheet by its name or its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SheetName {
    /// Its number, from 1.
    Number(usize),
    /// Its name.
    Name(String),
}

/// What happens to a row with an error cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CellErrors {
    /// The row is set aside.
    #[default]
    Reject,
    /// The cell has no value.
    Null,
}

/// In YAML the word `null` is no value, and here it is meant.
fn cell_errors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CellErrors, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(CellErrors::Null))
}

impl SourceConfig for Excel {
    type Stream = ExcelStream;

    const ABOUT: &'static str = "sheets of Excel and OpenDocument workbooks";

    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(Files::<ExcelFormat>::new(ctx, self.0)?))
    }
}

/// A sheet that was read, with the state of its file.
type Loaded = (VisibleFile, Arc<Sheet>, FileState);

/// The workbook format. Reading a workbook is slow, so the last sheet is kept for the reader that
/// follows the sample.
pub(crate) struct ExcelFormat {
    stream: ExcelStream,
    parsing: Arc<Parsing>,
    last: Mutex<Option<Loaded>>,
}

impl ExcelFormat {
    fn load(&self, file: &VisibleFile) -> Result<(Arc<Sheet>, FileState)> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, sheet, state)) = &*last
            && known == file
        {
            return Ok((Arc::clone(sheet), state.clone()));
        }
        if file.size > WORKBOOK_BYTES_MAX {
            return Err(Error::exhausted(format!("the workbook {} is too large", file.name))
                .hint("Save the sheet as CSV and read that with the csv source."));
        }
        let (bytes, state) = read_all(file)?;
        let sheet = if bytes.is_empty() {
            return Err(Error::corrupt(format!("the workbook {} is empty", file.name))
                .hint("Copy it again; an empty file is not a workbook."));
        } else {
            Arc::new(Sheet::read(file, bytes, &self.stream)?)
        };
        *last = Some((file.clone(), Arc::clone(&sheet), state.clone()));
        Ok((sheet, state))
    }
}

impl files::Format for ExcelFormat {
    type Stream = ExcelStream;

    const NAME: &'static str = "excel";
    const EXTENSIONS: &'static [&'static str] = &["xlsx", "xlsm", "xls", "xlsb", "ods"];
    const GROWS: bool = false;

    fn new(stream: ExcelStream, _: &ReadRequest) -> Result<Self> {
        let parsing = Parsing {
            nulls: stream.null_values.clone(),
            base64: stream.base64,
            ..Parsing::default()
        };
        Ok(Self { stream, parsing: Arc::new(parsing), last: Mutex::default() })
    }

    fn parts(file: &VisibleFile) -> Result<Vec<(&'static str, String)>> {
        if file.size > WORKBOOK_BYTES_MAX {
            return Ok(Vec::new());
        }
        let (bytes, _) = read_all(file)?;
        let names = sheet::names(file, &bytes.into())?;
        Ok(names.into_iter().map(|name| ("sheet", name)).collect())
    }

    fn settings(&self) -> FileSettings {
        FileSettings {
            path: self.stream.path.clone(),
            dated: self.stream.dated.clone(),
            new_columns: self.stream.new_columns,
            lineage: self.stream.lineage_columns,
            tail: false,
        }
    }

    fn sample(&self, file: &VisibleFile, rows: usize, sample: &mut Sample) -> Result<()> {
        let (sheet, _) = self.load(file)?;
        let places: Vec<usize> = sheet.names.iter().map(|name| sample.place(name)).collect();
        for row in 0..sheet.rows().min(rows) {
            for (cell, place) in sheet.row(row).iter().zip(&places) {
                sample.see(*place, Cell::of(cell).kind(&self.parsing));
            }
        }
        sample.rows += sheet.rows().min(rows);
        Ok(())
    }

    fn open(&self, file: &VisibleFile, resume: Option<Resume>) -> Result<Box<dyn FileReader>> {
        let (sheet, whole) = self.load(file)?;
        let row = resume.map_or(0, |resume| resume.state.offset);
        Ok(Box::new(SheetReader {
            file: file.name.clone(),
            sheet,
            row: usize::try_from(row).unwrap_or(usize::MAX),
            whole,
            parsing: Arc::clone(&self.parsing),
            errors: self.stream.cell_errors,
            told: false,
            places: Vec::new(),
        }))
    }
}

struct SheetReader {
    file: String,
    sheet: Arc<Sheet>,
    row: usize,
    whole: FileState,
    parsing: Arc<Parsing>,
    errors: CellErrors,
    told: bool,
    /// For each column of the table, where it is in the sheet.
    places: Vec<Option<usize>>,
}

impl SheetReader {
    fn tell(&mut self, schema: &TableSchema, page: &mut PageBuilder) -> Result<()> {
        self.told = true;
        if self.sheet.names.is_empty() {
            page.notice("empty-file", &self.file, "the sheet is empty");
            return Ok(());
        }
        for column in schema.columns().iter().filter(|c| !self.sheet.names.contains(&c.name)) {
            let name = &column.name;
            if column.not_null {
                return Err(Error::invalid(format!(
                    "the workbook {} has no column \"{name}\", which is required",
                    self.file
                ))
                .hint("Mend the workbook, or declare the column without `required: true`."));
            }
            let message = format!("the sheet has no column \"{name}\"; it is left empty");
            page.notice("missing-column", &self.file, message);
        }
        for (row, at) in &self.sheet.unset {
            let Some(name) = self.sheet.names.get(*at) else { continue };
            if schema.place(name).is_none() {
                continue;
            }
            let address = self.sheet.address(*row, *at);
            let message = format!(
                "the column \"{name}\" has formulas that were never calculated, the first in {address}; \
                 they have no value until the workbook is opened in a spreadsheet program and saved"
            );
            page.notice("formula-without-value", &self.file, message);
        }
        Ok(())
    }

    /// Puts the current row into the columns.
    fn push(&self, schema: &TableSchema, page: &mut PageBuilder) -> Result<(), (usize, Misfit)> {
        let cells = self.sheet.row(self.row);
        for (place, column) in schema.columns().iter().enumerate() {
            let at = self.places.get(place).copied().flatten();
            let cell = match at.and_then(|at| cells.get(at)) {
                Some(data) => Cell::of(data),
                None => Cell::Empty,
            };
            if let (Cell::Error(error), CellErrors::Reject) = (&cell, self.errors) {
                let address = self.sheet.address(self.row, at.unwrap_or(0));
                let reason = format!(
                    "the cell {address} is an error ({error}); with `cell_errors: null` it has no value"
                );
                return Err((place, Misfit::new("cell-error", reason)));
            }
            let null = matches!(cell, Cell::Empty | Cell::Error(_))
                || matches!(&cell, Cell::Text(text) if self.parsing.null(text, column.kind));
            if null && column.not_null {
                let misfit = Misfit::new("null-value", "no value in a column that is required");
                return Err((place, misfit));
            }
            if let Some(builder) = page.columns.get_mut(place) {
                // Among texts, a date looks like one that was typed as text.
                let date = cell.date().filter(|_| column.kind == ColumnType::Text);
                let pushed = match date.as_deref() {
                    Some(date) => builder.push(Scalar::Text(date), &self.parsing),
                    None => builder.push(cell.scalar(), &self.parsing),
                };
                pushed.map_err(|misfit| (place, misfit))?;
            }
        }
        Ok(())
    }

    fn row_text(&self) -> String {
        let cells = self.sheet.row(self.row).iter();
        let texts: Vec<String> = cells.map(ToString::to_string).collect();
        raw(&texts.join("\t"))
    }
}

impl FileReader for SheetReader {
    fn fill(
        &mut self,
        schema: &TableSchema,
        ignored: &BTreeSet<String>,
        page: &mut PageBuilder,
    ) -> Result<Fill> {
        let unknown = |name: &&String| schema.place(name).is_none() && !ignored.contains(*name);
        let new: Vec<Column> = self
            .sheet
            .names
            .iter()
            .filter(unknown)
            .map(|name| Column::inferred(name, ColumnType::Text))
            .collect();
        if !new.is_empty() {
            return Ok(Fill::NewColumns(new));
        }
        if !self.told {
            self.tell(schema, page)?;
        }
        let place = |column: &Column| self.sheet.names.iter().position(|n| *n == column.name);
        self.places = schema.columns().iter().map(place).collect();
        while self.row < self.sheet.rows() {
            if page.is_full() {
                return Ok(Fill::PageFull);
            }
            let blank =
                self.sheet.row(self.row).iter().all(|cell| matches!(Cell::of(cell), Cell::Empty));
            let line = self.sheet.line(self.row);
            if !blank {
                match self.push(schema, page) {
                    Ok(()) => {
                        let bytes = self.sheet.names.len() * 16;
                        page.commit(&self.file, line, bytes)?;
                    }
                    Err((place, misfit)) => {
                        page.rollback();
                        let column = schema.columns().get(place);
                        let name = column.map(|column| column.name.as_str());
                        let misfit = match column {
                            Some(column) => column.explain(misfit),
                            None => misfit,
                        };
                        page.reject(&self.file, Some(line), name, misfit, self.row_text());
                    }
                }
            }
            self.row += 1;
        }
        Ok(Fill::FileEnd)
    }

    fn state(&self, done: bool) -> Result<FileState> {
        let (offset, line) = (self.row as u64, self.sheet.line(self.row));
        Ok(FileState { offset, line, done, ..self.whole.clone() })
    }
}

#[cfg(test)]
pub(crate) mod tests;
