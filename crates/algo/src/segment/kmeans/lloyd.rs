//! One k-means++ start and Lloyd's iterations with Hamerly's bounds.

use flywheel_base::Rng;
use rayon::prelude::*;

/// Rows in one parallel piece; fixed, so that sums do not depend on the number of threads.
const ROWS_PER_PIECE: usize = 8192;

/// The outcome of one start, in the scaled space.
pub(super) struct Fit {
    pub(super) centres: Vec<f64>,
    pub(super) labels: Vec<usize>,
    pub(super) inertia: f64,
    pub(super) converged: bool,
}

/// What is known of a row: its centre, how far that is at most, how far any other is at least.
#[derive(Clone, Copy)]
struct Bound {
    label: usize,
    upper: f64,
    lower: f64,
}

/// What a piece of rows adds to the centres.
struct Sums {
    totals: Vec<f64>,
    counts: Vec<usize>,
    changed: usize,
}

/// Runs one k-means++ start until no label changes.
pub(super) fn fit(
    rows: &[f64],
    columns: usize,
    k: usize,
    iterations_max: usize,
    rng: &mut Rng,
) -> Fit {
    let centres = plus_plus(rows, columns, k, rng);
    fit_from(rows, columns, centres, iterations_max)
}

/// Runs from `centres` until no label changes.
pub(super) fn fit_from(
    rows: &[f64],
    columns: usize,
    mut centres: Vec<f64>,
    iterations_max: usize,
) -> Fit {
    let n = rows.len() / columns;
    let mut bounds = vec![Bound { label: usize::MAX, upper: f64::INFINITY, lower: 0.0 }; n];
    let mut converged = false;
    for _ in 0..iterations_max.max(1) {
        let sums = pass(rows, columns, &centres, &mut bounds);
        if sums.changed == 0 {
            converged = true;
            break;
        }
        let moved = recentre(rows, columns, &mut centres, &sums, &mut bounds);
        loosen(&mut bounds, &moved);
    }
    let (labels, inertia) = label(rows, columns, &centres);
    Fit { centres, labels, inertia, converged }
}

/// The nearest centre and its squared distance; the first one on ties.
pub(super) fn nearest(row: &[f64], centres: &[f64]) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (label, centre) in centres.chunks_exact(row.len()).enumerate() {
        let square = square_distance(row, centre);
        if square < best.1 {
            best = (label, square);
        }
    }
    best
}

/// The squared Euclidean distance.
pub(super) fn square_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Draws starting centres, each with a probability proportional to its squared distance to those before;
/// of several draws the one that lowers the total most is kept (greedy k-means++).
fn plus_plus(rows: &[f64], columns: usize, k: usize, rng: &mut Rng) -> Vec<f64> {
    let n = rows.len() / columns;
    let row = |at: usize| &rows[at * columns..(at + 1) * columns];
    let draws = 2 + (k as f64).ln() as usize;
    let mut centres = row(rng.below(n)).to_vec();
    let mut square = to_centre(rows, columns, &centres);
    while centres.len() < k * columns {
        let mut best: Option<(f64, usize, Vec<f64>)> = None;
        for _ in 0..draws {
            let Some(drawn) = rng.weighted(&square) else { break };
            let mut left = to_centre(rows, columns, row(drawn));
            left.iter_mut().zip(&square).for_each(|(new, old)| *new = new.min(*old));
            let total: f64 = left.iter().sum();
            if best.as_ref().is_none_or(|(least, _, _)| total < *least) {
                best = Some((total, drawn, left));
            }
        }
        let drawn = match best {
            Some((_, drawn, left)) => {
                square = left;
                drawn
            }
            // All rows coincide with centres; the caller refuses that, but rounding may bring it here.
            None => rng.below(n),
        };
        centres.extend_from_slice(row(drawn));
    }
    centres
}

fn to_centre(rows: &[f64], columns: usize, centre: &[f64]) -> Vec<f64> {
    rows.par_chunks_exact(columns)
        .with_min_len(ROWS_PER_PIECE)
        .map(|row| square_distance(row, centre))
        .collect()
}

/// Assigns every row whose bounds do not settle it, and sums up the clusters.
fn pass(rows: &[f64], columns: usize, centres: &[f64], bounds: &mut [Bound]) -> Sums {
    let k = centres.len() / columns;
    let half = half_gaps(centres, columns);
    let pieces: Vec<Sums> = rows
        .par_chunks(ROWS_PER_PIECE * columns)
        .zip(bounds.par_chunks_mut(ROWS_PER_PIECE))
        .map(|(rows, bounds)| {
            let mut sums =
                Sums { totals: vec![0.0; centres.len()], counts: vec![0; k], changed: 0 };
            for (row, bound) in rows.chunks_exact(columns).zip(bounds) {
                let before = bound.label;
                settle(row, centres, &half, bound);
                sums.changed += usize::from(before != bound.label);
                sums.counts[bound.label] += 1;
                let at = bound.label * columns;
                let total = &mut sums.totals[at..at + columns];
                total.iter_mut().zip(row).for_each(|(total, value)| *total += value);
            }
            sums
        })
        .collect();
    let mut all = Sums { totals: vec![0.0; centres.len()], counts: vec![0; k], changed: 0 };
    for piece in pieces {
        all.totals.iter_mut().zip(piece.totals).for_each(|(sum, part)| *sum += part);
        all.counts.iter_mut().zip(piece.counts).for_each(|(sum, part)| *sum += part);
        all.changed += piece.changed;
    }
    all
}

fn settle(row: &[f64], centres: &[f64], half: &[f64], bound: &mut Bound) {
    if bound.label != usize::MAX {
        let safe = half[bound.label].max(bound.lower);
        if bound.upper < safe {
            return;
        }
        let columns = row.len();
        let own = &centres[bound.label * columns..(bound.label + 1) * columns];
        bound.upper = square_distance(row, own).sqrt();
        if bound.upper < safe {
            return;
        }
    }
    let (mut best, mut second) = ((0, f64::INFINITY), f64::INFINITY);
    for (label, centre) in centres.chunks_exact(row.len()).enumerate() {
        let square = square_distance(row, centre);
        if square < best.1 {
            second = best.1;
            best = (label, square);
        } else if square < second {
            second = square;
        }
    }
    *bound = Bound { label: best.0, upper: best.1.sqrt(), lower: second.sqrt() };
}

/// Half the distance of each centre to its nearest neighbour.
fn half_gaps(centres: &[f64], columns: usize) -> Vec<f64> {
    let all = || centres.chunks_exact(columns).enumerate();
    all()
        .map(|(at, centre)| {
            let others = all().filter(|(other, _)| *other != at);
            let least =
                others.map(|(_, o)| square_distance(centre, o)).fold(f64::INFINITY, f64::min);
            least.sqrt() / 2.0
        })
        .collect()
}

/// Moves each centre to the mean of its rows; an empty one goes to the row farthest from its centre.
/// Gives how far each moved.
fn recentre(
    rows: &[f64],
    columns: usize,
    centres: &mut [f64],
    sums: &Sums,
    bounds: &mut [Bound],
) -> Vec<f64> {
    let before = centres.to_vec();
    for (label, count) in sums.counts.iter().enumerate() {
        let at = label * columns;
        if *count > 0 {
            let total = &sums.totals[at..at + columns];
            let centre = centres[at..at + columns].iter_mut().zip(total);
            centre.for_each(|(value, total)| *value = total / *count as f64);
            continue;
        }
        if let Some(row) = farthest(rows, columns, &before, bounds) {
            centres[at..at + columns].copy_from_slice(&rows[row * columns..(row + 1) * columns]);
            bounds[row] = Bound { label, upper: 0.0, lower: 0.0 };
        }
    }
    let moved = centres.chunks_exact(columns).zip(before.chunks_exact(columns));
    moved.map(|(now, then)| square_distance(now, then).sqrt()).collect()
}

fn farthest(rows: &[f64], columns: usize, centres: &[f64], bounds: &[Bound]) -> Option<usize> {
    let distance = |(row, bound): (&[f64], &Bound)| {
        square_distance(row, &centres[bound.label * columns..(bound.label + 1) * columns])
    };
    let distances = rows.chunks_exact(columns).zip(bounds).map(distance).enumerate();
    distances.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).map(|(row, _)| row)
}

fn loosen(bounds: &mut [Bound], moved: &[f64]) {
    let most = moved.iter().copied().fold(0.0, f64::max);
    bounds.par_iter_mut().with_min_len(ROWS_PER_PIECE).for_each(|bound| {
        bound.upper += moved[bound.label];
        bound.lower -= most;
    });
}

/// Final labels and inertia, computed afresh.
fn label(rows: &[f64], columns: usize, centres: &[f64]) -> (Vec<usize>, f64) {
    let pieces: Vec<(Vec<usize>, f64)> = rows
        .par_chunks(ROWS_PER_PIECE * columns)
        .map(|piece| {
            let nearest = piece.chunks_exact(columns).map(|row| nearest(row, centres));
            nearest.fold((Vec::new(), 0.0), |(mut labels, sum), (label, square)| {
                labels.push(label);
                (labels, sum + square)
            })
        })
        .collect();
    let inertia = pieces.iter().map(|(_, sum)| sum).sum();
    (pieces.into_iter().flat_map(|(labels, _)| labels).collect(), inertia)
}
