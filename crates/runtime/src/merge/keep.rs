//! What the crosswalk, the review and the history become.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Timestamp, digest};
use flywheel_reconcile::matching::{Entry, Key};
use flywheel_reconcile::record::{Record, canonical};
use serde_json::{Map, Value, json};

use super::Merging;
use super::find::{Found, Group, pair_id};
use super::read::{Sources, own_key};
use super::stand::{
    ALONE, ASIDE, CrosswalkRow, HistoryRow, MERGED, ReviewRow, SAME, Stands, on_version,
};

/// What a record is now: source, key there, merged key, status.
type Fate = (String, Option<String>, Option<String>, &'static str);
/// The same, of a row that stands.
type Stood<'a> = (&'a str, Option<&'a str>, Option<&'a str>, &'a str);

impl Merging<'_> {
    /// The crosswalk after this run. What is as it was stays as it was written; what is otherwise ends now.
    pub(super) fn crosswalk(
        &self,
        sources: &Sources,
        found: &Found,
        before: &Stands,
    ) -> Vec<CrosswalkRow> {
        let now = self.workspace.now();
        let mut fates: Vec<(Fate, Option<String>)> = Vec::new();
        for group in &found.groups {
            let status = if group.members.len() > 1 { MERGED } else { ALONE };
            let why = Some(group.why.clone()).filter(|why| !why.is_empty());
            for key in keys_of(found, group) {
                let fate = (key.system, Some(key.id), Some(group.key.clone()), status);
                fates.push((fate, why.clone()));
            }
        }
        for source in &sources.all {
            for row in &source.aside {
                let fate = (source.name.clone(), row.key.clone(), None, ASIDE);
                fates.push((fate, Some(row.why.clone())));
            }
        }
        let mut standing: BTreeMap<Stood<'_>, Vec<&CrosswalkRow>> = BTreeMap::new();
        let (current, ended): (Vec<_>, Vec<_>) =
            before.crosswalk.iter().partition(|row| row.until.is_none());
        for row in current {
            let fate = (
                row.source.as_str(),
                row.source_key.as_deref(),
                row.merged_key.as_deref(),
                row.status.as_str(),
            );
            standing.entry(fate).or_default().push(row);
        }
        let mut rows: Vec<CrosswalkRow> = ended.into_iter().cloned().collect();
        for ((source, key, merged, status), why) in &fates {
            let fate = (source.as_str(), key.as_deref(), merged.as_deref(), *status);
            match standing.get_mut(&fate).and_then(Vec::pop) {
                Some(row) => rows.push(row.clone()),
                None => rows.push(CrosswalkRow {
                    source: source.clone(),
                    source_key: key.clone(),
                    since: now,
                    merged_key: merged.clone(),
                    status: (*status).to_owned(),
                    why: why.clone(),
                    until: None,
                    run_id: self.run_id.to_owned(),
                }),
            }
        }
        let gone = standing.into_values().flatten();
        rows.extend(gone.map(|row| CrosswalkRow { until: Some(now), ..row.clone() }));
        rows.sort();
        rows
    }

    /// The review after this run, from what stands in it `now`: answers may have come since the run began, which read
    /// `before`.
    pub(super) fn review(
        &self,
        found: &Found,
        before: &[ReviewRow],
        now: Vec<ReviewRow>,
    ) -> Vec<ReviewRow> {
        let said: BTreeSet<&str> = before
            .iter()
            .filter(|row| row.answer.as_deref() == Some(SAME))
            .map(|row| row.pair_id.as_str())
            .collect();
        let mut known: BTreeMap<String, ReviewRow> =
            now.into_iter().map(|row| (row.pair_id.clone(), row)).collect();
        let mut rows = Vec::new();
        for asked in &found.review {
            let pair_id = pair_id(&asked.a, &asked.b);
            let old = known.remove(&pair_id);
            let answer = old.as_ref().and_then(|row| row.answer.clone());
            // Who was asked and said "same" is asked again only if it could not be done.
            let open = answer.is_none() || said.contains(pair_id.as_str());
            rows.push(ReviewRow {
                a_source: asked.a.system.clone(),
                a_key: asked.a.id.clone(),
                b_source: asked.b.system.clone(),
                b_key: asked.b.id.clone(),
                score: asked.score,
                why: asked.why.clone(),
                a: shown(found, &asked.a),
                b: shown(found, &asked.b),
                asked_at: old.as_ref().map_or_else(|| self.workspace.now(), |row| row.asked_at),
                answer,
                answered_by: old.as_ref().and_then(|row| row.answered_by.clone()),
                answered_at: old.as_ref().and_then(|row| row.answered_at),
                open,
                pair_id,
            });
        }
        let decided = known.into_values().filter(|row| row.answer.is_some());
        rows.extend(decided.map(|row| ReviewRow { open: false, ..row }));
        rows.sort_by(|a, b| a.pair_id.cmp(&b.pair_id));
        rows
    }

    /// What this run does to records that are, were or become made of several rows.
    pub(super) fn events(&self, found: &Found, before: &Stands, who: &str) -> Vec<HistoryRow> {
        let (old, now) = (before.groups(), self.workspace.now());
        let mut events = Vec::new();
        let mut standing = BTreeSet::new();
        let of_group = |(at, group): (usize, &Group)| -> Vec<(usize, usize)> {
            group.members.iter().map(|member| (*member, at)).collect()
        };
        let group_of: BTreeMap<usize, usize> =
            found.groups.iter().enumerate().flat_map(of_group).collect();
        for group in found.groups.iter().filter(|group| group.members.len() > 1) {
            let members: BTreeSet<Key> = keys_of(found, group).collect();
            let stood = old.get(&group.key) == Some(&members);
            let golden = group.golden.as_ref().map(|golden| object(&golden.golden));
            if stood {
                standing.insert(group.key.as_str());
                let was = before.golden.get(&group.key).map(|was| self.fields_of(was));
                let alike = |was: &Value| golden.as_ref().is_some_and(|is| same_values(was, is));
                if was.as_ref().is_none_or(alike) {
                    continue;
                }
                let event = Event { action: CHANGED, key: &group.key, members: &members, why: "" };
                events.push(self.event(&event, was, golden, before, now, who));
                continue;
            }
            let rows = members.iter().filter_map(|key| entry(found, key)).map(record);
            let event =
                Event { action: "merged", key: &group.key, members: &members, why: &group.why };
            events.push(self.event(&event, Some(rows.collect()), golden, before, now, who));
        }
        for (key, members) in old.iter().filter(|(key, _)| !standing.contains(key.as_str())) {
            // What lost or won rows and goes on was told as merged.
            let mut groups = members.iter().map(|key| group_of.get(found.numbers.get(key)?));
            let first = groups.next().flatten();
            if first.is_some() && groups.all(|other| other == first) {
                continue;
            }
            let rows = members.iter().filter_map(|key| entry(found, key)).map(record);
            let was = before.golden.get(key).map(|was| self.fields_of(was));
            let event = Event { action: "taken-apart", key, members, why: "" };
            events.push(self.event(&event, was, Some(rows.collect()), before, now, who));
        }
        events.retain(|event| !before.events.contains(&event.event_id));
        events
    }

    fn event(
        &self,
        event: &Event<'_>,
        was: Option<Value>,
        is: Option<Value>,
        before: &Stands,
        at: Timestamp,
        who: &str,
    ) -> HistoryRow {
        let version = on_version(before.version);
        let records: Vec<String> =
            event.members.iter().map(|key| own_key(&key.system, &key.id)).collect();
        let records = records.join(", ");
        // Said once, however often a run that was cut off is repeated: until the table that tells of it is written, the
        // version is the same.
        let number = match event.action {
            CHANGED => on_version(before.target_version),
            _ => version,
        };
        let number = number.to_string();
        let parts = [number.as_str(), event.action, event.key, &records];
        HistoryRow {
            event_id: digest::short(&parts.map(str::as_bytes)),
            at,
            run_id: self.run_id.to_owned(),
            who: who.to_owned(),
            action: event.action.to_owned(),
            merged_key: Some(event.key.to_owned()),
            records,
            before: was.map(|was| was.to_string()),
            after: is.map(|is| is.to_string()),
            why: Some(event.why.to_owned()).filter(|why| !why.is_empty()),
            on_version: Some(version),
        }
    }

    /// The fields of a row of the merged table that are not empty.
    fn fields_of(&self, row: &Value) -> Value {
        let fields = self.declared.fields.iter().filter_map(|field| {
            let value = row.get(&field.name).filter(|value| !value.is_null())?;
            Some((field.name.clone(), value.clone()))
        });
        // In the order of their names, as those of a record are.
        Value::Object(Map::from_iter(fields.collect::<BTreeMap<_, _>>()))
    }
}

/// What is told of a record whose rows are the same and whose values are not.
const CHANGED: &str = "changed";

/// Whether two records have the same values, however they are written.
fn same_values(a: &Value, b: &Value) -> bool {
    canonical(a) == canonical(b)
}

/// What is told of a record.
struct Event<'a> {
    action: &'static str,
    key: &'a str,
    members: &'a BTreeSet<Key>,
    why: &'a str,
}

/// The keys of a group's records.
pub(super) fn keys_of<'f>(found: &'f Found, group: &'f Group) -> impl Iterator<Item = Key> + 'f {
    let members = group.members.iter();
    members.filter_map(move |member| found.entries.get(*member)).map(|entry| entry.key.clone())
}

fn entry<'f>(found: &'f Found, key: &Key) -> Option<&'f Entry> {
    found.entries.get(*found.numbers.get(key)?)
}

fn record(entry: &Entry) -> Value {
    json!({"record": own_key(&entry.key.system, &entry.key.id), "fields": object(&entry.fields)})
}

/// A record without what is empty.
fn object(fields: &Record) -> Value {
    let fields = fields.iter().filter(|(_, value)| !value.is_null());
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn shown(found: &Found, key: &Key) -> Option<String> {
    entry(found, key).map(|entry| object(&entry.fields).to_string())
}
