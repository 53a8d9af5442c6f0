//! Making one record of several, so that it can be taken apart again.
//!
//! A value that one of the records has is kept with where it came from; a value that is made of several, by a union
//! or an expression, came from none of them.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Entry, Key};
use crate::record::{self, Record, is_blank, same, value};

/// Whose value of a field is kept. Blank values are never kept while there is another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// That of the record changed last.
    #[default]
    MostRecent,
    /// That of the record with the most fields that are not blank.
    MostComplete,
    /// That of the first system in [`Survivorship::sources`] that has one.
    SourcePriority,
    /// The longest text or list.
    Longest,
    /// The greatest.
    Max,
    /// The smallest.
    Min,
    /// That of this system, if it has one; else that of the first other system in [`Survivorship::sources`].
    Prefer {
        /// The system.
        source: String,
    },
    /// The members of all sets: lists, or texts with this between their members.
    Union {
        /// What stands between the members of a text.
        separator: String,
    },
    /// The value that allows least: consent, opt-out, do-not-call.
    MostRestrictive {
        /// All values the field can have, the one that allows least first.
        order: Vec<Value>,
    },
    /// What an SQL expression over one column for each system makes of the values, evaluated by the caller.
    Expression {
        /// The expression.
        sql: String,
    },
}

/// What evaluates [`Keep::Expression`].
pub trait Combine {
    /// The value of `sql` where each system of `values` is a column with that system's value.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is no expression over these columns.
    fn combine(&self, sql: &str, values: &BTreeMap<String, Value>) -> Result<Value>;
}

/// Evaluates nothing: for rules without expressions.
struct NoExpressions;

impl Combine for NoExpressions {
    fn combine(&self, sql: &str, _: &BTreeMap<String, Value>) -> Result<Value> {
        Err(Error::internal(format!("nothing evaluates the expression \"{sql}\"")))
    }
}

/// Whose values are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Survivorship {
    /// By field.
    pub fields: BTreeMap<String, Keep>,
    /// For every other field.
    pub default: Keep,
    /// The systems, the most trusted first; it also breaks ties.
    pub sources: Vec<String>,
}

/// One record made of several, with all that undoing it takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MergeRecord {
    /// Names the merge.
    pub id: String,
    /// The record that goes on; references to the others are led to it.
    pub survivor: Key,
    /// Its fields after the merge.
    pub golden: Record,
    /// The record each field's value came from.
    pub origins: BTreeMap<String, Key>,
    /// The records as they were.
    pub members: Vec<Entry>,
}

/// What comes out when a merge is undone.
#[derive(Clone, Debug, PartialEq)]
pub struct Unmerged {
    /// The records.
    pub members: Vec<Entry>,
    /// Edits made since the merge, and the record that got each: the one the field came from.
    pub carried: Vec<(String, Key)>,
}

/// Makes one record of the members of a cluster.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if there are fewer than two members, one is given twice, or the
/// rules name a system as source twice; [`flywheel_base::ErrorKind::Blocked`] if a value is none of the declared
/// ones; [`flywheel_base::ErrorKind::Internal`] if a field has an expression, which [`merge_with`] evaluates.
pub fn merge(members: &[Entry], rules: &Survivorship) -> Result<MergeRecord> {
    merge_with(members, rules, &NoExpressions)
}

/// As [`merge`], with what evaluates expressions.
///
/// # Errors
/// As [`merge`], and those of the expressions.
pub fn merge_with(
    members: &[Entry],
    rules: &Survivorship,
    expressions: &dyn Combine,
) -> Result<MergeRecord> {
    check(members, rules)?;
    let mut members = members.to_vec();
    members.sort_by(|a, b| a.key.cmp(&b.key));
    let best = members.iter().min_by(|a, b| {
        let rank = |entry: &Entry| (source_rank(entry, rules), Reverse(filled(entry)));
        rank(a).cmp(&rank(b)).then_with(|| a.key.cmp(&b.key))
    });
    let Some(survivor) = best.map(|entry| entry.key.clone()) else {
        return Err(Error::internal("a merge without members"));
    };
    let fields: BTreeSet<&String> = members.iter().flat_map(|entry| entry.fields.keys()).collect();
    let mut golden = Record::new();
    let mut origins = BTreeMap::new();
    for field in fields {
        let keep = rules.fields.get(field).unwrap_or(&rules.default);
        let candidates = members.iter().filter(|entry| !is_blank(value(&entry.fields, field)));
        let candidates: Vec<&Entry> = candidates.collect();
        if let Some(made) = made_of_all(keep, field, &candidates, rules, expressions)? {
            golden.insert(field.clone(), made);
            continue;
        }
        if let Keep::MostRestrictive { order } = keep
            && let Some(strange) =
                candidates.iter().find(|entry| rank(order, value(&entry.fields, field)).is_none())
        {
            return Err(Error::blocked(format!(
                "field \"{field}\" of record \"{}\" of \"{}\" has none of the values of its order",
                strange.key.id, strange.key.system
            ))
            .hint("List every value the field can have, the one that allows least first."));
        }
        let kept = candidates
            .into_iter()
            .min_by(|a, b| preferred(keep, field, a, b, rules).then_with(|| tie(a, b, rules)));
        match kept {
            Some(entry) => {
                golden.insert(field.clone(), value(&entry.fields, field).clone());
                origins.insert(field.clone(), entry.key.clone());
            }
            None => {
                golden.insert(field.clone(), Value::Null);
            }
        }
    }
    let parts: Vec<&[u8]> = members
        .iter()
        .flat_map(|entry| [entry.key.system.as_bytes(), entry.key.id.as_bytes()])
        .collect();
    Ok(MergeRecord { id: digest::short(&parts), survivor, golden, origins, members })
}

fn check(members: &[Entry], rules: &Survivorship) -> Result<()> {
    if members.len() < 2 {
        return Err(Error::invalid(format!("a merge of {} records is none", members.len()))
            .hint("Give two records or more."));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = members.iter().find(|entry| !seen.insert(&entry.key)) {
        return Err(Error::invalid(format!(
            "record \"{}\" of \"{}\" is to be merged with itself",
            twice.key.id, twice.key.system
        ))
        .hint("Give every record once."));
    }
    let mut named = BTreeSet::new();
    if let Some(twice) = rules.sources.iter().find(|source| !named.insert(*source)) {
        return Err(Error::invalid(format!("the source \"{twice}\" is named twice"))
            .hint("List every system once, the most trusted first."));
    }
    Ok(())
}

/// What several values are together, if the rule makes one of them; none if it keeps one of them.
fn made_of_all(
    keep: &Keep,
    field: &str,
    candidates: &[&Entry],
    rules: &Survivorship,
    expressions: &dyn Combine,
) -> Result<Option<Value>> {
    if candidates.is_empty() {
        return Ok(None);
    }
    match keep {
        Keep::Union { separator } => {
            let values = candidates.iter().map(|entry| value(&entry.fields, field));
            Ok(Some(union(values, separator)))
        }
        Keep::Expression { sql } => {
            let mut values: BTreeMap<String, Value> =
                rules.sources.iter().map(|source| (source.clone(), Value::Null)).collect();
            let mut ordered = candidates.to_vec();
            // The later insertion wins: that of the record which would be kept without a rule.
            ordered.sort_by(|a, b| tie(b, a, rules));
            for entry in ordered {
                values.insert(entry.key.system.clone(), value(&entry.fields, field).clone());
            }
            expressions.combine(sql, &values).map(Some)
        }
        _ => Ok(None),
    }
}

/// The members of all values, each once, in the order of their canonical texts.
fn union<'v>(values: impl Iterator<Item = &'v Value>, separator: &str) -> Value {
    let mut members: BTreeMap<String, Value> = BTreeMap::new();
    let mut add = |member: Value| {
        if !is_blank(&member) {
            members.entry(record::canonical(&member)).or_insert(member);
        }
    };
    let mut lists = false;
    for value in values {
        match value {
            Value::Array(items) => {
                lists = true;
                items.iter().cloned().for_each(&mut add);
            }
            Value::String(text) if !separator.is_empty() => {
                text.split(separator).for_each(|part| add(Value::from(part.trim())));
            }
            other => add(other.clone()),
        }
    }
    if lists {
        return members.into_values().collect();
    }
    match members.len() {
        1 => members.into_values().next().unwrap_or_default(),
        _ => {
            let text =
                |member: &Value| member.as_str().map_or_else(|| member.to_string(), str::to_owned);
            Value::from(members.values().map(text).collect::<Vec<_>>().join(separator))
        }
    }
}

/// The place of a value in the declared order.
fn rank(order: &[Value], of: &Value) -> Option<usize> {
    order.iter().position(|known| same(known, of))
}

/// Which of two records keeps its value of a field: the lesser one.
fn preferred(keep: &Keep, field: &str, a: &Entry, b: &Entry, rules: &Survivorship) -> Ordering {
    let (va, vb) = (value(&a.fields, field), value(&b.fields, field));
    match keep {
        Keep::MostRecent => b.changed_at.cmp(&a.changed_at),
        Keep::MostComplete => filled(b).cmp(&filled(a)),
        Keep::SourcePriority => source_rank(a, rules).cmp(&source_rank(b, rules)),
        Keep::Longest => length(vb).cmp(&length(va)),
        Keep::Max => order(vb, va),
        Keep::Min => order(va, vb),
        Keep::Prefer { source } => {
            let other = |entry: &Entry| entry.key.system != *source;
            other(a).cmp(&other(b)).then_with(|| source_rank(a, rules).cmp(&source_rank(b, rules)))
        }
        Keep::MostRestrictive { order } => rank(order, va).cmp(&rank(order, vb)),
        // What is made of all values has been made.
        Keep::Union { .. } | Keep::Expression { .. } => Ordering::Equal,
    }
}

/// Values of different kinds stand in the order of their kinds, so that the order is one.
fn order(a: &Value, b: &Value) -> Ordering {
    let kind = |value: &Value| match value {
        Value::Bool(_) => 0,
        Value::Number(_) => 1,
        Value::String(_) => 2,
        _ => 3,
    };
    record::compare(a, b).unwrap_or_else(|| kind(a).cmp(&kind(b)))
}

fn tie(a: &Entry, b: &Entry, rules: &Survivorship) -> Ordering {
    source_rank(a, rules)
        .cmp(&source_rank(b, rules))
        .then_with(|| b.changed_at.cmp(&a.changed_at))
        .then_with(|| a.key.cmp(&b.key))
}

fn source_rank(entry: &Entry, rules: &Survivorship) -> usize {
    let known = rules.sources.iter().position(|source| *source == entry.key.system);
    known.unwrap_or(rules.sources.len())
}

fn filled(entry: &Entry) -> usize {
    entry.fields.values().filter(|value| !is_blank(value)).count()
}

fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.trim().chars().count(),
        Value::Array(items) => items.len(),
        other => record::canonical(other).len(),
    }
}

impl MergeRecord {
    /// The records that are gone and the one that references to them lead to.
    #[must_use]
    pub fn redirects(&self) -> Vec<(Key, Key)> {
        let gone = self.members.iter().filter(|entry| entry.key != self.survivor);
        gone.map(|entry| (entry.key.clone(), self.survivor.clone())).collect()
    }

    /// Undoes the merge. `now` is the merged record as it is today: a field that was edited since goes,
    /// edited, to the record it came from; a field that came from none goes to the survivor.
    #[must_use]
    pub fn unmerge(&self, now: &Record) -> Unmerged {
        let mut members = self.members.clone();
        let mut carried = Vec::new();
        for field in now.keys().chain(self.golden.keys()).collect::<BTreeSet<_>>() {
            let edited = value(now, field);
            if same(edited, value(&self.golden, field)) {
                continue;
            }
            let owner = self.origins.get(field).unwrap_or(&self.survivor);
            if let Some(entry) = members.iter_mut().find(|entry| entry.key == *owner) {
                entry.fields.insert(field.clone(), edited.clone());
                carried.push((field.clone(), owner.clone()));
            }
        }
        Unmerged { members, carried }
    }

    /// Takes one record out; what is left is merged anew if it is two records or more.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if the record is none of the merged ones.
    pub fn without(
        &self,
        key: &Key,
        now: &Record,
        rules: &Survivorship,
    ) -> Result<(Entry, Option<Self>)> {
        let mut members = self.unmerge(now).members;
        let Some(at) = members.iter().position(|entry| entry.key == *key) else {
            return Err(Error::not_found(format!(
                "record \"{}\" of \"{}\" is not in merge {}",
                key.id, key.system, self.id
            ))
            .hint("Look at the members of the merge."));
        };
        let taken = members.remove(at);
        let rest = if members.len() < 2 { None } else { Some(merge(&members, rules)?) };
        Ok((taken, rest))
    }
}
