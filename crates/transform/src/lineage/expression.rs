//! The expression an output column is computed by, as a person would write it.

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

/// Longer expressions are not shown.
const EXPRESSION_CHARS_MAX: usize = 400;

/// How many nodes are walked down.
const NODES_MAX: usize = 64;

/// The expression of the output column at `index`: that of the nearest node that computes anything.
pub(super) fn of(plan: &LogicalPlan, index: usize) -> Option<String> {
    let mut plan = plan;
    let mut index = index;
    for _ in 0..NODES_MAX {
        match plan {
            LogicalPlan::Projection(node) => {
                let expr = bare(node.expr.get(index)?);
                let Expr::Column(column) = expr else { return shown(expr) };
                index = node.input.schema().maybe_index_of_column(column)?;
                plan = &node.input;
            }
            LogicalPlan::Aggregate(node) => {
                let expr = match index.checked_sub(node.group_expr.len()) {
                    None => node.group_expr.get(index)?,
                    Some(index) => node.aggr_expr.get(index)?,
                };
                return shown(bare(expr));
            }
            LogicalPlan::Window(node) => {
                match index.checked_sub(node.input.schema().fields().len()) {
                    None => plan = &node.input,
                    Some(index) => return shown(bare(node.window_expr.get(index)?)),
                }
            }
            LogicalPlan::SubqueryAlias(node) => plan = &node.input,
            LogicalPlan::Filter(node) => plan = &node.input,
            LogicalPlan::Sort(node) => plan = &node.input,
            LogicalPlan::Limit(node) => plan = &node.input,
            LogicalPlan::Distinct(Distinct::All(input)) => plan = input,
            _ => return None,
        }
    }
    None
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        other => other,
    }
}

fn shown(expr: &Expr) -> Option<String> {
    if let Expr::Column(_) = expr {
        return None;
    }
    let expr = expr.clone().transform(|expr| Ok(in_words(expr))).ok()?.data;
    let text = expr.human_display().to_string();
    (text.chars().count() <= EXPRESSION_CHARS_MAX).then_some(text)
}

/// A text in its quotes, which the engine leaves out or replaces by the name of its type, and a moment that becomes a text as the
/// cast that was written; a name is shown as it is.
fn in_words(expr: Expr) -> Transformed<Expr> {
    let Expr::Literal(value, _) = &expr else { return flywheel_warehouse::as_cast(expr) };
    let Some(Some(text)) = value.try_as_str() else { return Transformed::no(expr) };
    let text = format!("'{}'", text.replace('\'', "''"));
    Transformed::yes(Expr::Column(Column::new_unqualified(text)))
}
