//! Crashes at every place: no row is lost, none is there twice.

use flywheel_base::ErrorKind;

use super::*;
use crate::postgres::testing::{Fault, Proxy, connection};

const COUNT: &str = "SELECT count(*), count(DISTINCT id), coalesce(sum(id), 0) FROM t";

#[tokio::test]
async fn nothing_is_visible_before_the_commit_and_a_dropped_writer_leaves_nothing() {
    let database = TestDatabase::new("");
    let rows = rows(1..=1000, "value");
    let job = Job::new(&database, "t", WriteMode::Append, &rows);
    let mut writer = job.writer().await;
    writer.write(&rows).await.unwrap();
    assert_eq!(database.run("SELECT to_regclass('t')"), "∅");
    drop(writer);
    assert_eq!(job.progress().await, (None, None));
    assert_eq!(database.run("SELECT to_regclass('t')"), "∅");
    job.run(&rows, 1).await;
    assert_eq!(database.run(COUNT), "1000|1000|500500");
    assert_eq!(job.progress().await, (Some(1), None));
    let mut writer = job.writer().await;
    writer.write(&rows).await.unwrap();
    drop(writer);
    assert_eq!(database.run(COUNT), "1000|1000|500500");
}

#[tokio::test]
async fn a_sequence_that_is_committed_has_its_effect_once() {
    let database = TestDatabase::new("");
    for mode in [WriteMode::Append, WriteMode::Merge, WriteMode::Replace] {
        database.run("DROP TABLE IF EXISTS t; DROP TABLE IF EXISTS _flywheel_sync_state");
        let (first, second) = (rows(1..=10, "value"), rows(11..=20, "value"));
        let job = Job::new(&database, "t", mode, &first);
        let mut writer = job.writer().await;
        writer.write(&first).await.unwrap();
        assert!(!writer.commit(&checkpoint(1)).await.unwrap().skipped);
        writer.write(&first).await.unwrap();
        let again = writer.commit(&checkpoint(1)).await.unwrap();
        assert_eq!(again, Written { skipped: true, ..Written::default() }, "{mode}");
        // The same writer goes on.
        writer.write(&second).await.unwrap();
        assert_eq!(writer.commit(&checkpoint(2)).await.unwrap().rows_written, 10, "{mode}");
        writer.finish().await.unwrap();
        assert_eq!(database.run(COUNT), "20|20|210", "{mode}");
        assert_eq!(job.progress().await, (Some(2), None), "{mode}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_around_a_commit_neither_loses_nor_doubles_rows() {
    for (fault, committed) in [(Fault::CutBefore, None), (Fault::CutAfter, Some(1))] {
        let database = TestDatabase::new("");
        let rows = rows(1..=500, "value");
        let proxy = Proxy::new("COMMIT", fault);
        let broken = connection(proxy.port, &database.name);
        let job = Job::through(broken, "t", WriteMode::Append, &rows);
        let mut writer = job.writer().await;
        writer.write(&rows).await.unwrap();
        proxy.arm();
        let error = writer.commit(&checkpoint(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(writer.write(&rows).await.is_err(), "a broken writer cannot go on");
        drop(writer);
        // The target itself tells what became of it, even if it is still busy with it.
        assert_eq!(job.progress().await, (committed, None), "{fault:?}");
        // Whoever does not ask and writes all again does no harm either.
        let (_, written) = job.run(&rows, 1).await;
        assert_eq!(written.skipped, committed.is_some(), "{fault:?}");
        assert_eq!(database.run(COUNT), "500|500|125250", "{fault:?}");
    }
}

#[tokio::test]
async fn a_session_that_is_ended_by_the_server_rolls_back() {
    let database = TestDatabase::new("CREATE TABLE t (id bigint, v text)");
    let rows = rows(1..=500, "value");
    let job = Job::new(&database, "t", WriteMode::Append, &rows);
    let mut writer = job.writer().await;
    writer.write(&rows).await.unwrap();
    database.run(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'flywheel'",
    );
    let error = match writer.write(&rows).await {
        Err(error) => error,
        Ok(_) => writer.commit(&checkpoint(1)).await.unwrap_err(),
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert_eq!(database.run(COUNT), "0|0|0");
    job.run(&rows, 1).await;
    assert_eq!(database.run(COUNT), "500|500|125250");
}

#[tokio::test]
async fn two_applications_write_into_one_table_each_with_its_own_progress() {
    let database = TestDatabase::new("");
    let first = rows(1..=5, "value");
    let job = Job::new(&database, "t", WriteMode::Append, &first);
    job.run(&first, 7).await;
    let mut other = Job::new(&database, "t", WriteMode::Append, &first);
    other.request.app = "shop/others".to_owned();
    assert_eq!(other.progress().await, (None, None));
    other.run(&rows(6..=9, "value"), 1).await;
    assert_eq!((job.progress().await, other.progress().await), ((Some(7), None), (Some(1), None)));
    assert_eq!(database.run(COUNT), "9|9|45");
}

#[tokio::test]
async fn rows_that_others_write_meanwhile_neither_stop_a_commit_nor_are_counted() {
    let database =
        TestDatabase::new("CREATE TABLE t (id bigint, v text); INSERT INTO t VALUES (0, 'old')");
    let first = rows(1..=10, "value");
    let job = Job::new(&database, "t", WriteMode::Append, &first);
    let mut writer = job.writer().await;
    writer.write(&first).await.unwrap();
    database
        .run("DELETE FROM t; INSERT INTO t SELECT n, 'theirs' FROM generate_series(100, 102) n");
    let written = writer.commit(&checkpoint(1)).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!((written.rows_written, written.rows_deleted, written.skipped), (10, 0, false));
    assert_eq!(database.run(COUNT), "13|13|358");
    assert_eq!(job.progress().await, (Some(1), None));
}
