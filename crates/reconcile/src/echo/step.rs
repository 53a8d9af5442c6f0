//! The one step of a link: an input, the new state, the effects.

use super::{Effect, Input, Intent, Link, Progress, Sent, Write};
use crate::record::{Pair, Record, Side, value};
use crate::three_way::{AuditRow, Merged, Merger, Observed, Rule};

impl Link {
    /// Takes one input and says what shall be done.
    pub fn step(&mut self, input: Input<'_>, merger: &Merger<'_>) -> Vec<Effect> {
        match input {
            Input::Event(event) => match self.classify(event, merger.rules) {
                super::Verdict::News if self.is_writing() => {
                    // stored, because the event is acknowledged now and is not sent again
                    self.again = true;
                    vec![Effect::Store]
                }
                super::Verdict::News => vec![Effect::ReadBoth],
                _ => Vec::new(),
            },
            // read before the writes under way were made: read again after them
            Input::Read(_) if self.is_writing() => {
                self.again = true;
                vec![Effect::Store]
            }
            Input::Read(read) => {
                // only now: a crash between an acknowledgement and the read must not forget the news
                self.again = false;
                match read {
                    Pair { left: Some(left), right: Some(right) } => {
                        self.plan(left, right, merger, None)
                    }
                    Pair { left, right } => self.one_missing(left, right, merger),
                }
            }
            Input::Acked { side } => self.ended(side, Progress::Acked),
            Input::Moved { side } => self.ended(side, Progress::Unknown),
            Input::Rejected { side, reason } => {
                let fields =
                    self.intent.as_ref().map(|i| i.after.of(side).clone()).unwrap_or_default();
                let mut effects = vec![Effect::SetAside { side, fields, reason }];
                effects.extend(self.ended(side, Progress::Rejected));
                effects
            }
            Input::Restarted => self.restarted(),
        }
    }

    fn is_writing(&self) -> bool {
        let under_way = |intent: &Intent| {
            Side::BOTH.iter().any(|side| *intent.progress.of(*side) == Progress::Sent)
        };
        self.intent.as_ref().is_some_and(under_way)
    }

    fn restarted(&mut self) -> Vec<Effect> {
        let Some(intent) = &mut self.intent else {
            return if self.again { vec![Effect::ReadBoth] } else { Vec::new() };
        };
        for side in Side::BOTH {
            let progress = intent.progress.of_mut(side);
            if *progress == Progress::Sent {
                *progress = Progress::Unknown;
            }
        }
        vec![Effect::ReadBoth]
    }

    /// A write to `side` ended in one of the ways it can.
    fn ended(&mut self, side: Side, how: Progress) -> Vec<Effect> {
        let Some(intent) = &mut self.intent else { return Vec::new() };
        *intent.progress.of_mut(side) = how;
        let mut effects = Vec::new();
        if how == Progress::Acked {
            effects.extend(audited(intent, side, |_| true));
        }
        let progress = [intent.progress.left, intent.progress.right];
        if progress.contains(&Progress::Sent) {
            effects.push(Effect::Store);
            return effects;
        }
        let mut read = self.again;
        if progress.contains(&Progress::Unknown) {
            read = true;
        } else if let Some(intent) = self.intent.take() {
            self.agree(intent);
        }
        effects.push(Effect::Store);
        if read {
            effects.push(Effect::ReadBoth);
        }
        effects
    }

    /// Takes the agreement of an intent over, except the fields that a side would not take.
    fn agree(&mut self, intent: Intent) {
        let mut shadow = intent.shadow;
        for side in Side::BOTH {
            if *intent.progress.of(side) != Progress::Rejected {
                continue;
            }
            for field in intent.after.of(side).keys() {
                match self.shadow.fields.get(field) {
                    Some(agreed) => shadow.fields.insert(field.clone(), agreed.clone()),
                    None => shadow.fields.remove(field),
                };
            }
        }
        self.shadow = shadow;
    }

    /// Only one side has the record, or none.
    fn one_missing(
        &mut self,
        left: Option<Observed>,
        right: Option<Observed>,
        merger: &Merger<'_>,
    ) -> Vec<Effect> {
        let (side, other) = match (left, right) {
            (None, Some(other)) => (Side::Left, other),
            (Some(other), None) => (Side::Right, other),
            _ => {
                *self = Self::new(std::mem::take(&mut self.key));
                return vec![Effect::Closed, Effect::Store];
            }
        };
        if self.shadow.fields.is_empty() && *self.seen.of(side) == 0 {
            let nothing = Observed::default();
            return match side {
                Side::Left => self.plan(nothing, other, merger, Some(side)),
                Side::Right => self.plan(other, nothing, merger, Some(side)),
            };
        }
        *self.seen.of_mut(side.other()) = other.version;
        self.intent = None;
        let edited_on_other = self.is_edited(&other.record, merger.rules);
        vec![Effect::Gone { side, edited_on_other }, Effect::Store]
    }

    /// Decides what to write, both records being known. `create` is a side that has no record yet.
    fn plan(
        &mut self,
        left: Observed,
        right: Observed,
        merger: &Merger<'_>,
        create: Option<Side>,
    ) -> Vec<Effect> {
        self.seen = Pair { left: left.version, right: right.version };
        let mut observed = Pair { left, right };
        for side in Side::BOTH {
            self.date(side, observed.of_mut(side), merger.rules);
        }
        let mut effects = Vec::new();
        let mut hoped = observed.clone();
        let open = self.intent.take();
        let mut base = &self.shadow;
        if let Some(intent) = &open {
            base = &intent.shadow;
            for side in Side::BOTH {
                assume_made(intent, side, merger, &mut hoped);
            }
        }
        let merged = merger.merge(&self.key, base, &hoped.left, &hoped.right);
        if let Some(mut intent) = open.clone() {
            for side in Side::BOTH {
                let is = observed.of(side).record.clone();
                let after = intent.after.of(side).clone();
                let made = |field: &str| {
                    after.get(field).is_some_and(|after| {
                        merger.rules.rule(field).same(after, value(&is, field))
                    })
                };
                effects.extend(audited(&mut intent, side, made));
            }
        }
        effects.extend(merged.conflicts.iter().cloned().map(Effect::Ask));
        let writes = remaining(&merged, &hoped, &observed, merger);
        if writes.left.is_empty() && writes.right.is_empty() {
            self.shadow = merged.shadow;
            effects.push(Effect::Store);
            return effects;
        }
        self.number += 1;
        let tag = self.tag();
        effects.push(Effect::Store);
        let mut intent = Intent {
            tag: tag.clone(),
            shadow: merged.shadow.clone(),
            before: Pair::default(),
            after: writes.clone(),
            progress: Pair::default(),
            audit: audit_rows(&self.key, &writes, &observed, &merged, open.as_ref()),
        };
        for side in Side::BOTH {
            let fields = writes.of(side).clone();
            if fields.is_empty() {
                continue;
            }
            let seen = observed.of(side);
            let had = |field: &String| (field.clone(), value(&seen.record, field).clone());
            *intent.before.of_mut(side) = fields.keys().map(had).collect();
            *intent.progress.of_mut(side) = Progress::Sent;
            *self.sent.of_mut(side) = Some(Sent { tag: tag.clone(), fields: fields.clone() });
            effects.push(Effect::Write(Write {
                side,
                fields,
                create: create == Some(side),
                expected: seen.version,
                tag: tag.clone(),
            }));
        }
        self.intent = Some(intent);
        effects
    }
}

/// Lets `hoped` have the planned writes that are not made yet: where a field still has what it had when
/// the write was planned, the plan stands; where it has something else, somebody was there since.
fn assume_made(intent: &Intent, side: Side, merger: &Merger<'_>, hoped: &mut Pair<Observed>) {
    if *intent.progress.of(side) == Progress::Acked {
        return;
    }
    for (field, after) in intent.after.of(side) {
        let record = &mut hoped.of_mut(side).record;
        let before = value(intent.before.of(side), field);
        if merger.rules.rule(field).same(value(record, field), before) {
            record.insert(field.clone(), after.clone());
        }
    }
}

/// What has to be written so that the records become what the merge of the hoped-for ones gave.
fn remaining(
    merged: &Merged,
    hoped: &Pair<Observed>,
    observed: &Pair<Observed>,
    merger: &Merger<'_>,
) -> Pair<Record> {
    let mut writes = Pair::default();
    for side in Side::BOTH {
        let mut wanted = hoped.of(side).record.clone();
        wanted.extend(merged.writes.of(side).clone());
        let is = &observed.of(side).record;
        wanted.retain(|field, wanted| {
            let rule = merger.rules.rule(field);
            *rule != Rule::Never && !rule.same(wanted, value(is, field))
        });
        *writes.of_mut(side) = wanted;
    }
    writes
}

/// The audit rows of planned writes, with the reason of this merge or of the plan it goes on with.
fn audit_rows(
    key: &str,
    writes: &Pair<Record>,
    observed: &Pair<Observed>,
    merged: &Merged,
    open: Option<&Intent>,
) -> Vec<AuditRow> {
    let mut rows = Vec::new();
    for side in Side::BOTH {
        for (field, after) in writes.of(side) {
            let mut known = merged.audit.iter().chain(open.iter().flat_map(|intent| &intent.audit));
            let reason = known.find(|row| row.side == side && row.field == *field);
            rows.push(AuditRow {
                record: key.to_owned(),
                side,
                field: field.clone(),
                before: value(&observed.of(side).record, field).clone(),
                after: after.clone(),
                rule: reason.map_or_else(|| "copy".to_owned(), |row| row.rule.clone()),
            });
        }
    }
    rows
}

/// Hands out the audit rows of writes to `side` that were made, each once.
fn audited(intent: &mut Intent, side: Side, made: impl Fn(&str) -> bool) -> Vec<Effect> {
    let (out, kept) = std::mem::take(&mut intent.audit)
        .into_iter()
        .partition(|row| row.side == side && made(&row.field));
    intent.audit = kept;
    let effect = |row| Effect::Audit { tag: intent.tag.clone(), row };
    Vec::into_iter(out).map(effect).collect()
}
