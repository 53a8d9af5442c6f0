//! One of the two systems: its records as they are now, and the types of its columns.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};
use flywheel_base::{Error, Result, Timestamp, suggest};
use flywheel_connect::source::ReadRequest;
use flywheel_connect::{Mapping, MappingConfig};
use flywheel_project::resource::link::{Link, LinkField, LinkSide};
use flywheel_reconcile::record::{Record, Side};
use flywheel_reconcile::three_way::Observed;
use futures::StreamExt;
use serde_json::{Map, Value};

use crate::Workspace;
use crate::mapping::mapped;

/// How many digits a number of a floating type keeps exactly.
const EXACT_DIGITS: usize = 15;

/// The records of one system.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// By id.
    pub(super) by_id: BTreeMap<String, Observed>,
    /// The id of each record by the value of the column by which records are created.
    by_create: BTreeMap<String, String>,
    /// The same without regard to case, for systems that write addresses in small letters; none where
    /// several records have the value.
    by_create_folded: BTreeMap<String, Option<String>>,
    /// The types of the columns there, as far as a row told.
    pub(super) types: BTreeMap<String, DataType>,
}

/// The declared side.
pub(super) fn of(link: &Link, side: Side) -> &LinkSide {
    match side {
        Side::Left => &link.left,
        Side::Right => &link.right,
    }
}

/// The column of a field on a side.
pub(super) fn column_of(field: &LinkField, side: Side) -> &str {
    match side {
        Side::Left => field.left(),
        Side::Right => field.right(),
    }
}

/// Reads every record of a side.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if a row cannot be decoded: a record that cannot be read must
/// not look like one that is gone. [`flywheel_base::ErrorKind::Invalid`] if a column is missing or an
/// id occurs twice.
pub(super) async fn read(workspace: &Workspace, link: &Link, side: Side) -> Result<Records> {
    let declared = of(link, side);
    let (entry, source) = workspace.source(&declared.connection)?;
    let columns = link.fields.iter().map(|field| mapped(&field.column(column_of(field, side))));
    let config = MappingConfig {
        source: entry.name.to_owned(),
        columns: columns.collect::<Result<Vec<_>>>()?,
        drop: Vec::new(),
        keep: flywheel_connect::Keep::Mapped,
        ..MappingConfig::default()
    };
    let mapping = Mapping::new(&config, &|text| workspace.project.resolve_secret(text))?;
    let options = Value::Object(workspace.project.resolve_secrets(&declared.options)?);
    let request =
        ReadRequest { columns: mapping.declared(), ..ReadRequest::full(options, workspace.now()) };
    let mut records = Records::default();
    let mut pages = source.read(&request);
    while let Some(page) = pages.next().await {
        let page = page?;
        let raw = page.batch.clone();
        let page = mapping.apply(page)?;
        if let Some(bad) = page.rejected.first() {
            let place = bad.line.map_or_else(String::new, |line| format!(", line {line}"));
            return Err(Error::blocked(format!(
                "{} records cannot be read; the first is in {}{place}: {}",
                page.rejected.len(),
                bad.file,
                bad.reason
            ))
            .hint("Nothing was written, because such a record looks like a deleted one. Mend it there, or change the field's type or clean."));
        }
        records.take(declared, &raw, &page.batch)?;
    }
    records.has_columns(declared)?;
    Ok(records)
}

impl Records {
    /// The id of the record that was created by this value, also where the system changed its case.
    pub(super) fn created_by(&self, value: &str) -> Option<&str> {
        let folded = || self.by_create_folded.get(&value.to_lowercase())?.as_ref();
        self.by_create.get(value).or_else(folded).map(String::as_str)
    }

    /// Proves that the columns that a side names were there, in one of the records at least.
    fn has_columns(&self, side: &LinkSide) -> Result<()> {
        if self.by_id.is_empty() {
            return Ok(());
        }
        let mut named = std::iter::once(side.create_by()).chain(side.changed_at.as_deref());
        match named.find(|name| !self.types.contains_key(*name)) {
            Some(name) => Err(no_column(name, self.types.keys().map(String::as_str))),
            None => Ok(()),
        }
    }

    fn take(&mut self, side: &LinkSide, raw: &RecordBatch, mapped: &RecordBatch) -> Result<()> {
        if raw.num_columns() == 0 {
            return Ok(());
        }
        for field in raw.schema().fields() {
            self.types.insert(field.name().clone(), field.data_type().clone());
        }
        let ids = texts(raw, &side.id)?;
        // A web API shows a field from the first record on that has a value for it.
        let there = |name: &str| raw.column_by_name(name).is_some();
        let created = match side.create_by() {
            by if by == side.id => ids.clone(),
            by if there(by) => texts(raw, by)?,
            _ => Vec::new(),
        };
        let changed_at = side.changed_at.as_ref().filter(|column| there(column));
        let moments = changed_at.map(|column| moments(raw, column)).transpose()?;
        let rows = objects(mapped)?;
        for (row, fields) in rows.into_iter().enumerate() {
            let Some(id) = ids.get(row).cloned().flatten() else {
                return Err(Error::blocked(format!("a record has no \"{}\"", side.id)).hint(
                    "Nothing was written. Name a column that identifies every record as id.",
                ));
            };
            let changed_at = moments.as_ref().and_then(|all| all.get(row).copied().flatten());
            let record =
                Record::from_iter(fields.into_iter().filter(|(_, value)| !value.is_null()));
            // Any number but 0 says that the record was seen; a moment also says which came later.
            let version = changed_at.map_or(1, |at| at.micros().unsigned_abs().max(1));
            let observed = Observed { record, version, changed_at, ..Observed::default() };
            if let Some(by) = created.get(row).cloned().flatten() {
                let folded = self.by_create_folded.entry(by.to_lowercase());
                folded.and_modify(|one| *one = None).or_insert_with(|| Some(id.clone()));
                self.by_create.insert(by, id.clone());
            }
            if self.by_id.insert(id.clone(), observed).is_some() {
                return Err(Error::blocked(format!(
                    "two records have the same \"{}\", \"{id}\"",
                    side.id
                ))
                .hint("Nothing was written. Name a column that identifies every record as id."));
            }
        }
        Ok(())
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        let schema = batch.schema();
        no_column(name, schema.fields().iter().map(|field| field.name().as_str()))
    })
}

fn no_column<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    Error::invalid(format!("the records have no column \"{name}\""))
        .hint(suggest::hint(name, known))
}

fn unfit(name: &str, error: arrow::error::ArrowError) -> Error {
    Error::invalid(format!("column \"{name}\" has an unexpected type")).caused_by(error)
}

/// A column as text.
pub(crate) fn texts(batch: &RecordBatch, name: &str) -> Result<Vec<Option<String>>> {
    let array = cast(column(batch, name)?, &DataType::Utf8).map_err(|error| unfit(name, error))?;
    let values = array.as_string::<i32>().iter();
    Ok(values.map(|value| value.filter(|text| !text.is_empty()).map(str::to_owned)).collect())
}

/// A column as moments; texts are read as such.
pub(crate) fn moments(batch: &RecordBatch, name: &str) -> Result<Vec<Option<Timestamp>>> {
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let array = cast(column(batch, name)?, &wanted).map_err(|error| unfit(name, error))?;
    let values = array.as_primitive::<TimestampMicrosecondType>().iter();
    Ok(values.map(|value| value.map(Timestamp::from_micros)).collect())
}

/// Rows as JSON objects, with exact decimals.
pub(crate) fn objects(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>> {
    let failed = |error| Error::internal("records are no JSON").caused_by(error);
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    let mut decimals = BTreeSet::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        if is_decimal(field.data_type()) {
            decimals.insert(field.name().clone());
            fields.push(Field::new(field.name(), DataType::Utf8, true));
            columns.push(cast(array, &DataType::Utf8).map_err(failed)?);
        } else {
            fields.push(field.as_ref().clone().with_nullable(true));
            columns.push(ArrayRef::clone(array));
        }
    }
    if fields.is_empty() {
        return Ok(vec![Map::new(); batch.num_rows()]);
    }
    let batch = RecordBatch::try_new(Schema::new(fields).into(), columns).map_err(failed)?;
    let mut bytes = Vec::new();
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::JsonArray>(&mut bytes);
    writer.write(&batch).and_then(|()| writer.finish()).map_err(failed)?;
    drop(writer);
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows: Vec<Map<String, Value>> = serde_json::from_slice(&bytes)
        .map_err(|error| Error::internal("records are no JSON").caused_by(error))?;
    for row in &mut rows {
        for name in &decimals {
            if let Some(value) = row.get_mut(name) {
                *value = decimal(value);
            }
        }
    }
    Ok(rows)
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
    )
}

/// A decimal as number while a number keeps it exactly, else as its text.
fn decimal(value: &Value) -> Value {
    let Some(text) = value.as_str() else { return value.clone() };
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    match text.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
        Some(number) if digits <= EXACT_DIGITS => Value::Number(number),
        _ => value.clone(),
    }
}

/// The values of one column as JSON.
pub(crate) fn json_values(array: &ArrayRef) -> Result<Vec<Value>> {
    let batch = RecordBatch::try_from_iter_with_nullable([("v", ArrayRef::clone(array), true)])
        .map_err(|error| Error::internal("a value is no column").caused_by(error))?;
    let rows = objects(&batch)?;
    Ok(rows.into_iter().map(|mut row| row.remove("v").unwrap_or_default()).collect())
}
