//! Derivatives that are computed along with the likelihood are those that differences show.

use super::super::history::{History, Table};
use super::super::maximum::{Shape, differences};
use super::super::pareto;
use super::history;

/// Whoever never came again, came at once, just now, long ago, often, and hundreds of times.
fn seen() -> [History; 7] {
    [
        history(0.0, 0.0, 0.001),
        history(0.0, 0.0, 0.9),
        history(1.0, 0.01, 0.8),
        history(3.0, 0.5, 0.5),
        history(4.0, 0.3, 0.301),
        history(12.0, 0.2, 1.0),
        history(300.0, 0.7, 0.75),
    ]
}

/// Clocks of either order, near to each other and far apart, and parameters that data hardly hold.
const POINTS: [[f64; 4]; 11] = [
    [0.5, 0.1, 0.6, 0.2],
    [0.5, 0.2, 0.6, 0.1],
    [1.3, 0.4, 1.0, 0.4],
    [0.2, 0.01, 0.7, 1.0],
    [2.0, 1.0, 0.7, 0.01],
    [0.01, 1e-3, 3.0, 50.0],
    [0.8, 0.1, 120.0, 40.0],
    [0.8, 0.1, 1e4, 3e3],
    [100.0, 8.0, 0.9, 0.3],
    [3.0, 30.0, 0.05, 1e-4],
    [0.6, 0.1, 1e-3, 20.0],
];

fn check(seen: &[History], parameters: [f64; 4]) {
    let table = Table::new(seen, None, 1.0);
    let logs = parameters.map(f64::ln);
    let height = |logs: &[f64]| {
        let parameters: Vec<f64> = logs.iter().map(|log| log.exp()).collect();
        pareto::likelihood(&table, &parameters)
    };
    let ours = pareto::shape(&table, &logs.map(f64::exp));
    let theirs = differences(&height, &logs);
    let near = |what: &str, ours: f64, theirs: f64, off_max: f64| {
        let off = (ours - theirs).abs();
        let place = format!("{what} of {seen:?} at {parameters:?}");
        assert!(off <= off_max, "{place}: {ours}, differences {theirs}, off by {off:.1e}");
    };
    let Shape { height: value, slope, down, .. } = ours;
    near("height", value, theirs.height, 1e-13 * value.abs().max(1.0));
    // What rounding and the step leave of differences.
    let scale = value.abs().max(parameters[0]).max(parameters[2]).max(1.0);
    for (row, (ours, theirs)) in slope.iter().zip(&theirs.slope).enumerate() {
        near(&format!("slope {row}"), *ours, *theirs, 1e-9 * scale);
    }
    for (row, (ours, theirs)) in down.iter().zip(&theirs.down).enumerate() {
        for (column, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            near(&format!("curvature {row} {column}"), *ours, *theirs, 1e-6 * scale);
        }
    }
}

/// Differences of slopes are exact enough to tell what those of heights do not: how a hill bends along a ridge.
fn check_bends(seen: &[History], parameters: [f64; 4]) {
    let table = Table::new(seen, None, 1.0);
    let shape = |logs: [f64; 4]| pareto::shape(&table, &logs.map(f64::exp));
    let logs = parameters.map(f64::ln);
    let ours = shape(logs);
    for column in 0..4 {
        let moved = |by: f64| {
            let mut moved = logs;
            moved[column] += by;
            shape(moved).slope
        };
        let [near, far] = [1e-3, 2e-3].map(|by| (moved(-by), moved(by)));
        for row in 0..4 {
            let (inner, outer) = (near.0[row] - near.1[row], far.0[row] - far.1[row]);
            let theirs = (8.0 * inner - outer) / 12e-3;
            let off = (ours.down[row][column] - theirs).abs();
            let scale = parameters[0].max(parameters[2]).max(ours.height.abs()).max(1.0);
            assert!(
                off <= 1e-10 * scale,
                "{row} {column} of {seen:?} at {parameters:?}: {:?}, {theirs}, off by {off:.1e}",
                ours.down[row][column]
            );
        }
    }
}

#[test]
fn slopes_and_curvatures_are_those_of_differences() {
    for parameters in POINTS {
        for one in seen() {
            check(&[one], parameters);
            check_bends(&[one], parameters);
        }
        check(&seen(), parameters);
        check_bends(&seen(), parameters);
    }
}
