//! Which components a model has.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an error enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Noise {
    /// Its size does not depend on the level.
    Additive,
    /// It is a share of the expected value.
    Multiplicative,
}

/// What the trend does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trend {
    /// There is none.
    None,
    /// It goes on.
    Additive,
    /// It fades out.
    Damped,
}

/// What the season does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seasonal {
    /// There is none.
    None,
    /// Effects around 0 are added.
    Additive,
    /// Factors around 1 are multiplied.
    Multiplicative,
}

/// The components of one model; printed as `ETS(M,Ad,M)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// How an error enters.
    pub noise: Noise,
    /// What the trend does.
    pub trend: Trend,
    /// What the season does.
    pub season: Seasonal,
    /// Periods in a season; 1 without.
    pub period: usize,
}

impl Form {
    /// Every form a series can have, simplest first: no additive errors around a multiplicative season,
    /// whose variance would be infinite, and nothing multiplicative unless every value is positive.
    ///
    /// # Source
    /// Hyndman et al. 2008, ch. 15 (numerical instability); the restrictions of R's `ets`.
    #[must_use]
    pub fn admitted(positive: bool, period: usize) -> Vec<Self> {
        let mut made = Vec::new();
        for season in [Seasonal::None, Seasonal::Additive, Seasonal::Multiplicative] {
            for trend in [Trend::None, Trend::Additive, Trend::Damped] {
                for noise in [Noise::Additive, Noise::Multiplicative] {
                    let own = if season == Seasonal::None { 1 } else { period };
                    let form = Self { noise, trend, season, period: own };
                    let seasonal = season == Seasonal::None || period > 1;
                    if seasonal && (positive || form.additive()) && form.stable() {
                        made.push(form);
                    }
                }
            }
        }
        made
    }

    /// How many numbers are estimated: constants, first state and the variance.
    #[must_use]
    pub fn parameters(self) -> usize {
        let trend = match self.trend {
            Trend::None => 0,
            Trend::Additive => 2,
            Trend::Damped => 3,
        };
        let season = if self.season == Seasonal::None { 0 } else { self.period };
        3 + trend + season
    }

    /// Whether it has a trend.
    pub(super) fn trending(self) -> bool {
        self.trend != Trend::None
    }

    fn additive(self) -> bool {
        self.noise == Noise::Additive && self.season != Seasonal::Multiplicative
    }

    fn stable(self) -> bool {
        self.noise == Noise::Multiplicative || self.season != Seasonal::Multiplicative
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noise = if self.noise == Noise::Additive { "A" } else { "M" };
        let trend = match self.trend {
            Trend::None => "N",
            Trend::Additive => "A",
            Trend::Damped => "Ad",
        };
        let season = match self.season {
            Seasonal::None => "N",
            Seasonal::Additive => "A",
            Seasonal::Multiplicative => "M",
        };
        write!(f, "ETS({noise},{trend},{season})")
    }
}
