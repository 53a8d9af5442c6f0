//! What a piece of work touches: by it is told what may be done side by side.

use std::collections::BTreeSet;

/// What a piece of work reads and writes while it is under way, by names of tables and of what else only one at a time
/// may change. Reading is touching, too: what is read by several steps must not change between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Whether it changes everything, as a turn of the whole wheel does.
    whole: bool,
    reads: BTreeSet<String>,
    writes: BTreeSet<String>,
}

impl Claims {
    /// Of work that may change anything.
    #[must_use]
    pub fn everything() -> Self {
        Self { whole: true, ..Self::default() }
    }

    /// Adds what is read.
    pub fn read(&mut self, names: impl IntoIterator<Item = String>) {
        self.reads.extend(names);
    }

    /// Adds what is written.
    pub fn write(&mut self, names: impl IntoIterator<Item = String>) {
        self.writes.extend(names);
    }

    /// Adds all that `other` touches.
    pub fn join(&mut self, other: &Self) {
        self.whole |= other.whole;
        self.reads.extend(other.reads.iter().cloned());
        self.writes.extend(other.writes.iter().cloned());
    }

    /// Whether the two cannot be under way at once.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        if self.is_empty() || other.is_empty() {
            return false;
        }
        self.whole
            || other.whole
            || !self.writes.is_disjoint(&other.writes)
            || !self.writes.is_disjoint(&other.reads)
            || !self.reads.is_disjoint(&other.writes)
    }

    fn is_empty(&self) -> bool {
        !self.whole && self.reads.is_empty() && self.writes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(reads: &[&str], writes: &[&str]) -> Claims {
        let mut claims = Claims::default();
        claims.read(reads.iter().map(ToString::to_string));
        claims.write(writes.iter().map(ToString::to_string));
        claims
    }

    #[test]
    fn two_meet_if_one_writes_what_the_other_touches() {
        let orders = claims(&[], &["raw.orders"]);
        let report = claims(&["raw.orders"], &["mart.report"]);
        let other = claims(&["raw.orders"], &["mart.other"]);
        assert!(orders.meets(&orders) && orders.meets(&report) && report.meets(&orders));
        assert!(!report.meets(&other), "both only read");
        assert!(Claims::everything().meets(&other) && other.meets(&Claims::everything()));
        assert!(
            !Claims::default().meets(&Claims::everything()),
            "what touches nothing meets nothing"
        );
        let mut both = orders;
        both.join(&other);
        assert!(both.meets(&report));
    }
}
