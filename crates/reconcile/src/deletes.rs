//! What a deletion on one side means for the other, with a stop before a mistake becomes a massacre.
//!
//! A filter with a typing error, a table read while it was empty, a revoked permission: each looks like
//! ten thousand deletions. So a plan beyond its limits is refused with its numbers, and goes on only
//! with the token of exactly this plan.

use std::collections::BTreeSet;

use flywheel_base::{Error, Result, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::record::{Record, Side};

/// How many deletions a run may carry out unless the user says otherwise.
pub const MAX_DELETES_DEFAULT: u64 = 100;

/// Which part of the records a run may change or delete unless the user says otherwise.
pub const MAX_CHANGE_RATIO_DEFAULT: f64 = 0.2;

/// Up to how many records the ratio does not count, so that the first ones can be changed at all.
pub const RATIO_FROM_RECORDS: u64 = 20;

/// What happens to a record whose counterpart was deleted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeletePolicy {
    /// It stays, and the link is cut.
    #[default]
    Ignore,
    /// It gets these values, such as `{"archived": true}`, and the link is cut.
    Archive {
        /// The fields to write.
        set: Record,
    },
    /// It is deleted, too.
    Propagate,
}

/// How much a run may change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeleteLimits {
    /// How many records it may delete or archive.
    pub max_deletes: u64,
    /// Which part of the records of a side it may change, archive or delete, from 0 to 1.
    pub max_change_ratio: f64,
}

impl Default for DeleteLimits {
    fn default() -> Self {
        Self { max_deletes: MAX_DELETES_DEFAULT, max_change_ratio: MAX_CHANGE_RATIO_DEFAULT }
    }
}

impl DeleteLimits {
    /// Proves that the limits are possible.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the ratio is not a part of a whole.
    pub fn check(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.max_change_ratio) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "max_change_ratio of {} is not possible",
            self.max_change_ratio
        ))
        .hint("Write a part of the whole from 0 to 1, such as 0.2 for a fifth."))
    }
}

/// A record that one side no longer has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deletion {
    /// The record's key in the link table.
    pub record: String,
    /// Where it was deleted.
    pub deleted_on: Side,
    /// Whether the other side was changed since both agreed.
    pub edited_on_other: bool,
}

/// What a run is about to do to one side, besides deletions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideTotals {
    /// How many records the side has.
    pub records: u64,
    /// How many of them the run changes.
    pub updates: u64,
}

/// One thing to do because of a deletion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeleteAction {
    /// Delete the record on `side`.
    Delete {
        /// The record's key.
        record: String,
        /// Where.
        side: Side,
    },
    /// Write these values to the record on `side`, then cut the link.
    Archive {
        /// The record's key.
        record: String,
        /// Where.
        side: Side,
        /// The values.
        set: Record,
    },
    /// Leave the record and cut the link.
    Unlink {
        /// The record's key.
        record: String,
    },
    /// Ask a person: it was deleted here and edited there.
    Ask {
        /// The record's key.
        record: String,
        /// Where it was deleted.
        deleted_on: Side,
    },
}

/// The planned deletions and whether they are within the limits.
#[derive(Clone, Debug, PartialEq)]
pub struct DeletePlan {
    /// What to do, by key.
    pub actions: Vec<DeleteAction>,
    /// The limits that are passed, in words with numbers; empty if the plan may run.
    pub beyond: Vec<String>,
    /// Names this plan: any other set of actions has another token.
    pub token: String,
}

impl DeletePlan {
    /// Hands the actions out if they are within the limits or approved.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Blocked`] with the numbers and the token that approves this plan.
    pub fn approved(self, approval: Option<&str>) -> Result<Vec<DeleteAction>> {
        if self.beyond.is_empty() || approval == Some(self.token.as_str()) {
            return Ok(self.actions);
        }
        let numbers = self.beyond.join("; ");
        let message = match approval {
            None => format!("the sync would delete too much: {numbers}"),
            Some(_) => format!("the approval is for another plan; this one: {numbers}"),
        };
        Err(Error::blocked(message).hint(format!(
            "Nothing was written. Look at the plan; if it is what you want, approve exactly this one \
             with the token {}.",
            self.token
        )))
    }
}

/// Plans what the deletions of a run mean; `totals` are those of the sides that would be changed.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the limits or the policy are impossible.
pub fn plan(
    policy: &DeletePolicy,
    limits: &DeleteLimits,
    deletions: &[Deletion],
    totals: &crate::record::Pair<SideTotals>,
) -> Result<DeletePlan> {
    limits.check()?;
    if matches!(policy, DeletePolicy::Archive { set } if set.is_empty()) {
        return Err(Error::invalid("the delete policy archive sets no field").hint(
            "Name the field and value that mark an archived record: set: {archived: true}.",
        ));
    }
    let unique: BTreeSet<&Deletion> = deletions.iter().collect();
    let actions: Vec<DeleteAction> =
        unique.into_iter().map(|deletion| action(policy, deletion)).collect();
    let beyond = Side::BOTH
        .into_iter()
        .flat_map(|side| beyond(side, limits, &actions, *totals.of(side)))
        .collect();
    let text = serde_json::to_string(&actions)
        .map_err(|error| Error::internal("a delete plan cannot be written").caused_by(error))?;
    let token = digest::short(&[b"delete-plan", text.as_bytes()]);
    Ok(DeletePlan { actions, beyond, token })
}

fn action(policy: &DeletePolicy, deletion: &Deletion) -> DeleteAction {
    let record = deletion.record.clone();
    let side = deletion.deleted_on.other();
    match policy {
        DeletePolicy::Ignore => DeleteAction::Unlink { record },
        _ if deletion.edited_on_other => {
            DeleteAction::Ask { record, deleted_on: deletion.deleted_on }
        }
        DeletePolicy::Archive { set } => DeleteAction::Archive { record, side, set: set.clone() },
        DeletePolicy::Propagate => DeleteAction::Delete { record, side },
    }
}

/// The limits that the actions on one side pass.
fn beyond(
    side: Side,
    limits: &DeleteLimits,
    actions: &[DeleteAction],
    totals: SideTotals,
) -> Vec<String> {
    let on_side = |action: &&DeleteAction| match action {
        DeleteAction::Delete { side: at, .. } | DeleteAction::Archive { side: at, .. } => {
            *at == side
        }
        DeleteAction::Unlink { .. } | DeleteAction::Ask { .. } => false,
    };
    let deletes = actions.iter().filter(on_side).count() as u64;
    let mut found = Vec::new();
    if deletes == 0 {
        return found;
    }
    if deletes > limits.max_deletes {
        found.push(format!(
            "{deletes} deletions on the {} side are more than max_deletes {}",
            side.name(),
            limits.max_deletes
        ));
    }
    if deletes >= totals.records && totals.records > 1 {
        found.push(format!(
            "every one of the {} records of the {} side would go",
            totals.records,
            side.name()
        ));
    }
    let changes = deletes.saturating_add(totals.updates);
    let ratio = changes as f64 / totals.records.max(1) as f64;
    if totals.records >= RATIO_FROM_RECORDS && ratio > limits.max_change_ratio {
        found.push(format!(
            "{changes} changes to the {} records of the {} side ({:.1} %) are more than \
             max_change_ratio {}",
            totals.records,
            side.name(),
            ratio * 100.0,
            Value::from(limits.max_change_ratio)
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::Pair;

    fn gone(count: usize) -> Vec<Deletion> {
        let one = |n| Deletion {
            record: format!("r{n:05}"),
            deleted_on: Side::Left,
            edited_on_other: false,
        };
        (0..count).map(one).collect()
    }

    fn planned(policy: &DeletePolicy, deletions: &[Deletion], records: u64) -> DeletePlan {
        let totals = SideTotals { records, updates: 0 };
        plan(policy, &DeleteLimits::default(), deletions, &Pair { left: totals, right: totals })
            .unwrap()
    }

    #[test]
    fn each_policy_does_what_it_says() {
        assert!(matches!(
            planned(&DeletePolicy::Ignore, &gone(500), 500).approved(None).unwrap()[..],
            [DeleteAction::Unlink { .. }, ..]
        ));
        let set = Record::from([("archived".into(), json!(true))]);
        let archive = DeletePolicy::Archive { set: set.clone() };
        assert_eq!(
            planned(&archive, &gone(1), 500).approved(None).unwrap(),
            [DeleteAction::Archive { record: "r00000".into(), side: Side::Right, set }]
        );
        assert_eq!(
            planned(&DeletePolicy::Propagate, &gone(1), 500).approved(None).unwrap(),
            [DeleteAction::Delete { record: "r00000".into(), side: Side::Right }]
        );
    }

    #[test]
    fn a_record_deleted_here_and_edited_there_is_asked_about() {
        let mut deletions = gone(1);
        deletions[0].edited_on_other = true;
        let actions = planned(&DeletePolicy::Propagate, &deletions, 500).approved(None).unwrap();
        assert!(matches!(actions[..], [DeleteAction::Ask { deleted_on: Side::Left, .. }]));
    }

    #[test]
    fn a_plan_beyond_its_limits_is_refused_with_numbers_and_needs_its_own_token() {
        let error = planned(&DeletePolicy::Propagate, &gone(120), 400).approved(None).unwrap_err();
        assert_eq!(error.kind().exit_code(), 3);
        for part in ["120 deletions", "max_deletes 100", "30.0 %", "max_change_ratio 0.2"] {
            assert!(error.message().contains(part), "{error}");
        }
        let token = planned(&DeletePolicy::Propagate, &gone(120), 400).token;
        assert!(error.hint_text().unwrap().contains(&token));
        let same = planned(&DeletePolicy::Propagate, &gone(120), 400);
        assert_eq!(same.approved(Some(&token)).unwrap().len(), 120);
        let more = planned(&DeletePolicy::Propagate, &gone(121), 400);
        assert!(more.approved(Some(&token)).unwrap_err().message().contains("another plan"));
    }

    #[test]
    fn an_empty_source_never_empties_the_other_side() {
        for (deleted, records) in [(2, 2), (19, 19), (20, 20), (49, 99), (50_000, 100_000)] {
            let plan = planned(&DeletePolicy::Propagate, &gone(deleted), records);
            assert!(plan.approved(None).is_err(), "{records}");
        }
        let totals = Pair { left: SideTotals { records: 100, updates: 90 }, ..Pair::default() };
        let updates_only =
            plan(&DeletePolicy::Propagate, &DeleteLimits::default(), &[], &totals).unwrap();
        assert!(updates_only.approved(None).unwrap().is_empty());
    }

    #[test]
    fn a_deletion_reported_twice_counts_once() {
        let twice = [gone(60), gone(60)].concat();
        assert_eq!(
            planned(&DeletePolicy::Propagate, &twice, 1_000).approved(None).unwrap().len(),
            60
        );
    }

    #[test]
    fn impossible_limits_and_policies_are_refused() {
        let limits = DeleteLimits { max_change_ratio: 20.0, ..DeleteLimits::default() };
        assert!(plan(&DeletePolicy::Ignore, &limits, &[], &Pair::default()).is_err());
        let nothing = DeletePolicy::Archive { set: Record::new() };
        let error = plan(&nothing, &DeleteLimits::default(), &[], &Pair::default()).unwrap_err();
        assert!(error.hint_text().unwrap().contains("set:"));
    }
}
