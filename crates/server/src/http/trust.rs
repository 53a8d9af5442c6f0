//! What is known of tables by which a figure that is made of them is to be believed or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use flywheel_base::Result as BaseResult;
use flywheel_runtime::Workspace;
use flywheel_runtime::access::Reading;
use flywheel_runtime::catalogue::collect;
use serde_json::{Value, json};

use super::{items, quality};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::problem::Result;

pub(super) fn routes(routes: &mut Routes) {
    routes.get(
        "/v1/trust",
        Access::Needs(Permission::View),
        "Shows of every table how fresh it is, what its tests and promises found, and who answers for it",
        trust,
    );
}

async fn trust(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move { all(&workspace, &reading).await });
    items(&found.await?)
}

/// How many promises about a table were found so, the last time each was judged.
#[derive(Default)]
struct Promises {
    passed: u64,
    warned: u64,
    failed: u64,
}

async fn all(workspace: &Workspace, reading: &Reading) -> BaseResult<Vec<Value>> {
    let mut promises: BTreeMap<String, Promises> = BTreeMap::new();
    for row in Box::pin(quality::last(workspace, reading)).await?.into_values() {
        let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
        let of = promises.entry(text("dataset").to_owned()).or_default();
        match text("verdict") {
            "passed" => of.passed += 1,
            "warned" => of.warned += 1,
            "failed" | "broken" => of.failed += 1,
            _ => {}
        }
    }
    let said = reading.said(&workspace.project);
    let holds = workspace.store.holds()?;
    let catalogue = Box::pin(collect(workspace)).await?;
    let shown = |asset: &flywheel_runtime::catalogue::Asset| {
        let found = promises.remove(&asset.name).unwrap_or_default();
        let held = holds.iter().find(|hold| hold.name == asset.name);
        json!({
            "name": asset.name, "kind": asset.kind, "owner": asset.owner, "certification": asset.certification,
            "committed_at": asset.committed_at.map(|at| at.to_string()), "age_s": asset.age_s,
            "fresh_limit_s": asset.fresh_limit_s, "tests": asset.tests, "tests_status": asset.tests_status,
            "passed": found.passed, "warned": found.warned, "failed": found.failed,
            "held": held.map(|hold| said.text(hold.reason.clone())),
        })
    };
    let granted = reading.granted(&workspace.project);
    let seen = |asset: &&flywheel_runtime::catalogue::Asset| {
        asset.is_table && granted.as_ref().is_none_or(|granted| granted.shows_asset(asset))
    };
    Ok(catalogue.assets.iter().filter(seen).map(shown).collect())
}
