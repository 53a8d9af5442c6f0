//! `sum` of whole numbers that fails if what comes out is no bigint, where the engine's own begins anew at the other end.
//!
//! ```text
//! all rows, windows   added up with twice the digits; what comes out, or is handed on, must be a bigint
//! groups              added up as bigints; the first step that leaves them fails, also if a later one came back
//! ```
//! Sums of other types, and of each number once, are the engine's.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{ScalarValue, internal_datafusion_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, Expr, GroupsAccumulator,
    Operator, ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs,
};
use datafusion::physical_expr::NullState;
use flywheel_base::Error;

/// The function's name.
const SUM: &str = "sum";

/// Puts the function in the place of the engine's.
///
/// # Errors
/// If the engine lacks it.
pub(crate) fn with_sums(mut state: SessionState) -> Result<SessionState> {
    let plain = state.udaf(SUM)?;
    state.register_udaf(Arc::new(AggregateUDF::from(WholeSum { plain })))?;
    Ok(state)
}

/// The sum, by the engine's own where it is not one of bigints.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WholeSum {
    plain: Arc<AggregateUDF>,
}

impl WholeSum {
    fn inner(&self) -> &dyn AggregateUDFImpl {
        self.plain.inner().as_ref()
    }
}

/// Whether it is our own that adds up.
fn is_ours(arguments: &AccumulatorArgs<'_>) -> bool {
    !arguments.is_distinct && *arguments.return_field.data_type() == DataType::Int64
}

impl AggregateUDFImpl for WholeSum {
    fn name(&self) -> &'static str {
        SUM
    }

    fn signature(&self) -> &Signature {
        self.inner().signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner().return_type(arguments)
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match is_ours(&arguments) {
            true => Ok(Box::new(Total::default())),
            false => self.inner().accumulator(arguments),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner().state_fields(arguments)
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        self.inner().groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let ours = is_ours(&arguments);
        let plain = self.inner().create_groups_accumulator(arguments)?;
        if !ours {
            return Ok(plain);
        }
        Ok(Box::new(Totals { sums: Vec::new(), seen: NullState::new(), plain }))
    }

    fn create_sliding_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        match is_ours(&arguments) {
            true => Ok(Box::new(Total::default())),
            false => self.inner().create_sliding_accumulator(arguments),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner().reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner().order_sensitivity()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner().documentation()
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.inner().set_monotonicity(kind)
    }

    fn simplify_expr_op_literal(
        &self,
        function: &AggregateFunction,
        argument: &Expr,
        operator: Operator,
        literal: &Expr,
        is_left: bool,
    ) -> Result<Option<Expr>> {
        self.inner().simplify_expr_op_literal(function, argument, operator, literal, is_left)
    }

    fn value_from_stats(&self, arguments: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.inner().value_from_stats(arguments)
    }
}

fn too_large() -> DataFusionError {
    let error = Error::invalid("what sum(…) adds up is too large for bigint")
        .hint("Use a type with more digits, as in sum(cast(a as decimal(38, 0))).");
    DataFusionError::External(Box::new(error))
}

fn numbers(columns: &[ArrayRef]) -> Result<&Int64Array> {
    let numbers = columns.first().and_then(|column| column.as_primitive_opt::<Int64Type>());
    numbers.ok_or_else(|| internal_datafusion_err!("sum was given no bigints"))
}

/// All of the numbers together. Without NULLs the halves of the numbers are added up by themselves, which is fast.
fn total(numbers: &Int64Array) -> i128 {
    if numbers.null_count() > 0 {
        return numbers.iter().flatten().map(i128::from).sum();
    }
    let (mut high, mut low) = (0_i64, 0_i64);
    for &number in numbers.values().iter() {
        high += number >> 32;
        low += number & 0xffff_ffff;
    }
    (i128::from(high) << 32) + i128::from(low)
}

/// The sum of all rows, or of those in a window.
#[derive(Debug, Default)]
struct Total {
    sum: i128,
    /// How many numbers it is made of.
    count: usize,
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let numbers = numbers(values)?;
        self.sum += total(numbers);
        self.count += numbers.len() - numbers.null_count();
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let numbers = numbers(values)?;
        self.sum -= total(numbers);
        self.count = self.count.saturating_sub(numbers.len() - numbers.null_count());
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return Ok(ScalarValue::Int64(None));
        }
        let sum = i64::try_from(self.sum).map_err(|_| too_large())?;
        Ok(ScalarValue::Int64(Some(sum)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sums of groups.
struct Totals {
    sums: Vec<i64>,
    /// Which groups have a number.
    seen: NullState,
    /// The engine's own, which keeps nothing: it makes states of single rows.
    plain: Box<dyn GroupsAccumulator>,
}

impl GroupsAccumulator for Totals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()> {
        let numbers = numbers(values)?;
        self.sums.resize(group_count, 0);
        let (sums, mut left) = (&mut self.sums, false);
        self.seen.accumulate(groups, numbers, filter, group_count, |group, number| {
            if let Some(sum) = sums.get_mut(group) {
                let (made, wrapped) = sum.overflowing_add(number);
                *sum = made;
                left |= wrapped;
            }
        });
        if left { Err(too_large()) } else { Ok(()) }
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        group_count: usize,
    ) -> Result<()> {
        self.update_batch(values, groups, None, group_count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = emit_to.take_needed(&mut self.sums);
        let nulls = self.seen.build(emit_to);
        Ok(Arc::new(Int64Array::new(sums.into(), nulls)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.plain.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i64>() + self.seen.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_add_up_to_the_whole() {
        for numbers in [
            vec![],
            vec![0, -1, 1],
            vec![i64::MAX, i64::MAX, 1],
            vec![i64::MIN, i64::MIN, -1],
            vec![i64::MIN, i64::MAX, 4_294_967_296, -4_294_967_297],
        ] {
            let expected: i128 = numbers.iter().copied().map(i128::from).sum();
            assert_eq!(total(&Int64Array::from(numbers.clone())), expected, "{numbers:?}");
            let with_null: Int64Array = numbers.into_iter().map(Some).chain([None]).collect();
            assert_eq!(total(&with_null), expected);
        }
    }

    #[test]
    fn a_sum_may_leave_bigint_on_the_way_and_not_at_the_end() {
        let column = |numbers: Vec<i64>| vec![Arc::new(Int64Array::from(numbers)) as ArrayRef];
        let mut total = Total::default();
        assert_eq!(total.evaluate().unwrap(), ScalarValue::Int64(None));
        total.update_batch(&column(vec![i64::MAX, 5])).unwrap();
        assert!(total.evaluate().unwrap_err().to_string().contains("too large"));
        total.retract_batch(&column(vec![5])).unwrap();
        assert_eq!(total.evaluate().unwrap(), ScalarValue::Int64(Some(i64::MAX)));
    }
}
