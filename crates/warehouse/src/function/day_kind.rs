//! `day_kind(day, calendar)`: what a day is.

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{Function, days};

/// The entry in the list of functions.
pub(super) const FUNCTION: Function = Function {
    usage: "day_kind(day, calendar)",
    about: "Says what a day is in the calendar 'cn', 'us' or 'uk': workday, weekend, holiday or make-up-workday.",
    make: || ScalarUDF::from(DayKindOf::default()),
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct DayKindOf {
    signature: Signature,
}

impl Default for DayKindOf {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for DayKindOf {
    fn name(&self) -> &'static str {
        "day_kind"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        days::coerce(FUNCTION.usage, 1, arguments)
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = days::columns(&arguments)?;
        let [dates, calendars] = columns.as_slice() else {
            return datafusion::common::internal_err!("day_kind takes two arguments");
        };
        let found = days::each(dates, calendars, |_, day| Ok(Some(day.kind.word())))?;
        Ok(ColumnarValue::Array(Arc::new(found.into_iter().collect::<StringArray>())))
    }
}
