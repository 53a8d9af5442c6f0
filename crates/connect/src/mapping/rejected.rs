//! What is kept of rows that are set aside, without what a mask hides.

use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Error, Result};
use serde_json::{Map, Value};

use super::mask::MASKED;
use super::{Mapped, Mapping};
use crate::column::{ColumnType, Misfit};
use crate::page::{FILE_COLUMN, LINE_COLUMN, Page, Rejected, raw};

/// Sources that keep a rejected row as a JSON object of its columns. Of any other, such as a line of
/// CSV or a record of an API, nothing tells which part belongs to which column.
pub(super) const OBJECT_SOURCES: &[&str] =
    &["adbc", "avro", "jsonl", "mysql", "odbc", "parquet", "postgres", "sqlite"];

/// What stands for a row of which it is not known where its hidden columns are.
pub const ROW_MASKED: &str = "[masked: the row has columns that must not be seen]";

/// What is known of a column of the source from a row that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptValue {
    /// Its value, as the source had it.
    Plain,
    /// What its mask made of it, which lands as it is.
    Masked,
    /// Nothing that could land: a mask would make something else of it, or SQL of the mapping sees it unmasked.
    Hidden,
    /// It does not land, and nothing that lands is made of it.
    Left,
}

/// What is kept of one value.
enum Kept<'a> {
    /// The value as it is.
    Shown,
    /// What the mask makes of it.
    Masked(&'a Mapped),
    /// Nothing.
    Left,
}

impl Mapping {
    /// Hides in rows that were set aside what is hidden in rows that land. A row that cannot be taken
    /// apart into its columns loses its text; its place, column and reason stay.
    pub fn apply_to_rejected(&self, rejected: &mut [Rejected]) {
        if !self.hides() {
            return;
        }
        for row in rejected {
            let object = OBJECT_SOURCES
                .contains(&&*row.source)
                .then(|| serde_json::from_str::<Value>(&row.raw).ok())
                .flatten();
            row.raw = match object {
                Some(Value::Object(object)) => {
                    raw(&Value::Object(self.object(object, None)).to_string())
                }
                _ => ROW_MASKED.to_owned(),
            };
        }
    }

    /// What a row that was set aside tells of a column of the source, of which `text` was kept.
    ///
    /// Nobody knows under which declaration it was kept. So a text in a masked column is only taken for masked if the mask
    /// leaves it as it is: what was kept before there was a mask does not land unmasked, nor is anything masked twice.
    #[must_use]
    pub fn kept_value(&self, source: &str, text: &str) -> KeptValue {
        // SQL of the declaration sees values that are not masked yet, which nobody has any more.
        let seen = !self.computed.is_empty() || self.condition.is_some();
        match self.kept(source) {
            Kept::Shown => return KeptValue::Plain,
            Kept::Left if seen => return KeptValue::Hidden,
            Kept::Left => return KeptValue::Left,
            Kept::Masked(_) => {}
        }
        let mut mapped = self.columns.iter().filter(|column| column.from == source);
        let stays = |column: &Mapped| {
            let plain = column.kind.is_none_or(|kind| kind == ColumnType::Text);
            plain && column.clean.is_empty() && leaves(column, text)
        };
        match !seen && mapped.all(stays) {
            true => KeptValue::Masked,
            false => KeptValue::Hidden,
        }
    }

    /// Whether a text that was kept of a column of the table is masked, if the column has a mask.
    #[must_use]
    pub fn lands_masked(&self, name: &str, text: &str) -> bool {
        let computed = self.computed.iter().map(|computed| &computed.mapped);
        let mut columns = self.columns.iter().chain(computed).filter(|column| column.name == name);
        columns.all(|column| column.mask.is_none() || leaves(column, text))
    }

    /// A JSON object without what is hidden; names of nested objects have dots.
    fn object(&self, object: Map<String, Value>, path: Option<&str>) -> Map<String, Value> {
        let mut shown = Map::new();
        for (name, value) in object {
            let path = path.map_or_else(|| name.clone(), |path| format!("{path}.{name}"));
            let below = format!("{path}.");
            let parent = |known: &str| known.starts_with(&below);
            let deeper = self.columns.iter().any(|column| parent(&column.from))
                || self.drop.iter().any(|dropped| parent(dropped));
            let value = match (self.kept(&path), value) {
                (Kept::Masked(mapped), value) => mask_value(mapped, &value),
                (_, Value::Object(inner)) if deeper => {
                    Value::Object(self.object(inner, Some(&path)))
                }
                (Kept::Shown, value) => value,
                (Kept::Left, _) => continue,
            };
            shown.insert(name, value);
        }
        shown
    }

    /// What is kept of a column of the source.
    fn kept(&self, name: &str) -> Kept<'_> {
        if self.drop.contains(name) {
            return Kept::Left;
        }
        let mut mapped = self.columns.iter().filter(|column| column.from == name).peekable();
        if mapped.peek().is_none() {
            return if self.lands(name) { Kept::Shown } else { Kept::Left };
        }
        let mut hidden = None;
        for column in mapped {
            // A column that also lands unmasked has nothing to hide.
            if column.mask.is_none() {
                return Kept::Shown;
            }
            hidden = hidden.or(Some(column));
        }
        hidden.map_or(Kept::Shown, Kept::Masked)
    }

    /// The row of a page that does not fit, with what is hidden already hidden.
    pub(super) fn rejected(
        &self,
        page: &Page,
        row: usize,
        column: String,
        misfit: Misfit,
    ) -> Result<Rejected> {
        let options = FormatOptions::default();
        let mut object = Map::new();
        let schema = page.batch.schema_ref();
        for (field, array) in schema.fields().iter().zip(page.batch.columns()) {
            let name = field.name().as_str();
            if name == FILE_COLUMN || name == LINE_COLUMN {
                continue;
            }
            let text = || -> Result<Value> {
                if array.is_null(row) {
                    return Ok(Value::Null);
                }
                let formatter = ArrayFormatter::try_new(array.as_ref(), &options);
                let formatter = formatter
                    .map_err(|error| Error::internal("a value has no text").caused_by(error))?;
                Ok(Value::String(formatter.value(row).to_string()))
            };
            let value = match self.kept(name) {
                Kept::Left => continue,
                Kept::Shown => text()?,
                Kept::Masked(mapped) => mask_value(mapped, &text()?),
            };
            object.insert(name.to_owned(), value);
        }
        let (file, line) = match page.trace(row) {
            Some((file, line)) => (file.to_owned(), Some(line)),
            None => (String::new(), None),
        };
        Ok(Rejected {
            source: self.source.clone().into(),
            file,
            line,
            column: Some(column),
            code: misfit.code.into(),
            reason: misfit.reason,
            raw: raw(&Value::Object(object).to_string()),
            destination: None,
        })
    }
}

/// Whether the mask of a column makes of a text what it is already.
fn leaves(column: &Mapped, text: &str) -> bool {
    column.mask.as_ref().is_some_and(|mask| mask.text(text).as_deref() == Some(text))
}

/// What a mask makes of a value that was not cleaned.
fn mask_value(mapped: &Mapped, value: &Value) -> Value {
    let Some(mask) = &mapped.mask else { return Value::String(MASKED.to_owned()) };
    match value {
        Value::Null => Value::Null,
        Value::String(text) => mask.text(text).map_or(Value::Null, Value::String),
        Value::Number(number) => mask.text(&number.to_string()).map_or(Value::Null, Value::String),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => Value::String(MASKED.to_owned()),
    }
}
