//! Deliveries that wait for a person: looked at, edited, approved, rejected.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flywheel_base::{Error, Result as BaseResult};
use flywheel_project::grant::{Deed, Governed};
use flywheel_runtime::access::Reading;
use flywheel_runtime::{Workspace, approval};
use flywheel_state::{Approval, ApprovalStatus, NewQuantity, Piece, SeenApproval, no_place};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{json_of, with_next};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Noted, Permission, Routes, refused};
use crate::input::{Asked, Input, Place, counted, cut};
use crate::live::Live;
use crate::problem::{Problem, Result};

pub(super) fn routes(routes: &mut Routes) {
    let view = Access::Needs(Permission::View);
    let operate = Access::Needs(Permission::Operate);
    routes.get("/v1/approvals", view, "Lists deliveries that wait for a person, or waited", list);
    routes.post::<Verdict, _, _>(
        "/v1/approvals/approve",
        operate,
        "Lets deliveries leave that waited, all of them or none",
        approve,
    );
    routes.post::<Verdict, _, _>(
        "/v1/approvals/reject",
        operate,
        "Ends deliveries that waited, for a reason, all of them or none",
        reject,
    );
    routes.patch::<Edit, _, _>(
        "/v1/approvals/{approval}",
        operate,
        "Orders another quantity than was proposed, and keeps the first one in the record",
        edit,
    );
}

/// Which deliveries.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// waiting, approved, rejected or expired; waiting if absent.
    status: Option<String>,
    policy: Option<String>,
    /// Deliveries of the answer at most; 100 if absent, 1,000 at most.
    limit: Option<u32>,
    /// `next` of the piece before; the newest turn if absent.
    cursor: Option<String>,
}

fn shown(one: &Approval, queries: bool) -> Value {
    let mut answer = json!({
        "key": one.key, "policy": one.policy, "turn": one.turn, "by_other": one.by_other,
        "asked_at": one.asked_at.to_string(), "expires_at": one.expires_at.map(|at| at.to_string()),
        "status": one.status.word(), "decided_by": one.decided_by,
        "decided_at": one.decided_at.map(|at| at.to_string()), "reason": one.reason, "revision": one.revision(),
    });
    // What is sent is rows of data.
    if let (true, Value::Object(answer)) = (queries, &mut answer) {
        let line = one.line.as_ref();
        let editable = line.is_some_and(|line| !line.quantity_at.is_empty());
        let first = one.edits.first().map(|edit| edit.before);
        let edits = one.edits.iter().map(|edit| {
            json!({
                "by": edit.by, "at": edit.at.to_string(), "before": edit.before, "after": edit.after,
                "reason": edit.reason,
            })
        });
        answer.insert("unit".to_owned(), json!(one.unit));
        answer.insert("of".to_owned(), json!(one.of));
        answer.insert("amount".to_owned(), json!(one.amount));
        answer.insert("editable".to_owned(), json!(editable));
        answer.insert("quantity".to_owned(), json!(line.map(|line| line.quantity)));
        answer.insert("cost".to_owned(), json!(line.map(|line| line.cost)));
        answer
            .insert("proposed".to_owned(), json!(first.or_else(|| line.map(|line| line.quantity))));
        answer.insert("edits".to_owned(), edits.collect());
        answer.insert("payload".to_owned(), one.payload.clone());
        answer.insert("original".to_owned(), one.original.clone());
    }
    answer
}

async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Asked(which): Asked<Which>,
) -> Result<Response> {
    let word = which.status.as_deref().unwrap_or("waiting");
    let status = ApprovalStatus::of(word).ok_or_else(|| {
        Problem::invalid(format!("no approval is \"{word}\""))
            .hint("Ask for waiting, approved, rejected or expired.")
    })?;
    let reading = caller.reading(&app.workspace().project);
    let limit = counted(which.limit);
    let found = app.with(move |workspace| async move {
        let store = &workspace.store;
        let open = reading.open_policies(&workspace).await?;
        let seen = |policy: &str| open.as_ref().is_none_or(|open| open.contains(policy));
        let piece = Piece { after: which.cursor.as_deref(), limit: limit + 1 };
        if let Some(key) = piece.after {
            // Ids follow from policy, moment and unit, so that a place would tell whom a policy decided for.
            let place = store.approval(key)?;
            if place.is_none_or(|one| !seen(&one.policy)) {
                return Err(no_place(key));
            }
        }
        let mut waiting = store.approvals_waiting()?;
        waiting.retain(|(policy, _)| seen(policy));
        let mut found = match &open {
            None => store.approvals_of(Some(status), which.policy.as_deref(), piece)?,
            Some(open) => {
                let asked =
                    |policy: &&String| which.policy.as_ref().is_none_or(|wanted| wanted == *policy);
                let mut found = Vec::new();
                for policy in open.iter().filter(asked) {
                    found.extend(store.approvals_of(Some(status), Some(policy.as_str()), piece)?);
                }
                found
            }
        };
        found.sort_by(|a, b| {
            b.turn.cmp(&a.turn).then_with(|| (&a.policy, &a.key).cmp(&(&b.policy, &b.key)))
        });
        Ok((found, waiting))
    });
    let (found, waiting) = found.await?;
    let (found, next) = cut(found, limit, |one| one.key.clone());
    let queries = caller.may(Permission::Query);
    let policies =
        waiting.iter().map(|(policy, count)| json!({"policy": policy, "waiting": count}));
    let answer = json_of(&json!({
        "items": found.iter().map(|one| shown(one, queries)).collect::<Vec<_>>(),
        "waiting": waiting.iter().map(|(_, count)| count).sum::<u64>(),
        "policies": policies.collect::<Vec<_>>(), "next": next,
    }))?;
    Ok(with_next(answer, next))
}

/// A delivery, as it was seen.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Seen {
    /// The delivery's key.
    key: String,
    /// Its `revision` in the list: if it was edited since, nothing is decided.
    #[serde(default)]
    revision: Option<usize>,
}

impl From<Seen> for SeenApproval {
    fn from(seen: Seen) -> Self {
        Self { key: seen.key, revision: seen.revision }
    }
}

/// What is decided about deliveries.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Verdict {
    /// Which deliveries, 10 000 at most.
    items: Vec<Seen>,
    /// Why, for the record; to reject it has to be given.
    #[serde(default)]
    reason: Option<String>,
}

/// Another quantity.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Edit {
    /// Units to order, above 0.
    quantity: f64,
    /// Why, for the record.
    #[serde(default)]
    reason: Option<String>,
    /// The delivery's `revision` in the list: if it was edited since, it stays as it is.
    #[serde(default)]
    revision: Option<usize>,
}

/// The longest reason.
const REASON_MAX: usize = 1_000;

/// Somebody who is here in person and sees what is decided about.
fn check_caller(caller: &Caller, reason: Option<&str>) -> Result<()> {
    if !caller.may(Permission::Query) {
        return Err(refused(caller, Permission::Query));
    }
    if caller.session.is_none() {
        let detail = "deliveries are approved, edited and rejected by people, not by tokens";
        return Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail)
            .hint("Log in on the page Inventory or Policies, or use `flywheel approvals`."));
    }
    if reason.is_some_and(|reason| reason.chars().count() > REASON_MAX) {
        return Err(Problem::invalid(format!("the reason is longer than {REASON_MAX} characters")));
    }
    Ok(())
}

/// Refuses what a caller does not see as what is not there.
async fn check_seen(
    workspace: &Workspace,
    reading: &Reading,
    seen: &[SeenApproval],
) -> BaseResult<()> {
    let Some(open) = reading.open_policies(workspace).await? else { return Ok(()) };
    let granted = reading.granted(&workspace.project);
    for one in seen {
        let Some(approval) = workspace.store.approval(&one.key)? else { continue };
        if !open.contains(&approval.policy) {
            let what = format!("no delivery \"{}\" waits for approval", one.key);
            return Err(Error::not_found(what).hint("GET /v1/approvals lists those that do."));
        }
        if let Some(granted) = &granted {
            granted.require(Governed::Policies, &approval.policy, Deed::Act)?;
        }
    }
    Ok(())
}

fn changed(app: &App) {
    // What waited may leave now.
    app.sender.notify_one();
    app.tell(Live::new("changed", json!({"what": ["status", "policies"]})));
}

fn noted(found: &[Approval], reason: Option<&str>) -> Noted {
    let items = found.iter().map(|one| {
        json!({
            "key": one.key, "policy": one.policy, "quantity": one.line.as_ref().map(|line| line.quantity),
            "amount": one.amount,
        })
    });
    Noted(json!({"items": items.collect::<Vec<_>>(), "reason": reason}))
}

async fn approve(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<Verdict>,
) -> Result<Response> {
    check_caller(&caller, input.reason.as_deref())?;
    decide(&app, &caller, input, Decision::Approve).await
}

async fn reject(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<Verdict>,
) -> Result<Response> {
    check_caller(&caller, input.reason.as_deref())?;
    decide(&app, &caller, input, Decision::Reject).await
}

/// What somebody says about a delivery.
#[derive(Clone, Copy)]
enum Decision {
    Approve,
    Reject,
}

async fn decide(
    app: &Arc<App>,
    caller: &Caller,
    input: Verdict,
    decision: Decision,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let by = caller.user.clone();
    let seen: Vec<SeenApproval> = input.items.into_iter().map(SeenApproval::from).collect();
    let given = input.reason.clone();
    let done = app.with(move |workspace| async move {
        check_seen(&workspace, &reading, &seen).await?;
        match decision {
            Decision::Approve => approval::approve(&workspace, &seen, &by, given.as_deref()),
            Decision::Reject => {
                approval::reject(&workspace, &seen, &by, given.as_deref().unwrap_or_default())
            }
        }
    });
    let done = done.await?;
    changed(app);
    let mut answer = json_of(&json!({"decided": done.len()}))?;
    answer.extensions_mut().insert(noted(&done, input.reason.as_deref()));
    Ok(answer)
}

async fn edit(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Edit>,
) -> Result<Response> {
    check_caller(&caller, input.reason.as_deref())?;
    let reading = caller.reading(&app.workspace().project);
    let by = caller.user.clone();
    let seen = SeenApproval { key: place.name(), revision: input.revision };
    let given = input.reason.clone();
    let edited = app.with(move |workspace| async move {
        check_seen(&workspace, &reading, std::slice::from_ref(&seen)).await?;
        let new = NewQuantity { quantity: input.quantity, reason: given.as_deref() };
        approval::edit(&workspace, &seen, &by, new)
    });
    let edited = edited.await?;
    changed(&app);
    let mut answer = json_of(&shown(&edited, true))?;
    let noted = noted(std::slice::from_ref(&edited), input.reason.as_deref());
    answer.extensions_mut().insert(noted);
    Ok(answer)
}
