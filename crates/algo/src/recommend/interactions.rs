//! Who had to do with what: the user × item matrix every recommender is fitted on.

use std::collections::BTreeSet;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::history::{Owned, UserHistory};

/// The most users or items one matrix can hold: dense indexes are `u32`.
pub const INDEX_MAX: usize = u32::MAX as usize;

/// External ids and their dense indexes, the same for the same set of ids in any order.
///
/// # Shape
/// Index `i` is the `i`-th id in byte order; ids added by [`Vocabulary::extended`] come after, so
/// that the old indexes stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vocabulary {
    ids: Vec<String>,
    /// Indexes in the byte order of their ids, for the search.
    order: Vec<u32>,
}

impl Vocabulary {
    /// Numbers the distinct ids in byte order.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Exhausted`] above [`INDEX_MAX`] distinct ids.
    pub fn new<'a>(ids: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        Self::default().extended(ids)
    }

    /// This vocabulary with the ids it lacks at the end, in byte order.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Exhausted`] above [`INDEX_MAX`] distinct ids.
    pub fn extended<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let added: BTreeSet<&str> = ids.into_iter().filter(|id| self.index(id).is_none()).collect();
        let mut all = self.ids.clone();
        all.extend(added.into_iter().map(str::to_owned));
        if all.len() > INDEX_MAX {
            return Err(Error::exhausted(format!(
                "{} ids are too many for one vocabulary",
                all.len()
            ))
            .hint("Split the data by shop or country and fit one learner each."));
        }
        let mut order: Vec<u32> = (0..all.len() as u32).collect();
        order.sort_by(|a, b| all[*a as usize].cmp(&all[*b as usize]));
        Ok(Self { ids: all, order })
    }

    /// The dense index of `id`, if it is known.
    #[must_use]
    pub fn index(&self, id: &str) -> Option<u32> {
        let place = self.order.binary_search_by(|i| self.ids[*i as usize].as_str().cmp(id)).ok()?;
        self.order.get(place).copied()
    }

    /// The id at `index`, if there is one.
    #[must_use]
    pub fn id(&self, index: u32) -> Option<&str> {
        self.ids.get(index as usize).map(String::as_str)
    }

    /// How many ids there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no id.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// One event: a user had to do with an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interaction {
    /// Dense index of the user.
    pub user: u32,
    /// Dense index of the item.
    pub item: u32,
    /// How much (rating, amount, 1): finite, not negative; 0 says nothing and is left out.
    pub weight: f64,
    /// When, in microseconds since 1970; either all events of a matrix have a time or none.
    pub at: Option<i64>,
}

/// The user × item matrix in compressed rows, with the single occasions behind each cell.
///
/// # Shape
/// `user_count` rows of cells by ascending item; each cell holds the summed weight and its events
/// by ascending time. Events of one cell at the same moment are one occasion (one invoice with two
/// lines of an item); without times each event is its own occasion.
#[derive(Clone, Debug, PartialEq)]
pub struct Interactions {
    user_count: usize,
    item_count: usize,
    timed: bool,
    rows: Vec<usize>,
    items: Vec<u32>,
    weights: Vec<f64>,
    cells: Vec<usize>,
    times: Vec<i64>,
    parts: Vec<f64>,
}

/// One cell of [`Interactions`]: a user and an item that had to do with each other.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    /// Dense index of the item.
    pub item: u32,
    /// The summed weight.
    pub weight: f64,
    /// How often; at least 1.
    pub occasions: u32,
    /// When, ascending; empty if the matrix has no times.
    pub times: &'a [i64],
}

impl Interactions {
    /// Builds the matrix from events in any order; events of one cell are summed.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if an index is not below its count, a weight is NaN,
    /// infinite or negative, or some events have a time and others none.
    /// # Cost
    /// O(n log n) for n events; 40 bytes an event while building, 16 afterwards.
    pub fn new(
        user_count: usize,
        item_count: usize,
        events: impl IntoIterator<Item = Interaction>,
    ) -> Result<Self> {
        let mut kept = Vec::new();
        let mut timed = None;
        for event in events {
            check(&event, user_count, item_count)?;
            let has_time = event.at.is_some();
            if *timed.get_or_insert(has_time) != has_time {
                return Err(Error::invalid("some interactions have a time and others have none")
                    .hint("Give every interaction a time, or none of them."));
            }
            if event.weight > 0.0 {
                kept.push(event);
            }
        }
        kept.sort_by(|a, b| {
            (a.user, a.item, a.at).cmp(&(b.user, b.item, b.at)).then(a.weight.total_cmp(&b.weight))
        });
        Ok(Self::from_sorted(user_count, item_count, timed.unwrap_or(false), &kept))
    }

    fn from_sorted(
        user_count: usize,
        item_count: usize,
        timed: bool,
        events: &[Interaction],
    ) -> Self {
        let mut made = Self {
            user_count,
            item_count,
            timed,
            rows: Vec::with_capacity(user_count + 1),
            items: Vec::new(),
            weights: Vec::new(),
            cells: Vec::new(),
            times: Vec::with_capacity(events.len()),
            parts: Vec::with_capacity(events.len()),
        };
        made.rows.push(0);
        let mut last: Option<Interaction> = None;
        for event in events {
            while made.rows.len() <= event.user as usize {
                made.rows.push(made.items.len());
            }
            let same_cell = last.is_some_and(|l| (l.user, l.item) == (event.user, event.item));
            if !same_cell {
                made.items.push(event.item);
                made.weights.push(0.0);
                made.cells.push(made.times.len());
            }
            let merged = same_cell && timed && last.is_some_and(|l| l.at == event.at);
            match (merged, made.parts.last_mut()) {
                (true, Some(part)) => *part += event.weight,
                _ => {
                    made.times.push(event.at.unwrap_or(0));
                    made.parts.push(event.weight);
                }
            }
            if let Some(weight) = made.weights.last_mut() {
                *weight += event.weight;
            }
            last = Some(*event);
        }
        while made.rows.len() <= user_count {
            made.rows.push(made.items.len());
        }
        made.cells.push(made.times.len());
        made
    }

    /// How many users the matrix has, those without a cell included.
    #[must_use]
    pub fn user_count(&self) -> usize {
        self.user_count
    }

    /// How many items the matrix has, those without a cell included.
    #[must_use]
    pub fn item_count(&self) -> usize {
        self.item_count
    }

    /// How many cells are filled.
    #[must_use]
    pub fn cell_count(&self) -> usize {
        self.items.len()
    }

    /// Whether the events have times.
    #[must_use]
    pub fn timed(&self) -> bool {
        self.timed
    }

    /// The latest time, if there are times.
    #[must_use]
    pub fn latest(&self) -> Option<i64> {
        if self.timed { self.times.iter().copied().max() } else { None }
    }

    /// The earliest time, if there are times.
    #[must_use]
    pub fn earliest(&self) -> Option<i64> {
        if self.timed { self.times.iter().copied().min() } else { None }
    }

    /// The item indexes of a user's cells, ascending; empty for an unknown user.
    #[must_use]
    pub fn items(&self, user: usize) -> &[u32] {
        self.range(user).and_then(|range| self.items.get(range)).unwrap_or(&[])
    }

    /// The weights of a user's cells, in the order of [`Interactions::items`].
    #[must_use]
    pub fn weights(&self, user: usize) -> &[f64] {
        self.range(user).and_then(|range| self.weights.get(range)).unwrap_or(&[])
    }

    /// A user's cells, by ascending item; none for an unknown user.
    pub fn cells(&self, user: usize) -> impl Iterator<Item = Cell<'_>> {
        self.range(user).unwrap_or(0..0).map(|cell| self.cell(cell))
    }

    /// What `user` did, as a model wants it, seen at `now`.
    #[must_use]
    pub fn history(&self, user: usize, now: Option<i64>) -> UserHistory {
        let owned = self
            .cells(user)
            .map(|cell| Owned {
                item: cell.item,
                weight: cell.weight,
                occasions: cell.occasions,
                times: cell.times.to_vec(),
            })
            .collect();
        UserHistory::from_sorted(owned, now)
    }

    /// The matrix of the events with `from ≤ time < to`, with the same users and items.
    #[must_use]
    pub fn between(&self, from: i64, to: i64) -> Self {
        let mut kept = Vec::new();
        for user in 0..self.user_count {
            for cell in self.range(user).unwrap_or(0..0) {
                for event in self.cells[cell]..self.cells[cell + 1] {
                    if (from..to).contains(&self.times[event]) {
                        kept.push(Interaction {
                            user: user as u32,
                            item: self.items[cell],
                            weight: self.parts[event],
                            at: Some(self.times[event]),
                        });
                    }
                }
            }
        }
        Self::from_sorted(self.user_count, self.item_count, self.timed, &kept)
    }

    fn range(&self, user: usize) -> Option<std::ops::Range<usize>> {
        Some(*self.rows.get(user)?..*self.rows.get(user + 1)?)
    }

    fn cell(&self, cell: usize) -> Cell<'_> {
        let events = self.cells[cell]..self.cells[cell + 1];
        Cell {
            item: self.items[cell],
            weight: self.weights[cell],
            occasions: events.len() as u32,
            times: if self.timed { &self.times[events] } else { &[] },
        }
    }
}

fn check(event: &Interaction, user_count: usize, item_count: usize) -> Result<()> {
    let Interaction { user, item, weight, .. } = *event;
    if user as usize >= user_count || item as usize >= item_count {
        return Err(Error::invalid(format!(
            "interaction of user {user} with item {item} lies outside {user_count} users and {item_count} items"
        ))
        .hint("Build the vocabularies from the same rows as the interactions."));
    }
    if !weight.is_finite() || weight < 0.0 {
        return Err(Error::invalid(format!(
            "interaction of user {user} with item {item} has weight {weight}"
        ))
        .hint("A weight is a finite number of at least 0; leave out returns and missing values."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use flywheel_base::{ErrorKind, Rng};

    use super::*;

    fn event(user: u32, item: u32, weight: f64, at: i64) -> Interaction {
        Interaction { user, item, weight, at: Some(at) }
    }

    #[test]
    fn indexes_do_not_depend_on_the_order_of_ids_and_survive_new_ids() {
        let a = Vocabulary::new(["b", "a", "c", "a"]).unwrap();
        assert_eq!(a, Vocabulary::new(["c", "b", "a"]).unwrap());
        assert_eq!((a.len(), a.index("b"), a.id(1), a.index("x")), (3, Some(1), Some("b"), None));
        let more = a.extended(["aa", "b", "0"]).unwrap();
        assert_eq!(
            (more.index("b"), more.index("0"), more.index("aa")),
            (Some(1), Some(3), Some(4))
        );
        assert_eq!(more.id(4), Some("aa"));
    }

    #[test]
    fn events_of_one_cell_are_summed_and_one_invoice_is_one_occasion() {
        let m = Interactions::new(
            3,
            4,
            [event(2, 1, 1.0, 50), event(0, 3, 2.0, 9), event(2, 1, 4.0, 40), event(2, 1, 3.0, 50)],
        )
        .unwrap();
        assert_eq!(
            (m.cell_count(), m.items(1), m.items(2), m.items(99)),
            (2, &[][..], &[1][..], &[][..])
        );
        let cell = m.cells(2).next().unwrap();
        assert_eq!((cell.weight, cell.occasions, cell.times), (8.0, 2, &[40, 50][..]));
        let late = m.between(45, 60);
        assert_eq!((late.cell_count(), late.weights(2)), (1, &[4.0][..]));
        assert_eq!((m.earliest(), m.latest()), (Some(9), Some(50)));
    }

    #[test]
    fn senseless_events_are_refused_with_their_name() {
        for weight in [f64::NAN, f64::INFINITY, -1.0] {
            let error = Interactions::new(1, 1, [event(0, 0, weight, 0)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains("user 0") && error.hint_text().is_some());
        }
        assert!(Interactions::new(1, 1, [event(1, 0, 1.0, 0)]).is_err());
        let untimed = Interaction { at: None, ..event(0, 0, 1.0, 0) };
        assert!(Interactions::new(1, 1, [event(0, 0, 1.0, 0), untimed]).is_err());
        assert_eq!(Interactions::new(1, 1, [event(0, 0, 0.0, 0)]).unwrap().cell_count(), 0);
    }

    #[test]
    fn the_matrix_does_not_depend_on_the_order_of_events() {
        let mut rng = Rng::new(5);
        let mut events: Vec<Interaction> = (0..500)
            .map(|_| {
                event(rng.below(9) as u32, rng.below(7) as u32, rng.uniform(), rng.below(5) as i64)
            })
            .collect();
        let first = Interactions::new(9, 7, events.clone()).unwrap();
        rng.shuffle(&mut events);
        assert_eq!(first, Interactions::new(9, 7, events).unwrap());
    }
}
