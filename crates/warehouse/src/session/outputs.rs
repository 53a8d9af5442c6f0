//! Columns of an answer that a query says once more.
//!
//! - `select kind, sum(amount) as amount … order by sum(amount)`: in `order by` the engine (DataFusion 55.2) takes the second
//!   `amount` for the first and has two sums of one name. What is a column of the answer is sorted by that column's name.
//! - `with t(x, y) as (select 1, 1 …)`: it refuses two columns of one name, though they have other names around it. They are called
//!   so at once.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Ident, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, TableAlias,
    TableFactor, VisitMut, VisitorMut,
};
use flywheel_base::Error;

use super::parameters::folded;

/// Says such columns by their names.
pub(super) struct OwnColumns;

impl VisitorMut for OwnColumns {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            called(&mut table.query.body, &table.alias);
        }
        if let (SetExpr::Select(select), Some(OrderBy { kind: OrderByKind::Expressions(by), .. })) =
            (query.body.as_ref(), &mut query.order_by)
        {
            let answer = repeated(select);
            if answer.is_empty() {
                return ControlFlow::Continue(());
            }
            let mut sorted = Sorted { answer, depth: 0 };
            for by in by {
                by.expr.visit(&mut sorted)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        if let TableFactor::Derived { subquery, alias: Some(alias), .. } = factor {
            called(&mut subquery.body, alias);
        }
        ControlFlow::Continue(())
    }
}

/// Gives columns that say the same the names that they have around the query.
fn called(body: &mut SetExpr, alias: &TableAlias) {
    match body {
        SetExpr::Select(select) if select.projection.len() == alias.columns.len() => {
            let twice = |place: usize, item: &SelectItem| {
                let before = select.projection.iter().take(place);
                before.chain(select.projection.iter().skip(place + 1)).any(|other| other == item)
            };
            let items = select.projection.iter().enumerate();
            let repeats = items.map(|(place, item)| twice(place, item)).collect::<Vec<_>>();
            let items = select.projection.iter_mut().zip(&alias.columns).zip(repeats);
            for ((item, column), _) in items.filter(|(_, repeats)| *repeats) {
                if let SelectItem::UnnamedExpr(expr) = item {
                    let (expr, alias) = (expr.clone(), column.name.clone());
                    *item = SelectItem::ExprWithAlias { expr, alias };
                }
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            called(left, alias);
            called(right, alias);
        }
        SetExpr::Query(query) => called(&mut query.body, alias),
        _ => {}
    }
}

/// The columns of an answer that are made of a column with the name of one of them.
fn repeated(select: &Select) -> Vec<(Expr, Ident)> {
    // What is distinct is told by expressions, and so must its order be.
    if matches!(select.distinct, Some(Distinct::On(_))) {
        return Vec::new();
    }
    let named = select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { expr, alias } => Some((expr, alias)),
        _ => None,
    });
    let named: Vec<(&Expr, &Ident)> = named.collect();
    let names: Vec<String> = named.iter().map(|(_, alias)| folded(alias)).collect();
    let found = named.into_iter().filter(|(expr, _)| {
        let mut within = Within { names: &names, found: false };
        let walked = (*expr).clone().visit(&mut within);
        debug_assert!(walked.is_continue(), "the visitor does not break off");
        within.found && !matches!(expr, Expr::Identifier(_))
    });
    found.map(|(expr, alias)| (expr.clone(), alias.clone())).collect()
}

/// Looks for one of some names.
struct Within<'n> {
    names: &'n [String],
    found: bool,
}

impl VisitorMut for Within<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = &*expr {
            self.found |= self.names.contains(&folded(name));
        }
        ControlFlow::Continue(())
    }
}

/// Puts the names of an answer's columns in the place of what they are.
struct Sorted {
    answer: Vec<(Expr, Ident)>,
    /// How many queries lie around: those have answers of their own.
    depth: usize,
}

impl VisitorMut for Sorted {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let known = self.answer.iter().find(|(said, _)| self.depth == 0 && said == &*expr);
        if let Some((_, name)) = known {
            *expr = Expr::Identifier(name.clone());
        }
        ControlFlow::Continue(())
    }
}
