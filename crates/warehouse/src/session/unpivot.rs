//! Columns that become rows: `from t unpivot (value for name in (a, b))`.
//!
//! The engine does not know UNPIVOT. It is written as what it means, one query for each column:
//!
//! ```text
//! (select * exclude (a, b), 'a' as name, a as value from t where a is not null
//!  union all select * exclude (a, b), 'b' as name, b as value from t where b is not null)
//! ```
//!
//! `include nulls` leaves out the conditions.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, ExprWithAlias, Ident, NullInclusion, Query, TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use flywheel_base::{Error, Result};

/// How long those of a statement may be together, written out: one of another multiplies.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Writes every UNPIVOT of a statement out.
pub(super) fn write_out(part: &mut impl VisitMut) -> Result<()> {
    match part.visit(&mut Unpivots { left: TEXT_BYTES_MAX }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Unpivots {
    /// How much more may be written out, in bytes.
    left: usize,
}

impl VisitorMut for Unpivots {
    type Break = Error;

    // Behind what is inside of it, which may be one, too.
    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        if matches!(factor, TableFactor::Pivot { .. }) {
            let hint = "Write a `sum(case when … then … end)` for each column; in a model, dbt_utils.pivot does.";
            return ControlFlow::Break(Error::invalid("PIVOT is not supported").hint(hint));
        }
        let TableFactor::Unpivot { table, value, name, columns, null_inclusion, alias } = factor
        else {
            return ControlFlow::Continue(());
        };
        let nulls = matches!(null_inclusion, Some(NullInclusion::IncludeNulls));
        let made = text_of(table, value, name, columns, nulls, &mut self.left);
        match made.and_then(|text| read(&text)) {
            Ok(query) => {
                let (subquery, alias) = (Box::new(query), alias.take());
                *factor = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// The query that an UNPIVOT means, as a text of no more than so many bytes.
fn text_of(
    table: &TableFactor,
    value: &Expr,
    name: &Ident,
    columns: &[ExprWithAlias],
    nulls: bool,
    left: &mut usize,
) -> Result<String> {
    let refused = || {
        Error::invalid("UNPIVOT of several columns at once is not supported")
            .hint("Write it as `unpivot (value for name in (a, b))`, or as SELECTs with UNION ALL.")
    };
    let Expr::Identifier(value) = value else { return Err(refused()) };
    let mut named = Vec::new();
    for column in columns {
        let Expr::Identifier(ident) = &column.expr else { return Err(refused()) };
        named.push((ident, column.alias.as_ref().unwrap_or(ident)));
    }
    let all: Vec<String> = named.iter().map(|(column, _)| folded(column)).collect();
    let (all, name, value) = (all.join(", "), folded(name), folded(value));
    let table = table.to_string();
    let part = |(column, label): &(&Ident, &Ident)| {
        let label = match label.quote_style {
            Some(_) => label.value.clone(),
            None => label.value.to_ascii_lowercase(),
        };
        let (column, label) = (folded(column), label.replace('\'', "''"));
        let only = if nulls { String::new() } else { format!(" WHERE {column} IS NOT NULL") };
        format!(
            "SELECT * EXCLUDE ({all}), '{label}' AS {name}, {column} AS {value} FROM {table}{only}"
        )
    };
    let mut text = String::new();
    for part in named.iter().map(part) {
        *left = left.checked_sub(part.len()).ok_or_else(|| {
            Error::invalid("an UNPIVOT makes the query too long")
                .hint("Keep what the inner query gives in a model of its own.")
        })?;
        if !text.is_empty() {
            text.push_str(" UNION ALL ");
        }
        text.push_str(&part);
    }
    Ok(text)
}

fn read(text: &str) -> Result<Query> {
    Parser::new(&GenericDialect {})
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_query())
        .map(|query| *query)
        .map_err(|error| Error::invalid("this UNPIVOT cannot be read").caused_by(error))
}

/// A name as the engine compares it: a list of excluded columns is not folded by it.
fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.to_string(),
        None => ident.value.to_ascii_lowercase(),
    }
}
