//! Answers while somebody waits: recommendations from memory, and decisions that are logged first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flywheel_base::{Error, Gather, GatherLimits, Result as BaseResult};
use flywheel_decision::decide::Question;
use flywheel_decision::feedback::{self as suggesting, FreshList, Suggestion};
use flywheel_decision::table::DecisionRow;
use flywheel_decision::withheld;
use flywheel_project::grant::{Deed, Governed};
use flywheel_project::resource::policy::Choose;
use flywheel_project::{NodeId, NodeKind};
use flywheel_runtime::feedback::hides_items;
use flywheel_runtime::status::Rows;
use flywheel_runtime::{Workspace, policy};
use flywheel_state::Artifact;
use flywheel_warehouse::TableName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{json_of, unknown};
use crate::app::App;
use crate::auth::Caller;
use crate::feedback;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Asked, Input};
use crate::live::Live;
use crate::problem::{Problem, Result};
use crate::rows;

pub(super) fn routes(routes: &mut Routes) {
    let decide = Access::Needs(Permission::Decide);
    routes.get("/v1/recommend", decide, "Names the best items for a unit", recommend);
    routes.post::<Unit, _, _>(
        "/v1/decide",
        decide,
        "Decides for a unit, and logs the decision before it answers",
        decision,
    );
}

/// Under which name a recommender keeps what suits everybody.
const EVERYBODY: &str = flywheel_decision::learner::recommend::EVERYBODY;

/// An item and how well it fits.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Item {
    pub(crate) item: String,
    pub(crate) score: Option<f64>,
    pub(crate) reason: Option<String>,
    /// What speaks most for it.
    pub(crate) source: Option<String>,
}

/// What one artifact recommends to each.
#[derive(Debug, Default)]
struct Recommended {
    artifact: String,
    lists: HashMap<String, Vec<Item>>,
}

/// The newest recommendations of each learner, in memory.
#[derive(Debug, Default)]
pub(crate) struct Lists(Mutex<BTreeMap<String, Arc<Recommended>>>);

impl Lists {
    fn held(&self, learner: &str, artifact: &str) -> Option<Arc<Recommended>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(learner).filter(|lists| lists.artifact == artifact).map(Arc::clone)
    }

    fn hold(&self, learner: String, lists: Arc<Recommended>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(learner, lists);
    }
}

async fn read(workspace: &Workspace, learner: &str, artifact: String) -> BaseResult<Recommended> {
    let sql = format!(
        "select user_id, item_id, score, reason, source from {} order by user_id, rank",
        rows::quoted(&format!("learn.{learner}"))
    );
    let found = Rows::query(workspace, &sql).await?;
    let mut lists: HashMap<String, Vec<Item>> = HashMap::new();
    for row in 0..found.len() {
        let item = Item {
            item: found.text(row, 1)?.unwrap_or_default(),
            score: found.number(row, 2)?,
            reason: found.text(row, 3)?,
            source: found.text(row, 4)?,
        };
        lists.entry(found.text(row, 0)?.unwrap_or_default()).or_default().push(item);
    }
    Ok(Recommended { artifact, lists })
}

/// For whom.
#[derive(Debug, Deserialize, JsonSchema)]
struct Whom {
    /// The learner that is asked.
    #[schemars(required)]
    learner: Option<String>,
    /// The unit, by the id that the learner's query gives it.
    #[schemars(required)]
    unit: Option<String>,
    /// How many items, from 1; 10 if absent, and 1,000 at most are named.
    #[schemars(range(min = 1))]
    k: Option<i64>,
    /// As `k`.
    #[schemars(range(min = 1))]
    n: Option<i64>,
    /// Conditions on the learner's `attributes` with commas between them, such as `category:shoes|boots,brand!=acme,price<50`.
    filter: Option<String>,
    /// Items that are left out, with commas between them.
    exclude: Option<String>,
}

impl Whom {
    /// How many items are asked for.
    fn count(&self) -> Result<usize> {
        match self.n.or(self.k) {
            None => Ok(ITEMS_DEFAULT),
            Some(count) if count < 1 => {
                Err(Problem::invalid(format!("{count} items are asked for")).hint(format!(
                    "Ask for 1 to {ITEMS_MAX}, as in k={ITEMS_DEFAULT}; without k there are {ITEMS_DEFAULT}."
                )))
            }
            Some(count) => Ok(usize::try_from(count).map_or(ITEMS_MAX, |count| count.min(ITEMS_MAX))),
        }
    }

    /// What is asked for beyond the list that is there; none if nothing is.
    fn question(&self) -> Result<Option<suggesting::Question>> {
        let filter = self.filter.clone().filter(|text| !text.trim().is_empty());
        let excluded: Vec<String> = self
            .exclude
            .iter()
            .flat_map(|text| text.split(','))
            .map(|item| item.trim().to_owned())
            .filter(|item| !item.is_empty())
            .collect();
        if excluded.len() > ITEMS_MAX {
            return Err(Problem::invalid(format!("more than {ITEMS_MAX} items are excluded"))
                .hint("Leave them out by an attribute: `filter=`, or `rules: {exclude: …}`."));
        }
        if filter.is_none() && excluded.is_empty() {
            return Ok(None);
        }
        let count = Some(self.count()?);
        Ok(Some(suggesting::Question { count, filter, excluded, stock: None, filled_up: true }))
    }
}

/// Items of one answer unless something else is asked for.
const ITEMS_DEFAULT: usize = 10;
/// Items of one answer at most.
const ITEMS_MAX: usize = 1_000;

async fn recommend(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Asked(whom): Asked<Whom>,
) -> Result<Response> {
    let (count, question) = (whom.count()?, whom.question()?);
    let (Some(learner), Some(unit)) = (whom.learner, whom.unit) else {
        return Err(Problem::invalid("learner and unit are not both given")
            .hint("Ask like this: /v1/recommend?learner=next_basket&unit=c-17&k=10"));
    };
    let workspace = app.workspace();
    let granted = caller.reading(&workspace.project).granted(&workspace.project);
    let seen = |name: &String| {
        let id = NodeId::new(NodeKind::Learner, name.as_str());
        granted.as_ref().is_none_or(|granted| granted.shows_node(&id))
    };
    let recommends = |name: &String| {
        workspace.project.learners.get(name).is_some_and(|one| one.recommend.is_some())
            && seen(name)
    };
    if !recommends(&learner) {
        return Err(unknown(
            "recommender",
            &learner,
            workspace.project.learners.keys().filter(|name| recommends(name)),
        ));
    }
    if !app.workspace().project.rules.is_empty() {
        let (table, reading) =
            (format!("learn.{learner}"), caller.reading(&app.workspace().project));
        let whole = app.with(move |workspace| async move {
            let mut sights = reading.limits_now(&workspace).await?.sights;
            Ok(TableName::parse(&table).ok().and_then(|table| sights.remove(&table)))
        });
        // The lists in memory are whole: who sees a part of the table asks it by SQL.
        if let Some(sight) = whole.await? {
            let detail = format!("recommendations of \"{learner}\" are not for {}", sight.reader);
            let denied = Problem::new(StatusCode::FORBIDDEN, "denied", detail);
            return Err(denied.hint(format!("{} {}", sight.rule, sight.ask)));
        }
    }
    let Some(newest) = app.reader.served_artifact(&learner)? else {
        return Err(Problem::from(
            Error::unavailable(format!("the learner \"{learner}\" has not been fitted yet"))
                .hint(format!("Run a turn, or `flywheel learn {learner}`.")),
        ));
    };
    if let Some(question) = question {
        return asked(&app, &caller, (&learner, &unit), &newest, question).await;
    }
    let lists = match app.lists.held(&learner, &newest.digest) {
        Some(lists) => lists,
        None => {
            let (asked, artifact) = (learner.clone(), newest.digest.clone());
            let lists =
                app.with(move |workspace| async move { read(&workspace, &asked, artifact).await });
            let lists = Arc::new(lists.await?);
            app.lists.hold(learner.clone(), Arc::clone(&lists));
            lists
        }
    };
    let own = lists.lists.get(&unit);
    let fresh = feedback::answer(&app, &learner, &unit, &newest).await?;
    let list = match &fresh {
        Some((items, _)) => items.as_slice(),
        None => own.or_else(|| lists.lists.get(EVERYBODY)).map(Vec::as_slice).unwrap_or_default(),
    };
    // What can be had may have changed since the list was made.
    let stock = feedback::stock(&app, &learner).await?;
    let have = |one: &&Item| stock.as_ref().is_none_or(|stock| stock.contains(&one.item));
    let items: Vec<&Item> = list.iter().filter(have).take(count).collect();
    json_of(&json!({
        "learner": learner, "artifact": lists.artifact, "unit": unit, "known": own.is_some() || fresh.is_some(),
        "source": items.first().and_then(|item| item.source.as_deref()),
        "since_fit": fresh.as_ref().map_or(0, |(_, acts)| *acts), "items": items,
    }))
}

/// Answers a question that the list of the fit does not: with a filter, or without some items.
async fn asked(
    app: &Arc<App>,
    caller: &Caller,
    (learner, unit): (&str, &str),
    newest: &Artifact,
    mut question: suggesting::Question,
) -> Result<Response> {
    let workspace = app.workspace();
    let project = &workspace.project;
    if !project.rules.is_empty() || !project.grants.is_empty() {
        let (reading, name) = (caller.reading(project), learner.to_owned());
        let hidden = app
            .with(move |workspace| async move { hides_items(&workspace, &name, &reading).await });
        let hidden = hidden.await?;
        // Items that nobody had are in no table of the learner: they are for who sees all items alone.
        question.filled_up = !hidden;
        if hidden && question.filter.is_some() {
            let detail = format!("what \"{learner}\" knows of its items is not all for you");
            let denied = Problem::new(StatusCode::FORBIDDEN, "denied", detail);
            return Err(denied.hint("Ask without filter, or whoever keeps the project's rules."));
        }
    }
    let filter = question.filter.clone();
    let made = feedback::asked(app, learner, unit, newest, question).await?;
    json_of(&json!({
        "learner": learner, "artifact": newest.digest, "unit": unit, "known": made.known,
        "source": made.items.first().and_then(|item| item.source.as_deref()),
        "since_fit": made.acts, "filter": filter, "shortfall": made.shortfall, "items": made.items,
    }))
}

/// Questions that wait at most, and those that are answered together. More of them at once would only make the first
/// ones wait.
const LIMITS: GatherLimits = GatherLimits { waiting_max: 1_024, weight_max: 256 };

/// A question, and whom it is asked of.
pub(crate) struct Asking {
    workspace: Arc<Workspace>,
    handle: Handle,
    question: Question,
}

/// What decides: questions that arrive while decisions are being written are answered by the next write together.
pub(crate) type Decisions = Gather<Asking, DecisionRow>;

/// Starts what decides.
pub(crate) fn decisions() -> BaseResult<Decisions> {
    Gather::start(
        "decisions",
        LIMITS,
        |_| 1,
        |asked: Vec<Asking>| {
            // Whoever asked last knows the newest declarations.
            let Some(Asking { workspace, handle, .. }) = asked.last() else { return Vec::new() };
            let (workspace, handle) = (Arc::clone(workspace), handle.clone());
            let questions: Vec<Question> =
                asked.into_iter().map(|asking| asking.question).collect();
            match handle.block_on(policy::decide_each(&workspace, &questions)) {
                Ok(answers) => answers,
                Err(error) => questions.iter().map(|_| Err(error.again())).collect(),
            }
        },
    )
}

/// For whom a decision is made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Unit {
    /// The policy.
    policy: String,
    /// The unit, as in `unit_id` of its audience.
    unit: String,
    /// A name of the caller's for this question: asked again, it gets the same decision.
    #[serde(default)]
    request_id: Option<String>,
}

/// What suits the unit by all that is known now, where the policy chooses of a recommender with `feedback` and
/// something came since its fit.
async fn fresh_of(
    app: &Arc<App>,
    workspace: &Workspace,
    policy: &str,
    unit: &str,
) -> Result<Option<FreshList>> {
    let project = &workspace.project;
    let Some(Choose::Recommend(chosen)) = project.policies.get(policy).map(|one| &one.choose)
    else {
        return Ok(None);
    };
    let learner = project.learners.get(&chosen.learner).and_then(|one| one.recommend.as_ref());
    if learner.is_none_or(|learner| learner.feedback.is_none()) {
        return Ok(None);
    }
    // Without a fit there is no list at all, which deciding says.
    let Some(newest) = app.reader.served_artifact(&chosen.learner)? else { return Ok(None) };
    let fresh = feedback::answer(app, &chosen.learner, unit, &newest).await?;
    Ok(fresh.map(|(items, _)| FreshList {
        artifact: newest.digest.clone(),
        items: items
            .iter()
            .map(|one| Suggestion {
                item: one.item.clone(),
                score: one.score.unwrap_or_default(),
                reason: one.reason.clone().unwrap_or_default(),
                source: one.source.clone().unwrap_or_default(),
            })
            .collect(),
    }))
}

async fn decision(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<Unit>,
) -> Result<Response> {
    let workspace = app.workspace();
    if !workspace.project.policies.contains_key(&input.policy) {
        return Err(unknown("policy", &input.policy, workspace.project.policies.keys()));
    }
    let reading = caller.reading(&workspace.project);
    if let Some(granted) = reading.granted(&workspace.project) {
        if !granted.shows_one(NodeKind::Policy, &input.policy) {
            return Err(unknown("policy", &input.policy, workspace.project.policies.keys()));
        }
        granted.require(Governed::Policies, &input.policy, Deed::Act)?;
    }
    let said = reading.said(&workspace.project);
    let policy = input.policy.clone();
    let whole = app.with(move |workspace| async move {
        let project = &workspace.project;
        let id = NodeId::new(NodeKind::Policy, policy.as_str());
        let granted = reading.granted(project);
        if granted.is_some_and(|granted| !granted.shows_inputs(&id)) {
            return Ok(false);
        }
        Ok(project.rules.is_empty() || !reading.hides_policy(&workspace, &policy).await?)
    });
    let whole = whole.await?;
    let fresh = fresh_of(&app, &workspace, &input.policy, &input.unit).await?;
    let (policy, unit, key) = (input.policy, input.unit, input.request_id);
    let question = Question { policy, unit, key, fresh };
    let row = app.decisions.ask(Asking { workspace, handle: Handle::current(), question }).await;
    let row = row.map_err(|error| said.error(error, "the decision"))?;
    let mut answer = json!(row);
    if let Value::Object(answer) = &mut answer {
        answer.insert("decided_at".to_owned(), json!(row.decided_at.to_string()));
        if !whole {
            // The choice is for whoever may ask for it; what it was made of is not.
            answer.insert("features".to_owned(), Value::Null);
            let payload = row
                .payload
                .as_deref()
                .map(|payload| withheld::without_columns(payload, &row.features));
            answer.insert("payload".to_owned(), json!(payload));
        }
        // What is logged as text is answered as what it is.
        for key in ["items", "chances", "features", "payload"] {
            if let Some(text) = answer.get(key).and_then(Value::as_str)
                && let Ok(value) = serde_json::from_str::<Value>(text)
            {
                answer.insert(key.to_owned(), value);
            }
        }
    }
    app.sender.notify_one();
    app.tell(Live::new("changed", json!({"what": ["status"]})));
    json_of(&answer)
}
