//! Lets conditions have their constant on the right before the engine compares them with each other.
//!
//! The rule of the engine that moves conditions also leaves out those that others imply (DataFusion 55.2,
//! `simplify_predicates`), and takes it that the constant of each is on the right. Two equalities of a column that were not
//! written alike contradicted each other, so `c = 1.5 and 1.5 = c` found no row; of `c >= 1.5 and 1.5 < c` it kept the
//! weaker one. The engine turns comparisons around itself, but before it computes constants: what is cast to the column's
//! type (`1.5` for a decimal, a text for a date), computed (`1 + 1`) or a column of a subquery (`select 1 as k`) is none yet.
//!
//! ```text
//! 1.5 < c and c >= 1.5     ─►   c > 1.5 and c >= 1.5     ─►   c > 1.5
//! ```

use std::mem;
use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, Operator};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// The engine's rule that moves conditions.
pub(crate) const MOVES_CONDITIONS: &str = "push_down_filter";

/// The engine's rule, over conditions whose constants are on the right.
#[derive(Debug)]
pub(crate) struct ConstantsRight(pub(crate) Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for ConstantsRight {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        mut plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let turned = match &mut plan {
            LogicalPlan::Filter(filter) => turn_filters(filter),
            _ => false,
        };
        let mut moved = self.0.rewrite(plan, config)?;
        moved.transformed |= turned;
        Ok(moved)
    }
}

/// Turns the conditions of a filter, and of filters right below, which the rule merges with it; whether any was turned.
fn turn_filters(filter: &mut Filter) -> bool {
    let mut turned = turn(&mut filter.predicate);
    if matches!(filter.input.as_ref(), LogicalPlan::Filter(_))
        && let LogicalPlan::Filter(below) = Arc::make_mut(&mut filter.input)
    {
        turned |= turn_filters(below);
    }
    turned
}

/// Turns each of the conditions that must all hold; whether any was turned.
fn turn(condition: &mut Expr) -> bool {
    let mut turned = false;
    let mut open = vec![condition];
    while let Some(condition) = open.pop() {
        match condition {
            Expr::Alias(alias) => open.push(&mut alias.expr),
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                open.extend([&mut **left, &mut **right]);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let backwards = matches!((&**left, &**right), (Expr::Literal(..), Expr::Column(_)));
                if backwards && let Some(swapped) = op.swap() {
                    mem::swap(left, right);
                    *op = swapped;
                    turned = true;
                }
            }
            _ => {}
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};
    use datafusion::optimizer::Optimizer;

    use super::*;

    #[test]
    fn each_condition_has_its_constant_on_the_right() {
        let written = |turned: bool| {
            let (five, six) = (lit(5), lit(6));
            match turned {
                false => five.lt(col("c")).and(six.clone().eq(col("c"))).and(six.gt_eq(col("d"))),
                true => col("c").gt(five).and(col("c").eq(six.clone())).and(col("d").lt_eq(six)),
            }
        };
        let mut conditions = written(false);
        assert!(turn(&mut conditions));
        assert_eq!(conditions, written(true));
        assert!(!turn(&mut conditions), "once");
        let either = lit(5).eq(col("c")).or(col("c").eq(lit(6)));
        let mut untouched = either.clone();
        assert!(!turn(&mut untouched));
        assert_eq!(untouched, either, "what is one condition of two is not compared");
    }

    #[test]
    fn the_engine_has_the_rule() {
        let rules = Optimizer::new().rules;
        assert_eq!(rules.iter().filter(|rule| rule.name() == MOVES_CONDITIONS).count(), 1);
    }
}
