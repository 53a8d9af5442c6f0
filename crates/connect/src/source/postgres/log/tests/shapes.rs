//! Values, columns and keys in the log.

use super::*;

/// Reads a table, changes it, reads on; the rows of the last read.
async fn changed(database: &Database, sql: &str) -> Vec<(bool, BTreeMap<String, String>)> {
    let source = database.source();
    let mut request = database.request(&["t"]);
    catch_up(&*source, &mut request, &mut [Target::default()]).await;
    database.run(sql);
    let pages = drain(&*source, &request).await.unwrap();
    pages.iter().flat_map(|page| rows(&page.page.batch)).collect()
}

#[tokio::test]
async fn values_are_the_same_as_those_of_a_whole_read() {
    let database = Database::new(
        "CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE DOMAIN share AS numeric(5,2);
         CREATE TYPE pair AS (a int, b text);
         CREATE TABLE t (id int PRIMARY KEY, b bool, i2 int2, i8 int8, o oid, f4 float4, f8 float8,
             n numeric(12,3), free numeric, raw bytea, d date, at timestamp, tz timestamptz,
             u uuid, j json, jb jsonb, m mood, s share, p pair, a int[], ta text[], na numeric[],
             ip inet, net cidr, span interval, clock time, r int4range, c char(5), v varchar(9),
             x xml, bits bit(3), nm name, twice int GENERATED ALWAYS AS (i2 * 2) STORED)",
    );
    let insert = |id: usize| {
        format!(
            "INSERT INTO t SELECT {id}, true, -7, 9007199254740993, 4000000000, 0.1, 1e-300, 1.5,
                 12345678901234567890.5, '\\x00ff', '2024-02-29', '2024-02-29 12:34:56.789012',
                 '2024-02-29 12:34:56+05:30', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{{\"a\" : 1}}',
                 '{{\"a\" : 1}}', 'sad', 1.2, '(1,\"x,y\")', '{{1,NULL,3}}',
                 ARRAY['a,b', 'null', NULL, 'ü\"'], '{{1.10}}', '10.0.0.1', '10.0.0.0/8',
                 '1 year 2 days 03:04:05.6', '23:59:59.5', '[1,5)', 'ab', 'cd', '<a>b</a>', B'101',
                 'name';
             INSERT INTO t (id) VALUES ({})",
            id + 1
        )
    };
    database.run(&insert(1));
    let source = database.source();
    for columns in [json!([]), declared()] {
        let mut request = database.request(&["t"]);
        request.streams[0].columns = serde_json::from_value(columns).unwrap();
        let mut targets = [Target::default()];
        catch_up(&*source, &mut request, &mut targets).await;
        database.run(&insert(3));
        catch_up(&*source, &mut request, &mut targets).await;
        database.run("DELETE FROM t WHERE id > 2");
        for (before, after) in [("1", "3"), ("2", "4")] {
            let mut after = targets[0].rows[after].clone();
            after.insert("id".to_owned(), before.to_owned());
            assert_eq!(after, targets[0].rows[before]);
        }
    }
}

fn declared() -> Json {
    let text = ["b", "i2", "f4", "f8", "n", "raw", "d", "at", "tz", "u", "jb", "a", "p", "ip"];
    let mut columns: Vec<Json> =
        text.iter().map(|name| json!({ "name": name, "type": "text" })).collect();
    columns.extend([
        json!({ "name": "i8", "type": "decimal(20,2)" }),
        json!({ "name": "free", "type": "decimal(30,4)" }),
        json!({ "name": "s", "type": "float64" }),
        json!({ "name": "clock", "type": "text" }),
    ]);
    columns.into()
}

#[tokio::test]
async fn a_large_value_that_did_not_change_is_there() {
    for identity in ["DEFAULT", "FULL"] {
        let database = Database::new(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, big text, n int);
             ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL;
             ALTER TABLE t REPLICA IDENTITY {identity};
             INSERT INTO t SELECT n, repeat('x', 9000), 0 FROM generate_series(1, 3) n"
        ));
        let rows = changed(
            &database,
            "UPDATE t SET n = 1 WHERE id = 1; UPDATE t SET id = 20 WHERE id = 2;
             UPDATE t SET n = 3 WHERE id = 3; DELETE FROM t WHERE id = 3",
        )
        .await;
        let told: Vec<(bool, &str, usize)> = rows
            .iter()
            .map(|(deleted, row)| (*deleted, row["id"].as_str(), row["big"].len()))
            .collect();
        // A row that is gone by now can only be had from the log.
        let gone = if identity == "FULL" { 9000 } else { "∅".len() };
        let none = "∅".len();
        let expected = [
            (false, "1", 9000),
            (true, "2", none),
            (false, "20", 9000),
            (false, "3", gone),
            (true, "3", none),
        ];
        assert_eq!(told, expected, "{identity}");
    }
}

#[tokio::test]
async fn columns_come_go_and_widen_without_a_whole_read() {
    let database = Database::new(
        "CREATE TABLE t (id int PRIMARY KEY, gone text, old text, n int, v varchar(3));
         INSERT INTO t VALUES (1, 'g', 'o', 1, 'abc')",
    );
    let source = database.source();
    let mut request = database.request(&["t"]);
    let mut targets = [Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    database.run("INSERT INTO t VALUES (2, 'g', 'o', 2, 'abc')");
    database.run("ALTER TABLE t ADD COLUMN more date");
    database.run("INSERT INTO t VALUES (3, 'g', 'o', 3, 'abc', '2024-05-01')");
    database.run("ALTER TABLE t DROP COLUMN gone");
    database.run("ALTER TABLE t RENAME COLUMN old TO new");
    database.run("ALTER TABLE t ALTER COLUMN n TYPE bigint, ALTER COLUMN v TYPE varchar(9)");
    database
        .run("INSERT INTO t VALUES (4, 'o', 4, 'abcdef', NULL), (5, 'o', 5000000000, 'x', NULL)");
    let pages = drain(&*source, &request).await.unwrap();
    let codes: Vec<&str> =
        pages.iter().flat_map(|page| &page.page.notices).map(|n| n.code.as_str()).collect();
    assert_eq!(codes, ["column-added", "column-renamed", "column-dropped", "column-widened"]);
    assert!(pages.iter().all(|page| page.page.rejected.is_empty()));
    let widened: Vec<_> = pages.iter().flat_map(|page| &page.widened).collect();
    assert_eq!(widened, ["n"]);
    pages.iter().for_each(|page| targets[0].apply(page));
    let cell = |id: &str, name: &str| targets[0].rows[id].get(name).cloned().unwrap_or_default();
    for (id, name, value) in [
        ("2", "gone", "g"),
        ("2", "old", "o"),
        ("3", "more", "2024-05-01"),
        ("3", "gone", "g"),
        ("4", "gone", "∅"),
        ("4", "old", "∅"),
        ("4", "new", "o"),
        ("4", "n", "4"),
        ("4", "v", "abcdef"),
        ("5", "n", "5000000000"),
    ] {
        assert_eq!(cell(id, name), value, "row {id}, column {name}");
    }
    let last = pages.last().unwrap();
    let schema = last.page.batch.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "gone", "old", "n", "v", "more", "new", "_deleted"]);

    // The next read knows the columns from the position.
    request.streams[0].from = Some(last.page.position.clone());
    database.run("INSERT INTO t VALUES (6, 'o', 6, 'x', NULL)");
    let pages = drain(&*source, &request).await.unwrap();
    assert_eq!(pages[0].page.batch.schema(), schema);
}

#[tokio::test]
async fn a_table_without_key_tells_whole_rows_that_are_gone() {
    let database = Database::new(
        "CREATE TABLE t (id int, v text); ALTER TABLE t REPLICA IDENTITY FULL;
         INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    );
    let rows =
        changed(&database, "UPDATE t SET v = 'c' WHERE id = 1; DELETE FROM t WHERE id = 2").await;
    let told: Vec<(bool, &str, &str)> = rows
        .iter()
        .map(|(deleted, row)| (*deleted, row["id"].as_str(), row["v"].as_str()))
        .collect();
    assert_eq!(told, [(true, "1", "a"), (false, "1", "c"), (true, "2", "b")]);
}

#[tokio::test]
async fn partitions_are_told_as_their_table() {
    let database = Database::new(
        "CREATE TABLE t (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         CREATE TABLE t24 PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
         CREATE TABLE t25 PARTITION OF t FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
         INSERT INTO t VALUES (1, '2024-05-01')",
    );
    let rows = changed(
        &database,
        "INSERT INTO t VALUES (2, '2025-05-01'); UPDATE t SET at = '2025-06-01' WHERE id = 1",
    )
    .await;
    let told: Vec<(bool, &str, &str)> = rows
        .iter()
        .map(|(deleted, row)| (*deleted, row["id"].as_str(), row["at"].as_str()))
        .collect();
    assert_eq!(
        told,
        [(false, "2", "2025-05-01"), (true, "1", "2024-05-01"), (false, "1", "2025-06-01")]
    );
}
