//! Contracts: a model whose query gives just the columns that are declared, in their types, and whose rows
//! keep the constraints.
//!
//! As in dbt, the table gets the declared types: a whole number may become a wider one, but a text does
//! not become a number. Constraints are checked on what was written, before readers see it.

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use flywheel_base::{Error, Result, statement};
use flywheel_project::resource::project_file::Materialized;
use flywheel_project::resource::properties::{ColumnProperties, Constraint, ConstraintKind};
use flywheel_project::{Model, Project, Reference};
use flywheel_warehouse::Session;

use super::job::{Job, sql_type};
use super::seed::is_type;
use crate::shelf::Item;
use crate::testing::{quoted, quoted_table};

/// The query in the columns and types of the contract, if there is one.
pub(super) fn wrapped(model: &Model, sql: String) -> Result<String> {
    if !model.config.contract {
        return Ok(sql);
    }
    let mut columns = Vec::with_capacity(model.columns.len());
    for column in &model.columns {
        let declared = declared_type(model, column)?;
        let name = quoted(&column.name);
        columns.push(match is_loose(&declared) {
            true => name,
            false => format!("CAST({name} AS {declared}) AS {name}"),
        });
    }
    if columns.is_empty() {
        return Err(Error::invalid("it has a contract, but no columns are declared")
            .hint("List its columns with name and data_type in a property file."));
    }
    Ok(format!("SELECT {} FROM (\n{}\n)", columns.join(", "), statement::bare(&sql)))
}

/// Whether a type leaves open how many digits there are; the query's own are kept then.
fn is_loose(declared: &str) -> bool {
    matches!(declared, "decimal" | "numeric" | "number")
}

/// The declared type in the words of our SQL.
fn declared_type(model: &Model, column: &ColumnProperties) -> Result<String> {
    let Some(declared) = column.data_type.as_deref().map(str::trim).filter(|t| !t.is_empty())
    else {
        return Err(Error::invalid(format!(
            "it has a contract, but column \"{}\" has no data_type",
            column.name
        ))
        .hint("Every column of a contract needs one, such as `data_type: bigint`."));
    };
    if !is_type(declared) {
        return Err(Error::invalid(format!(
            "the data_type of column \"{}\" of model \"{}\" is not one of SQL's",
            column.name, model.name
        ))
        .hint("Write one such as varchar, bigint, double, decimal(10, 2), date, timestamp."));
    }
    let lower = declared.to_lowercase();
    Ok(match lower.as_str() {
        "string" | "text" | "char" | "character varying" => "varchar",
        "int64" | "int8" | "long" | "bigint" | "hugeint" => "bigint",
        "float64" | "float8" | "float" | "real" | "double precision" => "double",
        "datetime" | "timestamp_ntz" | "timestamp without time zone" => "timestamp",
        "timestamptz" | "timestamp_tz" => "timestamp with time zone",
        "bool" => "boolean",
        other => other,
    }
    .to_owned())
}

/// What types may take each other's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Boolean,
    Whole,
    Fraction,
    Text,
    Date,
    Time,
    Other,
}

fn family(data_type: &DataType) -> Family {
    match data_type {
        DataType::Boolean => Family::Boolean,
        data_type if data_type.is_integer() => Family::Whole,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Family::Fraction,
        DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => Family::Fraction,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Family::Text,
        DataType::Date32 | DataType::Date64 => Family::Date,
        DataType::Timestamp(_, _) => Family::Time,
        _ => Family::Other,
    }
}

/// Compares the columns of the query with the declared ones.
pub(super) async fn check(session: &Session, model: &Model, sql: &str) -> Result<()> {
    let schema = session.query(sql).await?.schema();
    let mut wrong = Vec::new();
    for column in &model.columns {
        let Ok(field) = schema.field_with_name(&column.name) else {
            wrong.push(format!("\"{}\" is declared and missing in the query", column.name));
            continue;
        };
        let declared = declared_type(model, column)?;
        let plan = session.query(&format!("SELECT CAST(NULL AS {declared}) AS c")).await;
        let wanted = plan
            .map_err(|error| error.context(format!("the data_type of column \"{}\"", column.name)))?
            .schema()
            .field(0)
            .data_type()
            .clone();
        let found = field.data_type();
        // NULL alone has no type of its own.
        let fits = *found == DataType::Null || *found == wanted || {
            let (found, wanted) = (family(found), family(&wanted));
            found == wanted && found != Family::Other
        };
        if !fits {
            wrong.push(format!(
                "\"{}\" is declared as {declared}, and the query gives {}",
                column.name,
                sql_type(found)
            ));
        }
    }
    for field in schema.fields() {
        if !model.columns.iter().any(|column| column.name == *field.name()) {
            wrong.push(format!("\"{}\" is in the query and not declared", field.name()));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!("its contract is broken: {}", wrong.join("; ")))
        .hint("Mend the query, or what the property file declares."))
}

/// A constraint with the columns it is on.
struct Demand<'a> {
    constraint: &'a Constraint,
    columns: Vec<String>,
}

/// Checks the constraints of the contract on what was written.
pub(super) async fn require(job: &Job<'_>, item: &Item) -> Result<()> {
    let model = job.model;
    let stored = !matches!(
        model.config.materialized,
        Materialized::View | Materialized::Ephemeral | Materialized::Seed | Materialized::Snapshot
    );
    if !model.config.contract || !stored {
        return Ok(());
    }
    let of_columns = model.columns.iter().flat_map(|column| {
        let demand = |constraint| Demand { constraint, columns: vec![column.name.clone()] };
        column.constraints.iter().map(demand)
    });
    let of_table = model
        .constraints
        .iter()
        .map(|constraint| Demand { constraint, columns: constraint.columns.clone() });
    let demands: Vec<Demand<'_>> = of_columns.chain(of_table).collect();
    if demands.is_empty() {
        return Ok(());
    }
    let session = job.session_with(item.clone())?;
    let table = quoted_table(&model.relation());
    for demand in demands {
        let Some(sql) = broken_rows(job.world.project, &demand, &table)? else { continue };
        let found = session.query(&format!("SELECT count(*) AS n FROM (\n{sql}\n)")).await?;
        let batches = found.collect().await?;
        let counts = batches.iter().filter_map(|batch| {
            let column = batch.column(0).as_primitive_opt::<Int64Type>()?;
            column.values().first().copied()
        });
        let count: i64 = counts.sum();
        if count > 0 {
            return Err(Error::invalid(format!(
                "{count} of its rows or values break the constraint {}",
                described(&demand)
            ))
            .hint("Readers keep the last good version; mend the query or its data."));
        }
    }
    Ok(())
}

fn described(demand: &Demand<'_>) -> String {
    let word = match demand.constraint.kind {
        ConstraintKind::NotNull => "not_null",
        ConstraintKind::Unique => "unique",
        ConstraintKind::PrimaryKey => "primary_key",
        ConstraintKind::ForeignKey => "foreign_key",
        ConstraintKind::Check => "check",
        ConstraintKind::Custom => "custom",
    };
    let name = demand.constraint.name.as_deref().map(|n| format!("\"{n}\" ")).unwrap_or_default();
    let expression = demand.constraint.expression.as_deref();
    match (demand.columns.is_empty(), expression) {
        (_, Some(expression)) => format!("{name}{word} ({expression})"),
        (false, None) => format!("{name}{word} ({})", demand.columns.join(", ")),
        (true, None) => format!("{name}{word}"),
    }
}

/// A query for the rows, or values, that break a constraint; none if it holds by construction.
fn broken_rows(project: &Project, demand: &Demand<'_>, table: &str) -> Result<Option<String>> {
    let columns: Vec<String> = demand.columns.iter().map(|name| quoted(name)).collect();
    let list = columns.join(", ");
    let null = columns.iter().map(|c| format!("{c} IS NULL")).collect::<Vec<_>>().join(" OR ");
    let refuse = |what: &str, hint: &str| {
        Err(Error::invalid(format!("the constraint {} {what}", described(demand))).hint(hint))
    };
    if columns.is_empty() && demand.constraint.kind != ConstraintKind::Check {
        return refuse("names no columns", "List them: `columns: [id, day]`.");
    }
    Ok(Some(match demand.constraint.kind {
        ConstraintKind::NotNull => format!("SELECT 1 AS one FROM {table} WHERE {null}"),
        ConstraintKind::Unique => format!(
            "SELECT 1 AS one FROM {table} WHERE NOT ({null}) GROUP BY {list} HAVING count(*) > 1"
        ),
        ConstraintKind::PrimaryKey => format!(
            "SELECT 1 AS one FROM {table} GROUP BY {list} HAVING count(*) > 1 OR bool_or({null})"
        ),
        ConstraintKind::Check => match &demand.constraint.expression {
            Some(expression) => {
                format!("SELECT 1 AS one FROM {table} WHERE NOT ({expression}\n)")
            }
            None => return refuse("has no expression", "Write one: `expression: amount > 0`."),
        },
        ConstraintKind::ForeignKey => {
            let constraint = demand.constraint;
            let (Some(to), false) = (&constraint.to, constraint.to_columns.is_empty()) else {
                return refuse(
                    "does not say what it refers to",
                    "Write `to: ref('customers')` and `to_columns: [id]`.",
                );
            };
            let references = project.references(&format!("{{{{ {to} }}}}"))?;
            let parent = match references.first() {
                Some(Reference::Ref(name)) => project.ref_relation(name)?,
                Some(Reference::Source(source, table)) => project.source_relation(source, table),
                None => return refuse("refers to no table", "Write `to: ref('customers')`."),
            };
            let pairs = columns.iter().zip(&constraint.to_columns);
            let pairs: Vec<String> =
                pairs.map(|(own, other)| format!("p.{} = c.{own}", quoted(other))).collect();
            let missing = columns.iter().map(|c| format!("c.{c} IS NULL")).collect::<Vec<_>>();
            format!(
                "SELECT 1 AS one FROM {table} AS c WHERE NOT ({}) AND NOT EXISTS \
                 (SELECT 1 FROM {} AS p WHERE {})",
                missing.join(" OR "),
                quoted_table(&parent),
                pairs.join(" AND ")
            )
        }
        ConstraintKind::Custom => {
            return refuse(
                "is written for one database and cannot be checked here",
                "Write it as a check, or as a test.",
            );
        }
    }))
}
