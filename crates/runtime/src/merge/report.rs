//! What a run of a merge did, or would do.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result};
use flywheel_reconcile::record::{canonical, is_blank};
use serde::Serialize;

use super::find::Found;
use super::read::Sources;
use super::{Merging, Options};

/// How many groups are shown as examples.
const EXAMPLES: usize = 5;

/// What a run of a merge did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MergeReport {
    /// The merge.
    pub merge: String,
    /// Whether it was only planned.
    pub planned: bool,
    /// What was read, by source.
    pub sources: Vec<SourceRows>,
    /// Rows that were read.
    pub rows_in: u64,
    /// Records of the merged table.
    pub records: u64,
    /// Rows that are part of a record that another row is, too: they have none of their own.
    pub merged: u64,
    /// Rows that were set aside.
    pub aside: u64,
    /// `balanced`: every row that was read is a record, part of one, or set aside.
    pub balance: &'static str,
    /// How many pairs each rule found that joined records, the strongest rule first.
    pub rules: Vec<RuleCount>,
    /// How many pairs were compared by likeness.
    pub pairs_compared: u64,
    /// Records that are made of several rows.
    pub groups: u64,
    /// Rows of the largest of them.
    pub largest: u64,
    /// Pairs that wait for a person.
    pub questions: u64,
    /// Pairs that people have decided.
    pub answered: u64,
    /// Groups in which the rows have different values, by field.
    pub conflicts: BTreeMap<String, u64>,
    /// Some of the groups.
    pub examples: Vec<Example>,
    /// Why rows were set aside.
    pub asides: Vec<Aside>,
    /// The tables that refer to the records.
    pub children: Vec<ChildRows>,
    /// The tables that were written; none in a plan.
    pub tables: Vec<TableWritten>,
    /// Groups that were taken apart.
    pub undone: u64,
    /// How well records were matched, if the truth was given.
    pub truth: Option<Truth>,
    /// What a person should know.
    pub notices: Vec<String>,
}

/// What was read of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceRows {
    /// The source.
    pub source: String,
    /// Rows that were read.
    pub rows: u64,
    /// Rows of them that were set aside.
    pub aside: u64,
}

/// Pairs that a rule found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleCount {
    /// The rule.
    pub rule: String,
    /// The pairs.
    pub pairs: u64,
}

/// A group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The key of the merged record.
    pub key: String,
    /// Its rows, as `source:key`.
    pub records: Vec<String>,
    /// Why they are the same.
    pub why: String,
    /// Fields in which they have different values.
    pub conflicts: Vec<String>,
}

/// Rows of a source that were set aside for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Aside {
    /// The source.
    pub source: String,
    /// The reason.
    pub why: String,
    /// How many rows.
    pub rows: u64,
}

/// A table whose rows refer to the merged records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChildRows {
    /// The table that is made.
    pub table: String,
    /// Its rows: all that were read.
    pub rows: u64,
    /// References that lead to another key than that of their own source.
    pub repointed: u64,
    /// References that led to nothing before, or to a row that was set aside.
    pub dangling: u64,
}

/// A table that was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableWritten {
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// Whether it stood already, so that nothing was written.
    pub stood: bool,
}

/// How well records were matched, by pairs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Truth {
    /// Pairs that are the same in truth.
    pub pairs: u64,
    /// Pairs that were matched.
    pub matched: u64,
    /// Pairs that were matched and are the same.
    pub right: u64,
    /// Pairs that are the same and wait for a person.
    pub asked: u64,
    /// `right / matched`; none if nothing was matched.
    pub precision: Option<f64>,
    /// `right / pairs`; none if nothing is the same.
    pub recall: Option<f64>,
}

impl MergeReport {
    /// Proves that every row has an end.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if the rows do not add up.
    pub(super) fn balance(&mut self) -> Result<()> {
        if self.records + self.merged + self.aside == self.rows_in {
            self.balance = "balanced";
            return Ok(());
        }
        Err(Error::internal(format!(
            "the rows do not add up: {} read, but {} records + {} merged + {} set aside",
            self.rows_in, self.records, self.merged, self.aside
        )))
    }
}

impl Merging<'_> {
    /// What was found, in numbers and examples.
    pub(super) fn report(
        &self,
        sources: &Sources,
        found: &Found,
        options: Options<'_>,
    ) -> MergeReport {
        let mut report = MergeReport {
            merge: self.name.to_owned(),
            planned: options.plan_only,
            pairs_compared: found.pairs_scored as u64,
            questions: found.review.len() as u64,
            answered: found.answered,
            records: found.groups.len() as u64,
            notices: found.notices.clone(),
            ..MergeReport::default()
        };
        let mut asides: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for source in &sources.all {
            let aside = source.aside.len() as u64;
            report.rows_in += source.rows;
            report.aside += aside;
            report.sources.push(SourceRows {
                source: source.name.clone(),
                rows: source.rows,
                aside,
            });
            for row in &source.aside {
                *asides.entry((source.name.as_str(), row.why.as_str())).or_default() += 1;
            }
        }
        report.asides = asides
            .into_iter()
            .map(|((source, why), rows)| Aside {
                source: source.to_owned(),
                why: why.to_owned(),
                rows,
            })
            .collect();
        for joined in &found.joined {
            // A likeness is a rule whatever its share.
            let rule = match joined.starts_with(LIKENESS) {
                true => "likeness",
                false => joined.as_str(),
            };
            match report.rules.iter_mut().find(|known| known.rule == rule) {
                Some(known) => known.pairs += 1,
                None => report.rules.push(RuleCount { rule: rule.to_owned(), pairs: 1 }),
            }
        }
        for group in found.groups.iter().filter(|group| group.members.len() > 1) {
            let members = group.members.len() as u64;
            report.groups += 1;
            report.merged += members - 1;
            report.largest = report.largest.max(members);
            let conflicts = self.conflicts(found, &group.members);
            for field in &conflicts {
                *report.conflicts.entry(field.clone()).or_default() += 1;
            }
            if report.examples.len() < EXAMPLES {
                let records = group.members.iter().filter_map(|member| found.own_key(*member));
                report.examples.push(Example {
                    key: group.key.clone(),
                    records: records.collect(),
                    why: group.why.clone(),
                    conflicts,
                });
            }
        }
        report
    }

    /// The fields in which records have values that differ.
    fn conflicts(&self, found: &Found, members: &[usize]) -> Vec<String> {
        let differs = |field: &str| {
            let entries = members.iter().filter_map(|member| found.entries.get(*member));
            let values = entries.filter_map(|entry| entry.fields.get(field));
            let values = values.filter(|value| !is_blank(value)).map(canonical);
            values.collect::<BTreeSet<_>>().len() > 1
        };
        let names = self.declared.fields.iter().map(|field| &field.name);
        names.filter(|name| differs(name)).cloned().collect()
    }
}

/// How the reason of a pair begins that is joined by likeness.
const LIKENESS: &str = "alike by ";
