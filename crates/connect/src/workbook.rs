//! Answers as a workbook for people: a sheet for each, numbers as numbers and days as days.

use std::collections::BTreeSet;

use flywheel_base::{Error, Result};
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook, Worksheet, XlsxError};
use serde_json::Value;

/// The signs a sheet's name cannot have.
pub(crate) const SHEET_SIGNS: [char; 7] = ['[', ']', ':', '*', '?', '/', '\\'];

/// The longest name of a sheet, in UTF-16 units.
pub(crate) const SHEET_CHARS_MAX: usize = 31;

/// The longest text of a cell, in UTF-16 units.
pub(crate) const TEXT_UNITS_MAX: usize = 32_767;

/// The widest column, in pixels.
const WIDTH_MAX: u32 = 420;

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellKind {
    /// Days, as `2025-03-01`.
    Day,
    /// Moments, as `2025-03-01T08:00:00Z`.
    Moment,
    /// What its values are in JSON: texts, numbers, yes and no.
    Plain,
}

/// Rows under a header.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// What it is called; shortened, and numbered where two are called the same.
    pub name: String,
    /// The columns.
    pub columns: Vec<(String, CellKind)>,
    /// The rows, a value for each column.
    pub rows: Vec<Vec<Value>>,
}

/// The bytes of a workbook (xlsx) with these sheets. A text stays a text, whatever it begins with; so does a number that JSON
/// has as text because a spreadsheet would not keep its digits.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a sheet has more rows or columns than a workbook can.
pub fn workbook(sheets: &[Sheet]) -> Result<Vec<u8>> {
    let mut workbook = Workbook::new();
    let mut taken = BTreeSet::new();
    for sheet in sheets {
        let name = sheet_name(&sheet.name, &mut taken);
        let page = workbook.add_worksheet();
        page.set_name(&name).and_then(|page| fill(page, sheet)).map_err(|error| {
            Error::invalid(format!("sheet \"{name}\" cannot be written: {error}"))
        })?;
    }
    workbook.save_to_buffer().map_err(|e| Error::internal("no workbook is made").caused_by(e))
}

/// A name that a workbook takes: without its signs, short, and not taken by another sheet whatever the case.
fn sheet_name(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let plain: String =
        wanted.chars().map(|c| if SHEET_SIGNS.contains(&c) { ' ' } else { c }).collect();
    let plain = plain.trim_matches(|c: char| c == '\'' || c.is_whitespace());
    let plain = if plain.is_empty() { "Sheet" } else { plain };
    for number in 1_usize.. {
        let tail = if number == 1 { String::new() } else { format!(" {number}") };
        let start = shortened(plain, SHEET_CHARS_MAX - tail.len());
        let name =
            start.trim_end_matches(|c: char| c == '\'' || c.is_whitespace()).to_owned() + &tail;
        if taken.insert(name.to_lowercase()) {
            return name;
        }
    }
    plain.to_owned()
}

fn fill(page: &mut Worksheet, sheet: &Sheet) -> std::result::Result<(), XlsxError> {
    let bold = Format::new().set_bold();
    let day = Format::new().set_num_format("yyyy-mm-dd");
    let moment = Format::new().set_num_format("yyyy-mm-dd hh:mm:ss");
    for (at, (name, _)) in (0_u16..).zip(&sheet.columns) {
        page.write_string_with_format(0, at, short(name), &bold)?;
    }
    for (line, row) in (1_u32..).zip(&sheet.rows) {
        for (at, ((_, kind), value)) in (0_u16..).zip(sheet.columns.iter().zip(row)) {
            let format = if *kind == CellKind::Day { &day } else { &moment };
            match value {
                Value::Null => continue,
                Value::Bool(value) => page.write_boolean(line, at, *value)?,
                Value::Number(value) => match value.as_f64() {
                    Some(number) => page.write_number(line, at, number)?,
                    None => page.write_string(line, at, value.to_string())?,
                },
                Value::String(text) if *kind != CellKind::Plain => {
                    match ExcelDateTime::parse_from_str(text) {
                        Ok(value) => page.write_datetime_with_format(line, at, &value, format)?,
                        // Before 1900, or finer than a spreadsheet knows.
                        Err(_) => page.write_string(line, at, short(text))?,
                    }
                }
                Value::String(text) => page.write_string(line, at, short(text))?,
                other => page.write_string(line, at, short(&other.to_string()))?,
            };
        }
    }
    page.set_freeze_panes(1, 0)?;
    page.set_autofit_max_width(WIDTH_MAX).autofit();
    Ok(())
}

/// As much of a text as a cell takes.
fn short(text: &str) -> &str {
    shortened(text, TEXT_UNITS_MAX)
}

/// The beginning of a text that has at most `units_max` UTF-16 units.
fn shortened(text: &str, units_max: usize) -> &str {
    let mut room = units_max;
    for (at, c) in text.char_indices() {
        match room.checked_sub(c.len_utf16()) {
            Some(left) => room = left,
            None => return text.get(..at).unwrap_or_default(),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use calamine::{Data, Reader, Xlsx, open_workbook_from_rs};
    use serde_json::json;

    use super::*;

    fn read(bytes: Vec<u8>) -> Xlsx<Cursor<Vec<u8>>> {
        open_workbook_from_rs(Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn cells_keep_what_they_are() {
        let columns = [("国家", CellKind::Plain), ("n", CellKind::Plain), ("day", CellKind::Day)];
        let columns = columns.map(|(name, kind)| (name.to_owned(), kind)).to_vec();
        let rows = vec![
            vec![json!("=1+1"), json!(2.5), json!("2025-03-01")],
            vec![json!(null), json!("12345678901234567890.5"), json!("1850-01-01")],
            vec![json!(true), json!(7), json!(null)],
        ];
        let sheet = Sheet { name: "销售/地区".to_owned(), columns, rows };
        let mut book = read(workbook(&[sheet]).unwrap());
        assert_eq!(book.sheet_names(), ["销售 地区"]);
        let range = book.worksheet_range("销售 地区").unwrap();
        let cell = |row, column| range.get_value((row, column)).cloned().unwrap_or(Data::Empty);
        assert_eq!(cell(0, 0), Data::String("国家".to_owned()));
        assert_eq!(cell(1, 0), Data::String("=1+1".to_owned()));
        assert_eq!(cell(1, 1), Data::Float(2.5));
        assert!(matches!(cell(1, 2), Data::DateTime(day) if day.as_f64() == 45_717.0));
        assert_eq!(cell(2, 0), Data::Empty);
        assert_eq!(cell(2, 1), Data::String("12345678901234567890.5".to_owned()));
        assert_eq!(cell(2, 2), Data::String("1850-01-01".to_owned()));
        assert_eq!(cell(3, 0), Data::Bool(true));
    }

    #[test]
    fn a_text_is_cut_between_signs_and_counted_as_a_workbook_counts() {
        for (text, units, expected) in
            [("abc", 3, "abc"), ("abc", 2, "ab"), ("a😀b", 2, "a"), ("a😀b", 3, "a😀"), ("", 0, "")]
        {
            assert_eq!(shortened(text, units), expected, "{text} {units}");
        }
    }

    #[test]
    fn every_sheet_gets_a_name_of_its_own_that_a_workbook_takes() {
        let mut taken = BTreeSet::new();
        let long = "销".repeat(40);
        let wanted = ["Revenue", "revenue", "'a'", "", "[x]", &long, &long, &"😀".repeat(40)];
        let names: Vec<String> = wanted.iter().map(|one| sheet_name(one, &mut taken)).collect();
        assert_eq!(names[..5], ["Revenue", "revenue 2", "a", "Sheet", "x"]);
        assert_eq!(names[6], "销".repeat(29) + " 2");
        assert!(names.iter().all(|name| name.encode_utf16().count() <= SHEET_CHARS_MAX));
        let sheets =
            names.iter().map(|name| Sheet { name: name.clone(), columns: vec![], rows: vec![] });
        assert!(workbook(&sheets.collect::<Vec<_>>()).is_ok());
    }
}
