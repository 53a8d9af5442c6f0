//! Three ways to make a learner of outcomes into one of differences.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Experiment, arms};
use crate::regression::{Score, linear, logistic};
use crate::stats::finite;

/// How differences are learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One model of both arms, with the treatment and its product with each feature beside the features. Without the
    /// products every unit's log-odds would move by the same, and nobody could be told apart.
    S,
    /// A model for each arm: the default.
    T,
    /// Models of the differences that the models of T leave, for arms of very different size.
    X,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::S, Self::T, Self::X];

    /// The name in files and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::S => "s",
            Self::T => "t",
            Self::X => "x",
        }
    }
}

/// A fitted learner of differences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Uplift {
    width: usize,
    models: Models,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Models {
    Single(Score),
    Two { treated: Score, left: Score },
    Crossed { share: f64, treated: Score, left: Score },
}

impl Uplift {
    /// Fits one kind; `penalty` pulls standardised weights towards 0, in units (1 is usual).
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the lengths do not fit, a number is not finite, an arm is empty or the
    /// penalty is not above 0.
    /// # Cost
    /// O(units · features²), about seven times; S has twice the columns, which costs four times as much as one model of T.
    /// # Source
    /// Künzel et al. 2019 (S, T and X); against scikit-learn in `tests/parity/uplift.json`.
    pub fn fit(kind: Kind, experiment: &Experiment<'_>, penalty: f64) -> Result<Self> {
        let width = experiment.width()?;
        if !(penalty.is_finite() && penalty > 0.0) {
            return Err(Error::invalid(format!("penalty is {penalty}"))
                .hint("Give a number above 0; 1 is usual."));
        }
        let models = match kind {
            Kind::S => Models::Single(single(experiment, width, penalty)),
            Kind::T => {
                let [treated, left] = two(experiment, width, penalty);
                Models::Two { treated, left }
            }
            Kind::X => crossed(experiment, width, penalty)?,
        };
        Ok(Self { width, models })
    }

    /// By how much the treatment is expected to change the unit's chance.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a number is not finite or the width differs.
    pub fn predict(&self, row: &[f64]) -> Result<f64> {
        if row.len() != self.width {
            return Err(Error::invalid(format!(
                "a unit has {} features where the learner has {}",
                row.len(),
                self.width
            ))
            .hint("Send the features the learner was made for, in the same order."));
        }
        finite::all_finite("feature", row)?;
        Ok(match &self.models {
            Models::Single(score) => {
                let with = |treated: bool| {
                    let mut longer = Vec::with_capacity(single_width(self.width));
                    lengthen(&mut longer, row, treated);
                    score.chance(&longer)
                };
                with(true) - with(false)
            }
            Models::Two { treated, left } => treated.chance(row) - left.chance(row),
            Models::Crossed { share, treated, left } => {
                share * left.value(row) + (1.0 - share) * treated.value(row)
            }
        })
    }
}

fn single(experiment: &Experiment<'_>, width: usize, penalty: f64) -> Score {
    let mut rows = Vec::with_capacity(single_width(width) * experiment.treated.len());
    for (row, treated) in experiment.features.chunks_exact(width).zip(experiment.treated) {
        lengthen(&mut rows, row, *treated);
    }
    let rows: Vec<&[f64]> = rows.chunks_exact(single_width(width)).collect();
    logistic(&rows, experiment.happened, penalty)
}

/// How many columns the one model of both arms has for `width` features.
fn single_width(width: usize) -> usize {
    2 * width + 1
}

/// Appends what the one model of both arms reads of a unit: its features, the treatment, and their products.
fn lengthen(rows: &mut Vec<f64>, row: &[f64], treated: bool) {
    let treated = f64::from(u8::from(treated));
    rows.extend_from_slice(row);
    rows.push(treated);
    rows.extend(row.iter().map(|value| treated * value));
}

/// The rows and outcomes of one arm.
fn arm<'a>(
    experiment: &Experiment<'a>,
    width: usize,
    treated: bool,
) -> (Vec<&'a [f64]>, Vec<bool>) {
    let units = experiment.features.chunks_exact(width).zip(experiment.treated);
    let units = units.zip(experiment.happened);
    units
        .filter(|((_, arm), _)| **arm == treated)
        .map(|((row, _), happened)| (row, *happened))
        .unzip()
}

/// The models of the treated and of the others.
fn two(experiment: &Experiment<'_>, width: usize, penalty: f64) -> [Score; 2] {
    [true, false].map(|treated| {
        let (rows, happened) = arm(experiment, width, treated);
        logistic(&rows, &happened, penalty)
    })
}

fn crossed(experiment: &Experiment<'_>, width: usize, penalty: f64) -> Result<Models> {
    let [of_treated, of_left] = two(experiment, width, penalty);
    let number = |happened: &bool| f64::from(u8::from(*happened));
    let (rows, happened) = arm(experiment, width, true);
    let gains: Vec<f64> =
        rows.iter().zip(&happened).map(|(row, y)| number(y) - of_left.chance(row)).collect();
    let treated = linear(&rows, &gains, penalty);
    let (rows, happened) = arm(experiment, width, false);
    let gains: Vec<f64> =
        rows.iter().zip(&happened).map(|(row, y)| of_treated.chance(row) - number(y)).collect();
    let left = linear(&rows, &gains, penalty);
    let (with, without) = arms(experiment.treated)?;
    Ok(Models::Crossed { share: with as f64 / (with + without) as f64, treated, left })
}
