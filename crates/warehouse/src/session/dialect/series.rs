//! The column of `generate_series(…)` and `range(…)` in FROM: DuckDB calls it like the function, PostgreSQL like the
//! table, and our engine `value`. It gets the name by which the statement asks for it.
//!
//! ```text
//! select s.generate_series from generate_series(1, 3) as s  ─►  … from generate_series(1, 3) as s(generate_series)
//! select n + 1 from generate_series(1, 3) as n              ─►  … from generate_series(1, 3) as n(n)
//! ```

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, TableAlias, TableAliasColumnDef, TableFactor,
    VisitMut, VisitorMut,
};
use flywheel_base::Error;

/// Functions that make a table of one column.
const SERIES: &[&str] = &["generate_series", "range"];

/// Names the columns of series in a statement.
pub(super) fn named(part: &mut impl VisitMut) -> ControlFlow<Error> {
    let mut asked = Asked::default();
    part.visit(&mut asked)?;
    if asked.series {
        part.visit(&mut Named { columns: asked.columns })?;
    }
    ControlFlow::Continue(())
}

/// The columns that a statement asks for, in lower case, and whether it has a series.
#[derive(Default)]
struct Asked {
    columns: BTreeSet<String>,
    series: bool,
}

impl VisitorMut for Asked {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let column = match expr {
            Expr::Identifier(column) => Some(&*column),
            Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        self.columns.extend(column.map(|column| column.value.to_lowercase()));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Error> {
        self.series |= series(table).is_some();
        ControlFlow::Continue(())
    }
}

/// Gives series the names of `columns` that are theirs.
struct Named {
    columns: BTreeSet<String>,
}

impl VisitorMut for Named {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Error> {
        let Some(function) = series(table) else { return ControlFlow::Continue(()) };
        let TableFactor::Table { alias, .. } = table else { return ControlFlow::Continue(()) };
        let called = alias.as_ref().map(|alias| alias.name.clone());
        let column = match called {
            _ if self.columns.contains(function) => Ident::new(function),
            // Nobody asks for it, or by the name it has here.
            _ if self.columns.contains("value") => return ControlFlow::Continue(()),
            Some(name) if self.columns.contains(&name.value.to_lowercase()) => name,
            _ => return ControlFlow::Continue(()),
        };
        let column = TableAliasColumnDef { name: column, data_type: None };
        match alias {
            Some(alias) => alias.columns.push(column),
            None => {
                let name = Ident::new(function);
                *alias = Some(TableAlias { explicit: true, name, columns: vec![column], at: None });
            }
        }
        ControlFlow::Continue(())
    }
}

/// The function of a series whose column has no name yet.
fn series(table: &TableFactor) -> Option<&'static str> {
    let TableFactor::Table { name: ObjectName(name), alias, args: Some(_), .. } = table else {
        return None;
    };
    let [ObjectNamePart::Identifier(name)] = name.as_slice() else { return None };
    let unnamed = alias.as_ref().is_none_or(|alias| alias.columns.is_empty());
    let found = SERIES.iter().copied().find(|series| name.value.eq_ignore_ascii_case(series));
    found.filter(|_| unnamed)
}
