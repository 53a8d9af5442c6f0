//! `days_between(a, b)`: calendar days from one date to another.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array};
use arrow::datatypes::{DataType, Date32Type};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::Function;

/// The entry in the list of functions.
pub(super) const FUNCTION: Function = Function {
    usage: "days_between(a, b)",
    about: "Counts calendar days in UTC from a to b, negative if b is earlier; takes dates, times and text.",
    make: || ScalarUDF::from(DaysBetween::default()),
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct DaysBetween {
    signature: Signature,
}

impl Default for DaysBetween {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for DaysBetween {
    fn name(&self) -> &'static str {
        "days_between"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let date = |given: &DataType| {
            let fits = given.is_temporal() || given.is_null() || given.is_string();
            fits && !matches!(given, DataType::Time32(_) | DataType::Time64(_))
                && !matches!(given, DataType::Duration(_) | DataType::Interval(_))
        };
        if arguments.len() != 2 || !arguments.iter().all(date) {
            return datafusion::common::plan_err!("days_between(a, b) takes two dates or times");
        }
        Ok(vec![DataType::Date32; 2])
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [from, to] = columns.as_slice() else {
            return datafusion::common::internal_err!("days_between takes two arguments");
        };
        let (from, to) = (from.as_primitive::<Date32Type>(), to.as_primitive::<Date32Type>());
        let days = |row: usize| {
            let known = from.is_valid(row) && to.is_valid(row);
            known.then(|| i64::from(to.value(row)) - i64::from(from.value(row)))
        };
        Ok(ColumnarValue::Array(Arc::new((0..from.len()).map(days).collect::<Int64Array>())))
    }
}
