//! `safe_divide(a, b)`: a ratio that does not fail.

use arrow::array::{Array, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::cast::as_float64_array;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::Function;

/// The entry in the list of functions.
pub(super) const FUNCTION: Function = Function {
    usage: "safe_divide(a, b)",
    about: "Divides as floating-point numbers; NULL where b is 0 or one of both is NULL.",
    make: || ScalarUDF::from(SafeDivide::default()),
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct SafeDivide {
    signature: Signature,
}

impl Default for SafeDivide {
    fn default() -> Self {
        let numbers = vec![DataType::Float64, DataType::Float64];
        Self { signature: Signature::exact(numbers, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for SafeDivide {
    fn name(&self) -> &'static str {
        "safe_divide"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [a, b] = columns.as_slice() else {
            return datafusion::common::internal_err!("safe_divide takes two arguments");
        };
        let (a, b) = (as_float64_array(a)?, b.as_primitive::<Float64Type>());
        let ratio = |row: usize| {
            let known = a.is_valid(row) && b.is_valid(row) && b.value(row) != 0.0;
            known.then(|| a.value(row) / b.value(row))
        };
        Ok(ColumnarValue::Array(std::sync::Arc::new(
            (0..a.len()).map(ratio).collect::<Float64Array>(),
        )))
    }
}
