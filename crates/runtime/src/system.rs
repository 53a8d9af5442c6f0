//! `system.*` tables that come from the metadata; the others lie in the lake.
//!
//! A new one is a file in `system/` and a line in [`SYSTEM_TABLES`].

mod alerts;
mod approvals;
mod artifacts;
mod asset_columns;
mod assets;
pub(crate) mod audit;
mod canaries;
pub(crate) mod databases;
mod drift;
mod environments;
pub(crate) mod erasures;
mod errors;
mod events;
mod followed_syncs;
mod health_history;
mod intervals;
mod link_audit;
mod link_questions;
mod outbox;
mod profiles;
mod promotions;
mod reads;
mod run_logs;
mod runs;
mod savings;
mod schedule_runs;
pub(crate) mod tables;
mod tasks;

use flywheel_base::Result;
use flywheel_decision::table::{SystemTable, TABLES};
use flywheel_warehouse::{Catalog, TableName};
use serde::Serialize;

use crate::access::Reading;
use crate::catalogue::collect;
use crate::openlineage::foreign;
use crate::{Workspace, quality, quarantine};

/// The tables made from the metadata when they are asked for.
pub const SYSTEM_TABLES: &[SystemTable] = &[
    runs::TABLE,
    tasks::TABLE,
    tables::TABLE,
    environments::TABLE,
    intervals::TABLE,
    artifacts::TABLE,
    outbox::TABLE,
    approvals::TABLE,
    promotions::TABLE,
    canaries::TABLE,
    drift::TABLE,
    link_audit::TABLE,
    link_questions::TABLE,
    assets::TABLE,
    asset_columns::TABLE,
    health_history::TABLE,
    profiles::TABLE,
    reads::TABLE,
    savings::TABLE,
    schedule_runs::TABLE,
    followed_syncs::TABLE,
    alerts::TABLE,
    run_logs::TABLE,
    errors::TABLE,
    audit::TABLE,
    databases::TABLE,
    erasures::TABLE,
    events::TABLE,
];

/// How many runs `system.runs` and `system.tasks` show.
const RUNS_MAX: u32 = 10_000;

/// Every system table, those of the lake included, in the order people look for them.
pub fn all() -> impl Iterator<Item = &'static SystemTable> {
    let ours = [&quarantine::TABLE, &quality::TABLE, &foreign::TABLE];
    SYSTEM_TABLES.iter().chain(ours).chain(TABLES)
}

/// Every system table that is there for a reader: without the audit log and erasures for who may not read the former, and
/// without how databases do for who may not operate.
pub fn seen_by(reading: &Reading) -> impl Iterator<Item = &'static SystemTable> {
    let (audits, operates) = (reading.audits(), reading.operates());
    all().filter(move |table| {
        (audits || ![audit::NAME, erasures::NAME].contains(&table.name))
            && (operates || table.name != databases::NAME)
    })
}

/// Adds the metadata's tables to what readers see. They are made of all that ever ran, so that only those have rows whose
/// name is in the text of a query; without a text all have, but for the two whose name is a common word.
pub(crate) async fn add(
    workspace: &Workspace,
    catalog: &mut Catalog,
    sql: Option<&str>,
) -> Result<()> {
    add_columns(catalog)?;
    let sql = sql.map(str::to_lowercase);
    let asked = |table: &SystemTable| sql.as_ref().is_none_or(|sql| sql.contains(table.name));
    if asked(&assets::TABLE) || asked(&asset_columns::TABLE) {
        let all = Box::pin(collect(workspace)).await?;
        add_rows(catalog, &assets::TABLE, &assets::rows(&all))?;
        add_rows(catalog, &asset_columns::TABLE, &asset_columns::rows(&all))?;
    }
    if asked(&savings::TABLE) {
        add_rows(catalog, &savings::TABLE, &Box::pin(savings::rows(workspace)).await?)?;
    }
    if asked(&tables::TABLE) {
        add_rows(catalog, &tables::TABLE, &tables::rows(workspace).await?)?;
    }
    // Their rows are read from the journal's files, and from the audit log, which `Reading::limit` takes away from whoever may
    // not audit.
    let plain = |sql: &String| sql.replace(|c: char| c.is_whitespace() || c == '"', "");
    let named = |name: &str| sql.as_ref().is_some_and(|sql| plain(sql).contains(name));
    if named("system.events") {
        add_rows(catalog, &events::TABLE, &events::rows(workspace)?)?;
    }
    if named("system.audit") {
        add_rows(catalog, &audit::TABLE, &audit::rows(workspace)?)?;
    }
    for table in SYSTEM_TABLES.iter().filter(|table| asked(table)) {
        add_made(workspace, catalog, table)?;
    }
    Ok(())
}

/// Adds the rows of a table that are made of the metadata alone.
fn add_made(workspace: &Workspace, catalog: &mut Catalog, table: &SystemTable) -> Result<()> {
    macro_rules! made {
        ($($module:ident),+ $(,)?) => {
            $(if table.name == $module::TABLE.name {
                return add_rows(catalog, table, &$module::rows(workspace)?);
            })+
        };
    }
    // Whoever may not operate does not have `databases`, and whoever may not audit not `erasures`: `Reading::limit` takes them
    // away.
    made!(
        runs,
        tasks,
        environments,
        intervals,
        artifacts,
        outbox,
        approvals,
        promotions,
        canaries,
        drift,
        link_audit,
        link_questions,
        health_history,
        profiles,
        reads,
        schedule_runs,
        followed_syncs,
        alerts,
        run_logs,
        errors,
        databases,
        erasures,
    );
    Ok(())
}

/// As [`add`], for whoever asks what columns there are: no table has rows, and none are made.
pub(crate) fn add_columns(catalog: &mut Catalog) -> Result<()> {
    for table in SYSTEM_TABLES {
        let name = TableName::parse(&format!("system.{}", table.name))?;
        catalog.memory(&name, table.schema(), Vec::new());
    }
    Ok(())
}

fn add_rows<R: Serialize>(catalog: &mut Catalog, table: &SystemTable, rows: &[R]) -> Result<()> {
    let name = TableName::parse(&format!("system.{}", table.name))?;
    catalog.memory(&name, table.schema(), vec![table.batch(rows)?]);
    Ok(())
}
