//! `is_workday(day, calendar)`: whether people work.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{Function, days};

/// The entry in the list of functions.
pub(super) const FUNCTION: Function = Function {
    usage: "is_workday(day, calendar)",
    about: "Says whether people work on a day, 'cn' with the weekend days that are worked instead (调休), 'us' or 'uk'; NULL where the day is. Years from 2000 to 2099; other days are of the week alone.",
    make: || ScalarUDF::from(IsWorkday::default()),
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct IsWorkday {
    signature: Signature,
}

impl Default for IsWorkday {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for IsWorkday {
    fn name(&self) -> &'static str {
        "is_workday"
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
            return datafusion::common::internal_err!("is_workday takes two arguments");
        };
        let found = days::each(dates, calendars, |_, day| Ok(Some(day.kind.is_worked())))?;
        Ok(ColumnarValue::Array(Arc::new(found.into_iter().collect::<BooleanArray>())))
    }
}
