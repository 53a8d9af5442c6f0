//! Sessions: what people had to do with at one sitting, for somebody who is in the middle of one.
//!
//! Events of a person that follow each other without a long pause are a session. Items are worth for each other how often
//! they were in one session, or how often and how soon one came after the other. An answer starts from the latest session
//! of a history, what came last first, so that it follows what somebody is looking for now.
//!
//! **When to use it.** Clicks and plays, where the next step depends on the last ones; people of whom nothing older is known;
//! baskets, to complete one. **When not.** Tastes that last beyond a session: the history before it is not looked at. Events
//! without times: then everything a person has is one session.

use flywheel_base::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer};
use super::history::UserHistory;
use super::interactions::Interactions;
use super::sparse::{SparseRows, check_items, check_kept, non_zero, strongest};
use super::{Algorithm, Recommender, Scored, options};

/// The entry in the list of recommenders.
pub const ALGORITHM: Algorithm = Algorithm {
    name: "sessions",
    summary: "What was in one session together, or came next in it: follows what somebody is doing now",
    fit: |training, value| Ok(Box::new(Sessions::fit(training.interactions, &options(value)?)?)),
    load: |reader| Ok(Box::new(Sessions::read(reader)?)),
};

/// Which items of a session speak for each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// All that are in it: association rules.
    #[default]
    Together,
    /// Each for those that come after it, the sooner the more: sequential rules.
    Next,
}

/// How sessions are told apart and counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// A pause of more minutes than this begins a new session.
    pub gap_minutes: f64,
    /// Which items of a session speak for each other.
    pub order: Order,
    /// How many items are kept per item, the strongest first.
    pub kept_per_item: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { gap_minutes: 30.0, order: Order::Together, kept_per_item: 500 }
    }
}

const MINUTE_US: f64 = 60_000_000.0;
/// So many items of a session, the last ones, are counted: one of thousands is a program's.
const SESSION_ITEMS_MAX: usize = 200;

/// Item × item weights; row = what was there, column = what is suggested.
#[derive(Clone, Debug, PartialEq)]
pub struct Sessions {
    options: Options,
    weights: SparseRows,
}

/// The items of one sitting in the order of their moments, each once, at its last moment; items of one moment share a place.
type Session = Vec<(u32, usize)>;

impl Sessions {
    /// Counts which items are in one session, or come one after the other.
    ///
    /// # Shape
    /// The weight from i to j is the sum over the sessions with both, divided by the sessions with i: of 1 for `together`, of
    /// 1 / (moments from i to j) for `next`, where j comes later. An answer sums the weights from the items of the latest
    /// session, those of the last moment once, of the moment before a half, then a third.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the gap is not above 0, or if nothing or more than
    /// [`KEPT_PER_ITEM_MAX`](super::sparse::KEPT_PER_ITEM_MAX) is to be kept; [`flywheel_base::ErrorKind::Exhausted`] above
    /// [`ROWS_MAX`](super::sparse::ROWS_MAX) items.
    /// # Cost
    /// O(Σ items²) over sessions of at most 200 items, in parallel over items.
    /// # Source
    /// Ludewig & Jannach 2018, "Evaluation of session-based recommendation algorithms", AR and SR, normalised by how often an
    /// item is there (confidence); parity with numpy in `tests/parity/sessions.json`.
    pub fn fit(data: &Interactions, options: &Options) -> Result<Self> {
        if !options.gap_minutes.is_finite() || options.gap_minutes <= 0.0 {
            return Err(Error::invalid(format!("gap_minutes is {}", options.gap_minutes))
                .hint("Give the pause that ends a session, such as 30."));
        }
        check_kept(options.kept_per_item)?;
        check_items(data.item_count(), ALGORITHM.name)?;
        let sessions: Vec<Session> = (0..data.user_count())
            .into_par_iter()
            .flat_map_iter(|user| {
                let cells = data.cells(user).map(|cell| (cell.item, cell.times));
                sessions_of(cells, options)
            })
            .collect();
        let mut holding: Vec<Vec<(usize, usize)>> = vec![Vec::new(); data.item_count()];
        for (session, items) in sessions.iter().enumerate() {
            for (item, place) in items {
                holding[*item as usize].push((session, *place));
            }
        }
        let rows = holding
            .par_iter()
            .enumerate()
            .map_init(
                || (vec![0.0_f32; data.item_count()], Vec::new()),
                |(sums, touched), (item, holding)| {
                    for (session, place) in holding {
                        for (other, later) in sessions.get(*session).into_iter().flatten() {
                            let weight = worth(options.order, *place, *later);
                            if *other as usize != item && weight > 0.0 {
                                if sums[*other as usize] == 0.0 {
                                    touched.push(*other);
                                }
                                sums[*other as usize] += weight;
                            }
                        }
                    }
                    touched.sort_unstable();
                    let count = holding.len() as f32;
                    let row = touched
                        .drain(..)
                        .map(|other| (other, std::mem::take(&mut sums[other as usize]) / count));
                    strongest(row.collect(), options.kept_per_item)
                },
            )
            .collect();
        Ok(Self { options: options.clone(), weights: SparseRows::new(data.item_count(), rows) })
    }

    /// The weight with which `owned` speaks for `item`.
    #[must_use]
    pub fn weight(&self, owned: u32, item: u32) -> f32 {
        self.weights.value(owned as usize, item)
    }

    /// The items of the latest session with what each counts.
    fn latest(&self, history: &UserHistory) -> Vec<(u32, f64)> {
        let cells = history.owned().iter().map(|owned| (owned.item, owned.times.as_slice()));
        let Some(session) = sessions_of(cells, &self.options).pop() else { return Vec::new() };
        let last = session.last().map_or(0, |(_, place)| *place);
        session.into_iter().map(|(item, place)| (item, 1.0 / (1 + last - place) as f64)).collect()
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { options: reader.json()?, weights: SparseRows::read_square(reader)? })
    }
}

/// What an item at one place of a session says for one at another.
fn worth(order: Order, from: usize, to: usize) -> f32 {
    match order {
        Order::Together => 1.0,
        Order::Next => {
            to.checked_sub(from).filter(|apart| *apart > 0).map_or(0.0, |n| 1.0 / n as f32)
        }
    }
}

/// The sessions of one person, oldest first; without times everything is one.
fn sessions_of<'a>(
    cells: impl Iterator<Item = (u32, &'a [i64])>,
    options: &Options,
) -> Vec<Session> {
    let mut events: Vec<(i64, u32)> = Vec::new();
    for (item, times) in cells {
        if times.is_empty() {
            events.push((0, item));
        }
        events.extend(times.iter().map(|at| (*at, item)));
    }
    events.sort_unstable();
    let gap = options.gap_minutes * MINUTE_US;
    let sittings = events.chunk_by(|before, after| after.0.abs_diff(before.0) as f64 <= gap);
    sittings.map(session).collect()
}

/// One sitting: each item at its last moment.
fn session(events: &[(i64, u32)]) -> Session {
    let mut places: Vec<(u32, usize)> = Vec::with_capacity(events.len());
    let (mut place, mut moment) = (0, None);
    for (at, item) in events {
        place += usize::from(moment.is_some_and(|moment| moment != *at));
        moment = Some(*at);
        places.push((*item, place));
    }
    // The last place of each item, then in their order again.
    places.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    places.dedup_by_key(|(item, _)| *item);
    places.sort_unstable_by_key(|(item, place)| (*place, *item));
    places.split_off(places.len().saturating_sub(SESSION_ITEMS_MAX))
}

impl Recommender for Sessions {
    fn algorithm(&self) -> &'static str {
        ALGORITHM.name
    }

    fn item_count(&self) -> usize {
        self.weights.column_count()
    }

    fn score(&self, history: &UserHistory) -> Vec<Scored> {
        let mut dense = vec![0.0; self.item_count()];
        for (item, counts) in self.latest(history) {
            self.weights.add_row(item as usize, counts, &mut dense);
        }
        non_zero(&dense)
    }

    fn because(&self, history: &UserHistory, item: u32) -> Option<u32> {
        let mut found: Option<(f64, u32)> = None;
        for (owned, counts) in self.latest(history).into_iter().filter(|(owned, _)| *owned != item)
        {
            let part = counts * f64::from(self.weight(owned, item));
            if part > 0.0 && found.is_none_or(|(best, _)| part > best) {
                found = Some((part, owned));
            }
        }
        found.map(|(_, owned)| owned)
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(ALGORITHM.name);
        writer.json(&self.options)?;
        self.weights.write(&mut writer);
        Ok(writer.finish())
    }
}

#[cfg(test)]
mod tests;
