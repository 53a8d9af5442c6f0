//! What the functions on days of a calendar share.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type};
use datafusion::common::{DataFusionError, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};
use flywheel_base::holiday::{Day, HolidayCalendar, Year};

/// The types of a date and `texts` texts behind it.
pub(super) fn coerce(usage: &str, texts: usize, arguments: &[DataType]) -> Result<Vec<DataType>> {
    let date = |given: &DataType| {
        matches!(given, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..))
            || given.is_null()
            || given.is_string()
    };
    let text = |given: &DataType| given.is_null() || given.is_string();
    let fits = match arguments.split_first() {
        Some((first, rest)) => date(first) && rest.len() == texts && rest.iter().all(text),
        None => false,
    };
    if !fits {
        return plan_err!("{usage} takes a date or time, and texts behind it");
    }
    let mut types = vec![DataType::Date32];
    types.resize(texts + 1, DataType::Utf8);
    Ok(types)
}

/// The arguments as columns.
pub(super) fn columns(arguments: &ScalarFunctionArgs) -> Result<Vec<ArrayRef>> {
    ColumnarValue::values_to_arrays(&arguments.args)
}

/// What each row's day is in its row's calendar, `None` where either is null; a year is looked up once.
pub(super) fn each<T>(
    dates: &ArrayRef,
    calendars: &ArrayRef,
    what: impl Fn(usize, Day) -> Result<Option<T>>,
) -> Result<Vec<Option<T>>> {
    let (dates, calendars) = (dates.as_primitive::<Date32Type>(), calendars.as_string::<i32>());
    let mut years: BTreeMap<(HolidayCalendar, i32), Year> = BTreeMap::new();
    let mut found = Vec::with_capacity(dates.len());
    for row in 0..dates.len() {
        if dates.is_null(row) || calendars.is_null(row) {
            found.push(None);
            continue;
        }
        let calendar =
            HolidayCalendar::parse(calendars.value(row)).map_err(|error| told(&error))?;
        let Some(date) = dates.value_as_date(row) else {
            found.push(None);
            continue;
        };
        let year = chrono::Datelike::year(&date);
        let days = years.entry((calendar, year)).or_insert_with(|| calendar.year(year));
        found.push(what(row, days.day(date))?);
    }
    Ok(found)
}

/// An error of ours, with what to do.
pub(super) fn told(error: &flywheel_base::Error) -> DataFusionError {
    let hint = error.hint_text().unwrap_or_default().to_owned();
    DataFusionError::Execution(format!("{}. {hint}", error.message()))
}
