//! One linked record through edits, writes, echoes and crashes.
//!
//! ```text
//!             event that is news               both records
//!   resting ─────────────────────► reading ───────────────────► resting      nothing to write
//!      ▲                            ▲    │
//!      │ all acknowledged           │    └──► Store, Write… ──► writing
//!      └────────────────────────────┼────────────────────────────┘ │
//!                                   └──────────────────────────────┘ refused, or restarted
//! ```
//!
//! Who calls it: a driver that owns the two systems. It hands [`Input`]s of one record in, one at a
//! time, and carries out the [`Effect`]s in order. [`Effect::Store`] makes the link durable **before**
//! the writes that follow it leave, so that after a crash the intent is known, and reading both records
//! tells which part of it took place. An event is acknowledged to its system after its effects and all
//! that follow from them.
//!
//! Where a system cannot be asked to check the version, a person's edit between our read and our write
//! of the same field is overwritten; both sides still end equal. Only changed fields are written, so
//! edits of other fields are safe.
//!
//! A write of ours comes back as a change event. It is recognised by its tag, and where a system keeps
//! no tag by being what both sides agreed on. An event only ever leads to a read, and only a read to a
//! write, so an echo that is missed costs a read and never a write.

mod step;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use flywheel_base::{Timestamp, digest};
use serde::{Deserialize, Serialize};

use crate::record::{Pair, Record, Side, value};
use crate::three_way::{AuditRow, Conflict, MergeRules, Observed, Rule, Shadow};

/// A change that a system reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeEvent {
    /// The system that reports it.
    pub side: Side,
    /// The record's version after the change.
    pub version: u64,
    /// The tag of the write that made it, if the system keeps one.
    pub tag: Option<String>,
    /// The changed fields, or all; nothing if the system says only that there was a change (a gap or
    /// an overflow of its event log).
    pub fields: Option<Record>,
}

/// What an event is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The record was read after that change already.
    Stale,
    /// Our own write, by its tag and by what it wrote.
    EchoByTag,
    /// It says what both sides agreed on, so there is nothing to do, whoever wrote it.
    EchoByShadow,
    /// News: the records have to be read.
    News,
}

/// What a driver reports.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A system reports a change.
    Event(&'a ChangeEvent),
    /// Both records as they are now; `None` where there is none.
    Read(Pair<Option<Observed>>),
    /// A write was made.
    Acked {
        /// Where.
        side: Side,
    },
    /// A write was not made, because the record is no longer at the expected version.
    Moved {
        /// Where.
        side: Side,
    },
    /// A write was not made, because the system will not take it.
    Rejected {
        /// Where.
        side: Side,
        /// What the system says.
        reason: String,
    },
    /// The process was started again; nothing is known of writes that were not acknowledged.
    Restarted,
}

/// What the driver shall do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Read both records and report them.
    ReadBoth,
    /// Make the link durable.
    Store,
    /// Write to one side and report what became of it.
    Write(Write),
    /// Keep this row in the audit table; the tag and the field name it, should it come twice.
    Audit {
        /// The tag of the write.
        tag: String,
        /// The row.
        row: AuditRow,
    },
    /// Put the question into the queue; its id names it, should it come twice.
    Ask(Conflict),
    /// The record was deleted on one side. Nothing was written; see [`crate::deletes`].
    Gone {
        /// Where it was deleted.
        side: Side,
        /// Whether the other side was changed since both agreed.
        edited_on_other: bool,
    },
    /// A write was rejected; the agreement stays as it was, so the next read tries again.
    SetAside {
        /// Where.
        side: Side,
        /// What was not written.
        fields: Record,
        /// What the system says.
        reason: String,
    },
    /// Neither side has the record any more; the link can be forgotten.
    Closed,
}

/// A write to one system.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Where.
    pub side: Side,
    /// The fields that change.
    pub fields: Record,
    /// Whether the record is to be created; by its key, so that a repetition finds it.
    pub create: bool,
    /// The version the record is expected to have, for systems that can be asked to check.
    pub expected: u64,
    /// Marks the write as ours where the system can keep a mark.
    pub tag: String,
}

/// Everything known of one record that two systems hold; the driver stores it as one JSON value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The record's key in the link table.
    pub key: String,
    /// What both sides last agreed on.
    pub shadow: Shadow,
    /// The version of each side that was read last.
    seen: Pair<u64>,
    /// Values that differ from the agreement, and since when.
    edits: Pair<BTreeMap<String, Edit>>,
    /// The last write of ours to each side.
    sent: Pair<Option<Sent>>,
    /// The writes that are planned and not all known to be made.
    intent: Option<Intent>,
    /// How many intents there have been.
    number: u64,
    /// Whether there was news while writes were under way.
    again: bool,
}

/// A value that differs from the agreement. Remembered with its own time, because our later writes to
/// other fields move the time of the whole record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Edit {
    canonical: String,
    at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sent {
    tag: String,
    fields: Record,
}

/// Planned writes and the agreement that is true once they are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Intent {
    tag: String,
    shadow: Shadow,
    before: Pair<Record>,
    after: Pair<Record>,
    progress: Pair<Progress>,
    audit: Vec<AuditRow>,
}

/// How far the write to one side has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Progress {
    /// There is nothing to write.
    #[default]
    None,
    /// It has left, or is about to.
    Sent,
    /// It has perhaps been made.
    Unknown,
    /// It was made.
    Acked,
    /// The system will not take it.
    Rejected,
}

impl Link {
    /// A link of two records that have never been synchronised.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    /// Whether no write is planned or under way.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.intent.is_none()
    }

    /// Whether nothing is known of the two records yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.shadow.fields.is_empty() && self.intent.is_none() && self.seen == Pair::default()
    }

    /// The value of a field that both sides have once all planned writes are made.
    #[must_use]
    pub fn hoped(&self, field: &str) -> &serde_json::Value {
        self.intent.as_ref().map_or(&self.shadow, |intent| &intent.shadow).value(field)
    }

    /// Forgets what was agreed about a field, so that the next merge asks its rule.
    pub fn forget(&mut self, field: &str) {
        self.shadow.fields.remove(field);
    }

    /// What an event is to us.
    #[must_use]
    pub fn classify(&self, event: &ChangeEvent, rules: &MergeRules) -> Verdict {
        if event.version <= *self.seen.of(event.side) {
            return Verdict::Stale;
        }
        let Some(fields) = &event.fields else { return Verdict::News };
        let agrees = |with: &dyn Fn(&str) -> serde_json::Value| {
            fields.iter().all(|(field, is)| {
                let rule = rules.rule(field);
                *rule == Rule::Never || rule.same(is, &with(field))
            })
        };
        let sent = self.sent.of(event.side).as_ref();
        if let Some(sent) = sent.filter(|sent| Some(&sent.tag) == event.tag.as_ref()) {
            let written = |field: &str| match sent.fields.get(field) {
                Some(written) => written.clone(),
                None => self.shadow.value(field).clone(),
            };
            if agrees(&written) {
                return Verdict::EchoByTag;
            }
        }
        if agrees(&|field| self.shadow.value(field).clone()) {
            return Verdict::EchoByShadow;
        }
        Verdict::News
    }

    /// Gives the fields that differ from the agreement the time at which that was first seen, unless
    /// the system tells the time of each field.
    fn date(&mut self, side: Side, observed: &mut Observed, rules: &MergeRules) {
        let known = std::mem::take(self.edits.of_mut(side));
        let mut edits = BTreeMap::new();
        for (field, is) in &observed.record {
            if rules.rule(field).same(is, self.shadow.value(field)) {
                continue;
            }
            let canonical = crate::record::canonical(is);
            let seen = known.get(field).filter(|edit| edit.canonical == canonical).cloned();
            let edit = seen.unwrap_or(Edit { canonical, at: observed.changed_at });
            if let Some(at) = edit.at {
                observed.field_changed_at.entry(field.clone()).or_insert(at);
            }
            edits.insert(field.clone(), edit);
        }
        *self.edits.of_mut(side) = edits;
    }

    fn tag(&self) -> String {
        format!("fw:{}", digest::short(&[self.key.as_bytes(), &self.number.to_le_bytes()]))
    }

    /// Whether a record differs from the agreement.
    fn is_edited(&self, record: &Record, rules: &MergeRules) -> bool {
        record.keys().chain(self.shadow.fields.keys()).any(|field| {
            let rule = rules.rule(field);
            *rule != Rule::Never && !rule.same(value(record, field), self.shadow.value(field))
        })
    }
}
