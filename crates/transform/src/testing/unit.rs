//! Unit tests: a model's query over given rows, compared with the rows it has to give.
//!
//! Given rows become views of literals, cast to the types that the columns of the real table have, as far
//! as it is there; else to those that the values suggest. Nothing is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use flywheel_base::{Error, Result, digest, statement};
use flywheel_project::resource::properties::Severity;
use flywheel_project::{Model, NodeKind, Project, Reference, RenderContext, UnitRows, UnitTest};
use flywheel_warehouse::{Catalog, Lake, Query, Session, TableName};
use serde_json::Value as Json;

use super::run::texts;
use super::statement::{quoted, quoted_table};
use crate::names;
use crate::report::{Failure, Sample, TestOutcome, TestScope, TestStatus};

/// The schema under which a query finds given rows; no model can have it.
const GIVEN_SCHEMA: &str = "_given";

/// The name of what an incremental model has built before.
const THIS: &str = "this";

/// How many differing rows a report shows.
const DIFFERENCES_MAX: usize = 10;

/// A unit test, ready to be run.
#[derive(Clone, Debug)]
pub(crate) struct Unit<'a> {
    pub(crate) model: &'a Model,
    pub(crate) test: &'a UnitTest,
    /// The model's query over the given rows, or why there is none.
    sql: Result<String, Failure>,
}

impl<'a> Unit<'a> {
    pub(crate) fn new(project: &Project, model: &'a Model, test: &'a UnitTest) -> Self {
        let sql = render(project, model, test);
        Self { model, test, sql: sql.map_err(|error| told(model, test, error)) }
    }

    /// The name in reports.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.model.name, self.test.name)
    }

    /// Identifies the test and the query it runs.
    pub(crate) fn digest(&self) -> String {
        let sql = self.sql.as_ref().map(String::as_str).unwrap_or_default();
        digest::short(&[format!("{:?}", self.test).as_bytes(), sql.as_bytes()])
    }

    /// Runs the test; `session` knows the tables that the model reads.
    pub(crate) async fn run(
        &self,
        lake: &Lake,
        session: &Session,
        project: &Project,
    ) -> TestOutcome {
        let mut outcome = TestOutcome {
            name: self.name(),
            subject: Some(self.model.relation()),
            severity: Severity::Error,
            status: TestStatus::Passed,
            failures: 0,
            sample: Sample::default(),
            sql: self.sql.as_ref().cloned().unwrap_or_default(),
            scope: TestScope::Given,
            stored: None,
            error: None,
        };
        let compared = match &self.sql {
            Ok(sql) => self
                .compare(lake, session, project, sql)
                .await
                .map_err(|error| told(self.model, self.test, error)),
            Err(failure) => Err(failure.clone()),
        };
        match compared {
            Ok(sample) => {
                outcome.failures = sample.rows.len() as u64;
                if outcome.failures > 0 {
                    outcome.status = TestStatus::Failed;
                }
                outcome.sample = sample;
                outcome.sample.rows.truncate(DIFFERENCES_MAX);
            }
            Err(failure) => {
                outcome.status = TestStatus::Failed;
                outcome.error = Some(failure);
            }
        }
        outcome
    }

    /// The rows in which what the model gives differs from what it has to give.
    async fn compare(
        &self,
        lake: &Lake,
        session: &Session,
        project: &Project,
        sql: &str,
    ) -> Result<Sample> {
        let mut catalog = Catalog::new();
        for (at, given) in self.test.given.iter().enumerate() {
            let real = match &given.input {
                Some(reference) => Some(relation(project, reference)?),
                None => Some(self.model.relation()),
            };
            let schema = match real {
                Some(real) => columns_of(session, &real).await,
                None => None,
            };
            let rows = rows_sql(&given.rows, schema.as_ref())
                .map_err(|error| error.context(format!("the input {}", shown(&given.input))))?;
            catalog.view(&given_name(given.input.as_ref(), at), rows);
        }
        // Learners that the model asks answer as they do now; none reads their tables.
        for (source, table) in &self.model.sources {
            let relation = project.source_relation(source, table);
            if project.learners.contains_key(table) && relation == format!("learn.{table}") {
                let nothing = Arc::new(Schema::empty());
                catalog.memory(&TableName::parse(&relation)?, nothing, Vec::new());
            }
        }
        catalog.allow_unfitted();
        let given = lake.session(catalog)?;
        let query = given.query(sql).await?;
        let actual = query.schema();
        let (columns, expected) = match &self.test.expect {
            UnitRows::Sql(sql) => {
                let expected = given.query(sql).await?;
                let names: Vec<String> =
                    expected.schema().fields().iter().map(|f| f.name().clone()).collect();
                let columns = known_columns(&names, &actual)?;
                (columns.clone(), format!("SELECT {} FROM (\n{sql}\n)", casts(&columns, &names)))
            }
            UnitRows::Values { columns: names, .. } => {
                let columns = known_columns(names, &actual)?;
                (columns, rows_sql(&self.test.expect, Some(&actual))?)
            }
        };
        let wanted: Vec<String> = columns.iter().map(|(name, _)| quoted(name)).collect();
        // No expected row names no column: there has to be no row at all.
        let list = if wanted.is_empty() { "1 AS rows".to_owned() } else { wanted.join(", ") };
        let found = self.rows(&given, &format!("SELECT {list} FROM (\n{sql}\n)")).await?;
        let expected = match wanted.is_empty() {
            true => Vec::new(),
            false => self.rows(&given, &format!("SELECT {list} FROM (\n{expected}\n)")).await?,
        };
        let names = columns.into_iter().map(|(name, _)| name);
        let mut sample = Sample {
            columns: std::iter::once("difference".to_owned()).chain(names).collect(),
            rows: Vec::new(),
        };
        let mut counts: BTreeMap<Vec<String>, i64> = BTreeMap::new();
        for row in expected {
            *counts.entry(row).or_default() += 1;
        }
        for row in found {
            *counts.entry(row).or_default() -= 1;
        }
        for (row, count) in counts {
            let word = if count > 0 { "missing" } else { "unexpected" };
            for _ in 0..count.unsigned_abs() {
                let mut line = vec![word.to_owned()];
                line.extend(row.iter().cloned());
                sample.rows.push(line);
            }
        }
        Ok(sample)
    }

    async fn rows(&self, session: &Session, sql: &str) -> Result<Vec<Vec<String>>> {
        let query: Query = session.query(sql).await?;
        let mut rows = Vec::new();
        for batch in query.collect().await? {
            rows.extend(texts(&batch)?);
        }
        Ok(rows)
    }
}

/// An error with the test it belongs to.
fn told(model: &Model, test: &UnitTest, error: Error) -> Failure {
    let place = format!("{}:{}", test.file, test.line);
    let what = format!("unit test \"{}.{}\" ({place})", model.name, test.name);
    Failure::from(&error.context(what))
}

/// The model's query over the given rows.
fn render(project: &Project, model: &Model, test: &UnitTest) -> Result<String> {
    let place = |reference: &Reference| -> Result<String> {
        let at = test.given.iter().position(|given| given.input.as_ref() == Some(reference));
        match at {
            Some(at) => Ok(given_name(Some(reference), at).to_string()),
            None => Err(Error::invalid(format!("the model reads {reference}, which is not given"))
                .hint(format!("Add `- {{input: {reference}, rows: []}}` to `given`."))),
        }
    };
    let at_this = test.given.iter().position(|given| given.input.is_none());
    let this = given_name(None, at_this.unwrap_or(test.given.len())).to_string();
    let mut vars = project.file.vars.clone();
    vars.extend(test.vars.clone());
    let context = RenderContext {
        vars: &vars,
        incremental: test.incremental(),
        this,
        resolve_ref: &|name| place(&Reference::Ref(name.to_owned())),
        resolve_source: &|source, table| {
            place(&Reference::Source(source.to_owned(), table.to_owned()))
        },
    };
    let sql = model.render_unit(&context, test)?;
    let mut instead = BTreeMap::new();
    for (at, given) in test.given.iter().enumerate() {
        if let Some(input) = &given.input {
            let name = given_name(Some(input), at).to_string();
            instead.insert(relation(project, input)?, name);
        }
    }
    for table in &model.metric_tables {
        let name = names::relation(project, table);
        if !instead.contains_key(&name) {
            let written = match (table.kind, name.split_once('.')) {
                (NodeKind::Source, Some((schema, table))) => {
                    Reference::Source(schema.to_owned(), table.to_owned())
                }
                _ => Reference::Ref(table.name.clone()),
            };
            let message =
                format!("the model reads {written} by way of metrics, which is not given");
            return Err(Error::invalid(message)
                .hint(format!("Add `- {{input: {written}, rows: []}}` to `given`.")));
        }
    }
    let sql = names::answered(project, model, &instead, sql)?;
    Ok(statement::bare(&sql).to_owned())
}

/// What a query calls an input.
fn given_name(input: Option<&Reference>, at: usize) -> TableName {
    let name = match input {
        Some(Reference::Ref(name)) => name.clone(),
        Some(Reference::Source(source, table)) => format!("{source}__{table}"),
        None => THIS.to_owned(),
    };
    let plain: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' })
        .collect();
    TableName::new(GIVEN_SCHEMA, format!("{plain}_{at}"))
}

fn shown(input: &Option<Reference>) -> String {
    input.as_ref().map_or_else(|| THIS.to_owned(), ToString::to_string)
}

fn relation(project: &Project, reference: &Reference) -> Result<String> {
    match reference {
        Reference::Ref(name) => project.ref_relation(name),
        Reference::Source(source, table) => Ok(project.source_relation(source, table)),
    }
}

/// The columns of a table, if it is there.
async fn columns_of(session: &Session, relation: &str) -> Option<Schema> {
    let query = session.query(&format!("SELECT * FROM {}", quoted_table(relation))).await.ok()?;
    Some(query.schema().as_ref().clone())
}

/// A column with its type.
type Column = (String, DataType);

/// The columns that are expected, as the model spells them and with its types.
fn known_columns(names: &[String], actual: &Schema) -> Result<Vec<Column>> {
    let mut found = Vec::new();
    for name in names {
        let mut fields = actual.fields().iter();
        let exact = actual.field_with_name(name).ok();
        let field = exact
            .or_else(|| fields.find(|f| f.name().eq_ignore_ascii_case(name)).map(|f| f.as_ref()));
        let Some(field) = field else {
            let known = actual.fields().iter().map(|field| field.name().as_str());
            return Err(Error::invalid(format!(
                "it expects the column \"{name}\", which the model does not give"
            ))
            .hint(flywheel_base::suggest::hint(name, known.collect::<Vec<_>>())));
        };
        found.push((field.name().clone(), field.data_type().clone()));
    }
    Ok(found)
}

/// Columns of a query cast to the model's types and called as there.
fn casts(columns: &[Column], names: &[String]) -> String {
    let pairs = columns.iter().zip(names);
    let cast = |((column, data_type), name): (&Column, &String)| {
        format!("{} AS {}", cast(&quoted(name), data_type), quoted(column))
    };
    pairs.map(cast).collect::<Vec<_>>().join(", ")
}

fn cast(sql: &str, data_type: &DataType) -> String {
    format!("arrow_cast({sql}, '{}')", data_type.to_string().replace('\'', "''"))
}

/// A query that gives the rows, with the columns of `schema` if it is known: those that are not named are
/// missing everywhere.
fn rows_sql(rows: &UnitRows, schema: Option<&Schema>) -> Result<String> {
    let (names, rows) = match rows {
        UnitRows::Sql(sql) => return Ok(sql.clone()),
        UnitRows::Values { columns, rows } => (columns, rows),
    };
    let columns: Vec<Column> = match schema {
        Some(schema) => {
            known_columns(names, schema).map_err(|error| {
                Error::invalid(
                    error.message().replace("the model does not give", "it does not have"),
                )
                .hint(error.hint_text().unwrap_or_default().to_owned())
            })?;
            let all = schema.fields().iter();
            all.map(|field| (field.name().clone(), field.data_type().clone())).collect()
        }
        None => {
            let guess = |at: usize| guess(rows.iter().filter_map(|row| row.get(at)));
            names.iter().enumerate().map(|(at, name)| (name.clone(), guess(at))).collect()
        }
    };
    if columns.is_empty() {
        return Err(Error::invalid(
            "its columns are unknown: it has no rows, and the table is not there",
        )
        .hint("Give one row, or use `format: sql` with `where false`."));
    }
    let position = |name: &str| names.iter().position(|known| known.eq_ignore_ascii_case(name));
    let places: Vec<Option<usize>> = columns.iter().map(|(name, _)| position(name)).collect();
    let select = |row: Option<&Vec<Json>>| {
        let value = |((name, data_type), place): (&Column, &Option<usize>)| {
            let value = row.zip(*place).and_then(|(row, place)| row.get(place));
            format!(
                "{} AS {}",
                cast(&literal(value.unwrap_or(&Json::Null)), data_type),
                quoted(name)
            )
        };
        let values: Vec<String> = columns.iter().zip(&places).map(value).collect();
        format!("SELECT {}", values.join(", "))
    };
    if rows.is_empty() {
        return Ok(format!("{} WHERE false", select(None)));
    }
    Ok(rows.iter().map(|row| select(Some(row))).collect::<Vec<_>>().join("\nUNION ALL\n"))
}

fn literal(value: &Json) -> String {
    match value {
        Json::Null => "NULL".to_owned(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::String(text) => format!("'{}'", text.replace('\'', "''")),
        other => format!("'{}'", other.to_string().replace('\'', "''")),
    }
}

/// The type that values of a column suggest.
fn guess<'a>(values: impl Iterator<Item = &'a Json> + Clone) -> DataType {
    let mut present = values.filter(|value| !value.is_null()).peekable();
    if present.peek().is_none() {
        return DataType::Utf8;
    }
    let all = |fits: fn(&Json) -> bool| present.clone().all(fits);
    if all(Json::is_boolean) {
        DataType::Boolean
    } else if all(Json::is_i64) {
        DataType::Int64
    } else if all(Json::is_number) {
        DataType::Float64
    } else {
        DataType::Utf8
    }
}
