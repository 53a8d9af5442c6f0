//! What leaves: the outbox and what was given up.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use flywheel_state::OutboxStatus;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{items, json_of};
use crate::app::App;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Asked, counted};
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
    limit: Option<u32>,
}

async fn actions(State(app): State<Arc<App>>, Asked(which): Asked<Which>) -> Result<Response> {
    let all = [OutboxStatus::Pending, OutboxStatus::Delivered, OutboxStatus::Dead];
    let status = match &which.status {
        None => None,
        Some(word) => {
            Some(all.into_iter().find(|status| status.name() == word).ok_or_else(|| {
                Problem::invalid(format!("no delivery is \"{word}\""))
                    .hint("Ask for pending, delivered or dead.")
            })?)
        }
    };
    let found = app.blocking(move |app| {
        app.workspace().store.outbox(status, which.policy.as_deref(), counted(which.limit))
    });
    // What is sent may hold what people may not see; decisions show it to those who may.
    let found = found.await?.into_iter().map(|entry| {
        json!({
            "key": entry.key, "policy": entry.policy, "turn": entry.turn, "decision_id": entry.decision_id,
            "action": entry.action, "status": entry.status.name(), "attempts": entry.attempts,
            "due_at": entry.due_at.to_string(), "ended_at": entry.ended_at.map(|at| at.to_string()), "error": entry.error,
        })
    });
    items(&found.collect::<Vec<_>>())
}

async fn counts(State(app): State<Arc<App>>) -> Result<Response> {
    let (pending, delivered, dead) =
        app.blocking(|app| app.workspace().store.outbox_counts()).await?;
    json_of(&json!({"pending": pending, "delivered": delivered, "dead": dead}))
}
