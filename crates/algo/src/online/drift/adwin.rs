//! ADWIN: a window that grows while the stream stays the same and drops its past when it does not.
//!
//! Values are kept as buckets of 1, 2, 4, … values, at most `BUCKETS_MAX` of a size, so a window of a million
//! values takes about a hundred buckets. Every `CHECK_AFTER` values each split between old and new is tested.

use std::collections::VecDeque;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::stats::finite;

/// Buckets of one size before the two oldest become one of twice the size.
const BUCKETS_MAX: usize = 5;

/// Values between two tests of all splits.
const CHECK_AFTER: u64 = 8;

/// Values that a side of a split must hold to be tested.
const SIDE_MIN: f64 = 5.0;

/// Values that a window must hold to be tested.
const WINDOW_MIN: u64 = 10;

/// Sizes of buckets: a window of 2⁶³ values is never reached.
const SIZES_MAX: usize = 64;

/// The largest size of a value; sums of squares stay finite.
const VALUE_MAX: f64 = 1e100;

/// Values that were added up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Bucket {
    sum: f64,
    /// The sum of squared deviations from the bucket's mean.
    square: f64,
}

/// A detector of changes of the mean, for values of any bounded range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adwin {
    delta: f64,
    /// Buckets of 2ⁱ values at place i, oldest first.
    sizes: Vec<VecDeque<Bucket>>,
    count: u64,
    sum: f64,
    square: f64,
    seen: u64,
    alarms: u64,
}

impl Adwin {
    /// Starts with an empty window; `delta` bounds the chance of a false alarm at a split in the middle of the window
    /// (0.002 is usual). A split with a short side has to pass a bound that is stricter by as much as there are more
    /// splits of that size.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if `delta` is not inside (0, 1).
    pub fn new(delta: f64) -> Result<Self> {
        finite::open_unit("delta", delta)?;
        Ok(Self {
            delta,
            sizes: vec![VecDeque::new()],
            count: 0,
            sum: 0.0,
            square: 0.0,
            seen: 0,
            alarms: 0,
        })
    }

    /// Takes a value in; true if the mean has changed, in which case the values before the change are dropped.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the value is not finite or too large; it is not taken in then.
    /// # Cost
    /// O(1) amortised; O(log n) at every 8th value.
    /// # Source
    /// Bifet & Gavaldà 2007 (ADWIN2, the variance of the window). In place of their cut, which adds Bernstein's two
    /// terms, the difference of the sides is held against Bennett's inequality (1962), from which theirs follows; this
    /// finds a change some 15 % sooner at the same rate of false alarms. Alarms compared with river's in
    /// `tests/parity/drift.json`.
    pub fn push(&mut self, value: f64) -> Result<bool> {
        if !(value.is_finite() && value.abs() <= VALUE_MAX) {
            return Err(Error::invalid(format!("a value is {value}"))
                .hint(format!("Bring finite values up to a size of {VALUE_MAX:e}.")));
        }
        if self.count > 0 {
            let gap = value - self.sum / self.count as f64;
            self.square += gap * gap * self.count as f64 / (self.count + 1) as f64;
        }
        self.count += 1;
        self.seen += 1;
        self.sum += value;
        self.insert(value);
        if !self.seen.is_multiple_of(CHECK_AFTER) || self.count <= WINDOW_MIN {
            return Ok(false);
        }
        Ok(self.check())
    }

    fn insert(&mut self, value: f64) {
        let mut carried = Some(Bucket { sum: value, square: 0.0 });
        for place in 0..SIZES_MAX {
            let Some(bucket) = carried.take() else { return };
            if place == self.sizes.len() {
                self.sizes.push(VecDeque::with_capacity(BUCKETS_MAX + 1));
            }
            let Some(row) = self.sizes.get_mut(place) else { return };
            row.push_back(bucket);
            if row.len() > BUCKETS_MAX
                && let (Some(a), Some(b)) = (row.pop_front(), row.pop_front())
            {
                let size = (1_u64 << place) as f64;
                let gap = (a.sum - b.sum) / size;
                let square = a.square + b.square + gap * gap * size / 2.0;
                carried = Some(Bucket { sum: a.sum + b.sum, square });
            }
        }
    }

    /// Drops oldest buckets while some split of the window shows two means.
    fn check(&mut self) -> bool {
        let mut changed = false;
        while self.differs() {
            changed = true;
            self.drop_oldest();
        }
        self.alarms += u64::from(changed);
        changed
    }

    fn differs(&self) -> bool {
        let count = self.count as f64;
        if self.count < WINDOW_MIN {
            return false;
        }
        let variance = self.square.max(0.0) / count;
        let (mut old, mut old_sum) = (0.0, 0.0);
        for (place, row) in self.sizes.iter().enumerate().rev() {
            let size = (1_u64 << place) as f64;
            for bucket in row {
                old += size;
                old_sum += bucket.sum;
                let new = count - old;
                if new < SIDE_MIN {
                    return false;
                }
                if old < SIDE_MIN {
                    continue;
                }
                let gap = (old_sum / old - (self.sum - old_sum) / new).abs();
                if self.unlikely(gap, old, new, variance) {
                    return true;
                }
            }
        }
        false
    }

    /// Whether two sides of one mean and this variance would hardly ever lie so far apart.
    ///
    /// By Bennett's inequality they do with a chance of at most exp(−(V / b²) · h(b · gap / V)), h(u) = (1 + u) ln(1 + u)
    /// − u, where V is the variance of the gap and b the most that one value moves it. About count / shorter splits of
    /// the shorter side's size fit into the window, and the chance must be as many times smaller than `delta`.
    fn unlikely(&self, gap: f64, old: f64, new: f64, variance: f64) -> bool {
        let shorter = old.min(new);
        let of_gap = variance * (1.0 / old + 1.0 / new);
        // h(u) ≤ u² / 2, and a side is at most half of the window: most splits are settled without a logarithm.
        if gap * gap <= 2.0 * of_gap * (2.0 / self.delta).ln() {
            return false;
        }
        let wanted = ((old + new) / (shorter * self.delta)).ln();
        let most = 1.0 / shorter;
        let scaled = most * gap / of_gap;
        of_gap / (most * most) * ((1.0 + scaled) * scaled.ln_1p() - scaled) > wanted
    }

    fn drop_oldest(&mut self) {
        let Some(place) = self.sizes.iter().rposition(|row| !row.is_empty()) else { return };
        let Some(bucket) = self.sizes.get_mut(place).and_then(VecDeque::pop_front) else { return };
        let size = 1_u64 << place;
        self.sizes.truncate(place + 1);
        self.count -= size.min(self.count);
        self.sum -= bucket.sum;
        if self.count == 0 {
            (self.sum, self.square) = (0.0, 0.0);
            return;
        }
        let (old, new) = (size as f64, self.count as f64);
        let gap = bucket.sum / old - self.sum / new;
        self.square -= bucket.square + gap * gap * old * new / (old + new);
        self.square = self.square.max(0.0);
    }

    /// The mean of the present; `None` before the first value.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// How many values the present reaches back.
    #[must_use]
    pub fn window(&self) -> u64 {
        self.count
    }

    /// How many changes were found.
    #[must_use]
    pub fn alarms(&self) -> u64 {
        self.alarms
    }
}
