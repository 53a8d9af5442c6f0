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

/// Adds the metadata's tables to what readers see. Those of the catalogue are made of everything there is, so that only
/// a query whose text has their name pays for them; without a text all are added.
pub(crate) async fn add(
    workspace: &Workspace,
    catalog: &mut Catalog,
    sql: Option<&str>,
) -> Result<()> {
    let sql = sql.map(str::to_lowercase);
    let asked = |table: &SystemTable| sql.as_ref().is_none_or(|sql| sql.contains(table.name));
    if asked(&assets::TABLE) || asked(&asset_columns::TABLE) {
        let all = Box::pin(collect(workspace)).await?;
        add_rows(catalog, &assets::TABLE, &assets::rows(&all))?;
        add_rows(catalog, &asset_columns::TABLE, &asset_columns::rows(&all))?;
    }
    if asked(&profiles::TABLE) {
        add_rows(catalog, &profiles::TABLE, &profiles::rows(workspace)?)?;
    }
    if asked(&health_history::TABLE) {
        add_rows(catalog, &health_history::TABLE, &health_history::rows(workspace)?)?;
    }
    if asked(&reads::TABLE) {
        add_rows(catalog, &reads::TABLE, &reads::rows(workspace)?)?;
    }
    if asked(&savings::TABLE) {
        add_rows(catalog, &savings::TABLE, &Box::pin(savings::rows(workspace)).await?)?;
    }
    if asked(&schedule_runs::TABLE) {
        add_rows(catalog, &schedule_runs::TABLE, &schedule_runs::rows(workspace)?)?;
    }
    if asked(&followed_syncs::TABLE) {
        add_rows(catalog, &followed_syncs::TABLE, &followed_syncs::rows(workspace)?)?;
    }
    if asked(&alerts::TABLE) {
        add_rows(catalog, &alerts::TABLE, &alerts::rows(workspace)?)?;
    }
    if asked(&run_logs::TABLE) {
        add_rows(catalog, &run_logs::TABLE, &run_logs::rows(workspace)?)?;
    }
    if asked(&errors::TABLE) {
        add_rows(catalog, &errors::TABLE, &errors::rows(workspace)?)?;
    }
    // Their name is a common word, and their rows are read from the journal's files: only those who ask pay.
    let plain = |sql: &String| sql.replace(|c: char| c.is_whitespace() || c == '"', "");
    let asked = sql.as_ref().is_some_and(|sql| plain(sql).contains("system.events"));
    let events = if asked { events::rows(workspace)? } else { Vec::new() };
    add_rows(catalog, &events::TABLE, &events)?;
    // Whoever may not audit does not have it: `Reading::limit` takes it away.
    let asked = sql.as_ref().is_some_and(|sql| plain(sql).contains("system.audit"));
    let audit = if asked { audit::rows(workspace)? } else { Vec::new() };
    add_rows(catalog, &audit::TABLE, &audit)?;
    // Whoever may not operate does not have it, in the same way.
    add_rows(catalog, &databases::TABLE, &databases::rows(workspace)?)?;
    // Whoever may not audit does not have it either.
    add_rows(catalog, &erasures::TABLE, &erasures::rows(workspace)?)?;
    add_rows(catalog, &runs::TABLE, &runs::rows(workspace)?)?;
    add_rows(catalog, &tasks::TABLE, &tasks::rows(workspace)?)?;
    add_rows(catalog, &tables::TABLE, &tables::rows(workspace).await?)?;
    add_rows(catalog, &environments::TABLE, &environments::rows(workspace)?)?;
    add_rows(catalog, &intervals::TABLE, &intervals::rows(workspace)?)?;
    add_rows(catalog, &artifacts::TABLE, &artifacts::rows(workspace)?)?;
    add_rows(catalog, &outbox::TABLE, &outbox::rows(workspace)?)?;
    add_rows(catalog, &approvals::TABLE, &approvals::rows(workspace)?)?;
    add_rows(catalog, &promotions::TABLE, &promotions::rows(workspace)?)?;
    add_rows(catalog, &canaries::TABLE, &canaries::rows(workspace)?)?;
    add_rows(catalog, &drift::TABLE, &drift::rows(workspace)?)?;
    add_rows(catalog, &link_audit::TABLE, &link_audit::rows(workspace)?)?;
    add_rows(catalog, &link_questions::TABLE, &link_questions::rows(workspace)?)
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
