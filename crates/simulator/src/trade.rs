//! How a shop trades, in figures: ours unless they were fitted to the orders of a real one by [`crate::Fitting`].

use flywheel_base::{Error, Result, Rng};
use serde::{Deserialize, Serialize};

/// The first and the last hour of the day in which a shop may be open: files of a day hold nothing before or after.
pub(crate) const HOURS_OPEN: (usize, usize) = (7, 19);

/// The most that the logarithm of a figure may spread.
pub(crate) const SPREAD_MAX: f64 = 3.0;

/// A figure whose logarithm is spread normally.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The standard deviation of the logarithm.
    pub spread: f64,
}

impl Spread {
    /// One of them.
    pub(crate) fn draw(self, rng: &mut Rng) -> f64 {
        self.median * (self.spread * rng.normal()).exp()
    }

    /// Their mean.
    #[must_use]
    pub fn mean(self) -> f64 {
        self.median * (self.spread * self.spread / 2.0).exp()
    }

    fn is_possible(self) -> bool {
        self.median > 0.0 && self.median.is_finite() && (0.0..=SPREAD_MAX).contains(&self.spread)
    }
}

/// How a shop trades.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trade {
    /// Orders per day of a customer who has not lapsed.
    pub rate: Spread,
    /// Lines of an order beyond the first, per customer.
    pub basket: Spread,
    /// Prices in cents; those of the catalogue's words if absent.
    pub prices: Option<Spread>,
    /// How much products differ in popularity: the standard deviation of its logarithm.
    pub popularity_spread: f64,
    /// How busy it is by day of the week, Monday first; the mean is 1.
    pub week: [f64; 7],
    /// How many orders come in each hour of the day, relative to the others; evenly while it is open if absent.
    pub hours: Option<[f64; 24]>,
    /// The chance per day that an invoice of the last four days is cancelled in part.
    pub cancel_rate: f64,
}

impl Default for Trade {
    fn default() -> Self {
        Self {
            rate: Spread { median: 0.021, spread: 0.38 },
            basket: Spread { median: 6.2, spread: 0.35 },
            prices: None,
            popularity_spread: 0.55,
            week: [1.05, 1.1, 1.1, 1.2, 1.05, 0.7, 0.8],
            hours: None,
            cancel_rate: 0.008,
        }
    }
}

impl Trade {
    /// Refuses figures that no shop can have.
    pub(crate) fn check(&self) -> Result<()> {
        let weights = |all: &[f64]| {
            all.iter().all(|one| one.is_finite() && *one >= 0.0) && all.iter().sum::<f64>() > 0.0
        };
        let possible = [
            ("rate", self.rate.is_possible()),
            ("basket", self.basket.is_possible()),
            ("prices", self.prices.is_none_or(Spread::is_possible)),
            ("popularity_spread", (0.0..=SPREAD_MAX).contains(&self.popularity_spread)),
            ("week", weights(&self.week)),
            ("hours", self.hours.as_ref().is_none_or(|hours| weights(hours))),
            ("cancel_rate", (0.0..1.0).contains(&self.cancel_rate)),
        ];
        match possible.iter().find(|(_, possible)| !possible) {
            None => Ok(()),
            Some((name, _)) => Err(Error::invalid(format!(
                "a simulated shop cannot trade so: {name}"
            ))
            .hint(
                "Medians are above 0, spreads between 0 and 3, weights not negative, and shares below 1.",
            )),
        }
    }

    /// How many times as many pieces it sells as a shop with the usual figures.
    pub(crate) fn load(&self) -> f64 {
        let lines = |trade: &Self| trade.rate.mean() * (1.0 + trade.basket.mean());
        lines(self) / lines(&Self::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_figures_are_possible_and_impossible_ones_are_named() {
        let usual = Trade::default();
        usual.check().unwrap();
        assert!((usual.load() - 1.0).abs() < f64::EPSILON);
        let refused = |trade: Trade| trade.check().unwrap_err().to_string();
        let rate = Spread { median: 0.0, spread: 0.1 };
        assert!(refused(Trade { rate, ..Trade::default() }).ends_with("rate"));
        assert!(refused(Trade { week: [0.0; 7], ..Trade::default() }).ends_with("week"));
        assert!(refused(Trade { cancel_rate: 1.0, ..Trade::default() }).ends_with("cancel_rate"));
    }
}
