//! One k-means++ start and Lloyd's iterations with Hamerly's bounds.

use flywheel_base::Rng;
use rayon::prelude::*;

use super::bounds::{Centres, Known, NONE, Piece};
use super::distance::{square_distance, wide_distance};
use crate::wide::{Work, widest_of};

/// Rows in one parallel piece; fixed, so that sums do not depend on the number of threads.
const ROWS_PER_PIECE: usize = 8192;

/// Passes after which the sums are taken of all rows anew.
const FRESH_EVERY: usize = 16;

/// The outcome of one start, in the scaled space.
pub(super) struct Fit {
    pub(super) centres: Vec<f64>,
    pub(super) labels: Vec<usize>,
    pub(super) inertia: f64,
    pub(super) converged: bool,
}

/// What rows add to the centres.
#[derive(Clone)]
struct Sums {
    totals: Vec<f64>,
    counts: Vec<i64>,
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
    centres: Vec<f64>,
    iterations_max: usize,
) -> Fit {
    let mut known = Known::nothing(rows.len() / columns);
    let mut centres = Centres::new(centres, columns);
    let mut sums = Sums::none(&centres);
    // Whether the centres are the means of their rows but for one rounding.
    let mut exact = false;
    let mut converged = false;
    for iteration in 0..iterations_max.max(1) {
        let moved = pass(rows, columns, &centres, &mut known);
        if moved.changed == 0 && exact {
            converged = true;
            break;
        }
        // Rows that come and go leave their rounding in the sums.
        exact = moved.changed == 0 || iteration % FRESH_EVERY == FRESH_EVERY - 1;
        if exact {
            sums = Sums::of(rows, columns, &known.labels, &centres);
        } else {
            sums.add(&moved);
        }
        if recentre(rows, columns, &mut centres, &sums, &mut known) {
            sums = Sums::of(rows, columns, &known.labels, &centres);
            exact = false;
        }
    }
    if !converged {
        pass(rows, columns, &centres, &mut known);
    }
    let inertia = inertia(rows, columns, &known.labels, &centres);
    let labels = known.labels.into_iter().map(usize::from).collect();
    Fit { centres: centres.values, labels, inertia, converged }
}

/// Draws starting centres, each with a probability proportional to its squared distance to those before;
/// of several draws the one that lowers the total most is kept (greedy k-means++).
fn plus_plus(rows: &[f64], columns: usize, k: usize, rng: &mut Rng) -> Vec<f64> {
    let n = rows.len() / columns;
    let row = |at: usize| &rows[at * columns..(at + 1) * columns];
    let draws = 2 + (k as f64).ln() as usize;
    let mut centres = row(rng.below(n)).to_vec();
    let (mut square, _) = closer(rows, columns, &centres, None);
    while centres.len() < k * columns {
        let mut best: Option<(f64, usize, Vec<f64>)> = None;
        for _ in 0..draws {
            let Some(drawn) = rng.weighted(&square) else { break };
            let (left, total) = closer(rows, columns, row(drawn), Some(&square));
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

/// The squared distance of each row to a centre, or to the ones before if that is less; and their sum.
fn closer(rows: &[f64], columns: usize, centre: &[f64], before: Option<&[f64]>) -> (Vec<f64>, f64) {
    let mut squares = match before {
        Some(before) => before.to_vec(),
        None => vec![f64::INFINITY; rows.len() / columns],
    };
    let sums: Vec<f64> = rows
        .par_chunks(ROWS_PER_PIECE * columns)
        .zip(squares.par_chunks_mut(ROWS_PER_PIECE))
        .map(|(rows, squares)| widest_of(Closer { rows, centre, squares }))
        .collect();
    (squares, sums.iter().sum())
}

struct Closer<'a> {
    rows: &'a [f64],
    centre: &'a [f64],
    squares: &'a mut [f64],
}

impl Work for Closer<'_> {
    type Made = f64;

    #[inline(always)]
    fn work(self) -> f64 {
        let Self { rows, centre, squares } = self;
        let mut sum = 0.0;
        for (at, row) in rows.chunks_exact(centre.len()).enumerate() {
            let square = wide_distance(row, centre);
            if square < squares[at] {
                squares[at] = square;
            }
            sum += squares[at];
        }
        sum
    }
}

impl Sums {
    fn none(centres: &Centres) -> Self {
        Self { totals: vec![0.0; centres.values.len()], counts: vec![0; centres.len()], changed: 0 }
    }

    /// Of all rows anew.
    fn of(rows: &[f64], columns: usize, labels: &[u16], centres: &Centres) -> Self {
        let pieces: Vec<Self> = rows
            .par_chunks(ROWS_PER_PIECE * columns)
            .zip(labels.par_chunks(ROWS_PER_PIECE))
            .map(|(rows, labels)| {
                let mut sums = Self::none(centres);
                for (row, label) in rows.chunks_exact(columns).zip(labels) {
                    sums.take(row, *label);
                }
                sums
            })
            .collect();
        let mut all = Self::none(centres);
        pieces.iter().for_each(|piece| all.add(piece));
        all
    }

    fn add(&mut self, other: &Self) {
        self.totals.iter_mut().zip(&other.totals).for_each(|(sum, part)| *sum += part);
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, part)| *sum += part);
        self.changed += other.changed;
    }

    #[inline(always)]
    fn take(&mut self, row: &[f64], label: u16) {
        let label = usize::from(label);
        self.counts[label] += 1;
        let total = &mut self.totals[label * row.len()..(label + 1) * row.len()];
        for column in 0..row.len() {
            total[column] += row[column];
        }
    }

    #[inline(always)]
    fn leave(&mut self, row: &[f64], label: u16) {
        let label = usize::from(label);
        self.counts[label] -= 1;
        let total = &mut self.totals[label * row.len()..(label + 1) * row.len()];
        for column in 0..row.len() {
            total[column] -= row[column];
        }
    }

    /// The means of the rows; a centre without rows stays.
    fn means(&self, centres: &Centres) -> Vec<f64> {
        let columns = centres.values.len() / centres.len();
        let mut means = centres.values.clone();
        let totals = self.totals.chunks_exact(columns).zip(&self.counts);
        for (mean, (total, count)) in means.chunks_exact_mut(columns).zip(totals) {
            if *count > 0 {
                let values = mean.iter_mut().zip(total);
                values.for_each(|(mean, total)| *mean = total / *count as f64);
            }
        }
        means
    }
}

/// Assigns every row whose bounds do not settle it; gives what that changes in the sums.
fn pass(rows: &[f64], columns: usize, centres: &Centres, known: &mut Known) -> Sums {
    let pieces: Vec<Sums> = rows
        .par_chunks(ROWS_PER_PIECE * columns)
        .zip(known.pieces(ROWS_PER_PIECE))
        .map(|(rows, known)| widest_of(Settle { rows, columns, centres, known }))
        .collect();
    let mut all = Sums::none(centres);
    pieces.iter().for_each(|piece| all.add(piece));
    all
}

struct Settle<'a> {
    rows: &'a [f64],
    columns: usize,
    centres: &'a Centres,
    known: Piece<'a>,
}

impl Work for Settle<'_> {
    type Made = Sums;

    #[inline(always)]
    fn work(self) -> Sums {
        let Self { rows, columns, centres, mut known } = self;
        let mut sums = Sums::none(centres);
        for (at, row) in rows.chunks_exact(columns).enumerate() {
            let Err(safe) = known.settled(at, centres) else { continue };
            let before = known.labels[at];
            if before != NONE && !centres.are_few() {
                let own = wide_distance(row, centres.one(before)).sqrt();
                if own < safe {
                    known.note_upper(at, own, centres);
                    continue;
                }
            }
            let (label, own, next) = centres.nearest_two(row);
            // There are no more clusters than fit.
            let label = label as u16;
            known.note(at, label, (own.sqrt(), next.sqrt()), centres);
            if before != label {
                sums.changed += 1;
                sums.take(row, label);
                if before != NONE {
                    sums.leave(row, before);
                }
            }
        }
        sums
    }
}

/// Moves each centre to the mean of its rows; an empty one goes to the row farthest from its centre. Whether there was one.
fn recentre(
    rows: &[f64],
    columns: usize,
    centres: &mut Centres,
    sums: &Sums,
    known: &mut Known,
) -> bool {
    let mut means = sums.means(centres);
    let mut given = Vec::new();
    for label in (0..centres.len()).filter(|label| sums.counts[*label] == 0) {
        let Some(at) = farthest(rows, columns, centres, &known.labels, &given) else { continue };
        let row = &rows[at * columns..(at + 1) * columns];
        means[label * columns..(label + 1) * columns].copy_from_slice(row);
        // There are no more clusters than fit.
        known.give(at, label as u16);
        given.push(at);
    }
    centres.move_to(means);
    !given.is_empty()
}

/// The row farthest from its centre, of those that were not `given` to another one just now.
fn farthest(
    rows: &[f64],
    columns: usize,
    centres: &Centres,
    labels: &[u16],
    given: &[usize],
) -> Option<usize> {
    let distance = |(row, label): (&[f64], &u16)| square_distance(row, centres.one(*label));
    let distances = rows.chunks_exact(columns).zip(labels).map(distance).enumerate();
    let distances = distances.filter(|(row, _)| !given.contains(row));
    distances.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).map(|(row, _)| row)
}

/// The summed squared distances of the rows to their centres.
fn inertia(rows: &[f64], columns: usize, labels: &[u16], centres: &Centres) -> f64 {
    let pieces: Vec<f64> = rows
        .par_chunks(ROWS_PER_PIECE * columns)
        .zip(labels.par_chunks(ROWS_PER_PIECE))
        .map(|(rows, labels)| widest_of(Inertia { rows, columns, labels, centres }))
        .collect();
    pieces.iter().sum()
}

struct Inertia<'a> {
    rows: &'a [f64],
    columns: usize,
    labels: &'a [u16],
    centres: &'a Centres,
}

impl Work for Inertia<'_> {
    type Made = f64;

    #[inline(always)]
    fn work(self) -> f64 {
        let mut sum = 0.0;
        for (at, row) in self.rows.chunks_exact(self.columns).enumerate() {
            sum += wide_distance(row, self.centres.one(self.labels[at]));
        }
        sum
    }
}
