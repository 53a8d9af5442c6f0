//! What the conditions of alerts find.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, Timestamp, statement};
use flywheel_decision::lift;
use flywheel_project::resource::alert::{ALL, Alert, AlertWhen, PolicyFault, names};
use flywheel_state::{Found, Looked, Move, OutboxStatus};
use flywheel_transform::{MetricQuery, compile_metrics};

use super::unseen;
use crate::access::Reading;
use crate::quality::{self, rows_of};
use crate::status::{self, Rows};
use crate::system::{self, tables};
use crate::{Workspace, dashboard, lag, lake_source};

/// How the reason begins for which a policy paused itself.
const GUARDRAIL: &str = "guardrail";
/// How long something that happened is news, in microseconds of the logical clock.
const NEWS_US: i64 = 86_400_000_000;
/// How many deliveries that were given up are counted.
const DEAD_MAX: u32 = 10_000;
/// The table of learners that got worse, if the program has it.
const DRIFT: &str = "drift";

/// Looks at the condition of an alert.
pub(super) async fn look(workspace: &Workspace, alert: &Alert) -> Result<Looked> {
    let when = &alert.when;
    let mut looked = Looked { found: Vec::new(), complete: true };
    let found = &mut looked.found;
    if !when.policies.is_empty() {
        policies(workspace, when, found).await?;
    }
    if !when.quality.is_empty() {
        promises(workspace, when, found).await?;
    }
    if !when.models.is_empty() {
        models(workspace, when, found)?;
    }
    if !when.freshness.is_empty() {
        freshness(workspace, when, found).await?;
    }
    if !when.deliveries.is_empty() {
        deliveries(workspace, when, found)?;
    }
    if !when.drift.is_empty() {
        drift(workspace, when, found).await?;
    }
    if let Some(metric) = &when.metric {
        bound(workspace, when, metric, found).await?;
    }
    if let Some(sql) = &when.query {
        query(workspace, sql, found).await?;
    }
    if !when.lag.is_empty() {
        syncs(workspace, when, &mut looked).await?;
    }
    Ok(looked)
}

fn fault(subject: impl Into<String>, text: impl Into<String>) -> Found {
    Found { subject: subject.into(), text: text.into(), passing: false }
}

fn event(subject: impl Into<String>, text: impl Into<String>) -> Found {
    Found { passing: true, ..fault(subject, text) }
}

async fn policies(workspace: &Workspace, when: &AlertWhen, found: &mut Vec<Found>) -> Result<()> {
    let on = |fault: PolicyFault| when.on.is_empty() || when.on.contains(&fault);
    let all = workspace.project.policies.keys();
    let watched: Vec<&String> = all.filter(|name| names(&when.policies, name)).collect();
    if on(PolicyFault::Paused) {
        for name in &watched {
            let state = workspace.store.policy(name)?;
            let reason = state.reason.filter(|why| state.paused && why.starts_with(GUARDRAIL));
            if let Some(reason) = reason {
                let text = format!("Policy \"{name}\" paused itself: {reason}.");
                found.push(fault(format!("policy {name} is paused"), text));
            }
        }
    }
    if on(PolicyFault::RolledBack) {
        let since = workspace.now().plus_micros(-NEWS_US);
        for name in &watched {
            taken_back(workspace, name, since, found)?;
        }
    }
    if on(PolicyFault::SplitBroken) {
        let sql = "select policy, split_p from (select policy, split_p, row_number() over (partition by policy \
                   order by at desc) as place from system.lift) as ranked where place = 1 and split_p is not null \
                   order by policy";
        let rows = Rows::query(workspace, sql).await?;
        for row in 0..rows.len() {
            let (Some(name), Some(p)) = (rows.text(row, 0)?, rows.number(row, 1)?) else {
                continue;
            };
            // The split of all policies concerns whoever watches any; without their holdout it is one of before.
            let is_watched = match name.as_str() {
                lift::ALL => !watched.is_empty() && workspace.project.file.holdout.is_some(),
                _ => watched.contains(&&name),
            };
            if let Some(text) = lift::split_broken(&name, p).filter(|_| is_watched) {
                let subject = match name.as_str() {
                    lift::ALL => "the split of all policies is broken".to_owned(),
                    name => format!("the split of policy {name} is broken"),
                };
                found.push(fault(subject, text));
            }
        }
    }
    Ok(())
}

/// Challengers and promotions of a policy that were taken back since `since`.
fn taken_back(
    workspace: &Workspace,
    name: &str,
    since: Timestamp,
    found: &mut Vec<Found>,
) -> Result<()> {
    let moves = workspace.store.canaries_of(name)?;
    for one in moves.iter().filter(|one| one.kind == Move::RolledBack && one.at >= since) {
        let subject = format!("policy {name}: canary {} was taken back", one.canary);
        found.push(event(
            subject,
            format!("{} Who decided before decides again.", told(&one.reason)),
        ));
    }
    let changes = workspace.store.promotions_of(name)?;
    for one in changes.iter().filter(|one| one.at >= since) {
        if let Some(undone) = one.undoes {
            let subject = format!("policy {name}: promotion {undone} was taken back");
            found.push(event(subject, told(&one.reason)));
        }
    }
    Ok(())
}

/// A reason as a sentence.
fn told(reason: &str) -> String {
    format!("Because: {}.", reason.trim_end_matches('.'))
}

async fn promises(workspace: &Workspace, when: &AlertWhen, found: &mut Vec<Found>) -> Result<()> {
    let all = Box::pin(quality::last(workspace, &quality::Options::default())).await?;
    for one in all.iter().filter(|one| names(&when.quality, &one.quality)) {
        let verdict = one.verdict.as_deref().unwrap_or_default();
        if !matches!(verdict, "warned" | "failed" | "broken") {
            continue;
        }
        let text = match verdict {
            "broken" => {
                format!("What {} promises could not be looked at: {}.", one.dataset, one.promised)
            }
            _ => {
                format!("{} is not as promised: {} ({}).", one.dataset, one.promised, one.severity)
            }
        };
        found.push(fault(format!("promise {}/{}", one.quality, one.check), text));
    }
    Ok(())
}

fn models(workspace: &Workspace, when: &AlertWhen, found: &mut Vec<Found>) -> Result<()> {
    for name in status::blocked(workspace)? {
        let model = workspace.project.models.get(&name);
        let relation = model.map_or_else(|| name.clone(), flywheel_project::Model::relation);
        if names(&when.models, &relation) || names(&when.models, &name) {
            let text = "Its newest rows failed a test or a promise; readers keep those before.";
            found.push(fault(format!("table {relation} is held back"), text));
        }
    }
    Ok(())
}

async fn freshness(workspace: &Workspace, when: &AlertWhen, found: &mut Vec<Found>) -> Result<()> {
    let Some(limit) = when.longer_than else { return Ok(()) };
    let seen = tables::seen(workspace).await?;
    let oldest = workspace.now().plus_micros(-limit.micros);
    let all = when.freshness.iter().any(|one| one == ALL);
    let landed = seen.iter().filter(|(_, one)| all && one.kind == "landed").map(|(name, _)| name);
    let named = when.freshness.iter().filter(|one| *one != ALL);
    let mut tables: Vec<&String> = landed.chain(named).collect();
    tables.sort();
    tables.dedup();
    for table in tables {
        let subject = format!("table {table} is old");
        match seen.get(table) {
            None => found.push(fault(subject, "It is not there yet.")),
            Some(one) => {
                if let Some(state) = one.state.as_ref().filter(|state| state.committed_at < oldest)
                {
                    let text = format!("Nothing came into it since {}.", state.committed_at);
                    found.push(fault(subject, text));
                }
            }
        }
    }
    Ok(())
}

fn deliveries(workspace: &Workspace, when: &AlertWhen, found: &mut Vec<Found>) -> Result<()> {
    let mut dead: BTreeMap<String, u64> = BTreeMap::new();
    for one in workspace.store.outbox(Some(OutboxStatus::Dead), None, DEAD_MAX)? {
        if names(&when.deliveries, &one.action) {
            *dead.entry(one.action).or_default() += 1;
        }
    }
    for (action, count) in dead {
        let text = format!(
            "{count} deliveries by action \"{action}\" were given up; system.outbox says why."
        );
        found.push(fault(format!("deliveries by {action}"), text));
    }
    Ok(())
}

async fn drift(workspace: &Workspace, when: &AlertWhen, found: &mut Vec<Found>) -> Result<()> {
    if !system::SYSTEM_TABLES.iter().any(|table| table.name == DRIFT) {
        return Ok(());
    }
    let since = workspace.now().plus_micros(-NEWS_US);
    let sql = format!(
        "select learner, measure, reason from system.{DRIFT} where at >= to_timestamp_micros({}) order by learner, measure",
        since.micros()
    );
    let session = workspace.session_for(&sql, &Reading::Owner).await?;
    for row in rows_of(&session.query(&sql).await?.collect().await?)? {
        let text = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        let (learner, measure) = (text(0), text(1));
        if names(&when.drift, &learner) {
            found.push(event(format!("learner {learner}: {measure} got worse"), told(&text(2))));
        }
    }
    Ok(())
}

/// Whether a metric lies beyond its bounds.
async fn bound(
    workspace: &Workspace,
    when: &AlertWhen,
    metric: &str,
    found: &mut Vec<Found>,
) -> Result<()> {
    let today = Timestamp::from_day(dashboard::as_of(workspace)?.day());
    let question = MetricQuery {
        metrics: vec![metric.to_owned()],
        filter: when.filter.clone(),
        from: when.days.map(|days| today.plus_days(-i64::from(days)).date()),
        to: when.days.map(|_| today.date()),
        ..MetricQuery::default()
    };
    let compiled = compile_metrics(&workspace.project, &question)?;
    let place = compiled.columns.iter().position(|column| column.metric.is_some());
    let session = workspace.session_for(&compiled.sql, &Reading::Owner).await?;
    let rows = rows_of(&session.query(&compiled.sql).await?.collect().await?)?;
    let cell = rows.first().and_then(|row| row.get(place.unwrap_or_default())?.as_deref());
    let value: Option<f64> = match cell {
        Some(text) => Some(text.parse::<f64>().map_err(|error| {
            Error::invalid(format!("metric \"{metric}\" is no number")).caused_by(error)
        })?),
        None => None,
    };
    found.extend(crossed(metric, value, when.below, when.above));
    Ok(())
}

/// The bound that a metric crosses; what has no value is below every bound that it must not be below.
fn crossed(
    metric: &str,
    value: Option<f64>,
    below: Option<f64>,
    above: Option<f64>,
) -> Option<Found> {
    match (value, below, above) {
        (Some(value), Some(bound), _) if value < bound => {
            let text = format!("Metric \"{metric}\" is {value}, below {bound}.");
            Some(fault(format!("{metric} is below {bound}"), text))
        }
        (Some(value), _, Some(bound)) if value > bound => {
            let text = format!("Metric \"{metric}\" is {value}, above {bound}.");
            Some(fault(format!("{metric} is above {bound}"), text))
        }
        (None, Some(bound), _) => {
            let text = format!("Metric \"{metric}\" has no value: no row counts.");
            Some(fault(format!("{metric} is below {bound}"), text))
        }
        _ => None,
    }
}

/// Whether a query has rows; what is in them stays here.
async fn query(workspace: &Workspace, sql: &str, found: &mut Vec<Found>) -> Result<()> {
    let sql = workspace.expanded(&lake_source::render(workspace, sql)?)?;
    let sql = format!("select count(*) from (\n{}\n) as found", statement::bare(&sql));
    let session = workspace.session_for(&sql, &Reading::Owner).await?;
    let rows = rows_of(&session.query(&sql).await?.collect().await?)?;
    let count = rows.first().and_then(|row| row.first().cloned().flatten());
    let count = count.ok_or_else(|| Error::internal("counted rows are no number"))?;
    if count != "0" {
        found.push(fault("the query has rows", format!("Its query returns {count} rows.")));
    }
    Ok(())
}

async fn syncs(workspace: &Workspace, when: &AlertWhen, looked: &mut Looked) -> Result<()> {
    if let Some(limit) = when.longer_than {
        let oldest = workspace.machine.now().plus_micros(-limit.micros);
        let all = lag::last_successes(workspace)?;
        for one in all.iter().filter(|one| names(&when.lag, &one.sync)) {
            let text = match one.at {
                Some(at) if at >= oldest => continue,
                Some(at) => format!("It has not come to its end since {at}."),
                None => "It has never come to its end.".to_owned(),
            };
            looked.found.push(fault(format!("sync {} is late", one.stream), text));
        }
    }
    let Some(most) = when.more_than else { return Ok(()) };
    let all = when.lag.iter().any(|one| one == ALL);
    let asked = if all { Vec::new() } else { when.lag.clone() };
    let mut silent = Vec::new();
    for one in Box::pin(lag::lag(workspace, &asked)).await? {
        if let Some(error) = &one.error {
            silent.push(format!("{}: {error}", one.name));
        } else if let Some(behind) = one.behind.filter(|behind| *behind > most) {
            let unit = one.unit.as_deref().unwrap_or_default();
            let text = format!("It is {behind} {unit} behind its source.");
            looked.found.push(fault(format!("sync {} is behind", one.name), text));
        }
    }
    if !silent.is_empty() {
        looked.found.push(unseen(&silent.join("; ")));
        looked.complete = false;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::crossed;

    #[test]
    fn a_metric_crosses_a_bound_or_none() {
        let subject = |value: Option<f64>, below: Option<f64>, above: Option<f64>| {
            crossed("revenue", value, below, above).map(|found| found.subject)
        };
        for (value, below, above, expected) in [
            (Some(9.5), Some(10.0), None, Some("revenue is below 10")),
            (Some(10.0), Some(10.0), None, None),
            (Some(20.5), Some(10.0), Some(20.0), Some("revenue is above 20")),
            (Some(15.0), Some(10.0), Some(20.0), None),
            (None, Some(10.0), None, Some("revenue is below 10")),
            (None, None, Some(10.0), None),
        ] {
            assert_eq!(subject(value, below, above).as_deref(), expected, "{value:?}");
        }
    }
}
