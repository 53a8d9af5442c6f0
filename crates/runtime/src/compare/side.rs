//! One side of a comparison: a server, or the lake.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use flywheel_base::{Error, Result, Timestamp};
use flywheel_connect::source::{ReadRequest, Source};
use flywheel_reconcile::bisect::{Answer, Bucket, Query, Range};
use flywheel_reconcile::checksum::{Checksum, Dialect, TableText};
use flywheel_warehouse::Session;
use futures::TryStreamExt;
use serde_json::json;

/// A table that answers the questions of a comparison.
pub(super) enum Table {
    /// On a database server.
    Server {
        /// Reads queries.
        source: Box<dyn Source>,
        /// The table.
        text: TableText,
        /// The server's SQL.
        dialect: Dialect,
        /// The present moment.
        now: Timestamp,
    },
    /// In the lake, at one version.
    Lake {
        /// Reads queries.
        session: Session,
        /// The table.
        text: TableText,
    },
}

impl Table {
    /// Answers one question.
    pub(super) async fn answer(&self, query: &Query) -> Result<Answer> {
        let batches = match self {
            Self::Server { source, text, dialect, now } => {
                let sql = text.sql(*dialect, query)?;
                read(source.as_ref(), &sql, *now).await?
            }
            Self::Lake { session, text } => {
                let sql = text.sql(Dialect::Datafusion, query)?;
                session.query(&sql).await?.collect().await?
            }
        };
        let rows = rows(&batches)?;
        match query {
            Query::Bounds => bounds(rows.first()),
            Query::Buckets { .. } => {
                rows.iter().map(bucket).collect::<Result<_>>().map(Answer::Buckets)
            }
            Query::Rows { .. } => {
                let row = |row: &Row| {
                    let key = row.first().cloned().flatten().unwrap_or_default();
                    let hash = u32::try_from(number(row, 1)?).map_err(|_| nonsense(row))?;
                    Ok((key, hash))
                };
                rows.iter().map(row).collect::<Result<_>>().map(Answer::Rows)
            }
        }
    }
}

/// The answer of a server to a query.
async fn read(source: &dyn Source, sql: &str, now: Timestamp) -> Result<Vec<RecordBatch>> {
    let request = ReadRequest::full(json!({ "query": sql }), now);
    let mut batches = Vec::new();
    let mut pages = source.read(&request);
    while let Some(page) = pages.try_next().await? {
        if let Some(bad) = page.rejected.first() {
            return Err(Error::internal(format!(
                "an answer of the source cannot be read: {}",
                bad.reason
            )));
        }
        batches.push(page.batch);
    }
    Ok(batches)
}

/// The columns that a table has on its server now, and whether each holds arrays or composite values;
/// none if the server does not tell.
pub(super) async fn columns_of(
    source: &dyn Source,
    dialect: Dialect,
    table: &[String],
    now: Timestamp,
) -> Result<Option<BTreeMap<String, bool>>> {
    let Some(sql) = columns_sql(dialect, table) else { return Ok(None) };
    let column = |row: Row| {
        let mut cells = row.into_iter();
        let name = cells.next().flatten()?;
        Some((name, cells.next().flatten().as_deref() == Some("yes")))
    };
    let rows = rows(&read(source, &sql, now).await?)?;
    let columns: BTreeMap<String, bool> = rows.into_iter().filter_map(column).collect();
    Ok((!columns.is_empty()).then_some(columns))
}

/// Schema and name of the table that a PostgreSQL server finds by `table`; none if there is no such table.
pub(super) async fn parts_of(
    source: &dyn Source,
    dialect: Dialect,
    table: &str,
    now: Timestamp,
) -> Result<Option<Vec<String>>> {
    let found = rows(&read(source, &parts_sql(dialect, table), now).await?)?;
    Ok(found.into_iter().next().and_then(|row| row.into_iter().collect()))
}

fn parts_sql(dialect: Dialect, table: &str) -> String {
    let wanted = dialect.text(table);
    format!(
        "select n.nspname::text as part, c.relname::text as name \
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where c.relkind in ('r', 'p', 'v', 'm', 'f') \
         and (n.nspname || '.' || c.relname = {wanted} \
              or c.relname = {wanted} and pg_catalog.pg_table_is_visible(c.oid)) \
         order by n.nspname || '.' || c.relname = {wanted} desc limit 1"
    )
}

fn columns_sql(dialect: Dialect, table: &[String]) -> Option<String> {
    match (dialect, table) {
        (Dialect::Postgres, parts) => {
            let parts: Vec<String> = parts.iter().map(|part| dialect.name(part)).collect();
            Some(format!(
                "select a.attname::text as name, \
                 case when t.typcategory in ('A', 'C') then 'yes' else 'no' end as nested \
                 from pg_catalog.pg_attribute a \
                 join pg_catalog.pg_type t on t.oid = a.atttypid \
                 where a.attrelid = pg_catalog.to_regclass({}) \
                 and a.attnum > 0 and not a.attisdropped",
                dialect.text(&parts.join("."))
            ))
        }
        (Dialect::Mariadb, [parts @ .., name]) => {
            let database = match parts.last() {
                Some(database) => dialect.text(database),
                None => "database()".to_owned(),
            };
            Some(format!(
                "select COLUMN_NAME as name, 'no' as nested from information_schema.COLUMNS \
                 where TABLE_SCHEMA = {database} and TABLE_NAME = {}",
                dialect.text(name)
            ))
        }
        _ => None,
    }
}

/// The values of a row as text.
type Row = Vec<Option<String>>;

fn rows(batches: &[RecordBatch]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for batch in batches.iter().filter(|batch| batch.num_columns() > 0) {
        let columns = batch.columns().iter().map(|column| {
            cast(column, &DataType::Utf8)
                .map_err(|error| Error::internal("an answer is no text").caused_by(error))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        rows.extend((0..batch.num_rows()).map(|at| {
            let value = |column: &arrow::array::ArrayRef| {
                let texts = column.as_string::<i32>();
                texts.is_valid(at).then(|| texts.value(at).to_owned())
            };
            columns.iter().map(value).collect::<Row>()
        }));
    }
    Ok(rows)
}

fn bounds(row: Option<&Row>) -> Result<Answer> {
    let row = row.ok_or_else(|| Error::internal("a count has no answer"))?;
    let count = |at| -> Result<u64> { u64::try_from(number(row, at)?).map_err(|_| nonsense(row)) };
    let range = match (row.get(2).cloned().flatten(), row.get(3).cloned().flatten()) {
        (Some(_), Some(_)) => Some(Range { low: number(row, 2)?, high: number(row, 3)? }),
        _ => None,
    };
    Ok(Answer::Bounds { rows: count(0)?, null_keys: count(1)?, range })
}

fn bucket(row: &Row) -> Result<Bucket> {
    let natural =
        |at| -> Result<u64> { u64::try_from(number(row, at)?).map_err(|_| nonsense(row)) };
    let index = usize::try_from(number(row, 0)?).map_err(|_| nonsense(row))?;
    Ok(Bucket {
        index,
        checksum: Checksum { rows: natural(1)?, sum: natural(2)? },
        range: Range { low: number(row, 3)?, high: number(row, 4)? },
    })
}

/// A whole number, which servers may give as a decimal without fraction.
fn number(row: &Row, at: usize) -> Result<i64> {
    let text = row.get(at).and_then(Option::as_deref).ok_or_else(|| nonsense(row))?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.bytes().any(|digit| digit != b'0') {
        return Err(nonsense(row));
    }
    whole.parse().map_err(|_| nonsense(row))
}

fn nonsense(row: &Row) -> Error {
    Error::internal(format!("an answer is not what was asked for: {row:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_come_as_decimals_and_nothing_else_passes() {
        let row: Row = vec![Some("12.000".into()), Some("1.5".into()), None, Some("x".into())];
        assert_eq!(number(&row, 0).unwrap(), 12);
        assert!((1..5).all(|at| number(&row, at).is_err()));
    }

    #[test]
    fn servers_are_asked_for_the_columns_of_one_table() {
        let table = ["shop".to_owned(), "o'x".to_owned()];
        let postgres = columns_sql(Dialect::Postgres, &table).unwrap();
        assert!(postgres.contains(r#"to_regclass('"shop"."o''x"')"#), "{postgres}");
        let mariadb = columns_sql(Dialect::Mariadb, &table).unwrap();
        assert!(mariadb.ends_with("TABLE_SCHEMA = 'shop' and TABLE_NAME = 'o''x'"), "{mariadb}");
        let bare = columns_sql(Dialect::Mariadb, &table[1..]).unwrap();
        assert!(bare.contains("TABLE_SCHEMA = database()"), "{bare}");
        assert_eq!(columns_sql(Dialect::Sqlite, &table), None);
    }

    #[test]
    fn a_server_is_asked_which_part_of_a_name_with_dots_is_its_schema() {
        let sql = parts_sql(Dialect::Postgres, "Old.Shop.o'x");
        assert_eq!(sql.matches("'Old.Shop.o''x'").count(), 3, "{sql}");
    }

    #[test]
    fn an_empty_table_has_no_bounds() {
        let row: Row = vec![Some("0".into()), Some("0".into()), None, None];
        let expected = Answer::Bounds { rows: 0, null_keys: 0, range: None };
        assert_eq!(bounds(Some(&row)).unwrap(), expected);
    }
}
