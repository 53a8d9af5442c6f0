//! Carrying a plan out: first it is made durable, then it is written, and what was written is noted.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result};
use flywheel_project::resource::link::{LinkSide, MatchBy};
use flywheel_reconcile::deletes::DeleteAction;
use flywheel_reconcile::echo::{Effect, Input, Write};
use flywheel_reconcile::record::{Record, Side};
use flywheel_reconcile::three_way::{Answers, MergeRules, Merger, NoExpressions};
use flywheel_state::LinkChanges;
use serde_json::Value;

use super::LinkReport;
use super::side;
use super::work::{Linked, Plan, Work};
use super::write::{Became, Row, Target, plain};

/// How many records are written between two notes of what was written.
const ROWS_AT_ONCE: usize = 1_000;

/// How many refused records are named.
const REFUSED_NAMED: usize = 10;

/// Writes with the same columns: whether they create, and the fields.
type Group = (bool, BTreeSet<String>);

impl Work<'_> {
    /// Does what was planned.
    ///
    /// # Errors
    /// Why the plan may not be carried out; those of a system, after the other one was written to. What
    /// is not known to be written is found out by the next run.
    pub(super) async fn carry_out(mut self, plan: Plan) -> Result<LinkReport> {
        if let Some(refusal) = plan.refusal {
            return Err(refusal);
        }
        self.report.planned = false;
        self.store(plan.closed, plan.audit, true)?;
        let mut failed = None;
        for (side, writes) in [(Side::Left, plan.writes.left), (Side::Right, plan.writes.right)] {
            if let Err(error) = self.write_side(side, writes).await {
                let connection = &side::of(self.link, side).connection;
                failed =
                    failed.or(Some(error.context(format!("{} side, {connection}", side.name()))));
            }
        }
        if failed.is_none() {
            failed = self.delete(plan.deletions).await.err();
        }
        failed.map_or(Ok(self.report), Err)
    }

    /// Proves that both sides can find what is planned again, before one of them is written.
    ///
    /// # Errors
    /// Why a side cannot, else those of the systems.
    pub(super) async fn ready(&self, plan: &Plan) -> Result<()> {
        for (side, create, row) in self.samples(plan) {
            let declared = side::of(self.link, side);
            let by = if create { declared.create_by() } else { &declared.id };
            let target = self.target(side, by, "ready", std::slice::from_ref(&row));
            target.ready(&row).await.map_err(|error| {
                error.context(format!("{} side, {}", side.name(), declared.connection))
            })?;
        }
        Ok(())
    }

    /// A row of those that are created and one of those that are changed, on each side that has such.
    fn samples(&self, plan: &Plan) -> Vec<(Side, bool, Row)> {
        let mut found = Vec::new();
        for (side, writes) in [(Side::Left, &plan.writes.left), (Side::Right, &plan.writes.right)] {
            for create in [true, false] {
                let row = writes.iter().filter(|(_, write)| write.create == create).find_map(
                    |(key, write)| {
                        let linked = self.links.get(key)?;
                        let declared = side::of(self.link, side);
                        self.row(side, declared, key, linked, &write.fields, create)
                    },
                );
                found.extend(row.map(|row| (side, create, row)));
            }
        }
        found
    }

    /// Makes everything that changed durable.
    fn store(
        &mut self,
        closed: Vec<String>,
        audit: Vec<flywheel_state::LinkAudit>,
        ask: bool,
    ) -> Result<()> {
        let mut changes = LinkChanges { audit, ..LinkChanges::default() };
        for key in &closed {
            self.links.remove(key);
        }
        changes.removed = closed;
        for (key, linked) in &mut self.links {
            changes.rows.extend(linked.changed_row(key)?);
        }
        changes.questions = ask.then(|| self.questions.clone());
        self.workspace.store.record_links(self.name, &changes)
    }

    async fn write_side(&mut self, side: Side, writes: Vec<(String, Write)>) -> Result<()> {
        let mut groups: BTreeMap<Group, Vec<(String, Write)>> = BTreeMap::new();
        for (key, write) in writes {
            let fields = write.fields.keys().cloned().collect();
            groups.entry((write.create, fields)).or_default().push((key, write));
        }
        for ((create, _), writes) in groups {
            for chunk in writes.chunks(ROWS_AT_ONCE) {
                self.write_chunk(side, create, chunk).await?;
            }
        }
        Ok(())
    }

    async fn write_chunk(
        &mut self,
        side: Side,
        create: bool,
        writes: &[(String, Write)],
    ) -> Result<()> {
        let declared = side::of(self.link, side);
        let by = if create { declared.create_by() } else { &declared.id };
        let mut rows = Vec::with_capacity(writes.len());
        let mut became: Vec<Option<Became>> = Vec::with_capacity(writes.len());
        for (key, write) in writes {
            let row = self
                .links
                .get(key)
                .and_then(|linked| self.row(side, declared, key, linked, &write.fields, create));
            became.push(row.is_none().then(|| {
                Became::Refused(format!("it has no \"{by}\", by which it would be found again"))
            }));
            rows.extend(row);
        }
        let target = self.target(side, by, if create { "create" } else { "update" }, &rows);
        let mut answers = target.merge(&rows).await?.into_iter();
        let answers: Vec<Became> = became
            .into_iter()
            .map(|known| known.or_else(|| answers.next()).unwrap_or(Became::Written))
            .collect();
        let mut audit = Vec::new();
        for ((key, write), became) in writes.iter().zip(answers) {
            let Some(mut linked) = self.links.remove(key) else { continue };
            let written = became == Became::Written;
            if create && written {
                self.note_id(side, declared, &mut linked, key);
            }
            audit.extend(self.ended(&mut linked, key, write, became));
            self.links.insert(key.clone(), linked);
        }
        self.store_some(writes.iter().map(|(key, _)| key), audit)
    }

    /// Tells a link what became of its write; returns the rows of the audit.
    fn ended(
        &mut self,
        linked: &mut Linked,
        key: &str,
        write: &Write,
        became: Became,
    ) -> Vec<flywheel_state::LinkAudit> {
        let (rules, answers) = (MergeRules::default(), Answers::new());
        // An acknowledgement merges nothing, so it asks neither rules nor answers.
        let merger = Merger { rules: &rules, answers: &answers, expressions: &NoExpressions };
        let side = write.side;
        let input = match became {
            Became::Written => Input::Acked { side },
            Became::Refused(reason) => Input::Rejected { side, reason },
        };
        let mut audit = Vec::new();
        for effect in linked.state.step(input, &merger) {
            match effect {
                Effect::Audit { tag, row } => audit.push(self.audit(linked, &tag, row)),
                Effect::SetAside { side, reason, .. } => {
                    self.report.refused += 1;
                    if self.report.refused <= REFUSED_NAMED as u64 {
                        let id = linked.ids.of(side).as_deref().unwrap_or(key);
                        self.report.notices.push(format!(
                            "the {} side will not take record {id}: {reason}",
                            side.name()
                        ));
                    }
                }
                _ => {}
            }
        }
        audit
    }

    /// Makes the named links durable, with their audit.
    fn store_some<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k String>,
        audit: Vec<flywheel_state::LinkAudit>,
    ) -> Result<()> {
        let mut changes = LinkChanges { audit, ..LinkChanges::default() };
        for key in keys {
            if let Some(linked) = self.links.get_mut(key) {
                changes.rows.extend(linked.changed_row(key)?);
            }
        }
        self.workspace.store.record_links(self.name, &changes)
    }

    pub(super) fn target<'t>(
        &'t self,
        side: Side,
        by: &'t str,
        verb: &str,
        rows: &[Row],
    ) -> Target<'t> {
        let columns = rows.first().map(|row| row.keys().map(String::as_str).collect::<Vec<_>>());
        let columns = columns.unwrap_or_default().join(",");
        let digest = flywheel_base::digest::short(&[columns.as_bytes()]);
        Target {
            workspace: self.workspace,
            side: side::of(self.link, side),
            app: format!("link/{}/{}/{verb}/{digest}", self.name, side.name()),
            key: by,
            types: &self.records.of(side).types,
            now: self.workspace.now(),
        }
    }

    /// A row of the side's columns; none if nothing says by what it is found.
    pub(super) fn row(
        &self,
        side: Side,
        declared: &LinkSide,
        key: &str,
        linked: &Linked,
        fields: &Record,
        create: bool,
    ) -> Option<Row> {
        let fields = self.references.to_ids(side, fields);
        let mut row = Row::new();
        for field in &self.link.fields {
            if let Some(value) = fields.get(&field.name) {
                row.insert(side::column_of(field, side).to_owned(), value.clone());
            }
        }
        if !create {
            let id = linked.ids.of(side).as_ref()?;
            row.insert(declared.id.clone(), Value::from(id.as_str()));
            return Some(row);
        }
        let by = declared.create_by();
        if self.link.fields.iter().any(|field| side::column_of(field, side) == by) {
            return row.get(by).is_some_and(|value| !value.is_null()).then_some(row);
        }
        let value = match by == declared.id && self.by_id() {
            true => linked.ids.of(side.other()).clone()?,
            false => key.to_owned(),
        };
        row.insert(by.to_owned(), Value::from(value));
        Some(row)
    }

    fn by_id(&self) -> bool {
        self.link.matching.exact.contains(&MatchBy::Id)
    }

    /// The id of a record that was created, where it is known without asking.
    fn note_id(&self, side: Side, declared: &LinkSide, linked: &mut Linked, key: &str) {
        let by = declared.create_by();
        if by != declared.id {
            return;
        }
        let field = self.link.fields.iter().find(|field| side::column_of(field, side) == by);
        let id = match field {
            Some(field) => Some(plain(linked.state.hoped(&field.name))),
            None if self.by_id() => linked.ids.of(side.other()).clone(),
            None => Some(key.to_owned()),
        };
        *linked.ids.of_mut(side) = id;
    }

    /// What an earlier run may have created on a side for a link that does not know its id yet.
    pub(super) fn created(&self, key: &str, linked: &Linked, side: Side) -> Option<&str> {
        if linked.ids.of(side).is_some() || linked.state.is_new() {
            return None;
        }
        let declared = side::of(self.link, side);
        let by = declared.create_by();
        let field = self.link.fields.iter().find(|field| side::column_of(field, side) == by);
        let wanted = match field {
            Some(field) => {
                let hoped =
                    Record::from([(field.name.clone(), linked.state.hoped(&field.name).clone())]);
                let there = self.references.to_ids(side, &hoped);
                there.get(&field.name).map(plain).unwrap_or_default()
            }
            None if by == declared.id && self.by_id() => linked.ids.of(side.other()).clone()?,
            None => key.to_owned(),
        };
        self.records.of(side).created_by(&wanted)
    }

    async fn delete(&mut self, actions: Vec<DeleteAction>) -> Result<()> {
        let mut ids: BTreeMap<Side, Vec<(String, Value)>> = BTreeMap::new();
        let mut archived: BTreeMap<Side, Vec<(String, Row)>> = BTreeMap::new();
        let mut cut = Vec::new();
        for action in actions {
            match action {
                DeleteAction::Unlink { record } => cut.push(record),
                DeleteAction::Delete { record, side } => {
                    let id = self.links.get(&record).and_then(|linked| linked.ids.of(side).clone());
                    let id =
                        id.ok_or_else(|| Error::internal("a record without id was planned to go"))?;
                    ids.entry(side).or_default().push((record, Value::from(id)));
                }
                DeleteAction::Archive { record, side, set } => {
                    let declared = side::of(self.link, side);
                    let row = self
                        .links
                        .get(&record)
                        .and_then(|linked| self.row(side, declared, &record, linked, &set, false));
                    archived.entry(side).or_default().extend(row.map(|row| (record, row)));
                }
                DeleteAction::Ask { .. } => {}
            }
        }
        self.cut(&cut)?;
        for (side, rows) in archived {
            for chunk in rows.chunks(ROWS_AT_ONCE) {
                let values: Vec<Row> = chunk.iter().map(|(_, row)| row.clone()).collect();
                let target = self.target(side, &side::of(self.link, side).id, "archive", &values);
                let became = target.merge(&values).await?;
                let done = self.done(side, chunk.iter().map(|(key, _)| key), became);
                self.cut(&done)?;
            }
        }
        for (side, all) in ids {
            for chunk in all.chunks(ROWS_AT_ONCE) {
                let values: Vec<Value> = chunk.iter().map(|(_, id)| id.clone()).collect();
                let target = self.target(side, &side::of(self.link, side).id, "delete", &[]);
                let became = target.delete(&values).await?;
                let done = self.done(side, chunk.iter().map(|(key, _)| key), became);
                self.store(done, Vec::new(), false)?;
            }
        }
        Ok(())
    }

    /// The keys whose row was written; the others are told.
    fn done<'k>(
        &mut self,
        side: Side,
        keys: impl Iterator<Item = &'k String>,
        became: Vec<Became>,
    ) -> Vec<String> {
        let mut done = Vec::new();
        for (key, became) in keys.zip(became) {
            match became {
                Became::Written => done.push(key.clone()),
                Became::Refused(reason) => {
                    self.report.refused += 1;
                    self.report.notices.push(format!(
                        "the {} side will not give up record {key}: {reason}",
                        side.name()
                    ));
                }
            }
        }
        done
    }

    /// Leaves the remaining records of these links alone from now on.
    fn cut(&mut self, keys: &[String]) -> Result<()> {
        for key in keys {
            let Some(linked) = self.links.get_mut(key) else { continue };
            linked.cut = true;
            for side in Side::BOTH {
                let there = |id: &String| self.records.of(side).by_id.contains_key(id);
                if !linked.ids.of(side).as_ref().is_some_and(there) {
                    *linked.ids.of_mut(side) = None;
                }
            }
        }
        self.store_some(keys.iter(), Vec::new())
    }
}
