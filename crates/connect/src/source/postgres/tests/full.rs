//! Full reads: ranges, snapshots, and going on after a break.

use flywheel_base::ErrorKind;
use flywheel_testkit::Postgres;
use futures::StreamExt;

use super::*;
use crate::postgres::testing::connection;

/// Many rows in few blocks, in ranges of 200.
const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text);
    INSERT INTO t SELECT n, 'value ' || n FROM generate_series(1, 5000) n; ANALYZE t;";

fn numbers(range: std::ops::RangeInclusive<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn ranges_read_by_several_connections_arrive_in_order() {
    let database = TestDatabase::new(TABLE);
    for (parallel, page_rows) in [(1, 70), (2, 70), (8, 333), (3, 10_000)] {
        let stream = json!({ "table": "t", "chunk_rows": 200, "parallel": parallel });
        let request = ReadRequest { page_rows, ..full(stream) };
        let pages = read(&database, &request).await.unwrap();
        assert_eq!(ids(&pages), numbers(1..=5000), "{parallel}");
        let mut line = 1;
        for page in &pages {
            assert!(page.batch.num_rows() <= page_rows);
            assert_eq!(page.trace(0), Some(("public.t", line)));
            line += page.batch.num_rows() as u64;
        }
    }
}

#[tokio::test]
async fn all_connections_see_one_moment() {
    let database = TestDatabase::new(TABLE);
    let stream = json!({ "table": "t", "chunk_rows": 100, "parallel": 3 });
    let request = ReadRequest { page_rows: 50, ..full(stream) };
    let source = source(database.connection());
    let mut pages = source.read(&request);
    let first = pages.next().await.unwrap().unwrap();
    database
        .run("DELETE FROM t WHERE id > 4000; UPDATE t SET v = 'new'; INSERT INTO t VALUES (0, '')");
    let mut all = vec![first];
    while let Some(page) = pages.next().await {
        all.push(page.unwrap());
    }
    assert_eq!(ids(&all), numbers(1..=5000));
    assert!(cells(&all).iter().all(|row| row[1] != "new"));
}

#[tokio::test]
async fn keys_of_every_kind_are_cut_into_ranges_without_loss() {
    let database = TestDatabase::new(
        "CREATE TABLE by_text (k text COLLATE \"C\" PRIMARY KEY);
         INSERT INTO by_text SELECT chr(33 + n % 90) || 'é''' || n FROM generate_series(1, 3000) n;
         CREATE TABLE by_words (k varchar(40) PRIMARY KEY);
         INSERT INTO by_words SELECT CASE n % 2 WHEN 0 THEN 'a' ELSE 'B' END || n FROM generate_series(1, 3000) n;
         CREATE TABLE by_uuid (k uuid PRIMARY KEY);
         INSERT INTO by_uuid SELECT md5(n::text)::uuid FROM generate_series(1, 3000) n;
         CREATE TABLE by_time (k timestamptz PRIMARY KEY);
         INSERT INTO by_time SELECT '2024-01-01'::timestamptz + n * interval '1.000001 s' FROM generate_series(1, 3000) n;
         CREATE TABLE by_two (a smallint, k text, PRIMARY KEY (a, k));
         INSERT INTO by_two SELECT n % 7, 'k' || n FROM generate_series(1, 3000) n;
         CREATE TABLE by_number (k numeric PRIMARY KEY);
         INSERT INTO by_number SELECT n / 7.0 FROM generate_series(1, 3000) n;
         CREATE TABLE by_nothing (k int);
         INSERT INTO by_nothing SELECT n % 5 FROM generate_series(1, 3000) n;
         ANALYZE;",
    );
    for table in ["by_text", "by_words", "by_uuid", "by_time", "by_two", "by_number", "by_nothing"]
    {
        let stream = json!({ "table": table, "chunk_rows": 130, "parallel": 2 });
        let mut request = ReadRequest { page_rows: 400, ..full(stream) };
        let pages = read(&database, &request).await.unwrap();
        let mut rows = cells(&pages);
        assert_eq!(rows.len(), 3000, "{table}");
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), if table == "by_nothing" { 5 } else { 3000 }, "{table}");
        if table == "by_nothing" {
            continue;
        }
        for cut in [0, pages.len() / 2, pages.len() - 2] {
            request.from = Some(pages[cut].position.clone());
            let rest = read(&database, &request).await.unwrap();
            let (mut all, before) = (cells(&pages[..=cut]), cells(&pages));
            all.extend(cells(&rest));
            assert_eq!(all, before, "{table} after page {cut}");
        }
    }
}

#[tokio::test]
async fn a_copy_that_breaks_goes_on_behind_the_last_page_although_rows_moved() {
    let mut server = Postgres::start();
    let database = server.database();
    server.psql(&database, TABLE);
    let stream = json!({ "table": "t", "chunk_rows": 500, "parallel": 2 });
    let mut request = ReadRequest { page_rows: 100, ..full(stream) };
    let source = source(connection(server.port(), &database));
    let mut before = Vec::new();
    let error = {
        let mut pages = source.read(&request);
        for _ in 0..12 {
            before.push(pages.next().await.unwrap().unwrap());
        }
        server.stop();
        loop {
            match pages.next().await.expect("the read ends with an error") {
                Ok(page) => before.push(page),
                Err(error) => break error,
            }
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(before.len() < 50, "the server was stopped too late for this test");
    server.restart();
    // Every update moves a row on disk; rows come and go on both sides of the break.
    server.psql(
        &database,
        "UPDATE t SET v = 'new' WHERE id % 2 = 0; DELETE FROM t WHERE id IN (1, 4999);
         INSERT INTO t VALUES (5001, 'late'), (-5, 'too early to be seen');",
    );
    server.psql(&database, "VACUUM FULL t");
    request.from = before.last().map(|page| page.position.clone());
    let after: Vec<Page> = source.read(&request).try_collect().await.unwrap();
    let all: Vec<String> = ids(&before).into_iter().chain(ids(&after)).collect();
    let expected: Vec<String> = numbers(1..=5001).into_iter().filter(|id| id != "4999").collect();
    assert_eq!(all, expected);
    assert_eq!(after.last().unwrap().position.0["complete"], true);
}

#[tokio::test]
async fn a_broken_read_without_key_is_not_continued_by_guessing() {
    let database = TestDatabase::new("CREATE TABLE t AS SELECT n FROM generate_series(1, 100) n");
    let mut request = ReadRequest { page_rows: 10, ..full(json!({ "table": "t" })) };
    let pages = read(&database, &request).await.unwrap();
    assert_eq!(pages.len(), 10);
    request.from = Some(pages[3].position.clone());
    let error = read(&database, &request).await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("primary_key"), "{error:?}");
    request.from = Some(pages[9].position.clone());
    assert_eq!(ids(&read(&database, &request).await.unwrap()).len(), 100);
    // With a declared key it is continued.
    let stream = json!({ "table": "t", "primary_key": ["n"] });
    let mut request = ReadRequest { page_rows: 10, ..full(stream) };
    let pages = read(&database, &request).await.unwrap();
    request.from = Some(pages[3].position.clone());
    assert_eq!(ids(&read(&database, &request).await.unwrap()), numbers(41..=100));
}

#[tokio::test]
async fn a_key_that_is_declared_as_text_still_orders_as_what_it_is() {
    let database = TestDatabase::new("CREATE TABLE t AS SELECT n FROM generate_series(8, 20) n");
    let columns = vec![crate::DeclaredColumn::new("n", crate::ColumnType::Text)];
    let stream = json!({ "table": "t", "primary_key": ["n"] });
    let mut request = ReadRequest { columns, page_rows: 2, ..full(stream) };
    let pages = read(&database, &request).await.unwrap();
    assert_eq!(ids(&pages), numbers(8..=20));
    request.from = Some(pages[0].position.clone());
    assert_eq!(ids(&read(&database, &request).await.unwrap()), numbers(10..=20));
}

#[tokio::test]
async fn a_declared_key_with_missing_values_is_refused() {
    let database =
        TestDatabase::new("CREATE TABLE t (k int, v int); INSERT INTO t VALUES (1, 1), (NULL, 2)");
    let stream = json!({ "table": "t", "primary_key": ["k"] });
    let error = read(&database, &full(stream)).await.unwrap_err();
    assert!(error.message().contains("without a value"), "{error:?}");
    let stream = json!({ "table": "t", "primary_key": ["k"], "where": "k > 0" });
    assert_eq!(ids(&read(&database, &full(stream)).await.unwrap()), ["1"]);
}

#[tokio::test]
async fn a_read_takes_the_connections_it_gets() {
    let server = Postgres::start_with(&["max_connections=3", "superuser_reserved_connections=0"]);
    let database = server.database();
    server.psql(&database, TABLE);
    let stream = json!({ "table": "t", "chunk_rows": 100, "parallel": 8 });
    let request = full(stream);
    let pages = read_from(connection(server.port(), &database), &request).await.unwrap();
    assert_eq!(ids(&pages), numbers(1..=5000));
    let notice = &pages[0].notices[0];
    assert_eq!((notice.code.as_str(), notice.file.as_str()), ("fewer-connections", "public.t"));
}
