//! `rule: expression`: SQL over what both sides have.

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use flywheel_base::{Error, Result};
use flywheel_reconcile::three_way::{Clash, Expressions};
use flywheel_warehouse::Lake;
use serde_json::Value;
use std::sync::Arc;

use super::side::json_values;

/// Evaluates expressions with the lake's engine.
pub(super) struct Sql<'a> {
    pub(super) lake: &'a Lake,
}

impl Expressions for Sql<'_> {
    fn evaluate(&self, sql: &str, clash: &Clash<'_>) -> Result<Value> {
        let values = [clash.left, clash.right, clash.base];
        let columns = ["left", "right", "base"].into_iter().zip(arrays(&values));
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, a)| (n, a, true)))
            .map_err(|error| Error::internal("a clash is no row").caused_by(error))?;
        let result = self.lake.evaluate(sql, &batch)?;
        Ok(json_values(&result)?.into_iter().next().unwrap_or_default())
    }
}

/// The values as columns of one row, all of the same type: numbers if all of them are, else text.
pub(crate) fn arrays(values: &[&Value]) -> Vec<ArrayRef> {
    let all = |is: fn(&Value) -> bool| values.iter().all(|value| value.is_null() || is(value));
    let each = |make: &dyn Fn(&Value) -> ArrayRef| values.iter().map(|value| make(value)).collect();
    if all(Value::is_boolean) {
        return each(&|value| Arc::new(BooleanArray::from(vec![value.as_bool()])));
    }
    if all(|value| value.is_i64()) {
        return each(&|value| Arc::new(Int64Array::from(vec![value.as_i64()])));
    }
    if all(Value::is_number) {
        return each(&|value| Arc::new(Float64Array::from(vec![value.as_f64()])));
    }
    each(&|value| {
        let text = match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        Arc::new(StringArray::from(vec![text]))
    })
}
