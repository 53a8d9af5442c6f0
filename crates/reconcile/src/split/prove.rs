//! The proof that a split neither lost nor leaked a row, by walking from every row to its owner.

use std::collections::BTreeMap;

use serde::Serialize;

use super::rules::{Placement, Sharing};
use super::scan::{Digest, Scan};
use crate::record::{Pair, Side};

/// How many rows are told of each kind of breach.
const TOLD_MAX: usize = 20;

/// What rows of a part are that the system which was taken apart does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Wrong: a part holds nothing but what was split.
    Strange,
    /// Somebody else's, which were there before and stay: rows are merged into what a part holds.
    Stay,
}

/// What was counted, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Rows that went in.
    pub rows_in: u64,
    /// Rows of each part, without those that were there before and may stay.
    pub rows: Pair<u64>,
    /// Rows of each part that were there before and may stay.
    pub others: Pair<u64>,
    /// Rows of shared tables that are in both parts.
    pub rows_copied: u64,
    /// References that were followed and lead to a row of the same part.
    pub references: u64,
    /// References that are empty in a part and were not before.
    pub cleared: u64,
    /// References that lead to rows that were nowhere to begin with.
    pub dangling: u64,
    /// How many breaches there are; a row can be wrong in several ways.
    pub breaches: u64,
    /// How many there are of each kind.
    kinds: BTreeMap<BreachKind, u64>,
    /// The first of them of each kind.
    pub told: Vec<Breach>,
}

/// A row that is where it must not be, or not where it must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// What is wrong.
    pub kind: BreachKind,
    /// The part that has the row; none if neither has it.
    pub part: Option<Side>,
    /// The table, by its place in the rules.
    pub table: usize,
    /// The digest of its key.
    pub key: Digest,
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreachKind {
    /// It is in neither part.
    Lost,
    /// It is in a part more than once.
    Doubled,
    /// It belongs to the other part.
    Leaked,
    /// It was not there before.
    Strange,
    /// One of its references leads to a row of the other part.
    LeadsOut,
}

impl BreachKind {
    /// What is wrong, after "row … ".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Lost => "is in neither part",
            Self::Doubled => "is there more than once",
            Self::Leaked => "belongs to the other part",
            Self::Strange => "was not there before",
            Self::LeadsOut => "refers to a row of the other part",
        }
    }
}

impl Proof {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.breaches == 0
    }

    /// How many breaches there are of one kind.
    #[must_use]
    pub fn of_kind(&self, kind: BreachKind) -> u64 {
        self.kinds.get(&kind).copied().unwrap_or_default()
    }

    fn breach(&mut self, kind: BreachKind, part: Option<Side>, table: usize, key: Digest) {
        self.breaches += 1;
        *self.kinds.entry(kind).or_default() += 1;
        if self.told.iter().filter(|told| told.kind == kind).count() < TOLD_MAX {
            self.told.push(Breach { kind, part, table, key });
        }
    }
}

/// Proves of what was found in both parts: every row of `source` is in a part; a row that is not shared
/// is in exactly one, the one of the divided row it hangs on; a shared row is only where it is declared
/// or needed; no reference leads out of its part; and no row is there that was not there before, unless
/// `others` may stay. Those have no part in the proof otherwise: what they refer to is theirs to know. A
/// row that the source has is never one of them, wherever it stands. All three scans are settled and have
/// the same rules.
#[must_use]
pub fn prove(source: &Scan<'_>, parts: &Pair<Scan<'_>>, others: Others) -> Proof {
    let mut proof = Proof::default();
    let needed = Pair { left: needed(source, &parts.left), right: needed(source, &parts.right) };
    for (table, rule) in source.rules().tables.iter().enumerate() {
        let Some(rows) = source.table(table) else { continue };
        for (row, key) in rows.keys().iter().enumerate() {
            proof.rows_in += 1;
            let there = Side::BOTH.map(|part| {
                let found = parts.of(part).table(table).map_or(0, |found| found.count(*key));
                if found > 1 {
                    proof.breach(BreachKind::Doubled, Some(part), table, *key);
                }
                *proof.rows.of_mut(part) += found as u64;
                found > 0
            });
            match there {
                [false, false] => proof.breach(BreachKind::Lost, None, table, *key),
                [true, true] => proof.rows_copied += 1,
                _ => {}
            }
            let allowed = |part: Side| match &rule.placement {
                Placement::Shared(Sharing::Both) => true,
                Placement::Shared(Sharing::Only { side }) => part == *side,
                Placement::Shared(Sharing::WhereNeeded { otherwise }) => {
                    let flags = needed.of(part).get(table).and_then(|flags| flags.get(row));
                    part == *otherwise || flags.copied().unwrap_or_default()
                }
                Placement::Divided | Placement::With { .. } => {
                    owner(source, table, row).is_none_or(|side| side == part)
                }
            };
            for (part, there) in Side::BOTH.into_iter().zip(there) {
                if there && !allowed(part) {
                    proof.breach(BreachKind::Leaked, Some(part), table, *key);
                }
            }
        }
        for part in Side::BOTH {
            references(&mut proof, source, (part, parts.of(part)), others, table);
        }
    }
    proof
}

/// The part of the divided row that a row hangs on, by walking from owner to owner.
fn owner(source: &Scan<'_>, table: usize, row: usize) -> Option<Side> {
    let (mut table, mut row) = (table, row);
    // Owners were proved to form no circle, so no walk is longer than there are tables.
    for _ in 0..=source.rules().tables.len() {
        match &source.rules().tables.get(table)?.placement {
            Placement::Divided => return source.table(table)?.side(row),
            Placement::With { reference, otherwise } => {
                match source.target(table, row, *reference) {
                    Some(next) => (table, row) = next,
                    None => return *otherwise,
                }
            }
            Placement::Shared(_) => return None,
        }
    }
    None
}

/// Which rows of the source the rows of a part refer to, by table.
fn needed(source: &Scan<'_>, part: &Scan<'_>) -> Vec<Vec<bool>> {
    let tables = &source.rules().tables;
    let rows = |table: usize| source.table(table).map_or(0, |rows| rows.len());
    let mut needed: Vec<Vec<bool>> =
        (0..tables.len()).map(|table| vec![false; rows(table)]).collect();
    for (table, rule) in tables.iter().enumerate() {
        let (Some(found), Some(before)) = (part.table(table), source.table(table)) else {
            continue;
        };
        for (number, reference) in rule.references.iter().enumerate() {
            let Some(parents) = source.table(reference.parent) else { continue };
            let Some(flags) = needed.get_mut(reference.parent) else { continue };
            for (row, key) in found.keys().iter().enumerate() {
                // What rows of somebody else need, the split does not owe them.
                if before.find(*key).is_none() {
                    continue;
                }
                let target = found.reference(row, number).and_then(|value| parents.find(value));
                if let Some(flag) = target.and_then(|target| flags.get_mut(target)) {
                    *flag = true;
                }
            }
        }
    }
    needed
}

/// Follows every reference of a table in a part, and looks for rows that were not there before.
fn references(
    proof: &mut Proof,
    source: &Scan<'_>,
    (side, part): (Side, &Scan<'_>),
    others: Others,
    table: usize,
) {
    let Some(rule) = source.rules().tables.get(table) else { return };
    let (Some(before), Some(found)) = (source.table(table), part.table(table)) else { return };
    for (row, key) in found.keys().iter().enumerate() {
        let Some(original) = before.find(*key) else {
            match others {
                Others::Stay => *proof.others.of_mut(side) += 1,
                Others::Strange => {
                    *proof.rows.of_mut(side) += 1;
                    proof.breach(BreachKind::Strange, Some(side), table, *key);
                }
            }
            continue;
        };
        for (number, reference) in rule.references.iter().enumerate() {
            let has = |scan: &Scan<'_>, value| {
                scan.table(reference.parent).is_some_and(|rows| rows.find(value).is_some())
            };
            match found.reference(row, number) {
                None => proof.cleared += u64::from(before.reference(original, number).is_some()),
                Some(value) if has(part, value) => proof.references += 1,
                Some(value) if has(source, value) => {
                    proof.breach(BreachKind::LeadsOut, Some(side), table, *key);
                }
                Some(_) => proof.dangling += 1,
            }
        }
    }
}
