//! `recommend('learner', unit, k)`: a unit's list, which stands in the place of a table.
//!
//! Before a statement is planned the call becomes a query over the learner's table, so that rules, lineage and
//! versions are those of that table (`session/learned`). What is left here is the call in any other place.

use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::Function;

/// The entry in the list of functions.
pub(super) const FUNCTION: Function = Function {
    usage: "recommend('learner', unit, k)",
    about: "In the place of a table: the first `k` items (10 if left out) that a recommend learner has for one unit, as rows of rank, item_id, score, reason and source; everybody's list for a unit it does not know.",
    make: || ScalarUDF::from(Recommend::default()),
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Recommend {
    signature: Signature,
}

impl Default for Recommend {
    fn default() -> Self {
        Self { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Recommend {
    fn name(&self) -> &'static str {
        "recommend"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        datafusion::common::plan_err!(
            "recommend(…) is a table: write `select item_id from recommend('learner', 'unit', 10)`"
        )
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        datafusion::common::internal_err!("recommend is no function of values")
    }
}
