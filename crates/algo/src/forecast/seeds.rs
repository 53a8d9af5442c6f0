//! The seed document's monthly sales, forecast again.
//!
//! Its `freq='M'`, which pandas no longer takes, has no counterpart: a series here is regular by position and
//! knows no frequency name; whoever groups rows by date decides what a period is.

use flywheel_base::Result;

use super::backtest::holdout;
use super::smoothing::{Initialization, Shape, Smoothing};
use super::{Model, Options};
use crate::recommend::seeds::SeedCheck;
use crate::stats::seed;

/// The seed's twelve months of sales.
pub const SALES: [f64; 12] =
    [200.0, 220.0, 240.0, 260.0, 250.0, 300.0, 320.0, 340.0, 360.0, 380.0, 400.0, 420.0];

/// What statsmodels and the document print is an optimiser's stop, not the minimum: both lie this near.
const TOLERANCE: f64 = 1e-3;

/// Compares our forecasts with the seed's numbers, one row a number or list.
#[must_use]
pub fn seeds() -> Vec<SeedCheck> {
    let printed = [439.545_451, 459.860_136, 480.174_820];
    let minimum = [439.545_454_545, 459.860_139_860, 480.174_825_175];
    let today = [439.545_487, 459.860_176, 480.174_864];
    let heuristic = [438.363_6, 458.545_5, 478.727_3];
    let legacy = [439.937_9, 459.937_9, 479.937_9];
    let held_out = [376.667, 396.667, 416.667];
    vec![
        holt("holt, as the document prints", Initialization::Estimated, &printed),
        holt("holt, as statsmodels 0.15 gives", Initialization::Estimated, &today),
        holt("holt, exact minimum", Initialization::Estimated, &minimum),
        row("holt, sum of squared errors", &[810.839_160_8], 1e-6, || {
            Ok(vec![fitted(Initialization::Estimated)?.squares])
        }),
        holt("holt, heuristic start", Initialization::Heuristic, &heuristic),
        holt("holt, legacy heuristic start", Initialization::LegacyHeuristic, &legacy),
        row("holt, fit 9 months and forecast 3", &held_out, TOLERANCE, || {
            Ok(holdout("holt", &SALES, 3, &[], &Options::default())?.forecast)
        }),
        row("holt, MAPE of the last 3 months in %", &[0.835], TOLERANCE, || mape("holt")),
        row("naive, MAPE of the last 3 months in %", &[9.85], 5e-3, || mape("naive")),
    ]
}

fn fitted(initialization: Initialization) -> Result<Smoothing> {
    Smoothing::fit(&SALES, Shape { trend: true, ..Shape::default() }, initialization)
}

fn holt(name: &'static str, initialization: Initialization, expected: &[f64]) -> SeedCheck {
    row(name, expected, TOLERANCE, || Ok(fitted(initialization)?.mean(3)))
}

fn mape(name: &'static str) -> Result<Vec<f64>> {
    let made = holdout(name, &SALES, 3, &[], &Options::default())?;
    Ok(made.accuracy.mape.into_iter().collect())
}

fn row(
    name: &'static str,
    expected: &[f64],
    tolerance: f64,
    ours: impl Fn() -> Result<Vec<f64>>,
) -> SeedCheck {
    match ours() {
        Ok(ours) => seed::numbers(name, expected, &ours, tolerance),
        Err(error) => seed::failed(name, &format!("{expected:?}"), &error),
    }
}
