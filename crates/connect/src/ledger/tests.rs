//! What a ledger holds after crashes, and what a writer makes of it.

use std::fs;

use flywheel_base::{ErrorKind, Timestamp};
use serde_json::json;

use super::log::{Keep, Mark};
use super::*;
use crate::destination::Checkpoint;
use crate::page::Position;

fn mark(key: u128, fingerprint: u64) -> Mark {
    Mark { key, fingerprint }
}

fn now() -> Timestamp {
    Timestamp::parse("2024-06-01").unwrap()
}

fn checkpoint(sequence: i64) -> Checkpoint {
    Checkpoint { sequence, position: Position(json!({ "at": sequence })) }
}

#[test]
fn a_fingerprint_is_current_only_once_the_target_took_the_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = ledger_path(folder.path(), "crm/contacts");
    {
        let mut ledger = Ledger::open(&path, "crm/contacts", now()).unwrap();
        let request = ledger.send(Keep::Current, vec![mark(1, 10), mark(2, 20)]).unwrap();
        assert_eq!(ledger.current(1), None, "sent is not acked");
        ledger.answered(request, vec![1]).unwrap();
        assert_eq!((ledger.current(1), ledger.current(2)), (Some(10), None));
        ledger.commit(&checkpoint(1)).unwrap();
        ledger.send(Keep::Current, vec![mark(1, 11)]).unwrap();
    }
    let mut ledger = Ledger::open(&path, "crm/contacts", now()).unwrap();
    assert_eq!((ledger.current(1), ledger.current(2)), (Some(10), None));
    assert_eq!(ledger.committed(), Some(&checkpoint(1)));
    let request = ledger.doubts()[&mark(1, 11)];
    assert_eq!(ledger.send(Keep::Current, vec![mark(1, 11)]).unwrap(), request);
    let other = ledger.send(Keep::Current, vec![mark(1, 12)]).unwrap();
    assert_ne!(ledger.idempotency_key(request), ledger.idempotency_key(other));
    let removed = ledger.send(Keep::Removed, vec![mark(1, 0)]).unwrap();
    ledger.answered(removed, Vec::new()).unwrap();
    assert_eq!(ledger.current(1), None);
}

#[test]
fn a_torn_last_line_is_cut_off_and_a_damaged_one_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = ledger_path(folder.path(), "a");
    {
        let mut ledger = Ledger::open(&path, "a", now()).unwrap();
        ledger.commit(&checkpoint(1)).unwrap();
        ledger.commit(&checkpoint(2)).unwrap();
    }
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let found = progress(&path).unwrap().committed.map_or(0, |last| last.sequence);
        let mut ledger = Ledger::open(&path, "a", now()).unwrap();
        assert_eq!(ledger.committed().map_or(0, |last| last.sequence), found);
        ledger.commit(&checkpoint(9)).unwrap();
        drop(ledger);
        assert_eq!(progress(&path).unwrap().committed, Some(checkpoint(9)), "cut at {cut}");
    }
    let mut damaged = whole;
    damaged[40] = b'#';
    fs::write(&path, damaged).unwrap();
    let error = Ledger::open(&path, "a", now()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.hint_text().unwrap().contains("sent again"));
}

#[test]
fn two_processes_do_not_write_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = ledger_path(folder.path(), "a");
    let first = Ledger::open(&path, "a", now()).unwrap();
    assert_eq!(Ledger::open(&path, "a", now()).unwrap_err().kind(), ErrorKind::Conflict);
    drop(first);
    assert!(Ledger::open(&path, "a", now()).is_ok());
    assert_ne!(ledger_path(folder.path(), "a/b"), ledger_path(folder.path(), "a-b"));
}

#[test]
fn a_long_file_is_written_anew_without_losing_anything() {
    let folder = tempfile::tempdir().unwrap();
    let path = ledger_path(folder.path(), "a");
    let mut ledger = Ledger::open(&path, "a", now()).unwrap();
    let mut last = 0;
    for round in 0..60 {
        let rows = (0..1_500).map(|key| mark(key, round)).collect();
        last = ledger.send(Keep::Current, rows).unwrap();
        ledger.answered(last, vec![7]).unwrap();
        ledger.commit(&checkpoint(i64::try_from(round).unwrap())).unwrap();
    }
    assert!(fs::metadata(&path).unwrap().len() < 5 << 20);
    drop(ledger);
    let mut ledger = Ledger::open(&path, "a", now()).unwrap();
    assert_eq!(
        (ledger.current(0), ledger.current(7), ledger.current(1_499)),
        (Some(59), None, Some(59))
    );
    assert_eq!(ledger.committed(), Some(&checkpoint(59)));
    let next = ledger.send(Keep::Current, vec![mark(1, 1)]).unwrap();
    assert!(next > last, "keys of requests are never used again");
}
