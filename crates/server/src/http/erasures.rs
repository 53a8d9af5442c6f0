//! Who was erased, by tokens that tell nothing of them. Erasing itself takes the project's lock: `flywheel erase`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use flywheel_state::Erasure;
use serde_json::{Value, json};

use super::items;
use crate::app::App;
use crate::gate::{Access, Permission, Routes};
use crate::problem::Result;

pub(super) fn routes(routes: &mut Routes) {
    routes.get(
        "/v1/erasures",
        Access::Needs(Permission::Audit),
        "Lists who was erased, by tokens in the place of keys, and what remains, newest first",
        all,
    );
}

async fn all(State(app): State<Arc<App>>) -> Result<Response> {
    let found = app.blocking(|app| app.workspace().store.erasures()).await?;
    items(&found.iter().rev().map(shown).collect::<Vec<_>>())
}

fn shown(one: &Erasure) -> Value {
    let remains = one.detail.get("remains").cloned().unwrap_or_else(|| json!([]));
    json!({
        "token": one.token, "status": one.status.word(), "kept_out": one.suppressed, "asked_by": one.asked_by,
        "reason": one.reason, "asked_at": one.asked_at.to_string(),
        "ended_at": one.ended_at.map(|at| at.to_string()), "remains": remains,
    })
}
