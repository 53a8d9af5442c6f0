//! Published queries, learners, policies, actions and what reads models outside: the half of the wheel that decides, and what leaves.

use flywheel_base::Result;
use flywheel_project::NodeKind;
use flywheel_project::resource::learner::LearnerKind;
use flywheel_project::resource::policy::{Choose, Consent, Cost, Policy, column_of};
use flywheel_project::resource::query::PublishedQuery;
use serde_json::Value as Json;

use super::collect::Collector;
use super::graph::{AssetKind, ColumnKey, EdgeKind};
use super::planner::Answer;
use crate::names;
use crate::published::{published_plan, published_sql};

/// What a policy decides, as a column of it.
const CHOICE: &str = "choice";

/// What comes of a policy's decisions, as a column of it.
const OUTCOME: &str = "outcome";

/// The column of an audience that says whom a decision is about.
const UNIT: &str = "unit_id";

/// Adds published queries, learners, policies, actions and exposures.
pub(super) async fn collect(collector: &mut Collector<'_>) {
    let project = collector.project();
    for (name, query) in &project.queries {
        Box::pin(published(collector, name, &query.value)).await;
    }
    for name in project.learners.keys() {
        Box::pin(learner(collector, name)).await;
    }
    for (name, policy) in &project.policies {
        Box::pin(self::policy(collector, name, &policy.value)).await;
    }
    for (id, _) in project.graph.nodes().filter(|(id, _)| id.kind == NodeKind::Exposure) {
        let to = collector.graph.add(ColumnKey::whole(AssetKind::Exposure, &id.name));
        for table in
            project.graph.upstream(id).map(|node| collector.relation(node)).collect::<Vec<_>>()
        {
            for column in collector.columns(&table) {
                let from = collector.of_table(&table, &column);
                collector.graph.link(from, to, EdgeKind::Check);
            }
        }
    }
}

/// Traces a query over everything there is.
async fn trace(collector: &Collector<'_>, sql: &str) -> Result<Answer> {
    let sql = names::render_text(collector.project(), sql)?;
    let catalog = collector.planner.catalog(collector.planner.schemas.keys())?;
    collector.planner.trace(&sql, catalog).await
}

/// Adds the columns of a query as columns of an asset; returns their numbers and names.
async fn query(
    collector: &mut Collector<'_>,
    sql: &str,
    what: &str,
    key: impl Fn(&str) -> ColumnKey,
) -> Vec<(usize, String)> {
    let answer = match trace(collector, sql).await {
        Ok(answer) => answer,
        Err(error) => {
            collector.note(format!("{what} is not traced: {}", error.report()));
            return Vec::new();
        }
    };
    added(collector, &answer, key)
}

/// Adds the columns of an answer as columns of an asset; returns their numbers and names.
fn added(
    collector: &mut Collector<'_>,
    answer: &Answer,
    key: impl Fn(&str) -> ColumnKey,
) -> Vec<(usize, String)> {
    let mut added = Vec::new();
    for (field, flow) in answer.schema.fields().iter().zip(&answer.traced.columns) {
        let to = collector.graph.add(key(field.name()));
        collector.flow(flow, &answer.traced.rows, to);
        added.push((to, field.name().clone()));
    }
    added
}

/// The columns that callers of a published query get.
async fn published(collector: &mut Collector<'_>, name: &str, query: &PublishedQuery) {
    match trace_published(collector, query).await {
        Ok(answer) => {
            added(collector, &answer, |column| ColumnKey::new(AssetKind::Query, name, column));
        }
        Err(error) => {
            collector.note(format!("published query {name} is not traced: {}", error.report()));
        }
    }
}

async fn trace_published(collector: &Collector<'_>, query: &PublishedQuery) -> Result<Answer> {
    let sql = published_sql(collector.project(), query)?;
    let catalog = collector.planner.catalog(collector.planner.schemas.keys())?;
    collector.planner.trace_with(&sql, &published_plan(query)?, catalog).await
}

async fn learner(collector: &mut Collector<'_>, name: &str) {
    let project = collector.project();
    let Some(kind) = project.learners.get(name).and_then(|one| one.kind().ok()) else { return };
    let asset = format!("learn.{name}");
    let mut inputs = Vec::new();
    for (key, sql) in kind.queries() {
        let what = format!("{key} of learner {name}");
        let input = |column: &str| {
            ColumnKey::new(AssetKind::Learner, asset.as_str(), format!("{key}.{column}"))
        };
        inputs.extend(query(collector, sql, &what, input).await);
    }
    if let LearnerKind::Bandit(bandit) = kind {
        for feature in &bandit.context {
            let from = policy_column(collector, &bandit.policy, &feature.column);
            let input = format!("context.{}", feature.column);
            let to = collector.graph.add(ColumnKey::new(AssetKind::Learner, asset.as_str(), input));
            collector.graph.link(from, to, EdgeKind::Identity);
            inputs.push((to, feature.column.clone()));
        }
        for (column, input) in [(CHOICE, "action"), (OUTCOME, "reward")] {
            let from = policy_column(collector, &bandit.policy, column);
            let to = collector.graph.add(ColumnKey::new(AssetKind::Learner, asset.as_str(), input));
            collector.graph.link(from, to, EdgeKind::Identity);
            inputs.push((to, input.to_owned()));
        }
    }
    for (to, column) in outputs(collector, name) {
        for (from, input) in &inputs {
            let kind = if *input == column { EdgeKind::Identity } else { EdgeKind::Learn };
            collector.graph.link(*from, to, kind);
        }
    }
}

/// The columns of the tables that a learner writes: `learn.<name>`, and others that begin so.
fn outputs(collector: &mut Collector<'_>, name: &str) -> Vec<(usize, String)> {
    let project = collector.project();
    let own = |table: &&String| {
        let Some(rest) = table.strip_prefix("learn.") else { return false };
        let further = rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('_'));
        rest == name || (further && !project.learners.contains_key(rest))
    };
    let tables: Vec<String> = collector.planner.schemas.keys().filter(own).cloned().collect();
    let mut all = Vec::new();
    for table in tables {
        for column in collector.columns(&table) {
            all.push((collector.of_table(&table, &column), column));
        }
    }
    all
}

fn policy_column(collector: &mut Collector<'_>, policy: &str, column: &str) -> usize {
    collector.graph.add(ColumnKey::new(AssetKind::Policy, policy, column))
}

async fn policy(collector: &mut Collector<'_>, name: &str, policy: &Policy) {
    let of = |column: &str| ColumnKey::new(AssetKind::Policy, name, column);
    let audience =
        query(collector, &policy.audience, &format!("the audience of policy {name}"), of).await;
    let unit = policy_column(collector, name, UNIT);
    let choice = policy_column(collector, name, CHOICE);
    collector.graph.link(unit, choice, EdgeKind::Condition);
    choose(collector, name, policy, &audience, choice).await;
    match &policy.consent {
        Some(Consent::Sql(sql)) => {
            let what = format!("the consent of policy {name}");
            let consent = |column: &str| of(&format!("consent.{column}"));
            for (from, _) in query(collector, sql, &what, consent).await {
                collector.graph.link(from, choice, EdgeKind::Condition);
            }
        }
        Some(Consent::Column(column)) => {
            let from = policy_column(collector, name, column);
            collector.graph.link(from, choice, EdgeKind::Condition);
        }
        None => {}
    }
    if let Some(sql) = &policy.stock {
        let what = format!("the stock of policy {name}");
        let stock = |column: &str| of(&format!("stock.{column}"));
        for (from, _) in query(collector, sql, &what, stock).await {
            collector.graph.link(from, choice, EdgeKind::Condition);
        }
    }
    if let Some(Cost::Column(column)) = policy.budget.as_ref().map(|budget| &budget.cost) {
        let from = policy_column(collector, name, column);
        collector.graph.link(from, choice, EdgeKind::Condition);
    }
    if let Some(outcome) = &policy.outcome {
        let to = policy_column(collector, name, OUTCOME);
        let what = format!("the outcome of policy {name}");
        let event = |column: &str| of(&format!("{OUTCOME}.{column}"));
        if let Some(events) = &outcome.events {
            for (from, _) in query(collector, events, &what, event).await {
                collector.graph.link(from, to, EdgeKind::Aggregate);
            }
        }
        collector.graph.link(choice, to, EdgeKind::Condition);
    }
    let Some(action) = &policy.action else { return };
    let sent = |key: &str| ColumnKey::new(AssetKind::Action, action.as_str(), key);
    let known = |column: &str| audience.iter().find(|(_, name)| name == column);
    let payloads: Vec<(&String, &Json)> = policy.payload.iter().chain(candidates(policy)).collect();
    for (key, value) in &payloads {
        let to = collector.graph.add(sent(key));
        let Some(column) = value.as_str().and_then(column_of) else { continue };
        // What is no column of the audience is a value of the choice.
        let from = known(column).map_or(choice, |(number, _)| *number);
        collector.graph.link(from, to, EdgeKind::Identity);
    }
    for (key, _) in candidates(policy) {
        let to = collector.graph.add(sent(key));
        collector.graph.link(choice, to, EdgeKind::Condition);
    }
    for (key, from) in [("action", choice), (UNIT, unit)] {
        if payloads.iter().all(|(known, _)| *known != key) {
            let to = collector.graph.add(sent(key));
            collector.graph.link(from, to, EdgeKind::Identity);
        }
    }
    records(collector, action);
}

/// Adds the fields of the records that an action writes, and what of its payload fills them.
fn records(collector: &mut Collector<'_>, name: &str) {
    let Some(action) = collector.project().actions.get(name) else { return };
    let Some(connection) = action.connection() else { return };
    let target = action.options.get("target");
    let object = ["object", "path"].into_iter().find_map(|key| target?.get(key)?.as_str());
    let asset = format!("{connection}/{}", object.unwrap_or(name));
    // A mistake in a field is told where the project is read.
    for (field, places) in action.fields().unwrap_or_default() {
        let to = collector.graph.add(ColumnKey::new(AssetKind::Outside, asset.as_str(), field));
        for place in places {
            let from = collector.graph.add(ColumnKey::new(AssetKind::Action, name, place));
            collector.graph.link(from, to, EdgeKind::Transform);
        }
    }
}

/// What candidates add to the payload.
fn candidates(policy: &Policy) -> Vec<(&String, &Json)> {
    match &policy.choose {
        Choose::Candidates(all) => all.iter().flat_map(|one| &one.payload).collect(),
        Choose::Experiment(experiment) => {
            experiment.variants.iter().flat_map(|one| &one.payload).collect()
        }
        Choose::Bandit(bandit) => {
            bandit.candidates.iter().flatten().flat_map(|one| &one.payload).collect()
        }
        Choose::Recommend(_) | Choose::Reorder(_) => Vec::new(),
    }
}

/// Links what a choice is made from.
async fn choose(
    collector: &mut Collector<'_>,
    name: &str,
    policy: &Policy,
    audience: &[(usize, String)],
    choice: usize,
) {
    let project = collector.project();
    let learner = match &policy.choose {
        Choose::Candidates(_) => None,
        Choose::Recommend(items) => Some(&items.learner),
        Choose::Reorder(reorder) => {
            // A proposal is computed from the forecast and the whole row of the item.
            for (from, _) in audience.iter().filter(|(_, column)| column != UNIT) {
                collector.graph.link(*from, choice, EdgeKind::Transform);
            }
            Some(&reorder.learner)
        }
        Choose::Bandit(bandit) => {
            let declared = project.learners.get(&bandit.learner).and_then(|one| one.kind().ok());
            if let Some(LearnerKind::Bandit(declared)) = declared {
                for feature in &declared.context {
                    let from = policy_column(collector, name, &feature.column);
                    collector.graph.link(from, choice, EdgeKind::Condition);
                }
            }
            Some(&bandit.learner)
        }
        Choose::Experiment(experiment) => {
            let declared = experiment.queries().into_iter();
            let mut queries: Vec<(String, &str)> =
                declared.map(|(key, sql)| (key, sql.as_str())).collect();
            let guardrails = experiment.guardrails.iter();
            queries.extend(
                guardrails.map(|one| (format!("guardrail.{}", one.name), one.events.as_str())),
            );
            for (key, sql) in queries {
                let what = format!("{key} of policy {name}");
                let of = |column: &str| {
                    ColumnKey::new(AssetKind::Policy, name, format!("{key}.{column}"))
                };
                query(collector, sql, &what, of).await;
            }
            None
        }
    };
    if let Some(learner) = learner {
        for (from, _) in outputs(collector, learner) {
            collector.graph.link(from, choice, EdgeKind::Learn);
        }
    }
}
