//! Values that a statement assigns to a column: which types a column takes, and how they are converted.
//!
//! As in PostgreSQL, an assignment converts: numbers are rounded to the column's digits, text is read
//! as what the column holds, moments become the texts that a cast makes of them. A value that does not
//! fit is an error, never a NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use flywheel_base::{Error, Result};

use super::{DECIMAL_DIGITS_MAX, holds};
use crate::Location;
use crate::failure::{from_arrow, from_engine};
use crate::session::moment_texts;

/// Whether a column can be assigned values of type `given`.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] that names column, table and both types.
pub(crate) fn check(location: &Location, column: &Field, given: &DataType) -> Result<()> {
    if takes(column.data_type(), given) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "column \"{}\" of table \"{}\" is {} and cannot be assigned {given}",
        column.name(),
        location.table(),
        column.data_type()
    ))
    .hint("Write a value of the column's type, or cast(… as …) it."))
}

/// Converts assigned values, whose type [`check`] has let through.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a value is no number, date or moment, or out of range.
pub(crate) fn convert(column: &Field, values: &ArrayRef) -> Result<ArrayRef> {
    let values = match values.data_type() {
        DataType::Timestamp(..) if is_text(column.data_type()) => {
            moment_texts::texts(values, true).map_err(from_engine)?
        }
        _ => rounded(column.data_type(), values)?,
    };
    super::cast(column, &values)
}

/// Refuses NULLs where a table of another program allows none.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] that names column and table.
pub(crate) fn check_nulls(location: &Location, column: &Field, values: &ArrayRef) -> Result<()> {
    if column.is_nullable() || values.null_count() == 0 {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "column \"{}\" of table \"{}\" is NOT NULL and would be NULL in {} rows",
        column.name(),
        location.table(),
        values.null_count()
    ))
    .hint("Assign a value to it, for instance with coalesce(…)."))
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn takes(column: &DataType, given: &DataType) -> bool {
    let is_moment = |kind: &DataType| {
        matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
    };
    if holds(column, given) || (column.is_numeric() && given.is_numeric()) {
        return true;
    }
    if is_text(given) {
        return is_text(column)
            || column.is_numeric()
            || is_moment(column)
            || *column == DataType::Boolean
            || *column == DataType::Binary;
    }
    let is_binary =
        matches!(given, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    (is_moment(column) && is_moment(given))
        || (*column == DataType::Binary && is_binary)
        || (is_text(column) && (given.is_numeric() || is_moment(given)))
        || (is_text(column) && *given == DataType::Boolean)
}

/// Fractions on their way into whole numbers, rounded: half to even for floating-point numbers, half
/// away from zero for decimals, as PostgreSQL does. The engine's own cast would cut them off.
fn rounded(target: &DataType, values: &ArrayRef) -> Result<ArrayRef> {
    if !target.is_integer() {
        return Ok(Arc::clone(values));
    }
    Ok(match values.data_type() {
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>();
            Arc::new(values.unary::<_, Float32Type>(f32::round_ties_even))
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            Arc::new(values.unary::<_, Float64Type>(f64::round_ties_even))
        }
        DataType::Decimal128(_, scale) if *scale > 0 => {
            cast(values, &DataType::Decimal128(DECIMAL_DIGITS_MAX, 0)).map_err(from_arrow)?
        }
        _ => Arc::clone(values),
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float64Array, Int64Array, StringArray};

    use super::*;

    fn column(data_type: DataType) -> Field {
        Field::new("n", data_type, true)
    }

    #[test]
    fn fractions_are_rounded_as_postgresql_rounds_them() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 1.5, -2.5, 2.6]));
        let whole = convert(&column(DataType::Int64), &floats).unwrap();
        assert_eq!(whole.as_ref(), &Int64Array::from(vec![0, 2, -2, 3]));
        let cents = Decimal128Array::from(vec![50, 150, -250]);
        let cents: ArrayRef = Arc::new(cents.with_precision_and_scale(10, 2).unwrap());
        let whole = convert(&column(DataType::Int64), &cents).unwrap();
        assert_eq!(whole.as_ref(), &Int64Array::from(vec![1, 2, -3]));
        let finer: ArrayRef = Arc::new(Float64Array::from(vec![1.005, 2.678]));
        let money = convert(&column(DataType::Decimal128(10, 2)), &finer).unwrap();
        assert_eq!(money.as_primitive::<arrow::datatypes::Decimal128Type>().value(1), 268);
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error_and_no_null() {
        let big: ArrayRef = Arc::new(Int64Array::from(vec![1 << 40]));
        assert!(convert(&column(DataType::Int32), &big).unwrap_err().hint_text().is_some());
        let text: ArrayRef = Arc::new(StringArray::from(vec!["2024-02-30"]));
        assert!(convert(&column(DataType::Date32), &text).is_err());
        let location = Location::new("raw/x").unwrap();
        let error = check(&location, &column(DataType::Int64), &DataType::Boolean).unwrap_err();
        assert!(error.message().contains("\"n\"") && error.message().contains("raw.x"));
        check(&location, &column(DataType::Date32), &DataType::Utf8).unwrap();
        let column = Field::new("n", DataType::Int64, false);
        let nulls: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(1)]));
        assert!(
            check_nulls(&location, &column, &nulls).unwrap_err().message().contains("NOT NULL")
        );
    }
}
