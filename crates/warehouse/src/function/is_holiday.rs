//! `is_holiday(day, calendar)`: whether a day is off for a holiday.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use flywheel_base::holiday::DayKind;

use super::{Function, days};

/// The entry in the list of functions.
pub(super) const FUNCTION: Function = Function {
    usage: "is_holiday(day, calendar)",
    about: "Says whether a day is off for a public holiday of 'cn', 'us' or 'uk'; a weekend alone is none.",
    make: || ScalarUDF::from(IsHoliday::default()),
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct IsHoliday {
    signature: Signature,
}

impl Default for IsHoliday {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for IsHoliday {
    fn name(&self) -> &'static str {
        "is_holiday"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        days::coerce(FUNCTION.usage, 1, arguments)
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = days::columns(&arguments)?;
        let [dates, calendars] = columns.as_slice() else {
            return datafusion::common::internal_err!("is_holiday takes two arguments");
        };
        let found = days::each(dates, calendars, |_, day| Ok(Some(day.kind == DayKind::Holiday)))?;
        Ok(ColumnarValue::Array(Arc::new(found.into_iter().collect::<BooleanArray>())))
    }
}
