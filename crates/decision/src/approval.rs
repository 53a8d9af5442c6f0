//! Approvals: which deliveries wait for a person before they leave.
//!
//! What waits follows from the policy and the logged decisions alone, so that a turn which is completed after a crash asks
//! for the same. Who was decided for, and with which probability, is the same with and without it.

use std::collections::BTreeMap;

use flywheel_project::resource::policy::{Approve, Approver, Choose, Per, Policy, column_of};
use flywheel_state::{Approval, ApprovalStatus, OrderLine, OutboxEntry, OutboxStatus};
use serde_json::Value;

use crate::table::DecisionRow;

/// What of a purchase proposal is compared with the bound if nothing is named.
pub(crate) const COST: &str = "cost";
/// The column of the audience that a purchase proposal's cost is reckoned from.
const UNIT_COST: &str = "unit_cost";
/// What of a purchase proposal can be edited.
const QUANTITY: &str = "order_quantity";

/// Lets those deliveries wait that a person has to approve, and returns what is asked of them.
pub(crate) fn asked(
    policy: &Policy,
    rows: &[DecisionRow],
    entries: &mut [OutboxEntry],
) -> Vec<Approval> {
    let Some(approve) = &policy.approve else { return Vec::new() };
    let of = approve.of.as_deref().unwrap_or(COST);
    let by_id: BTreeMap<&str, &DecisionRow> =
        rows.iter().map(|row| (row.decision_id.as_str(), row)).collect();
    let mut lines = Vec::with_capacity(entries.len());
    for (place, entry) in entries.iter().enumerate() {
        if let Some(row) = by_id.get(entry.decision_id.as_str()) {
            lines.push((place, *row, amount(policy, row, &entry.payload, of)));
        }
    }
    let sum: Option<f64> = lines.iter().map(|(_, _, amount)| *amount).sum();
    let mut asks = Vec::new();
    for (place, row, amount) in lines {
        let compared = match approve.per {
            Per::Line => amount,
            Per::Turn => sum,
        };
        let Some(entry) = entries.get_mut(place).filter(|_| waits(approve, compared)) else {
            continue;
        };
        entry.status = OutboxStatus::Waiting;
        asks.push(Approval {
            key: entry.key.clone(),
            policy: entry.policy.clone(),
            turn: entry.turn,
            unit: row.unit_id.clone(),
            amount,
            of: amount.map(|_| of.to_owned()),
            by_other: approve.by == Approver::Other,
            asked_at: row.decided_at,
            expires_at: approve.within.map(|within| row.decided_at.plus_micros(within.micros)),
            status: ApprovalStatus::Waiting,
            decided_by: None,
            decided_at: None,
            reason: None,
            line: line(policy, row),
            payload: entry.payload.clone(),
            original: entry.payload.clone(),
            edits: Vec::new(),
        });
    }
    asks
}

/// Whether something of this amount waits; what has no number does.
fn waits(approve: &Approve, amount: Option<f64>) -> bool {
    match (approve.above, amount) {
        (Some(bound), Some(amount)) => amount > bound,
        (_, None) | (None, _) => true,
    }
}

/// What is compared with the bound: of a purchase proposal, of the audience's columns, or of what is sent.
fn amount(policy: &Policy, row: &DecisionRow, payload: &Value, of: &str) -> Option<f64> {
    let proposed = proposal(policy, row).and_then(|proposal| number(proposal.get(of)?));
    let column = |name: &str| {
        let features: Value = serde_json::from_str(&row.features).ok()?;
        number(features.get(name)?)
    };
    if of == COST
        && proposed.is_some_and(|cost| cost <= 0.0)
        && column(UNIT_COST).is_none_or(|cost| cost < 0.0)
    {
        // A proposal counts an item whose cost is not known as one that costs nothing.
        return None;
    }
    proposed.or_else(|| column(of)).or_else(|| number(payload.get(of)?))
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// The purchase proposal of a decision, if it is one.
fn proposal(policy: &Policy, row: &DecisionRow) -> Option<Value> {
    if !matches!(policy.choose, Choose::Reorder(_)) {
        return None;
    }
    let items: Value = serde_json::from_str(row.items.as_deref()?).ok()?;
    items.get(0).cloned()
}

/// What of a delivery can be edited, if it is an order whose quantity is sent.
fn line(policy: &Policy, row: &DecisionRow) -> Option<OrderLine> {
    let proposal = proposal(policy, row)?;
    let places = |column: &str| {
        let mut found = Vec::new();
        for (key, value) in &policy.payload {
            places(value, column, &format!("/{}", escaped(key)), &mut found);
        }
        found
    };
    Some(OrderLine {
        quantity: number(proposal.get(QUANTITY)?)?,
        cost: proposal.get(COST).and_then(number).unwrap_or(0.0),
        quantity_at: places(QUANTITY),
        cost_at: places(COST),
    })
}

/// Where a declared payload stands for a column, as JSON pointers, at any depth.
fn places(value: &Value, column: &str, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) if column_of(text) == Some(column) => found.push(at.to_owned()),
        Value::Array(values) => {
            for (number, value) in values.iter().enumerate() {
                places(value, column, &format!("{at}/{number}"), found);
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                places(value, column, &format!("{at}/{}", escaped(key)), found);
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use flywheel_base::Timestamp;
    use serde_json::json;

    use super::*;

    fn policy(approve: &Value) -> Policy {
        serde_json::from_value(json!({
            "policy": "restock", "audience": "select 1", "choose": {"reorder": {"learner": "demand"}},
            "action": "orders", "approve": approve,
            "payload": {"lines": [{"a/b": "$order_quantity"}], "total": "$cost", "note": "$$cost"},
        }))
        .unwrap()
    }

    fn decided(id: &str, cost: Option<f64>) -> DecisionRow {
        serde_json::from_value(json!({
            "decision_id": id, "turn": 1, "policy": "restock", "policy_version": "v", "unit_id": id,
            "decided_at": 1000, "arm": "treatment", "action": "order", "propensity": 1.0,
            "items": json!([{"order_quantity": 10.0, "cost": cost}]).to_string(), "candidates": 1,
            "candidates_digest": "", "candidate_ids": null, "chances": null, "artifact": null,
            "canary": null, "features_digest": "", "features": r#"{"weight": "7"}"#, "seed": "",
            "payload": "{}",
        }))
        .unwrap()
    }

    fn entry(row: &DecisionRow) -> OutboxEntry {
        OutboxEntry {
            key: row.decision_id.clone(),
            policy: row.policy.clone(),
            turn: 1,
            decision_id: row.decision_id.clone(),
            action: "orders".to_owned(),
            payload: json!({"pieces": 3}),
            status: OutboxStatus::Pending,
            attempts: 0,
            due_at: Timestamp::default(),
            ended_at: None,
            receipt: None,
            error: None,
            bundle: None,
        }
    }

    /// Which of decisions with these costs wait.
    fn waiting(approve: &Value, costs: &[Option<f64>]) -> Vec<usize> {
        let policy = policy(approve);
        let rows: Vec<_> =
            costs.iter().enumerate().map(|(at, cost)| decided(&at.to_string(), *cost)).collect();
        let mut entries: Vec<_> = rows.iter().map(entry).collect();
        let asks = asked(&policy, &rows, &mut entries);
        let waits = entries.iter().enumerate();
        let waits = waits.filter(|(_, entry)| entry.status == OutboxStatus::Waiting);
        let places: Vec<usize> = waits.map(|(at, _)| at).collect();
        let asked: Vec<String> = places.iter().map(ToString::to_string).collect();
        assert_eq!(asks.iter().map(|ask| ask.key.clone()).collect::<Vec<_>>(), asked);
        places
    }

    #[test]
    fn what_is_above_the_bound_or_has_no_number_waits() {
        let costs = [Some(5.0), Some(10.0), Some(10.5), None];
        assert_eq!(waiting(&json!({"above": 10}), &costs), [2, 3]);
        assert_eq!(waiting(&json!({}), &costs), [0, 1, 2, 3], "without a bound everything does");
        assert_eq!(waiting(&json!({"above": 30, "per": "turn"}), &costs[..3]), [0usize; 0]);
        assert_eq!(waiting(&json!({"above": 25, "per": "turn"}), &costs[..3]), [0, 1, 2]);
        assert_eq!(waiting(&json!({"above": 900, "per": "turn"}), &costs), [0, 1, 2, 3]);
        // A column of the audience, and what is sent.
        assert_eq!(waiting(&json!({"above": 6, "of": "weight"}), &costs[..1]), [0]);
        assert_eq!(waiting(&json!({"above": 6, "of": "pieces"}), &costs[..1]), [0usize; 0]);
    }

    #[test]
    fn an_order_whose_cost_is_not_known_waits_and_one_that_costs_nothing_does_not() {
        let waits = |features: &str| {
            let policy = policy(&json!({"above": 10}));
            let rows = [DecisionRow { features: features.to_owned(), ..decided("a", Some(0.0)) }];
            let mut entries = [entry(&rows[0])];
            !asked(&policy, &rows, &mut entries).is_empty()
        };
        for unknown in ["{}", r#"{"unit_cost": null}"#, r#"{"unit_cost": ""}"#, r#"{"cost": 1}"#] {
            assert!(waits(unknown), "{unknown}");
        }
        assert!(waits(r#"{"unit_cost": -1}"#));
        assert!(!waits(r#"{"unit_cost": 0}"#));
    }

    #[test]
    fn an_order_can_be_edited_wherever_its_quantity_is_sent() {
        let policy = policy(&json!({"within": "2d", "by": "anyone"}));
        let rows = [decided("a", Some(20.0))];
        let mut entries = [entry(&rows[0])];
        let asks = asked(&policy, &rows, &mut entries);
        let line = asks[0].line.as_ref().unwrap();
        assert_eq!((line.quantity, line.cost), (10.0, 20.0));
        assert_eq!(line.quantity_at, ["/lines/0/a~1b"]);
        assert_eq!(line.cost_at, ["/total"], "a fixed text is none");
        assert!(!asks[0].by_other);
        let end = Timestamp::from_micros(1000).plus_micros(2 * 86_400_000_000);
        assert_eq!(asks[0].expires_at, Some(end));
    }
}
