//! One sheet of a workbook as a header and rows of cells.

use std::io::Cursor;
use std::sync::Arc;

use calamine::{
    Data, Dimensions, Ods, Range, Reader, SheetType, Xls, XlsError, Xlsb, Xlsx, XlsxError,
};
use flywheel_base::{Error, ErrorKind, Result, Timestamp, suggest};

use super::{ExcelStream, SheetName};
use crate::column::{DAY_US, Kind, Parsing, Scalar};
use crate::files::VisibleFile;

/// The first bytes of an old or an encrypted workbook.
const OLE: [u8; 8] = [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];

/// The first bytes of a zip archive.
const ZIP: [u8; 4] = [b'P', b'K', 3, 4];

type Bytes = Cursor<Arc<[u8]>>;

/// A sheet that was read.
#[derive(Debug)]
pub(super) struct Sheet {
    /// The names of the columns.
    pub(super) names: Vec<String>,
    /// The cells, from the first row below the header on.
    cells: Range<Data>,
    /// The sheet's row (from 0) of the first row of cells.
    first_row: u32,
    /// The sheet's columns.
    columns: std::ops::Range<u32>,
    /// The first cell of each column that has a formula and no value: its row and its column.
    pub(super) unset: Vec<(usize, usize)>,
}

/// A sheet as its workbook has it.
#[derive(Default)]
struct Found {
    cells: Range<Data>,
    merged: Vec<Dimensions>,
    /// The formulas, if the workbook may have some without a value.
    formulas: Range<String>,
}

impl Sheet {
    /// Reads the sheet that the settings name.
    pub(super) fn read(file: &VisibleFile, bytes: Vec<u8>, stream: &ExcelStream) -> Result<Self> {
        let Found { cells: range, merged, formulas } =
            load(file, &bytes.into(), stream.sheet.as_ref())?;
        let area = match &stream.range {
            Some(text) => area(text)?,
            None => match (range.start(), range.end()) {
                (Some(start), Some(end)) => (start, end),
                _ => return Ok(Self::empty()),
            },
        };
        let ((top, left), (bottom, right)) = area;
        let bottom = bottom.min(range.end().map_or(0, |end| end.0));
        let right = right.min(range.end().map_or(0, |end| end.1));
        let columns = left..right + 1;
        let filled =
            |row: &u32| columns.clone().any(|column| !is_empty(range.get_value((*row, column))));
        let header_row = match stream.header_row {
            Some(0) => return Err(Error::invalid("`header_row` counts from 1")),
            Some(row) => row - 1,
            None => (top..=bottom).find(filled).unwrap_or(top),
        };
        let (names, first_row) = if stream.header {
            (header(&range, &merged, header_row, columns.clone()), header_row + 1)
        } else {
            let numbered = (1..=columns.len()).map(|number| format!("column_{number}"));
            (numbered.collect(), header_row)
        };
        let end = (bottom, right);
        let unset = unset(&range, &formulas, first_row..bottom + 1, &columns);
        let cells = if first_row > bottom || left > right {
            Range::empty()
        } else {
            range.range((first_row, left), end)
        };
        Ok(Self { names, cells, first_row, columns, unset })
    }

    fn empty() -> Self {
        let (names, unset) = (Vec::new(), Vec::new());
        Self { names, cells: Range::empty(), first_row: 0, columns: 0..0, unset }
    }

    /// How many rows there are below the header.
    pub(super) fn rows(&self) -> usize {
        self.cells.height()
    }

    /// The cells of a row.
    pub(super) fn row(&self, row: usize) -> &[Data] {
        let width = self.cells.width();
        if row < self.cells.height() { &self.cells[row][..width] } else { &[] }
    }

    /// The row as the spreadsheet counts it.
    pub(super) fn line(&self, row: usize) -> u64 {
        u64::from(self.first_row) + row as u64 + 1
    }

    /// The cell's address, `B7`.
    pub(super) fn address(&self, row: usize, column: usize) -> String {
        let mut left = self.columns.start as usize + column + 1;
        let mut letters = String::new();
        while left > 0 {
            letters.insert(0, char::from(b'A' + ((left - 1) % 26) as u8));
            left = (left - 1) / 26;
        }
        format!("{letters}{}", self.line(row))
    }
}

/// The names of the columns; a merged cell names all columns it covers.
fn header(
    range: &Range<Data>,
    merged: &[Dimensions],
    row: u32,
    columns: std::ops::Range<u32>,
) -> Vec<String> {
    let text = |column: u32| {
        let covers = |m: &&Dimensions| {
            (m.start.0..=m.end.0).contains(&row) && (m.start.1..=m.end.1).contains(&column)
        };
        let cell = merged.iter().find(covers).map_or((row, column), |m| m.start);
        range.get_value(cell).map(ToString::to_string).unwrap_or_default()
    };
    let texts: Vec<String> = columns.map(text).collect();
    crate::files::column_names(&texts)
}

fn is_empty(cell: Option<&Data>) -> bool {
    match cell {
        None | Some(Data::Empty) => true,
        Some(Data::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}

/// The first cell of each column that has a formula and no value, counted from the first of `rows` and
/// `columns`.
fn unset(
    cells: &Range<Data>,
    formulas: &Range<String>,
    rows: std::ops::Range<u32>,
    columns: &std::ops::Range<u32>,
) -> Vec<(usize, usize)> {
    let Some((top, left)) = formulas.start() else { return Vec::new() };
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (row, column, _) in formulas.used_cells() {
        let place = (top + row as u32, left + column as u32);
        if !rows.contains(&place.0)
            || !columns.contains(&place.1)
            // An empty text is a value: `IF(A2>1, 1, "")`.
            || !matches!(cells.get_value(place), None | Some(Data::Empty))
        {
            continue;
        }
        let at = ((place.0 - rows.start) as usize, (place.1 - columns.start) as usize);
        if !found.iter().any(|known| known.1 == at.1) {
            found.push(at);
        }
    }
    found
}

/// Opens the workbook by its first bytes and reads one sheet, with its merged cells.
fn load(file: &VisibleFile, bytes: &Arc<[u8]>, sheet: Option<&SheetName>) -> Result<Found> {
    let open = |bytes: &Arc<[u8]>| Cursor::new(Arc::clone(bytes));
    if bytes.starts_with(&OLE) {
        if matches!(Xlsx::new(open(bytes)), Err(XlsxError::Password)) {
            return Err(protected(file));
        }
        let mut book: Xls<Bytes> = Xls::new(open(bytes)).map_err(|error| match error {
            XlsError::Password => protected(file),
            error => damaged(file, error),
        })?;
        let name = choose(file, &book.sheet_names(), sheet)?;
        let range = book.worksheet_range(&name).map_err(|error| damaged(file, error))?;
        let merged = book.merge_cells_by_sheet_name(&name).unwrap_or_default();
        return Ok(Found { cells: range, merged, ..Found::default() });
    }
    if !bytes.starts_with(&ZIP) {
        return Err(damaged(file, "it begins neither like a zip archive nor like an old workbook"));
    }
    if let Ok(mut book) = Ods::new(open(bytes)) {
        return plain(file, &mut book, sheet);
    }
    if matches!(Ods::new(open(bytes)), Err(calamine::OdsError::Password)) {
        return Err(protected(file));
    }
    match Xlsx::new(open(bytes)) {
        Ok(mut book) => {
            let name = choose(file, &book.sheet_names(), sheet)?;
            let range = book.worksheet_range(&name).map_err(|error| damaged(file, error))?;
            // Without them the cells that they cover would be read as empty.
            let merged = book.merge_cells_by_sheet_name(&name);
            let merged = merged.map_err(|error| damaged(file, error))?;
            // Only a notice rests on the formulas; the values have been read.
            let formulas = book.worksheet_formula(&name).unwrap_or_default();
            Ok(Found { cells: range, merged, formulas })
        }
        Err(XlsxError::Password) => Err(protected(file)),
        Err(error) => match Xlsb::new(open(bytes)) {
            Ok(mut book) => plain(file, &mut book, sheet),
            Err(_) => Err(damaged(file, error)),
        },
    }
}

/// The names of the sheets of a workbook that have cells, in their order.
pub(super) fn names(file: &VisibleFile, bytes: &Arc<[u8]>) -> Result<Vec<String>> {
    let open = || Cursor::new(Arc::clone(bytes));
    if bytes.starts_with(&OLE) {
        let book: Xls<Bytes> = Xls::new(open()).map_err(|error| damaged(file, error))?;
        return Ok(with_cells(&book));
    }
    if let Ok(book) = Ods::new(open()) {
        return Ok(with_cells::<Ods<Bytes>>(&book));
    }
    if let Ok(book) = Xlsx::new(open()) {
        return Ok(with_cells::<Xlsx<Bytes>>(&book));
    }
    let book: Xlsb<Bytes> = Xlsb::new(open()).map_err(|error| damaged(file, error))?;
    Ok(with_cells(&book))
}

fn with_cells<R: Reader<Bytes>>(book: &R) -> Vec<String> {
    let sheets = book.sheets_metadata().iter();
    sheets
        .filter(|sheet| sheet.typ == SheetType::WorkSheet)
        .map(|sheet| sheet.name.clone())
        .collect()
}

/// Reads one sheet of a workbook whose merged cells cannot be known.
fn plain<R: Reader<Bytes>>(
    file: &VisibleFile,
    book: &mut R,
    sheet: Option<&SheetName>,
) -> Result<Found>
where
    R::Error: std::error::Error + Send + Sync + 'static,
{
    let name = choose(file, &book.sheet_names(), sheet)?;
    let range = book.worksheet_range(&name).map_err(|error| damaged(file, error))?;
    Ok(Found { cells: range, ..Found::default() })
}

fn choose(file: &VisibleFile, names: &[String], sheet: Option<&SheetName>) -> Result<String> {
    let found = match sheet {
        None => names.first(),
        Some(SheetName::Number(number)) => number.checked_sub(1).and_then(|at| names.get(at)),
        Some(SheetName::Name(name)) => names.iter().find(|known| *known == name),
    };
    found.cloned().ok_or_else(|| {
        let wanted = match sheet {
            Some(SheetName::Name(name)) => format!("\"{name}\""),
            Some(SheetName::Number(number)) => format!("number {number}"),
            None => "at all".to_owned(),
        };
        let hint = match sheet {
            Some(SheetName::Name(name)) => suggest::hint(name, names.iter().map(String::as_str)),
            _ => format!("It has {} sheets.", names.len()),
        };
        Error::not_found(format!("the workbook {} has no sheet {wanted}", file.name)).hint(hint)
    })
}

fn protected(file: &VisibleFile) -> Error {
    Error::new(ErrorKind::Denied, format!("the workbook {} is protected by a password", file.name))
        .hint("Save a copy without password (File, Info, Protect Workbook) and read that.")
}

fn damaged(
    file: &VisibleFile,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::corrupt(format!("the file {} is not a readable workbook", file.name))
        .caused_by(error)
        .hint("Open it in a spreadsheet program and save it again as xlsx.")
}

type Area = ((u32, u32), (u32, u32));

/// Reads `B2:F100` or `B:F` as zero-based corners.
fn area(text: &str) -> Result<Area> {
    let corner = |part: &str, open: u32| {
        let letters = part.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (letters, digits) = part.split_at(letters);
        let mut column: u32 = 0;
        for letter in letters.to_ascii_uppercase().bytes() {
            column = column.checked_mul(26)?.checked_add(u32::from(letter - b'A') + 1)?;
        }
        let row =
            if digits.is_empty() { open } else { digits.parse::<u32>().ok()?.checked_sub(1)? };
        Some((row, column.checked_sub(1)?))
    };
    let (from, to) = text.split_once(':').unwrap_or((text, text));
    let found = corner(from.trim(), 0).zip(corner(to.trim(), u32::MAX));
    found.filter(|(from, to)| from.0 <= to.0 && from.1 <= to.1).ok_or_else(|| {
        Error::invalid(format!("\"{text}\" is not a range of cells"))
            .hint("Write the corners, B2:F100, or whole columns, B:F.")
    })
}

/// What a cell holds, in a form that columns take.
#[derive(Debug)]
pub(super) enum Cell {
    /// Nothing.
    Empty,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A moment, in microseconds.
    Moment(i64),
    /// A text.
    Text(String),
    /// An error such as `#N/A`.
    Error(String),
}

impl Cell {
    /// Reads a cell. Numbers without fraction are whole; times of day and durations are texts.
    pub(super) fn of(data: &Data) -> Self {
        match data {
            Data::Empty => Self::Empty,
            Data::Bool(value) => Self::Bool(*value),
            Data::Int(value) => Self::Int(*value),
            Data::Float(value) => match crate::column::whole(*value) {
                Some(value) => Self::Int(value),
                None => Self::Float(*value),
            },
            Data::String(text) => Self::Text(text.clone()),
            Data::DateTimeIso(text) | Data::DurationIso(text) => Self::Text(text.clone()),
            Data::Error(error) => Self::Error(error.to_string()),
            Data::DateTime(moment) => {
                let time_only = moment.as_f64().abs() < 1.0;
                match moment.as_datetime() {
                    Some(at) if moment.is_datetime() && !time_only => {
                        Self::Moment(at.and_utc().timestamp_micros())
                    }
                    _ => Self::Text(duration(moment.as_f64())),
                }
            }
        }
    }

    /// What it looks like to the inference of types.
    pub(super) fn kind(&self, parsing: &Parsing) -> Kind {
        match self {
            Self::Empty | Self::Error(_) => Kind::Empty,
            Self::Bool(_) => Kind::Bool,
            Self::Int(value) if value.unsigned_abs() < 1_000_000_000_000_000 => Kind::Int,
            Self::Int(_) => Kind::WideInt,
            Self::Float(_) => Kind::Float,
            Self::Moment(micros) if micros.rem_euclid(DAY_US) == 0 => Kind::Midnight,
            Self::Moment(_) => Kind::Local,
            // A number that was typed as text ('00123) was meant as text.
            Self::Text(text) => match Kind::of_text(text, parsing) {
                kind @ (Kind::Empty | Kind::Date | Kind::Local | Kind::Zoned) => kind,
                _ => Kind::Text,
            },
        }
    }

    /// The date of a moment at midnight, which is how a sheet keeps a date.
    pub(super) fn date(&self) -> Option<String> {
        match self {
            Self::Moment(micros) if micros.rem_euclid(DAY_US) == 0 => {
                Some(Timestamp::from_micros(*micros).date())
            }
            _ => None,
        }
    }

    /// The value on its way into a column.
    pub(super) fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::Empty | Self::Error(_) => Scalar::Null,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Int(value) => Scalar::Int(*value),
            Self::Float(value) => Scalar::Float(*value),
            Self::Moment(micros) => Scalar::Timestamp(*micros),
            Self::Text(text) => Scalar::Text(text),
        }
    }
}

/// Days as `hours:minutes:seconds`.
fn duration(days: f64) -> String {
    let seconds = (days.abs() * 86_400.0).round() as u64;
    let sign = if days < 0.0 { "-" } else { "" };
    format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_corners_or_whole_columns() {
        assert_eq!(area("B2:F100").unwrap(), ((1, 1), (99, 5)));
        assert_eq!(area("A:AA").unwrap(), ((0, 0), (u32::MAX, 26)));
        for text in ["", "2:3", "B2:A1", "B0:C1", "A1:"] {
            assert!(area(text).is_err(), "{text}");
        }
    }
}
