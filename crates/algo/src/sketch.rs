//! How many different values there are, and a fair sample of rows, in bounded memory and one pass.
//!
//! Both work on 64-bit hashes and depend on the set of values only, not on their order, so that the same table gives
//! the same answer whatever thread read which part of it first.
//!
//! # Source
//! Flajolet, Fusy, Gandouet & Meunier 2007 (HyperLogLog) with the linear counting of small counts; Heule, Nunkesser &
//! Hall 2013 for 64-bit hashes.

use std::collections::BTreeSet;

/// Up to so many different values are counted exactly.
pub const EXACT_MAX: usize = 10_000;

/// Bits of a hash that choose a register: 16,384 registers, a standard error of 0.8 %.
const BITS: u32 = 14;

/// Counts different values.
#[derive(Clone, Debug)]
pub enum Distinct {
    /// Every hash; below [`EXACT_MAX`] of them.
    Exact(BTreeSet<u64>),
    /// HyperLogLog registers.
    Estimated(Vec<u8>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Exact(BTreeSet::new())
    }
}

impl Distinct {
    /// Adds a value by its hash, which must spread evenly.
    pub fn add(&mut self, hash: u64) {
        match self {
            Self::Exact(set) => {
                set.insert(hash);
                if set.len() > EXACT_MAX {
                    let mut registers = vec![0; 1 << BITS];
                    set.iter().for_each(|hash| register(&mut registers, *hash));
                    *self = Self::Estimated(registers);
                }
            }
            Self::Estimated(registers) => register(registers, hash),
        }
    }

    /// Whether the count is exact.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }

    /// How many different values were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        let registers = match self {
            Self::Exact(set) => return set.len() as u64,
            Self::Estimated(registers) => registers,
        };
        let size = registers.len() as f64;
        let sum: f64 = registers.iter().map(|rank| (-f64::from(*rank)).exp2()).sum();
        let raw = 0.7213 / (1.0 + 1.079 / size) * size * size / sum;
        let empty = registers.iter().filter(|rank| **rank == 0).count();
        let estimate = match empty {
            0 => raw,
            empty if raw <= 2.5 * size => size * (size / empty as f64).ln(),
            _ => raw,
        };
        estimate.round() as u64
    }
}

fn register(registers: &mut [u8], hash: u64) {
    let at = (hash >> (64 - BITS)) as usize;
    let rank = ((hash << BITS) | (1 << (BITS - 1))).leading_zeros() as u8 + 1;
    if let Some(register) = registers.get_mut(at) {
        *register = (*register).max(rank);
    }
}

/// Decides which rows belong to a sample of bounded size: those whose hash ends in enough zeros.
#[derive(Clone, Debug)]
pub struct Sampler {
    zeros: u32,
    limit: usize,
}

impl Sampler {
    /// A sampler of at most `limit` rows.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { zeros: 0, limit }
    }

    /// Whether a row with this hash belongs to the sample as it is now.
    #[must_use]
    pub fn keeps(&self, hash: u64) -> bool {
        hash.trailing_zeros() >= self.zeros
    }

    /// Whether a sample of `rows` rows has to be thinned out: those that [`Sampler::keeps`] then refuses are dropped.
    pub fn thins(&mut self, rows: usize) -> bool {
        let full = rows > self.limit && self.zeros < u64::BITS;
        if full {
            self.zeros += 1;
        }
        full
    }
}

#[cfg(test)]
mod tests {
    use flywheel_base::digest;

    use super::*;

    fn hash(n: u64) -> u64 {
        digest::hash64(&[&n.to_le_bytes()])
    }

    #[test]
    fn small_counts_are_exact_and_large_ones_within_three_standard_errors() {
        for count in [0, 1, 9_999, 10_000, 10_001, 50_000, 300_000] {
            let mut distinct = Distinct::default();
            for n in (0..count).chain(0..count.min(1_000)) {
                distinct.add(hash(n));
            }
            assert_eq!(distinct.is_exact(), count <= 10_000);
            let error = (distinct.count() as f64 - count as f64).abs();
            assert!(
                error <= if count <= 10_000 { 0.0 } else { 0.024 * count as f64 },
                "{count}: {error}"
            );
        }
    }

    #[test]
    fn a_sample_is_bounded_and_does_not_depend_on_the_order_of_rows() {
        let sample = |order: &[u64]| {
            let (mut sampler, mut kept) = (Sampler::new(100), Vec::new());
            for n in order {
                if sampler.keeps(hash(*n)) {
                    kept.push(*n);
                }
                while sampler.thins(kept.len()) {
                    kept.retain(|n| sampler.keeps(hash(*n)));
                }
            }
            kept.sort_unstable();
            kept
        };
        let rows: Vec<u64> = (0..10_000).collect();
        let backwards: Vec<u64> = rows.iter().rev().copied().collect();
        let kept = sample(&rows);
        assert!((30..=100).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept, sample(&backwards));
    }
}
