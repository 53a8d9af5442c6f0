//! Approvals: who may let what costs money leave, once.

use flywheel_base::{ErrorKind, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::OutboxStatus;

const NOW: Timestamp = Timestamp::from_micros(10);
const LATE: Timestamp = Timestamp::from_micros(100);

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("meta.db")).unwrap();
    (folder, store)
}

fn entry(key: &str) -> OutboxEntry {
    OutboxEntry {
        key: key.into(),
        policy: "restock".into(),
        turn: 1,
        decision_id: key.into(),
        action: "orders".into(),
        payload: payload(),
        status: OutboxStatus::Waiting,
        attempts: 0,
        due_at: Timestamp::from_micros(5),
        ended_at: None,
        receipt: None,
        error: None,
        bundle: None,
    }
}

fn payload() -> Value {
    json!({"item": "i1", "lines": [{"quantity": 10.0}], "cost": 50.0})
}

fn ask(key: &str) -> Approval {
    Approval {
        key: key.into(),
        policy: "restock".into(),
        turn: 1,
        unit: "i1".into(),
        amount: Some(50.0),
        of: Some("cost".into()),
        by_other: true,
        asked_at: Timestamp::from_micros(5),
        expires_at: Some(Timestamp::from_micros(50)),
        status: ApprovalStatus::Waiting,
        decided_by: None,
        decided_at: None,
        reason: None,
        line: Some(OrderLine {
            quantity: 10.0,
            cost: 50.0,
            quantity_at: vec!["/lines/0/quantity".into()],
            cost_at: vec!["/cost".into()],
        }),
        payload: payload(),
        original: payload(),
        edits: Vec::new(),
    }
}

fn seen(key: &str) -> SeenApproval {
    SeenApproval { key: key.into(), revision: None }
}

/// A store in which these wait.
fn waiting_for(keys: &[&str]) -> (tempfile::TempDir, Store) {
    let (folder, store) = store();
    let entries: Vec<_> = keys.iter().map(|key| entry(key)).collect();
    let asks: Vec<_> = keys.iter().map(|key| ask(key)).collect();
    assert_eq!(store.enqueue_asking(&entries, &asks).unwrap(), keys.len());
    (folder, store)
}

#[test]
fn what_waits_leaves_once_somebody_approved_it_and_only_once() {
    let (_folder, store) = waiting_for(&["a", "b"]);
    assert!(store.due(NOW, 10).unwrap().is_empty(), "it waits");
    assert_eq!(store.approvals_waiting().unwrap(), [("restock".to_owned(), 2)]);
    assert_eq!(store.approval_moments().unwrap().get("a"), Some(&None));
    let approved = store.approve(&[seen("a")], "eve", Some("fine"), NOW).unwrap();
    let moments = store.approval_moments().unwrap();
    assert_eq!((moments.get("a"), moments.get("b")), (Some(&Some(NOW)), Some(&None)));
    assert_eq!(approved[0].decided_by.as_deref(), Some("eve"));
    let due = store.due(NOW, 10).unwrap();
    assert_eq!(due.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["a"]);
    let again = store.approve(&[seen("a")], "eve", None, NOW).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    // A turn that is completed after a crash queues the same again: what is there stays as it is.
    assert_eq!(store.enqueue_asking(&[entry("a"), entry("b")], &[ask("a"), ask("b")]).unwrap(), 0);
    assert_eq!(store.due(NOW, 10).unwrap().len(), 1);
    assert_eq!(store.approval("a").unwrap().unwrap().status, ApprovalStatus::Approved);
}

#[test]
fn what_was_queued_before_its_policy_asked_does_not_wait() {
    let (_folder, store) = store();
    store.enqueue(&[OutboxEntry { status: OutboxStatus::Pending, ..entry("a") }]).unwrap();
    store.enqueue_asking(&[entry("a")], &[ask("a")]).unwrap();
    assert!(store.approval("a").unwrap().is_none());
    assert_eq!(store.due(NOW, 10).unwrap().len(), 1);
}

#[test]
fn nobody_approves_what_they_had_a_hand_in() {
    let (_folder, store) = waiting_for(&["a", "b"]);
    store.record_hand("restock", "written", "ada", NOW).unwrap();
    store.record_hand("restock", "resumed", "bob", NOW).unwrap();
    let new = NewQuantity { quantity: 4.0, reason: Some("the shelf is small") };
    store.edit_approval(&seen("a"), "cem", new, NOW).unwrap();
    for (who, said) in [("ada", "wrote"), ("bob", "go on"), ("cem", "edited")] {
        let refused = store.approve(&[seen("b"), seen("a")], who, None, NOW).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied);
        assert!(refused.message().contains(said), "{refused:?}");
    }
    assert!(store.due(NOW, 10).unwrap().is_empty(), "of several none leaves if one may not");
    // Who resumed it before the last time has nothing to do with how it is now.
    store.record_hand("restock", "resumed", "dan", NOW).unwrap();
    assert_eq!(store.approve(&[seen("a"), seen("b")], "bob", None, NOW).unwrap().len(), 2);
    let hands: Vec<_> = store.hands_of("restock").unwrap().into_iter().map(|it| it.user).collect();
    assert_eq!(hands, ["dan", "ada"]);
}

#[test]
fn an_edited_line_is_sent_as_edited_and_keeps_what_was_proposed() {
    let (_folder, store) = waiting_for(&["a"]);
    let new = |quantity| NewQuantity { quantity, reason: None };
    let edited = store.edit_approval(&seen("a"), "cem", new(4.0), NOW).unwrap();
    assert_eq!((edited.amount, edited.revision()), (Some(20.0), 1));
    let unseen = SeenApproval { key: "a".into(), revision: Some(0) };
    let refused = store.approve(&[unseen], "eve", None, NOW).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "it was edited since it was seen");
    let known = SeenApproval { key: "a".into(), revision: Some(1) };
    store.approve(&[known], "eve", None, NOW).unwrap();
    let sent = store.due(NOW, 10).unwrap();
    let expected = json!({"item": "i1", "lines": [{"quantity": 4.0}], "cost": 20.0});
    assert_eq!(sent[0].payload, expected);
    let kept = store.approval("a").unwrap().unwrap();
    assert_eq!((kept.original, kept.edits[0].before), (payload(), 10.0));
    for quantity in [0.0, -1.0, f64::NAN] {
        let refused = store.edit_approval(&seen("a"), "cem", new(quantity), NOW).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }
    assert!(store.edit_approval(&seen("a"), "cem", new(5.0), NOW).is_err(), "it has left");
}

#[test]
fn what_is_rejected_or_not_approved_in_time_ends_with_a_reason() {
    let (_folder, store) = waiting_for(&["a", "b"]);
    store.record_hand("restock", "written", "ada", NOW).unwrap();
    store.reject(&[seen("a")], "ada", "too many", NOW).unwrap();
    assert_eq!(store.expire_approvals(NOW).unwrap(), 0);
    let late = store.approve(&[seen("b")], "eve", None, LATE).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Conflict, "its time is over, also before the next turn");
    assert_eq!(store.expire_approvals(LATE).unwrap(), 1);
    assert_eq!(store.expire_approvals(LATE).unwrap(), 0);
    let ended = store.unlogged().unwrap();
    let why: Vec<_> = ended.iter().filter_map(|one| one.error.as_deref()).collect();
    let expected =
        ["not approved: rejected by ada: too many", "not approved: nobody approved it in time"];
    assert_eq!(why, expected);
    assert!(ended.iter().all(|one| one.status == OutboxStatus::Discarded));
    assert!(store.due(LATE, 10).unwrap().is_empty());
    assert_eq!(store.revive("restock", LATE).unwrap(), 0);
    let missing = store.approve(&[seen("x")], "eve", None, NOW).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

crate::testing::also_on_postgres!(
    what_waits_leaves_once_somebody_approved_it_and_only_once,
    what_was_queued_before_its_policy_asked_does_not_wait,
    nobody_approves_what_they_had_a_hand_in,
    an_edited_line_is_sent_as_edited_and_keeps_what_was_proposed,
    what_is_rejected_or_not_approved_in_time_ends_with_a_reason,
);
