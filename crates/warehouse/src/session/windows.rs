//! Windows that build on a named one: `sum(x) over (w rows 2 preceding) … window w as (partition by p order by t)`.
//!
//! The engine (DataFusion 55.2) knows `over w` and passes over a name in brackets: what `w` says was left out, so that all rows
//! were one window. So what the named window says is written where it is built on.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, NamedWindowDefinition, NamedWindowExpr, Query, Select, VisitMut, VisitorMut, WindowSpec,
    WindowType,
};
use flywheel_base::{Error, suggest};

use super::parameters::folded;

/// Writes out what windows build on.
pub(super) struct NamedWindows;

impl VisitorMut for NamedWindows {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        let mut built = Built::default();
        for NamedWindowDefinition(name, window) in &mut select.named_window {
            let said = match window {
                NamedWindowExpr::NamedWindow(other) => match built.windows.get(&folded(other)) {
                    Some(said) => said.clone(),
                    // It may be named further on.
                    None => continue,
                },
                NamedWindowExpr::WindowSpec(said) => {
                    built.write_out(said)?;
                    said.clone()
                }
            };
            built.windows.insert(folded(name), said);
        }
        select.projection.visit(&mut built)?;
        select.qualify.visit(&mut built)
    }
}

/// What the windows of a query say that were named so far.
#[derive(Default)]
struct Built {
    windows: BTreeMap<String, WindowSpec>,
    /// How many queries lie around: names in those are their own.
    depth: usize,
}

impl Built {
    /// Gives a window what the one that it builds on says.
    fn write_out(&self, window: &mut WindowSpec) -> ControlFlow<Error> {
        let Some(name) = window.window_name.take() else { return ControlFlow::Continue(()) };
        let Some(base) = self.windows.get(&folded(&name)) else {
            let known: Vec<&str> = self.windows.keys().map(String::as_str).collect();
            let hint = suggest::hint(&folded(&name), known);
            return ControlFlow::Break(
                Error::invalid(format!("unknown window \"{}\"", folded(&name))).hint(hint),
            );
        };
        if window.partition_by.is_empty() {
            window.partition_by.clone_from(&base.partition_by);
        }
        if window.order_by.is_empty() {
            window.order_by.clone_from(&base.order_by);
        }
        if window.window_frame.is_none() {
            window.window_frame.clone_from(&base.window_frame);
        }
        ControlFlow::Continue(())
    }
}

impl VisitorMut for Built {
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
        match expr {
            Expr::Function(function) if self.depth == 0 => match &mut function.over {
                Some(WindowType::WindowSpec(window)) => self.write_out(window),
                _ => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}
