//! `holiday_name(day, calendar, language)`: what a holiday is called.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{Function, days};

/// The entry in the list of functions.
pub(super) const FUNCTION: Function = Function {
    usage: "holiday_name(day, calendar, language)",
    about: "Names the holiday of a day in 'cn', 'us' or 'uk', in 'en' or 'zh'; NULL where it has no name.",
    make: || ScalarUDF::from(HolidayName::default()),
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct HolidayName {
    signature: Signature,
}

impl Default for HolidayName {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for HolidayName {
    fn name(&self) -> &'static str {
        "holiday_name"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        days::coerce(FUNCTION.usage, 2, arguments)
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = days::columns(&arguments)?;
        let [dates, calendars, languages] = columns.as_slice() else {
            return datafusion::common::internal_err!("holiday_name takes three arguments");
        };
        let languages = languages.as_string::<i32>();
        let found = days::each(dates, calendars, |row, day| {
            if languages.is_null(row) {
                return Ok(None);
            }
            match languages.value(row) {
                "en" => Ok(day.holiday.map(|holiday| holiday.en)),
                "zh" => Ok(day.holiday.map(|holiday| holiday.zh)),
                other => exec_err!("holidays have no names in \"{other}\". Write 'en' or 'zh'."),
            }
        })?;
        Ok(ColumnarValue::Array(Arc::new(found.into_iter().collect::<StringArray>())))
    }
}
