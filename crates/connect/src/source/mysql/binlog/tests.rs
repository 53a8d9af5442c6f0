//! What a reader sees of a real server's log.

use flywheel_testkit::MariaDb;

use super::*;
use crate::source::mysql::tests::{connection, database, server};

fn settings(server: &MariaDb, database: &str) -> MySql {
    serde_json::from_value(connection(server, database)).unwrap()
}

/// Events up to the commit after which `done` is true, those of other databases left out.
async fn until(
    log: &mut ChangeLog,
    database: &str,
    done: impl Fn(&[LogEvent]) -> bool,
) -> (Vec<LogEvent>, LogPosition) {
    let mut events = Vec::new();
    loop {
        match log.next().await.unwrap() {
            LogEvent::Commit { position, .. } if done(&events) => return (events, position),
            LogEvent::Commit { .. } => {}
            event => {
                let ours = match &event {
                    LogEvent::Change { database, .. }
                    | LogEvent::Unreadable { database, .. }
                    | LogEvent::Statement { database, .. } => database,
                    LogEvent::Commit { .. } => "",
                };
                if ours == database {
                    events.push(event);
                }
            }
        }
    }
}

fn text(row: &LogRow, column: &str) -> String {
    match row.value(column) {
        Some(LogValue::Text(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}

fn changes(events: &[LogEvent]) -> Vec<&Change> {
    let change = |event: &'_ LogEvent| matches!(event, LogEvent::Change { .. });
    events
        .iter()
        .filter(|event| change(event))
        .map(|event| match event {
            LogEvent::Change { change, .. } => change,
            _ => unreachable!(),
        })
        .collect()
}

#[tokio::test]
async fn changes_come_with_their_columns_whatever_ddl_is_between() {
    let name = database("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))");
    let settings = settings(server(), &name);
    let base = Path::new(".");
    let start = ChangeLog::end(&settings, base).await.unwrap();
    server().sql(
        &name,
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'); UPDATE t SET v = 'c' WHERE id = 2;
         ALTER TABLE t ADD COLUMN n INT UNSIGNED FIRST; INSERT INTO t VALUES (7, 3, 'd'); DELETE FROM t WHERE id = 1;",
    );
    let mut log = ChangeLog::open(&settings, base, &start, 4711).await.unwrap();
    let (events, _) = until(&mut log, &name, |events| changes(events).len() == 5).await;
    let changed = changes(&events);
    assert!(matches!(changed[0], Change::Insert(row) if text(row, "v") == "a"), "{events:?}");
    assert!(
        matches!(changed[2], Change::Update { before, after } if text(before, "v") == "b" && text(after, "v") == "c")
    );
    assert!(
        matches!(&events[3], LogEvent::Statement { sql, .. } if sql.contains("ADD COLUMN")),
        "{events:?}"
    );
    let Change::Insert(row) = changed[3] else { panic!("{events:?}") };
    assert_eq!(row.columns.to_vec(), ["n", "id", "v"]);
    assert_eq!(row.values, [LogValue::UInt(7), LogValue::Int(3), LogValue::Text("d".into())]);
    assert!(matches!(changed[4], Change::Delete(row) if row.value("n") == Some(&LogValue::Null)));
}

#[tokio::test]
async fn values_are_as_the_server_prints_them() {
    let name = database(
        "CREATE TABLE t (bu BIGINT UNSIGNED, d DECIMAL(12,2), f DOUBLE, v VARCHAR(20) CHARACTER SET latin1,
           g VARCHAR(9) CHARACTER SET gbk, b BINARY(3), da DATE, dt DATETIME(3), ts TIMESTAMP(6) NULL, tm TIME, y YEAR,
           e ENUM('new','paid'), s SET('a','b','c'), bi BIT(9), j JSON, mi MEDIUMINT, mu MEDIUMINT UNSIGNED,
           eg ENUM('é','张') CHARACTER SET gbk, el ENUM('a','Zürich') CHARACTER SET latin1,
           sj SET('日','本') CHARACTER SET sjis, ec ENUM('a','b') CHARACTER SET cp850)",
    );
    let settings = settings(server(), &name);
    let start = ChangeLog::end(&settings, Path::new(".")).await.unwrap();
    server().sql(
        &name,
        "INSERT INTO t VALUES (18446744073709551615, -1234.5, 0.1, 'Zürich', '中文', 'ab', '2024-02-29',
           '2024-05-01 10:00:00.12', '2024-05-01 10:00:00.000001', '-01:02:03', 2024, 'paid', 'a,c', b'101010101', '{\"k\": 1}',
           -5, 16777215, '张', 'Zürich', '日,本', 'b')",
    );
    let mut log = ChangeLog::open(&settings, Path::new("."), &start, 4712).await.unwrap();
    let (events, _) = until(&mut log, &name, |events| !events.is_empty()).await;
    let Change::Insert(row) = changes(&events)[0] else { panic!("{events:?}") };
    assert_eq!(row.value("bu"), Some(&LogValue::UInt(u64::MAX)));
    assert_eq!(row.value("f"), Some(&LogValue::Float(0.1)));
    assert_eq!(row.value("b"), Some(&LogValue::Bytes(b"ab\0".to_vec())));
    assert_eq!(row.value("y"), Some(&LogValue::Int(2024)));
    assert_eq!(row.value("bi"), Some(&LogValue::UInt(341)));
    assert_eq!(row.value("mi"), Some(&LogValue::Int(-5)));
    assert_eq!(row.value("mu"), Some(&LogValue::UInt(16_777_215)));
    for column in ["d", "v", "g", "da", "dt", "ts", "tm", "e", "s", "j", "eg", "el", "sj", "ec"] {
        assert_eq!(
            text(row, column),
            server().sql(&name, &format!("SELECT {column} FROM t")),
            "{column}"
        );
    }
}

#[tokio::test]
async fn the_log_goes_on_exactly_after_a_crash_of_the_server() {
    let mut server = MariaDb::start();
    let name = server.database();
    let settings = settings(&server, &name);
    let base = Path::new(".");
    let start = ChangeLog::end(&settings, base).await.unwrap();
    server.sql(
        &name,
        "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2);",
    );
    let mut log = ChangeLog::open(&settings, base, &start, 4713).await.unwrap();
    let (events, position) = until(&mut log, &name, |events| changes(events).len() == 1).await;
    assert_eq!(changes(&events).len(), 1);
    let position: LogPosition =
        serde_json::from_str(&serde_json::to_string(&position).unwrap()).unwrap();
    server.stop();
    let broken = loop {
        if let Err(error) = log.next().await {
            break error;
        }
    };
    assert_eq!(broken.kind(), ErrorKind::Unavailable, "{broken:?}");
    server.restart();
    server.sql(&name, "INSERT INTO t VALUES (3)");
    let mut log = ChangeLog::open(&settings, base, &position, 4713).await.unwrap();
    let (events, _) = until(&mut log, &name, |events| changes(events).len() == 2).await;
    let ids: Vec<_> = changes(&events)
        .into_iter()
        .map(|change| match change {
            Change::Insert(row) => row.value("id").cloned().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [LogValue::Int(2), LogValue::Int(3)]);
}

#[tokio::test]
async fn a_server_without_a_readable_log_is_told_what_to_set() {
    let server = MariaDb::start_with(&["--binlog-row-metadata=NO_LOG"]);
    let name = server.database();
    let error = ChangeLog::end(&settings(&server, &name), Path::new(".")).await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("binlog_row_metadata = FULL"), "{error:?}");
}
