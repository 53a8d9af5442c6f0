//! Runs every `tests/slt/**.slt` file over a small shop; those of `edits` over a lake of their own, which
//! they may change, those of `rules` as a reader who sees a part of the tables, and those about learners with some.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Float64Type;
use async_trait::async_trait;
use flywheel_base::{Error, ErrorKind};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

use crate::testing::{TestLake, at, batch, catalog_of, stream, text_of};
use crate::{
    Definition, Expression, Feature, FeatureKind, Lake, Learners, Scorer, Seen, Served, Session,
    Sight, TableName, Write, WriteMode, is_definition, is_edit,
};

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

/// `tip` scores `2 * n` plus the length of `v`, `late` was never fitted, `picks` recommends and `groups` does neither.
#[derive(Debug)]
struct Toys;

#[derive(Debug)]
struct Tip([Feature; 2]);

impl Learners for Toys {
    fn served(&self, learner: &str) -> flywheel_base::Result<Option<Served>> {
        let feature = |name: &str, kind| Feature { name: name.to_owned(), kind };
        Ok(match learner {
            "tip" => Some(Served::Scores(Arc::new(Tip([
                feature("n", FeatureKind::Number),
                feature("v", FeatureKind::Text),
            ])))),
            "picks" => Some(Served::Lists(Some(2))),
            "groups" => Some(Served::Table("segment".to_owned())),
            _ => None,
        })
    }
}

impl Scorer for Tip {
    fn features(&self) -> &[Feature] {
        &self.0
    }

    fn score(&self, columns: &[ArrayRef], rows: usize) -> flywheel_base::Result<Float64Array> {
        let (n, v) = (columns[0].as_primitive::<Float64Type>(), columns[1].as_string::<i32>());
        let score = |row: usize| {
            let length = if v.is_valid(row) { v.value(row).len() as f64 } else { 0.0 };
            n.is_valid(row).then(|| 2.0 * n.value(row) + length)
        };
        assert!(columns.iter().all(|column| column.len() == rows));
        Ok((0..rows).map(score).collect())
    }
}

/// The shop with learners that can be asked.
async fn taught() -> TestLake {
    let t = shop().await;
    t.lake.lend(Arc::new(Toys));
    let one = |table: &'static str| {
        let rows = batch(&[("unit_id", vec![Some("1")]), ("score", vec![Some("0.5")])]);
        (table, rows)
    };
    let text = |values: [&'static str; 4]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let picks = RecordBatch::try_from_iter([
        ("user_id", text(["1", "1", "*", "*"])),
        ("rank", Arc::new(Int64Array::from(vec![1, 2, 1, 2])) as ArrayRef),
        ("item_id", text(["bread", "milk", "salt", "tea"])),
        ("score", Arc::new(Float64Array::from(vec![0.9, 0.5, 0.4, 0.2])) as ArrayRef),
        ("reason", text(["because of jam", "popular now", "popular now", "popular now"])),
        ("source", text(["ease", "popularity", "popularity", "popularity"])),
    ])
    .unwrap();
    let tables = [one("learn/tip"), one("learn/late"), one("learn/groups"), ("learn/picks", picks)];
    for (table, rows) in tables {
        let write = Write::new(WriteMode::Replace, stream(rows), "seed");
        t.lake.write(&at(table), write).await.unwrap();
    }
    t
}

#[tokio::test]
async fn predictions_are_null_before_the_first_fit_only_where_that_is_allowed() {
    let t = taught().await;
    let mut catalog = catalog_of(&t.lake).await;
    let sql = "select predict('late', *), predict('tip', *) as tip from shop.orders where id = 10";
    let refused = t.lake.session(catalog.clone()).unwrap().query(sql).await.unwrap_err().report();
    assert!(refused.contains("learner \"late\" was not fitted yet"), "{refused}");
    assert!(refused.contains("flywheel learn late"), "{refused}");
    catalog.allow_unfitted();
    let query = t.lake.session(catalog).unwrap().query(sql).await.unwrap();
    assert_eq!(text_of(&query.collect().await.unwrap()), ["|6.0"]);
    let read: Vec<String> = query.tables().iter().map(ToString::to_string).collect();
    assert_eq!(read, ["learn.late", "learn.tip", "shop.orders"]);
}

/// A heading says what was asked, not what was made of it before it was planned; other values are another column.
#[tokio::test]
async fn a_prediction_within_a_calculation_is_headed_as_it_was_written() {
    let t = taught().await;
    let catalog = catalog_of(&t.lake).await;
    let sql = "select max(predict('tip', o.*)), max(predict('tip', *, n => 1)), max(predict('tip', *, n => 2))                from shop.orders as o where id = 10";
    let query = t.lake.session(catalog).unwrap().query(sql).await.unwrap();
    let schema = query.schema();
    let heads: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(heads[0], "max(predict('tip', o.*))");
    let other = "max(predict('tip', o.*, n => ";
    assert!(heads[1].starts_with(other) && heads[2].starts_with(other), "{heads:?}");
    assert_ne!(heads[1], heads[2]);
    assert_eq!(text_of(&query.collect().await.unwrap()), ["6.0|6.0|8.0"]);
}

#[tokio::test]
async fn who_may_not_see_scores_may_not_ask_for_them() {
    let t = taught().await;
    let sight = |seen| Sight {
        reader: "Kim".to_owned(),
        rule: "rule \"scores\"".to_owned(),
        because: None,
        ask: "Ask Lee.".to_owned(),
        seen,
    };
    let part = |hidden: &[&str], rows: &[&str]| {
        let expression =
            |sql: &&str| Expression { sql: (*sql).to_owned(), values: BTreeMap::new() };
        sight(Seen::Part {
            rows: rows.iter().map(expression).collect(),
            masks: BTreeMap::new(),
            hidden: hidden.iter().map(|column| (*column).to_owned()).collect(),
        })
    };
    let ask = async |sight: Sight| {
        let mut catalog = catalog_of(&t.lake).await;
        catalog.limit(&TableName::new("learn", "tip"), sight);
        let sql = "select predict('tip', *) from shop.orders where id = 10";
        let query = t.lake.session(catalog).unwrap().query(sql).await?;
        Ok::<_, Error>(text_of(&query.collect().await?).join(""))
    };
    for hidden in [sight(Seen::Nothing), part(&["score"], &[])] {
        let error = ask(hidden).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.report().contains("rule \"scores\""), "{}", error.report());
    }
    // What is scored are the reader's own rows.
    assert_eq!(ask(part(&["artifact"], &["unit_id = '7'"])).await.unwrap(), "6.0");
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
    let (t, taught) = (shop().await, taught().await);
    let mut failed = Vec::new();
    for file in files {
        if file.parent().is_some_and(|folder| folder.ends_with("edits")) {
            let t = TestLake::new().await;
            let mut runner = Runner::new(|| async { Ok(Changing(t.lake.clone())) });
            failed.extend(runner.run_file_async(&file).await.err().map(|error| error.to_string()));
            continue;
        }
        if file.parent().is_some_and(|folder| folder.ends_with("rules")) {
            let t = super::sight::people(0).await;
            let session = super::sight::session_of_files(&t).await;
            let mut runner = Runner::new(|| async { Ok(Database(session.clone())) });
            failed.extend(runner.run_file_async(&file).await.err().map(|error| error.to_string()));
            continue;
        }
        let asks = ["predict.slt", "recommend.slt"].iter().any(|name| file.ends_with(name));
        let lake = if asks { &taught.lake } else { &t.lake };
        let session = lake.session(catalog_of(lake).await).unwrap();
        let mut runner = Runner::new(|| async { Ok(Database(session.clone())) });
        failed.extend(runner.run_file_async(&file).await.err().map(|error| error.to_string()));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
