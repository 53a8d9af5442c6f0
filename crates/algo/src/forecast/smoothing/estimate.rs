//! The search for smoothing constants.

use super::Initialization;
use super::initial::{heuristic, least_error, legacy, solve};
use super::state::{Constants, Shape, State, run};
use crate::forecast::simplex::{COARSE, FINE, minimise};

/// Seasons longer than this start from the heuristic: their free effects would outnumber the data.
const SOLVED_SEASON_MAX: usize = 24;

/// The range of a damped trend's share that is left each period (statsmodels' bounds).
const PHI: (f64, f64) = (0.8, 0.995);

/// Where the search for each constant starts, as a share of its range.
const ALPHA_STARTS: [f64; 5] = [0.0, 0.1, 0.3, 0.6, 0.95];
const OTHER_STARTS: [f64; 2] = [0.05, 0.4];

/// How many of the best starting points are searched from; the error has more than one valley.
const SEARCHES: usize = 3;

/// The first step of the search, in radians of the bounding transform.
const STEP: f64 = 0.25;

/// Finds the constants and initial state of the least squared one-step error.
pub(super) fn search(
    values: &[f64],
    shape: Shape,
    initialization: Initialization,
) -> (Constants, State) {
    let fixed = fixed(values, shape, initialization);
    let squares = |point: &[f64]| error_at(values, shape, point, fixed.as_ref());
    let mut ranked: Vec<(Vec<f64>, f64)> =
        starts(shape).into_iter().map(|start| (start.clone(), squares(&start))).collect();
    ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
    ranked.truncate(SEARCHES);
    let searched = ranked.iter().map(|(start, _)| minimise(&squares, start, STEP, COARSE));
    let ends: Vec<(Vec<f64>, f64)> = searched.chain(ranked.iter().cloned()).collect();
    let least =
        |best: (Vec<f64>, f64), end: (Vec<f64>, f64)| if end.1 < best.1 { end } else { best };
    let valley = ends.into_iter().reduce(least);
    let (start, value) = valley.unwrap_or_else(|| (vec![0.0; shape.constants()], f64::INFINITY));
    let bottom = minimise(&squares, &start, STEP / 4.0, FINE);
    let (found, _) = least((start, value), bottom);
    let constants = constants(shape, &found);
    let initial = fixed.unwrap_or_else(|| solve(values, shape, constants));
    (constants, initial)
}

/// Searches from the constants of a slightly shorter or longer series: one valley, a few steps.
pub(super) fn search_near(
    values: &[f64],
    shape: Shape,
    initialization: Initialization,
    near: Constants,
) -> (Constants, State) {
    let fixed = fixed(values, shape, initialization);
    let squares = |point: &[f64]| error_at(values, shape, point, fixed.as_ref());
    let start = point(shape, near);
    let before = squares(&start);
    let (moved, after) = minimise(&squares, &start, STEP, COARSE);
    let found = if after < before { moved } else { start };
    let constants = constants(shape, &found);
    let initial = fixed.unwrap_or_else(|| solve(values, shape, constants));
    (constants, initial)
}

/// The initial state where it is not solved for.
fn fixed(values: &[f64], shape: Shape, initialization: Initialization) -> Option<State> {
    match initialization {
        Initialization::LegacyHeuristic => Some(legacy(values, shape)),
        Initialization::Heuristic => Some(heuristic(values, shape)),
        Initialization::Estimated if shape.season > SOLVED_SEASON_MAX => {
            Some(heuristic(values, shape))
        }
        Initialization::Estimated => None,
    }
}

/// The squared error at a point of the plane.
fn error_at(values: &[f64], shape: Shape, point: &[f64], fixed: Option<&State>) -> f64 {
    let constants = constants(shape, point);
    match fixed {
        Some(initial) => run(values, shape, constants, initial.clone()).0,
        None => least_error(values, shape, constants),
    }
}

/// The point of the plane that [`constants`] maps onto these constants.
fn point(shape: Shape, of: Constants) -> Vec<f64> {
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let angle = |share: f64| share.clamp(0.0, 1.0).sqrt().asin();
    let mut made = vec![angle(of.alpha)];
    if shape.trend {
        made.push(angle(share(of.beta, of.alpha)));
    }
    if shape.season > 1 {
        made.push(angle(share(of.gamma, 1.0 - of.alpha)));
    }
    if shape.damped {
        made.push(angle((of.phi - PHI.0) / (PHI.1 - PHI.0)));
    }
    made
}

/// Maps the plane onto the admissible constants; sin² reaches both ends of a range exactly.
fn constants(shape: Shape, point: &[f64]) -> Constants {
    let mut shares = point.iter().map(|angle| angle.sin().powi(2));
    let mut next = || shares.next().unwrap_or(0.0);
    let alpha = next();
    let beta = if shape.trend { alpha * next() } else { 0.0 };
    let gamma = if shape.season > 1 { (1.0 - alpha) * next() } else { 0.0 };
    let phi = if shape.damped { PHI.0 + (PHI.1 - PHI.0) * next() } else { 1.0 };
    Constants { alpha, beta, gamma, phi }
}

/// A grid of starting points in the plane.
fn starts(shape: Shape) -> Vec<Vec<f64>> {
    let angle = |share: &f64| share.sqrt().asin();
    let mut made: Vec<Vec<f64>> = ALPHA_STARTS.iter().map(|share| vec![angle(share)]).collect();
    for _ in 1..shape.constants() {
        made = made
            .iter()
            .flat_map(|start| {
                OTHER_STARTS.iter().map(move |share| {
                    let mut longer = start.clone();
                    longer.push(angle(share));
                    longer
                })
            })
            .collect();
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_come_back_from_their_point() {
        for (trend, damped, season) in
            [(false, false, 1), (true, false, 1), (true, true, 1), (true, true, 7)]
        {
            let shape = Shape { trend, damped, season };
            let point_of: Vec<f64> =
                (0..shape.constants()).map(|at| 0.3 + 0.2 * at as f64).collect();
            let there = constants(shape, &point_of);
            let back = constants(shape, &point(shape, there));
            for (a, b) in [
                (there.alpha, back.alpha),
                (there.beta, back.beta),
                (there.gamma, back.gamma),
                (there.phi, back.phi),
            ] {
                assert!((a - b).abs() < 1e-9, "{shape:?}: {there:?} {back:?}");
            }
        }
    }

    #[test]
    fn one_value_more_is_fitted_about_as_well_from_where_the_last_search_ended() {
        let wave =
            |t: usize| 20.0 + 5.0 * ((t % 7) as f64) + 0.1 * t as f64 + ((t * 37) % 11) as f64;
        let values: Vec<f64> = (0..90).map(wave).collect();
        for (trend, damped, season) in [(false, false, 1), (true, false, 1), (true, true, 7)] {
            let shape = Shape { trend, damped, season };
            let estimated = Initialization::Estimated;
            let (near, _) = search(&values[..89], shape, estimated);
            let error = |(constants, initial): (Constants, State)| {
                run(&values, shape, constants, initial).0
            };
            let whole = error(search(&values, shape, estimated));
            let moved = error(search_near(&values, shape, estimated, near));
            assert!(moved <= whole * 1.01, "{shape:?}: {moved} instead of {whole}");
        }
    }
}
