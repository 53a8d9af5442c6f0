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
    let fixed = match initialization {
        Initialization::LegacyHeuristic => Some(legacy(values, shape)),
        Initialization::Heuristic => Some(heuristic(values, shape)),
        Initialization::Estimated if shape.season > SOLVED_SEASON_MAX => {
            Some(heuristic(values, shape))
        }
        Initialization::Estimated => None,
    };
    let squares = |point: &[f64]| {
        let constants = constants(shape, point);
        match &fixed {
            Some(initial) => run(values, shape, constants, initial.clone()).0,
            None => least_error(values, shape, constants),
        }
    };
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
