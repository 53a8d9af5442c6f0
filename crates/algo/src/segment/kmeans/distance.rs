//! Distances between rows, in lanes that the compiler keeps in registers.

use rayon::prelude::*;

use crate::wide::{Work, widest_of};

/// Centres whose distances to a row come side by side.
pub(super) const LANES: usize = 8;
/// Rows whose nearest centres one thread looks for.
const ROWS_PER_PIECE: usize = 512;
/// Columns of one row that are worked on together.
const COLUMNS: usize = 4;

/// The squared Euclidean distance.
pub(super) fn square_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// The squared Euclidean distance, for [`widest_of`].
#[inline(always)]
pub(super) fn wide_distance(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<COLUMNS>(), b.as_chunks::<COLUMNS>());
    let mut sums = [0.0; COLUMNS];
    for chunk in 0..a.len().min(b.len()) {
        let (x, y) = (&a[chunk], &b[chunk]);
        for lane in 0..COLUMNS {
            let away = x[lane] - y[lane];
            sums[lane] = away.mul_add(away, sums[lane]);
        }
    }
    let mut total = (sums[0] + sums[2]) + (sums[1] + sums[3]);
    for place in 0..a_rest.len().min(b_rest.len()) {
        let away = a_rest[place] - b_rest[place];
        total = away.mul_add(away, total);
    }
    total
}

/// Centres by eight, column by column.
pub(super) struct Panels {
    columns: usize,
    /// `(k / 8, columns, 8)`; the places behind the last centre are infinitely far from everything.
    lines: Vec<[f64; LANES]>,
}

impl Panels {
    /// # Shape
    /// `centres` is `(k, columns)`.
    pub(super) fn of(centres: &[f64], columns: usize) -> Self {
        let k = centres.len() / columns;
        let mut lines = vec![[f64::INFINITY; LANES]; k.div_ceil(LANES) * columns];
        for (label, centre) in centres.chunks_exact(columns).enumerate() {
            let panel = &mut lines[label / LANES * columns..];
            panel.iter_mut().zip(centre).for_each(|(line, value)| line[label % LANES] = *value);
        }
        Self { columns, lines }
    }

    /// The nearest centre of a row, the first one on ties, and the squared distances of it and of the next one.
    #[inline(always)]
    pub(super) fn nearest_two(&self, row: &[f64]) -> (usize, f64, f64) {
        let (mut best, mut least, mut second) = (0, f64::INFINITY, f64::INFINITY);
        for (place, panel) in self.lines.chunks_exact(self.columns).enumerate() {
            let mut squares = [0.0; LANES];
            for column in 0..row.len().min(panel.len()) {
                let (value, line) = (row[column], &panel[column]);
                for lane in 0..LANES {
                    let away = value - line[lane];
                    squares[lane] = away.mul_add(away, squares[lane]);
                }
            }
            let (lowest, next) = lowest_two(&squares);
            if lowest < least {
                second = lesser(least, next);
                least = lowest;
                let mut at = 0;
                for lane in (0..LANES).rev() {
                    at = if squares[lane] == lowest { lane } else { at };
                }
                best = place * LANES + at;
            } else {
                second = lesser(second, lowest);
            }
        }
        (best, least, second)
    }

    /// The nearest centre of each row.
    pub(super) fn nearest(&self, rows: &[f64]) -> Vec<usize> {
        self.of_each(rows).map(|(label, _, _)| label).collect()
    }

    /// The squared distance of each centre to the one beside it; the nearest of all is itself.
    pub(super) fn next_of_each(&self, centres: &[f64]) -> Vec<f64> {
        self.of_each(centres).map(|(_, _, next)| next).collect()
    }

    fn of_each(&self, rows: &[f64]) -> impl Iterator<Item = (usize, f64, f64)> {
        let pieces: Vec<Vec<(usize, f64, f64)>> = rows
            .par_chunks(ROWS_PER_PIECE * self.columns)
            .map(|rows| widest_of(NearestTwo(self, rows)))
            .collect();
        pieces.into_iter().flatten()
    }
}

struct NearestTwo<'a>(&'a Panels, &'a [f64]);

impl Work for NearestTwo<'_> {
    type Made = Vec<(usize, f64, f64)>;

    #[inline(always)]
    fn work(self) -> Self::Made {
        let Self(panels, rows) = self;
        let mut made = Vec::with_capacity(rows.len() / panels.columns);
        for row in rows.chunks_exact(panels.columns) {
            made.push(panels.nearest_two(row));
        }
        made
    }
}

/// The lowest number and the lowest of the others.
#[inline(always)]
fn lowest_two(all: &[f64; LANES]) -> (f64, f64) {
    let (mut low, mut high) = ([0.0; 4], [0.0; 4]);
    for lane in 0..4 {
        low[lane] = lesser(all[lane], all[lane + 4]);
        high[lane] = greater(all[lane], all[lane + 4]);
    }
    let both = |a: usize, b: usize| {
        let next = lesser(greater(low[a], low[b]), lesser(high[a], high[b]));
        (lesser(low[a], low[b]), next)
    };
    let (left, right) = (both(0, 2), both(1, 3));
    (lesser(left.0, right.0), lesser(greater(left.0, right.0), lesser(left.1, right.1)))
}

/// As one instruction; there are no numbers here that are none.
#[inline(always)]
fn lesser(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

#[inline(always)]
fn greater(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_two_are_those_a_plain_search_finds() {
        let mut rng = flywheel_base::Rng::stream(5, "nearest");
        for (k, columns) in [(1, 1), (2, 3), (7, 4), (8, 8), (9, 5), (30, 11)] {
            let mut draw = |count: usize| -> Vec<f64> {
                // Coarse numbers: there are ties.
                (0..count).map(|_| (rng.normal() * 2.0).round()).collect()
            };
            let (centres, rows) = (draw(k * columns), draw(50 * columns));
            let panels = Panels::of(&centres, columns);
            let nearest = panels.nearest(&rows);
            for (row, nearest) in rows.chunks_exact(columns).zip(nearest) {
                let all = centres.chunks_exact(columns).map(|centre| square_distance(row, centre));
                let mut squares: Vec<(f64, usize)> =
                    all.enumerate().map(|(at, s)| (s, at)).collect();
                squares.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                let second = squares.get(1).map_or(f64::INFINITY, |(square, _)| *square);
                let (least, label) = squares[0];
                assert_eq!(panels.nearest_two(row), (label, least, second), "{k} × {columns}");
                assert_eq!(nearest, label);
                let own = &centres[label * columns..(label + 1) * columns];
                assert_eq!(wide_distance(row, own), least);
            }
        }
    }
}
