//! Hillstrom's e-mail experiment: whom a letter makes visit the shop, judged on customers not fitted to.

use std::path::Path;

use flywheel_algo::uplift::qini::{effect_at, qini};
use flywheel_algo::uplift::{Experiment, Kind, Uplift};
use flywheel_base::{Result, Rng};

use crate::{cells, number, print, timed};

/// Parts of the cross-validation.
const FOLDS: usize = 5;

/// The share of best-ranked customers whose effect is told.
const BEST: f64 = 0.3;

/// Columns of the file.
const RECENCY: usize = 0;
const HISTORY: usize = 2;
const MENS: usize = 3;
const WOMENS: usize = 4;
const NEWBIE: usize = 6;
const SEGMENT: usize = 8;
const VISIT: usize = 9;

pub(crate) fn run(path: &Path) -> Result<()> {
    let customers = cells(path)?;
    for (letter, name) in [("Womens E-Mail", "womens"), ("Mens E-Mail", "mens")] {
        let chosen: Vec<&Vec<String>> = customers
            .iter()
            .filter(|row| {
                row.get(SEGMENT).is_some_and(|cell| cell == letter || cell == "No E-Mail")
            })
            .collect();
        let (mut features, mut treated, mut visited) = (Vec::new(), Vec::new(), Vec::new());
        for row in &chosen {
            for column in [RECENCY, HISTORY, MENS, WOMENS, NEWBIE] {
                features.push(number(path, row, column)?);
            }
            treated.push(row.get(SEGMENT).is_some_and(|cell| cell == letter));
            visited.push(number(path, row, VISIT)? > 0.0);
        }
        for kind in Kind::ALL {
            let label = format!("hillstrom {name} {}-learner", kind.name());
            let mut scores = Vec::new();
            timed(&format!("{label} qini"), || {
                scores = crossed(kind, &features, &treated, &visited)?;
                Ok(qini(&scores, &treated, &visited)?.area)
            })?;
            let best = effect_at(&scores, &treated, &visited, BEST, 0.95)?;
            print(
                &format!("{label} effect at 30 %"),
                best.map_or(f64::NAN, |best| best.estimate),
                0.0,
            )?;
        }
    }
    Ok(())
}

/// The score of every customer by a learner that was fitted to the other parts.
fn crossed(kind: Kind, features: &[f64], treated: &[bool], visited: &[bool]) -> Result<Vec<f64>> {
    let count = treated.len();
    let width = features.len() / count.max(1);
    let mut folds: Vec<usize> = (0..count).map(|at| at % FOLDS).collect();
    Rng::stream(0, "folds").shuffle(&mut folds);
    let mut scores = vec![0.0; count];
    for fold in 0..FOLDS {
        let (mut x, mut t, mut y) = (Vec::new(), Vec::new(), Vec::new());
        for (at, row) in
            features.chunks_exact(width).enumerate().filter(|(at, _)| folds[*at] != fold)
        {
            x.extend_from_slice(row);
            t.push(treated[at]);
            y.push(visited[at]);
        }
        let learner =
            Uplift::fit(kind, &Experiment { features: &x, treated: &t, happened: &y }, 1.0)?;
        for (at, row) in
            features.chunks_exact(width).enumerate().filter(|(at, _)| folds[*at] == fold)
        {
            scores[at] = learner.predict(row)?;
        }
    }
    Ok(scores)
}
