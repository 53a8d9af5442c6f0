//! Policies: what they would decide, making them, what they changed, who decides for them, stopping and going on; and
//! experiments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flywheel_base::{Error, Result as BaseResult, Timestamp, entropy};
use flywheel_decision::challenge::Challenge;
use flywheel_decision::preview::SAMPLE_DEFAULT;
use flywheel_decision::table::ExperimentRow;
use flywheel_decision::withheld;
use flywheel_project::resource::policy::Choose;
use flywheel_project::{NodeId, NodeKind};
use flywheel_runtime::access::Reading;
use flywheel_runtime::access::granted::Granted;
use flywheel_runtime::access::said::Said;
use flywheel_runtime::halt::{self, Halted};
use flywheel_runtime::status::{PolicyStatus, left_out, policies as collect};
use flywheel_runtime::{Workspace, approval, item_names, policy, run};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Ordered, declared, done, items, json_of, unknown, with_next};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Noted, Permission, Routes, refused};
use crate::input::{Asked, Input, Place, counted};
use crate::live::Live;
use crate::problem::Result;
use crate::rows::{self, Table};
use crate::work::reload;

pub(super) fn routes(routes: &mut Routes) {
    let view = Access::Needs(Permission::View);
    let (operate, promotes) =
        (Access::Needs(Permission::Operate), Access::Needs(Permission::Promote));
    routes.get("/v1/policies", view, "Lists policies with what they changed", policies);
    routes.get("/v1/policies/{policy}", view, "Shows a policy with its promotions", one);
    let author = Access::Needs(Permission::Author);
    routes.post::<NewPolicy, _, _>(
        "/v1/policies",
        author,
        "Makes a policy: writes its file, and pauses it until somebody resumes it",
        create,
    );
    routes.post::<Draft, _, _>(
        "/v1/policy-preview",
        author,
        "Shows what a policy that is no file yet would decide now, and writes nothing",
        preview_text,
    );
    routes.get(
        "/v1/policies/{policy}/preview",
        Access::Needs(Permission::Query),
        "Shows what a policy would decide now, and writes nothing",
        preview,
    );
    routes.get(
        "/v1/policies/{policy}/decisions",
        Access::Needs(Permission::Query),
        "Shows decisions of a policy",
        decisions,
    );
    routes.get(
        "/v1/decisions/{decision}/replay",
        Access::Needs(Permission::Query),
        "Makes a decision again and says whether it is the one that was logged",
        replay,
    );
    routes.get("/v1/halt", view, "Tells whether all policies are stopped, and why", halted);
    routes.post::<Reason, _, _>(
        "/v1/halt",
        operate,
        "Stops all policies at once: nothing is decided and nothing leaves",
        halt_all,
    );
    routes.act(
        "/v1/halt/lift",
        operate,
        "Lets policies go on that were stopped at once, but for those that are paused each by itself",
        lift_halt,
    );
    routes.post::<Reason, _, _>(
        "/v1/policies/{policy}/pause",
        operate,
        "Stops a policy until it is resumed",
        pause,
    );
    routes.act("/v1/policies/{policy}/resume", operate, "Lets a policy go on", resume);
    routes.act(
        "/v1/policies/{policy}/retry",
        operate,
        "Tries the dead letters of a policy again",
        retry,
    );
    routes.post::<Discard, _, _>(
        "/v1/policies/{policy}/discard",
        operate,
        "Gives up for good dead letters of a policy, and deliveries whose action or policy is gone",
        discard,
    );
    routes.post::<Against, _, _>(
        "/v1/policies/{policy}/evaluate",
        promotes,
        "Judges a challenger by logged decisions",
        evaluate,
    );
    routes.post::<Promotion, _, _>(
        "/v1/policies/{policy}/promote",
        promotes,
        "Lets a challenger decide, if the evidence suffices",
        promote,
    );
    routes.post::<Reason, _, _>(
        "/v1/policies/{policy}/rollback",
        promotes,
        "Takes the newest promotion back",
        roll_back,
    );
    routes.post::<Keep, _, _>(
        "/v1/policies/{policy}/conclude",
        promotes,
        "Ends an experiment: one variant is kept for everybody",
        conclude,
    );
    routes.post::<Reason, _, _>(
        "/v1/policies/{policy}/reopen",
        promotes,
        "Opens a concluded experiment again",
        reopen,
    );
    routes.get("/v1/experiments", view, "Shows how experiments stand", experiments);
}

fn shown(
    workspace: &Workspace,
    status: &PolicyStatus,
    granted: Option<&Granted<'_>>,
) -> BaseResult<Value> {
    let mut answer = declared(status)?;
    if let (Value::Object(answer), Some(policy)) =
        (&mut answer, workspace.project.policies.get(&status.policy))
    {
        let (choose, learner) = match &policy.choose {
            Choose::Candidates(_) => ("candidates", None),
            Choose::Recommend(items) => ("recommend", Some(&items.learner)),
            Choose::Reorder(reorder) => ("reorder", Some(&reorder.learner)),
            Choose::Bandit(bandit) => ("bandit", Some(&bandit.learner)),
            Choose::Experiment(_) => ("experiment", None),
        };
        let shows =
            |name: &&String| granted.is_none_or(|one| one.shows_one(NodeKind::Learner, name));
        let learner = learner.filter(shows);
        answer.insert("name".to_owned(), json!(status.policy));
        answer.insert("file".to_owned(), json!(policy.file));
        answer.insert("description".to_owned(), json!(policy.description));
        answer.insert("choose".to_owned(), json!(choose));
        answer.insert("learner".to_owned(), json!(learner));
        answer.insert("action".to_owned(), json!(policy.action));
        answer.insert("holdout".to_owned(), json!(policy.holdout.value()));
    }
    Ok(answer)
}

/// Leaves as much as `said` tells of why policies could not decide.
pub(super) fn withhold(policies: &mut [PolicyStatus], said: Said) {
    for one in policies {
        one.failed = said.of(one.failed.take());
        one.unread = said.of(one.unread.take());
    }
}

async fn policies(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let mut all = collect(&workspace).await?;
        withhold(&mut all, reading.said(&workspace.project));
        let granted = reading.granted(&workspace.project);
        if let Some(granted) = &granted {
            all.retain(|one| granted.shows_one(NodeKind::Policy, &one.policy));
        }
        let one = |one| shown(&workspace, one, granted.as_ref());
        all.iter().map(one).collect::<BaseResult<Vec<_>>>()
    });
    items(&found.await?)
}

/// The policy of the path, if there is one.
fn known(app: &App, place: Place) -> Result<String> {
    let (name, workspace) = (place.name(), app.workspace());
    if !workspace.project.policies.contains_key(&name) {
        return Err(unknown("policy", &name, workspace.project.policies.keys()));
    }
    Ok(name)
}

async fn one(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let name = known(&app, place)?;
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let said = reading.said(&workspace.project);
        let mut all = collect(&workspace).await?;
        withhold(&mut all, said);
        let granted = reading.granted(&workspace.project);
        let mut answer = match all.iter().find(|one| one.policy == name) {
            Some(one) => shown(&workspace, one, granted.as_ref())?,
            None => json!({}),
        };
        let promotions = workspace.store.promotions_of(&name)?;
        let promotions = promotions.iter().map(|promotion| {
            json!({
                "number": promotion.number, "at": promotion.at.to_string(), "learner": promotion.learner,
                "artifact": promotion.artifact, "undoes": promotion.undoes, "reason": promotion.reason,
                "evidence": promotion.evidence,
            })
        });
        if let (Value::Object(answer), Some(policy)) = (&mut answer, workspace.project.policies.get(&name)) {
            answer.insert("promotions".to_owned(), promotions.collect());
            let left_out = Box::pin(left_out(&workspace, &name)).await?;
            answer.insert("left_out".to_owned(), declared(&left_out)?);
            let file = &workspace.project.file;
            let limits = |action: &String| file.contact.as_ref().filter(|one| one.covers(action));
            let contact = policy.action.as_ref().and_then(limits);
            answer.insert("contact".to_owned(), declared(&contact)?);
            answer.insert("global_holdout".to_owned(), declared(&file.holdout)?);
            let id = NodeId::new(NodeKind::Policy, name.as_str());
            // What it reads is named in its text.
            if granted.is_none_or(|granted| granted.shows_inputs(&id)) {
                answer.insert("declared".to_owned(), declared(&policy.value)?);
            }
        }
        Ok(answer)
    });
    json_of(&found.await?)
}

/// How much of a preview is shown.
#[derive(Debug, Deserialize, JsonSchema)]
struct Shown {
    /// Decisions that are shown; 20 if absent, 200 at most.
    sample: Option<usize>,
}

async fn preview(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Asked(shown): Asked<Shown>,
) -> Result<Response> {
    let name = known(&app, place)?;
    let reading = caller.reading(&app.workspace().project);
    let sample = shown.sample.unwrap_or(SAMPLE_DEFAULT);
    let id = preview_id()?;
    let found = super::sql::limited(&app, &caller, &id, None, move |workspace| async move {
        Box::pin(policy::preview(&workspace, &name, sample, &reading)).await
    });
    json_of(&found.await?)
}

/// A name for a query of ours, which ends with whoever asked.
fn preview_id() -> BaseResult<String> {
    Ok(entropy::token("q-")?.chars().take(14).collect())
}

/// A policy that is no file yet.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Draft {
    /// What its file would say: YAML.
    text: String,
    /// Decisions that are shown; 20 if absent, 200 at most.
    #[serde(default)]
    sample: Option<usize>,
}

async fn preview_text(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(draft): Input<Draft>,
) -> Result<Response> {
    check_query(&caller)?;
    let reading = caller.reading(&app.workspace().project);
    let sample = draft.sample.unwrap_or(SAMPLE_DEFAULT);
    let id = preview_id()?;
    let found = super::sql::limited(&app, &caller, &id, None, move |workspace| async move {
        Box::pin(policy::preview_text(&workspace, &draft.text, sample, &reading)).await
    });
    json_of(&found.await?)
}

/// A policy carries what it reads to where its action sends it, so that only who may read writes one.
fn check_query(caller: &Caller) -> Result<()> {
    match caller.may(Permission::Query) {
        true => Ok(()),
        false => Err(refused(caller, Permission::Query)),
    }
}

/// A policy to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewPolicy {
    /// What its file shall say: YAML.
    text: String,
}

async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<NewPolicy>,
) -> Result<Response> {
    check_query(&caller)?;
    let reading = caller.reading(&app.workspace().project);
    let shared = Arc::clone(&app);
    let author = caller.user;
    let made = app.with(move |_| async move {
        // Held here, since the work goes on when whoever asked has left.
        let _turn = shared.writing.lock().await;
        let workspace = shared.workspace();
        let made = Box::pin(policy::create(&workspace, &input.text, &reading)).await?;
        if let Err(error) = reload(&shared).await {
            made.undo(&workspace)?;
            return Err(error
                .context("the policy was not kept, because the project cannot be read with it"));
        }
        let (store, now) = (&workspace.store, workspace.now());
        store.record_hand(&made.name, approval::WRITTEN, &author, now)?;
        Ok(made)
    });
    let made = made.await?;
    app.tell(Live::new("changed", json!({"what": ["assets", "status", "policies"]})));
    let answer = json!({"name": made.name, "file": made.file, "paused": policy::MADE_IN_PAGES});
    let mut response = json_of(&answer)?;
    *response.status_mut() = StatusCode::CREATED;
    response.extensions_mut().insert(Noted(json!({"policy": made.name, "file": made.file})));
    Ok(response)
}

/// Which decisions.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    arm: Option<String>,
    unit: Option<String>,
    /// Decisions of the answer at most; 100 if absent, 1,000 at most.
    limit: Option<u32>,
    /// `next` of the piece before; the newest decisions if absent.
    cursor: Option<String>,
}

async fn decisions(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Asked(which): Asked<Which>,
) -> Result<Response> {
    let name = known(&app, place)?;
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let mut condition = format!("policy = {}", rows::literal(&name));
        for (column, value) in [("arm", which.arm), ("unit_id", which.unit)] {
            if let Some(value) = value {
                condition.push_str(&format!(" and {column} = {}", rows::literal(&value)));
            }
        }
        let list = Ordered {
            table: "system.decisions",
            condition,
            key: "decision_id",
            falling: "decided_at",
            rising: &["unit_id"],
        };
        let limit = counted(which.limit);
        let reading_of = list.read(&workspace, &reading, which.cursor.as_deref(), limit);
        let (mut table, next) = Box::pin(reading_of).await?;
        let id = NodeId::new(NodeKind::Policy, name.as_str());
        let granted = reading.granted(&workspace.project);
        if granted.is_some_and(|granted| !granted.shows_inputs(&id)) {
            leave_out_inputs(&mut table);
        }
        let names = names(&workspace, &reading, &name, &table).await;
        Ok((table, names, next))
    });
    let (table, names, next) = found.await?;
    let mut answer = json!(table);
    if let Value::Object(answer) = &mut answer {
        answer.insert("names".to_owned(), json!(names));
        answer.insert("next".to_owned(), json!(next));
    }
    Ok(with_next(json_of(&answer)?, next))
}

async fn replay(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let decision = place.name();
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let replayed = policy::replay(&workspace, &decision).await;
        let said = reading.said(&workspace.project);
        let replayed = replayed.map_err(|error| said.error(error, "making the decision again"))?;
        // Whoever does not see a policy's decisions is not told that this is one.
        let project = &workspace.project;
        let open = (project.rules.is_empty() && project.grants.is_empty())
            || !reading.hides_policy(&workspace, &replayed.policy).await?;
        if open { Ok(replayed) } else { Err(policy::unknown_decision(&decision)) }
    });
    json_of(&found.await?)
}

/// Leaves out what decisions were made of: the choice is for whoever may see the policy, and that is not.
fn leave_out_inputs(table: &mut Table) {
    let place = |wanted: &str| table.columns.iter().position(|column| column.name == wanted);
    let (features, payload) = (place("features"), place("payload"));
    for row in &mut table.rows {
        let text = |at: Option<usize>| at.and_then(|at| row.get(at)).and_then(Value::as_str);
        let both = text(payload).zip(text(features));
        let kept =
            both.and_then(|(payload, features)| withheld::without_columns(payload, features));
        if let Some(cell) = payload.and_then(|at| row.get_mut(at)) {
            *cell = json!(kept);
        }
        if let Some(cell) = features.and_then(|at| row.get_mut(at)) {
            *cell = Value::Null;
        }
    }
}

/// What the items and units of decisions are called, as far as the project knows.
async fn names(
    workspace: &Workspace,
    reading: &Reading,
    policy: &str,
    table: &Table,
) -> BTreeMap<String, String> {
    let learner = match workspace.project.policies.get(policy).map(|one| &one.choose) {
        Some(Choose::Recommend(items)) => Some(items.learner.as_str()),
        Some(Choose::Reorder(_)) => None,
        _ => return BTreeMap::new(),
    };
    let place = |wanted: &str| table.columns.iter().position(|column| column.name == wanted);
    let mut ids = BTreeSet::new();
    for row in &table.rows {
        let cell = |wanted| place(wanted).and_then(|at| row.get(at)).and_then(Value::as_str);
        if learner.is_none() {
            ids.extend(cell("unit_id").map(str::to_owned));
        }
        let items = cell("items").and_then(|text| serde_json::from_str::<Value>(text).ok());
        let items = items.as_ref().and_then(Value::as_array).into_iter().flatten();
        ids.extend(items.filter_map(|item| item.get("item_id")?.as_str()).map(str::to_owned));
    }
    match item_names(workspace, reading, &ids, learner).await {
        Ok(names) => names,
        Err(error) => {
            // Decisions are told by their ids then; what is wrong with the query fails the learner's next fit.
            tracing::warn!(policy, %error, "items have no names");
            BTreeMap::new()
        }
    }
}

/// Why something is done.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reason {
    /// Why, for the record.
    #[serde(default)]
    reason: Option<String>,
}

/// The longest reason.
const REASON_MAX: usize = 1_000;

/// The reason that was given, if there is one.
fn given(reason: Option<String>) -> Result<Option<String>> {
    let text = reason.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if text.as_ref().is_some_and(|text| text.chars().count() > REASON_MAX) {
        return Err(
            Error::invalid(format!("the reason is longer than {REASON_MAX} characters")).into()
        );
    }
    Ok(text)
}

fn reason(input: Reason, default: &str, caller: &Caller) -> Result<String> {
    Ok(given(input.reason)?.unwrap_or_else(|| format!("{default} by {}", caller.who())))
}

fn changed(app: &App) {
    // What waited may leave now.
    app.sender.notify_one();
    app.tell(Live::new("changed", json!({"what": ["status", "policies"]})));
}

async fn pause(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Reason>,
) -> Result<Response> {
    let (name, why) = (known(&app, place)?, reason(input, "paused", &caller)?);
    app.blocking(move |app| run::pause(&app.workspace(), &name, &why)).await?;
    changed(&app);
    Ok(done())
}

async fn resume(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let name = known(&app, place)?;
    app.blocking(move |app| approval::resume_by(&app.workspace(), &name, &caller.user)).await?;
    changed(&app);
    Ok(done())
}

async fn halted(State(app): State<Arc<App>>) -> Result<Response> {
    let halt = app.blocking(|app| app.workspace().store.halt()).await?;
    json_of(&json!({"halted": halt.map(Halted::from)}))
}

async fn halt_all(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<Reason>,
) -> Result<Response> {
    let (why, by) = (reason(input, "stopped", &caller)?, caller.who());
    let noted = Noted(json!({"reason": why}));
    let stopped = app.blocking(move |app| halt::stop(&app.workspace().store, &why, &by));
    let (halted, new) = stopped.await?;
    changed(&app);
    let mut answer = json_of(&json!({"halted": halted, "new": new}))?;
    answer.extensions_mut().insert(noted);
    Ok(answer)
}

async fn lift_halt(State(app): State<Arc<App>>) -> Result<Response> {
    let lifted = app.blocking(|app| halt::lift(&app.workspace().store)).await?;
    changed(&app);
    json_of(&json!({"lifted": lifted}))
}

async fn retry(State(app): State<Arc<App>>, place: Place) -> Result<Response> {
    let name = known(&app, place)?;
    let revived = app.blocking(move |app| run::retry(&app.workspace(), &name)).await?;
    changed(&app);
    json_of(&json!({"revived": revived}))
}

/// Which deliveries are given up for good, and why.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Discard {
    /// Why, for the record.
    reason: String,
    /// Only those by this action; its file may be gone.
    #[serde(default)]
    action: Option<String>,
}

async fn discard(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Discard>,
) -> Result<Response> {
    let name = place.name();
    if input.reason.trim().is_empty() {
        return Err(Error::invalid("no reason is given")
            .hint("Say why: it is kept with each delivery.")
            .into());
    }
    let given = reason(Reason { reason: Some(input.reason) }, "discarded", &caller)?;
    let why = format!("{given} (by {})", caller.who());
    let noted = Noted(json!({"reason": given, "action": input.action}));
    let done = app
        .blocking(move |app| run::discard(&app.workspace(), &name, input.action.as_deref(), &why));
    let done = done.await?;
    changed(&app);
    let mut answer = json_of(&json!({"discarded": done.discarded, "kept": done.kept}))?;
    answer.extensions_mut().insert(noted);
    Ok(answer)
}

/// A challenger and the evidence that counts.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Against {
    /// A learner, `LEARNER@DIGEST`, a policy with fixed weights, or `even`.
    against: String,
    /// Counts only decisions from this day or moment on.
    #[serde(default)]
    since: Option<String>,
    /// The gain in reward a decision that the lower end of its interval must exceed.
    #[serde(default)]
    gain: f64,
}

fn challenge(
    policy: String,
    against: String,
    since: Option<&str>,
    gain_min: f64,
) -> Result<Challenge> {
    let since = since.map(Timestamp::parse).transpose()?;
    Ok(Challenge { policy, against, since, gain_min })
}

async fn evaluate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Against>,
) -> Result<Response> {
    let asked = challenge(known(&app, place)?, input.against, input.since.as_deref(), input.gain)?;
    let said = caller.said(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let judged = policy::judge(&workspace, &asked).await;
        judged.map_err(|error| said.error(error, "judging the challenger"))
    });
    json_of(&found.await?)
}

/// A promotion.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Promotion {
    /// A learner, or `LEARNER@DIGEST` to hold it at one artifact.
    against: String,
    /// Counts only decisions from this day or moment on.
    #[serde(default)]
    since: Option<String>,
    /// The gain that the lower end of its interval must exceed.
    #[serde(default)]
    gain: f64,
    /// Promotes without sufficient evidence, for this reason.
    #[serde(default)]
    despite: Option<String>,
}

async fn promote(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Promotion>,
) -> Result<Response> {
    let asked = challenge(known(&app, place)?, input.against, input.since.as_deref(), input.gain)?;
    let said = caller.said(&app.workspace().project);
    let user = caller.user;
    let made = app.with(move |workspace| async move {
        let made = policy::promote(&workspace, &asked, input.despite.as_deref()).await;
        let made = made.map_err(|error| said.error(error, "judging the challenger"))?;
        let store = &workspace.store;
        store.record_hand(&asked.policy, approval::PROMOTED, &user, workspace.now())?;
        Ok(json!({"now": made.now.to_string(), "before": made.before.to_string()}))
    });
    let made = made.await?;
    changed(&app);
    json_of(&made)
}

async fn roll_back(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Reason>,
) -> Result<Response> {
    let (name, why) = (known(&app, place)?, reason(input, "taken back", &caller)?);
    let user = caller.user;
    let made = app.with(move |workspace| async move {
        let (was, now) = policy::roll_back(&workspace, &name, &why).await?;
        let store = &workspace.store;
        store.record_hand(&name, approval::PROMOTED, &user, workspace.now())?;
        Ok(json!({"was": was.to_string(), "now": now.to_string()}))
    });
    let made = made.await?;
    changed(&app);
    json_of(&made)
}

/// The end of an experiment.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keep {
    /// The variant that everybody gets from the next decision on.
    keep: String,
    /// Why, for the record.
    #[serde(default)]
    reason: Option<String>,
}

async fn conclude(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Keep>,
) -> Result<Response> {
    let name = known(&app, place)?;
    let why = given(input.reason)?;
    let said = caller.said(&app.workspace().project);
    let (by, user, keep) = (caller.who(), caller.user, input.keep);
    let kept = keep.clone();
    let made = app.with(move |workspace| async move {
        let made = policy::conclude(&workspace, &name, &keep, why.as_deref(), &by).await;
        let made = made.map_err(|error| said.error(error, "looking at the experiment"))?;
        let store = &workspace.store;
        store.record_hand(&name, approval::PROMOTED, &user, workspace.now())?;
        Ok(made)
    });
    let made = made.await?;
    changed(&app);
    let answer =
        json!({"concluded": made.now.variant, "number": made.now.number, "doubts": made.doubts});
    let mut answer = json_of(&answer)?;
    answer.extensions_mut().insert(Noted(json!({"keep": kept, "doubts": made.doubts})));
    Ok(answer)
}

async fn reopen(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Reason>,
) -> Result<Response> {
    let name = known(&app, place)?;
    let why = given(input.reason)?;
    let (by, user) = (caller.who(), caller.user);
    let made = app.with(move |workspace| async move {
        let was = policy::reopen(&workspace, &name, why.as_deref(), &by).await?;
        let store = &workspace.store;
        store.record_hand(&name, approval::PROMOTED, &user, workspace.now())?;
        Ok(was)
    });
    let was = made.await?;
    changed(&app);
    json_of(&json!({"was": was.variant}))
}

async fn experiments(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let said = reading.said(&workspace.project);
        let all = policy::experiments(&workspace, None).await;
        let all = all.map_err(|error| said.error(error, "looking at the experiments"))?;
        // Why something could not be read is in the run's tasks; its row says that it could not be.
        let mut all = all.rows;
        if let Some(granted) = reading.granted(&workspace.project) {
            all.retain(|row| granted.shows_one(NodeKind::Policy, &row.policy));
        }
        all.iter().map(|row| standing(&workspace, row)).collect::<BaseResult<Vec<_>>>()
    });
    items(&found.await?)
}

/// How an experiment stands; a row counts moments in microseconds, the API writes them as text.
fn standing(workspace: &Workspace, row: &ExperimentRow) -> BaseResult<Value> {
    let mut answer = declared(row)?;
    let concluded = policy::concluded(workspace, &row.policy)?;
    if let Value::Object(answer) = &mut answer {
        answer.insert("concluded".to_owned(), json!(concluded.map(|now| now.variant)));
        answer.insert("at".to_owned(), json!(row.at.to_string()));
        answer.insert("changed_at".to_owned(), json!(row.changed_at.map(|at| at.to_string())));
    }
    Ok(answer)
}
