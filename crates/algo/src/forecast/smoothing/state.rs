//! The recursion: one-step forecast, error, correction of level, trend and season.

use serde::{Deserialize, Serialize};

/// Which components a model has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Whether there is a trend.
    pub trend: bool,
    /// Whether the trend fades out.
    pub damped: bool,
    /// Periods in a season; 0 or 1 for none.
    pub season: usize,
}

impl Shape {
    /// Free numbers in the initial state; the seasonal effects sum to 0.
    pub(super) fn states(self) -> usize {
        1 + usize::from(self.trend) + self.season.saturating_sub(1)
    }

    /// How many smoothing constants are searched.
    pub(super) fn constants(self) -> usize {
        1 + usize::from(self.trend) + usize::from(self.season > 1) + usize::from(self.damped)
    }
}

/// The smoothing constants, in state-space form: what one unit of error adds to each state.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constants {
    /// Added to the level; in `[0, 1]`.
    pub alpha: f64,
    /// Added to the trend; in `[0, alpha]`.
    pub beta: f64,
    /// Added to the season; in `[0, 1 − alpha]`.
    pub gamma: f64,
    /// What is left of the trend a period later; 1 if not damped.
    pub phi: f64,
}

/// Level, trend and the effects of the next season, nearest period first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The level.
    pub level: f64,
    /// The change of the level per period.
    pub trend: f64,
    /// The seasonal effects from the next period on; empty without season.
    pub season: Vec<f64>,
}

impl State {
    /// The expected values of the next `horizon` periods.
    pub(super) fn forecast(&self, shape: Shape, constants: Constants, horizon: usize) -> Vec<f64> {
        let mut damping = 0.0;
        let mut power = 1.0;
        let mut made = Vec::with_capacity(horizon);
        for step in 0..horizon {
            power *= constants.phi;
            damping += power;
            let season = if shape.season > 1 { self.season[step % shape.season] } else { 0.0 };
            made.push(self.level + damping * self.trend + season);
        }
        made
    }
}

/// Runs the recursion over `values`, calling `seen` with each one-step error; gives the last state.
///
/// # Source
/// Hyndman et al. 2008, eq. 3.5: `e = y − (l + φb + s)`, `l' = l + φb + αe`, `b' = φb + βe`, `s' = s + γe`.
pub(super) fn walk(
    values: impl Iterator<Item = f64>,
    shape: Shape,
    constants: Constants,
    mut state: State,
    mut seen: impl FnMut(f64),
) -> State {
    let mut at = 0;
    for value in values {
        let trend = constants.phi * state.trend;
        let season = if shape.season > 1 { state.season[at] } else { 0.0 };
        let error = value - (state.level + trend + season);
        seen(error);
        state.level += trend + constants.alpha * error;
        state.trend = trend + constants.beta * error;
        if shape.season > 1 {
            state.season[at] = season + constants.gamma * error;
            at = if at + 1 == shape.season { 0 } else { at + 1 };
        }
    }
    state.season.rotate_left(at);
    state
}

/// The sum of squared one-step errors and the last state.
pub(super) fn run(
    values: &[f64],
    shape: Shape,
    constants: Constants,
    initial: State,
) -> (f64, State) {
    let mut squares = 0.0;
    let last = walk(values.iter().copied(), shape, constants, initial, |error| {
        squares += error * error;
    });
    (squares, last)
}
