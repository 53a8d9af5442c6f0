//! What the metadata store promises.

use std::collections::BTreeSet;

use flywheel_base::{ErrorKind, Timestamp};
use serde_json::json;

use crate::{
    Build, CanaryMove, Halt, Hold, Made, MadeKind, Move, OutboxEntry, OutboxStatus, Promotion,
    Publication, Reads, Store, TurnStatus,
};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("meta.db")).unwrap();
    (folder, store)
}

fn entry(key: &str) -> OutboxEntry {
    OutboxEntry {
        key: key.into(),
        policy: "p".into(),
        turn: 1,
        decision_id: key.into(),
        action: "a".into(),
        payload: json!({"x": 1}),
        status: OutboxStatus::Pending,
        attempts: 0,
        due_at: Timestamp::from_micros(5),
        ended_at: None,
        receipt: None,
        error: None,
        bundle: None,
    }
}

#[test]
fn an_action_is_queued_once_and_settled_once() {
    let (_folder, store) = store();
    assert_eq!(store.enqueue(&[entry("a"), entry("b")]).unwrap(), 2);
    assert_eq!(store.enqueue(&[entry("a")]).unwrap(), 0, "the same key again is no new action");
    assert!(store.due(Timestamp::from_micros(4), 10).unwrap().is_empty(), "not due yet");
    let mut due = store.due(Timestamp::from_micros(5), 10).unwrap();
    assert_eq!(due.len(), 2);
    due[0].status = OutboxStatus::Delivered;
    due[1].status = OutboxStatus::Dead;
    let fence = store.take_outbox(Timestamp::from_micros(5)).unwrap().fence;
    assert_eq!(store.settle(fence, &due).unwrap(), 0, "nothing is settled that was not leased");
    assert_eq!(store.lease(fence, &due, false).unwrap(), 2);
    assert_eq!(store.outbox_counts().unwrap(), (2, 0, 0), "what is being sent has not ended");
    assert!(store.due(Timestamp::from_micros(5), 10).unwrap().is_empty(), "nor is it due");
    assert_eq!(store.settle(fence, &due).unwrap(), 2);
    store.enqueue(&[entry("a")]).unwrap();
    assert_eq!(store.outbox_counts().unwrap(), (0, 1, 1), "delivered stays delivered");
    assert_eq!(store.unlogged().unwrap().len(), 2);
    store.mark_logged(&[("a".into(), OutboxStatus::Delivered)]).unwrap();
    assert_eq!(store.unlogged().unwrap().len(), 1);
    assert_eq!(store.revive("p", Timestamp::from_micros(9)).unwrap(), 1);
    assert_eq!(store.outbox_counts().unwrap(), (1, 1, 0));
}

#[test]
fn the_file_and_its_copies_are_not_for_everybody_on_the_machine() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, store) = store();
    store.enqueue(&[entry("a")]).unwrap();
    let copy = folder.path().join("copy.db");
    crate::copy_database(store.path(), &copy).unwrap();
    for file in ["meta.db", "meta.db-wal", "copy.db"] {
        let mode = folder.path().join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "{file}: {mode:o}");
    }
}

#[test]
fn after_it_is_written_out_the_file_alone_has_everything() {
    let (folder, store) = store();
    store.enqueue(&[entry("a")]).unwrap();
    store.write_out().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("meta.db");
    std::fs::copy(folder.path().join("meta.db"), &copy).unwrap();
    assert_eq!(Store::open(&copy).unwrap().outbox_counts().unwrap().0, 1);
}

#[test]
fn a_halt_survives_keeps_its_first_reason_and_lets_nothing_be_leased() {
    let (folder, store) = store();
    let at = Timestamp::from_micros;
    store.enqueue(&[entry("a"), OutboxEntry { due_at: at(9), ..entry("b") }]).unwrap();
    assert_eq!(store.next_due(at(4)).unwrap(), Some(at(5)));
    assert_eq!(store.next_due(at(5)).unwrap(), Some(at(9)), "what is due already is not next");
    assert_eq!(store.next_due(at(9)).unwrap(), None);
    assert_eq!(store.due_ways(at(9)).unwrap(), [("p".to_owned(), "a".to_owned())]);
    assert!(store.due_ways(at(4)).unwrap().is_empty());

    let halt = |reason: &str| Halt { reason: reason.into(), by: "ada".into(), at: at(7) };
    let fence = store.take_outbox(at(5)).unwrap().fence;
    assert!(store.record_halt(&halt("fire")).unwrap());
    assert!(!store.record_halt(&halt("again")).unwrap());
    let error = store.lease(fence, &[entry("a")], false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked);
    assert!(!store.sending().unwrap());

    let other = Store::open(&folder.path().join("meta.db")).unwrap();
    assert_eq!(other.halt().unwrap(), Some(halt("fire")));
    assert!(other.lift_halt().unwrap());
    assert!(!other.lift_halt().unwrap(), "there is none any more");
    assert_eq!(store.halt().unwrap(), None);
    assert_eq!(store.lease(fence, &[entry("a")], false).unwrap(), 1);
}

#[test]
fn only_old_deliveries_that_are_shown_are_forgotten() {
    let (_folder, store) = store();
    store.enqueue(&[entry("shown"), entry("not-shown"), entry("late"), entry("dead")]).unwrap();
    let mut due = store.due(Timestamp::from_micros(5), 10).unwrap();
    for delivery in &mut due {
        let dead = delivery.key == "dead";
        delivery.status = if dead { OutboxStatus::Dead } else { OutboxStatus::Delivered };
        delivery.ended_at =
            Some(Timestamp::from_micros(if delivery.key == "late" { 9 } else { 6 }));
    }
    let fence = store.take_outbox(Timestamp::from_micros(5)).unwrap().fence;
    store.lease(fence, &due, false).unwrap();
    store.settle(fence, &due).unwrap();
    let (delivered, dead) = (OutboxStatus::Delivered, OutboxStatus::Dead);
    let shown = [("shown", delivered), ("late", delivered), ("dead", dead)];
    store.mark_logged(&shown.map(|(key, status)| (key.to_owned(), status))).unwrap();
    assert_eq!(store.forget_delivered(Timestamp::from_micros(9)).unwrap(), 1);
    assert_eq!(store.outbox_counts().unwrap(), (0, 2, 1));
    assert_eq!(store.enqueue(&[entry("late"), entry("dead"), entry("not-shown")]).unwrap(), 0);
}

#[test]
fn what_is_discarded_keeps_its_reason_and_is_neither_sent_nor_tried_again() {
    let (_folder, store) = store();
    let (now, later) = (Timestamp::from_micros(5), Timestamp::from_micros(8));
    store.enqueue(&[entry("waits"), entry("dead"), entry("leaves"), entry("other")]).unwrap();
    let fence = store.take_outbox(now).unwrap().fence;
    let dead = OutboxEntry {
        status: OutboxStatus::Dead,
        ended_at: Some(now),
        error: Some("HTTP 410".into()),
        ..entry("dead")
    };
    store.lease(fence, &[entry("dead"), entry("leaves")], false).unwrap();
    store.settle(fence, &[dead]).unwrap();
    store.mark_logged(&[("dead".into(), OutboxStatus::Dead)]).unwrap();

    let keys = ["waits", "dead", "leaves", "unknown"].map(str::to_owned);
    assert_eq!(store.discard(&keys, "closed", later).unwrap(), 2, "what is being sent stays");
    assert_eq!(store.outbox_counts().unwrap(), (2, 0, 0));
    assert_eq!(store.outbox_discarded().unwrap(), 2);
    let of_policies = store.outbox_by_policy().unwrap();
    let counts =
        of_policies.iter().map(|one| (one.pending, one.delivered, one.dead, one.discarded));
    assert_eq!(counts.collect::<Vec<_>>(), [(2, 0, 0, 2)]);
    let shown = store.unlogged().unwrap();
    let said = |entry: &OutboxEntry| (entry.key.clone(), entry.error.clone().unwrap());
    let mut said: Vec<_> = shown.iter().map(said).collect();
    said.sort();
    let words = |key: &str, error: &str| (key.to_owned(), error.to_owned());
    assert_eq!(
        said,
        [
            words("dead", "discarded: closed; before that: HTTP 410"),
            words("waits", "discarded: closed")
        ]
    );
    assert!(shown.iter().all(|entry| entry.status == OutboxStatus::Discarded));
    assert!(shown.iter().all(|entry| entry.ended_at == Some(later)));
    // Somebody shows it as it was before.
    store.mark_logged(&[("dead".into(), OutboxStatus::Dead)]).unwrap();
    assert_eq!(store.undelivered().unwrap().len(), 4, "seen until system.actions shows them");

    assert_eq!(store.revive("p", later).unwrap(), 0);
    assert_eq!(store.discard(&keys, "again", later).unwrap(), 0);
    assert_eq!(store.enqueue(&[entry("waits"), entry("dead")]).unwrap(), 0);
    let due = store.due(Timestamp::from_micros(100), 10).unwrap();
    assert_eq!(due.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["other"]);
    store
        .mark_logged(&["waits", "dead"].map(|key| (key.to_owned(), OutboxStatus::Discarded)))
        .unwrap();
    assert_eq!(store.undelivered().unwrap().len(), 2);
    assert_eq!(store.forget_delivered(Timestamp::from_micros(9)).unwrap(), 2);
}

#[test]
fn deliveries_of_policies_that_wait_take_no_place_of_others() {
    let (_folder, store) = store();
    let paused =
        ["a", "b", "c"].map(|key| OutboxEntry { policy: "it's paused".into(), ..entry(key) });
    store.enqueue(&paused).unwrap();
    store.enqueue(&[entry("z")]).unwrap();
    let now = Timestamp::from_micros(5);
    let keys = |waiting: &[&str]| {
        let waiting: Vec<String> = waiting.iter().map(|name| (*name).to_owned()).collect();
        let due = store.due_but(now, 2, &waiting).unwrap();
        due.into_iter().map(|entry| entry.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(&[]), ["a", "b"]);
    assert_eq!(keys(&["it's paused"]), ["z"]);
    assert_eq!(keys(&["it's paused", "p"]), Vec::<String>::new());
}

#[test]
fn what_was_cut_off_is_sent_again_or_given_up_and_its_old_deliverer_is_shut_out() {
    let (_folder, store) = store();
    let now = Timestamp::from_micros(5);
    store.enqueue(&[entry("again"), entry("once"), entry("later")]).unwrap();
    let old = store.take_outbox(now).unwrap().fence;
    let bundled = OutboxEntry { bundle: Some("b".into()), ..entry("again") };
    store.lease(old, &[bundled], false).unwrap();
    store.lease(old, &[entry("once")], true).unwrap();
    assert!(store.sending().unwrap());

    let taken = store.take_outbox(Timestamp::from_micros(8)).unwrap();
    assert_eq!((taken.again, taken.uncertain), (1, 1));
    assert!(!store.sending().unwrap());
    let due = store.due(now, 10).unwrap();
    assert_eq!(due.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["again", "later"]);
    assert_eq!(due[0].bundle.as_deref(), Some("b"), "it leaves again as it left before");
    let dead = store.unlogged().unwrap();
    assert_eq!((dead[0].key.as_str(), dead[0].attempts), ("once", 1));
    assert!(dead[0].error.as_ref().unwrap().contains("not sent again"), "{dead:?}");

    let error = store.lease(old, &[entry("later")], false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    store.lease(taken.fence, &due, false).unwrap();
    let mut claimed = entry("again");
    claimed.status = OutboxStatus::Delivered;
    assert_eq!(
        store.settle(old, &[claimed]).unwrap(),
        0,
        "the old deliverer's word counts no more"
    );
    assert_eq!(store.outbox_counts().unwrap(), (2, 0, 1));
}

#[test]
fn the_moves_of_canaries_are_numbered_for_each_policy_and_kept_in_order() {
    let (_folder, store) = store();
    let made = |policy: &str, canary, kind, share| CanaryMove {
        policy: policy.into(),
        number: 0,
        at: Timestamp::from_micros(7),
        canary,
        kind,
        declared: "a".into(),
        learner: "b".into(),
        artifact: None,
        share,
        reason: "why".into(),
        evidence: json!({"gain": 0.25}),
    };
    assert_eq!(store.record_canary(&made("p", 0, Move::Started, 0.01)).unwrap(), 1);
    assert_eq!(store.record_canary(&made("q", 0, Move::Started, 0.01)).unwrap(), 1);
    assert_eq!(store.record_canary(&made("p", 1, Move::Raised, 0.05)).unwrap(), 2);
    let of_p = store.canaries_of("p").unwrap();
    assert_eq!(of_p[0], CanaryMove { number: 1, canary: 1, ..made("p", 1, Move::Started, 0.01) });
    assert_eq!(of_p[1], CanaryMove { number: 2, ..made("p", 1, Move::Raised, 0.05) });
    assert_eq!(store.canaries().unwrap().len(), 3);
}

#[test]
fn promotions_are_numbered_for_each_policy_and_kept_in_order() {
    let (_folder, store) = store();
    let made = |policy: &str, learner: &str| Promotion {
        policy: policy.into(),
        number: 0,
        at: Timestamp::from_micros(7),
        declared: "a".into(),
        learner: learner.into(),
        artifact: None,
        undoes: None,
        reason: "better".into(),
        evidence: json!({"gain": 0.25}),
    };
    assert_eq!(store.record_promotion(&made("p", "b")).unwrap(), 1);
    assert_eq!(store.record_promotion(&made("q", "c")).unwrap(), 1);
    assert_eq!(store.record_promotion(&made("p", "a")).unwrap(), 2);
    let of_p = store.promotions_of("p").unwrap();
    assert_eq!(of_p.iter().map(|p| p.learner.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(of_p[1], Promotion { number: 2, ..made("p", "a") });
    assert_eq!(store.promotions().unwrap().len(), 3);
}

#[test]
fn an_idle_position_is_true_only_after_the_commit_it_followed() {
    let (_folder, store) = store();
    assert_eq!(store.idle_position("sync/s/t", 3).unwrap(), None);
    store.record_idle_position("sync/s/t", 3, &json!({"lsn": "0/20"})).unwrap();
    store.record_idle_position("sync/s/t", 3, &json!({"lsn": "0/30"})).unwrap();
    assert_eq!(store.idle_position("sync/s/t", 3).unwrap(), Some(json!({"lsn": "0/30"})));
    assert_eq!(store.idle_position("sync/s/t", 4).unwrap(), None);
    assert_eq!(store.idle_position("sync/s/u", 3).unwrap(), None);
}

#[test]
fn a_sync_that_is_forgotten_leaves_no_position_and_its_namesakes_keep_theirs() {
    let (_folder, store) = store();
    for app in ["sync/s/t", "sync/s/u", "sync/s2/t", "sync/S/t"] {
        store.record_idle_position(app, 3, &json!({"lsn": "0/20"})).unwrap();
        store.record_source_types(app, "{}").unwrap();
    }
    store.forget_positions_of("s").unwrap();
    for (app, kept) in
        [("sync/s/t", false), ("sync/s/u", false), ("sync/s2/t", true), ("sync/S/t", true)]
    {
        assert_eq!(store.idle_position(app, 3).unwrap().is_some(), kept, "{app}");
        assert_eq!(store.source_types(app).unwrap().is_some(), kept, "{app}");
    }
}

#[test]
fn publication_is_one_step_for_all_models() {
    let (folder, store) = store();
    let publication = |name: &str, version| Publication {
        name: name.into(),
        location: Some(name.into()),
        version: Some(version),
        view_sql: None,
        fingerprint: "f".into(),
        published_at: Timestamp::default(),
        target: String::new(),
    };
    store.publish(&[publication("a", 1), publication("b", 1)], &[]).unwrap();
    store.publish(&[publication("a", 2)], &["b".into()]).unwrap();
    let reader = Store::open(&folder.path().join("meta.db")).unwrap();
    assert_eq!(reader.publications().unwrap(), [publication("a", 2)]);
}

#[test]
fn an_open_turn_is_found_again_and_moments_are_not_repeated() {
    let (folder, store) = store();
    let first = store.begin_turn(Timestamp::from_micros(10)).unwrap();
    drop(store);
    let store = Store::open(&folder.path().join("meta.db")).unwrap();
    assert_eq!(store.open_turn().unwrap(), Some(first));
    store.complete_turn(first.turn).unwrap();
    assert_eq!(store.open_turn().unwrap(), None);
    assert_eq!(store.last_turn().unwrap().map(|t| t.status), Some(TurnStatus::Complete));
    assert!(store.begin_turn(Timestamp::from_micros(10)).is_err());
}

#[test]
fn a_file_that_is_no_database_is_corrupt_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meta.db");
    std::fs::write(&path, "this is not a database, but it is long enough to look at").unwrap();
    assert_eq!(Store::open(&path).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_table_is_held_at_one_version_until_it_is_released() {
    let (_folder, store) = store();
    let hold = |name: &str, version, reason: &str| Hold {
        name: name.into(),
        version,
        reason: reason.into(),
        held_at: Timestamp::from_micros(3),
    };
    store.hold(&hold("raw.b", Some(4), "being landed")).unwrap();
    store.hold(&hold("raw.b", Some(4), "amount is missing")).unwrap();
    store.hold(&hold("raw.a", None, "never good")).unwrap();
    let held = store.holds().unwrap();
    assert_eq!(
        held,
        [hold("raw.a", None, "never good"), hold("raw.b", Some(4), "amount is missing")]
    );
    store.release("raw.b").unwrap();
    store.release("raw.unknown").unwrap();
    assert_eq!(store.holds().unwrap().len(), 1);
}

fn seen(name: &str, print: &str, at: i64) -> (Publication, Build) {
    let publication = Publication {
        name: name.into(),
        location: Some(format!("{name}/{print}")),
        version: Some(at),
        view_sql: None,
        fingerprint: print.into(),
        published_at: Timestamp::from_micros(at),
        target: String::new(),
    };
    let build = Build {
        name: name.into(),
        fingerprint: print.into(),
        inputs: format!("inputs {at}"),
        location: publication.location.clone(),
        version: Some(at),
        view_sql: None,
        tests: "passed".into(),
        built_at: Timestamp::from_micros(at),
        sql: Some(format!("select '{print}'")),
        intervals: None,
    };
    (publication, build)
}

fn put(store: &Store, name: &str, print: &str, at: i64) {
    let (publication, build) = seen(name, print, at);
    store.record_builds(&[build]).unwrap();
    store.publish(&[publication], &[]).unwrap();
}

fn prints(store: &Store) -> Vec<String> {
    let all = store.publications().unwrap().into_iter();
    all.map(|p| format!("{} {} {}", p.name, p.fingerprint, p.version.unwrap())).collect()
}

#[test]
fn an_environment_is_a_map_of_its_own_until_it_is_promoted_and_taken_back() {
    let (folder, prod) = store();
    let path = folder.path().join("meta.db");
    let now = Timestamp::from_micros;
    for name in ["a", "b", "gone"] {
        put(&prod, name, "1", 1);
    }
    let missing = Store::open(&path).unwrap().in_environment("dev").unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(prod.create_environment("dev", "prod", now(2)).unwrap());
    assert!(!prod.create_environment("dev", "prod", now(3)).unwrap(), "it is there");
    let dev = Store::open(&path).unwrap().in_environment("dev").unwrap();
    assert_eq!(prints(&dev), ["a 1 1", "b 1 1", "gone 1 1"], "nothing is built for it");
    put(&dev, "a", "2", 5);
    put(&dev, "new", "1", 5);
    dev.publish(&[], &["gone".into()]).unwrap();
    // Production went on meanwhile: a newer version of the same model, and a model of its own.
    put(&prod, "b", "1", 9);
    put(&prod, "own", "1", 9);
    assert_eq!(prints(&prod), ["a 1 1", "b 1 9", "gone 1 1", "own 1 9"]);

    let moved = prod.promote("dev", "prod", &Reads::new(), now(10)).unwrap().unwrap();
    assert_eq!(prints(&prod), ["a 2 5", "b 1 9", "new 1 5", "own 1 9"]);
    assert_eq!((moved.moved, moved.dropped), (vec!["a".into(), "new".into()], vec!["gone".into()]));
    assert_eq!(prod.build("a").unwrap().unwrap().fingerprint, "2");
    let again = prod.promote("dev", "prod", &Reads::new(), now(11)).unwrap();
    assert_eq!(again, None, "again is nothing");
    let needed = prod.referenced_locations().unwrap();
    assert!(
        needed.contains("a/1") && needed.contains("gone/1"),
        "a rollback needs them: {needed:?}"
    );

    assert!(prod.drop_environment("dev").unwrap());
    assert!(!prod.drop_environment("dev").unwrap());
    put(&prod, "own", "1", 12);
    let back = prod.roll_back("prod", now(13)).unwrap().unwrap();
    assert_eq!(back.number, moved.number);
    assert_eq!(prints(&prod), ["a 1 1", "b 1 9", "gone 1 1", "own 1 12"], "what moved went back");
    assert_eq!(prod.build("a").unwrap().unwrap().fingerprint, "1");
    assert_eq!(prod.build("new").unwrap(), None);
    assert_eq!(prod.roll_back("prod", now(14)).unwrap(), None);
}

#[test]
fn what_an_environment_gave_up_goes_and_what_the_other_got_since_stays() {
    let (folder, prod) = store();
    let path = folder.path().join("meta.db");
    let now = Timestamp::from_micros;
    put(&prod, "a", "1", 1);
    put(&prod, "given_up", "1", 1);
    for name in ["dev", "staging"] {
        prod.create_environment(name, "prod", now(2)).unwrap();
    }
    let dev = Store::open(&path).unwrap().in_environment("dev").unwrap();
    let staging = Store::open(&path).unwrap().in_environment("staging").unwrap();
    put(&dev, "b", "1", 3);
    dev.publish(&[], &["given_up".into()]).unwrap();
    prod.promote("dev", "prod", &Reads::new(), now(4)).unwrap();
    assert_eq!(prints(&prod), ["a 1 1", "b 1 3"]);
    // The model that came with a promotion goes with the next one; one that came back stays.
    put(&prod, "given_up", "2", 5);
    dev.publish(&[], &["b".into()]).unwrap();
    let second = prod.promote("dev", "prod", &Reads::new(), now(6)).unwrap().unwrap();
    assert_eq!((second.moved, second.dropped), (vec![], vec!["b".to_owned()]));
    assert_eq!(prints(&prod), ["a 1 1", "given_up 2 5"]);
    // Each target has a past of its own with the environment.
    prod.promote("dev", "staging", &Reads::new(), now(7)).unwrap();
    assert_eq!(prints(&staging), ["a 1 1"]);
    // Taken back, a promotion has not happened, and happens again.
    prod.roll_back("prod", now(8)).unwrap();
    assert_eq!(prints(&prod), ["a 1 1", "b 1 3", "given_up 2 5"]);
    prod.promote("dev", "prod", &Reads::new(), now(9)).unwrap();
    assert_eq!(prints(&prod), ["a 1 1", "given_up 2 5"]);
    // Another environment of the same name has no past with anybody.
    put(&prod, "own", "1", 10);
    prod.drop_environment("dev").unwrap();
    prod.create_environment("dev", "staging", now(11)).unwrap();
    assert_eq!(prod.promote("dev", "prod", &Reads::new(), now(12)).unwrap(), None);
    assert_eq!(prints(&prod), ["a 1 1", "given_up 2 5", "own 1 10"]);
}

#[test]
fn a_promotion_too_old_to_be_taken_back_still_tells_what_was_shared() {
    let (folder, prod) = store();
    let path = folder.path().join("meta.db");
    let now = Timestamp::from_micros;
    prod.create_environment("dev", "prod", now(1)).unwrap();
    prod.create_environment("busy", "prod", now(1)).unwrap();
    let dev = Store::open(&path).unwrap().in_environment("dev").unwrap();
    let busy = Store::open(&path).unwrap().in_environment("busy").unwrap();
    put(&dev, "a", "1", 2);
    prod.promote("dev", "prod", &Reads::new(), now(3)).unwrap();
    for n in 0..20 {
        put(&busy, "b", &n.to_string(), 4 + n);
        prod.promote("busy", "prod", &Reads::new(), now(4 + n)).unwrap();
    }
    dev.publish(&[], &["a".into()]).unwrap();
    prod.promote("dev", "prod", &Reads::new(), now(50)).unwrap();
    assert_eq!(prints(&prod), ["b 19 23"]);
    let mut taken_back = 0;
    while prod.roll_back("prod", now(60)).unwrap().is_some() {
        taken_back += 1;
    }
    assert_eq!(taken_back, 10);
}

#[test]
fn what_reads_a_promoted_model_is_promoted_with_it() {
    let (folder, prod) = store();
    let now = Timestamp::from_micros;
    let names = ["orders", "other", "totals"];
    names.iter().for_each(|name| put(&prod, name, "1", 1));
    prod.create_environment("dev", "prod", now(2)).unwrap();
    let dev = Store::open(&folder.path().join("meta.db")).unwrap();
    let dev = dev.in_environment("dev").unwrap();
    put(&dev, "orders", "2", 3);
    put(&dev, "totals", "1", 3);
    // Production was built again since, from its own orders.
    names.iter().for_each(|name| put(&prod, name, "1", 5));
    let reads = Reads::from([("totals".to_owned(), BTreeSet::from(["orders".to_owned()]))]);
    assert_eq!(prod.differing("dev", "prod", &reads).unwrap(), 2);
    let moved = prod.promote("dev", "prod", &reads, now(6)).unwrap().unwrap();
    assert_eq!((moved.moved, moved.stale), (vec!["orders".into(), "totals".into()], vec![]));
    assert_eq!(prints(&prod), ["orders 2 3", "other 1 5", "totals 1 3"]);
    assert_eq!(prod.promote("dev", "prod", &reads, now(7)).unwrap(), None, "again is nothing");
    assert_eq!(prod.differing("dev", "prod", &reads).unwrap(), 0);
    // What dev did not build since its orders changed is no better than what is there.
    put(&dev, "orders", "3", 8);
    put(&prod, "totals", "1", 9);
    let moved = prod.promote("dev", "prod", &reads, now(10)).unwrap().unwrap();
    assert_eq!((moved.moved, moved.stale), (vec!["orders".into()], vec!["totals".into()]));
    assert_eq!(prints(&prod), ["orders 3 8", "other 1 5", "totals 1 9"]);
    prod.roll_back("prod", now(11)).unwrap();
    prod.roll_back("prod", now(12)).unwrap();
    assert_eq!(prints(&prod), ["orders 1 5", "other 1 5", "totals 1 5"]);
}

#[test]
fn the_types_of_a_stream_are_kept_until_others_are_noted() {
    let (_folder, store) = store();
    assert_eq!(store.source_types("sync/s/t").unwrap(), None);
    for types in [r#"{"i":"Int32"}"#, r#"{"i":"Int64"}"#] {
        store.record_source_types("sync/s/t", types).unwrap();
        assert_eq!(store.source_types("sync/s/t").unwrap().as_deref(), Some(types));
    }
    assert_eq!(store.source_types("sync/s/u").unwrap(), None);
}

#[test]
fn a_table_is_idle_from_the_moment_nobody_names_it_until_somebody_does() {
    let (_folder, store) = store();
    let now = Timestamp::from_micros;
    put(&store, "a", "1", 1);
    let present = ["a/1".to_owned(), "a/2".to_owned()];
    let idle = |at: i64| store.idle_tables(&present, now(at), 10).unwrap();
    assert_eq!(idle(100), [""; 0], "it was noticed just now");
    assert_eq!(idle(109), [""; 0]);
    assert_eq!(idle(110), ["a/2"]);
    put(&store, "a", "2", 111);
    assert_eq!(idle(120), [""; 0], "a/2 is named again, a/1 is idle since now");
    assert_eq!(idle(130), ["a/1"]);
    assert_eq!(store.idle_tables(&[], now(131), 10).unwrap(), [""; 0], "it is gone");
    assert_eq!(idle(132), [""; 0], "what comes back begins anew");
}

#[test]
fn environments_have_names_that_folders_and_commands_can_bear() {
    let (_folder, store) = store();
    for bad in ["", "a b", "../x", "-x", "prod"] {
        let made = store.create_environment(bad, "prod", Timestamp::default());
        assert_eq!(made.map_err(|e| e.kind()), Err(ErrorKind::Invalid), "{bad:?}");
    }
    let made = store.create_environment("dev", "nowhere", Timestamp::default());
    assert_eq!(made.map_err(|e| e.kind()), Err(ErrorKind::NotFound));
    assert_eq!(store.drop_environment("prod").map_err(|e| e.kind()), Err(ErrorKind::Invalid));
}

#[test]
fn what_statements_made_is_kept_renamed_and_forgotten() {
    let (_folder, store) = store();
    let made = |name: &str, kind, reads: &[&str]| Made {
        name: name.to_owned(),
        kind,
        sql: (kind == MadeKind::View).then(|| "select 1".to_owned()),
        reads: reads.iter().map(|name| (*name).to_owned()).collect(),
        made_by: "ann/dbt".to_owned(),
        made_at: Timestamp::from_micros(7),
    };
    let schema = made("a", MadeKind::Schema, &[]);
    let table = made("a.t", MadeKind::Table, &["raw.\"x\", y", "raw.z"]);
    let view = made("a.v", MadeKind::View, &["a.t", "raw.z"]);
    for one in [&table, &schema, &view] {
        store.make(one).unwrap();
    }
    assert_eq!(store.made().unwrap(), [schema.clone(), table, view]);
    store.rename_made("a.t", "b.u").unwrap();
    // It is made of what had the name before, and so is what reads it.
    let renamed = made("b.u", MadeKind::Table, &["a.t", "raw.\"x\", y", "raw.z"]);
    assert_eq!(
        store.made().unwrap(),
        [schema.clone(), made("a.v", MadeKind::View, &["a.t", "b.u", "raw.z"]), renamed.clone()]
    );
    // Another name takes the place of what had it.
    store.rename_made("a.v", "b.u").unwrap();
    assert_eq!(store.made().unwrap().len(), 2);
    store.make(&renamed).unwrap();
    store.unmake(&["b.u".to_owned(), "never.was".to_owned()]).unwrap();
    assert_eq!(store.made().unwrap(), [schema]);
    // What others may have been made of is kept beside that, and only grows.
    let reads = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    store.keep_made_before("b.u", &reads(&["raw.z"])).unwrap();
    store.keep_made_before("b.u", &reads(&["raw.y"])).unwrap();
    let kept = store.made_before().unwrap();
    assert_eq!(kept, [("b.u".to_owned(), reads(&["raw.y", "raw.z"]))].into());
}

crate::testing::also_on_postgres!(
    an_action_is_queued_once_and_settled_once,
    a_halt_survives_keeps_its_first_reason_and_lets_nothing_be_leased,
    only_old_deliveries_that_are_shown_are_forgotten,
    what_is_discarded_keeps_its_reason_and_is_neither_sent_nor_tried_again,
    deliveries_of_policies_that_wait_take_no_place_of_others,
    what_was_cut_off_is_sent_again_or_given_up_and_its_old_deliverer_is_shut_out,
    the_moves_of_canaries_are_numbered_for_each_policy_and_kept_in_order,
    promotions_are_numbered_for_each_policy_and_kept_in_order,
    an_idle_position_is_true_only_after_the_commit_it_followed,
    a_sync_that_is_forgotten_leaves_no_position_and_its_namesakes_keep_theirs,
    publication_is_one_step_for_all_models,
    an_open_turn_is_found_again_and_moments_are_not_repeated,
    a_table_is_held_at_one_version_until_it_is_released,
    an_environment_is_a_map_of_its_own_until_it_is_promoted_and_taken_back,
    what_an_environment_gave_up_goes_and_what_the_other_got_since_stays,
    a_promotion_too_old_to_be_taken_back_still_tells_what_was_shared,
    what_reads_a_promoted_model_is_promoted_with_it,
    the_types_of_a_stream_are_kept_until_others_are_noted,
    a_table_is_idle_from_the_moment_nobody_names_it_until_somebody_does,
    environments_have_names_that_folders_and_commands_can_bear,
    what_statements_made_is_kept_renamed_and_forgotten,
);
