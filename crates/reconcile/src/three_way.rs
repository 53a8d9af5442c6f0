//! Merging two versions of a record with what both had when they last agreed.
//!
//! ```text
//! base = last agreement      left   right     then
//!                            base   base      nothing
//!                            new    base      copy to the right
//!                            base   new       copy to the left
//!                            new    the same  remember it
//!                            new    other     the field's rule, or a person
//! ```
//!
//! The new agreement is true once the writes of both sides are acknowledged, and is stored only then.
//! A field that waits for a person keeps its old base, so the question stays until it is answered or
//! one side gives way.

mod rule;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result, Timestamp, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use rule::Rule;

use crate::record::{Pair, Record, Side, canonical, is_blank, value};

/// A record as one system has it now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Its fields; every synchronised one that is not blank.
    pub record: Record,
    /// The system's version of it; grows with every change.
    pub version: u64,
    /// When it was changed last, by the system's clock.
    pub changed_at: Option<Timestamp>,
    /// When single fields were changed last, where the system tells.
    pub field_changed_at: BTreeMap<String, Timestamp>,
}

impl Observed {
    fn changed_at(&self, field: &str) -> Option<Timestamp> {
        self.field_changed_at.get(field).copied().or(self.changed_at)
    }
}

/// What both sides last agreed on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// By field; a field without an entry was blank on both sides.
    pub fields: BTreeMap<String, Agreed>,
}

/// The last agreement about one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreed {
    /// The value both sides had.
    pub value: Value,
    /// How many times the two sides have agreed on another value.
    pub version: u64,
}

impl Shadow {
    /// The agreed value of a field.
    #[must_use]
    pub fn value(&self, field: &str) -> &Value {
        self.fields.get(field).map_or(&Value::Null, |agreed| &agreed.value)
    }

    /// The agreed record.
    #[must_use]
    pub fn record(&self) -> Record {
        self.fields.iter().map(|(field, agreed)| (field.clone(), agreed.value.clone())).collect()
    }

    /// Remembers that both sides have `value`.
    pub fn agree(&mut self, field: &str, value: &Value) {
        match self.fields.get_mut(field) {
            Some(agreed) if canonical(&agreed.value) == canonical(value) => {}
            Some(agreed) => {
                agreed.value = value.clone();
                agreed.version += 1;
            }
            None if is_blank(value) => {}
            None => {
                self.fields.insert(field.to_owned(), Agreed { value: value.clone(), version: 1 });
            }
        }
    }
}

/// The rule of each field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeRules {
    /// By field.
    #[serde(default)]
    pub fields: BTreeMap<String, Rule>,
    /// That of every other field.
    #[serde(default)]
    pub default: Rule,
}

impl MergeRules {
    /// The rule of a field.
    #[must_use]
    pub fn rule(&self, field: &str) -> &Rule {
        self.fields.get(field).unwrap_or(&self.default)
    }

    /// Proves that every rule can decide something.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] that names the first field whose rule cannot.
    pub fn check(&self) -> Result<()> {
        self.default.check("every other field")?;
        self.fields.iter().try_for_each(|(field, rule)| rule.check(field))
    }
}

/// A field changed on both sides.
#[derive(Clone, Debug)]
pub struct Clash<'a> {
    /// The record's key in the link table.
    pub record: &'a str,
    /// The field.
    pub field: &'a str,
    /// What both had.
    pub base: &'a Value,
    /// What the left side has.
    pub left: &'a Value,
    /// What the right side has.
    pub right: &'a Value,
    /// When each side changed it, as far as known.
    pub changed_at: Pair<Option<Timestamp>>,
}

impl Clash<'_> {
    /// The value of one side.
    #[must_use]
    pub fn of(&self, side: Side) -> &Value {
        match side {
            Side::Left => self.left,
            Side::Right => self.right,
        }
    }
}

/// Evaluates the expressions of [`Rule::Expression`]; implemented by whoever has an SQL engine.
pub trait Expressions {
    /// The value of `sql` over the columns `left`, `right` and `base`.
    ///
    /// # Errors
    /// If it cannot be evaluated; the field then waits for a person.
    fn evaluate(&self, sql: &str, clash: &Clash<'_>) -> Result<Value>;
}

/// For callers without expressions.
#[derive(Clone, Copy, Debug)]
pub struct NoExpressions;

impl Expressions for NoExpressions {
    fn evaluate(&self, _: &str, clash: &Clash<'_>) -> Result<Value> {
        Err(Error::invalid(format!("field \"{}\": expressions are not available", clash.field))
            .hint("Choose another rule for the field."))
    }
}

/// A question for a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// Names the question: the same as long as record, field and both values are the same, so a queue
    /// holds it once however often it is asked.
    pub id: String,
    /// The record's key.
    pub record: String,
    /// The field.
    pub field: String,
    /// What both had.
    pub base: Value,
    /// What the left side has.
    pub left: Value,
    /// What the right side has.
    pub right: Value,
    /// The rule that did not decide.
    pub rule: String,
    /// Why it did not.
    pub reason: String,
}

/// The answers people gave, by [`Conflict::id`]. An answer holds for the two values it was given for.
pub type Answers = BTreeMap<String, Value>;

/// One field of one write, for the audit table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    /// The record's key.
    pub record: String,
    /// The side that is written to.
    pub side: Side,
    /// The field.
    pub field: String,
    /// What the side had.
    pub before: Value,
    /// What it gets.
    pub after: Value,
    /// Why: `copy`, the name of the rule, or `answer`.
    pub rule: String,
}

/// What a merge asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merged {
    /// The fields to write on each side, only those that change there.
    pub writes: Pair<Record>,
    /// The new agreement, true once the writes are acknowledged.
    pub shadow: Shadow,
    /// What a person has to decide.
    pub conflicts: Vec<Conflict>,
    /// One row for each field of each write.
    pub audit: Vec<AuditRow>,
}

/// How records are merged.
#[derive(Clone, Copy)]
pub struct Merger<'a> {
    /// The rule of each field.
    pub rules: &'a MergeRules,
    /// What people have decided.
    pub answers: &'a Answers,
    /// Who evaluates expressions.
    pub expressions: &'a dyn Expressions,
}

impl Merger<'_> {
    /// Merges one record. A record that one side does not have yet is an empty one there.
    #[must_use]
    pub fn merge(&self, key: &str, shadow: &Shadow, left: &Observed, right: &Observed) -> Merged {
        let mut merged = Merged { shadow: shadow.clone(), ..Merged::default() };
        let fields: BTreeSet<&String> =
            left.record.keys().chain(right.record.keys()).chain(shadow.fields.keys()).collect();
        for field in fields {
            let clash = Clash {
                record: key,
                field,
                base: shadow.value(field),
                left: value(&left.record, field),
                right: value(&right.record, field),
                changed_at: Pair { left: left.changed_at(field), right: right.changed_at(field) },
            };
            self.field(&clash, &mut merged);
        }
        merged
    }

    fn field(&self, clash: &Clash<'_>, merged: &mut Merged) {
        let rule = self.rules.rule(clash.field);
        if matches!(rule, Rule::Never) {
            return;
        }
        let changed = Side::BOTH.map(|side| !rule.same(clash.base, clash.of(side)));
        match changed {
            [false, false] => {}
            [true, false] => write(clash, clash.left, "copy", rule, merged),
            [false, true] => write(clash, clash.right, "copy", rule, merged),
            [true, true] if rule.same(clash.left, clash.right) => {
                merged.shadow.agree(clash.field, clash.left);
            }
            [true, true] => {
                let id = conflict_id(clash);
                if let Some(answer) = self.answers.get(&id) {
                    return write(clash, answer, "answer", rule, merged);
                }
                match rule.decide(clash, self.expressions) {
                    Ok(value) => write(clash, &value, rule.name(), rule, merged),
                    Err(reason) => merged.conflicts.push(Conflict {
                        id,
                        record: clash.record.to_owned(),
                        field: clash.field.to_owned(),
                        base: clash.base.clone(),
                        left: clash.left.clone(),
                        right: clash.right.clone(),
                        rule: rule.name().to_owned(),
                        reason,
                    }),
                }
            }
        }
    }
}

/// Brings both sides to `value`, as far as they do not have it.
fn write(clash: &Clash<'_>, value: &Value, why: &str, rule: &Rule, merged: &mut Merged) {
    for side in Side::BOTH {
        let before = clash.of(side);
        if rule.same(before, value) {
            continue;
        }
        merged.writes.of_mut(side).insert(clash.field.to_owned(), value.clone());
        merged.audit.push(AuditRow {
            record: clash.record.to_owned(),
            side,
            field: clash.field.to_owned(),
            before: before.clone(),
            after: value.clone(),
            rule: why.to_owned(),
        });
    }
    merged.shadow.agree(clash.field, value);
}

fn conflict_id(clash: &Clash<'_>) -> String {
    let (left, right) = (canonical(clash.left), canonical(clash.right));
    digest::short(&[
        clash.record.as_bytes(),
        clash.field.as_bytes(),
        left.as_bytes(),
        right.as_bytes(),
    ])
}

/// What takes writes back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reverted {
    /// The fields to write, with the values they had before.
    pub writes: Record,
    /// The fields that were changed again since and are left alone.
    pub changed_since: Vec<String>,
}

/// Takes back the writes of `audit` on `side` to one record, newest first, where the record still has
/// what was written.
#[must_use]
pub fn revert(audit: &[AuditRow], side: Side, current: &Record) -> Reverted {
    let mut state = current.clone();
    let mut stopped = BTreeSet::new();
    let mut reverted = Reverted::default();
    for row in audit.iter().rev().filter(|row| row.side == side) {
        if stopped.contains(&row.field) {
            continue;
        }
        if canonical(value(&state, &row.field)) == canonical(&row.after) {
            state.insert(row.field.clone(), row.before.clone());
            reverted.writes.insert(row.field.clone(), row.before.clone());
        } else {
            stopped.insert(&row.field);
        }
    }
    let untouched = stopped.into_iter().filter(|field| !reverted.writes.contains_key(*field));
    reverted.changed_since = untouched.cloned().collect();
    reverted
}
