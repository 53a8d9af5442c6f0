//! The evidence of all sources for one user, item by item, on scales a linear model can add.

use flywheel_base::Result;

use super::Options;
use crate::recommend::codec::{Reader, Writer, damaged};
use crate::recommend::ease::{self, Ease};
use crate::recommend::history::UserHistory;
use crate::recommend::neighbours::items::{self, ItemNeighbours};
use crate::recommend::popularity::{self, DAY_US};
use crate::recommend::repeat::{self, Repeat};
use crate::recommend::{Recommender, Training};

/// The name of each feature, in the order of the weights.
pub const FEATURES: [&str; 14] = [
    "ease",
    "neighbours",
    "demand_recent",
    "demand_window",
    "demand_all",
    "owned",
    "owned_frequency",
    "owned_occasions",
    "owned_recency",
    "owned_ease",
    "owned_hazard",
    "owned_demand_recent",
    "owned_demand_window",
    "owned_demand_all",
];

/// The features of one item for one user.
pub(super) type Row = [f64; FEATURES.len()];

/// What is added before a logarithm, so that "nothing" is low and not minus infinity.
const FLOOR: f64 = 0.01;
/// People added to the all-time demand, so that an item two people took is not a trend.
const DEMAND_PRIOR: f64 = 5.0;

/// The fitted sources.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    fitted_at: Option<i64>,
    /// ln of people in the recent days, in the window, and of all time, by item.
    demand: [Vec<f64>; 3],
    ease: Option<Ease>,
    neighbours: ItemNeighbours,
    repeat: Repeat,
    known: Vec<bool>,
}

impl Sources {
    pub(super) fn fit(training: &Training<'_>, options: &Options) -> Result<Self> {
        let data = training.interactions;
        // Windows end with the data: in a shop fitted late, "of late" must not be empty.
        let moment = training.moment().map(|now| data.latest().map_or(now, |last| now.min(last)));
        let fitted_at = training.moment();
        let training = &Training { now: moment, ..*training };
        let all = popularity::demand(data, training.moment(), |_| 1.0);
        let recent = popularity::recent(training, options.recent_days)?;
        let window = popularity::recent(training, options.window_days)?;
        let log = |people: &[f64], prior: f64| people.iter().map(|p| (p + prior).ln()).collect();
        let ease = (data.item_count() <= options.ease_items_max)
            .then(|| {
                let options =
                    ease::Options { penalty: options.penalty, ..ease::Options::default() };
                Ease::fit(data, &options)
            })
            .transpose()?;
        let near = items::Options { neighbours: options.neighbours, ..items::Options::default() };
        let again = repeat::Options {
            half_life_days: options.half_life_days,
            window_days: options.window_days,
            ..repeat::Options::default()
        };
        Ok(Self {
            fitted_at,
            demand: [log(recent.demand(), 1.0), log(window.demand(), 1.0), log(&all, DEMAND_PRIOR)],
            ease,
            neighbours: ItemNeighbours::fit(data, &near)?,
            repeat: Repeat::fit(training, &again)?,
            known: all.iter().map(|people| *people > 0.0).collect(),
        })
    }

    pub(super) fn item_count(&self) -> usize {
        self.known.len()
    }

    /// Gathers what the sources say to one history.
    pub(super) fn view<'a>(&'a self, history: &'a UserHistory) -> View<'a> {
        let mut ease = vec![0.0; self.item_count()];
        let mut near = vec![0.0; self.item_count()];
        if let Some(model) = &self.ease {
            model.add_scores(history, &mut ease);
        }
        self.neighbours.add_scores(history, &mut near);
        let nearest = near.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        near.iter_mut().for_each(|score| *score /= nearest);
        View { sources: self, history, now: history.moment(self.fitted_at), ease, near }
    }

    /// The source that speaks most for `item`.
    pub(super) fn leader(&self, history: &UserHistory, item: u32) -> &'static str {
        if history.owns(item) {
            return repeat::ALGORITHM.name;
        }
        match self.association(history, item) {
            Some((name, _)) => name,
            None => popularity::ALGORITHM.name,
        }
    }

    /// The owned item that speaks most for `item`; the item itself if it is a repeat.
    pub(super) fn because(&self, history: &UserHistory, item: u32) -> Option<u32> {
        if history.owns(item) {
            return Some(item);
        }
        self.association(history, item).map(|(_, owned)| owned)
    }

    /// The owned item nearest to `item`, and the source that says so.
    fn association(&self, history: &UserHistory, item: u32) -> Option<(&'static str, u32)> {
        let by_ease = self.ease.as_ref().and_then(|ease| ease.because(history, item));
        by_ease.map(|owned| (ease::ALGORITHM.name, owned)).or_else(|| {
            let owned = self.neighbours.because(history, item)?;
            Some((items::ALGORITHM.name, owned))
        })
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<()> {
        writer.json(&(self.fitted_at, self.ease.is_some()))?;
        self.demand.iter().for_each(|demand| writer.f64s(demand));
        writer.u32s(&self.known.iter().map(|known| u32::from(*known)).collect::<Vec<_>>());
        if let Some(ease) = &self.ease {
            ease.write(writer);
        }
        self.neighbours.write(writer);
        self.repeat.write(writer)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (fitted_at, has_ease) = reader.json::<(Option<i64>, bool)>()?;
        let demand = [reader.f64s()?, reader.f64s()?, reader.f64s()?];
        let known: Vec<bool> = reader.u32s()?.into_iter().map(|known| known != 0).collect();
        let ease = has_ease.then(|| Ease::read(reader)).transpose()?;
        let (neighbours, repeat) = (ItemNeighbours::read(reader)?, Repeat::read(reader)?);
        let count = known.len();
        let fits = demand.iter().all(|demand| demand.len() == count)
            && neighbours.item_count() == count
            && repeat.hazard().len() == count
            && ease.as_ref().is_none_or(|ease| ease.item_count() == count);
        if !fits {
            return Err(damaged("holds sources over different catalogues"));
        }
        Ok(Self { fitted_at, demand, ease, neighbours, repeat, known })
    }
}

/// What the sources say to one history.
#[derive(Debug)]
pub(super) struct View<'a> {
    sources: &'a Sources,
    history: &'a UserHistory,
    now: Option<i64>,
    ease: Vec<f64>,
    near: Vec<f64>,
}

impl View<'_> {
    /// Whether anybody ever took `item`, or the history holds it.
    pub(super) fn evidence(&self, item: u32) -> bool {
        self.sources.known.get(item as usize).copied().unwrap_or(false) || self.history.owns(item)
    }

    /// The features of `item`, which must be below the catalogue's size.
    pub(super) fn row(&self, item: u32) -> Row {
        let at = item as usize;
        let ease = (self.ease[at].max(0.0) + FLOOR).ln();
        let near = (self.near[at] + FLOOR).ln();
        let [recent, window, all] = &self.sources.demand;
        let mut row = [0.0; FEATURES.len()];
        row[..5].copy_from_slice(&[ease, near, recent[at], window[at], all[at]]);
        if let Some(owned) = self.history.find(item) {
            let frequency = self.sources.repeat.frequency(owned, self.now);
            let hazard = self.sources.repeat.hazard()[at];
            let age = match (self.now, owned.times.last()) {
                (Some(now), Some(last)) => ((now - last) as f64 / DAY_US).max(0.0),
                _ => 0.0,
            };
            row[5..].copy_from_slice(&[
                1.0,
                (frequency + 2.0 * FLOOR).ln(),
                f64::from(owned.occasions).ln(),
                (age + 3.0).ln(),
                ease,
                hazard.max(1e-9).ln(),
                recent[at],
                window[at],
                all[at],
            ]);
        }
        row
    }
}
