//! Which records are the same, what each group is called, and what it becomes.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use flywheel_base::{Error, Result, digest};
use flywheel_project::resource::link::MatchBy;
use flywheel_project::resource::merge::KeepRule;
use flywheel_reconcile::matching::{
    Combine, Entry, Keep, Key, MergeRecord, Review, Survivorship, find_with, merge_with,
};
use flywheel_reconcile::record::Record;
use flywheel_warehouse::Lake as Engine;
use serde_json::Value;

use super::Merging;
use super::read::{Sources, own_key};
use super::stand::Stands;
use crate::link::{SAME_ID, arrays, json_values, match_rules, objects};

/// How many pairs wait for a person at most; the likeliest are asked first.
const QUESTIONS_MAX: usize = 10_000;

/// Where a record is: the source and the row.
type Place = (usize, usize);

/// What was found.
pub(super) struct Found {
    /// Every record that can be taken, in the order of its source and its key.
    pub(super) entries: Vec<Entry>,
    /// Where each of them is.
    pub(super) places: Vec<Place>,
    /// The number of each of them.
    pub(super) numbers: BTreeMap<Key, usize>,
    /// The records that are made, by key.
    pub(super) groups: Vec<Group>,
    /// What a person has to decide.
    pub(super) review: Vec<Review>,
    /// The rule of each pair that joined records.
    pub(super) joined: Vec<String>,
    /// Pairs that were compared by likeness.
    pub(super) pairs_scored: usize,
    /// Pairs that people have decided.
    pub(super) answered: u64,
    pub(super) notices: Vec<String>,
}

/// A record that is made.
pub(super) struct Group {
    /// Its key.
    pub(super) key: String,
    /// The records that it is made of, by number; one at least.
    pub(super) members: Vec<usize>,
    /// Why they are the same.
    pub(super) why: String,
    /// What several become.
    pub(super) golden: Option<MergeRecord>,
}

impl Found {
    /// What a record would be called alone.
    pub(super) fn own_key(&self, number: usize) -> Option<String> {
        let key = &self.entries.get(number)?.key;
        Some(own_key(&key.system, &key.id))
    }
}

impl Merging<'_> {
    /// Finds which records are the same, as people and rules say.
    ///
    /// # Errors
    /// Those of expressions.
    pub(super) fn find(&self, sources: &Sources, before: &Stands) -> Result<Found> {
        let (entries, places) = self.entries(sources)?;
        let decided = before.decided();
        let answered = (decided.same.len() + decided.different.len()) as u64;
        let rules = match_rules(&self.declared.matching);
        let mut matched = find_with(&entries, &rules, &decided)?;
        let numbers: BTreeMap<Key, usize> =
            entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect();
        let mut groups = Vec::new();
        let mut grouped = BTreeSet::new();
        for cluster in &matched.clusters {
            let members = cluster.members.iter().filter_map(|key| numbers.get(key).copied());
            let members: BTreeSet<usize> = members.collect();
            grouped.extend(members.iter().copied());
            groups.push(Group {
                key: String::new(),
                members: members.into_iter().collect(),
                why: cluster.why.join("; "),
                golden: None,
            });
        }
        let alone = (0..entries.len()).filter(|number| !grouped.contains(number));
        groups.extend(alone.map(|number| Group {
            key: String::new(),
            members: vec![number],
            why: String::new(),
            golden: None,
        }));
        groups.sort_by(|a, b| a.members.cmp(&b.members));
        name_groups(&mut groups, &entries, &before.keys());
        groups.sort_by(|a, b| a.key.cmp(&b.key));
        let survivorship = self.survivorship();
        let sql = Sql { lake: &self.workspace.lake };
        for group in groups.iter_mut().filter(|group| group.members.len() > 1) {
            let members = group.members.iter().filter_map(|member| entries.get(*member).cloned());
            let members: Vec<Entry> = members.collect();
            let golden = merge_with(&members, &survivorship, &sql)
                .map_err(|error| error.context(format!("record \"{}\"", group.key)))?;
            group.golden = Some(golden);
        }
        let mut notices = Vec::new();
        if matched.review.len() > QUESTIONS_MAX {
            notices.push(format!(
                "{} pairs are not asked yet; they are when some of the {QUESTIONS_MAX} likelier ones are decided",
                matched.review.len() - QUESTIONS_MAX
            ));
            matched.review.truncate(QUESTIONS_MAX);
        }
        Ok(Found {
            entries,
            places,
            numbers,
            groups,
            review: matched.review,
            joined: matched.joined.into_iter().map(|joined| joined.why).collect(),
            pairs_scored: matched.pairs_scored,
            answered,
            notices,
        })
    }

    /// Every record that can be taken, and where it is.
    fn entries(&self, sources: &Sources) -> Result<(Vec<Entry>, Vec<Place>)> {
        let by_id = self.declared.matching.exact.contains(&MatchBy::Id);
        let (mut entries, mut places) = (Vec::new(), Vec::new());
        for (at, source) in sources.all.iter().enumerate() {
            let records = objects(&source.batch)?;
            if records.len() != source.keys.len() {
                return Err(Error::internal("a source has not as many records as keys"));
            }
            for (row, (record, key)) in records.into_iter().zip(&source.keys).enumerate() {
                let same = by_id.then(|| (SAME_ID.to_owned(), key.clone()));
                entries.push(Entry {
                    key: Key { system: source.name.clone(), id: key.clone() },
                    fields: Record::from_iter(
                        record.into_iter().filter(|(_, value)| !value.is_null()),
                    ),
                    external: same.into_iter().collect(),
                    changed_at: source.changed_at.get(row).copied().flatten(),
                });
                places.push((at, row));
            }
        }
        Ok((entries, places))
    }

    fn survivorship(&self) -> Survivorship {
        let fields = self.declared.fields.iter();
        let fields = fields
            .filter_map(|field| Some((field.name.clone(), keep(field.keep.as_ref()?))))
            .collect();
        let sources = self.declared.sources.iter().map(|source| source.name.clone());
        Survivorship { fields, default: keep(&self.declared.keep), sources: sources.collect() }
    }
}

/// The declared rule, as reconciliation takes it.
fn keep(declared: &KeepRule) -> Keep {
    match declared {
        KeepRule::First => Keep::SourcePriority,
        KeepRule::Latest => Keep::MostRecent,
        KeepRule::Complete => Keep::MostComplete,
        KeepRule::Prefer { source } => Keep::Prefer { source: source.clone() },
        KeepRule::Longest => Keep::Longest,
        KeepRule::Max => Keep::Max,
        KeepRule::Min => Keep::Min,
        KeepRule::Union { separator } => Keep::Union { separator: separator.clone() },
        KeepRule::MostRestrictive { order } => Keep::MostRestrictive { order: order.clone() },
        KeepRule::Expression { sql } => Keep::Expression { sql: sql.clone() },
    }
}

/// Gives every group the key of one of its records, if it can the one that it had before: what refers to a record
/// outside of here goes on to find it. No two groups have one key, because no two records have.
fn name_groups(groups: &mut [Group], entries: &[Entry], before: &BTreeMap<Key, String>) {
    let own = |number: usize| {
        let key = entries.get(number).map(|entry| &entry.key);
        key.map(|key| own_key(&key.system, &key.id)).unwrap_or_default()
    };
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    for (at, group) in groups.iter().enumerate() {
        owners.extend(group.members.iter().map(|member| (own(*member), at)));
    }
    let mut orphaned = BTreeSet::new();
    for (at, group) in groups.iter_mut().enumerate() {
        let mut had: Vec<(&str, usize)> = Vec::new();
        for member in &group.members {
            let key = entries.get(*member).and_then(|entry| before.get(&entry.key));
            let Some(key) = key else { continue };
            match had.iter_mut().find(|(known, _)| known == key) {
                Some((_, times)) => *times += 1,
                None => had.push((key.as_str(), 1)),
            }
        }
        // The one that most of its records had; the first of them if several had as many.
        let most = |of: &dyn Fn(&str) -> bool| {
            let mut best: Option<(&str, usize)> = None;
            for (key, times) in had.iter().filter(|(key, _)| of(key)) {
                if best.is_none_or(|(_, most)| *times > most) {
                    best = Some((*key, *times));
                }
            }
            best.map(|(key, _)| key.to_owned())
        };
        let kept = most(&|key| owners.get(key) == Some(&at))
            // Its record is gone from its source, and the others go on under its key.
            .or_else(|| most(&|key| !owners.contains_key(key) && !orphaned.contains(key)));
        if let Some(kept) = kept.as_ref().filter(|kept| !owners.contains_key(*kept)) {
            orphaned.insert(kept.clone());
        }
        group.key = kept.unwrap_or_else(|| {
            group.members.first().map(|member| own(*member)).unwrap_or_default()
        });
    }
}

/// Names a pair, whichever of both comes first.
pub(super) fn pair_id(a: &Key, b: &Key) -> String {
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    let parts = [&first.system, &first.id, &second.system, &second.id];
    digest::short(&parts.map(|part| part.as_bytes()))
}

/// Evaluates expressions with the lake's engine.
struct Sql<'a> {
    lake: &'a Engine,
}

impl Combine for Sql<'_> {
    fn combine(&self, sql: &str, values: &BTreeMap<String, Value>) -> Result<Value> {
        let of: Vec<&Value> = values.values().collect();
        let columns = values.keys().zip(arrays(&of)).map(|(name, array)| (name, array, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns)
            .map_err(|error| Error::internal("values of a group are no row").caused_by(error))?;
        let made = self.lake.evaluate(sql, &batch)?;
        Ok(json_values(&made)?.into_iter().next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        let (system, id) = text.split_once(':').unwrap();
        Entry {
            key: Key { system: system.to_owned(), id: id.to_owned() },
            fields: Record::new(),
            external: BTreeMap::new(),
            changed_at: None,
        }
    }

    /// The keys of groups of records, given as `a:1+b:1`, where `before` says what records were called.
    fn named(groups: &[&str], before: &[(&str, &str)]) -> Vec<String> {
        let mut entries = Vec::new();
        let mut made = Vec::new();
        for group in groups {
            let members: Vec<usize> = group
                .split('+')
                .map(|text| {
                    entries.push(entry(text));
                    entries.len() - 1
                })
                .collect();
            made.push(Group { key: String::new(), members, why: String::new(), golden: None });
        }
        let before = before.iter().map(|(record, key)| (entry(record).key, (*key).to_owned()));
        name_groups(&mut made, &entries, &before.collect());
        made.into_iter().map(|group| group.key).collect()
    }

    #[test]
    fn a_group_keeps_the_key_it_had_as_long_as_it_is_nobody_elses() {
        assert_eq!(named(&["a:1+b:1", "a:2"], &[]), ["a:1", "a:2"]);
        // A record that comes before the others changes no key.
        assert_eq!(named(&["a:0+b:1+c:1"], &[("b:1", "b:1"), ("c:1", "b:1")]), ["b:1"]);
        // The record that gave the key is gone from its source.
        assert_eq!(named(&["b:1+c:1"], &[("b:1", "a:1"), ("c:1", "a:1")]), ["a:1"]);
        // A group that came apart: who gave the key keeps it, the other one gets its own.
        assert_eq!(named(&["a:1", "b:1"], &[("a:1", "a:1"), ("b:1", "a:1")]), ["a:1", "b:1"]);
        // Both parts of a group whose first record is gone want its key: one gets it.
        assert_eq!(named(&["b:1", "c:1"], &[("b:1", "a:1"), ("c:1", "a:1")]), ["a:1", "c:1"]);
    }
}
