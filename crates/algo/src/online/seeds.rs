//! The seed document's three events, learnt again.

use flywheel_base::Result;

use super::linear::{self, Linear};
use super::sgd::{Options, Sgd};
use crate::recommend::seeds::SeedCheck;
use crate::stats::seed;

/// Where the seed asks for a prediction; the truth there is 9.
pub const ASKED: [f64; 2] = [15.0, 16.0];

/// Event number `index` of the seed's stream, which repeats three events: features and target.
#[must_use]
pub fn event(index: usize) -> ([f64; 2], f64) {
    let i = (index % 3) as f64;
    ([i + 10.0, i + 11.0], i + 4.0)
}

/// Compares the compatible learner with scikit-learn's numbers, and the default one with the truth.
#[must_use]
pub fn seeds() -> Vec<SeedCheck> {
    let path = [13.08, -1.129_142_231_7, 19.296_669_372_5];
    let end = [0.593_508_403_6, 0.646_326_569_9, 0.052_818_200_1];
    let made = compatible();
    let mut rows = vec![
        row("sgd, predictions after each event", &path, 1e-9, made.as_ref().map(|made| &made.0)),
        row("sgd, weights and intercept", &end, 1e-9, made.as_ref().map(|made| &made.1)),
    ];
    let truths = [
        ("default learner, truth at (15,16) after 3 events", 3),
        ("default learner, truth at (15,16) after 21 events", 21),
        ("default learner, truth at (15,16) after 200 events", 200),
    ];
    for (name, events) in truths {
        let ours = default_after(events).map(|value| vec![value]);
        rows.push(row(name, &[9.0], 0.1, ours.as_ref()));
    }
    rows
}

fn row(
    name: &'static str,
    expected: &[f64],
    tolerance: f64,
    ours: Result<&Vec<f64>, &flywheel_base::Error>,
) -> SeedCheck {
    match ours {
        Ok(ours) => seed::numbers(name, expected, ours, tolerance),
        Err(error) => seed::failed(name, &format!("{expected:?}"), error),
    }
}

/// The predictions after each of the three events, and the weights and intercept at the end.
fn compatible() -> Result<(Vec<f64>, Vec<f64>)> {
    let mut learner = Sgd::new(2, Options::default())?;
    let mut path = Vec::new();
    for index in 0..3 {
        let (features, target) = event(index);
        learner.learn(&features, target)?;
        path.push(learner.predict(&ASKED)?);
    }
    let mut end = learner.weights().to_vec();
    end.push(learner.intercept());
    Ok((path, end))
}

/// What the default learner says at [`ASKED`] after so many events.
fn default_after(events: usize) -> Result<f64> {
    let mut learner = Linear::new(2, linear::Options::default())?;
    for index in 0..events {
        let (features, target) = event(index);
        learner.learn(&features, target)?;
    }
    learner.predict(&ASKED)
}
