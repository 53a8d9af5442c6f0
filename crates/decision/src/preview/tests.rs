//! A preview is what a turn at the same moment decides, and leaves nothing behind; what a turn has decided leaves once.

mod constraints;
mod limits;

use std::path::Path;
use std::sync::Arc;

use flywheel_base::{ErrorKind, FixedClock, Timestamp};
use flywheel_project::{Connectors, Project};
use flywheel_state::Store;
use flywheel_transform::World;
use flywheel_warehouse::{Lake, LakeOptions};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::act::act;
use crate::artifact::Artifacts;
use crate::decide::{Status, decide, decisions_where};
use crate::table::TABLES;

/// Three hundred units, each with a column.
const UNITS: &str = "select 'u' || value as unit_id, value as age from generate_series(1, 300)";

/// What counts as success.
const OUTCOME: &str = "outcome:\n  events: select 'e' as event_id, 'u1' as unit_id, timestamp '2024-04-01T00:00:00' as at\n  window: 1d\n";

/// A project with one policy, and where it works.
struct Desk {
    dir: TempDir,
    project: Project,
    lake: Lake,
    store: Store,
}

fn write(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

impl Desk {
    /// A project whose policy `offer` has this audience, and says `more`.
    async fn new(audience: &str, more: &str) -> Self {
        let dir = TempDir::new().unwrap();
        write(dir.path(), "flywheel.yaml", "name: shop\n");
        write(
            dir.path(),
            "actions/send.yaml",
            "action: send\ntype: file\noptions: {path: out/offers.jsonl}\n",
        );
        write(
            dir.path(),
            "learners/best.yaml",
            "learner: best\nbandit:\n  policy: offer\n  actions: [a, b, c]\n  context: [{column: age}]\n",
        );
        let policy =
            format!("policy: offer\nevery: 1d\naudience: >-\n  {audience}\n{OUTCOME}{more}");
        write(dir.path(), "policies/offer.yaml", &policy);
        let clock = Arc::new(FixedClock::new(at(1)));
        let options = LakeOptions {
            memory_bytes: 256 << 20,
            spill_dir: dir.path().join("spill"),
            partitions: 2,
            clock,
            exact_division: false,
        };
        let lake = Lake::open(&dir.path().join("lake"), options).await.unwrap();
        for table in TABLES {
            table.ensure(&lake).await.unwrap();
        }
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        let project = Project::load(dir.path(), &Connectors::default())
            .unwrap_or_else(|mistakes| panic!("{mistakes}"));
        Self { dir, project, lake, store }
    }

    async fn ctx(&self, now: Timestamp) -> Context<'_> {
        let world = World { project: &self.project, lake: &self.lake, store: &self.store, now };
        let catalog = flywheel_transform::catalog(world).await.unwrap();
        Context {
            project: &self.project,
            lake: &self.lake,
            store: &self.store,
            session: self.lake.session(catalog).unwrap(),
            artifacts: Artifacts::new(&self.dir.path().join("artifacts")),
            now,
            turn: 1,
        }
    }

    async fn preview(&self, now: Timestamp) -> Result<Preview> {
        let ctx = self.ctx(now).await;
        Box::pin(preview(&ctx, "offer", &self.project.policies["offer"], SAMPLE_MAX)).await
    }

    async fn rows(&self, now: Timestamp) -> Vec<DecisionRow> {
        decisions_where(&self.ctx(now).await, "offer", "true").await.unwrap()
    }
}

/// A moment of a day in May.
fn at(day: u32) -> Timestamp {
    Timestamp::parse(&format!("2024-05-{day:02}")).unwrap()
}

const SENDS: &str = "holdout: 20%\naction: send\npayload: {to: $unit_id, years: $age}\n";

#[tokio::test]
async fn a_turn_at_the_same_moment_decides_what_the_preview_said() {
    for choose in [
        "candidates: [{name: a, weight: 3}, {name: b, payload: {percent: 10}}]",
        "experiment: {variants: [{name: a}, {name: b}]}",
        "bandit: {learner: best}",
    ] {
        for caps in ["{}", "{per_turn: 120}"] {
            let more = format!("choose: {{{choose}}}\ncaps: {caps}\n{SENDS}");
            let desk = Desk::new(UNITS, &more).await;
            let seen = desk.preview(at(1)).await.unwrap();
            assert!(seen.due && seen.paused.is_none() && !seen.delivery.approval, "{seen:?}");
            assert_eq!(seen, desk.preview(at(1)).await.unwrap(), "looking changes nothing");
            assert!(desk.rows(at(1)).await.is_empty());
            assert!(desk.store.outbox(None, None, 10).unwrap().is_empty());
            assert!(!desk.dir.path().join("artifacts").exists(), "no text is kept");

            let ctx = desk.ctx(at(1)).await;
            let decided = Box::pin(decide(&ctx, "offer")).await.unwrap();
            assert_eq!(decided.status, Status::Decided);
            assert_eq!(
                (decided.decisions, decided.held_out, decided.queued),
                (seen.decisions, seen.held_out, seen.delivery.leaves),
            );
            assert_eq!((seen.audience, seen.treated), (300, seen.decisions - seen.held_out));
            assert_eq!(seen.treated, seen.delivery.leaves);
            let rows = desk.rows(at(1)).await;
            assert_eq!(rows.len(), seen.decisions);
            let first: Vec<Sampled> =
                rows.iter().take(SAMPLE_MAX).map(|row| sampled(row).unwrap()).collect();
            assert_eq!(first, seen.sample, "{choose} {caps}");
            assert_eq!(actions(&rows), seen.actions);
            let beyond = 300 - seen.decisions;
            let left = (beyond > 0).then_some(LeftOut { reason: "per_turn", units: beyond });
            assert_eq!(seen.left_out, left.into_iter().collect::<Vec<_>>());
            let held = seen.sample.iter().find(|one| one.arm == HOLDOUT).unwrap();
            assert_eq!((held.action.as_str(), &held.payload), ("none", &None));
            let treated = seen.sample.iter().find(|one| one.arm != HOLDOUT).unwrap();
            let payload = treated.payload.as_ref().unwrap();
            assert_eq!(payload["to"], json!(treated.unit_id));
            assert_eq!(payload["years"], treated.features["age"]);
        }
    }
}

#[tokio::test]
async fn who_was_decided_for_is_left_out_and_a_policy_that_waits_is_asked_all_the_same() {
    let more = format!(
        "choose: {{candidates: [{{name: a}}]}}\ncaps: {{per_unit_every: 7d, per_turn: 100}}\n{SENDS}"
    );
    let desk = Desk::new(UNITS, &more).await;
    let ctx = desk.ctx(at(1)).await;
    Box::pin(decide(&ctx, "offer")).await.unwrap();
    let seen = desk.preview(at(1).plus_micros(1)).await.unwrap();
    let out = |reason, units| LeftOut { reason, units };
    assert!(!seen.due, "it is due a day later");
    assert_eq!(seen.left_out, [out("per_unit_every", 100), out("per_turn", 100)]);
    assert_eq!(seen.decisions, 100);
    assert!(desk.preview(at(2)).await.unwrap().due);
    let stopped = flywheel_state::PolicyState {
        paused: true,
        reason: Some("a wish".to_owned()),
        last_decided_at: None,
    };
    desk.store.record_policy("offer", &stopped, at(2)).unwrap();
    let seen = desk.preview(at(2)).await.unwrap();
    assert_eq!((seen.paused.as_deref(), seen.delivery.approval), (Some("a wish"), true));
    assert_eq!((seen.decisions, seen.delivery.leaves), (100, seen.treated));
}

#[tokio::test]
async fn what_would_fail_a_turn_is_counted_or_told_with_its_place() {
    let plain = "choose: {candidates: [{name: a}]}\n";
    let units = "select * from (values ('u1'), ('u1'), ('u2'), (null)) as t (unit_id)";
    let desk = Desk::new(units, plain).await;
    let seen = desk.preview(at(1)).await.unwrap();
    assert_eq!((seen.audience, seen.without_unit, seen.repeated), (4, 1, 1));
    assert_eq!((seen.decisions, seen.actions.len(), seen.sample.len()), (0, 0, 0));
    let ctx = desk.ctx(at(1)).await;
    let error = Box::pin(decide(&ctx, "offer")).await.unwrap_err();
    assert!(seen.notes[0].contains(error.message()), "{:?}: {error}", seen.notes);

    for audience in ["select 1 as customer_id", "select unit_id from raw.nothing"] {
        let desk = Desk::new(audience, plain).await;
        let seen = desk.preview(at(1)).await.unwrap_err();
        let ctx = desk.ctx(at(1)).await;
        let turn = Box::pin(decide(&ctx, "offer")).await.unwrap_err();
        assert_eq!(seen.message(), format!("policies/offer.yaml:1: {}", turn.message()));
        assert_eq!((seen.kind(), seen.hint_text()), (turn.kind(), turn.hint_text()));
        assert!(matches!(seen.kind(), ErrorKind::Invalid | ErrorKind::NotFound), "{seen}");
    }
}

#[tokio::test]
async fn what_should_be_known_is_said() {
    let desk = Desk::new(
        "select unit_id from (select 'u1' as unit_id) as t where false",
        "choose: {candidates: [{name: a}]}\n",
    )
    .await;
    let notes = desk.preview(at(1)).await.unwrap().notes.join("\n");
    for said in ["no rows", "holdout is 0 %", "only logged"] {
        assert!(notes.contains(said), "{said}: {notes}");
    }
    assert!(!notes.contains("outcome"), "it has events: {notes}");
}

#[tokio::test]
async fn what_was_decided_before_a_kill_is_queued_once_and_waits_while_its_policy_is_paused() {
    let more = format!("choose: {{candidates: [{{name: a}}]}}\n{SENDS}");
    for pauses in [false, true] {
        let mut desk = Desk::new(UNITS, &more).await;
        let made = Box::pin(decide(&desk.ctx(at(1)).await, "offer")).await.unwrap();
        assert!(made.queued > 0 && made.queued == made.decisions - made.held_out, "{made:?}");
        // A kill between the commit and the outbox leaves decisions that the outbox knows nothing of.
        desk.store = Store::open(&desk.dir.path().join("killed.db")).unwrap();
        let state = flywheel_state::PolicyState {
            paused: pauses,
            reason: Some("a wish".to_owned()),
            last_decided_at: None,
        };
        desk.store.record_policy("offer", &state, at(1)).unwrap();

        let ctx = desk.ctx(at(1)).await;
        let completed = Box::pin(decide(&ctx, "offer")).await.unwrap();
        assert_eq!(completed, made, "paused: {pauses}");
        let again = Box::pin(decide(&ctx, "offer")).await.unwrap();
        assert_eq!((&again.status, again.queued), (&Status::Decided, 0), "paused: {pauses}");
        assert_eq!(desk.rows(at(1)).await.len(), made.decisions, "nobody is decided for again");

        // Nothing leaves while the policy is paused, and nothing new is decided.
        let left = Box::pin(act(&ctx)).await.unwrap().delivered;
        assert_eq!(left, if pauses { 0 } else { made.queued });
        if pauses {
            let ctx = desk.ctx(at(2)).await;
            let next = Box::pin(decide(&ctx, "offer")).await.unwrap();
            let paused = Status::Paused("a wish".to_owned());
            assert_eq!((next.status, next.decisions, next.queued), (paused, 0, 0));
            assert_eq!(Box::pin(act(&ctx)).await.unwrap().delivered, 0);
            let state = flywheel_state::PolicyState { paused: false, ..state };
            desk.store.record_policy("offer", &state, at(2)).unwrap();
            assert_eq!(Box::pin(act(&ctx)).await.unwrap().delivered, made.queued);
        }
        let ctx = desk.ctx(at(2)).await;
        assert_eq!(Box::pin(act(&ctx)).await.unwrap().delivered, 0, "each leaves once");
    }
}

#[tokio::test]
async fn a_halt_stops_deciding_and_delivering_and_what_was_paused_before_stays_so() {
    let more = format!("choose: {{candidates: [{{name: a}}]}}\n{SENDS}");
    let desk = Desk::new(UNITS, &more).await;
    let made = Box::pin(decide(&desk.ctx(at(1)).await, "offer")).await.unwrap();
    assert!(made.queued > 0, "{made:?}");
    let halt =
        flywheel_state::Halt { reason: "wrong prices".to_owned(), by: "ada".to_owned(), at: at(1) };
    assert!(desk.store.record_halt(&halt).unwrap());
    let ctx = desk.ctx(at(2)).await;
    let acted = Box::pin(act(&ctx)).await.unwrap();
    assert_eq!((acted.delivered, acted.halted.as_deref()), (0, Some("wrong prices")));
    let next = Box::pin(decide(&ctx, "offer")).await.unwrap();
    let why = "all policies are stopped by ada: wrong prices".to_owned();
    assert_eq!((next.status, next.decisions), (Status::Paused(why), 0));

    let paused = flywheel_state::PolicyState {
        paused: true,
        reason: Some("a wish".to_owned()),
        last_decided_at: None,
    };
    desk.store.record_policy("offer", &paused, at(2)).unwrap();
    assert!(desk.store.lift_halt().unwrap());
    let next = Box::pin(decide(&ctx, "offer")).await.unwrap();
    assert_eq!(next.status, Status::Paused("a wish".to_owned()));
    assert_eq!(Box::pin(act(&ctx)).await.unwrap().delivered, 0);
    let going = flywheel_state::PolicyState { paused: false, ..paused };
    desk.store.record_policy("offer", &going, at(2)).unwrap();
    // Somebody who stops it before it begins finds everything where it was.
    let stopped = Box::pin(crate::act::act_until(&ctx, &|| true)).await.unwrap();
    assert_eq!((stopped.delivered, desk.store.sending().unwrap()), (0, false));
    // One that comes while deliveries are about to leave stops these as well.
    let pulled = || !desk.store.record_halt(&halt).is_ok_and(|new| new);
    let cut = Box::pin(crate::act::act_until(&ctx, &pulled)).await.unwrap();
    assert_eq!((cut.delivered, cut.halted.as_deref()), (0, Some("wrong prices")));
    assert!(desk.store.lift_halt().unwrap());
    let acted = Box::pin(act(&ctx)).await.unwrap();
    assert_eq!((acted.delivered, acted.halted), (made.queued, None));
}

#[tokio::test]
async fn a_bound_on_a_number_that_nothing_has_is_told() {
    // Older ones wait, and younger ones do not; a number has its name in the audience or in what is sent.
    for (of, is_told) in [("age", false), ("years", false), ("agee", true)] {
        let approve = format!("approve: {{above: 200, of: {of}, by: anyone}}\n");
        let more = format!("choose: {{candidates: [{{name: a}}]}}\n{SENDS}{approve}");
        let desk = Desk::new(UNITS, &more).await;
        let notes = desk.preview(at(1)).await.unwrap().notes;
        let told = format!("None of them has a number \"{of}\", which `approve` compares");
        assert_eq!(notes.iter().any(|note| note.starts_with(&told)), is_told, "{notes:?}");
    }
}
