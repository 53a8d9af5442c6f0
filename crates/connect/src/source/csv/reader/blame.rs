//! Which column is to blame for a row that is set aside, and what to do about it.

use super::CsvReader;
use crate::column::Misfit;
use crate::source::csv::record::Field;

/// What is to blame for a row that is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blamed {
    /// A value that does not fit the column of the table at this place.
    Column(usize),
    /// The field at this place of the file, whatever its column's type.
    Field(usize),
    /// The row as a whole.
    Row,
}

/// What is to blame, and why.
pub(super) type Pushed = Result<(), (Blamed, Misfit)>;

impl CsvReader {
    /// Blames the first field whose bytes are no text.
    pub(super) fn not_utf8(&self, content: &[u8], valid: usize) -> (Blamed, Misfit) {
        let at = self.window.offset() + valid as u64;
        let broken = |field: &Field| {
            std::str::from_utf8(content.get(field.start..field.end).unwrap_or_default()).is_err()
        };
        let (blamed, which) = self.first_field(broken);
        let reason = format!(
            "invalid UTF-8 at byte {at} of the file{which}; declare the file's `encoding`, for \
             example windows-1252 or gbk, or mend the bytes"
        );
        (blamed, Misfit::new("invalid-utf8", reason))
    }

    /// Blames the first field with a character that the file's encoding does not have.
    pub(super) fn not_decoded(&self, text: &str) -> (Blamed, Misfit) {
        let broken = |field: &Field| {
            let value = text.get(field.start..field.end).unwrap_or_default();
            value.contains(char::REPLACEMENT_CHARACTER)
        };
        let (blamed, which) = self.first_field(broken);
        let reason = format!(
            "a character{which} is not of the file's encoding; mend it, or declare another \
             `encoding`"
        );
        (blamed, Misfit::new("invalid-encoding", reason))
    }

    /// The first field that is broken; where no column has its name, the text says which it is.
    fn first_field(&self, broken: impl Fn(&Field) -> bool) -> (Blamed, String) {
        match self.record.fields.iter().position(broken) {
            Some(at) if at < self.names.len() => (Blamed::Field(at), String::new()),
            Some(at) => (Blamed::Row, format!(", in field {}, which has no column", at + 1)),
            None => (Blamed::Row, String::new()),
        }
    }

    /// Blames the first column without value, or names the first field without column.
    pub(super) fn ragged(&self) -> (Blamed, Misfit) {
        let (found, wanted) = (self.record.fields.len(), self.names.len());
        let (blamed, what) = if found < wanted {
            let rest = if found + 1 == wanted { "" } else { " and all after it" };
            let name = self.names.get(found).map_or("", String::as_str);
            (Blamed::Field(found), format!("\"{name}\"{rest} got no value; complete the line"))
        } else {
            let sign = char::from(self.dialect.delimiter).escape_default();
            let what = format!(
                "field {} has no column; if a value has a `{sign}` in it, put quotes around the \
                 value",
                wanted + 1
            );
            (Blamed::Row, what)
        };
        let fields = if found == 1 { "field" } else { "fields" };
        let columns = if wanted == 1 { "column" } else { "columns" };
        let reason = format!("{found} {fields} where the file has {wanted} {columns}: {what}");
        (blamed, Misfit::new("ragged-row", reason))
    }
}
