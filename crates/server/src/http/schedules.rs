//! Schedules, their runs and alerts; and the door by which other systems start runs.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use flywheel_base::{Timestamp, calendar, suggest};
use flywheel_connect::action::webhook::is_signed;
use flywheel_project::NodeKind;
use flywheel_project::resource::schedule::Schedule;
use flywheel_runtime::access::granted::Granted;
use flywheel_runtime::access::said::Said;
use flywheel_runtime::{Workspace, alert, schedule};
use flywheel_state::{
    Alert, Asked as AskedRun, Cause, Piece, RunStatus, ScheduleState, ScheduledRun,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{declared, done, items, json_of, piece};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Asked, Input, Pieces, Place, counted, cut, read};
use crate::problem::{Problem, Result};

/// How many moments to come are shown.
const NEXT_SHOWN: usize = 5;
/// Runs that are shown with a schedule.
const RUNS_SHOWN: u32 = 50;
/// The largest body of a call of another system.
const CALL_BYTES_MAX: usize = 1 << 20;
/// The longest id of a call.
const DELIVERY_BYTES_MAX: usize = 200;

pub(super) fn routes(routes: &mut Routes) {
    let (view, operate) = (Access::Needs(Permission::View), Access::Needs(Permission::Operate));
    routes.get("/v1/schedules", view, "Lists schedules and when they are due", list);
    routes.get("/v1/schedules/{schedule}", view, "Shows a schedule with its newest runs", one);
    routes.post::<Run, _, _>(
        "/v1/schedules/{schedule}/run",
        operate,
        "Asks for a run now, or for one for each moment of a span of the past",
        run,
    );
    routes.post::<Pause, _, _>(
        "/v1/schedules/{schedule}/pause",
        operate,
        "Keeps a schedule from running by itself",
        pause,
    );
    routes.act(
        "/v1/schedules/{schedule}/resume",
        operate,
        "Lets a paused schedule run by itself again",
        resume,
    );
    routes.get("/v1/schedule-runs", view, "Lists runs of schedules, newest moment first", runs);
    routes.get("/v1/schedule-runs/{run}", view, "Shows a run of a schedule", run_of);
    routes.act("/v1/schedule-runs/{run}/cancel", operate, "Stops a run of a schedule", cancel);
    routes.act(
        "/v1/schedule-runs/{run}/rerun",
        operate,
        "Runs a moment again that failed, without what was done",
        rerun,
    );
    routes.get("/v1/alerts", view, "Lists alerts, newest first", alerts);
    routes.get(
        "/v1/alert-states",
        view,
        "Lists what alerts are to tell of, and what they found that goes on",
        alert_states,
    );
    routes.act(
        "/v1/hooks/{schedule}",
        Access::Public,
        "Lets another system start a run, by a signed call",
        hook,
    );
}

/// A run of a schedule, as lists show it to whoever is told as much as `said`.
fn shown(run: &ScheduledRun, said: Said) -> Value {
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "id": run.id, "schedule": run.schedule, "moment": run.moment.to_string(), "cause": run.cause.name(),
        "status": run.status.name(), "attempt": run.attempt, "due_at": run.due_at.to_string(),
        "asked_by": run.asked_by, "asked_at": run.asked_at.to_string(), "started_at": text(run.started_at),
        "ended_at": text(run.ended_at), "run_id": run.run_id, "error_class": run.error_class,
        "error": said.of(run.error.clone()),
        "stopping": run.stopping.map(flywheel_state::Stopping::name), "attempts": run.attempts.iter().map(|one| json!({
            "attempt": one.attempt, "run_id": one.run_id, "result": one.result,
            "started_at": Timestamp::from_micros(one.started_at).to_string(),
            "ended_at": Timestamp::from_micros(one.ended_at).to_string(),
        })).collect::<Vec<_>>(),
    })
}

fn shown_schedule(
    workspace: &Workspace,
    one: &Schedule,
    state: Option<&ScheduleState>,
    said: Said,
) -> flywheel_base::Result<Value> {
    let paused = one.paused || state.is_some_and(|state| state.paused);
    let timing = schedule::timing(one)?;
    let now = workspace.machine.now();
    let next = timing.as_ref().filter(|_| !paused).map(|timing| {
        let following = std::iter::successors(timing.next(now), |at| timing.next(*at));
        following.take(NEXT_SHOWN).collect::<Vec<_>>()
    });
    let zone = match &timing {
        Some(calendar::Timing::Cron { zone, .. }) => Some(*zone),
        _ => None,
    };
    let on_the_wall = |at: &Timestamp| zone.map(|zone| calendar::on_the_wall(*at, zone));
    let last = workspace.store.schedule_runs(Some(&one.schedule), 1)?;
    Ok(json!({
        "schedule": one.schedule, "description": one.description, "run": one.word(), "select": one.select,
        "sends": schedule::sends(one), "when": schedule::shown(one), "paused": paused,
        "reason": state.and_then(|state| state.reason.clone()),
        "failing_since": state.and_then(|state| state.failing_since).map(|at| at.to_string()),
        "next": next.unwrap_or_default().iter()
            .map(|at| json!({"at": at.to_string(), "local": on_the_wall(at)})).collect::<Vec<_>>(),
        "last": last.first().map(|run| shown(run, said)),
    }))
}

async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let all = app.blocking(move |app| {
        let workspace = app.workspace();
        let said = reading.said(&workspace.project);
        let states = workspace.store.schedules()?;
        let granted = reading.granted(&workspace.project);
        let mut all = Vec::new();
        for (name, one) in &workspace.project.schedules {
            let seen = |granted: &Granted<'_>| granted.shows_one(NodeKind::Schedule, name);
            if !granted.as_ref().is_none_or(seen) {
                continue;
            }
            let state = states.iter().find(|state| state.name == one.schedule);
            all.push(shown_schedule(&workspace, one, state, said)?);
        }
        Ok(all)
    });
    items(&all.await?)
}

async fn one(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let (name, said) = (place.name(), caller.said(&app.workspace().project));
    let found = app.blocking(move |app| {
        let workspace = app.workspace();
        let one = schedule::named(&workspace.project, &name)?;
        let states = workspace.store.schedules()?;
        let state = states.iter().find(|state| state.name == name);
        let mut answer = shown_schedule(&workspace, one, state, said)?;
        if let Value::Object(answer) = &mut answer {
            let runs = workspace.store.schedule_runs(Some(&name), RUNS_SHOWN)?;
            let runs = runs.iter().map(|run| shown(run, said)).collect();
            answer.insert("runs".to_owned(), runs);
            answer.insert("declared".to_owned(), declared(one)?);
            let file = workspace.project.schedules.get(&name).map(|one| one.file.clone());
            answer.insert("file".to_owned(), json!(file));
        }
        Ok(answer)
    });
    json_of(&found.await?)
}

/// What is run.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Run {
    /// The first moment of a span of the past, inclusive: `2024-05-01`, or with a time; on the schedule's clocks unless it
    /// names a zone.
    #[serde(default)]
    from: Option<String>,
    /// The last moment of the span, inclusive, a day being a whole one; now if absent.
    #[serde(default)]
    to: Option<String>,
}

async fn run(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Run>,
) -> Result<Response> {
    let (name, who) = (place.name(), caller.who());
    let said = caller.said(&app.workspace().project);
    let answer = app.blocking(move |app| {
        let workspace = app.workspace();
        let Some(from) = &input.from else {
            if input.to.is_some() {
                return Err(flywheel_base::Error::invalid("a span has an end but no beginning")
                    .hint("Add \"from\", or leave both out for a run now."));
            }
            let asked = AskedRun {
                schedule: name,
                cause: Cause::Manual,
                moment: None,
                by: who,
                mark: None,
                goes_on_from: None,
            };
            return Ok(json!({"run": shown(&schedule::ask(&workspace, asked)?, said)}));
        };
        let span = (from.as_str(), input.to.as_deref());
        let runs = schedule::backfill(&workspace, &name, span, &who)?;
        let moments: Vec<String> = runs.iter().map(|run| run.moment.to_string()).collect();
        Ok(json!({"moments": moments}))
    });
    let answer = answer.await.map_err(super::runs::too_many)?;
    app.scheduler.notify_one();
    accepted(&answer)
}

fn accepted(answer: &Value) -> Result<Response> {
    let mut response = json_of(answer)?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// Why.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pause {
    /// The reason, for those who find it paused.
    #[serde(default)]
    reason: Option<String>,
}

async fn pause(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Pause>,
) -> Result<Response> {
    let name = place.name();
    let reason = input.reason.unwrap_or_else(|| format!("paused by {}", caller.who()));
    app.blocking(move |app| schedule::pause(&app.workspace(), &name, &reason)).await?;
    Ok(done())
}

async fn resume(State(app): State<Arc<App>>, place: Place) -> Result<Response> {
    let name = place.name();
    app.blocking(move |app| schedule::resume(&app.workspace(), &name)).await?;
    app.scheduler.notify_one();
    Ok(done())
}

/// Which runs.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    schedule: Option<String>,
    status: Option<String>,
    /// Runs of the answer at most; 100 if absent, 1,000 at most.
    limit: Option<u32>,
    /// `next` of the piece before; the newest runs if absent.
    cursor: Option<String>,
}

async fn runs(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Asked(which): Asked<Which>,
) -> Result<Response> {
    let said = caller.said(&app.workspace().project);
    let found = app.blocking(move |app| {
        let count = counted(which.limit);
        let names = RunStatus::ALL.map(RunStatus::name);
        if let Some(status) = which.status.as_deref().filter(|status| !names.contains(status)) {
            let error = flywheel_base::Error::invalid(format!("no run is \"{status}\""));
            return Err(error.hint(suggest::hint(status, names)));
        }
        let workspace = app.workspace();
        let of = |word: &str| RunStatus::ALL.into_iter().find(|status| status.name() == word);
        let status = which.status.as_deref().and_then(of);
        let piece = Piece { after: which.cursor.as_deref(), limit: count + 1 };
        let runs = workspace.store.schedule_runs_of(which.schedule.as_deref(), status, piece)?;
        let (runs, next) = cut(runs, count, |run| run.id.clone());
        Ok((runs.iter().map(|run| shown(run, said)).collect::<Vec<_>>(), next))
    });
    let (found, next) = found.await?;
    piece(&found, next)
}

async fn run_of(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let (id, said) = (place.name(), caller.said(&app.workspace().project));
    let run = app.blocking(move |app| schedule::scheduled(&app.workspace(), &id)).await?;
    json_of(&shown(&run, said))
}

async fn cancel(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let said = caller.said(&app.workspace().project);
    let run = crate::schedule::cancel(&app, place.name()).await?;
    accepted(&shown(&run, said))
}

async fn rerun(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let (id, who) = (place.name(), caller.who());
    let said = caller.said(&app.workspace().project);
    let run = app.blocking(move |app| schedule::rerun(&app.workspace(), &id, &who)).await?;
    app.scheduler.notify_one();
    accepted(&shown(&run, said))
}

async fn alerts(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Asked(which): Asked<Pieces>,
) -> Result<Response> {
    let said = caller.said(&app.workspace().project);
    let all = app.blocking(move |app| {
        let count = counted(which.limit);
        let piece = Piece { after: which.cursor.as_deref(), limit: count + 1 };
        let found = app.workspace().store.alerts_of(piece)?;
        Ok(cut(found, count, |alert| alert.key.clone()))
    });
    let shown = |alert: &Alert| {
        let text = alert.payload.get("text").and_then(Value::as_str).map(str::to_owned);
        json!({
            "key": alert.key, "kind": alert.kind, "schedule": alert.schedule,
            "scheduled_run": alert.scheduled_run, "alert": alert.alert,
            "subject": alert.subject, "action": alert.action, "status": alert.status.name(),
            "attempts": alert.attempts, "made_at": alert.made_at.to_string(), "due_at": alert.due_at.to_string(),
            "ended_at": alert.ended_at.map(|at| at.to_string()), "error": said.of(alert.error.clone()),
            "title": alert.payload.get("title"), "text": said.of(text),
        })
    };
    let (all, next) = all.await?;
    piece(&all.iter().map(shown).collect::<Vec<_>>(), next)
}

async fn alert_states(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let said = caller.said(&app.workspace().project);
    let mut all = app.blocking(|app| alert::standing(&app.workspace())).await?;
    for open in all.iter_mut().flat_map(|one| &mut one.open) {
        // What was found may follow from rows.
        open.text = said.of(Some(std::mem::take(&mut open.text))).unwrap_or_default();
    }
    for lost in all.iter_mut().flat_map(|one| &mut one.undelivered) {
        lost.error = said.of(lost.error.take());
    }
    items(&all)
}

/// A call of another system: `X-Flywheel-Delivery` names it, `X-Flywheel-Signature` is `sha256=` and the HMAC-SHA256 of
/// that name, a full stop and the body. Repeated with the same name, it is the same run.
async fn hook(
    State(app): State<Arc<App>>,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let bytes = read(body, CALL_BYTES_MAX).await?;
    let text = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (delivery, signature) = (text("x-flywheel-delivery"), text("x-flywheel-signature"));
    let name = place.name();
    let answer = app.blocking(move |app| {
        let workspace = app.workspace();
        let one = workspace.project.schedules.get(&name);
        let Some(secret) = one.and_then(|one| one.when.webhook.as_ref()) else { return Ok(None) };
        let secret = match workspace.project.resolve_secret(secret) {
            Ok(secret) => secret,
            Err(error) => {
                tracing::error!(schedule = %name, error = %error.report(), "the secret of a webhook is not there");
                return Ok(None);
            }
        };
        let named = !delivery.is_empty() && delivery.len() <= DELIVERY_BYTES_MAX;
        if secret.expose().is_empty() || !named || !is_signed(&secret, &delivery, &bytes, &signature)
        {
            return Ok(None);
        }
        let asked = AskedRun {
            schedule: name,
            cause: Cause::Webhook,
            moment: None,
            by: "webhook".to_owned(),
            mark: Some(delivery),
            goes_on_from: None,
        };
        schedule::ask(&workspace, asked).map(Some)
    });
    let Some(run) = answer.await? else {
        // Whether there is such a schedule is nobody's business.
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "this call is not signed as the schedule's file says",
        )
        .hint("Send X-Flywheel-Delivery and X-Flywheel-Signature: see the guide on schedules."));
    };
    app.scheduler.notify_one();
    accepted(&json!({"id": run.id, "status": run.status.name()}))
}
