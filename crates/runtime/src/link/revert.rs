//! Taking back what a run wrote.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use flywheel_reconcile::record::{Record, Side};
use flywheel_reconcile::three_way::{AuditRow, revert as taken_back};
use flywheel_state::{LinkAudit, LinkChanges};
use serde::Serialize;

use super::side;
use super::work::Work;
use super::write::Became;
use crate::Workspace;

/// What was taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reverted {
    /// Records that have their old values again.
    pub records: u64,
    /// Fields that were changed again since and are left alone, with their record.
    pub changed_since: Vec<String>,
    /// Records that are gone, or that their system would not take.
    pub not_reverted: Vec<String>,
}

/// Gives the records that the run `run_id` of a link changed their values back, where they still have
/// what was written. What both sides agreed on in these fields is forgotten, so that the next run asks
/// the fields' rules; a record that the run created stays.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if the run wrote nothing, else those of the systems.
pub async fn revert(workspace: &Workspace, name: &str, run_id: &str) -> Result<Reverted> {
    let link = super::declared(workspace, name)?;
    let audit = workspace.store.link_audit(Some(name))?;
    let audit: Vec<LinkAudit> = audit.into_iter().filter(|row| row.run_id == run_id).collect();
    if audit.is_empty() {
        return Err(Error::not_found(format!(
            "run \"{run_id}\" wrote nothing through link \"{name}\""
        ))
        .hint(
            "The runs are in system.link_audit: select distinct run_id, at from system.link_audit.",
        ));
    }
    let mut work = Box::pin(Work::read(workspace, run_id, name, link)).await?;
    let mut by_record: BTreeMap<(Side, String), Vec<AuditRow>> = BTreeMap::new();
    for row in &audit {
        let Some(side) = Side::BOTH.into_iter().find(|side| side.name() == row.side) else {
            continue;
        };
        by_record.entry((side, row.record.clone())).or_default().push(AuditRow {
            record: row.record.clone(),
            side,
            field: row.field.clone(),
            before: row.before.clone(),
            after: row.after.clone(),
            rule: row.rule.clone(),
        });
    }
    let mut reverted = Reverted::default();
    for ((side, key), rows) in by_record {
        let current = work.current(side, &key);
        let Some(current) = current else {
            reverted.not_reverted.push(format!("{} {key}: the record is gone", side.name()));
            continue;
        };
        let back = taken_back(&rows, side, &current);
        reverted.changed_since.extend(
            back.changed_since.iter().map(|field| format!("{} {key}: {field}", side.name())),
        );
        if back.writes.is_empty() {
            continue;
        }
        match work.write_back(side, &key, &back.writes).await? {
            Became::Written => reverted.records += 1,
            Became::Refused(reason) => {
                reverted.not_reverted.push(format!("{} {key}: {reason}", side.name()));
                continue;
            }
        }
        let tag = format!("revert/{run_id}/{key}");
        let audit = back.writes.iter().map(|(field, after)| LinkAudit {
            link: name.to_owned(),
            run_id: format!("revert of {run_id}"),
            at: workspace.now(),
            tag: tag.clone(),
            record: key.clone(),
            id: work.id_of(side, &key),
            side: side.name().to_owned(),
            field: field.clone(),
            before: current.get(field).cloned().unwrap_or_default(),
            after: after.clone(),
            rule: "revert".to_owned(),
        });
        let audit: Vec<LinkAudit> = audit.collect();
        let row = work.forget(&key, back.writes.keys())?;
        let changes =
            LinkChanges { rows: row.into_iter().collect(), audit, ..LinkChanges::default() };
        workspace.store.record_links(name, &changes)?;
    }
    Ok(reverted)
}

impl Work<'_> {
    fn id_of(&self, side: Side, key: &str) -> Option<String> {
        self.links.get(key)?.ids.of(side).clone()
    }

    /// The record of a link as a side has it, its references as keys.
    fn current(&self, side: Side, key: &str) -> Option<Record> {
        let id = self.id_of(side, key)?;
        let mut record = self.records.of(side).by_id.get(&id)?.record.clone();
        self.references.to_keys(side, &mut record);
        Some(record)
    }

    async fn write_back(&self, side: Side, key: &str, fields: &Record) -> Result<Became> {
        let declared = side::of(self.link, side);
        let Some(row) =
            self.links.get(key).and_then(|l| self.row(side, declared, key, l, fields, false))
        else {
            return Ok(Became::Refused("its id is not known".to_owned()));
        };
        let rows = [row];
        let target = self.target(side, &declared.id, "revert", &rows);
        let became = target.merge(&rows).await?.into_iter().next();
        Ok(became.unwrap_or(Became::Written))
    }

    fn forget<'f>(
        &mut self,
        key: &str,
        fields: impl Iterator<Item = &'f String>,
    ) -> Result<Option<flywheel_state::LinkRow>> {
        let Some(linked) = self.links.get_mut(key) else { return Ok(None) };
        fields.for_each(|field| linked.state.forget(field));
        linked.changed_row(key)
    }
}
