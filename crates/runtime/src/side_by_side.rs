//! Several pieces of work, each begun when those it comes after are done and nothing under way touches the same.
//!
//! ```text
//! waiting ──begun──▶ under way ──▶ good
//!    │                   └───────▶ bad
//!    └── something it comes after was bad ──▶ left out
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use flywheel_state::Claims;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

/// One piece of work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    /// The places of those it comes after.
    pub(crate) after: Vec<usize>,
    /// What it touches.
    pub(crate) claims: Claims,
}

/// Which piece is next; pure.
#[derive(Debug)]
pub(crate) struct Order {
    pieces: Vec<Piece>,
    followers: Vec<Vec<usize>>,
    /// How many of those it comes after are not done.
    missing: Vec<usize>,
    ready: BTreeSet<usize>,
    under_way: BTreeMap<usize, Claims>,
    /// Pieces that were left out, by the piece that was bad.
    left_out: BTreeMap<usize, usize>,
}

impl Order {
    /// Takes pieces, all of which are to be done. An `after` that names no piece is passed over.
    pub(crate) fn new(pieces: Vec<Piece>) -> Self {
        let mut followers = vec![Vec::new(); pieces.len()];
        let mut missing = vec![0; pieces.len()];
        for (place, piece) in pieces.iter().enumerate() {
            let after: BTreeSet<usize> = piece.after.iter().copied().collect();
            for before in after {
                if let (Some(followers), Some(missing)) =
                    (followers.get_mut(before), missing.get_mut(place))
                {
                    followers.push(place);
                    *missing += 1;
                }
            }
        }
        let ready = missing.iter().enumerate().filter(|(_, count)| **count == 0);
        let ready = ready.map(|(place, _)| place).collect();
        Self {
            pieces,
            followers,
            missing,
            ready,
            under_way: BTreeMap::new(),
            left_out: BTreeMap::new(),
        }
    }

    /// The first piece that can begin now, which then is under way.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let held = self.under_way.values();
        let free = |place: &&usize| {
            let piece = self.pieces.get(**place);
            piece.is_some_and(|piece| !held.clone().any(|held| held.meets(&piece.claims)))
        };
        let place = self.ready.iter().find(free).copied()?;
        self.ready.remove(&place);
        let claims = self.pieces.get(place).map(|piece| piece.claims.clone());
        self.under_way.insert(place, claims.unwrap_or_default());
        Some(place)
    }

    /// Notes that a piece has ended. Returns those that are left out for it: what comes after it, however far.
    pub(crate) fn ended(&mut self, place: usize, good: bool) -> Vec<usize> {
        self.under_way.remove(&place);
        let mut left_out = Vec::new();
        let mut front = vec![place];
        while let Some(at) = front.pop() {
            let followers = self.followers.get(at).cloned().unwrap_or_default();
            for follower in followers {
                if !good {
                    if self.left_out.insert(follower, place).is_none() {
                        left_out.push(follower);
                        front.push(follower);
                    }
                    continue;
                }
                let Some(missing) = self.missing.get_mut(follower) else { continue };
                *missing = missing.saturating_sub(1);
                if *missing == 0 && !self.left_out.contains_key(&follower) {
                    self.ready.insert(follower);
                }
            }
        }
        left_out.sort_unstable();
        left_out
    }
}

/// Does all pieces, at most `at_once` at a time. `work` says whether what follows may begin; `left_out` is told what is
/// not done, and for which piece. The results are in the order of the pieces.
pub(crate) async fn all<T, W>(
    pieces: Vec<Piece>,
    at_once: usize,
    work: impl Fn(usize) -> W,
    mut left_out: impl FnMut(usize, usize),
) -> Vec<T>
where
    W: Future<Output = (bool, T)>,
{
    let mut order = Order::new(pieces);
    let mut running = FuturesUnordered::new();
    let mut done = BTreeMap::new();
    loop {
        while running.len() < at_once.max(1)
            && let Some(place) = order.next()
        {
            let work = work(place);
            running.push(async move { (place, work.await) });
        }
        let Some((place, (good, result))) = running.next().await else { break };
        done.insert(place, result);
        for follower in order.ended(place, good) {
            left_out(follower, place);
        }
    }
    done.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(after: &[usize], writes: &str) -> Piece {
        let mut claims = Claims::default();
        claims.write((!writes.is_empty()).then(|| writes.to_owned()));
        Piece { after: after.to_vec(), claims }
    }

    fn begun(order: &mut Order) -> Vec<usize> {
        std::iter::from_fn(|| order.next()).collect()
    }

    #[test]
    fn a_piece_begins_when_all_before_it_are_done() {
        let pieces =
            vec![piece(&[], "a"), piece(&[], "b"), piece(&[0, 1, 1], "c"), piece(&[2], "")];
        let mut order = Order::new(pieces);
        assert_eq!(begun(&mut order), [0, 1]);
        assert!(order.ended(1, true).is_empty());
        assert!(begun(&mut order).is_empty());
        order.ended(0, true);
        assert_eq!(begun(&mut order), [2]);
        order.ended(2, true);
        assert_eq!(begun(&mut order), [3]);
        order.ended(3, true);
        assert!(begun(&mut order).is_empty());
    }

    #[test]
    fn what_writes_the_same_is_done_one_after_the_other() {
        let pieces = vec![piece(&[], "a"), piece(&[], "a"), piece(&[], "b")];
        let mut order = Order::new(pieces);
        assert_eq!(begun(&mut order), [0, 2]);
        order.ended(0, true);
        assert_eq!(begun(&mut order), [1]);
    }

    #[test]
    fn what_comes_after_a_bad_one_is_left_out_once_and_the_rest_goes_on() {
        let pieces = vec![
            piece(&[], ""),
            piece(&[], ""),
            piece(&[0], ""),
            piece(&[2], ""),
            piece(&[1], ""),
            piece(&[1, 3], ""),
        ];
        let mut order = Order::new(pieces);
        assert_eq!(begun(&mut order), [0, 1]);
        assert_eq!(order.ended(0, false), [2, 3, 5]);
        assert!(order.ended(1, false).contains(&4));
        assert!(begun(&mut order).is_empty());
    }

    #[test]
    fn every_piece_of_any_graph_is_done_once_whatever_order_they_end_in() {
        for seed in 0..50 {
            let mut rng = flywheel_base::Rng::new(seed);
            let count = 1 + rng.below(60);
            let tables = ["", "a", "b", "c"];
            let pieces: Vec<Piece> = (0..count)
                .map(|place| {
                    let after: Vec<usize> = (0..place).filter(|_| rng.below(8) == 0).collect();
                    piece(&after, tables[rng.below(4)])
                })
                .collect();
            let mut order = Order::new(pieces.clone());
            let mut under_way: Vec<usize> = Vec::new();
            let mut done: BTreeSet<usize> = BTreeSet::new();
            loop {
                while let Some(place) = order.next() {
                    assert!(pieces[place].after.iter().all(|before| done.contains(before)));
                    let apart = |other: &usize| !pieces[*other].claims.meets(&pieces[place].claims);
                    assert!(under_way.iter().all(apart), "seed {seed}");
                    under_way.push(place);
                }
                if under_way.is_empty() {
                    break;
                }
                let place = under_way.swap_remove(rng.below(under_way.len()));
                assert!(done.insert(place), "seed {seed}: {place} twice");
                order.ended(place, true);
            }
            assert_eq!(done.len(), count, "seed {seed}: a piece is lost");
        }
    }
}
