//! What SQL may do, how it fails, and that it lives within its memory.

pub(super) mod sight;
mod slt;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use flywheel_base::{ErrorKind, Timestamp};

use crate::testing::{TestLake, at, catalog_of, pair_schema, pairs, rows_of, text_of};
use crate::{Catalog, Parameter, Parameters, RowStream, Session, TableName, Write, WriteMode};

fn name(text: &str) -> TableName {
    TableName::parse(text).unwrap()
}

async fn shop(t: &TestLake) -> Catalog {
    for (table, rows) in
        [("raw/orders", pairs(&[(1, "a"), (2, "b")])), ("raw/Items", pairs(&[(9, "i")]))]
    {
        let write = Write::new(WriteMode::Replace, rows, "build");
        t.lake.write(&at(table), write).await.unwrap();
    }
    let mut catalog = catalog_of(&t.lake).await;
    catalog
        .view(&name("mart.top"), "select id, v from raw.orders where id > 1")
        .view(&name("mart.all"), "select t.id, i.v from mart.top t cross join raw.\"Items\" i")
        .memory(&name("ref.empty"), pair_schema(), Vec::new());
    catalog
}

async fn run(session: &Session, sql: &str) -> Vec<String> {
    text_of(&session.query(sql).await.unwrap().collect().await.unwrap())
}

#[tokio::test]
async fn a_condition_over_a_join_of_columns_of_one_name_keeps_to_its_side() {
    let t = sight::people(0).await;
    let session = t.lake.session(catalog_of(&t.lake).await).unwrap();
    let orders = "select state as c0, id as c1 from t.orders where n in (1, 3, 4, 600)";
    // No region is called `paid`, so each of these orders is there.
    let sql = format!(
        "select count(*) as n from (select a.c0, b.c1 from (select region as c0, city as c1 from t.people) as a \
         right join ({orders}) as b on a.c1 = b.c0 where coalesce(a.c0, 'none') <> 'paid')"
    );
    assert_eq!(run(&session, &sql).await, ["8"]);
    assert_eq!(run(&session, &format!("select count(*) from ({orders})")).await, ["8"]);
}

#[tokio::test]
async fn keys_of_joined_tables_that_have_the_same_name_are_told_apart() {
    let t = TestLake::new().await;
    // What is looked for in the first table lies in both of its files, by another column than that of the name `id`.
    for (table, files) in [
        (
            "j/sales",
            vec![vec![(1, "0"), (2, "1"), (3, "0")], vec![(40, "0"), (41, "2"), (42, "0")]],
        ),
        ("j/shops", vec![vec![(0, "a"), (1, "b")], vec![(2, "c"), (3, "d")]]),
        ("j/open", vec![vec![(0, "yes")]]),
    ] {
        for rows in files {
            let write = Write::new(WriteMode::Append, pairs(&rows), "sync");
            t.lake.write(&at(table), write).await.unwrap();
        }
    }
    let from = "(select id, cast(v as bigint) as shop from j.sales) s \
                join j.shops p on p.id = s.shop join j.open o on p.id = o.id";
    assert_eq!(t.sql(&format!("select count(*), sum(s.id) from {from}")).await, ["4|86"]);
    let sql = format!("select s.id, p.id from {from} order by p.id, s.id limit 3");
    assert_eq!(t.sql(&sql).await, ["1|0", "3|0", "40|0"]);
    // The condition that could meet a namesake is not handed down, and the others are.
    let plan = t.sql(&format!("explain {sql}")).await.join("\n");
    assert!(plan.contains("PartedExec") && plan.contains("DynamicFilter"), "{plan}");
}

#[tokio::test]
async fn what_is_constant_below_a_join_is_not_where_rows_are_filled_with_nulls() {
    let t = TestLake::new().await;
    let session = t.lake.session(shop(&t).await).unwrap();
    let five = "(select 5 as c2 from (values (1), (2)) as t(x)) as a";
    let ids = "(select * from (values (1), (5), (7)) as b(id)) as b";
    for from in [
        format!("{five} right join {ids} on a.c2 = b.id"),
        format!("{ids} left join {five} on a.c2 = b.id"),
        format!("{five} full join {ids} on a.c2 = b.id"),
    ] {
        let sql = format!("select c2, id from {from} order by c2 nulls first, id");
        assert_eq!(run(&session, &sql).await, ["|1", "|7", "5|5", "5|5"], "{from}");
        let sql = format!(
            "select n, count(*) from (select row_number() over (partition by c2 order by id) as n, c2 from {from}) group by 1 order by 1"
        );
        assert_eq!(run(&session, &sql).await, ["1|2", "2|2"], "{from}");
        let sql = format!("select c2, count(*) from {from} group by 1 order by 1 nulls first");
        assert_eq!(run(&session, &sql).await, ["|2", "5|2"], "{from}");
    }
    // An expression that was equal to a column below the join is not where the column is filled.
    let sql = "select b.id, a.c, coalesce(a.x, 0) as d \
               from (select x, coalesce(x, 0) as c from (values (1), (2)) as t(x)) as a \
               right join (values (1), (7)) as b(id) on a.x = b.id order by a.c nulls first, coalesce(a.x, 0)";
    assert_eq!(run(&session, sql).await, ["7||0", "1|1|1"]);
}

#[tokio::test]
async fn statements_that_change_anything_are_refused() {
    let t = TestLake::new().await;
    let session = t.lake.session(shop(&t).await).unwrap();
    for sql in [
        "create table x as select 1",
        "create view x as select 1",
        "create external table x stored as parquet location '/etc'",
        "insert into raw.orders values (3, 'c')",
        "delete from raw.orders",
        "update raw.orders set v = ''",
        "copy raw.orders to '/tmp/flywheel-copy.parquet'",
        "set datafusion.execution.batch_size = 1",
        "drop table raw.orders",
        "explain analyze insert into raw.orders values (3, 'c')",
        "with x as (insert into raw.orders values (3, 'c')) select * from x",
        "begin",
        "prepare p as select 1",
    ] {
        let error = session.query(sql).await.unwrap_err();
        let expected = [ErrorKind::Denied, ErrorKind::Invalid];
        assert!(expected.contains(&error.kind()), "{sql}: {error:?}");
    }
    let two = session.query("select 1; select 2").await.unwrap_err();
    assert_eq!(two.kind(), ErrorKind::Invalid);
    let denied = session.query("drop table raw.orders").await.unwrap_err();
    assert!(denied.message().contains("DROP") && denied.hint_text().is_some(), "{denied:?}");
    for path in ["'/etc/passwd'", "\"/etc/passwd\"", "'file:///etc/hosts.csv'"] {
        let error = session.query(&format!("select * from {path}")).await.unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Internal, "{path}: {error:?}");
    }
}

#[tokio::test]
async fn a_name_that_a_select_gives_is_known_beside_it() {
    let t = TestLake::new().await;
    let session = t.lake.session(shop(&t).await).unwrap();
    for (sql, expected) in [
        (
            "select id * 10 as ten, ten + 1 as more, more > 11 as large from raw.orders order by id",
            "10|11|false 20|21|true",
        ),
        // Over all rows, and of a group.
        (
            "select id > 1 as late, max(case when late then id end) over () as last from raw.orders order by id",
            "false|2 true|2",
        ),
        ("select sum(id) as total, total / count(*) as mean from raw.orders", "3|1"),
        ("select id + 1 as more from raw.orders where MORE > 2", "3"),
        // The engine wants to know of what type they are before it looks for them.
        (
            "select id as more, -more as less, id > 1 as late, not late as early from raw.orders order by 1",
            "1|-1|false|true 2|-2|true|false",
        ),
        // A column goes before a name, also where another query has none.
        (
            "with a as (select id * 2 as n, N + id as thrice from raw.orders) \
             select thrice as n, n + thrice as whole from a order by 1",
            "3|5 6|10",
        ),
        ("select id + 1 as id, id as same from raw.orders order by 1", "2|1 3|2"),
        (
            "select v as w, (select count(*) from raw.orders) as n, w || n as both_of from raw.orders order by 1",
            "a|2|a2 b|2|b2",
        ),
    ] {
        assert_eq!(run(&session, sql).await.join(" "), expected, "{sql}");
    }
    let query = session.query("select id as one, one + 1 from raw.orders").await.unwrap();
    assert_eq!(query.schema().field(1).name(), "one + 1");
    let mut doubled = "select id as a0".to_owned();
    for at in 1..30 {
        doubled += &format!(", a{0} + a{0} as a{at}", at - 1);
    }
    doubled += " from raw.orders";
    for (sql, missing) in [
        ("select b as a, id as b from raw.orders", "\"b\""),
        ("select id as a, a + zz as b from raw.orders", "\"zz\""),
        ("select id from raw.orders where zz > 1", "\"zz\""),
        // Written out, it would be two numbers.
        ("select random() as r, r + 1 as s from raw.orders", "\"r\""),
        (doubled.as_str(), "\"a"),
    ] {
        let error = session.query(sql).await.unwrap_err();
        assert!(error.message().starts_with(&format!("unknown column {missing}")), "{error:?}");
    }
}

#[tokio::test]
async fn columns_become_rows() {
    let t = TestLake::new().await;
    let session = t.lake.session(shop(&t).await).unwrap();
    let table = "(values (1, 10, cast(null as bigint)), (2, 20, 30)) as t (k, a, b)";
    let rows =
        |unpivot: &str| format!("select k, name, n from {table} {unpivot} as u order by 1, 2");
    assert_eq!(
        run(&session, &rows("unpivot (n for name in (a, B as \"it's b\"))")).await,
        ["1|a|10", "2|a|20", "2|it's b|30"]
    );
    assert_eq!(
        run(&session, &rows("unpivot include nulls (n for name in (a, B))")).await,
        ["1|a|10", "1|b|", "2|a|20", "2|b|30"]
    );
    // What is written out is many times as long as what was asked.
    let wide: Vec<String> = (0..20_000).map(|at| format!("c{at}")).collect();
    let wide = format!("select * from raw.orders unpivot (n for name in ({}))", wide.join(", "));
    for (sql, told) in [
        ("select * from raw.orders unpivot ((x, y) for name in ((id, v)))", "UNPIVOT of several"),
        ("select * from raw.orders pivot (sum(id) for v in ('a', 'b'))", "PIVOT is not supported"),
        (wide.as_str(), "an UNPIVOT makes the query too long"),
    ] {
        let error = session.query(sql).await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Invalid && error.message().starts_with(told),
            "{error:?}"
        );
    }
}

/// Rows of the day `day` of January 2024, one an hour from midnight on.
fn hours(day: u32, ids: std::ops::Range<i64>) -> RowStream {
    let start = Timestamp::parse(&format!("2024-01-{day:02}")).unwrap().micros();
    let at = |hour: i64| Some(start + hour * 3_600_000_000 + 7);
    let at: TimestampMicrosecondArray = (0..ids.end - ids.start).map(at).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(ids.collect::<Int64Array>())),
        ("at", Arc::new(at.with_timezone("UTC"))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    RowStream::from_batches(batch.schema(), vec![batch])
}

#[tokio::test]
async fn a_condition_on_what_another_table_holds_opens_new_files_only() {
    let t = TestLake::new().await;
    for (day, ids) in [(1, 0..5), (2, 5..10), (3, 10..15)] {
        let write = Write::new(WriteMode::Append, hours(day, ids), "sync");
        t.lake.write(&at("raw/lines"), write).await.unwrap();
    }
    let write = Write::new(WriteMode::Append, hours(2, 0..3), "build");
    t.lake.write(&at("mart/done"), write).await.unwrap();
    let newest = "(select date_trunc('day', max(at)) + interval '1 day' from mart.done)";
    let expected = ["10", "11", "12", "13", "14"];
    let new = format!("select id from raw.lines where at >= {newest} order by id");
    assert_eq!(t.sql(&new).await, expected);
    // The bounds in the log say all that is needed of `done` and of the first two days.
    let files = |folder: &str| {
        let entries = std::fs::read_dir(t.file(folder)).unwrap().map(|e| e.unwrap().path());
        let mut files: Vec<_> =
            entries.filter(|p| p.extension().is_some_and(|e| e == "parquet")).collect();
        files.sort();
        files
    };
    for path in files("raw/lines").iter().take(2).chain(&files("mart/done")) {
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(rows_of(&t.other().await, &new).await, expected);
    let inside = format!("select count(*) from (select 1) as one where exists ({new})");
    assert_eq!(rows_of(&t.other().await, &inside).await, ["1"]);
    let none = "select id from raw.lines where at > (select max(at) from mart.done where at < '2000-01-01')";
    let none = none.replace("mart.done", "raw.lines");
    assert_eq!(rows_of(&t.other().await, &none).await, [""; 0], "NULL compares with nothing");
    let session = t.lake.session(catalog_of(&t.lake).await).unwrap();
    let many = "select id from raw.lines where id > (select id from raw.lines where id > 10)";
    let error = session.query(many).await.unwrap().collect().await.unwrap_err();
    assert!(error.report().contains("more than one row"), "{}", error.report());
}

#[tokio::test]
async fn statements_that_read_are_allowed() {
    let t = TestLake::new().await;
    let session = t.lake.session(shop(&t).await).unwrap();
    assert_eq!(run(&session, "values (1), (2)").await, ["1", "2"]);
    assert_eq!(run(&session, "with x as (select 3 as n) select n from x").await, ["3"]);
    assert_eq!(run(&session, "select * from orders order by id").await, ["1|a", "2|b"]);
    assert_eq!(run(&session, "SELECT ID FROM RAW.ORDERS ORDER BY ID").await, ["1", "2"]);
    assert_eq!(run(&session, "select count(*) from generate_series(1, 5)").await, ["5"]);
    assert!(run(&session, "explain select * from mart.all").await.join("").contains("CrossJoin"));
    assert!(run(&session, "explain analyze select 1").await.join("").contains("rows"));
    let tables = run(&session, "show tables").await.join("\n");
    for table in ["raw|orders", "mart|top", "ref|empty"] {
        assert!(tables.contains(table), "{tables}");
    }
    assert_eq!(run(&session, "describe raw.orders").await, ["id|Int64|YES", "v|Utf8|YES"]);
    assert!(run(&session, "select id, v from ref.empty").await.is_empty());
    assert_eq!(
        run(&session, "select cast(now() as date)").await,
        ["2024-01-01"],
        "the lake's clock"
    );
}

#[tokio::test]
async fn unknown_names_come_with_the_nearest_known_one() {
    let t = TestLake::new().await;
    let session = t.lake.session(shop(&t).await).unwrap();
    for (sql, kind, says, hint) in [
        ("select * from raw.ordes", ErrorKind::NotFound, "raw.ordes", "raw.orders"),
        ("select * from ordes", ErrorKind::NotFound, "ordes", ""),
        ("select * from mart.orders", ErrorKind::NotFound, "mart.orders", "raw.orders"),
        ("select * from raw.items", ErrorKind::NotFound, "raw.items", "\"raw\".\"Items\""),
        ("select idd from raw.orders", ErrorKind::Invalid, "idd", "\"id\""),
        ("select o.vv from raw.orders o", ErrorKind::Invalid, "vv", "\"v\""),
        ("select uper(v) from raw.orders", ErrorKind::Invalid, "uper", "upper"),
        ("selct 1", ErrorKind::Invalid, "parsed", ""),
    ] {
        let error = session.query(sql).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{sql}: {error:?}");
        assert!(error.message().contains(says), "{sql}: {error:?}");
        assert!(error.hint_text().unwrap().contains(hint), "{sql}: {error:?}");
    }
}

#[tokio::test]
async fn a_name_in_two_schemas_must_be_written_in_full() {
    let t = TestLake::new().await;
    let mut catalog = shop(&t).await;
    catalog.view(&name("mart.orders"), "select 1 as one");
    let session = t.lake.session(catalog).unwrap();
    let error = session.query("select * from orders").await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("mart.orders or raw.orders"), "{error:?}");
    assert_eq!(run(&session, "select * from mart.orders").await, ["1"]);
}

#[tokio::test]
async fn a_query_names_everything_it_reads_with_its_views_and_below_them() {
    let t = TestLake::new().await;
    let session = t.lake.session(shop(&t).await).unwrap();
    let query = session.query("with top as (select 1) select * from mart.all, top").await.unwrap();
    let read: Vec<String> = query.tables().iter().map(ToString::to_string).collect();
    assert_eq!(read, ["mart.all", "mart.top", "raw.Items", "raw.orders"]);
    assert_eq!(text_of(&query.collect().await.unwrap()), ["2|i|1"]);
    let sub = "select (select max(id) from raw.orders) where exists (select 1 from mart.top)";
    assert_eq!(session.query(sub).await.unwrap().tables().len(), 3 - 1);
}

#[tokio::test]
async fn views_that_read_themselves_are_an_error_not_a_hang() {
    let t = TestLake::new().await;
    let mut catalog = Catalog::new();
    catalog.view(&name("a.x"), "select * from a.y").view(&name("a.y"), "select * from a.x");
    let session = t.lake.session(catalog).unwrap();
    let error = session.query("select * from a.x").await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("a.x → a.y → a.x"), "{error:?}");
}

#[tokio::test]
async fn a_fingerprint_is_the_meaning_of_a_query_not_its_looks() {
    let t = TestLake::new().await;
    let catalog = shop(&t).await;
    let session = t.lake.session(catalog.clone()).unwrap();
    let print = async |sql: &str| session.query(sql).await.unwrap().fingerprint();
    let one = print("select id, upper(v) as v from raw.orders where id > 1").await;
    let same = "SELECT\n  ID, -- the key\n  upper(v) AS v\nFROM raw.orders /* all */ WHERE id > 1";
    assert_eq!(one, print(same).await);
    for other in [
        "select id, upper(v) as v from raw.orders where id > 2",
        "select id, upper(v) as w from raw.orders where id > 1",
        "select id, lower(v) as v from raw.orders where id > 1",
        "select id, upper(v) as v from raw.\"Items\" where id > 1",
        "select distinct id, upper(v) as v from raw.orders where id > 1",
    ] {
        assert_ne!(one, print(other).await, "{other}");
    }
    let values = |last: u32| format!("values (1), (2), (3), (4), (5), (6), ({last})");
    assert_ne!(print(&values(7)).await, print(&values(8)).await);
    let write = Write::new(WriteMode::Append, pairs(&[(5, "e")]), "sync");
    t.lake.write(&at("raw/orders"), write).await.unwrap();
    let later = t.lake.session(catalog).unwrap();
    let later = later.query("select id, upper(v) as v from raw.orders where id > 1").await.unwrap();
    assert_eq!(one, later.fingerprint(), "rows are not part of the meaning");
}

#[tokio::test]
async fn a_session_reads_one_version_and_a_pinned_name_always_the_same() {
    let t = TestLake::new().await;
    let mut catalog = shop(&t).await;
    catalog.table(&name("old.orders"), at("raw/orders"), Some(0));
    let session = t.lake.session(catalog.clone()).unwrap();
    assert_eq!(run(&session, "select count(*) from raw.orders").await, ["2"]);
    let write = Write::new(WriteMode::Append, pairs(&[(5, "e")]), "sync");
    t.lake.write(&at("raw/orders"), write).await.unwrap();
    assert_eq!(run(&session, "select count(*) from raw.orders").await, ["2"]);
    let fresh = t.lake.session(catalog).unwrap();
    let both =
        "select (select count(*) from raw.orders) as a, (select count(*) from old.orders) as b";
    assert_eq!(run(&fresh, both).await, ["3|2"]);
    let mut missing = Catalog::new();
    missing.table(&name("raw.none"), at("raw/none"), None);
    let error = t.lake.session(missing).unwrap().query("select * from raw.none").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// So many distinct wide rows that neither sorting nor joining them fits into the test's memory.
fn wide(rows: i64) -> Vec<RecordBatch> {
    let batch = |from: i64| {
        let ids: ArrayRef = Arc::new((from..from + 8_192).collect::<Int64Array>());
        let text = (from..from + 8_192).map(|n| Some(format!("{n:0>64}"))).collect::<StringArray>();
        RecordBatch::try_from_iter([("id", ids), ("v", Arc::new(text) as ArrayRef)]).unwrap()
    };
    (0..rows / 8_192).map(|n| batch(n * 8_192)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sort_spills_and_a_refused_hash_join_is_retried_as_sort_merge() {
    let t = TestLake::with_memory(40 << 20).await;
    let batches = wide(80 * 8_192);
    let rows = RowStream::from_batches(batches[0].schema(), batches);
    t.lake.write(&at("raw/big"), Write::new(WriteMode::Replace, rows, "build")).await.unwrap();
    let session = t.lake.session(catalog_of(&t.lake).await).unwrap();
    let sorted =
        "select max(n) from (select row_number() over (order by v desc) as n from raw.big)";
    assert_eq!(run(&session, sorted).await, ["655360"]);
    let query =
        session.query("select count(*), max(b.v) from raw.big a join raw.big b on a.v = b.v");
    let query = query.await.unwrap();
    let expected = format!("655360|{:0>64}", 655_359);
    assert_eq!(text_of(&query.collect().await.unwrap()), std::slice::from_ref(&expected));
    let streamed = query.stream().await.unwrap().collect().await.unwrap();
    assert_eq!(text_of(&streamed), std::slice::from_ref(&expected));
    let apart = query.stream_apart().collect().await.unwrap();
    assert_eq!(text_of(&apart), [expected]);
    let all = session.query("select id from raw.big").await.unwrap();
    let all = all.stream_apart().collect().await.unwrap();
    assert_eq!(all.iter().map(RecordBatch::num_rows).sum::<usize>(), 655_360, "no batch is lost");
    let query = session.query("select array_agg(v) from raw.big").await.unwrap();
    let error = query.collect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
    let apart = query.stream_apart().collect().await.unwrap_err();
    assert_eq!(apart.kind(), ErrorKind::Exhausted, "an end too early is told: {apart:?}");
    assert!(error.hint_text().is_some());
}

#[tokio::test]
async fn a_value_that_cannot_be_computed_is_the_users_error() {
    let t = TestLake::new().await;
    let session = t.lake.session(shop(&t).await).unwrap();
    for sql in ["select cast(v as int) from raw.orders", "select 1 / (id - 1) from raw.orders"] {
        let error = session.query(sql).await.unwrap().collect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error:?}");
        let apart = session.collect_apart(sql).await.unwrap_err();
        assert_eq!(apart.to_string(), error.to_string());
        assert!(error.hint_text().is_some());
    }
}

#[tokio::test]
async fn filters_read_only_the_files_that_can_match() {
    let t = TestLake::new().await;
    for n in 0..4_i64 {
        let rows = pairs(&[(n * 10, "x"), (n * 10 + 9, "y")]);
        t.lake.write(&at("raw/x"), Write::new(WriteMode::Append, rows, "s")).await.unwrap();
    }
    let session = t.lake.session(catalog_of(&t.lake).await).unwrap();
    let plan = run(&session, "explain select v from raw.x where id = 19").await.join("\n");
    assert_eq!(plan.matches(".parquet").count(), 1, "{plan}");
    assert_eq!(run(&session, "select v from raw.x where id = 19").await, ["y"]);
    assert!(run(&session, "select v from raw.x where id = 1000").await.is_empty());
    let counted = run(&session, "explain select count(*), max(id) from raw.x").await.join("\n");
    assert!(!counted.contains(".parquet"), "answered from the log: {counted}");
    assert_eq!(run(&session, "select count(*), max(id), min(id) from raw.x").await, ["8|39|0"]);
    assert_eq!(run(&session, "select id from raw.x limit 1").await.len(), 1);
}

#[test]
fn every_function_has_a_logic_test() {
    let folder = slt::folder();
    for function in crate::FUNCTIONS {
        let name = function.usage.split('(').next().unwrap();
        let path = folder.join(format!("functions/{name}.slt"));
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(text.contains(name), "{} is missing", path.display());
    }
}

#[tokio::test]
async fn an_expression_sees_columns_and_no_table() {
    let t = TestLake::new().await;
    let columns: [(&str, ArrayRef); 2] = [
        ("left", Arc::new(StringArray::from(vec![Some("a"), None]))),
        ("right", Arc::new(StringArray::from(vec!["b", "c"]))),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let value = t.lake.evaluate("coalesce(left, upper(right))", &rows).unwrap();
    assert_eq!(value.as_ref(), &StringArray::from(vec!["a", "C"]) as &dyn arrow::array::Array);
    for bad in ["middle", "(select 1 from raw.orders)", "left +", "left; drop table x"] {
        let error = t.lake.evaluate(bad, &rows).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}: {error}");
    }
}

#[tokio::test]
async fn decimals_are_compared_as_written_and_tables_see_the_number() {
    let t = TestLake::new().await;
    let cents = arrow::array::Decimal128Array::from(vec![57_280, 99_999_999_999]);
    let cents: ArrayRef = Arc::new(cents.with_precision_and_scale(12, 2).unwrap());
    let rows = RecordBatch::try_from_iter([("cents", cents)]).unwrap();
    for (sql, expected) in [
        ("cents = 572.8", [true, false]),
        ("cents in (999999999.99, 1.5)", [false, true]),
        ("cents between 572.8 and 999999999.98", [true, false]),
        ("cents < 572.801", [true, false]),
    ] {
        let value = t.lake.evaluate(sql, &rows).unwrap();
        let expected = arrow::array::BooleanArray::from(expected.to_vec());
        assert_eq!(value.as_ref(), &expected as &dyn arrow::array::Array, "{sql}");
    }
    let mut catalog = Catalog::new();
    catalog.memory(&TableName::new("t", "money"), rows.schema(), vec![rows]);
    let session = t.lake.session(catalog).unwrap();
    let plan = run(&session, "explain select cents from t.money where cents >= 572.8").await;
    let plan = plan.join("\n");
    assert!(plan.contains("cents@0 >= 572.80") && !plan.contains("CAST"), "{plan}");
}

#[tokio::test]
async fn a_query_that_multiplies_rows_without_end_leaves_room_and_can_be_ended() {
    let t = TestLake::new().await;
    let session = t.lake.session(shop(&t).await).unwrap();
    for condition in ["true", "a.value < b.value", "a.value % 2 = b.value % 2"] {
        let sql = format!(
            "select sum(a.value - b.value) from generate_series(1, 3000000) a join generate_series(1, 3000000) b on {condition}"
        );
        let query = session.query(&sql).await.unwrap();
        // One thread has both: if the query never yields, this waits for ever.
        let ended = tokio::time::timeout(Duration::from_millis(200), query.collect()).await;
        assert!(ended.is_err(), "{condition}: 9 × 10^12 pairs cannot have been added up");
    }
}

#[tokio::test]
async fn a_value_is_data_also_where_a_part_of_the_statement_is_written_anew() {
    let t = TestLake::new().await;
    let text = |values: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from_iter_values(values)) };
    let rank: ArrayRef = Arc::new(Int64Array::from(vec![1, 1]));
    let rows = RecordBatch::try_from_iter([
        ("user_id", text(["u1", "u2"])),
        ("rank", rank),
        ("item_id", text(["tea", "secret"])),
        ("score", text(["1", "1"])),
        ("reason", text(["", ""])),
        ("source", text(["", ""])),
    ]);
    let rows = rows.unwrap();
    let mut catalog = shop(&t).await;
    catalog.allow_unfitted().memory(&name("learn.shop"), rows.schema(), vec![rows]);
    let session = t.lake.session(catalog).unwrap();
    let asked = async |sql: &str, value: &str| {
        let value = Parameter::new(&DataType::Utf8, Some(value)).unwrap();
        let query = session.query_with(sql, &Parameters::from([("v".to_owned(), value)])).await;
        text_of(&query.unwrap().collect().await.unwrap())
    };
    let list = "select item_id from recommend('shop', $v, 5)";
    let plain = "select id from raw.orders where len(v) > 0 and coalesce(v, 'x') = $v order by id";
    assert_eq!(asked(list, "u1").await, ["tea"]);
    for count in ["0", "-1", "1.5", "18446744073709551615", "99999999999999999999999", "id"] {
        let sql = format!("select item_id from recommend('shop', 'u1', {count})");
        let error = session.query(&sql).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{count}: {error:?}");
        assert!(error.hint_text().unwrap_or_default().contains("from 1 to"), "{count}: {error:?}");
    }
    assert_eq!(asked(plain, "b").await, ["2"]);
    for evil in ["x\\' as varchar) or true or '' = cast('", "' or true --", "'' or true --", "$v"] {
        assert_eq!(asked(list, evil).await, Vec::<String>::new(), "{evil}");
        assert_eq!(asked(plain, evil).await, Vec::<String>::new(), "{evil}");
    }
}

#[tokio::test]
async fn what_is_concealed_is_not_there_but_for_views_that_see_through() {
    let t = TestLake::new().await;
    let mut catalog = shop(&t).await;
    catalog
        .view(&name("own.look"), "select * from raw.orders")
        .view(&name("own.plain"), "select id from ref.empty")
        .schema("raw")
        .schema("own");
    let whole = t.lake.session(catalog.clone()).unwrap();
    for hidden in ["raw.orders", "raw.Items", "mart.top"] {
        catalog.conceal(&name(hidden));
    }
    catalog.see_through(&name("mart.all")).see_through(&name("mart.top"));
    catalog.keep_schemas(|schema| schema == "own");
    assert!(!catalog.contains(&name("raw.orders")) && !catalog.is_view(&name("mart.top")));
    assert!(catalog.has_schema("mart") && !catalog.has_schema("raw") && catalog.has_schema("own"));
    let session = t.lake.session(catalog.clone()).unwrap();
    for sql in ["select * from raw.orders", "select * from orders", "select * from mart.top"] {
        let error = session.query(sql).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{sql}: {error:?}");
        assert!(error.message().starts_with("unknown table"), "{sql}: {error:?}");
        assert!(!error.hint_text().unwrap_or_default().contains("raw."), "{sql}: {error:?}");
        whole.query(sql).await.unwrap();
    }
    // Views that may, also over others, answer as if nothing was concealed; their plan is a leaf.
    assert_eq!(run(&session, "select id, v from mart.all").await, ["2|i"]);
    assert_eq!(
        run(&session, "select count(*) from mart.all where v = 'i' and 1 / (id - 2 + 1) = 1").await,
        ["1"]
    );
    let plan = run(&session, "explain verbose select * from mart.all").await.join("\n");
    assert!(plan.contains("mart.all") && !plan.contains("raw."), "{plan}");
    assert!(!plan.to_lowercase().contains("items"), "{plan}");
    // Others find what their reader finds, and say no name.
    let error = session.query("select * from own.look").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!error.report().contains("raw."), "{}", error.report());
    assert_eq!(run(&session, "select count(*) from own.plain").await, ["0"]);
    // What was found below such a view does not lend its name to the query around it.
    let mut lent = catalog.clone();
    lent.view(&name("mart.all"), "select id from orders").memory(
        &name("own.orders"),
        pair_schema(),
        Vec::new(),
    );
    let lent = t.lake.session(lent).unwrap();
    let both =
        "select (select count(*) from mart.all) as deep, (select count(*) from orders) as own";
    let error = lent.query(both).await;
    // Two tables are called so where nothing is concealed.
    assert!(error.is_err(), "an ambiguous name in a view is refused");
    assert_eq!(run(&lent, "select count(*) from orders").await, ["0"]);
    let listed = run(&session, "select table_name from information_schema.tables").await;
    assert!(
        listed.iter().all(|one| !one.contains("orders") && !one.contains("Items")),
        "{listed:?}"
    );
    catalog.reveal(|one| one.schema == "raw");
    let revealed = t.lake.session(catalog).unwrap();
    assert_eq!(run(&revealed, "select count(*) from raw.orders").await, ["2"]);
}
