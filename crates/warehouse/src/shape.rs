//! What rows look like in the lake: plain types, no metadata, and how given rows fit a table.
//!
//! Arrow field metadata is stripped because a stored `PARQUET:field_id` makes other Delta readers
//! return NULLs without an error. Every column may be NULL, so that a column's nullability never
//! depends on how a query was planned.

pub(crate) mod assign;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use flywheel_base::{Error, Result};

use crate::{Location, SchemaChange};

/// Characters that no column's name may have: Delta does not allow them without column mapping.
pub const NAME_FORBIDDEN: [char; 10] = [' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];
/// Digits a Delta decimal can hold.
const DECIMAL_DIGITS_MAX: u8 = 38;

/// How given rows become rows of a table.
#[derive(Clone, Debug)]
pub(crate) struct Fit {
    /// The table's columns after the write.
    pub(crate) schema: SchemaRef,
    /// Whether they differ from the columns before it.
    pub(crate) changed: bool,
    /// Whether a column the table has gets a wider type, so that its data files have to be written anew.
    pub(crate) widens: bool,
    /// For every column of the table, its index in the given rows.
    pub(crate) sources: Vec<Option<usize>>,
}

/// The same schema without field and schema metadata, at any depth.
pub(crate) fn without_metadata(schema: &Schema) -> Schema {
    Schema::new(schema.fields().iter().map(|field| bare(field)).collect::<Vec<FieldRef>>())
}

fn bare(field: &Field) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(bare(item)),
        DataType::LargeList(item) => DataType::LargeList(bare(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| bare(f)).collect()),
        DataType::Map(entry, sorted) => DataType::Map(bare(entry), *sorted),
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

/// The columns of a query's answer, without view and dictionary encodings and without metadata, so
/// that a reader meets one Arrow type per kind of value. Columns may be NULL.
pub(crate) fn without_views(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| {
        let data_type = match field.data_type() {
            DataType::Utf8View => DataType::Utf8,
            DataType::BinaryView => DataType::Binary,
            DataType::Dictionary(_, values) => values.as_ref().clone(),
            other => other.clone(),
        };
        bare(&Field::new(field.name(), data_type, true))
    });
    Schema::new(fields.collect::<Vec<FieldRef>>())
}

/// Gives an answer's batch the columns of [`without_views`].
pub(crate) fn relabel(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        columns.push(cast(field, column)?);
    }
    assemble(schema, columns, batch.num_rows())
}

/// The columns a table made from such rows has.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if there are no columns, two have one name, or a name or a
/// type cannot be stored.
pub(crate) fn stored(location: &Location, schema: &Schema) -> Result<Schema> {
    if schema.fields().is_empty() {
        return Err(Error::invalid(format!("rows for table \"{location}\" have no columns"))
            .hint("Select at least one column."));
    }
    let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        check_name(location, field.name())?;
        let lower = field.name().to_lowercase();
        if fields.iter().any(|other| other.name().to_lowercase() == lower) {
            return Err(Error::invalid(format!(
                "rows for table \"{location}\" have two columns named \"{}\"",
                field.name()
            ))
            .hint("Rename one; Delta does not tell column names apart by case."));
        }
        let data_type = plain(field.data_type()).ok_or_else(|| {
            Error::invalid(format!(
                "column \"{}\" of table \"{location}\" has type {}, which Delta cannot hold",
                field.name(),
                field.data_type()
            ))
            .hint("Cast it to text or to a number in the sync's mapping or in the query.")
        })?;
        check_nested(location, field.name(), &data_type)?;
        fields.push(Field::new(field.name(), data_type, true));
    }
    Ok(Schema::new(fields))
}

fn check_name(location: &Location, name: &str) -> Result<()> {
    if !name.is_empty() && !name.contains(NAME_FORBIDDEN) {
        return Ok(());
    }
    Err(Error::invalid(format!("column \"{name}\" cannot be stored in table \"{location}\"")).hint(
        "Delta column names have no spaces and none of ,;{}()= ; give it another name: with `as` in \
         the query of a model, in the mapping of a sync.",
    ))
}

fn check_nested(location: &Location, column: &str, data_type: &DataType) -> Result<()> {
    match data_type {
        DataType::Struct(fields) if fields.is_empty() => Err(Error::invalid(format!(
            "column \"{column}\" of table \"{location}\" is a struct without fields"
        ))
        .hint("Leave it out, or store it as JSON text.")),
        DataType::Struct(fields) => fields.iter().try_for_each(|field| {
            check_name(location, field.name())?;
            check_nested(location, column, field.data_type())
        }),
        DataType::List(item) | DataType::Map(item, _) => {
            check_nested(location, column, item.data_type())
        }
        _ => Ok(()),
    }
}

/// The stored type for a given one; `None` if Delta has none for it.
fn plain(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            DataType::Utf8
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32 => data_type.clone(),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        // Row numbers and counts are unsigned; a value beyond the signed range fails loudly.
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, _) => utc(),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Utf8,
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale) => decimal(*digits, *scale)?,
        DataType::Dictionary(_, values) => plain(values)?,
        DataType::RunEndEncoded(_, values) => plain(values.data_type())?,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => {
            DataType::List(Arc::new(Field::new("element", plain(item.data_type())?, true)))
        }
        DataType::Struct(fields) => {
            let fields = fields
                .iter()
                .map(|field| Some(Field::new(field.name(), plain(field.data_type())?, true)));
            DataType::Struct(fields.collect::<Option<Fields>>()?)
        }
        DataType::Map(entry, sorted) => map(entry, *sorted)?,
        DataType::Duration(_) | DataType::Interval(_) | DataType::Union(_, _) => return None,
    })
}

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn decimal(digits: u8, scale: i8) -> Option<DataType> {
    let fits = digits <= DECIMAL_DIGITS_MAX && scale >= 0;
    fits.then_some(DataType::Decimal128(digits, scale))
}

fn map(entry: &Field, sorted: bool) -> Option<DataType> {
    let DataType::Struct(fields) = entry.data_type() else { return None };
    let (key, value) = (fields.first()?, fields.get(1)?);
    let fields = Fields::from(vec![
        Field::new("key", plain(key.data_type())?, false),
        Field::new("value", plain(value.data_type())?, true),
    ]);
    Some(DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(fields), false)), sorted))
}

/// Fits given rows to a table's columns; `table` is `None` if the table does not exist or is replaced
/// together with its columns.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a type cannot be stored without loss, or columns are new
/// and `change` refuses them.
pub(crate) fn fit(
    location: &Location,
    table: Option<&SchemaRef>,
    given: &Schema,
    change: SchemaChange,
) -> Result<Fit> {
    let given = stored(location, given)?;
    let Some(table) = table else {
        let sources = (0..given.fields().len()).map(Some).collect();
        return Ok(Fit { schema: Arc::new(given), changed: true, widens: false, sources });
    };
    let mut sources = Vec::with_capacity(table.fields().len());
    let mut fields: Vec<FieldRef> = Vec::with_capacity(table.fields().len());
    let mut widens = false;
    for field in table.fields() {
        let index = position(&given, field.name());
        sources.push(index);
        let given = index.map_or_else(|| field.data_type(), |index| given.field(index).data_type());
        if holds(field.data_type(), given) {
            fields.push(Arc::clone(field));
            continue;
        }
        let wide = common(field.data_type(), given).filter(|_| change == SchemaChange::Add);
        let wide = wide.ok_or_else(|| misfit(location, field, given))?;
        fields.push(Arc::new(Field::new(field.name(), wide, true)));
        widens = true;
    }
    let fresh: Vec<usize> =
        (0..given.fields().len()).filter(|index| !sources.contains(&Some(*index))).collect();
    if fresh.is_empty() && !widens {
        return Ok(Fit { schema: SchemaRef::clone(table), changed: false, widens, sources });
    }
    if change == SchemaChange::Refuse {
        let names: Vec<&str> = fresh.iter().map(|i| given.field(*i).name().as_str()).collect();
        return Err(Error::invalid(format!(
            "table \"{}\" has no column \"{}\"",
            location.table(),
            names.join("\", \"")
        ))
        .hint("Allow new columns for this write, or leave them out of the mapping."));
    }
    for index in fresh {
        fields.push(Arc::new(given.field(index).clone()));
        sources.push(Some(index));
    }
    Ok(Fit { schema: Arc::new(Schema::new(fields)), changed: true, widens, sources })
}

/// The columns of a table in which every type is as wide as rows of `given` need it; `None` if the types
/// are wide enough. Columns that are new are not among them.
///
/// # Errors
/// As [`fit`] with [`SchemaChange::Add`].
pub(crate) fn wider(
    location: &Location,
    table: &SchemaRef,
    given: &Schema,
) -> Result<Option<SchemaRef>> {
    let fit = fit(location, Some(table), given, SchemaChange::Add)?;
    let known = fit.schema.fields().iter().take(table.fields().len()).map(Arc::clone);
    Ok(fit.widens.then(|| Arc::new(Schema::new(known.collect::<Vec<FieldRef>>()))))
}

/// The columns of `known` with those that only `more` has at their end; a column that both have gets the
/// least type that holds the values of both.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if there is no such type.
pub fn union(known: &SchemaRef, more: &SchemaRef) -> Result<SchemaRef> {
    if known == more {
        return Ok(SchemaRef::clone(known));
    }
    let mut fields: Vec<FieldRef> = known.fields().iter().map(Arc::clone).collect();
    for field in more.fields() {
        let Some(same) = fields.iter_mut().find(|known| known.name() == field.name()) else {
            fields.push(Arc::clone(field));
            continue;
        };
        let wide = common(same.data_type(), field.data_type()).ok_or_else(|| {
            Error::invalid(format!(
                "column \"{}\" is {} in some rows and {} in others",
                field.name(),
                same.data_type(),
                field.data_type()
            ))
            .hint("Declare the column's type in the sync.")
        })?;
        let nullable = same.is_nullable() || field.is_nullable();
        if wide != *same.data_type() || nullable != same.is_nullable() {
            let wider = Field::clone(same).with_data_type(wide).with_nullable(nullable);
            *same = Arc::new(wider);
        }
    }
    let same = fields.len() == known.fields().len()
        && fields.iter().zip(known.fields()).all(|(field, known)| field == known);
    Ok(if same { SchemaRef::clone(known) } else { Arc::new(Schema::new(fields)) })
}

/// The column of that name; by case only if no other way.
fn position(schema: &Schema, name: &str) -> Option<usize> {
    let lower = name.to_lowercase();
    let fields = schema.fields();
    let exact = fields.iter().position(|field| field.name() == name);
    exact.or_else(|| fields.iter().position(|field| field.name().to_lowercase() == lower))
}

fn misfit(location: &Location, column: &Field, given: &DataType) -> Error {
    Error::invalid(format!(
        "column \"{}\" of table \"{location}\" is {} and cannot hold {given}",
        column.name(),
        column.data_type(),
    ))
    .hint(
        "Cast it in the sync's mapping or in the query; a model's table is rebuilt with \
         `flywheel build --full-refresh`.",
    )
}

/// Whether every value of type `given` has an equal value of type `table`.
fn holds(table: &DataType, given: &DataType) -> bool {
    if table == given || *given == DataType::Null {
        return true;
    }
    if let (Some(wide), Some(narrow)) = (integer_digits(table), integer_digits(given)) {
        return wide >= narrow;
    }
    match (table, given) {
        (
            DataType::Float64,
            DataType::Float32 | DataType::Int8 | DataType::Int16 | DataType::Int32,
        ) => true,
        (DataType::Float32, DataType::Int8 | DataType::Int16) => true,
        (DataType::Decimal128(digits, scale), DataType::Decimal128(d, s)) => {
            scale >= s && i16::from(*digits) - i16::from(*scale) >= i16::from(*d) - i16::from(*s)
        }
        (DataType::Decimal128(digits, scale), other) => integer_digits(other)
            .is_some_and(|needed| i16::from(*digits) - i16::from(*scale) >= i16::from(needed)),
        (DataType::List(a), DataType::List(b)) | (DataType::Map(a, _), DataType::Map(b, _)) => {
            holds(a.data_type(), b.data_type())
        }
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| a.name() == b.name() && holds(a.data_type(), b.data_type()))
        }
        (DataType::Timestamp(_, _), DataType::Timestamp(_, _)) => true,
        _ => false,
    }
}

/// The least type that holds every value of both without loss, if there is one.
fn common(table: &DataType, given: &DataType) -> Option<DataType> {
    if holds(table, given) {
        return Some(table.clone());
    }
    if holds(given, table) {
        return Some(given.clone());
    }
    let wider = |a: &FieldRef, b: &FieldRef| -> Option<FieldRef> {
        let wide = common(a.data_type(), b.data_type())?;
        Some(Arc::new(Field::clone(a).with_data_type(wide)))
    };
    match (table, given) {
        (DataType::Decimal128(digits, scale), other)
        | (other, DataType::Decimal128(digits, scale)) => {
            let (d, s) = match other {
                DataType::Decimal128(digits, scale) => (*digits, *scale),
                other => (integer_digits(other)?, 0),
            };
            let whole = |digits: u8, scale: i8| i16::from(digits) - i16::from(scale);
            let scale_max = *scale.max(&s);
            let digits = whole(*digits, *scale).max(whole(d, s)) + i16::from(scale_max);
            u8::try_from(digits).ok().and_then(|digits| decimal(digits, scale_max))
        }
        (DataType::List(a), DataType::List(b)) => Some(DataType::List(wider(a, b)?)),
        (DataType::Struct(a), DataType::Struct(b)) => {
            let same = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name() == b.name());
            let fields = a.iter().zip(b).map(|(a, b)| wider(a, b)).collect::<Option<Fields>>();
            fields.filter(|_| same).map(DataType::Struct)
        }
        _ => None,
    }
}

fn integer_digits(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Int8 => Some(3),
        DataType::Int16 => Some(5),
        DataType::Int32 => Some(10),
        DataType::Int64 => Some(19),
        _ => None,
    }
}

/// Converts a batch of given rows; columns the rows lack become NULL.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a value does not fit, such as a time far out of range.
pub(crate) fn convert(fit: &Fit, batch: &RecordBatch) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(fit.sources.len());
    for (field, source) in fit.schema.fields().iter().zip(&fit.sources) {
        columns.push(match source.and_then(|index| batch.columns().get(index)) {
            Some(column) => cast(field, column)?,
            None => new_null_array(field.data_type(), rows),
        });
    }
    assemble(&fit.schema, columns, rows)
}

/// Gives a batch the columns of `schema`, such as rows of an older data file those the table has now:
/// with types as wide, in that order, and empty where it has none.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a value does not fit.
pub fn conform(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        columns.push(match batch.column_by_name(field.name()) {
            Some(column) => cast(field, column)?,
            None => new_null_array(field.data_type(), rows),
        });
    }
    assemble(schema, columns, rows)
}

fn assemble(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(SchemaRef::clone(schema), columns, &options)
        .map_err(|error| Error::internal("rows do not fit their schema").caused_by(error))
}

fn cast(field: &Field, column: &ArrayRef) -> Result<ArrayRef> {
    if column.data_type() == field.data_type() {
        return Ok(Arc::clone(column));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, field.data_type(), &options).map_err(|error| {
        Error::invalid(format!(
            "a value of column \"{}\" does not fit type {}",
            field.name(),
            field.data_type()
        ))
        .caused_by(error)
        .hint("Cast it in the sync's mapping or in the query; try_cast gives NULL where it does not fit.")
    })
}

#[cfg(test)]
mod tests;
