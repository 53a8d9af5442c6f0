//! A mask as a function of the engine.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::MaskValues;

/// The mask of one column.
#[derive(Debug)]
struct Masking {
    mask: Arc<dyn MaskValues>,
    signature: Signature,
    kind: DataType,
}

// Two masks are the same if they are one: their settings hold keys, which nobody compares.
impl PartialEq for Masking {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mask, &other.mask) && self.kind == other.kind
    }
}

impl Eq for Masking {}

impl Hash for Masking {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.mask).cast::<()>().hash(state);
        self.kind.hash(state);
    }
}

impl ScalarUDFImpl for Masking {
    fn name(&self) -> &'static str {
        "masked"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.kind.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(column) = columns.first() else {
            return Err(exec_datafusion_err!("a mask without a column"));
        };
        let masked = self.mask.mask(column);
        masked
            .map(ColumnarValue::Array)
            .map_err(|error| datafusion::error::DataFusionError::External(Box::new(error)))
    }
}

/// The call of a mask.
pub(super) fn call(mask: Arc<dyn MaskValues>, kind: &DataType, column: Expr) -> Expr {
    let signature = Signature::any(1, Volatility::Stable);
    let udf = ScalarUDF::new_from_impl(Masking { mask, signature, kind: kind.clone() });
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(udf), vec![column]))
}
