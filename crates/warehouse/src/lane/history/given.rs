//! The changes that are given to a history, and the versions they begin and end.
//!
//! A change of a moment that the version of its key has passed is there already if that version is what
//! it leads to: a log tells again what a whole read has seen, and then nothing may come twice. Any
//! other such change ends the version right after it began, as clocks differ and some are coarse.

use std::collections::HashMap;
use std::ops::Range;

use crate::lane::staged::Staged;

/// A moment before all others.
const NEVER: i64 = i64::MIN;

/// The given rows by their number.
pub(super) struct Given {
    /// What tells the values of a row from those of another one.
    digests: Vec<u128>,
    /// When the row changed; if it begins a version, when that begins.
    moments: Vec<i64>,
    /// Whether the row begins a version.
    wanted: Vec<bool>,
    /// When the version of the row ends that does not hold any more.
    ends: HashMap<usize, i64>,
    /// Whether the row is the last one of its key, and it is not decided yet what becomes of that.
    undecided: Vec<bool>,
    /// When the last version of a key ended, by the last row of the key.
    ended: HashMap<usize, i64>,
    /// The first moment of all.
    first: i64,
    /// Whether the rows tell their moments; otherwise that of a change is that of a run, and a version that began
    /// in the same one is given anew.
    dated: bool,
    /// Rows that lost against a later one of the same key and moment.
    pub(super) superseded: u64,
}

/// How a key stands.
#[derive(Clone, Copy)]
struct Stand {
    /// From when on.
    since: i64,
    /// The digest of the version that holds; none if none does.
    value: Option<u128>,
}

/// A change of a key.
#[derive(Clone, Copy)]
struct Step {
    row: usize,
    at: i64,
    /// The digest of the new version; none if the key has ended.
    value: Option<u128>,
}

/// What becomes of a version that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    Stays,
    /// It ends at a moment.
    Ends(i64),
    /// It is given anew.
    Goes,
}

impl Given {
    /// Rows with digests and moments, of which nothing is decided yet. A row without moment has that of the next one
    /// that tells it: rows of a transaction may come before its end is known. Without any it is `at`.
    pub(super) fn new(
        staged: &Staged,
        digests: Vec<u128>,
        told: Vec<Option<i64>>,
        at: i64,
        dated: bool,
    ) -> Self {
        let mut next = at;
        let mut moments: Vec<i64> = Vec::with_capacity(told.len());
        for told in told.into_iter().rev() {
            next = told.unwrap_or(next);
            moments.push(next);
        }
        moments.reverse();
        Self {
            wanted: vec![false; digests.len()],
            ends: HashMap::new(),
            undecided: staged.winning_rows(),
            ended: HashMap::new(),
            first: moments.iter().copied().min().unwrap_or(at),
            digests,
            moments,
            dated,
            superseded: 0,
        }
    }

    /// The first moment of all.
    pub(super) fn first(&self) -> i64 {
        self.first
    }

    /// Learns that a version ended at `end` of the key whose last row is `last`.
    pub(super) fn remember(&mut self, last: usize, end: i64) {
        // What ended before all changes has no part in them.
        if end >= self.first {
            let known = self.ended.entry(last).or_insert(end);
            *known = end.max(*known);
        }
    }

    /// What becomes of the version that holds, with the digest `value`, since `since`, of the key whose last row
    /// is `last`.
    pub(super) fn meet(&mut self, staged: &Staged, last: usize, since: i64, value: u128) -> Fate {
        if self.undecided.get(last).copied().unwrap_or_default() {
            return self.decide(staged, last, Stand { since, value: Some(value) });
        }
        // Another version of the key holds as well, which only other programs bring about.
        let at = self.moments.get(last).copied().unwrap_or(since);
        Fate::Ends(at.max(since.saturating_add(1)))
    }

    /// What becomes of a version that holds since `since`, when its key has ended at `at`.
    pub(super) fn end(&self, since: i64, at: i64) -> Fate {
        if since == at && !self.dated {
            return Fate::Goes;
        }
        Fate::Ends(at.max(since.saturating_add(1)))
    }

    /// Decides about all keys of which no version holds.
    pub(super) fn decide_rest(&mut self, staged: &Staged) {
        for last in 0..self.undecided.len() {
            if self.undecided.get(last).copied().unwrap_or_default() {
                let since = self.ended.get(&last).copied().unwrap_or(NEVER);
                self.decide(staged, last, Stand { since, value: None });
            }
        }
    }

    /// Follows a key, whose last row is `last`, through its changes. Returns what becomes of the version that holds.
    fn decide(&mut self, staged: &Staged, last: usize, stand: Stand) -> Fate {
        if let Some(undecided) = self.undecided.get_mut(last) {
            *undecided = false;
        }
        let steps = self.steps(staged, last);
        let there =
            steps.iter().rposition(|step| step.at <= stand.since && step.value == stand.value);
        let (mut now, mut open, mut fate) = (stand, None, Fate::Stays);
        for step in steps.iter().skip(there.map_or(0, |there| there + 1)) {
            if step.value == now.value {
                continue;
            }
            let mut at = step.at.max(now.since);
            if now.value.is_some() {
                match open {
                    Some(row) => {
                        at = step.at.max(now.since.saturating_add(1));
                        self.ends.insert(row, at);
                    }
                    None => {
                        fate = self.end(now.since, step.at);
                        if let Fate::Ends(end) = fate {
                            at = end;
                        }
                    }
                }
            }
            open = step.value.map(|_| step.row);
            if let Some(row) = open {
                self.begin(row, at);
            }
            now = Stand { since: at, value: step.value };
        }
        fate
    }

    /// The changes of the key whose last row is `last`. Of those of one moment only the last one counts: nobody but
    /// their transaction has seen the others.
    fn steps(&mut self, staged: &Staged, last: usize) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for row in staged.rows_like(last) {
            let (Some(at), Some(digest)) = (self.moments.get(row), self.digests.get(row)) else {
                continue;
            };
            let deleted = staged.deletes.get(row).copied().unwrap_or_default();
            let step = Step { row, at: *at, value: (!deleted).then_some(*digest) };
            match steps.last_mut() {
                Some(before) if before.at == step.at => {
                    *before = step;
                    self.superseded += 1;
                }
                _ => steps.push(step),
            }
        }
        steps
    }

    fn begin(&mut self, row: usize, at: i64) {
        if let (Some(wanted), Some(moment)) = (self.wanted.get_mut(row), self.moments.get_mut(row))
        {
            (*wanted, *moment) = (true, at);
        }
    }

    /// Whether the rows begin versions.
    pub(super) fn wanted(&self, rows: Range<usize>) -> &[bool] {
        self.wanted.get(rows).unwrap_or_default()
    }

    /// When the versions of the rows begin.
    pub(super) fn begins(&self, rows: Range<usize>) -> &[i64] {
        self.moments.get(rows).unwrap_or_default()
    }

    /// When the version of the row ends, if it has.
    pub(super) fn end_of(&self, row: usize) -> Option<i64> {
        self.ends.get(&row).copied()
    }
}
