//! Lets through what reads and nothing else.

use datafusion::common::SchemaError;
use datafusion::config::Dialect;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as Sql;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use flywheel_base::{Error, ErrorKind, Result};

use super::chain::check_chains;
use super::{aliases, dialect};
use crate::failure::from_engine;

/// Parses one reading statement.
pub(super) fn parse(state: &SessionState, sql: &str) -> Result<Statement> {
    let mut statement = parse_in(state, sql, state.config_options().sql_parser.dialect)?;
    dialect::translate(&mut statement)?;
    Ok(statement)
}

/// Parses one reading statement in the words of another database, which are still to be put in ours.
pub(super) fn parse_in(state: &SessionState, sql: &str, spoken: Dialect) -> Result<Statement> {
    check_chains(sql)?;
    let statement = state.sql_to_statement(sql, &spoken).map_err(from_engine)?;
    match reads(&statement) {
        true => Ok(statement),
        false => Err(refused(&statement.to_string())),
    }
}

/// Whether `sql` is one SQL expression; which columns and functions there are is not known here.
///
/// # Errors
/// [`ErrorKind::Invalid`] saying where it ceases to be one.
pub fn check_expression(sql: &str) -> Result<()> {
    let parsed = DFParserBuilder::new(sql)
        .with_dialect(&GenericDialect {})
        .build()
        .and_then(|mut parser| parser.parse_into_expr());
    parsed.map(drop).map_err(from_engine)
}

fn reads(statement: &Statement) -> bool {
    match statement {
        edit if super::edit::changes(edit) => false,
        Statement::Explain(explain) => reads(&explain.statement),
        Statement::Statement(sql) => match sql.as_ref() {
            Sql::Explain { statement, .. } => matches!(statement.as_ref(), Sql::Query(_)),
            Sql::Query(_)
            | Sql::ExplainTable { .. }
            | Sql::ShowTables { .. }
            | Sql::ShowColumns { .. }
            | Sql::ShowFunctions { .. }
            | Sql::ShowVariable { .. } => true,
            _ => false,
        },
        _ => false,
    }
}

fn refused(statement: &str) -> Error {
    let word = statement.split_whitespace().next().unwrap_or("this").to_uppercase();
    Error::new(ErrorKind::Denied, format!("{word} is not allowed: SQL here only reads")).hint(
        "Use SELECT, WITH, VALUES, EXPLAIN, SHOW or DESCRIBE; tables are written by syncs and models, and \
         rows are changed by `flywheel sql`, or at /v1/sql/write, with INSERT, UPDATE, DELETE or MERGE.",
    )
}

/// Plans a statement whose tables are resolved, and takes its words as they are.
pub(super) async fn plan(state: &SessionState, statement: Statement) -> Result<LogicalPlan> {
    only_reads(state.statement_to_plan(statement).await.map_err(from_engine)?)
}

/// As [`plan`], for what people write, with names that a SELECT gives and uses itself; `told` says of a column that
/// is not there why it is not, if there is a reason.
pub(super) async fn plan_telling(
    state: &SessionState,
    statement: Statement,
    told: &(dyn Fn(&str) -> Option<Error> + Sync),
) -> Result<LogicalPlan> {
    only_reads(aliases::plan(state, statement, told).await.map_err(|error| {
        let reason = match error.find_root() {
            DataFusionError::SchemaError(missing, _) => match missing.as_ref() {
                SchemaError::FieldNotFound { field, .. } => told(&field.name),
                _ => None,
            },
            _ => None,
        };
        reason.unwrap_or_else(|| from_engine(error))
    })?)
}

fn only_reads(plan: LogicalPlan) -> Result<LogicalPlan> {
    let options =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    options.verify_plan(&plan).map_err(|error| refused("the statement").caused_by(error))?;
    Ok(plan)
}
