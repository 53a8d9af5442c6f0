//! What leaves: the outbox and what was given up.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use flywheel_state::{OutboxStatus, Piece, PolicyDeliveries, no_place};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{json_of, piece};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Asked, counted, cut};
use crate::problem::{Problem, Result};

pub(super) fn routes(routes: &mut Routes) {
    let view = Access::Needs(Permission::View);
    routes.get("/v1/actions", view, "Lists deliveries, newest turn first", actions);
    routes.get("/v1/actions/counts", view, "Counts deliveries by where they stand", counts);
}

/// Which deliveries.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    status: Option<String>,
    policy: Option<String>,
    /// Deliveries of the answer at most; 100 if absent, 1,000 at most.
    limit: Option<u32>,
    /// `next` of the piece before; the newest turn if absent.
    cursor: Option<String>,
}

async fn actions(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Asked(which): Asked<Which>,
) -> Result<Response> {
    let all = [
        OutboxStatus::Waiting,
        OutboxStatus::Pending,
        OutboxStatus::Delivered,
        OutboxStatus::Dead,
        OutboxStatus::Discarded,
    ];
    let status = match &which.status {
        None => None,
        Some(word) => {
            Some(all.into_iter().find(|status| status.name() == word).ok_or_else(|| {
                Problem::invalid(format!("no delivery is \"{word}\""))
                    .hint("Ask for waiting, pending, delivered, dead or discarded.")
            })?)
        }
    };
    let reading = caller.reading(&app.workspace().project);
    let limit = counted(which.limit);
    let found = app.with(move |workspace| async move {
        let store = &workspace.store;
        let piece = Piece { after: which.cursor.as_deref(), limit: limit + 1 };
        let Some(open) = reading.open_policies(&workspace).await? else {
            return store.outbox_of(status, which.policy.as_deref(), piece);
        };
        // Others decide by what the caller does not see, and so may those that nobody declares any more.
        if let Some(key) = piece.after {
            // Ids follow from policy, moment and unit, so that a place would tell whom a policy decided for.
            let place = store.outbox_entry(key)?;
            if place.is_none_or(|entry| !open.contains(&entry.policy)) {
                return Err(no_place(key));
            }
        }
        let mut found = Vec::new();
        for policy in open.iter().filter(|one| which.policy.as_ref().is_none_or(|it| it == *one)) {
            found.extend(store.outbox_of(status, Some(policy.as_str()), piece)?);
        }
        found.sort_by(|a, b| {
            b.turn.cmp(&a.turn).then_with(|| (&a.policy, &a.key).cmp(&(&b.policy, &b.key)))
        });
        Ok(found)
    });
    // What is sent may hold what people may not see, and so may what a receiver answers: many say what they refuse.
    let queries = caller.may(Permission::Query);
    let (found, next) = cut(found.await?, limit, |entry| entry.key.clone());
    let found = found.into_iter().map(|entry| {
        json!({
            "key": entry.key, "policy": entry.policy, "turn": entry.turn, "decision_id": entry.decision_id,
            "action": entry.action, "status": entry.status.name(), "attempts": entry.attempts,
            "due_at": entry.due_at.to_string(), "ended_at": entry.ended_at.map(|at| at.to_string()),
            "error": entry.error.filter(|_| queries),
        })
    });
    piece(&found.collect::<Vec<_>>(), next)
}

async fn counts(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let mut all = workspace.store.outbox_by_policy()?;
        // The same policies as those whose deliveries are listed.
        if let Some(open) = reading.open_policies(&workspace).await? {
            all.retain(|one| open.contains(&one.policy));
        }
        Ok(all)
    });
    let policies = found.await?;
    let sum = |of: fn(&PolicyDeliveries) -> u64| policies.iter().map(of).sum::<u64>();
    let each = policies.iter().map(|one| {
        json!({
            "policy": one.policy, "waiting": one.waiting, "pending": one.pending, "delivered": one.delivered, "dead": one.dead,
            "discarded": one.discarded,
        })
    });
    json_of(&json!({
        "waiting": sum(|one| one.waiting), "pending": sum(|one| one.pending), "delivered": sum(|one| one.delivered), "dead": sum(|one| one.dead),
        "discarded": sum(|one| one.discarded), "policies": each.collect::<Vec<_>>(),
    }))
}
