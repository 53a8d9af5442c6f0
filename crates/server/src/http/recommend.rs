//! Answers while somebody waits: recommendations from memory, and decisions that are logged first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::response::Response;
use flywheel_base::{Error, Result as BaseResult};
use flywheel_runtime::status::Rows;
use flywheel_runtime::{Workspace, policy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{json_of, unknown};
use crate::app::App;
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
struct Item {
    item: String,
    score: Option<f64>,
    reason: Option<String>,
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
        "select user_id, item_id, score, reason from {} order by user_id, rank",
        rows::quoted(&format!("learn.{learner}"))
    );
    let found = Rows::query(workspace, &sql).await?;
    let mut lists: HashMap<String, Vec<Item>> = HashMap::new();
    for row in 0..found.len() {
        let item = Item {
            item: found.text(row, 1)?.unwrap_or_default(),
            score: found.number(row, 2)?,
            reason: found.text(row, 3)?,
        };
        lists.entry(found.text(row, 0)?.unwrap_or_default()).or_default().push(item);
    }
    Ok(Recommended { artifact, lists })
}

/// For whom.
#[derive(Debug, Deserialize)]
struct Whom {
    learner: Option<String>,
    unit: Option<String>,
    k: Option<usize>,
}

/// Items of one answer unless something else is asked for.
const ITEMS_DEFAULT: usize = 10;
/// Items of one answer at most.
const ITEMS_MAX: usize = 1_000;

async fn recommend(State(app): State<Arc<App>>, Asked(whom): Asked<Whom>) -> Result<Response> {
    let (Some(learner), Some(unit)) = (whom.learner, whom.unit) else {
        return Err(Problem::invalid("learner and unit are not both given")
            .hint("Ask like this: /v1/recommend?learner=next_basket&unit=c-17&k=10"));
    };
    let workspace = app.workspace();
    let recommends = |name: &String| {
        workspace.project.learners.get(name).is_some_and(|one| one.recommend.is_some())
    };
    if !recommends(&learner) {
        return Err(unknown(
            "recommender",
            &learner,
            workspace.project.learners.keys().filter(|name| recommends(name)),
        ));
    }
    let asked = learner.clone();
    let newest = app.blocking(move |app| app.workspace().store.newest_artifact(&asked)).await?;
    let Some(newest) = newest else {
        return Err(Problem::from(
            Error::unavailable(format!("the learner \"{learner}\" has not been fitted yet"))
                .hint(format!("Run a turn, or `flywheel learn {learner}`.")),
        ));
    };
    let lists = match app.lists.held(&learner, &newest.digest) {
        Some(lists) => lists,
        None => {
            let (asked, artifact) = (learner.clone(), newest.digest);
            let lists =
                app.with(move |workspace| async move { read(&workspace, &asked, artifact).await });
            let lists = Arc::new(lists.await?);
            app.lists.hold(learner.clone(), Arc::clone(&lists));
            lists
        }
    };
    let own = lists.lists.get(&unit);
    let list = own.or_else(|| lists.lists.get(EVERYBODY)).map(Vec::as_slice).unwrap_or_default();
    let count = whom.k.unwrap_or(ITEMS_DEFAULT).clamp(1, ITEMS_MAX).min(list.len());
    json_of(&json!({
        "learner": learner, "artifact": lists.artifact, "unit": unit, "known": own.is_some(),
        "items": list.get(..count).unwrap_or_default(),
    }))
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

async fn decision(State(app): State<Arc<App>>, Input(input): Input<Unit>) -> Result<Response> {
    let workspace = app.workspace();
    if !workspace.project.policies.contains_key(&input.policy) {
        return Err(unknown("policy", &input.policy, workspace.project.policies.keys()));
    }
    let row = app.with(move |workspace| async move {
        policy::decide_one(&workspace, &input.policy, &input.unit, input.request_id.as_deref())
            .await
    });
    let row = row.await?;
    let mut answer = json!(row);
    if let Value::Object(answer) = &mut answer {
        answer.insert("decided_at".to_owned(), json!(row.decided_at.to_string()));
        // What is logged as text is answered as what it is.
        for key in ["items", "chances", "features", "payload"] {
            if let Some(text) = answer.get(key).and_then(Value::as_str)
                && let Ok(value) = serde_json::from_str::<Value>(text)
            {
                answer.insert(key.to_owned(), value);
            }
        }
    }
    app.tell(Live::new("changed", json!({"what": ["status"]})));
    json_of(&answer)
}
