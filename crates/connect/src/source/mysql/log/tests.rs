//! What a reader sees of the log of a real server.

mod ddl;

use flywheel_base::{ErrorKind, Rng};
use flywheel_testkit::MariaDb;
use serde_json::{Value as Json, json};

use super::*;
use crate::source::contract::{Folder, now};
use crate::source::mysql::tests::{connection, database, server};
use crate::source::replica::{Target, catch_up, drain, go_on, rows, whole};
use crate::source::{Source, SourceEntry};

fn source(database: &str) -> Box<dyn Source> {
    Folder::new(&[]).source_with("mysql", connection(server(), database))
}

fn request(name: &str, tables: &[&str]) -> ChangesRequest {
    let stream = |table: &&str| ReadRequest::full(json!({ "table": table }), now());
    let streams = tables.iter().map(stream).collect();
    ChangesRequest { name: name.to_owned(), streams, follow: false }
}

#[tokio::test]
async fn whole_read_and_log_equal_the_table_after_random_changes() {
    for seed in [1, 2] {
        println!("seed {seed}");
        let name = database(
            "CREATE TABLE t (id INT PRIMARY KEY, n INT, v VARCHAR(20), d DECIMAL(9,2));
             INSERT INTO t (id, n, v) VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')",
        );
        let source = source(&name);
        let mut request = request(&name, &["t"]);
        request.streams[0].page_rows = 5;
        let mut target = [Target::default()];
        let mut rng = Rng::new(seed);
        for round in 0..8 {
            let fourth = if round <= 5 { "d" } else { "e" };
            let mut sql = String::from("BEGIN;");
            for _ in 0..12 {
                let (id, other) = (rng.below(20), rng.below(20));
                sql.push_str(&match rng.below(5) {
                    0 if round <= 4 => {
                        format!("REPLACE INTO t (id, n, v) VALUES ({id}, {other}, 'é{id}');")
                    }
                    0 | 1 => format!("REPLACE INTO t (id, n) VALUES ({id}, {other});"),
                    2 => format!("UPDATE t SET n = n + 1, {fourth} = n / 4 WHERE id < {id};"),
                    3 => format!("DELETE FROM t WHERE id = {id};"),
                    _ => format!("UPDATE IGNORE t SET id = {other} WHERE id = {id};"),
                });
            }
            server().sql(&name, &format!("{sql} COMMIT;"));
            let alter = match round {
                3 => "ALTER TABLE t ADD COLUMN more INT AFTER id; UPDATE t SET more = 7",
                4 => "ALTER TABLE t DROP COLUMN v",
                5 => {
                    "ALTER TABLE t MODIFY n BIGINT, CHANGE d e DECIMAL(9,2); UPDATE t SET n = n + 1"
                }
                _ => "",
            };
            if !alter.is_empty() {
                server().sql(&name, alter);
            }
            catch_up(&*source, &mut request, &mut target).await;
        }
        let expected = whole(&*source, "t").await;
        let columns: Vec<&String> = expected.values().flat_map(|row| row.keys()).collect();
        for row in target[0].rows.values_mut() {
            row.retain(|name, _| columns.contains(&name));
        }
        assert_eq!(target[0].rows, expected, "seed {seed}");
        let rest = drain(&*source, &request).await.unwrap();
        assert!(rest.iter().all(|page| page.page.batch.num_rows() == 0));
    }
}

#[tokio::test]
async fn pages_follow_each_other_from_any_position() {
    let name = database("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)");
    let insert = |from: usize, to: usize| {
        let rows: Vec<String> = (from..to).map(|id| format!("({id}, 'x')")).collect();
        format!("INSERT INTO t VALUES {};", rows.join(", "))
    };
    server().sql(&name, &insert(0, 30));
    let source = source(&name);
    let mut request = request(&name, &["t"]);
    request.streams[0].page_rows = 7;
    let mut pages = drain(&*source, &request).await.unwrap();
    request.streams[0].from = pages.last().map(|page| page.page.position.clone());
    let large = insert(100, 130);
    server().sql(
        &name,
        &format!("BEGIN; {large} DELETE FROM t WHERE id < 3; COMMIT; {}", insert(200, 203)),
    );
    server().sql(&name, "UPDATE t SET id = 500 WHERE id = 101");
    let log = drain(&*source, &request).await.unwrap();
    assert!(log.iter().all(|page| page.page.batch.num_rows() <= 7));
    let open = log.iter().filter(|page| page.page.position.0.is_null()).count();
    assert_eq!(open, 4);
    assert!(log[0].committed_at.is_none() && log[4].committed_at.is_some());
    pages.extend(log);
    let expected = whole(&*source, "t").await;
    let mut cut = Target::default();
    for page in &pages {
        cut.apply(page);
        if !cut.held.is_empty() || page.page.position.0.is_null() {
            continue;
        }
        let mut resumed = cut.clone();
        request.streams[0].from.clone_from(&resumed.position);
        for page in drain(&*source, &request).await.unwrap() {
            resumed.apply(&page);
        }
        assert_eq!(resumed.rows, expected, "from {:?}", cut.position);
    }
    // Small transactions share a page, unless each is to tell when it was committed.
    for id in 900..903 {
        server().sql(&name, &insert(id, id + 1));
    }
    request.streams[0].from.clone_from(&cut.position);
    for by_transaction in [false, true] {
        request.streams[0].by_transaction = by_transaction;
        let pages = drain(&*source, &request).await.unwrap();
        let filled = pages.iter().filter(|page| page.page.batch.num_rows() > 0);
        let told: Vec<bool> = filled.map(|page| page.committed_at.is_some()).collect();
        assert_eq!(told, if by_transaction { vec![true; 3] } else { vec![true] });
    }
    source.acknowledge(&request).await.unwrap();
    source.forget(&request.name).await.unwrap();
}

#[tokio::test]
async fn values_are_the_same_as_those_of_a_whole_read() {
    let name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, tu TINYINT UNSIGNED, bu BIGINT UNSIGNED, d DECIMAL(12,2),
             dw DECIMAL(65,30), f FLOAT, db DOUBLE, c CHAR(5), v VARCHAR(20) CHARACTER SET latin1,
             tx TEXT, b BINARY(3), bl BLOB, da DATE, dt DATETIME, dt6 DATETIME(6),
             ts TIMESTAMP NULL, tm TIME(3), y YEAR, j JSON, e ENUM('new','paid'), s SET('a','b'),
             b1 BIT(1), b9 BIT(9), b64 BIT(64), mi MEDIUMINT, mu MEDIUMINT UNSIGNED, u UUID,
             i4 INET4, i6 INET6, im INET6, eg ENUM('é','张') CHARACTER SET gbk,
             sl SET('ü','ö') CHARACTER SET latin1)",
    );
    let insert = |id: usize| {
        let sql = format!(
            "SET time_zone = '+05:30';
             INSERT INTO t VALUES ({id}, 255, 18446744073709551615, -1.50, 1.5, 0.1, 1e-300, 'ab',
                 'é', 'ü', x'01', x'00ff', '2024-02-29', '2024-02-29 12:34:56',
                 '2024-02-29 12:34:56.789012', '2024-02-29 12:34:56', '-12:34:56.789', 2024,
                 '{{\"a\": 1}}', 'paid', 'a,b', b'1', b'100000001', b'11', -8388608, 16777215,
                 '123e4567-e89b-12d3-a456-426655440000', '10.0.0.0', '::1', '::ffff:1.2.3.4', '张',
                 'ü,ö');
             INSERT INTO t (id) VALUES ({})",
            id + 1
        );
        server().sql(&name, &sql);
    };
    insert(1);
    let source = source(&name);
    let mut request = request(&name, &["t"]);
    let mut targets = [Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    insert(3);
    catch_up(&*source, &mut request, &mut targets).await;
    for (before, after) in [("1", "3"), ("2", "4")] {
        let mut after = targets[0].rows[after].clone();
        after.insert("id".to_owned(), before.to_owned());
        assert_eq!(after, targets[0].rows[before]);
    }
    server().sql(&name, "DELETE FROM t WHERE id = 3");
    let pages = drain(&*source, &request).await.unwrap();
    let gone: Vec<_> = pages.iter().flat_map(|page| rows(&page.page.batch)).collect();
    let (deleted, row) = &gone[0];
    assert!(*deleted && row["id"] == "3" && row["tx"] == "∅");
}

#[tokio::test]
async fn keys_that_the_log_has_as_bytes_are_those_of_a_whole_read() {
    for (kind, values) in [
        ("MEDIUMINT", ["-5", "7"]),
        ("UUID", ["123e4567-e89b-12d3-a456-426655440000", "00112233-4455-4677-8899-aabbccddee20"]),
        ("INET6", ["::1", "fe80::abcd"]),
    ] {
        let name = database(&format!(
            "CREATE TABLE t (id {kind} PRIMARY KEY, v INT); INSERT INTO t VALUES ('{}', 1)",
            values[0]
        ));
        let source = source(&name);
        let mut request = request(&name, &["t"]);
        let mut target = [Target::default()];
        catch_up(&*source, &mut request, &mut target).await;
        server().sql(
            &name,
            &format!("INSERT INTO t VALUES ('{}', 2); UPDATE t SET v = v + 5", values[1]),
        );
        catch_up(&*source, &mut request, &mut target).await;
        assert_eq!(target[0].rows, whole(&*source, "t").await, "{kind}");
        server().sql(&name, &format!("DELETE FROM t WHERE id = '{}'", values[0]));
        catch_up(&*source, &mut request, &mut target).await;
        assert_eq!(target[0].rows, whole(&*source, "t").await, "{kind}");
        assert_eq!(target[0].rows.len(), 1, "{kind}");
    }
}

#[tokio::test]
async fn a_table_that_is_emptied_dropped_or_renamed_stops_the_log() {
    for (sql, word) in [
        ("TRUNCATE TABLE t", "truncated"),
        ("CREATE OR REPLACE TABLE t (id INT PRIMARY KEY)", "made anew"),
        ("RENAME TABLE t TO old, u TO t", "renamed"),
        ("SET SESSION binlog_format = STATEMENT; INSERT INTO t (id) VALUES (5)", "statement"),
        ("SET SESSION binlog_row_image = MINIMAL; UPDATE t SET v = 5 WHERE id = 1", "not FULL"),
        ("SET SESSION binlog_row_image = NOBLOB; UPDATE t SET v = 5 WHERE id = 1", "not FULL"),
    ] {
        let name = database(
            "CREATE TABLE t (id INT PRIMARY KEY, v INT, b BLOB);
             CREATE TABLE u (id INT PRIMARY KEY); INSERT INTO t (id) VALUES (1)",
        );
        let source = source(&name);
        let mut request = request(&name, &["t"]);
        let mut target = [Target::default()];
        catch_up(&*source, &mut request, &mut target).await;
        server().sql(&name, &format!("INSERT INTO t (id) VALUES (2); {sql}"));
        let stopped = go_on(&*source, &mut request, &mut target).await;
        let [(0, error)] = stopped.as_slice() else { panic!("{sql}: {stopped:?}") };
        assert_eq!(error.kind(), ErrorKind::Blocked, "{sql}: {error:?}");
        assert!(error.message().contains(word), "{sql}: {error:?}");
        assert_eq!(target[0].rows.len(), 2, "{sql}");
        // What comes now is not for it.
        server().sql(&name, "INSERT INTO t (id) VALUES (77)");
        let stopped = go_on(&*source, &mut request, &mut target).await;
        let [(0, again)] = stopped.as_slice() else { panic!("{sql}: {stopped:?}") };
        assert_eq!(again.message(), error.message(), "{sql}");
        assert_eq!(target[0].rows.len(), 2, "{sql}");
        request.streams[0].from = None;
        target = [Target::default()];
        catch_up(&*source, &mut request, &mut target).await;
        assert_eq!(target[0].rows, whole(&*source, "t").await, "{sql}");
    }
}

#[tokio::test]
async fn a_table_that_stops_leaves_the_others_to_go_on() {
    let name = database(
        "CREATE TABLE a (id INT PRIMARY KEY); CREATE TABLE b (id INT PRIMARY KEY, n INT);
         CREATE TABLE c (id INT PRIMARY KEY); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 1);
         INSERT INTO c VALUES (1)",
    );
    let source = source(&name);
    let mut request = request(&name, &["a", "b", "c"]);
    let mut targets = [Target::default(), Target::default(), Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    let both = |n: usize| {
        let sql = format!("INSERT INTO a VALUES ({n}); INSERT INTO b VALUES ({n}, 1); BEGIN;
             INSERT INTO c VALUES ({n}); UPDATE b SET n = n + 1; COMMIT; DELETE FROM a WHERE id = {n} - 2");
        server().sql(&name, &sql);
    };
    both(2);
    server().sql(&name, "TRUNCATE b; DROP TABLE c; CREATE TABLE c (id INT PRIMARY KEY)");
    both(3);
    let stopped = go_on(&*source, &mut request, &mut targets).await;
    let [(1, emptied), (2, gone)] = stopped.as_slice() else { panic!("{stopped:?}") };
    assert!(emptied.message().contains("truncated"), "{emptied:?}");
    assert!(gone.message().contains("dropped"), "{gone:?}");
    both(4);
    let stopped = go_on(&*source, &mut request, &mut targets).await;
    assert_eq!(stopped.len(), 2, "{stopped:?}");
    assert_eq!(targets[0].rows, whole(&*source, "a").await);
    assert_eq!((targets[1].rows.len(), targets[2].rows.len()), (2, 2));
    for at in [1, 2] {
        request.streams[at].from = None;
        targets[at] = Target::default();
    }
    both(5);
    catch_up(&*source, &mut request, &mut targets).await;
    both(6);
    catch_up(&*source, &mut request, &mut targets).await;
    for (target, table) in targets.iter().zip(["a", "b", "c"]) {
        assert_eq!(target.rows, whole(&*source, table).await, "{table}");
    }
}

#[tokio::test]
async fn a_log_whose_next_changes_were_purged_stops_the_read() {
    let server = MariaDb::start();
    let name = server.database();
    server.sql(&name, "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1), (2)");
    let source = Folder::new(&[]).source_with("mysql", connection(&server, &name));
    let mut request = request(&name, &["t"]);
    let mut target = [Target::default()];
    catch_up(&*source, &mut request, &mut target).await;
    server.sql(&name, "DELETE FROM t WHERE id = 1; FLUSH BINARY LOGS");
    let files = || server.sql(&name, "SHOW BINARY LOGS");
    let newest = files().lines().last().unwrap().split('\t').next().unwrap().to_owned();
    // A file that a reader may still be sent is kept until the server sees that the reader is gone.
    let gone = (0..500).any(|_| {
        server.sql(&name, &format!("REPLACE INTO t VALUES (3); PURGE BINARY LOGS TO '{newest}'"));
        files().lines().count() == 1
    });
    assert!(gone, "{}", files());
    let error = drain(&*source, &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked, "{error:?}");
    assert!(error.message().contains("does not have what comes after"), "{error:?}");
    assert!(error.hint_text().unwrap().contains("binlog_expire_logs_seconds"), "{error:?}");

    request.streams[0].from = None;
    target = [Target::default()];
    catch_up(&*source, &mut request, &mut target).await;
    assert_eq!(target[0].rows, whole(&*source, "t").await);
}

#[tokio::test]
async fn another_server_in_the_place_of_the_one_that_was_read_is_noticed() {
    let table = "CREATE TABLE t (id INT PRIMARY KEY);";
    let first = MariaDb::start();
    let name = first.database();
    let rows: String = (0..20).map(|id| format!("INSERT INTO t VALUES ({id});")).collect();
    first.sql(&name, &format!("{table} {rows}"));
    let source = Folder::new(&[]).source_with("mysql", connection(&first, &name));
    let mut request = request(&name, &["t"]);
    catch_up(&*source, &mut request, &mut [Target::default()]).await;
    drop(first);
    // Its numbers are lower, or of another domain.
    for options in [&[][..], &["--gtid-domain-id=7"][..]] {
        let other = MariaDb::start_with(options);
        let database = other.database();
        other.sql(&database, &format!("{table} INSERT INTO t VALUES (1)"));
        let source = Folder::new(&[]).source_with("mysql", connection(&other, &database));
        let error = drain(&*source, &request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Blocked, "{options:?}: {error:?}");
        assert!(error.message().contains("another server"), "{options:?}: {error:?}");
        assert!(error.hint_text().unwrap().contains("position"), "{options:?}: {error:?}");
        let mut anew = request.clone();
        anew.streams[0].from = None;
        let mut target = [Target::default()];
        catch_up(&*source, &mut anew, &mut target).await;
        assert_eq!(target[0].rows.len(), 1, "{options:?}");
    }
}

#[tokio::test]
async fn foreign_keys_whose_changes_are_not_in_the_log_are_told_of_once() {
    let name = database(
        "CREATE TABLE p (id INT PRIMARY KEY); INSERT INTO p VALUES (1);
         CREATE TABLE t (id INT PRIMARY KEY, p INT, CONSTRAINT belongs FOREIGN KEY (p)
             REFERENCES p (id) ON DELETE CASCADE); INSERT INTO t VALUES (1, 1)",
    );
    let source = source(&name);
    let mut request = request(&name, &["p", "t"]);
    let mut told = Vec::new();
    for id in 2..4 {
        for page in drain(&*source, &request).await.unwrap() {
            let notices = page.page.notices.into_iter();
            let notices = notices.filter(|notice| notice.code == "rows-not-logged");
            told.extend(notices.map(|notice| (page.stream, notice.message)));
            request.streams[page.stream].from = Some(page.page.position);
        }
        server().sql(&name, &format!("INSERT INTO t VALUES ({id}, 1)"));
    }
    let [(1, message)] = told.as_slice() else { panic!("{told:?}") };
    assert!(message.contains("\"belongs\" to \"p\""), "{message}");
}

#[tokio::test]
async fn texts_that_cannot_be_read_stop_only_who_follows_their_table() {
    // Of its own, because others read the whole log of the shared server.
    let server = MariaDb::start();
    let name = server.database();
    server.sql(
        &name,
        "CREATE TABLE t (id INT PRIMARY KEY);
         CREATE TABLE e (id INT PRIMARY KEY, e ENUM('é', 'ü') CHARACTER SET cp850);
         CREATE TABLE v (id INT PRIMARY KEY, v VARCHAR(9) CHARACTER SET cp850)",
    );
    let source = Folder::new(&[]).source_with("mysql", connection(&server, &name));
    let mut followed = request(&name, &["t"]);
    let mut others = [request("enums", &["e"]), request("texts", &["v"])];
    let mut target = [Target::default()];
    catch_up(&*source, &mut followed, &mut target).await;
    for other in &mut others {
        catch_up(&*source, other, &mut [Target::default()]).await;
    }
    server.sql(
        &name,
        "INSERT INTO e VALUES (1, 'ü'); INSERT INTO v VALUES (1, 'ü'); INSERT INTO t VALUES (1)",
    );
    catch_up(&*source, &mut followed, &mut target).await;
    assert_eq!(target[0].rows.len(), 1);
    for other in &others {
        let error = drain(&*source, other).await.unwrap_err();
        assert!(error.message().contains("cp850"), "{error:?}");
        assert!(error.hint_text().unwrap().contains("utf8mb4"), "{error:?}");
    }
}

#[tokio::test]
async fn a_log_that_is_followed_hands_over_soon() {
    let name = database("CREATE TABLE t (id INT PRIMARY KEY)");
    let source = source(&name);
    let mut request = request(&name, &["t"]);
    let mut target = [Target::default()];
    catch_up(&*source, &mut request, &mut target).await;
    request.follow = true;
    let mut pages = source.changes(&request);
    for id in 1..4 {
        server().sql(&name, &format!("INSERT INTO t VALUES ({id})"));
        while target[0].rows.len() < id {
            target[0].apply(&pages.next().await.unwrap().unwrap());
        }
    }
}

#[tokio::test]
async fn a_table_that_is_read_whole_again_is_past_the_statement_that_stopped_it() {
    let name = database(
        "CREATE TABLE a (id INT PRIMARY KEY); INSERT INTO a VALUES (1);
         CREATE TABLE b (id INT PRIMARY KEY, n INT); INSERT INTO b VALUES (1, 1)",
    );
    let source = source(&name);
    let mut request = request(&name, &["a", "b"]);
    let mut targets = [Target::default(), Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    server().sql(
        &name,
        "TRUNCATE b; ALTER TABLE b DROP n; ALTER TABLE b ADD n INT; INSERT INTO b VALUES (2, 2);
         INSERT INTO a VALUES (2)",
    );
    let error = drain(&*source, &request).await.unwrap_err();
    assert!(error.message().contains("truncated"), "{error:?}");
    // The other table goes on from where it was, with the same log.
    request.streams[1].from = None;
    targets[1] = Target::default();
    catch_up(&*source, &mut request, &mut targets).await;
    server().sql(&name, "UPDATE b SET n = 3; INSERT INTO a VALUES (3)");
    catch_up(&*source, &mut request, &mut targets).await;
    assert_eq!(targets[0].rows, whole(&*source, "a").await);
    assert_eq!(targets[1].rows, whole(&*source, "b").await);
}

#[tokio::test]
async fn what_has_no_usable_log_is_refused_with_what_to_do() {
    let name = database(
        "CREATE TABLE bare (id INT); CREATE TABLE t (id INT PRIMARY KEY);
         CREATE TABLE mine (id INT PRIMARY KEY, _deleted INT); CREATE VIEW v AS SELECT id FROM t;
         CREATE TABLE past (id INT PRIMARY KEY, n INT) WITH SYSTEM VERSIONING",
    );
    let source = source(&name);
    let refused: [(Json, &str); 6] = [
        (json!({ "table": "bare" }), "PRIMARY KEY"),
        (json!({ "table": "t", "where": "id > 1" }), "where"),
        (json!({ "table": "v", "primary_key": ["id"] }), "behind it"),
        (json!({ "query": "SELECT 1 AS id" }), "table"),
        (json!({ "table": "mine" }), "Rename"),
        (json!({ "table": "past" }), "rows of now"),
    ];
    for (stream, hint) in refused {
        let mut request = request(&name, &["t"]);
        request.streams[0].stream = stream.clone();
        let error = drain(&*source, &request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{stream}: {error:?}");
        assert!(error.hint_text().unwrap().contains(hint), "{stream}: {error:?}");
    }
    let twice = request(&name, &["t", "t"]);
    assert!(drain(&*source, &twice).await.unwrap_err().message().contains("two streams"));
    assert!(SourceEntry::named("mysql").unwrap().cdc);
}
