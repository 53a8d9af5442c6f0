//! What metrics, published queries, learners, policies and checks ask of tables, as queries that are planned and never run.
//!
//! Whether something breaks is not guessed from names in files: its query could be planned over what
//! readers see, and can no longer be planned over what they would see.

use std::collections::BTreeSet;

use flywheel_base::{Error, Result};
use flywheel_project::resource::policy::{Choose, Consent, Cost, Policy, column_of};
use flywheel_project::{NodeId, NodeKind, Project};
use flywheel_warehouse::{Parameters, Query, Session};

use crate::lineage::{self, TableColumn};
use crate::metric::{MetricQuery, compile_metrics};
use crate::names;
use crate::published::{published_plan, published_sql};
use crate::testing::{quoted, quoted_table};

/// A query of something that reads tables and is no model.
struct Demand {
    /// Which of its texts it is, for messages.
    what: String,
    sql: String,
    /// What stands in the place of values that it is given.
    values: Parameters,
    /// Columns of the answer that are used by name.
    needs: BTreeSet<String>,
}

/// What is known of the queries of a resource.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Why it would no longer work, if it works now.
    pub(super) broken: Option<String>,
    /// The columns it reads; none if it has no query, or one of which that cannot be told.
    pub(super) columns: Option<BTreeSet<TableColumn>>,
}

/// What asks something of a model itself: metrics through their semantic views, published queries, learners, policies, checks.
pub(super) fn readers(project: &Project, model: &str) -> Vec<NodeId> {
    let mut found = BTreeSet::new();
    let mut open = vec![NodeId::new(NodeKind::Model, model)];
    while let Some(at) = open.pop() {
        for next in project.graph.downstream(&at) {
            match next.kind {
                NodeKind::Semantic | NodeKind::Metric if !found.contains(next) => {
                    open.push(next.clone());
                }
                NodeKind::Semantic | NodeKind::Metric => continue,
                NodeKind::Query | NodeKind::Learner | NodeKind::Policy | NodeKind::Quality => {}
                _ => continue,
            }
            found.insert(next.clone());
        }
    }
    found.into_iter().collect()
}

/// Judges the queries of `node` by what names mean now and what they would mean.
pub(super) async fn judge(
    project: &Project,
    node: &NodeId,
    before: &Session,
    after: &Session,
) -> Judged {
    let mut judged = Judged::default();
    let mut columns = BTreeSet::new();
    let mut told = true;
    // A resource whose texts cannot be rendered is told by `check`, and is no more broken than before.
    let demands = of(project, node).unwrap_or_default();
    for demand in &demands {
        let Ok(old) = before.query_with(&demand.sql, &demand.values).await else {
            told = false;
            continue;
        };
        let read = match after.query_with(&demand.sql, &demand.values).await {
            Err(error) => {
                judged.broken.get_or_insert_with(|| format!("{}: {}", demand.what, reason(&error)));
                lineage::columns_of(&old)
            }
            Ok(new) => {
                if let Some(lost) = lost(demand, &old, &new) {
                    let text = format!("{}: it no longer gives the column {lost}", demand.what);
                    judged.broken.get_or_insert(text);
                }
                lineage::columns_of(&new)
            }
        };
        match read {
            Ok(read) => columns.extend(read),
            Err(_) => told = false,
        }
    }
    judged.columns = (told && !demands.is_empty()).then_some(columns);
    judged
}

/// An error with its causes in one line, without the hint.
pub(super) fn reason(error: &Error) -> String {
    let report = error.report();
    let text = report.lines().next().unwrap_or_default();
    text.strip_prefix("error: ").unwrap_or(text).to_owned()
}

/// A column of the answer that is used by name and goes.
fn lost(demand: &Demand, old: &Query, new: &Query) -> Option<String> {
    let (old, new) = (old.schema(), new.schema());
    let gone =
        |name: &&String| old.field_with_name(name).is_ok() && new.field_with_name(name).is_err();
    demand.needs.iter().find(gone).cloned()
}

fn of(project: &Project, node: &NodeId) -> Result<Vec<Demand>> {
    let mut found = Vec::new();
    let mut add = |what: &str, sql: String, needs: BTreeSet<String>| {
        found.push(Demand { what: what.to_owned(), sql, values: Parameters::new(), needs });
    };
    match node.kind {
        NodeKind::Semantic => return semantic(project, &node.name),
        NodeKind::Metric => {
            let query = MetricQuery { metrics: vec![node.name.clone()], ..MetricQuery::default() };
            // One that adds up over time is only asked by time.
            let by_time = MetricQuery { by: vec!["month".to_owned()], ..query.clone() };
            let compiled =
                compile_metrics(project, &query).or_else(|_| compile_metrics(project, &by_time))?;
            add("it cannot be computed", compiled.sql, BTreeSet::new());
        }
        NodeKind::Query => {
            let Some(query) = project.queries.get(&node.name) else { return Ok(found) };
            let (what, needs) = ("sql".to_owned(), BTreeSet::new());
            let (sql, values) = (published_sql(project, query)?, published_plan(query)?);
            found.push(Demand { what, sql, values, needs });
        }
        NodeKind::Learner => {
            let Some(learner) = project.learners.get(&node.name) else { return Ok(found) };
            for (key, text) in learner.kind()?.queries() {
                add(key, names::render_text(project, text)?, BTreeSet::new());
            }
        }
        NodeKind::Policy => {
            let Some(policy) = project.policies.get(&node.name) else { return Ok(found) };
            let policy = &policy.value;
            add("audience", names::render_text(project, &policy.audience)?, filled_in(policy));
            if let Some(events) = policy.outcome.as_ref().and_then(|one| one.events.as_ref()) {
                let sql = names::render_text(project, events)?;
                add("outcome.events", sql, BTreeSet::new());
            }
            if let Some(Consent::Sql(text)) = &policy.consent {
                let needs = BTreeSet::from(["unit_id".to_owned()]);
                add("consent", names::render_text(project, text)?, needs);
            }
            if let Some(text) = &policy.stock {
                add("stock", names::render_text(project, text)?, BTreeSet::new());
            }
            if let Choose::Experiment(experiment) = &policy.choose {
                for (key, text) in experiment.queries() {
                    add(&key, names::render_text(project, text)?, BTreeSet::new());
                }
                for guardrail in &experiment.guardrails {
                    let sql = names::render_text(project, &guardrail.events)?;
                    add(&format!("guardrail {}", guardrail.name), sql, BTreeSet::new());
                }
            }
        }
        NodeKind::Quality => {
            let Some(quality) = project.qualities.get(&node.name) else { return Ok(found) };
            let Some(table) = project.quality_tables.get(&node.name) else { return Ok(found) };
            let table = quoted_table(&names::relation(project, table));
            let checks = quality.checks.iter();
            let columns: BTreeSet<&String> =
                checks.filter_map(|check| check.column.as_ref()).collect();
            for column in columns {
                let sql = format!("SELECT {} FROM {table}", quoted(column));
                add("a check", sql, BTreeSet::new());
            }
        }
        _ => {}
    }
    Ok(found)
}

/// The keys, dimensions and measures of a semantic view, each as a query, so that each is told by name.
fn semantic(project: &Project, name: &str) -> Result<Vec<Demand>> {
    let (Some(view), Some(table)) =
        (project.semantics.get(name), project.semantic_tables.get(name))
    else {
        return Ok(Vec::new());
    };
    let table = quoted_table(&names::relation(project, table));
    let mut texts: Vec<(String, String)> = Vec::new();
    for (entity, key) in &view.entities {
        let columns: Vec<String> = key.columns(entity).iter().map(|one| quoted(one)).collect();
        texts.push((format!("entity {entity}"), columns.join(", ")));
    }
    for (dimension, one) in &view.dimensions {
        let text = one.expression.clone().unwrap_or_else(|| quoted(dimension));
        texts.push((format!("dimension {dimension}"), text));
    }
    let select = |(what, text)| Demand {
        what,
        sql: format!("SELECT {text} FROM {table}"),
        values: Parameters::new(),
        needs: BTreeSet::new(),
    };
    Ok(texts.into_iter().map(select).collect())
}

/// Columns of the audience that a policy uses by name: the unit, and what its payload fills in.
fn filled_in(policy: &Policy) -> BTreeSet<String> {
    let texts = policy.payload.values().filter_map(serde_json::Value::as_str);
    let names = texts.filter_map(column_of);
    let consent = match &policy.consent {
        Some(Consent::Column(column)) => Some(column.as_str()),
        Some(Consent::Sql(_)) | None => None,
    };
    let zone = policy.quiet_hours.as_ref().and_then(|quiet| column_of(&quiet.zone));
    let cost = match policy.budget.as_ref().map(|budget| &budget.cost) {
        Some(Cost::Column(column)) => Some(column.as_str()),
        Some(Cost::Number(_)) | None => None,
    };
    let named = names.chain(["unit_id"]).chain(consent).chain(zone).chain(cost);
    named.map(str::to_owned).collect()
}
