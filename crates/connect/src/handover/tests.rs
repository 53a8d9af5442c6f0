//! What a program that takes rows can do to us, and what becomes of the rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use flywheel_base::ErrorKind;
use serde_json::json;

use super::*;
use crate::destination::contract::case::{Case, case, checkpoint, rows};
use crate::destination::contract::python;
use crate::destination::{DestinationEntry, Progress};

/// The programs that there are, with a fault; none where there is no Python.
fn programs(fault: &str) -> Vec<Case> {
    let names = ["singer", "airbyte"].into_iter().filter(|_| python());
    let case = |name: &str| {
        let mut case = case(DestinationEntry::named(name).unwrap());
        case.connection["config"]["fault"] = json!(fault);
        case
    };
    names.map(case).collect()
}

/// Hands rows over and commits them.
async fn hand_over(case: &Case, batch: &RecordBatch, sequence: i64) -> Result<Written> {
    let request = case.request(WriteMode::Append, batch.schema());
    let mut writer = case.destination().writer(&request).await?;
    writer.write(batch).await?;
    let written = writer.commit(&checkpoint(sequence)).await?;
    writer.finish().await?;
    Ok(written)
}

/// More than a pipe holds.
fn many() -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(1..=2_000));
    let long = "x".repeat(500);
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..2_000).map(|_| &long)));
    RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true)]).unwrap()
}

/// The error that a fault ends in, for few and for many rows; nothing is committed by it, and once the
/// program is mended all rows are taken.
async fn check(fault: &str, set: impl Fn(&mut Case), kind: ErrorKind, said: &str) {
    for mut case in programs(fault) {
        set(&mut case);
        for batch in [rows(WriteMode::Append, &[(1, "a"), (2, "b")]), many()] {
            let error = hand_over(&case, &batch, 1).await.unwrap_err();
            let about = format!("{} {fault}: {}", case.entry.name, error.report());
            assert_eq!(error.kind(), kind, "{about}");
            assert!(error.report().contains(said), "{about}");
            assert!(!format!("{error:?}").contains("battery"), "{about}");
            assert_eq!(case.progress(WriteMode::Append).await, Progress::default(), "{about}");
        }
        case.connection["config"]["fault"] = json!(null);
        case.connection["timeout"] = json!(null);
        // What was not acknowledged may be stored all the same.
        drop(std::fs::remove_file(case.folder.path("t.jsonl")));
        let few = rows(WriteMode::Append, &[(1, "a"), (2, "b")]);
        assert_eq!(hand_over(&case, &few, 1).await.unwrap().rows_written, 2);
        assert_eq!(case.seen().await, ["1 a", "2 b"]);
    }
}

#[tokio::test]
async fn a_program_that_fails_acknowledges_nothing_and_is_quoted() {
    let said = "ended with exit code 1: cannot write with ***";
    check("crash", |_| {}, ErrorKind::Unavailable, said).await;
    check("usage", |_| {}, ErrorKind::Invalid, "ended with exit code 2: no such option").await;
}

#[tokio::test]
async fn a_program_that_hangs_is_stopped() {
    let short = |case: &mut Case| case.connection["timeout"] = json!("2s");
    check("hang", short, ErrorKind::Unavailable, "nothing for 2 s").await;
}

#[tokio::test]
async fn output_that_means_nothing_is_bounded() {
    check("garbage", |_| {}, ErrorKind::Invalid, "other things than messages").await;
    let short = |case: &mut Case| case.connection["line_bytes_max"] = json!("1MiB");
    check("huge", short, ErrorKind::Exhausted, "a line that is too long").await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_program_that_takes_too_much_memory_is_stopped() {
    let small = |case: &mut Case| case.connection["memory"] = json!("128MiB");
    check("hog", small, ErrorKind::Exhausted, "more than 128 MiB").await;
}

#[tokio::test]
async fn only_the_state_that_was_sent_acknowledges() {
    let said = "without acknowledging the last rows";
    for fault in ["mute", "other"] {
        check(fault, |_| {}, ErrorKind::Unavailable, said).await;
    }
}

#[tokio::test]
async fn a_program_that_leaves_early_has_not_taken_the_rows() {
    for case in programs("early") {
        let error = hand_over(&case, &many(), 1).await.unwrap_err();
        assert!(error.message().contains("before it had read all"), "{error}");
        assert_eq!(case.progress(WriteMode::Append).await, Progress::default());
    }
}

#[tokio::test]
async fn what_a_program_says_of_its_failure_is_the_error() {
    for case in programs("told").into_iter().filter(|case| case.entry.name == "airbyte") {
        let few = rows(WriteMode::Append, &[(1, "a")]);
        let error = hand_over(&case, &few, 1).await.unwrap_err();
        let said = (error.kind(), error.message());
        assert_eq!(said, (ErrorKind::Invalid, "the program failed: no room with ***"));
    }
}

#[tokio::test]
async fn a_failed_write_takes_no_more_and_the_next_one_goes_on_from_the_last_commit() {
    for mut case in programs("crash") {
        case.connection["config"]["fault"] = json!(null);
        hand_over(&case, &rows(WriteMode::Append, &[(1, "a")]), 1).await.unwrap();
        case.connection["config"]["fault"] = json!("crash");
        let mut writer = case.writer(WriteMode::Append).await;
        writer.write(&rows(WriteMode::Append, &[(2, "b")])).await.unwrap();
        writer.commit(&checkpoint(2)).await.unwrap_err();
        let error = writer.write(&rows(WriteMode::Append, &[(3, "c")])).await.unwrap_err();
        assert!(error.hint_text().unwrap().contains("a new writer"), "{error:?}");
        drop(writer);
        let committed = case.progress(WriteMode::Append).await.committed;
        assert_eq!(committed, Some(checkpoint(1)));
        case.connection["config"]["fault"] = json!(null);
        hand_over(&case, &rows(WriteMode::Append, &[(2, "b"), (3, "c")]), 2).await.unwrap();
        assert_eq!(case.seen().await, ["1 a", "2 b", "3 c"]);
    }
}

#[tokio::test]
async fn a_column_that_comes_later_is_announced_before_its_rows() {
    for case in programs("none") {
        for mode in [WriteMode::Append, WriteMode::Merge] {
            drop(std::fs::remove_file(case.folder.path("t.jsonl")));
            let mut writer = case.writer(mode).await;
            writer.write(&rows(mode, &[(1, "a")])).await.unwrap();
            let ids: ArrayRef = Arc::new(Int64Array::from(vec![2]));
            let texts = |text| Arc::new(StringArray::from(vec![text])) as ArrayRef;
            let wide = [("id", ids, true), ("name", texts("b"), true), ("note", texts("n"), true)];
            let wide = RecordBatch::try_from_iter_with_nullable(wide).unwrap();
            writer.write(&wide).await.unwrap();
            let sequence = if mode == WriteMode::Append { 1 } else { 2 };
            let written = writer.commit(&checkpoint(sequence)).await.unwrap();
            assert_eq!(written.rows_written, 2);
            writer.finish().await.unwrap();
            let found = case.visible(&[("id", "int64"), ("name", "text"), ("note", "text")]).await;
            let found: Vec<_> = found.iter().map(|row| row.join(" ")).collect();
            assert_eq!(found, ["1 a ∅", "2 b n"], "{} {mode}", case.entry.name);
        }
    }
}

#[tokio::test]
async fn each_connection_of_a_sync_has_its_own_position() {
    for case in programs("none") {
        hand_over(&case, &rows(WriteMode::Append, &[(1, "a")]), 7).await.unwrap();
        let request = case.request(WriteMode::Append, rows(WriteMode::Append, &[]).schema());
        for (connection, known) in [("to", Some(checkpoint(7))), ("other", None)] {
            let ctx = DestinationContext {
                base_dir: case.folder.path(""),
                connection: connection.to_owned(),
            };
            let built = case.entry.build(case.connection.clone(), &ctx).unwrap();
            assert_eq!(built.progress(&request).await.unwrap().committed, known);
        }
    }
}

#[tokio::test]
async fn what_a_program_cannot_be_asked_is_said_before_it_runs() {
    for case in programs("none") {
        let request = case.request(WriteMode::Append, rows(WriteMode::Append, &[]).schema());
        let request = WriteRequest { new_columns: NewTargetColumns::Ignore, ..request };
        let error = case.destination().writer(&request).await.err().unwrap();
        assert!(error.hint_text().unwrap().contains("`new_columns`"), "{error:?}");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    for mut case in programs("none") {
        case.connection["command"] = json!(["target-nowhere"]);
        let few = rows(WriteMode::Append, &[(1, "a")]);
        let error = hand_over(&case, &few, 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.hint_text().unwrap().contains("Install target-nowhere"), "{error:?}");
    }
}
