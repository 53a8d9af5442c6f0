//! Making the lake equal to the source again, key by key.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;

use flywheel_base::{Error, Result};
use flywheel_project::resource::sync::Stream;
use flywheel_reconcile::bisect::Found;
use flywheel_reconcile::checksum::{Dialect, Kind, TableText};
use flywheel_reconcile::record::Side;
use flywheel_warehouse::{DELETED, Duplicates, RowStream, Write, WriteMode};
use futures::StreamExt;
use serde_json::Value;

use super::Work;
use crate::Workspace;
use crate::mapping::mapping;
use crate::task::sync::{destination, location_of, read_request, source, union};

/// How many keys one query names.
const KEYS_AT_ONCE: usize = 500;

impl Work<'_> {
    /// Reads the rows that differ again and removes those that the source does not have; returns how
    /// many rows that were.
    pub(super) async fn mend(
        &self,
        workspace: &Workspace,
        here: &TableText,
        found: &Found,
    ) -> Result<u64> {
        let plan = found.repair(Side::Left);
        if !plan.ranges.is_empty() {
            return Err(Error::blocked(format!(
                "{} ranges differ as a whole, which is not mended row by row",
                plan.ranges.len()
            ))
            .hint(format!(
                "Read everything again: `flywheel sync {} --restart` for read: cdc, or once with read: full.",
                self.name
            )));
        }
        let mut mended = 0;
        for keys in plan.copy.chunks(KEYS_AT_ONCE) {
            mended += self.copy(workspace, here, keys).await?;
        }
        for keys in plan.delete.chunks(KEYS_AT_ONCE) {
            mended += self.remove(workspace, here, keys).await?;
        }
        Ok(mended)
    }

    async fn copy(&self, workspace: &Workspace, here: &TableText, keys: &[String]) -> Result<u64> {
        let named: Vec<(String, Kind)> =
            here.key.iter().map(|(name, kind)| (name_there(self.stream, name), *kind)).collect();
        let condition = condition(self.dialect, &named, keys)?;
        let mut stream = self.stream.clone();
        let both = match stream.options.get("where").and_then(Value::as_str) {
            Some(other) => format!("({other}) and ({condition})"),
            None => condition,
        };
        stream.options.insert("where".to_owned(), both.into());
        let source = source(workspace, self.sync, &stream).await?;
        let mapping = mapping(workspace, self.sync, &stream)?;
        let mut request = read_request(&stream, &mapping, None, workspace.now());
        request.mode = flywheel_connect::source::ReadMode::Full;
        let mut batches = Vec::new();
        let mut pages = source.read(&request);
        while let Some(page) = pages.next().await {
            let page = mapping.apply(page?)?;
            if let Some(bad) = page.rejected.first() {
                return Err(Error::blocked(format!(
                    "a row that differs cannot be read: {}",
                    bad.reason
                ))
                .hint("Mend it at the source, or see `flywheel quarantine list`."));
            }
            if page.batch.num_rows() > 0 {
                batches.push(page.batch);
            }
        }
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows == 0 {
            return Ok(0);
        }
        let schema = union(&batches)?;
        let rows_in = RowStream::from_batches(schema, batches);
        let key = self.stream.key.clone();
        let mode = WriteMode::Merge { key, duplicates: Duplicates::KeepLast };
        self.write(workspace, mode, rows_in).await?;
        Ok(rows as u64)
    }

    async fn remove(
        &self,
        workspace: &Workspace,
        here: &TableText,
        keys: &[String],
    ) -> Result<u64> {
        let names: Vec<String> = here.key.iter().map(|(name, _)| quoted(name)).collect();
        let table: Vec<String> = here.table.iter().map(|part| quoted(part)).collect();
        let sql = format!(
            "select {} from {} where {}",
            names.join(", "),
            table.join("."),
            condition(Dialect::Datafusion, &here.key, keys)?
        );
        let batches = workspace.lake_session().await?.query(&sql).await?.collect().await?;
        let marked = batches.iter().filter(|b| b.num_rows() > 0).map(marked);
        let batches = marked.collect::<Result<Vec<_>>>()?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let Some(first) = batches.first() else { return Ok(0) };
        let rows_in = RowStream::from_batches(first.schema(), batches.clone());
        let mode = WriteMode::MergeChanges {
            key: self.stream.key.clone(),
            duplicates: Duplicates::KeepLast,
            deleted: DELETED.to_owned(),
        };
        self.write(workspace, mode, rows_in).await?;
        Ok(rows as u64)
    }

    async fn write(&self, workspace: &Workspace, mode: WriteMode, rows: RowStream) -> Result<()> {
        let at = location_of(&destination(self.stream)?)?;
        let operation = format!("repair {}.{}", self.name, self.stream.stream);
        let write = Write::new(mode, rows, operation).add_columns();
        Box::pin(workspace.lake.write(&at, write)).await.map(drop)
    }
}

fn name_there(stream: &Stream, name: &str) -> String {
    let declared = stream.columns.iter().find(|column| column.name == *name);
    declared.map_or(name, |column| column.source_name()).to_owned()
}

/// Keys with the mark of rows that are gone.
fn marked(keys: &RecordBatch) -> Result<RecordBatch> {
    let schema = keys.schema();
    let mark = Arc::new(Field::new(DELETED, DataType::Boolean, false));
    let fields: Vec<_> = schema.fields().iter().cloned().chain([mark]).collect();
    let gone = Arc::new(BooleanArray::from(vec![true; keys.num_rows()])) as _;
    let columns = keys.columns().iter().cloned().chain([gone]).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Error::internal("keys cannot be marked").caused_by(error))
}

/// The condition that a row has one of these keys, given by their canonical texts.
fn condition(dialect: Dialect, key: &[(String, Kind)], keys: &[String]) -> Result<String> {
    let name = |name: &str| match dialect {
        Dialect::Mariadb => format!("`{}`", name.replace('`', "``")),
        _ => quoted(name),
    };
    let one = |text: &String| {
        let values = values(text);
        if values.len() != key.len() {
            return Err(Error::internal(format!("the key {text} has {} parts", values.len())));
        }
        let parts = key.iter().zip(values).map(|((column, kind), value)| {
            let literal = literal(dialect, *kind, &value).ok_or_else(|| {
                Error::invalid(format!("rows with the key column \"{column}\" are not mended"))
                    .hint("Keys of whole numbers, dates and text are.")
            })?;
            Ok(format!("{} = {literal}", name(column)))
        });
        Ok(format!("({})", parts.collect::<Result<Vec<_>>>()?.join(" and ")))
    };
    Ok(keys.iter().map(one).collect::<Result<Vec<_>>>()?.join(" or "))
}

/// The values of a canonical text: parted by `|`, with `\` before a `|` or `\` of theirs.
fn values(text: &str) -> Vec<String> {
    let mut values = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '|' => {
                values.push(String::new());
                continue;
            }
            '\\' => chars.next().unwrap_or('\\'),
            c => c,
        };
        if let Some(value) = values.last_mut() {
            value.push(plain);
        }
    }
    values
}

fn literal(dialect: Dialect, kind: Kind, value: &str) -> Option<String> {
    match kind {
        Kind::Integer => value.parse::<i128>().ok().map(|number| number.to_string()),
        Kind::Date => Some(format!("date '{}'", value.replace('\'', "''"))),
        Kind::Text => {
            let text = value.replace('\'', "''");
            Some(match dialect {
                Dialect::Mariadb => format!("'{}'", text.replace('\\', "\\\\")),
                _ => format!("'{text}'"),
            })
        }
        _ => None,
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_from_their_texts_and_cannot_break_out_of_a_query() {
        assert_eq!(values(r"1|a\|b\\c"), ["1", r"a|b\c"]);
        let key = [("id".to_owned(), Kind::Integer), ("name".to_owned(), Kind::Text)];
        let keys = [r"7|o'x\\".to_owned()];
        let found = condition(Dialect::Mariadb, &key, &keys).unwrap();
        assert_eq!(found, r"(`id` = 7 and `name` = 'o''x\\')");
        let found = condition(Dialect::Postgres, &key, &keys).unwrap();
        assert_eq!(found, r#"("id" = 7 and "name" = 'o''x\')"#);
        let key = [("id".to_owned(), Kind::Integer)];
        assert!(condition(Dialect::Postgres, &key, &["1 or true".to_owned()]).is_err());
        assert!(condition(Dialect::Postgres, &key, &["1|2".to_owned()]).is_err());
    }
}
