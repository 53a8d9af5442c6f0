//! The state of one run: what was read, what is linked, and what shall be done.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result, digest};
use flywheel_project::resource::link::Link;
use flywheel_reconcile::deletes::{self, DeleteAction, Deletion, SideTotals};
use flywheel_reconcile::echo::{Effect, Input, Link as LinkState, Write};
use flywheel_reconcile::record::{Pair, Side};
use flywheel_reconcile::three_way::{Answers, AuditRow, Conflict, MergeRules, Merger, Observed};
use flywheel_state::{LinkAudit, LinkQuestion, LinkRow};
use serde_json::{Value, json};

use super::LinkReport;
use super::expression::Sql;
use super::references::References;
use super::rules;
use super::side::{self, Records};
use crate::Workspace;

/// One run of one link.
pub(super) struct Work<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) run_id: &'a str,
    pub(super) name: &'a str,
    pub(super) link: &'a Link,
    pub(super) rules: MergeRules,
    pub(super) references: References,
    pub(super) records: Pair<Records>,
    /// The links, by key.
    pub(super) links: BTreeMap<String, Linked>,
    /// Records that this run recognised as the same as another one.
    pub(super) joined: BTreeSet<(Side, String)>,
    /// What people answered, by question.
    pub(super) answers: BTreeMap<String, Value>,
    /// The questions of this run.
    pub(super) questions: Vec<LinkQuestion>,
    pub(super) report: LinkReport,
}

/// One link.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) ids: Pair<Option<String>>,
    pub(super) cut: bool,
    pub(super) state: LinkState,
    /// As it is stored; nothing for a new one.
    stored: Option<LinkRow>,
}

impl Linked {
    /// Two records that were recognised as the same, or one that has no counterpart yet.
    pub(super) fn new(key: &str, ids: Pair<Option<String>>) -> Self {
        Self { ids, cut: false, state: LinkState::new(key), stored: None }
    }

    fn from(row: LinkRow) -> Result<Self> {
        let state = serde_json::from_value(row.state.clone()).map_err(|error| {
            Error::corrupt(format!("the state of link \"{}\" cannot be read", row.key))
                .caused_by(error)
        })?;
        let ids = Pair { left: row.left_id.clone(), right: row.right_id.clone() };
        Ok(Self { ids, cut: row.cut, state, stored: Some(row) })
    }

    /// Whether it was there before this run.
    pub(super) fn is_old(&self) -> bool {
        self.stored.is_some()
    }

    /// Its row, if it differs from the one that is stored.
    pub(super) fn changed_row(&mut self, key: &str) -> Result<Option<LinkRow>> {
        let state = serde_json::to_value(&self.state)
            .map_err(|error| Error::internal("a link is no JSON").caused_by(error))?;
        let row = LinkRow {
            key: key.to_owned(),
            left_id: self.ids.left.clone(),
            right_id: self.ids.right.clone(),
            cut: self.cut,
            state,
        };
        if self.stored.as_ref() == Some(&row) {
            return Ok(None);
        }
        self.stored = Some(row.clone());
        Ok(Some(row))
    }
}

/// What shall be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Writes, by side, with the key of the link.
    pub(super) writes: Pair<Vec<(String, Write)>>,
    pub(super) deletions: Vec<DeleteAction>,
    /// Links that neither side has any more.
    pub(super) closed: Vec<String>,
    /// Writes of an earlier run that turned out to be made.
    pub(super) audit: Vec<LinkAudit>,
    /// Why it may not be carried out.
    pub(super) refusal: Option<Error>,
}

impl<'a> Work<'a> {
    /// Reads both sides and what is linked.
    pub(super) async fn read(
        workspace: &'a Workspace,
        run_id: &'a str,
        name: &'a str,
        link: &'a Link,
    ) -> Result<Self> {
        let rules = rules::merge_rules(link);
        rules.check()?;
        let of = |side: Side| {
            let connection = &side::of(link, side).connection;
            move |error: Error| error.context(format!("{} side, {connection}", side.name()))
        };
        let left = side::read(workspace, link, Side::Left).await.map_err(of(Side::Left))?;
        let right = side::read(workspace, link, Side::Right).await.map_err(of(Side::Right))?;
        let rows = workspace.store.links(name)?;
        let links = rows.into_iter().map(|row| Ok((row.key.clone(), Linked::from(row)?)));
        let links = links.collect::<Result<BTreeMap<_, _>>>()?;
        let asked = workspace.store.link_questions(Some(name))?;
        let answers = asked.into_iter().filter_map(|q| Some((q.id, q.answer?))).collect();
        let report = LinkReport {
            link: name.to_owned(),
            records: Pair { left: left.by_id.len() as u64, right: right.by_id.len() as u64 },
            linked: links.values().filter(|linked| !linked.cut).count() as u64,
            ..LinkReport::default()
        };
        Ok(Self {
            workspace,
            run_id,
            name,
            link,
            rules,
            references: References::load(&workspace.store, link)?,
            records: Pair { left, right },
            links,
            joined: BTreeSet::new(),
            answers,
            questions: Vec::new(),
            report,
        })
    }

    /// Decides what shall be done; nothing is written or stored.
    pub(super) fn plan(&mut self, approval: Option<&str>) -> Result<Plan> {
        let mut plan = Plan::default();
        let mut gone = Vec::new();
        let (mut waiting, mut unknown) = (0_u64, 0_u64);
        let answers: Answers = self.answers.clone();
        let lake = self.workspace.lake.clone();
        let expressions = Sql { lake: &lake };
        let rules = self.rules.clone();
        let merger = Merger { rules: &rules, answers: &answers, expressions: &expressions };
        let mut links = std::mem::take(&mut self.links);
        for (key, linked) in links.iter_mut().filter(|(_, linked)| !linked.cut) {
            let missing = self.find_created(key, linked);
            if missing && linked.state.is_resting() && !linked.state.shadow.fields.is_empty() {
                // Its creation was acknowledged, and the system does not show it yet.
                waiting += 1;
                continue;
            }
            let read = Pair {
                left: self.observed(Side::Left, linked, &mut unknown),
                right: self.observed(Side::Right, linked, &mut unknown),
            };
            let mut effects = Vec::new();
            if !linked.state.is_resting() {
                effects.extend(linked.state.step(Input::Restarted, &merger));
            }
            effects.extend(linked.state.step(Input::Read(read), &merger));
            for effect in effects {
                match effect {
                    Effect::Write(write) => {
                        self.count(&write);
                        plan.writes.of_mut(write.side).push((key.clone(), write));
                    }
                    Effect::Ask(conflict) => self.ask_conflict(&conflict),
                    Effect::Audit { tag, row } => {
                        plan.audit.push(self.audit(linked, &tag, row));
                    }
                    Effect::Gone { side, edited_on_other } => gone.push(Deletion {
                        record: key.clone(),
                        deleted_on: side,
                        edited_on_other,
                    }),
                    Effect::Closed => plan.closed.push(key.clone()),
                    Effect::SetAside { .. } | Effect::Store | Effect::ReadBoth => {}
                }
            }
        }
        self.links = links;
        if waiting > 0 {
            self.report.notices.push(format!(
                "{waiting} records were created by an earlier run and are not shown by their system yet"
            ));
        }
        if unknown > 0 {
            self.report.notices.push(format!(
                "{unknown} references are to records that are not linked on both sides; they stay as they are"
            ));
        }
        self.plan_deletions(&gone, approval, &mut plan)?;
        for question in &self.questions {
            *self.report.questions.entry(question.kind.clone()).or_default() += 1;
        }
        self.report.planned = true;
        Ok(plan)
    }

    fn plan_deletions(
        &mut self,
        gone: &[Deletion],
        approval: Option<&str>,
        plan: &mut Plan,
    ) -> Result<()> {
        let policy = rules::delete_policy(&self.link.deletes);
        let totals = |side: Side| {
            let writes = plan.writes.of(side).iter();
            // The first meeting of two systems changes what it has to; the limit is for later surprises.
            let known = writes.filter(|(key, write)| {
                let linked = self.links.get(key).filter(|linked| linked.is_old());
                linked.is_some_and(|linked| !self.completes(linked, write))
            });
            let records = *self.report.records.of(side);
            SideTotals { records, updates: known.filter(|(_, write)| !write.create).count() as u64 }
        };
        let totals = Pair { left: totals(Side::Left), right: totals(Side::Right) };
        let limits = rules::limits(&self.link.limits);
        let planned = deletes::plan(&policy, &limits, gone, &totals)?;
        let mut actions = Vec::new();
        for action in planned.actions.iter().cloned() {
            if let Some(action) = self.answered(action) {
                match &action {
                    DeleteAction::Delete { side, .. } => *self.report.deleted.of_mut(*side) += 1,
                    DeleteAction::Archive { side, .. } => *self.report.archived.of_mut(*side) += 1,
                    DeleteAction::Unlink { .. } => self.report.cut += 1,
                    DeleteAction::Ask { .. } => {}
                }
                actions.push(action);
            }
        }
        if !planned.beyond.is_empty() {
            self.report.beyond = planned.beyond.clone();
            self.report.approval = Some(planned.token.clone());
        }
        plan.deletions = actions;
        plan.refusal = planned.approved(approval).err();
        Ok(())
    }

    /// Whether a write only gives a record the references that were not known when it was created.
    fn completes(&self, linked: &Linked, write: &Write) -> bool {
        let agreed = &linked.state.shadow;
        write.fields.keys().all(|field| self.references.has(field) && agreed.value(field).is_null())
    }

    /// What a person said about a record that was deleted on one side and changed on the other.
    fn answered(&mut self, action: DeleteAction) -> Option<DeleteAction> {
        let DeleteAction::Ask { record, deleted_on } = &action else { return Some(action) };
        let id = digest::short(&[b"delete", record.as_bytes(), deleted_on.name().as_bytes()]);
        match self.answers.get(&id).and_then(Value::as_str) {
            Some("delete") => {
                Some(DeleteAction::Delete { record: record.clone(), side: deleted_on.other() })
            }
            Some("keep") => Some(DeleteAction::Unlink { record: record.clone() }),
            _ => {
                let detail = json!({"deleted_on": deleted_on.name(), "changed_on": deleted_on.other().name()});
                self.ask(id, "delete", record, detail);
                None
            }
        }
    }

    /// Looks for the record that an earlier run created; true if it is not there (yet).
    fn find_created(&self, key: &str, linked: &mut Linked) -> bool {
        let mut missing = false;
        for side in Side::BOTH {
            if linked.ids.of(side).is_some() || linked.state.is_new() {
                continue;
            }
            match self.created(key, linked, side).map(str::to_owned) {
                Some(id) => *linked.ids.of_mut(side) = Some(id),
                None => missing = true,
            }
        }
        missing
    }

    /// The record of a side as it is now, its references as keys.
    fn observed(&self, side: Side, linked: &Linked, unknown: &mut u64) -> Option<Observed> {
        let id = linked.ids.of(side).as_ref()?;
        let mut observed = self.records.of(side).by_id.get(id)?.clone();
        for field in self.references.to_keys(side, &mut observed.record) {
            *unknown += 1;
            let agreed = linked.state.shadow.value(&field).clone();
            observed.record.insert(field, agreed);
        }
        Some(observed)
    }

    fn count(&mut self, write: &Write) {
        let counted =
            if write.create { &mut self.report.created } else { &mut self.report.updated };
        *counted.of_mut(write.side) += 1;
        for field in write.fields.keys() {
            *self.report.fields.entry(field.clone()).or_default().of_mut(write.side) += 1;
        }
    }

    fn ask_conflict(&mut self, conflict: &Conflict) {
        let detail = json!({
            "field": conflict.field, "base": conflict.base, "left": conflict.left,
            "right": conflict.right, "rule": conflict.rule, "reason": conflict.reason,
        });
        self.ask(conflict.id.clone(), "conflict", &conflict.record, detail);
    }

    /// Puts a question to people.
    pub(super) fn ask(&mut self, id: String, kind: &str, record: &str, detail: Value) {
        self.questions.push(LinkQuestion {
            id,
            link: self.name.to_owned(),
            kind: kind.to_owned(),
            record: record.to_owned(),
            detail,
            asked_at: self.workspace.now(),
            answer: None,
            open: true,
        });
    }

    /// The row of the audit for one field of one write.
    pub(super) fn audit(&self, linked: &Linked, tag: &str, row: AuditRow) -> LinkAudit {
        LinkAudit {
            link: self.name.to_owned(),
            run_id: self.run_id.to_owned(),
            at: self.workspace.now(),
            tag: tag.to_owned(),
            record: row.record,
            id: linked.ids.of(row.side).clone(),
            side: row.side.name().to_owned(),
            field: row.field,
            before: row.before,
            after: row.after,
            rule: row.rule,
        }
    }

    /// Ids of records that are linked or were cut, on a side.
    pub(super) fn taken(&self, side: Side) -> BTreeSet<&str> {
        self.links.values().filter_map(|linked| linked.ids.of(side).as_deref()).collect()
    }
}
