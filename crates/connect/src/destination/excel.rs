//! The `excel` destination: one sheet per workbook, written row by row with constant memory.
//!
//! A cell holds a number only if a spreadsheet keeps all of its digits: whole numbers and decimals of
//! more than 15 digits are written as text, and texts such as `00123` stay text. A text that begins
//! with `=` is a text, never a formula. Dates and moments from 1900-03-01 on are cells of that type;
//! earlier ones, and moments finer than a millisecond, are ISO text. An empty text is an empty cell.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flywheel_base::{Error, Result};
use rust_xlsxwriter::{Format, Workbook, Worksheet, XlsxError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Destination, DestinationConfig, DestinationContext, Guarantee, Refused, WriteMode};
use crate::column::Misfit;
use crate::output::{
    Cell, Cells, Encoder, MODES, OutputFolder, OutputFormat, Sink, base64_text, check_header,
    column_error, date_text, decimal_text, moment_text, push_json, refuse_cells,
};
use crate::source::excel::Excel;
use crate::workbook::{SHEET_CHARS_MAX, SHEET_SIGNS, TEXT_UNITS_MAX};

/// The rows of a sheet without its header.
const ROWS_MAX: u64 = 1_048_575;

/// The columns of a sheet.
const COLUMNS_MAX: usize = 16_384;

/// The smallest number that has more digits than a spreadsheet keeps.
const NUMBER_MAX: u128 = 1_000_000_000_000_000;

/// 1900-03-01, the first day that spreadsheets agree about, in days since the epoch.
const FIRST_DAY: i64 = -25_508;

/// Its number in a sheet.
const FIRST_SERIAL: i64 = 61;

/// Microseconds in a day.
const DAY_US: i64 = 86_400_000_000;

/// The file that rows are written into.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExcelTarget {
    /// The workbook, `out/orders.xlsx`. Mode `replace` swaps this file; mode `append` adds one file
    /// per commit beside it, `out/orders-000001.xlsx`, and more than one if a sheet is full.
    pub path: String,
    /// The name of the sheet, `Sheet1` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
}

impl DestinationConfig for Excel {
    type Target = ExcelTarget;

    const ABOUT: &'static str = "Excel workbooks (xlsx)";
    const MODES: &'static [WriteMode] = MODES;
    const GUARANTEE: Guarantee = Guarantee::AtomicFiles;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        Ok(Box::new(OutputFolder::<ExcelOutput>::new(ctx, self.0)?))
    }
}

struct ExcelOutput {
    path: String,
    sheet: String,
}

impl OutputFormat for ExcelOutput {
    type Target = ExcelTarget;

    const NAME: &'static str = "excel";
    const ENDINGS: &'static [&'static str] = &["xlsx"];
    const ROWS_MAX: Option<u64> = Some(ROWS_MAX);

    fn new(target: ExcelTarget) -> Result<Self> {
        let sheet = target.sheet.unwrap_or_else(|| "Sheet1".to_owned());
        let length = sheet.encode_utf16().count();
        let quoted = sheet.starts_with('\'') || sheet.ends_with('\'');
        if !(1..=SHEET_CHARS_MAX).contains(&length) || sheet.contains(SHEET_SIGNS) || quoted {
            return Err(Error::invalid(format!("\"{sheet}\" cannot be the name of a sheet")).hint(
                "Write 1 to 31 characters without [ ] : * ? / \\ and without an apostrophe at an end.",
            ));
        }
        Ok(Self { path: target.path, sheet })
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn check(&self, schema: &Schema) -> Result<()> {
        check_header(schema)?;
        if schema.fields().len() > COLUMNS_MAX {
            let count = schema.fields().len();
            return Err(Error::invalid(format!("a sheet cannot have {count} columns"))
                .hint("Leave columns out, or write csv or parquet."));
        }
        match schema.fields().iter().find(|field| too_long(field.name())) {
            Some(field) => Err(Error::invalid(format!(
                "the name of a column is longer than a cell: {}…",
                field.name().chars().take(40).collect::<String>()
            ))
            .hint("Rename the column.")),
            None => Ok(()),
        }
    }

    fn refuse(&self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        refuse_cells(batch, |_, cell| match cell {
            Cell::Float(value) if !value.is_finite() => {
                Err(Misfit::new("not-finite", "a sheet has no NaN and no infinity"))
            }
            Cell::Text(text) => fits(text),
            Cell::Bytes(bytes) => fits(&base64_text(bytes)),
            Cell::Date(days) => date_text(days).map(drop),
            Cell::Moment(micros, _) => moment_text(micros, ' ', false).map(drop),
            Cell::Nested(..) => fits(&json(cell)?),
            _ => Ok(()),
        })
    }

    fn start(&self, sink: Sink, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(ExcelEncoder::new(sink, &self.sheet, schema)?))
    }
}

fn too_long(text: &str) -> bool {
    text.len() > TEXT_UNITS_MAX && text.encode_utf16().count() > TEXT_UNITS_MAX
}

fn fits(text: &str) -> Result<(), Misfit> {
    if too_long(text) {
        let reason = format!("a text of more than the {TEXT_UNITS_MAX} characters of a cell");
        return Err(Misfit::new("text-too-long", reason));
    }
    Ok(())
}

fn json(cell: Cell<'_>) -> Result<String, Misfit> {
    let mut json = Vec::new();
    push_json(cell, &mut json)?;
    Ok(String::from_utf8_lossy(&json).into_owned())
}

/// The number of a moment in a sheet, if it reads back as the same moment.
fn serial(micros: i64) -> Option<f64> {
    let day = micros.div_euclid(DAY_US);
    if day < FIRST_DAY || micros % 1_000 != 0 {
        return None;
    }
    let whole = (day - FIRST_DAY + FIRST_SERIAL) as f64;
    Some(whole + micros.rem_euclid(DAY_US) as f64 / DAY_US as f64)
}

struct ExcelEncoder {
    sink: Sink,
    workbook: Workbook,
    sheet: Worksheet,
    row: u32,
    date: Format,
    moment: Format,
    fine_moment: Format,
    /// The formats of decimals by their places.
    decimals: BTreeMap<i8, Format>,
}

impl ExcelEncoder {
    fn new(sink: Sink, name: &str, schema: &Schema) -> Result<Self> {
        let path = sink.path().to_owned();
        let fail = |error| failed(&path, error);
        let mut workbook = Workbook::new();
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        workbook.set_tempdir(folder).map_err(fail)?;
        let mut sheet = workbook.new_worksheet_with_constant_memory().map_err(fail)?;
        sheet.set_name(name).map_err(fail)?;
        sheet.set_freeze_panes(1, 0).map_err(fail)?;
        let bold = Format::new().set_bold();
        for (at, field) in schema.fields().iter().enumerate() {
            let column = u16::try_from(at).unwrap_or(u16::MAX);
            sheet.set_column_width(column, width(field.data_type())).map_err(fail)?;
            sheet.write_string_with_format(0, column, field.name(), &bold).map_err(fail)?;
        }
        let format = |text: &str| Format::new().set_num_format(text);
        Ok(Self {
            sink,
            workbook,
            sheet,
            row: 1,
            date: format("yyyy-mm-dd"),
            moment: format("yyyy-mm-dd hh:mm:ss"),
            fine_moment: format("yyyy-mm-dd hh:mm:ss.000"),
            decimals: BTreeMap::new(),
        })
    }

    fn cell(&mut self, column: u16, cell: Cell<'_>) -> Result<(), Failure> {
        let (row, sheet) = (self.row, &mut self.sheet);
        match cell {
            Cell::Null => return Ok(()),
            Cell::Bool(value) => sheet.write_boolean(row, column, value)?,
            Cell::Int(value) if u128::from(value.unsigned_abs()) < NUMBER_MAX => {
                sheet.write_number(row, column, value as f64)?
            }
            Cell::Int(value) => sheet.write_string(row, column, value.to_string())?,
            Cell::Float(value) => sheet.write_number(row, column, value)?,
            Cell::Decimal(value, scale) => {
                let text = decimal_text(value, scale);
                match text.parse::<f64>() {
                    Ok(number) if scale >= 0 && value.unsigned_abs() < NUMBER_MAX => {
                        let format = self.decimals.entry(scale).or_insert_with(|| {
                            let places = "0".repeat(usize::from(scale.unsigned_abs()));
                            let point = if places.is_empty() { "" } else { "." };
                            Format::new().set_num_format(format!("0{point}{places}"))
                        });
                        sheet.write_number_with_format(row, column, number, format)?
                    }
                    _ => sheet.write_string(row, column, text)?,
                }
            }
            Cell::Text(text) => sheet.write_string(row, column, text)?,
            Cell::Bytes(bytes) => sheet.write_string(row, column, base64_text(bytes))?,
            Cell::Date(days) => match serial(i64::from(days).saturating_mul(DAY_US)) {
                Some(number) => sheet.write_number_with_format(row, column, number, &self.date)?,
                None => sheet.write_string(row, column, date_text(days)?)?,
            },
            Cell::Moment(micros, _) => match serial(micros) {
                Some(number) => {
                    let fine = micros % 1_000_000 != 0;
                    let format = if fine { &self.fine_moment } else { &self.moment };
                    sheet.write_number_with_format(row, column, number, format)?
                }
                None => sheet.write_string(row, column, moment_text(micros, ' ', false)?)?,
            },
            Cell::Nested(..) => sheet.write_string(row, column, json(cell)?)?,
        };
        Ok(())
    }
}

enum Failure {
    Misfit(Misfit),
    Xlsx(XlsxError),
}

impl From<Misfit> for Failure {
    fn from(misfit: Misfit) -> Self {
        Self::Misfit(misfit)
    }
}

impl From<XlsxError> for Failure {
    fn from(error: XlsxError) -> Self {
        Self::Xlsx(error)
    }
}

/// About how many characters wide a column is shown.
fn width(data_type: &DataType) -> f64 {
    match data_type {
        DataType::Timestamp(..) => 20.0,
        DataType::Date32 | DataType::Date64 => 11.0,
        DataType::Boolean => 8.0,
        _ => 14.0,
    }
}

fn failed(path: &Path, error: XlsxError) -> Error {
    match error {
        XlsxError::IoError(error) => Sink::fail(path, error),
        error => Error::invalid("the rows cannot be written as a workbook").caused_by(error),
    }
}

impl Encoder for ExcelEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            columns.push(Cells::of(array).map_err(|error| column_error(field.name(), error))?);
        }
        for row in 0..batch.num_rows() {
            for (at, column) in columns.iter().enumerate() {
                let place = u16::try_from(at).unwrap_or(u16::MAX);
                let written = column.cell(row).map_err(Failure::Misfit);
                written.and_then(|cell| self.cell(place, cell)).map_err(|why| match why {
                    Failure::Misfit(misfit) => Error::internal(misfit.reason),
                    Failure::Xlsx(error) => failed(self.sink.path(), error),
                })?;
            }
            self.row += 1;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Sink> {
        let Self { mut sink, mut workbook, sheet, .. } = *self;
        workbook.push_worksheet(sheet);
        workbook.save_to_writer(&mut sink).map_err(|error| failed(sink.path(), error))?;
        Ok(sink)
    }
}

#[cfg(test)]
mod tests;
