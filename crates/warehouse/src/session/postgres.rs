//! Statements of clients of PostgreSQL: parsed in its words where they ask its catalogue, planned as all others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::config::Dialect;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr as Sql, VisitMut, VisitorMut};
use flywheel_base::{ErrorKind, Result};

use super::sight::place;
use super::{Parameters, Session, dialect, guard};
use crate::postgres::{Planned, Spoken, Told, mentions_catalogue, translate};

impl Session {
    /// As [`Session::query_with`], for a client of PostgreSQL, which also asks that database's catalogue, in its words.
    ///
    /// # Errors
    /// As [`Session::query_with`].
    pub async fn query_as_postgres(
        &self,
        sql: &str,
        told: &Told<'_>,
        values: &Parameters,
    ) -> Result<Planned> {
        let state = self.state();
        let (statement, spoken) = heard(&state, sql, told)?;
        let query = Box::pin(self.planned(state, statement, values)).await?;
        let schema = query.schema();
        let names = spoken.names(schema.fields().iter().map(|field| field.name()));
        Ok(Planned { query, names })
    }

    /// The places for values of such a statement, `1` for `$1`, with the types that follow from where they stand; none where
    /// nothing follows.
    ///
    /// # Errors
    /// As [`Session::query_with`]; where only a missing type keeps the statement from being planned, there are none.
    pub async fn parameters_as_postgres(
        &self,
        sql: &str,
        told: &Told<'_>,
    ) -> Result<BTreeMap<String, Option<DataType>>> {
        let state = self.state();
        let (mut statement, _) = heard(&state, sql, told)?;
        let mut places = Places::default();
        if let Statement::Statement(inner) = &mut statement {
            let visited = inner.as_mut().visit(&mut places);
            debug_assert!(visited.is_continue(), "the visitor does not stop");
        }
        let mut found = places.0;
        if found.is_empty() {
            return Ok(found);
        }
        let mut read = BTreeSet::new();
        self.resolver(&state).statement(&mut statement, &mut Vec::new(), &mut read).await?;
        let plan = match guard::plan(&state, statement).await {
            Ok(plan) => plan,
            // Planned again with its values, it says what is wrong.
            Err(error) if error.kind() == ErrorKind::Invalid => return Ok(found),
            Err(error) => return Err(error),
        };
        for (place, kind) in kinds(&plan) {
            if let Some(known) = found.get_mut(&place)
                && known.is_none()
            {
                *known = Some(kind);
            }
        }
        Ok(found)
    }
}

/// The statement in our words.
fn heard(state: &SessionState, sql: &str, told: &Told<'_>) -> Result<(Statement, Spoken)> {
    let usual = state.config_options().sql_parser.dialect;
    let spoken = if mentions_catalogue(sql) { Dialect::PostgreSQL } else { usual };
    let mut statement = guard::parse_in(state, sql, spoken)?;
    let spoken = translate(&mut statement, told)?;
    dialect::translate(&mut statement)?;
    Ok((statement, spoken))
}

/// The places for values, with the type that each is cast to.
#[derive(Default)]
struct Places(BTreeMap<String, Option<DataType>>);

impl VisitorMut for Places {
    type Break = std::convert::Infallible;

    fn pre_visit_expr(&mut self, expr: &mut Sql) -> ControlFlow<Self::Break> {
        if let Some(name) = place(expr) {
            self.0.entry(name.to_owned()).or_default();
        }
        if let Sql::Cast { expr, data_type, .. } = &*expr
            && let Some(name) = place(expr)
            && let Some(kind) = cast_kind(&data_type.to_string())
        {
            self.0.insert(name.to_owned(), Some(kind));
        }
        ControlFlow::Continue(())
    }
}

/// The type of a cast, by the word of SQL.
fn cast_kind(word: &str) -> Option<DataType> {
    let word = word.to_ascii_lowercase();
    let word = word.split('(').next().unwrap_or_default().trim();
    Some(match word {
        "smallint" | "int2" => DataType::Int16,
        "int" | "integer" | "int4" => DataType::Int32,
        "bigint" | "int8" => DataType::Int64,
        "real" | "float4" => DataType::Float32,
        "double" | "double precision" | "float8" | "float" => DataType::Float64,
        "boolean" | "bool" => DataType::Boolean,
        "date" => DataType::Date32,
        "timestamp" | "timestamp without time zone" => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        "timestamptz" | "timestamp with time zone" => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        "numeric" | "decimal" | "dec" => DataType::Decimal128(38, 10),
        "text" | "varchar" | "character varying" | "char" => DataType::Utf8,
        _ => return None,
    })
}

/// The types of places that follow from what they are compared with.
fn kinds(plan: &LogicalPlan) -> BTreeMap<String, DataType> {
    let mut found = BTreeMap::new();
    let walked = plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        let counts = matches!(node, LogicalPlan::Limit(_));
        node.apply_expressions(|expr| {
            // What gives no type says nothing about the others.
            let Ok((typed, _)) = expr.clone().infer_placeholder_types(&schema) else {
                return Ok(TreeNodeRecursion::Continue);
            };
            typed.apply(|part| {
                if let Expr::Placeholder(placeholder) = part {
                    let kind = placeholder.field.as_ref().map(|field| field.data_type().clone());
                    if let Some(kind) = kind.or_else(|| counts.then_some(DataType::Int64)) {
                        let name = placeholder.id.trim_start_matches('$').to_owned();
                        found.entry(name).or_insert(kind);
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    debug_assert!(walked.is_ok(), "the visitor does not fail");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_tells_the_type_of_its_place() {
        assert_eq!(cast_kind("INT"), Some(DataType::Int32));
        assert_eq!(cast_kind("DECIMAL(10,2)"), Some(DataType::Decimal128(38, 10)));
        assert_eq!(cast_kind("STRUCT<a INT>"), None);
    }
}
