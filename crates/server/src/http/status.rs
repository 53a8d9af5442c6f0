//! The wheel at a glance, and what happens now.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use flywheel_base::Result as BaseResult;
use flywheel_project::NodeKind;
use flywheel_runtime::Workspace;
use flywheel_runtime::access::Reading;
use flywheel_runtime::access::granted::Granted;
use flywheel_runtime::follow::followed::FollowedState;
use flywheel_runtime::status::{PolicyStatus, Status, status as collect};
use flywheel_state::no_place;
use serde::Serialize;
use serde_json::{Value, json};

use super::{json_of, piece};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Asked, Pieces, counted, cut};
use crate::live;
use crate::problem::Result;

pub(super) fn routes(routes: &mut Routes) {
    let view = Access::Needs(Permission::View);
    routes.get(
        "/v1/status",
        view,
        "Shows the wheel: its stages, what needs attention, what each policy changed",
        status,
    );
    routes.get("/v1/turns", view, "Lists turns, newest first", turns);
    routes.get("/v1/live", view, "Tells what happens as it happens, as server-sent events", live);
}

async fn live(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    live::answer(&app, caller, headers)
}

/// A stage of the wheel.
#[derive(Debug, Serialize)]
struct Stage {
    stage: &'static str,
    count: u64,
    unit: &'static str,
    health: &'static str,
    note: Option<String>,
}

async fn status(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let closed = caller.is_closed_to(&app.workspace().project);
    let mut answer =
        app.with(move |workspace| async move { whole(&workspace, &reading).await }).await?;
    if let Value::Object(object) = &mut answer {
        let mut running = app.queue.running();
        running.retain(|work| !closed || work.is_of(&caller.who()));
        object.insert("working".to_owned(), json!(running.first()));
        object.insert("at_work".to_owned(), json!(running));
        object.insert("next_turn_at".to_owned(), json!(app.next_turn().map(|at| at.to_string())));
    }
    json_of(&answer)
}

async fn whole(workspace: &Workspace, reading: &Reading) -> BaseResult<Value> {
    let mut status = collect(workspace).await?;
    let said = reading.said(&workspace.project);
    super::learners::withhold(&mut status.learners, said);
    super::policies::withhold(&mut status.policies, said);
    for one in &mut status.followed {
        one.error = said.of(one.error.take());
    }
    let limits = reading.limits_now(workspace).await?;
    for table in status.landed.iter_mut().filter(|table| limits.uncounted.contains(&table.name)) {
        (table.rows, table.waiting_changes) = (None, None);
    }
    let granted = reading.granted(&workspace.project);
    if let Some(granted) = &granted {
        narrow(workspace, granted, &mut status)?;
    }
    let ring = ring(workspace, &status, granted.as_ref());
    let attention = attention(workspace, &status, granted.is_some())?;
    let mut answer = super::declared(&status)?;
    if let Value::Object(object) = &mut answer {
        object.insert("ring".to_owned(), json!(ring));
        object.insert("attention".to_owned(), json!(attention));
    }
    Ok(answer)
}

/// Leaves of the status what is about things that are seen.
fn narrow(workspace: &Workspace, granted: &Granted<'_>, status: &mut Status) -> BaseResult<()> {
    status.landed.retain(|table| granted.shows_table(&table.name));
    status.blocked.retain(|table| granted.shows_table(table));
    status.learners.retain(|one| granted.shows_one(NodeKind::Learner, &one.learner));
    status.followed.retain(|one| granted.shows_one(NodeKind::Sync, &one.sync));
    let policies = status.policies.len();
    status.policies.retain(|one| granted.shows_one(NodeKind::Policy, &one.policy));
    let published = workspace.store.publications()?;
    let seen = published.iter().filter(|one| granted.shows_table(&one.name));
    status.models = seen.count();
    // Rows that were set aside are counted over all syncs, deliveries and lift over all policies.
    status.quarantined = 0;
    if status.policies.len() < policies {
        status.together.clear();
        (status.outbox_pending, status.outbox_dead, status.outbox_discarded) = (0, 0, 0);
        status.outbox_waiting = 0;
    }
    Ok(())
}

fn ring(workspace: &Workspace, status: &Status, granted: Option<&Granted<'_>>) -> Vec<Stage> {
    let project = &workspace.project;
    let shows =
        |kind: NodeKind, name: &str| granted.is_none_or(|granted| granted.shows_one(kind, name));
    let connections = project.connections.keys();
    let connections = connections.filter(|name| shows(NodeKind::Connection, name)).count();
    let semantics = project.semantics();
    let metrics = semantics.metrics().filter(|one| shows(NodeKind::Metric, one.name)).count();
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let sum = |count: fn(&PolicyStatus) -> i64| {
        status.policies.iter().map(count).sum::<i64>().unsigned_abs()
    };
    let stage = |stage, count, unit, trouble: Option<(&'static str, String)>| {
        let (health, note) = match trouble {
            Some((health, note)) => (health, Some(note)),
            None if count == 0 => ("idle", None),
            None => ("ok", None),
        };
        Stage { stage, count, unit, health, note }
    };
    let rows = status.landed.iter().filter_map(|table| table.rows).sum();
    let set_aside = (status.quarantined > 0)
        .then(|| ("attention", format!("{} rows are set aside", status.quarantined)));
    let blocked = (!status.blocked.is_empty()).then(|| {
        ("failed", format!("readers keep the last good version of {}", status.blocked.join(", ")))
    });
    let unfitted: Vec<&str> = status
        .learners
        .iter()
        .filter(|learner| learner.artifact.is_none())
        .map(|learner| learner.learner.as_str())
        .collect();
    let unfitted = (!unfitted.is_empty())
        .then(|| ("attention", format!("not fitted yet: {}", unfitted.join(", "))));
    let failed: Vec<&str> = failed(status).collect();
    let failed = (!failed.is_empty())
        .then(|| ("failed", format!("not fitted when tried last: {}", failed.join(", "))));
    let dead = (status.outbox_dead > 0)
        .then(|| ("failed", format!("{} deliveries were given up", status.outbox_dead)));
    let halted = |trouble: Option<(&'static str, String)>| {
        let halt = status.halted.as_ref();
        halt.map(|halt| ("failed", format!("all policies are stopped: {}", halt.reason)))
            .or(trouble)
    };
    let undecided = halted(undecided(&status.policies));
    vec![
        stage("connect", number(connections), "connections", None),
        stage("land", rows, "rows", set_aside),
        stage("model", number(status.models), "models", blocked),
        stage("measure", number(metrics), "metrics", None),
        stage("learn", number(status.learners.len()), "learners", failed.or(unfitted)),
        stage("decide", sum(|policy| policy.decisions), "decisions", undecided),
        stage("act", sum(|policy| policy.actions), "actions", halted(dead)),
        stage("outcome", sum(|policy| policy.outcomes), "outcomes", unread(&status.policies)),
    ]
}

/// What is wrong with deciding, the worst first: policies that could not decide, those whose split into arms is broken, and
/// those that are paused.
fn undecided(policies: &[PolicyStatus]) -> Option<(&'static str, String)> {
    let names = |holds: fn(&PolicyStatus) -> bool| {
        let all = policies.iter().filter(|policy| holds(policy));
        let all: Vec<&str> = all.map(|policy| policy.policy.as_str()).collect();
        (!all.is_empty()).then(|| all.join(", "))
    };
    if let Some(names) = names(|policy| policy.failed.is_some()) {
        return Some(("failed", format!("could not decide when asked last: {names}")));
    }
    if let Some(names) = names(|policy| policy.split_broken.is_some()) {
        let note = format!("the split into treatment and holdout is broken: {names}");
        return Some(("attention", note));
    }
    names(|policy| policy.paused.is_some()).map(|names| ("attention", format!("paused: {names}")))
}

/// What is wrong with outcomes: policies of which they could not be read.
fn unread(policies: &[PolicyStatus]) -> Option<(&'static str, String)> {
    let unread = policies.iter().filter(|policy| policy.unread.is_some());
    let names: Vec<&str> = unread.map(|policy| policy.policy.as_str()).collect();
    (!names.is_empty())
        .then(|| ("failed", format!("could not be read when tried last: {}", names.join(", "))))
}

/// Adds what policies ask a person for, each with the page of the policy: those that could not decide, whose outcomes could
/// not be read, whose lift is not to be believed, and that are paused.
fn unsettled(policies: &[PolicyStatus], all: &mut Vec<Value>) {
    let mut add = |kind: &str, policy: &PolicyStatus, text: String| {
        let name = &policy.policy;
        let target = format!("/policies/{name}");
        all.push(
            json!({"kind": kind, "count": 1, "names": [name], "target": target, "text": text}),
        );
    };
    for policy in policies.iter().filter(|policy| policy.failed.is_some()) {
        let text = format!("{} could not decide when it was asked last", policy.policy);
        add("failed-policy", policy, text);
    }
    for policy in policies.iter().filter(|policy| policy.unread.is_some()) {
        let text = format!("the outcomes of {} could not be read when tried last", policy.policy);
        add("unread-outcomes", policy, text);
    }
    for policy in policies {
        if let Some(why) = &policy.split_broken {
            add("broken-split", policy, why.clone());
        }
    }
    for policy in policies {
        if let Some(reason) = &policy.paused {
            add("paused-policy", policy, format!("{} is paused: {reason}", policy.policy));
        }
    }
}

/// The learners that could not be fitted when that was tried last.
fn failed(status: &Status) -> impl Iterator<Item = &str> {
    let failed = status.learners.iter().filter(|learner| learner.failed.is_some());
    failed.map(|learner| learner.learner.as_str())
}

/// The syncs that failed for good while they were followed.
fn unfollowed(status: &Status) -> impl Iterator<Item = &str> {
    let failed = status.followed.iter().filter(|one| one.state == FollowedState::Failed.word());
    failed.map(|one| one.sync.as_str())
}

/// What a person should look at, the most urgent first; of what is `closed` but for what is granted, that of the status alone.
fn attention(workspace: &Workspace, status: &Status, closed: bool) -> BaseResult<Vec<Value>> {
    let mut all = Vec::new();
    if let Some(halted) = &status.halted {
        let text = format!("all policies are stopped by {}: {}", halted.by, halted.reason);
        all.push(json!({"kind": "halted", "count": 1, "names": [halted.reason], "target": "/policies", "text": text}));
    }
    if !status.blocked.is_empty() {
        let names = status.blocked.join(", ");
        all.push(json!({"kind": "blocked-models", "count": status.blocked.len(), "names": status.blocked, "target": "/models",
            "text": format!("readers keep the last good version of {names}")}));
    }
    let waiting = workspace.store.approvals_waiting()?;
    let seen = |policy: &String| !closed || status.policies.iter().any(|one| one.policy == *policy);
    let waiting: u64 =
        waiting.iter().filter(|(policy, _)| seen(policy)).map(|(_, count)| count).sum();
    if waiting > 0 {
        all.push(json!({"kind": "approvals", "count": waiting, "target": "/actions", "text": format!("{waiting} deliveries wait for approval")}));
    }
    if status.outbox_dead > 0 {
        let count = status.outbox_dead;
        all.push(json!({"kind": "dead-letters", "count": count, "target": "/actions", "text": format!("{count} deliveries were given up")}));
    }
    if !closed {
        unheard(workspace, &mut all)?;
    }
    let failed: Vec<&str> = failed(status).collect();
    if !failed.is_empty() {
        let text = format!("not fitted when tried last: {}", failed.join(", "));
        all.push(json!({"kind": "failed-learners", "count": failed.len(), "names": failed, "target": "/learners", "text": text}));
    }
    let broken: Vec<&str> = unfollowed(status).collect();
    if !broken.is_empty() {
        let text = format!("not followed any more, as they failed: {}", broken.join(", "));
        all.push(json!({"kind": "failed-follows", "count": broken.len(), "names": broken, "target": "/syncs", "text": text}));
    }
    let aside: Vec<&str> =
        status.followed.iter().flat_map(|one| &one.aside).map(String::as_str).collect();
    if !aside.is_empty() {
        let text = format!("set aside while the rest is followed: {}", aside.join(", "));
        all.push(json!({"kind": "follows-aside", "count": aside.len(), "names": aside, "target": "/syncs", "text": text}));
    }
    let newest = workspace.store.runs(1)?;
    if let Some(run) = newest.first().filter(|run| !closed && run.status == "failed") {
        all.push(json!({"kind": "failed-run", "count": 1, "names": [run.run_id], "target": format!("/runs/{}", run.run_id),
            "text": format!("the last run ({}) failed", run.kind)}));
    }
    if let Some(turn) = status.turn.as_ref().filter(|turn| !turn.complete) {
        all.push(json!({"kind": "open-turn", "count": 1, "target": "/turns", "text": format!("turn {} was cut off; the next turn completes it", turn.turn)}));
    }
    unsettled(&status.policies, &mut all);
    if status.quarantined > 0 {
        let count = status.quarantined;
        all.push(json!({"kind": "quarantine", "count": count, "target": "/syncs", "text": format!("{count} rows are set aside")}));
    }
    if status.landed.is_empty() {
        all.push(json!({"kind": "no-data", "count": 0, "target": "/syncs", "text": "no rows have landed yet"}));
    }
    Ok(all)
}

/// Adds what schedules ask a person for: alerts that reached nobody, and schedules whose runs fail.
fn unheard(workspace: &Workspace, all: &mut Vec<Value>) -> BaseResult<()> {
    let lost = workspace.store.lost_alerts()?;
    if !lost.is_empty() {
        let count: u64 = lost.values().sum();
        let names: Vec<String> = lost.into_keys().collect();
        let text = format!("{count} alerts reached nobody by {}", names.join(", "));
        all.push(json!({"kind": "lost-alerts", "count": count, "names": names, "target": "/schedules", "text": text}));
    }
    let mut failing = workspace.store.schedules()?;
    failing.retain(|state| {
        state.failing_since.is_some() && workspace.project.schedules.contains_key(&state.name)
    });
    if !failing.is_empty() {
        let names: Vec<&str> = failing.iter().map(|state| state.name.as_str()).collect();
        let text = format!("schedules that fail: {}", names.join(", "));
        all.push(json!({"kind": "failing-schedules", "count": names.len(), "names": names, "target": "/schedules", "text": text}));
    }
    Ok(())
}

async fn turns(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Asked(which): Asked<Pieces>,
) -> Result<Response> {
    let (count, said) = (counted(which.limit), caller.said(&app.workspace().project));
    let after = which.cursor.map(|cursor| cursor.parse::<i64>().map_err(|_| no_place(&cursor)));
    let after = after.transpose()?;
    let (all, next) = app
        .blocking(move |app| {
            let workspace = app.workspace();
            let runs = workspace.store.runs(RUNS_LOOKED_AT)?;
            let mut turns = workspace.store.turns()?;
            turns.reverse();
            turns.retain(|turn| after.is_none_or(|after| turn.turn < after));
            let (turns, next) = cut(turns, count, |turn| turn.turn.to_string());
            let shown = |turn: flywheel_state::Turn| {
                let run = runs.iter().find(|run| run.kind == "turn" && run.turn == Some(turn.turn));
                let lasted = run.and_then(super::runs::duration_ms);
                json!({
                    "turn": turn.turn, "at": turn.logical_at.to_string(),
                    "complete": turn.status == flywheel_state::TurnStatus::Complete,
                    "run_id": run.map(|run| &run.run_id), "started_at": run.map(|run| run.started_at.to_string()),
                    "duration_ms": lasted, "status": run.map(|run| &run.status), "error": said.of(run.and_then(|run| run.error.clone())),
                })
            };
            Ok((turns.into_iter().map(shown).collect::<Vec<_>>(), next))
        })
        .await?;
    piece(&all, next)
}

/// How many runs are looked at for those of turns.
const RUNS_LOOKED_AT: u32 = 5_000;
