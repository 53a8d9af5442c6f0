//! Budget and stock: what is left is given once, arms stay alike, and each decision can be made again.

use std::collections::BTreeMap;

use super::*;
use crate::decide::{Question, decide_each};
use crate::table::DecisionRow;
use crate::verify::verify;

const PLAIN: &str = "choose: {candidates: [{name: a}]}\n";
const TWO: &str = "choose: {candidates: [{name: a}, {name: b}]}\n";

/// How many treated units got each action.
fn given(rows: &[DecisionRow]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for row in rows.iter().filter(|row| row.arm == TREATMENT) {
        *counts.entry(row.action.as_str()).or_insert(0) += 1;
    }
    counts
}

/// Units left out by a reason.
fn left_out(seen: &Preview, reason: &str) -> usize {
    seen.left_out.iter().find(|one| one.reason == reason).map_or(0, |one| one.units)
}

#[tokio::test]
async fn a_budget_is_spent_on_treated_units_and_whoever_is_beyond_it_waits() {
    let budget = "budget: {amount: 100, cost: 1, pacing: asap}\n";
    let desk = Desk::new(UNITS, &format!("{PLAIN}{SENDS}{budget}")).await;
    let seen = desk.preview(at(1)).await.unwrap();
    assert_eq!((seen.treated, seen.decisions + left_out(&seen, "budget")), (100, 300));
    assert!((10..45).contains(&seen.held_out), "a holdout costs nothing: {}", seen.held_out);
    let made = Box::pin(decide(&desk.ctx(at(1)).await, "offer")).await.unwrap();
    assert_eq!((made.decisions, made.queued), (seen.decisions, 100));
    let again = Box::pin(decide(&desk.ctx(at(1)).await, "offer")).await.unwrap();
    assert_eq!((again.decisions, again.queued), (made.decisions, 0));
    let rows = desk.rows(at(1)).await;
    assert!(rows.iter().all(|row| row.cost == (row.arm == TREATMENT).then_some(1.0)));

    // Later on that day nothing is left, for one unit asked for as for a turn; the next day has its own budget.
    let noon = at(1).plus_micros(43_200_000_000);
    let question = Question { policy: "offer".into(), unit: "u1".into(), key: None, fresh: None };
    let ctx = desk.ctx(noon).await;
    let answer = Box::pin(decide_each(&ctx, std::slice::from_ref(&question))).await;
    let refused = answer[0].as_ref().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Blocked);
    assert!(refused.message().contains("budget of policy \"offer\""), "{refused:?}");
    assert_eq!(desk.preview(noon).await.unwrap().treated, 0);
    let ctx = desk.ctx(at(2)).await;
    let made = Box::pin(decide(&ctx, "offer")).await.unwrap();
    assert_eq!(made.queued, 100);
    let proved = Box::pin(verify(&desk.ctx(at(2)).await, "offer", None)).await.unwrap();
    assert_eq!((proved.different, proved.same), (0, desk.rows(at(2)).await.len()));
}

#[tokio::test]
async fn each_unit_may_cost_its_own_and_an_even_pace_spreads_it() {
    let budget = "budget: {amount: 8000, per: week, cost: age}\n";
    // The third day of a week, of a policy that is asked each day: three sevenths of it.
    let desk = Desk::new(UNITS, &format!("{PLAIN}{SENDS}{budget}")).await;
    let made = Box::pin(decide(&desk.ctx(at(1)).await, "offer")).await.unwrap();
    assert!(made.queued > 0);
    let rows = desk.rows(at(1)).await;
    let spent: f64 = rows.iter().filter_map(|row| row.cost).sum();
    let allowed = 8_000.0 * 3.0 / 7.0;
    assert!(spent <= allowed && spent > allowed - 300.0, "{spent} of {allowed}");
    let least = format!("{PLAIN}{SENDS}budget: {{amount: 1, cost: name}}\n");
    let missing = Desk::new(UNITS, &least).await.preview(at(1)).await.unwrap_err();
    assert!(missing.message().contains("the audience has no column \"name\""), "{missing:?}");
}

#[tokio::test]
async fn what_is_used_up_is_not_offered_and_probabilities_are_those_of_what_is_left() {
    let stock = "stock: select 'a' as candidate, 30 as available\n";
    let desk = Desk::new(UNITS, &format!("{TWO}{SENDS}{stock}")).await;
    let seen = desk.preview(at(1)).await.unwrap();
    let made = Box::pin(decide(&desk.ctx(at(1)).await, "offer")).await.unwrap();
    assert_eq!((made.decisions, seen.decisions, left_out(&seen, "stock")), (300, 300, 0));
    let rows = desk.rows(at(1)).await;
    assert_eq!(given(&rows)["a"], 30);
    for row in rows.iter().filter(|row| row.arm == TREATMENT) {
        let chances: Value = serde_json::from_str(row.chances.as_deref().unwrap()).unwrap();
        let chance = chances[&row.action].as_f64().unwrap();
        assert_eq!(row.propensity, 0.8 * chance, "{chances}");
        let alone = chances.get("a").is_none();
        assert_eq!((chance, row.candidates), if alone { (1.0, 1) } else { (0.5, 2) });
    }
    // The next day nothing of it is left.
    Box::pin(decide(&desk.ctx(at(2)).await, "offer")).await.unwrap();
    let rows = desk.rows(at(2)).await;
    assert_eq!(given(&rows)["a"], 30);
    let proved = Box::pin(verify(&desk.ctx(at(2)).await, "offer", None)).await.unwrap();
    assert_eq!((proved.different, proved.same), (0, rows.len()));
}

#[tokio::test]
async fn where_everything_is_used_up_or_expired_units_are_left_out_and_told() {
    let both = "stock: select 'a' as candidate, 10 as available union all select 'b', 10\n";
    let desk = Desk::new(UNITS, &format!("{TWO}{SENDS}{both}")).await;
    let seen = desk.preview(at(1)).await.unwrap();
    assert_eq!(seen.treated, 20);
    assert_eq!(left_out(&seen, "stock") + seen.decisions, 300);
    let expired = "stock: select 'a' as candidate, 10 as available, timestamp '2024-05-01T00:00:00' as expires_at\n";
    let desk = Desk::new(UNITS, &format!("{PLAIN}{SENDS}{expired}")).await;
    let seen = desk.preview(at(1)).await.unwrap();
    assert_eq!((seen.decisions, left_out(&seen, "stock")), (0, 300));
    let seen = desk.preview(at(1).plus_micros(-1)).await.unwrap();
    assert_eq!(seen.treated, 10);
    let wrong = "stock: select 'a' as name, 10 as available\n";
    let desk = Desk::new(UNITS, &format!("{PLAIN}{SENDS}{wrong}")).await;
    let error = desk.preview(at(1)).await.unwrap_err();
    assert!(error.message().contains("no column \"candidate\""), "{error:?}");
}
