//! Runs every `tests/slt/**.slt` file over a small shop; those of `edits` over a lake of their own, which
//! they may change, and those of `rules` as a reader who sees a part of the tables.

use std::path::PathBuf;

use async_trait::async_trait;
use flywheel_base::Error;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

use crate::testing::{TestLake, at, batch, catalog_of, stream};
use crate::{Definition, Lake, Session, TableName, Write, WriteMode, is_definition, is_edit};

/// Where the files lie.
pub(super) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/slt")
}

struct Database(Session);

/// A lake that statements change; each sees what the one before has left.
struct Changing(Lake);

#[async_trait]
impl AsyncDB for Database {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        answer(&self.0, sql).await
    }

    async fn shutdown(&mut self) {}
}

#[async_trait]
impl AsyncDB for Changing {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        let session = self.0.session(catalog_of(&self.0).await)?;
        if is_definition(sql) {
            return self.define(&session, Definition::parse(sql)?).await;
        }
        if !is_edit(sql) {
            return answer(&session, sql).await;
        }
        let commit = session.edit(sql)?.run().await?.commit;
        Ok(DBOutput::StatementComplete(commit.rows_written + commit.rows_deleted))
    }

    async fn shutdown(&mut self) {}
}

impl Changing {
    /// Does what is about tables alone.
    async fn define(
        &self,
        session: &Session,
        definition: Definition,
    ) -> Result<DBOutput<DefaultColumnType>, Error> {
        let place = |name: &TableName| at(&format!("{}/{}", name.schema, name.name));
        match definition {
            Definition::Alter { name, changes } => {
                session.alter(&name, &changes).await?;
            }
            Definition::Rename { from, to } => {
                assert!(self.0.rename(&place(&from), &place(&to)).await?);
            }
            Definition::Drop { name, .. } => {
                self.0.remove(&place(&name)).await?;
            }
            other => panic!("{other:?} is about no table"),
        }
        Ok(DBOutput::StatementComplete(0))
    }
}

async fn answer(session: &Session, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
    let query = session.query(sql).await?;
    let types = vec![DefaultColumnType::Any; query.schema().fields().len()];
    let mut rows = Vec::new();
    for batch in query.collect().await? {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|column| match column.is_null(row) {
                true => "NULL".to_owned(),
                false => {
                    let text = arrow::util::display::array_value_to_string(column, row).unwrap();
                    if text.is_empty() { "(empty)".to_owned() } else { text }
                }
            });
            rows.push(values.collect());
        }
    }
    Ok(DBOutput::Rows { types, rows })
}

/// Tables `shop.customers(id, name, city)` and `shop.orders(id, n, v)`: order, customer, state.
async fn shop() -> TestLake {
    let t = TestLake::new().await;
    let some = |values: &[&'static str]| values.iter().map(|v| Some(*v)).collect::<Vec<_>>();
    let customers = batch(&[
        ("id", some(&["1", "2", "3"])),
        ("name", some(&["Ann", "王伟", "Çelik"])),
        ("city", vec![Some("Ulm"), None, Some("")]),
    ]);
    let orders = batch(&[
        ("id", some(&["10", "11", "12", "13"])),
        ("n", vec![Some("1"), Some("1"), Some("2"), None]),
        ("v", some(&["paid", "open", "paid", "lost"])),
    ]);
    for (table, rows) in [("shop/customers", customers), ("shop/orders", orders)] {
        let write = Write::new(WriteMode::Replace, stream(rows), "seed");
        t.lake.write(&at(table), write).await.unwrap();
    }
    t
}

#[tokio::test]
async fn every_logic_file_passes() {
    let mut files = Vec::new();
    let mut waiting = vec![folder()];
    while let Some(at) = waiting.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|end| end == "slt") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    let t = shop().await;
    for file in files {
        if file.parent().is_some_and(|folder| folder.ends_with("edits")) {
            let t = TestLake::new().await;
            let mut runner = Runner::new(|| async { Ok(Changing(t.lake.clone())) });
            runner.run_file_async(&file).await.unwrap_or_else(|error| panic!("{error}"));
            continue;
        }
        if file.parent().is_some_and(|folder| folder.ends_with("rules")) {
            let t = super::sight::people(0).await;
            let session = super::sight::session_of_files(&t).await;
            let mut runner = Runner::new(|| async { Ok(Database(session.clone())) });
            runner.run_file_async(&file).await.unwrap_or_else(|error| panic!("{error}"));
            continue;
        }
        let session = t.lake.session(catalog_of(&t.lake).await).unwrap();
        let mut runner = Runner::new(|| async { Ok(Database(session.clone())) });
        runner.run_file_async(&file).await.unwrap_or_else(|error| panic!("{error}"));
    }
}
