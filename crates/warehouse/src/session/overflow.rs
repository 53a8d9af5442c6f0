//! Refuses sums, differences and products of whole numbers that their type does not hold.
//!
//! The engine (DataFusion 55.2) begins anew at the other end: `9223372036854775807 + 1` was a negative number. Here the calculation is
//! one of a function that fails then, as in DuckDB and PostgreSQL. The query is told apart, described and traced with what was
//! written; only the plan that runs has the functions:
//!
//! ```text
//! before all rules    constants, which the engine computes: one that does not fit fails where its row is needed, and not in a
//!                     branch of CASE that is never taken
//! after all rules     the rest, so that rules which know operators see them; constants that they put together are computed next
//! ```
//! Numbers without a sign, such as those of row_number(), go on as before: what is left of them below zero is not what anyone asked
//! for, but groups by it are right.
//!
//! Conditions that only help to leave out files of a table are looked after, too: a constant that began anew would leave out all.

mod sum;

use std::sync::Arc;

use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_expr_common::datum::apply;
use flywheel_base::Error;

use super::decimals::schema_of;

pub(crate) use self::sum::with_sums;

/// How many calculations within each other are looked after; a function takes more of a thread's stack than an operator does.
const DEPTH_MAX: usize = 100;

/// The rule, which comes twice.
#[derive(Debug)]
pub(crate) enum WholeNumbersFit {
    /// What has no column; before the rules that compute constants.
    Constants,
    /// All that is left; after every other rule.
    All,
}

impl WholeNumbersFit {
    /// Whether a calculation is looked after now.
    fn concerns(&self, expr: &Expr) -> bool {
        match self {
            Self::Constants => is_constant(expr),
            Self::All => true,
        }
    }
}

impl OptimizerRule for WholeNumbersFit {
    fn name(&self) -> &'static str {
        match self {
            Self::Constants => "constants_fit",
            Self::All => "whole_numbers_fit",
        }
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let concerns = |part: &Expr| calculation(part).is_some() && self.concerns(part);
        let mut found = false;
        plan.apply_expressions(|expr| {
            found = expr.exists(|part| Ok(concerns(part)))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        if !found {
            return Ok(Transformed::no(plan));
        }
        let schema = schema_of(&plan)?;
        // The order within an aggregate is part of its name, by how it is displayed.
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let fitted = expr.transform_up(|expr| {
                Ok(if concerns(&expr) { checked(expr, &schema) } else { Transformed::no(expr) })
            })?;
            Ok(fitted.update_data(|expr| name.restore(expr)))
        })
    }
}

/// Whether an expression has the same value in every row. Of a calculation the right side is looked at first, which is mostly the
/// shorter one.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(pair) => is_constant(&pair.right) && is_constant(&pair.left),
        other => !(other.any_column_refs() || other.contains_outer()),
    }
}

/// What is calculated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Calculation {
    Sum,
    Difference,
    Product,
}

impl Calculation {
    fn sign(self) -> char {
        match self {
            Self::Sum => '+',
            Self::Difference => '-',
            Self::Product => '*',
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Difference => "difference",
            Self::Product => "product",
        }
    }

    /// How EXPLAIN calls it.
    fn function(self) -> &'static str {
        match self {
            Self::Sum => "plus",
            Self::Difference => "minus",
            Self::Product => "times",
        }
    }
}

/// What an expression calculates, of whatever type.
fn calculation(expr: &Expr) -> Option<Calculation> {
    let Expr::BinaryExpr(pair) = expr else { return None };
    Some(match pair.op {
        Operator::Plus => Calculation::Sum,
        Operator::Minus => Calculation::Difference,
        Operator::Multiply => Calculation::Product,
        _ => return None,
    })
}

/// One calculation, by a function if it is one of whole numbers.
fn checked(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let (Some(calculation), Expr::BinaryExpr(pair)) = (calculation(&expr), &expr) else {
        return Transformed::no(expr);
    };
    let kind = kind_of(&pair.right, schema).filter(DataType::is_signed_integer);
    let fits = kind.is_some_and(|kind| {
        !is_deeper(&pair.left, DEPTH_MAX)
            && !is_deeper(&pair.right, DEPTH_MAX)
            && kind_of(&pair.left, schema).is_some_and(|left| left == kind)
    });
    match expr {
        Expr::BinaryExpr(pair) if fits => {
            let function = Arc::new(ScalarUDF::from(Checked::new(calculation)));
            let sides = vec![*pair.left, *pair.right];
            Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, sides)))
        }
        other => Transformed::no(other),
    }
}

/// The type of an expression; that of a calculation is the one of both sides, and mostly the right one is the shorter one.
fn kind_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    match expr {
        Expr::ScalarFunction(call) if call.func.inner().is::<Checked>() => {
            call.args.last().and_then(|side| kind_of(side, schema))
        }
        other => other.get_type(schema).ok(),
    }
}

/// Whether more than so many calculations stand within each other.
fn is_deeper(expr: &Expr, most: usize) -> bool {
    let within = |part: &Expr| match most.checked_sub(1) {
        Some(less) => is_deeper(part, less),
        None => true,
    };
    match expr {
        Expr::ScalarFunction(call) if call.func.inner().is::<Checked>() => {
            call.args.iter().any(within)
        }
        Expr::BinaryExpr(pair) if calculation(expr).is_some() => {
            within(&pair.left) || within(&pair.right)
        }
        _ => false,
    }
}

/// A calculation of two whole numbers of one type that fails if the type does not hold what comes out.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    signature: Signature,
    calculation: Calculation,
}

impl Checked {
    fn new(calculation: Calculation) -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable), calculation }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &'static str {
        self.calculation.function()
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        let [left, right] = arguments else {
            return internal_err!("{} has two sides", self.name());
        };
        Ok(format!("{} {} {}", left.schema_name(), self.calculation.sign(), right.schema_name()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [kind, _] => Ok(kind.clone()),
            _ => internal_err!("{} has two sides", self.name()),
        }
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [left, right] = arguments.arg_fields else {
            return internal_err!("{} has two sides", self.name());
        };
        let nullable = left.is_nullable() || right.is_nullable();
        Ok(Arc::new(Field::new(self.name(), left.data_type().clone(), nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = arguments.args.as_slice() else {
            return internal_err!("{} has two sides", self.name());
        };
        let answer = match self.calculation {
            Calculation::Sum => apply(left, right, numeric::add),
            Calculation::Difference => apply(left, right, numeric::sub),
            Calculation::Product => apply(left, right, numeric::mul),
        };
        answer.map_err(|error| match error {
            DataFusionError::ArrowError(inner, _)
                if matches!(*inner, ArrowError::ArithmeticOverflow(_)) =>
            {
                let kind = named(&left.data_type());
                let sign = self.calculation.sign();
                let message = format!("a {} is too large for {kind}", self.calculation.word());
                let hint = format!(
                    "Use a type with more digits, as in cast(a as decimal(38, 0)) {sign} b."
                );
                DataFusionError::External(Box::new(Error::invalid(message).hint(hint)))
            }
            other => other,
        })
    }
}

/// What SQL calls a type of whole numbers.
fn named(kind: &DataType) -> &'static str {
    match kind {
        DataType::Int8 => "tinyint",
        DataType::Int16 => "smallint",
        DataType::Int32 => "int",
        _ => "bigint",
    }
}
