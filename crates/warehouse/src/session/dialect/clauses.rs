//! Clauses of queries that the engine does not know: `semi join`, `anti join`, `order by all`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Join, JoinOperator, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr,
    TableFactor, Value, VisitorMut,
};
use flywheel_base::Error;

/// Puts them in words of ours.
pub(super) struct Clauses;

impl VisitorMut for Clauses {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        for table in &mut select.from {
            of_the_left(&mut table.joins);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Error> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = table {
            of_the_left(&mut table_with_joins.joins);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        order_by_all(query);
        ControlFlow::Continue(())
    }
}

/// Says that it is the left table whose rows `semi join` and `anti join` keep.
fn of_the_left(joins: &mut [Join]) {
    for join in joins {
        join.join_operator = match &join.join_operator {
            JoinOperator::Semi(on) => JoinOperator::LeftSemi(on.clone()),
            JoinOperator::Anti(on) => JoinOperator::LeftAnti(on.clone()),
            _ => continue,
        };
    }
}

/// Writes `order by all` as the numbers of the columns, where the query says how many these are.
fn order_by_all(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let Some(order) = &mut query.order_by else { return };
    let OrderByKind::Expressions(by) = &mut order.kind else { return };
    let [OrderByExpr { expr: Expr::Identifier(word), options, .. }] = by.as_slice() else { return };
    if word.quote_style.is_some() || !is_all(&word.value) {
        return;
    }
    let unclear = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(column)) => is_all(&column.value),
        SelectItem::UnnamedExpr(_) => false,
        SelectItem::ExprWithAlias { alias, .. } => is_all(&alias.value),
        // How many columns these are is not known here.
        _ => true,
    };
    if select.projection.iter().any(unclear) {
        return;
    }
    let options = *options;
    let columns = (1..=select.projection.len()).map(|at| OrderByExpr {
        expr: Expr::value(Value::Number(at.to_string(), false)),
        options,
        with_fill: None,
    });
    *by = columns.collect();
}

fn is_all(word: &str) -> bool {
    word.eq_ignore_ascii_case("all")
}
