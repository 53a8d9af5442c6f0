//! Seeds: a CSV file becomes a table, whole.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use flywheel_base::{Error, Result};
use flywheel_project::Seed;
use flywheel_warehouse::{Catalog, Lake, Query, TableName};

use super::job::{Compiled, Job, Made};
use super::materialize::{good_version, replace};
use crate::shelf::Item;
use crate::testing::{quoted, quoted_table};

/// The schema under which the file's text is found; no model can have it.
const TEXT_SCHEMA: &str = "_seed";

/// Reads the file and writes the table; each value is cast to its column's type by SQL.
pub(super) async fn build(job: &Job<'_>, compiled: &Compiled) -> Result<Made> {
    let Some(declared) = &job.model.seed else {
        return Err(Error::internal(format!("model \"{}\" is no seed", job.model.name)));
    };
    let query = query(job.world.lake, declared).await?;
    let location = job.location(&compiled.fingerprint)?;
    let before = good_version(job, compiled, &location);
    let commit = replace(job, &location, &query, before).await?;
    let item = Item::Table { location, version: commit.version };
    Ok(Made { item, rows: Some(commit.rows_written), batch: None })
}

/// The rows of the file, in the types of its columns.
pub(super) async fn values(lake: &Lake, declared: &Seed) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let query = query(lake, declared).await?;
    Ok((query.schema(), query.collect().await?))
}

/// The file as a query.
async fn query(lake: &Lake, declared: &Seed) -> Result<Query> {
    let rows = declared.read()?;
    let fields: Vec<Field> =
        rows.columns.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let column = |values: Vec<Option<String>>| Arc::new(StringArray::from(values)) as ArrayRef;
    let columns = rows.values.into_iter().map(column).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)
        .map_err(|error| Error::internal("a seed's columns differ in length").caused_by(error))?;
    let text = TableName::new(TEXT_SCHEMA, "text");
    let mut catalog = Catalog::new();
    catalog.memory(&text, schema, vec![batch]);
    let session = lake.session(catalog)?;
    let mut casts = Vec::with_capacity(rows.columns.len());
    for (name, sql_type) in rows.columns.iter().zip(&rows.types) {
        if !is_type(sql_type) {
            return Err(Error::invalid(format!(
                "the type of column \"{name}\" is not one of SQL's"
            ))
            .hint("Write one such as varchar, bigint, double, decimal(10, 2), date, timestamp."));
        }
        casts.push(format!("CAST({0} AS {sql_type}) AS {0}", quoted(name)));
    }
    let sql = format!("SELECT {} FROM {}", casts.join(", "), quoted_table(&text.to_string()));
    session.query(&sql).await
}

/// Whether a text can be nothing but a type.
pub(super) fn is_type(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | ',' | '(' | ')');
    let opens = text.matches('(').count();
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(plain)
        && opens <= 1
        && opens == text.matches(')').count()
        && (opens == 0 || text.ends_with(')'))
}

#[cfg(test)]
mod tests {
    use super::is_type;

    #[test]
    fn only_types_are_types() {
        for good in ["varchar", "decimal(10, 2)", "double precision", "VARCHAR(20)"] {
            assert!(is_type(good), "{good}");
        }
        for bad in ["", "int) AS x, (SELECT 1", "int; drop", "int -- x", "f(a)(b)", "'x'"] {
            assert!(!is_type(bad), "{bad}");
        }
    }
}
