//! What only a database can do: tables that were there before, their constraints, and locks.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use serde_json::json;

use super::*;
use crate::destination::{Checkpoint, DestinationEntry, NewTargetColumns};
use crate::page::Position;
use crate::source::contract::{Folder, now};

struct Shop {
    folder: Folder,
    connection: Connection,
}

impl Shop {
    fn new(sql: &str) -> Self {
        let folder = Folder::new(&[]);
        let connection = Connection::open(folder.path("shop.db")).unwrap();
        connection.execute_batch(sql).unwrap();
        Self { folder, connection }
    }

    async fn writer(&self, mode: WriteMode) -> Result<Box<dyn Writer>> {
        let ctx = DestinationContext { base_dir: self.folder.path(""), connection: "to".into() };
        let settings = json!({ "path": "shop.db", "busy_timeout": "10ms" });
        let request = WriteRequest {
            target: json!({ "table": "orders" }),
            app: "shop/orders".into(),
            schema: Arc::new(arrow::datatypes::Schema::empty()),
            mode,
            key: vec!["id".into()],
            deleted: None,
            new_columns: NewTargetColumns::Add,
            now: now(),
        };
        DestinationEntry::named("sqlite")?.build(settings, &ctx)?.writer(&request).await
    }

    fn rows(&self, sql: &str) -> Vec<String> {
        let mut statement = self.connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(|row| row.unwrap()).collect()
    }
}

fn batch(rows: &[(i64, Option<&str>)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let names: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>());
    let columns = [("id", ids), ("name", names)].map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn checkpoint(sequence: i64) -> Checkpoint {
    Checkpoint { sequence, position: Position(json!(sequence)) }
}

const ORDERS: &str = "CREATE TABLE customers (id INTEGER PRIMARY KEY);
    INSERT INTO customers VALUES (1);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT NOT NULL CHECK (length(name) < 5),
        customer INTEGER REFERENCES customers DEFAULT 1, code TEXT UNIQUE);
    CREATE TABLE lines (order_id INTEGER REFERENCES orders ON DELETE CASCADE);
    CREATE INDEX by_name ON orders (name);
    INSERT INTO orders (id, name) VALUES (1, 'old'); INSERT INTO lines VALUES (1);";

#[tokio::test]
async fn constraints_refuse_rows_one_by_one_in_every_mode() {
    for mode in [WriteMode::Append, WriteMode::Replace, WriteMode::Merge] {
        let shop = Shop::new(ORDERS);
        let mut writer = shop.writer(mode).await.unwrap();
        let rows = batch(&[(2, Some("a")), (3, None), (4, Some("too long")), (5, Some("b"))]);
        let refused = writer.write(&rows).await.unwrap();
        let found: Vec<_> =
            refused.iter().map(|r| (r.row, r.code.as_str(), r.column.as_deref())).collect();
        let expected = [(1, "null-value", Some("name")), (2, "check-failed", None)];
        assert_eq!(found, expected, "{mode}");
        assert!(!refused[1].reason.contains("too long"), "{}", refused[1].reason);
        writer.commit(&checkpoint(1)).await.unwrap();
        writer.finish().await.unwrap();
        let names = shop.rows("SELECT name FROM orders WHERE id > 1 ORDER BY id");
        assert_eq!(names, ["a", "b"], "{mode}");
    }
}

#[tokio::test]
async fn a_duplicate_key_is_refused_when_rows_are_appended() {
    let shop = Shop::new(ORDERS);
    let mut writer = shop.writer(WriteMode::Append).await.unwrap();
    let refused = writer.write(&batch(&[(1, Some("x")), (2, Some("y"))])).await.unwrap();
    assert_eq!((refused[0].code.as_str(), refused.len()), ("duplicate-key", 1));
}

#[tokio::test]
async fn a_replaced_table_keeps_its_definition_and_whoever_refers_to_it() {
    let shop = Shop::new(ORDERS);
    let mut writer = shop.writer(WriteMode::Replace).await.unwrap();
    writer.write(&batch(&[(1, Some("new")), (7, Some("x"))])).await.unwrap();
    writer.commit(&checkpoint(1)).await.unwrap();
    assert_eq!(shop.rows("SELECT name FROM orders"), ["old"]);
    writer.finish().await.unwrap();
    assert_eq!(shop.rows("SELECT name FROM orders ORDER BY id"), ["new", "x"]);
    assert_eq!(shop.rows("SELECT CAST(order_id AS TEXT) FROM lines"), ["1"]);
    let rest = "SELECT name FROM sqlite_schema WHERE tbl_name LIKE '%orders%' AND sql NOT NULL \
                ORDER BY name";
    assert_eq!(shop.rows(rest), ["by_name", "orders"]);
}

#[tokio::test]
async fn a_replacement_makes_its_table_with_the_key_and_sets_rows_aside_that_have_it_twice() {
    let shop = Shop::new("");
    let mut writer = shop.writer(WriteMode::Replace).await.unwrap();
    let rows = batch(&[(1, Some("a")), (2, Some("b")), (1, Some("again"))]);
    let refused = writer.write(&rows).await.unwrap();
    let found: Vec<_> = refused.iter().map(|r| (r.row, r.code.as_str())).collect();
    assert_eq!(found, [(2, "duplicate-key")]);
    writer.commit(&checkpoint(1)).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(shop.rows("SELECT name FROM orders ORDER BY id"), ["a", "b"]);
    assert_eq!(shop.rows("SELECT name FROM pragma_table_info('orders') WHERE pk = 1"), ["id"]);
}

#[tokio::test]
async fn what_the_database_computes_takes_no_value() {
    for mode in [WriteMode::Append, WriteMode::Merge, WriteMode::Replace] {
        let shop = Shop::new(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT AS ('n' || id) STORED)",
        );
        let mut writer = shop.writer(mode).await.unwrap();
        let refused = writer.write(&batch(&[(2, Some("ignored"))])).await.unwrap();
        assert!(refused.is_empty(), "{mode}: {refused:?}");
        writer.commit(&checkpoint(1)).await.unwrap();
        writer.finish().await.unwrap();
        assert_eq!(shop.rows("SELECT name FROM orders"), ["n2"], "{mode}");
    }
}

#[tokio::test]
async fn a_locked_database_is_unavailable_and_nothing_is_lost() {
    let shop = Shop::new(ORDERS);
    let mut writer = shop.writer(WriteMode::Append).await.unwrap();
    shop.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = writer.write(&batch(&[(2, Some("a"))])).await.unwrap_err();
    assert_eq!(error.kind(), flywheel_base::ErrorKind::Unavailable);
    assert!(error.hint_text().unwrap().contains("busy_timeout"));
    let error = writer.write(&batch(&[(2, Some("a"))])).await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("new writer"), "{error}");
    shop.connection.execute_batch("COMMIT").unwrap();
    let mut writer = shop.writer(WriteMode::Append).await.unwrap();
    writer.write(&batch(&[(2, Some("a"))])).await.unwrap();
    writer.commit(&checkpoint(1)).await.unwrap();
    assert_eq!(shop.rows("SELECT name FROM orders ORDER BY id"), ["old", "a"]);
}

#[tokio::test]
async fn a_merge_needs_a_table_that_is_unique_by_its_key() {
    let shop = Shop::new("CREATE TABLE orders (id INTEGER, name TEXT)");
    let error = shop.writer(WriteMode::Merge).await.err().unwrap();
    let hint = error.hint_text().unwrap();
    assert!(hint.contains("CREATE UNIQUE INDEX \"orders_key\" ON \"orders\" (\"id\")"), "{hint}");
    shop.connection.execute_batch("CREATE UNIQUE INDEX orders_key ON orders (id)").unwrap();
    shop.writer(WriteMode::Merge).await.unwrap();
}

#[tokio::test]
async fn columns_that_would_bend_a_value_refuse_it() {
    let shop = Shop::new("CREATE TABLE orders (id REAL, name NUMERIC, price REAL)");
    let mut writer = shop.writer(WriteMode::Append).await.unwrap();
    let wide = batch(&[(9_007_199_254_740_993, Some("1")), (1, Some("00123")), (2, Some("x"))]);
    let price = Decimal128Array::from(vec![1, 1, 12_345_678_901_234_567]);
    let price: ArrayRef = Arc::new(price.with_precision_and_scale(38, 2).unwrap());
    let mut columns: Vec<(&str, ArrayRef)> = vec![("price", price)];
    columns.extend([("id", Arc::clone(wide.column(0))), ("name", Arc::clone(wide.column(1)))]);
    let refused = writer.write(&RecordBatch::try_from_iter(columns).unwrap()).await.unwrap();
    let found: Vec<_> = refused.iter().map(|r| r.column.clone().unwrap()).collect();
    assert_eq!(found, ["id", "name", "price"]);
}

#[tokio::test]
async fn bad_targets_are_named() {
    let shop = Shop::new("CREATE VIEW orders AS SELECT 1 AS id");
    let error = shop.writer(WriteMode::Append).await.err().unwrap();
    assert!(error.message().contains("is a view"), "{error}");
    let ctx = DestinationContext { base_dir: shop.folder.path(""), connection: "to".into() };
    std::fs::write(shop.folder.path("not.db"), "this is no database, however long it may be")
        .unwrap();
    let entry = DestinationEntry::named("sqlite").unwrap();
    let error = entry.build(json!({ "path": "not.db" }), &ctx).unwrap().check().await.unwrap_err();
    assert!(error.message().contains("not a SQLite database"), "{error}");
    let taken = batch(&[]);
    let ids: ArrayRef = Arc::clone(taken.column(0));
    let twice = RecordBatch::try_from_iter([("id", Arc::clone(&ids)), ("ID", ids)]).unwrap();
    let shop = Shop::new("");
    let mut writer = shop.writer(WriteMode::Append).await.unwrap();
    assert!(writer.write(&twice).await.unwrap_err().message().contains("without case"));
}
