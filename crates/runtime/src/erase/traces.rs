//! What the loop keeps of a person: decisions and what came of them, deliveries, rows that were set aside, events.
//!
//! A decision is not deleted: who got what with which probability must still count. Its unit becomes the erasure's token,
//! the same one in every table, and what was known of the person and sent to them is taken out.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Result, task};
use flywheel_connect::{Erasing, erase_journal};
use flywheel_decision::table::{SystemTable, TABLES};
use flywheel_project::resource::learner::LearnerKind;
use flywheel_project::resource::policy::Choose;
use flywheel_state::Blanked;
use flywheel_warehouse::{Catalog, Session, TableName};
use serde_json::{Map, Value};

use super::Holders;
use super::lake::{number, rows, system};
use super::meant::Meant;
use crate::rows::literal;
use crate::{Workspace, events, quality, quarantine};

/// Tables of the loop, beside the decisions, with a column `unit_id`.
const OF_UNITS: [&str; 5] = ["outcomes", "credits", "reported_outcomes", "exposures", "lift_sums"];
/// So many rows are named in one statement.
const NAMED_AT_ONCE: usize = 500;

/// Our own tables in the lake that may have rows about persons.
pub(super) fn own() -> impl Iterator<Item = &'static SystemTable> {
    TABLES.iter().chain([&quarantine::TABLE, &quality::TABLE])
}

/// A session over our own tables, as they are now.
fn session_of(workspace: &Workspace) -> Result<Session> {
    let mut catalog = Catalog::new();
    for table in own() {
        catalog.table(&TableName::new("system", table.name), table.location()?, None);
    }
    workspace.lake.session(catalog)
}

/// Whether a table of ours was made already: in a project that was only looked at none is.
async fn is_there(workspace: &Workspace, name: &str) -> Result<bool> {
    let Some(table) = own().find(|table| table.name == name) else { return Ok(false) };
    Ok(workspace.lake.head(&table.location()?).await?.is_some())
}

async fn edit(workspace: &Workspace, sql: &str) -> Result<u64> {
    let edited = Box::pin(session_of(workspace)?.edit(sql)?.run()).await?;
    Ok(edited.commit.rows_updated.max(edited.commit.rows_deleted))
}

/// The rows about the person, of policies that decide about such persons.
fn of_person(holders: &Holders, key: &str) -> String {
    let unit = format!("unit_id = {}", literal(key));
    if holders.others.is_empty() {
        return unit;
    }
    let others: Vec<String> = holders.others.iter().map(|policy| literal(policy)).collect();
    format!("{unit} and (policy is null or policy not in ({}))", others.join(", "))
}

/// How many rows each table of the loop has about the person; only those that have some.
pub(super) async fn units(
    workspace: &Workspace,
    holders: &Holders,
    key: &str,
) -> Result<Vec<(String, u64)>> {
    let session = session_of(workspace)?;
    let mut found = Vec::new();
    for table in ["decisions"].into_iter().chain(OF_UNITS) {
        if !is_there(workspace, table).await? {
            continue;
        }
        let condition = of_person(holders, key);
        let sql = format!("select count(*) from {} where {condition}", system(table));
        let count = number(&session, &sql).await?;
        if count > 0 {
            found.push((format!("system.{table}"), count));
        }
    }
    Ok(found)
}

/// Puts the token in the place of the key, and takes out what was known of the person; returns the changed rows by table.
pub(super) async fn replace_units(
    workspace: &Workspace,
    holders: &Holders,
    key: &str,
    token: &str,
) -> Result<Vec<(String, u64)>> {
    let condition = of_person(holders, key);
    let mut done = Vec::new();
    let mut note = |table: &str, count: u64| {
        if count > 0 {
            done.push((format!("system.{table}"), count));
        }
    };
    let decisions = system("decisions");
    let sql = format!("select decision_id, policy, features from {decisions} where {condition}");
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    let found = rows(&session_of(workspace)?, &sql).await?;
    for row in &found {
        let [Some(id), Some(policy), Some(features)] = row.as_slice() else { continue };
        let features = kept_features(features, &contexts(workspace, policy));
        if features != "{}" {
            kept.insert(id.clone(), features);
        }
    }
    if !found.is_empty() {
        let features = match kept.is_empty() {
            true => "'{}'".to_owned(),
            false => {
                let when = |(id, features): (&String, &String)| {
                    format!("when {} then {}", literal(id), literal(features))
                };
                let whens: Vec<String> = kept.iter().map(when).collect();
                format!("case decision_id {} else '{{}}' end", whens.join(" "))
            }
        };
        let sql = format!(
            "update {decisions} set unit_id = {}, features = {features}, features_digest = '', payload = cast(null as varchar) where {condition}",
            literal(token)
        );
        note("decisions", edit(workspace, &sql).await?);
    }
    for table in OF_UNITS {
        let name = system(table);
        let sql = format!("select count(*) from {name} where {condition}");
        if number(&session_of(workspace)?, &sql).await? > 0 {
            let sql = format!("update {name} set unit_id = {} where {condition}", literal(token));
            note(table, edit(workspace, &sql).await?);
        }
    }
    // Receivers may have answered with what they were sent.
    let answered = format!(
        "(receipt is not null or error is not null) and decision_id in (select decision_id from {decisions} where unit_id = {})",
        literal(token)
    );
    let actions = system("actions");
    let sql = format!("select count(*) from {actions} where {answered}");
    if number(&session_of(workspace)?, &sql).await? > 0 {
        let sql = format!(
            "update {actions} set receipt = cast(null as varchar), error = cast(null as varchar) where {answered}"
        );
        note("actions", edit(workspace, &sql).await?);
    }
    Ok(done)
}

/// The columns of a policy's audience that bandits learn from: without them its decisions would count no more.
fn contexts(workspace: &Workspace, policy: &str) -> BTreeSet<String> {
    let project = &workspace.project;
    let chosen = project.policies.get(policy).and_then(|declared| match &declared.choose {
        Choose::Bandit(bandit) => Some(bandit.learner.clone()),
        _ => None,
    });
    let mut columns = BTreeSet::new();
    for (name, learner) in &project.learners {
        let Ok(LearnerKind::Bandit(bandit)) = learner.kind() else { continue };
        if bandit.policy == policy || chosen.as_ref() == Some(name) {
            columns.extend(bandit.context.iter().map(|feature| feature.column.clone()));
        }
    }
    columns
}

/// What is kept of the features of a decision: the columns of `contexts`.
fn kept_features(features: &str, contexts: &BTreeSet<String>) -> String {
    let columns: Map<String, Value> = match serde_json::from_str(features) {
        Ok(Value::Object(columns)) => {
            columns.into_iter().filter(|(name, _)| contexts.contains(name)).collect()
        }
        _ => Map::new(),
    };
    Value::Object(columns).to_string()
}

/// Takes out what deliveries and approvals hold of a person whose decisions have the token already.
pub(super) async fn blank_deliveries(
    workspace: &Workspace,
    holders: &Holders,
    key: &str,
    token: &str,
) -> Result<Blanked> {
    let decisions = system("decisions");
    let sql = format!("select decision_id from {decisions} where unit_id = {}", literal(token));
    let ids = rows(&session_of(workspace)?, &sql).await?;
    let ids: Vec<String> = ids.into_iter().flatten().flatten().collect();
    let others: Vec<String> = holders.others.iter().cloned().collect();
    workspace.store.blank_deliveries(&ids, (key, token), &others, workspace.now())
}

/// The rows of the quarantine that are about the person, by their ids.
pub(super) async fn set_aside(workspace: &Workspace, meant: &Meant) -> Result<Vec<String>> {
    if !is_there(workspace, "quarantine").await? {
        return Ok(Vec::new());
    }
    let key = literal(meant.key());
    let name = system("quarantine");
    let sql = format!(
        "select quarantine_id, sync, stream, raw, edited, reason from {name}
         where strpos(raw, {key}) > 0 or strpos(edited, {key}) > 0 or strpos(reason, {key}) > 0"
    );
    let keys = &workspace.project.file.erasure.keys;
    let mut found = Vec::new();
    for row in rows(&session_of(workspace)?, &sql).await? {
        let [Some(id), sync, stream, raw, edited, reason] = row.as_slice() else { continue };
        let sync = sync.as_deref().and_then(|sync| workspace.project.syncs.get(sync));
        let stream = sync.and_then(|sync| {
            sync.streams.iter().find(|one| Some(one.stream.as_str()) == stream.as_deref())
        });
        let holds_keys = stream.is_some_and(|stream| keys.contains_key(&stream.table()));
        let raw = raw.as_deref().unwrap_or_default();
        let in_raw = if holds_keys { meant.in_row(raw) } else { meant.in_text(raw) };
        if in_raw || [edited, reason].into_iter().flatten().any(|text| meant.in_text(text)) {
            found.push(id.clone());
        }
    }
    Ok(found)
}

/// Deletes rows of the quarantine.
pub(super) async fn delete_set_aside(workspace: &Workspace, ids: &[String]) -> Result<u64> {
    let mut gone = 0;
    for some in ids.chunks(NAMED_AT_ONCE) {
        let some: Vec<String> = some.iter().map(|id| literal(id)).collect();
        let name = system("quarantine");
        let sql = format!("delete from {name} where quarantine_id in ({})", some.join(", "));
        gone += edit(workspace, &sql).await?;
    }
    Ok(gone)
}

/// The results of quality checks whose sample of failing rows shows the person, by their ids.
pub(super) async fn samples(workspace: &Workspace, meant: &Meant) -> Result<Vec<String>> {
    if !is_there(workspace, "quality_results").await? {
        return Ok(Vec::new());
    }
    let (name, key) = (system("quality_results"), literal(meant.key()));
    let sql = format!("select result_id, sample from {name} where strpos(sample, {key}) > 0");
    let mut found = Vec::new();
    for row in rows(&session_of(workspace)?, &sql).await? {
        let [Some(id), Some(sample)] = row.as_slice() else { continue };
        if meant.in_text(sample) {
            found.push(id.clone());
        }
    }
    Ok(found)
}

/// Takes samples out of results of quality checks.
pub(super) async fn blank_samples(workspace: &Workspace, ids: &[String]) -> Result<u64> {
    let mut gone = 0;
    for some in ids.chunks(NAMED_AT_ONCE) {
        let some: Vec<String> = some.iter().map(|id| literal(id)).collect();
        let name = system("quality_results");
        let sql = format!(
            "update {name} set sample = cast(null as varchar) where result_id in ({})",
            some.join(", ")
        );
        gone += edit(workspace, &sql).await?;
    }
    Ok(gone)
}

/// Counts or blanks the events that are about the person, by topic.
pub(super) async fn messages(
    workspace: &Workspace,
    meant: &Meant,
    erasing: Erasing,
) -> Result<Vec<(String, u64)>> {
    let (dir, meant) = (workspace.dir().to_owned(), meant.clone());
    let journals = events::journals(workspace)?;
    task::compute(move || {
        let mut found = Vec::new();
        for journal in journals {
            found.extend(erase_journal(&journal, &dir, &|part| meant.in_bytes(part), erasing)?);
        }
        Ok(found)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_was_known_only_what_is_learned_from_stays() {
        let contexts = BTreeSet::from(["age".to_owned()]);
        let features = "{\"age\":41,\"mail\":\"ann@example.org\"}";
        assert_eq!(kept_features(features, &contexts), "{\"age\":41}");
        assert_eq!(kept_features(features, &BTreeSet::new()), "{}");
        assert_eq!(kept_features("no object", &contexts), "{}");
    }

    #[test]
    fn units_of_other_policies_that_are_called_alike_stay() {
        let mut holders = Holders::default();
        assert_eq!(of_person(&holders, "o'17"), "unit_id = 'o''17'");
        holders.others.insert("reorder".to_owned());
        let condition = of_person(&holders, "17");
        assert_eq!(condition, "unit_id = '17' and (policy is null or policy not in ('reorder'))");
    }
}
