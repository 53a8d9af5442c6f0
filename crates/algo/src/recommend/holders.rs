//! The matrix turned around: who has each item, and with whom an item shares people.
//!
//! What the linear recommenders are made of: a pair of items is worth the sum of a weight over the
//! users that have both. Only pairs that somebody has are ever touched, so that no items × items
//! matrix is made.

use rayon::prelude::*;

use super::interactions::Interactions;

/// Bits of one word of [`Sums::marks`].
const WORD_BITS: usize = 64;
/// The most items whose pairs are made together.
const TOGETHER: usize = 128;
/// As many pairs end what is made together (8 MB).
const PAIRS_TOGETHER: usize = 1 << 20;

/// Per item the users that have it, ascending.
#[derive(Clone, Debug)]
pub(super) struct Holders<'a> {
    data: &'a Interactions,
    offsets: Vec<usize>,
    users: Vec<u32>,
}

impl<'a> Holders<'a> {
    /// Turns the filled cells around.
    pub(super) fn new(data: &'a Interactions) -> Self {
        let mut offsets = vec![0; data.item_count() + 1];
        for item in (0..data.user_count()).flat_map(|user| data.items(user)) {
            offsets[*item as usize + 1] += 1;
        }
        for item in 0..data.item_count() {
            offsets[item + 1] += offsets[item];
        }
        let mut users = vec![0; data.cell_count()];
        let mut next = offsets.clone();
        for user in 0..data.user_count() {
            for item in data.items(user) {
                let place = &mut next[*item as usize];
                users[*place] = user as u32;
                *place += 1;
            }
        }
        Self { data, offsets, users }
    }

    /// The users that have `item`, ascending.
    pub(super) fn users(&self, item: usize) -> &[u32] {
        &self.users[self.offsets[item]..self.offsets[item + 1]]
    }

    /// How many users have `item`.
    pub(super) fn degree(&self, item: usize) -> usize {
        self.offsets[item + 1] - self.offsets[item]
    }

    /// What `make` says of every item, given its pairs: each item that shares a user with it, itself
    /// included, ascending, with the sum of `user_weights` over the users that have both.
    ///
    /// # Cost
    /// O(Σ cells²) over users, in parallel over items; each sum is added in the order of users.
    pub(super) fn map_pairs<T: Send>(
        &self,
        user_weights: &[f32],
        make: impl Fn(usize, &[(u32, f32)]) -> T + Sync,
    ) -> Vec<T> {
        let count = self.data.item_count();
        (0..count)
            .into_par_iter()
            .map_init(
                || (Sums::new(count), Vec::new()),
                |(sums, pairs), item| {
                    self.sum_pairs(item, user_weights, sums, pairs);
                    make(item, pairs)
                },
            )
            .collect()
    }

    /// As [`Holders::map_pairs`], for some items that follow each other at once: `make` gets the first of them and the pairs
    /// of each, and says something of each. What it looks up for one pair is still near when the next item has that pair.
    ///
    /// # Cost
    /// That of [`Holders::map_pairs`]; the pairs of [`TOGETHER`] items are live per thread, fewer if they have many.
    pub(super) fn map_pairs_together<T: Send>(
        &self,
        user_weights: &[f32],
        make: impl Fn(usize, &mut [Vec<(u32, f32)>]) -> Vec<T> + Sync,
    ) -> Vec<T> {
        let count = self.data.item_count();
        let blocks: Vec<Vec<T>> = (0..count.div_ceil(TOGETHER))
            .into_par_iter()
            .map_init(
                || Sums::new(count),
                |sums, block| {
                    let (mut made, mut rows, mut total) = (Vec::new(), Vec::new(), 0);
                    let items = block * TOGETHER..count.min((block + 1) * TOGETHER);
                    let mut first = items.start;
                    for item in items {
                        let mut pairs = Vec::new();
                        self.sum_pairs(item, user_weights, sums, &mut pairs);
                        total += pairs.len();
                        rows.push(pairs);
                        if total >= PAIRS_TOGETHER {
                            made.extend(make(first, &mut rows));
                            rows.clear();
                            (first, total) = (item + 1, 0);
                        }
                    }
                    made.extend(make(first, &mut rows));
                    made
                },
            )
            .collect();
        blocks.into_iter().flatten().collect()
    }

    /// The pairs of one item, by sums that are empty before and after.
    fn sum_pairs(
        &self,
        item: usize,
        user_weights: &[f32],
        sums: &mut Sums,
        pairs: &mut Vec<(u32, f32)>,
    ) {
        for user in self.users(item) {
            let weight = user_weights[*user as usize];
            sums.add(self.data.items(*user as usize), weight);
        }
        sums.drain(pairs);
    }
}

/// A sum per item, with a bit for each that is in use.
#[derive(Clone, Debug)]
struct Sums {
    values: Vec<f32>,
    marks: Vec<u64>,
}

impl Sums {
    fn new(count: usize) -> Self {
        Self { values: vec![0.0; count], marks: vec![0; count.div_ceil(WORD_BITS)] }
    }

    fn add(&mut self, items: &[u32], weight: f32) {
        for item in items {
            let item = *item as usize;
            self.values[item] += weight;
            self.marks[item / WORD_BITS] |= 1 << (item % WORD_BITS);
        }
    }

    /// Moves all sums into `pairs`, ascending, and is empty again.
    fn drain(&mut self, pairs: &mut Vec<(u32, f32)>) {
        pairs.clear();
        for (word, mark) in self.marks.iter_mut().enumerate() {
            while *mark != 0 {
                let item = word * WORD_BITS + mark.trailing_zeros() as usize;
                *mark &= *mark - 1;
                pairs.push((item as u32, std::mem::take(&mut self.values[item])));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::interactions::Interaction;
    use super::*;

    #[test]
    fn pairs_are_ascending_sums_over_those_who_have_both() {
        let pairs = [(0, 0), (0, 70), (1, 0), (1, 70), (1, 3), (2, 3)];
        let event = |(user, item)| Interaction { user, item, weight: 1.0, at: None };
        let data = Interactions::new(3, 71, pairs.map(event)).unwrap();
        let holders = Holders::new(&data);
        assert_eq!((holders.users(70), holders.degree(3), holders.degree(5)), (&[0, 1][..], 2, 0));
        let found = holders.map_pairs(&[1.0, 10.0, 100.0], |_, pairs| pairs.to_vec());
        assert_eq!(found[0], [(0, 11.0), (3, 10.0), (70, 11.0)]);
        assert_eq!(found[3], [(0, 10.0), (3, 110.0), (70, 10.0)]);
        assert!(found[5].is_empty());
        let together = holders.map_pairs_together(&[1.0, 10.0, 100.0], |_, rows| rows.to_vec());
        assert_eq!(together, found);
    }
}
