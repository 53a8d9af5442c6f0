//! `mode(x)`: the value that is there most often.
//!
//! The engine (DataFusion 55.2) has no such aggregate. Of values that are there equally often it is the smallest one, so that the answer
//! does not hang on the order of rows. NULLs do not count.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{ScalarValue, internal_err};
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

/// The function's name.
const MODE: &str = "mode";

/// Adds the function to what a session knows.
///
/// # Errors
/// If the engine takes none.
pub(crate) fn with_mode(mut state: SessionState) -> Result<SessionState> {
    state.register_udaf(Arc::new(AggregateUDF::from(Mode::default())))?;
    Ok(state)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mode {
    signature: Signature,
}

impl Default for Mode {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Mode {
    fn name(&self) -> &'static str {
        MODE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [kind] => Ok(kind.clone()),
            _ => internal_err!("mode takes one value"),
        }
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let kind = arguments.return_field.data_type().clone();
        Ok(Box::new(Counts { kind, counts: HashMap::new(), value_bytes: 0 }))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |name: &str, kind: DataType| {
            let name = format_state_name(arguments.name, name);
            Arc::new(Field::new_list(name, Field::new_list_field(kind, true), true))
        };
        let kind = arguments.return_field.data_type().clone();
        Ok(vec![list("values", kind), list("counts", DataType::Int64)])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// How often each value is there.
#[derive(Debug)]
struct Counts {
    kind: DataType,
    counts: HashMap<ScalarValue, i64>,
    /// What the values take beyond their own size.
    value_bytes: usize,
}

impl Counts {
    fn add(&mut self, value: ScalarValue, count: i64) {
        let bytes = value.size().saturating_sub(size_of::<ScalarValue>());
        let value_bytes = &mut self.value_bytes;
        *self.counts.entry(value).or_insert_with(|| {
            *value_bytes += bytes;
            0
        }) += count;
    }

    /// Counts each value of a column once, or takes it back.
    fn add_all(&mut self, columns: &[ArrayRef], count: i64) -> Result<()> {
        let [values] = columns else { return internal_err!("mode takes one value") };
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            self.add(ScalarValue::try_from_array(values, row)?, count);
        }
        Ok(())
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.add_all(columns, 1)
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.add_all(columns, -1)?;
        self.counts.retain(|_, count| *count > 0);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values, counts] = states else { return internal_err!("mode has two states") };
        let (values, counts) = (values.as_list::<i32>(), counts.as_list::<i32>());
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            let (values, counts) = (values.value(row), counts.value(row));
            for (at, count) in counts.as_primitive::<Int64Type>().values().iter().enumerate() {
                self.add(ScalarValue::try_from_array(&values, at)?, *count);
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (values, counts): (Vec<ScalarValue>, Vec<ScalarValue>) =
            self.counts.drain().map(|(value, count)| (value, ScalarValue::from(count))).unzip();
        self.value_bytes = 0;
        Ok(vec![
            ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.kind)),
            ScalarValue::List(ScalarValue::new_list_nullable(&counts, &DataType::Int64)),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let most = self.counts.iter().max_by(|(value, count), (other, others)| {
            let smaller = other.partial_cmp(value).unwrap_or(Ordering::Equal);
            count.cmp(others).then(smaller)
        });
        match most {
            Some((value, _)) => Ok(value.clone()),
            None => ScalarValue::try_from(&self.kind),
        }
    }

    fn size(&self) -> usize {
        let entries = self.counts.capacity() * size_of::<(ScalarValue, i64)>();
        size_of_val(self) + entries + self.value_bytes
    }
}
