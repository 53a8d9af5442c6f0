//! Finding the rows in which two tables differ with few queries: sums over ranges, then over parts of
//! the ranges whose sums differ, then the keys of the small ranges that are left.
//!
//! ```text
//!  Start ─► Bounds ─► Buckets (16 parts of the whole) ─► Buckets (16 parts of one part) … ─► Rows ─► Done
//!              both sides are asked the same; a part whose count and sum agree is never asked about again
//! ```
//!
//! Pure: [`Bisect::step`] takes the answers of both sides and says what to ask next. Between two
//! queries a part is drawn in to the keys that exist in it, so that gaps in the keys cost nothing.

mod repair;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

pub use repair::{RangeRepair, Repair};

use crate::checksum::{Checksum, SUM_ROWS_MAX};
use crate::record::{Pair, Side};

/// Into how many parts a range is divided.
pub const FACTOR_DEFAULT: u32 = 16;

/// Up to how many rows a range is read row by row.
pub const LEAF_ROWS_DEFAULT: u64 = 10_000;

/// How many queries a side is asked at most before the rest is given back as ranges.
pub const QUERIES_MAX_DEFAULT: u64 = 500;

/// How a key is divided into ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeySpace {
    /// By the key itself, a whole number; uses the index.
    Integer,
    /// By the 32-bit digest of the key's text: any key, at the price of reading the table each time.
    Hashed,
}

/// A range of positions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Range {
    /// The first.
    pub low: i64,
    /// The last.
    pub high: i64,
}

/// What both sides are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// How many rows there are, and between which positions.
    Bounds,
    /// Count and sum of each of these adjacent ranges.
    Buckets {
        /// The ranges, in order.
        ranges: Vec<Range>,
    },
    /// Key and digest of every row of a range.
    Rows {
        /// The range.
        range: Range,
    },
}

/// What a side answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Query::Bounds`].
    Bounds {
        /// All rows.
        rows: u64,
        /// Those of them that have no key.
        null_keys: u64,
        /// The first and the last position; `None` if there are no rows.
        range: Option<Range>,
    },
    /// To [`Query::Buckets`]: those that have rows.
    Buckets(Vec<Bucket>),
    /// To [`Query::Rows`]: key text and digest, in any order.
    Rows(Vec<(String, u32)>),
}

/// Count and sum of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Which of the asked ranges, from 0.
    pub index: usize,
    /// Count and sum.
    pub checksum: Checksum,
    /// The positions of its first and last row.
    pub range: Range,
}

/// What a driver reports.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin.
    Start,
    /// Both sides answered the last query.
    Answered(Pair<Answer>),
}

/// What shall be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask both sides.
    Ask(Query),
    /// The comparison has ended.
    Done(Found),
}

/// How a key differs. Left is what it should be, right what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The right side has no row of the key.
    Missing,
    /// Only the right side has a row of the key.
    Extra,
    /// The rows of the key differ, in a value or in how many there are.
    Different,
}

/// A key whose rows differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Difference {
    /// The key's canonical text.
    pub key: String,
    /// How.
    pub kind: Kind,
}

/// A range that differs as a whole, or that was not looked into any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeDifference {
    /// The range.
    pub range: Range,
    /// `missing` or `extra` if one side has no row in it; `different` if it was not looked into.
    pub kind: Kind,
    /// How many rows the left side has in it.
    pub left_rows: u64,
    /// How many rows the right side has in it.
    pub right_rows: u64,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// How many rows each side has.
    pub rows: Pair<u64>,
    /// The keys that differ, in order.
    pub keys: Vec<Difference>,
    /// The ranges that differ as a whole, in order.
    pub ranges: Vec<RangeDifference>,
    /// How many queries each side answered.
    pub queries: u64,
}

impl Found {
    /// Whether both tables have the same rows.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty()
    }

    /// Those of the differences that a later comparison finds, too: what differs only because the
    /// tables were changing drops out.
    #[must_use]
    pub fn confirmed_by(&self, later: &Self) -> Vec<Difference> {
        self.keys.iter().filter(|found| later.keys.contains(found)).cloned().collect()
    }
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Into how many parts a range is divided.
    pub factor: u32,
    /// Up to how many rows a range is read row by row.
    pub leaf_rows: u64,
    /// How many queries a side is asked at most.
    pub queries_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            factor: FACTOR_DEFAULT,
            leaf_rows: LEAF_ROWS_DEFAULT,
            queries_max: QUERIES_MAX_DEFAULT,
        }
    }
}

/// Something that has still to be looked at.
#[derive(Clone, Copy, Debug)]
struct Task {
    range: Range,
    rows: Pair<u64>,
}

/// A comparison of two tables.
#[derive(Clone, Debug)]
pub struct Bisect {
    limits: Limits,
    tasks: VecDeque<Task>,
    asked: Option<Query>,
    found: Found,
}

impl Bisect {
    /// A comparison that has not begun.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the limits are impossible.
    pub fn new(limits: Limits) -> Result<Self> {
        let problem = if limits.factor < 2 {
            "factor is less than 2"
        } else if limits.leaf_rows == 0 {
            "leaf_rows is 0"
        } else if limits.queries_max < 2 {
            "queries_max is less than 2"
        } else {
            return Ok(Self {
                limits,
                tasks: VecDeque::new(),
                asked: None,
                found: Found::default(),
            });
        };
        Err(Error::invalid(format!("the limits of a comparison are impossible: {problem}"))
            .hint("Leave them out, or write factor 16, leaf_rows 10000, queries_max 500."))
    }

    /// Takes one input and says what shall be done.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if rows have no key or are too many to be summed;
    /// [`flywheel_base::ErrorKind::Internal`] if an answer does not belong to the question.
    pub fn step(&mut self, input: Input) -> Result<Effect> {
        match (input, self.asked.take()) {
            (Input::Start, None) => return Ok(self.ask(Query::Bounds)),
            (Input::Answered(Pair { left, right }), Some(asked)) => match (asked, left, right) {
                (Query::Bounds, left @ Answer::Bounds { .. }, right @ Answer::Bounds { .. }) => {
                    self.bounds(&[left, right])?;
                }
                (Query::Buckets { ranges }, Answer::Buckets(left), Answer::Buckets(right)) => {
                    self.buckets(&ranges, &left, &right)?;
                }
                (Query::Rows { .. }, Answer::Rows(left), Answer::Rows(right)) => {
                    self.rows(left, right);
                }
                _ => return Err(Error::internal("an answer does not belong to its question")),
            },
            _ => return Err(Error::internal("a comparison was begun twice or not at all")),
        }
        Ok(self.next())
    }

    fn ask(&mut self, query: Query) -> Effect {
        self.found.queries += 1;
        self.asked = Some(query.clone());
        Effect::Ask(query)
    }

    fn next(&mut self) -> Effect {
        while let Some(task) = self.tasks.pop_front() {
            let (left, right) = (task.rows.left, task.rows.right);
            let leaf = left.max(right) <= self.limits.leaf_rows;
            let kind = match (left, right) {
                (_, 0) if !leaf => Some(Kind::Missing),
                (0, _) if !leaf => Some(Kind::Extra),
                _ if self.found.queries >= self.limits.queries_max => Some(Kind::Different),
                _ if !leaf && task.range.low == task.range.high => Some(Kind::Different),
                _ => None,
            };
            if let Some(kind) = kind {
                let range = task.range;
                let found = RangeDifference { range, kind, left_rows: left, right_rows: right };
                self.found.ranges.push(found);
                continue;
            }
            return self.ask(if leaf {
                Query::Rows { range: task.range }
            } else {
                Query::Buckets { ranges: parts(task.range, self.limits.factor) }
            });
        }
        self.found.keys.sort();
        self.found.ranges.sort_by_key(|found| found.range);
        Effect::Done(std::mem::take(&mut self.found))
    }

    fn bounds(&mut self, answers: &[Answer; 2]) -> Result<()> {
        let mut rows = Pair::default();
        let mut ranges = Vec::new();
        for (side, answer) in Side::BOTH.into_iter().zip(answers) {
            let Answer::Bounds { rows: count, null_keys, range } = answer else { continue };
            if *null_keys > 0 {
                return Err(Error::invalid(format!(
                    "{null_keys} rows of the {} table have no key",
                    side.name()
                ))
                .hint(
                    "Compare by columns that are never null, or leave these rows out by a filter.",
                ));
            }
            if *count > SUM_ROWS_MAX {
                return Err(Error::invalid(format!(
                    "the {} table has {count} rows; one comparison sums at most {SUM_ROWS_MAX}",
                    side.name()
                ))
                .hint("Compare it in parts by a filter, such as one year each."));
            }
            *rows.of_mut(side) = *count;
            ranges.extend(*range);
        }
        self.found.rows = rows;
        if let Some(range) = hull(&ranges) {
            self.tasks.push_back(Task { range, rows });
        }
        Ok(())
    }

    fn buckets(&mut self, ranges: &[Range], left: &[Bucket], right: &[Bucket]) -> Result<()> {
        for bucket in left.iter().chain(right) {
            let asked = ranges.get(bucket.index);
            let inside = asked.is_some_and(|asked| {
                asked.low <= bucket.range.low && bucket.range.high <= asked.high
            });
            if !inside {
                return Err(Error::internal("a bucket has rows of a range it was not asked for"));
            }
        }
        for index in 0..ranges.len() {
            let of = |side: &[Bucket]| side.iter().find(|bucket| bucket.index == index).copied();
            let (left, right) = (of(left), of(right));
            let sum = |bucket: Option<Bucket>| bucket.map(|b| b.checksum).unwrap_or_default();
            if sum(left) == sum(right) {
                continue;
            }
            let present: Vec<Range> =
                left.iter().chain(&right).map(|bucket| bucket.range).collect();
            if let Some(range) = hull(&present) {
                let rows = Pair { left: sum(left).rows, right: sum(right).rows };
                self.tasks.push_back(Task { range, rows });
            }
        }
        Ok(())
    }

    fn rows(&mut self, left: Vec<(String, u32)>, right: Vec<(String, u32)>) {
        let mut keys: BTreeMap<String, Pair<Vec<u32>>> = BTreeMap::new();
        for (side, rows) in [(Side::Left, left), (Side::Right, right)] {
            for (key, hash) in rows {
                keys.entry(key).or_default().of_mut(side).push(hash);
            }
        }
        for (key, mut hashes) in keys {
            hashes.left.sort_unstable();
            hashes.right.sort_unstable();
            let kind = match (hashes.left.is_empty(), hashes.right.is_empty()) {
                (false, true) => Kind::Missing,
                (true, false) => Kind::Extra,
                _ if hashes.left == hashes.right => continue,
                _ => Kind::Different,
            };
            self.found.keys.push(Difference { key, kind });
        }
    }
}

/// The smallest range that holds all of these.
fn hull(ranges: &[Range]) -> Option<Range> {
    let low = ranges.iter().map(|range| range.low).min()?;
    let high = ranges.iter().map(|range| range.high).max()?;
    Some(Range { low, high })
}

/// Divides a range into at most `factor` adjacent ones of about the same width.
fn parts(range: Range, factor: u32) -> Vec<Range> {
    let width = i128::from(range.high) - i128::from(range.low) + 1;
    let count = i128::from(factor).min(width.max(1));
    let at = |part: i128| i128::from(range.low) + width * part / count;
    let narrow = |position: i128| i64::try_from(position).unwrap_or(range.high);
    (0..count).map(|part| Range { low: narrow(at(part)), high: narrow(at(part + 1) - 1) }).collect()
}
