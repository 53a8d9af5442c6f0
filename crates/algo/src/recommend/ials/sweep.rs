//! One side of the factorisation: all rows improved at once, in batches.
//!
//! The steps of [`Row`](super::solve::Row), but the product with the Gram matrix, which is most of
//! the work, is one matrix product per batch. Batches have a fixed size and each row is its own
//! system, so that the result does not depend on the number of threads. Rows are padded with zeros to
//! whole lanes, which stay 0 in every step.

use std::borrow::Cow;

use flywheel_base::Rng;
use rayon::prelude::*;

use super::super::vector::{
    LANES, PRODUCT_ROWS, Panels, TILE, add_all_scaled, add_gram, add_scaled, dot, dots, mirror,
    product,
};
use super::Options;
use crate::wide::{Work, widest_of};

/// Rows of one batch: their cells are read again in each step and should still be near.
const BATCH: usize = 2 * PRODUCT_ROWS;
/// Rows whose Gram matrix is one partial sum.
const CHUNK_ROWS: usize = 4096;
/// Rows that are near while their Gram matrix is summed in single precision.
const NEAR_ROWS: usize = 128;
/// The most partial sums that are live at once.
const PARTS_MAX: usize = 16;
/// A residual whose square is below this is none.
const NOTHING: f32 = 1e-20;
/// The largest number that a row starts with.
const START: f64 = 0.01;

/// The filled cells of one side, row by row.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    /// Where each row begins, and where the last one ends.
    pub(super) offsets: Vec<usize>,
    /// Index on the other side.
    pub(super) others: Vec<u32>,
    /// How sure we are that it is wanted.
    pub(super) confidences: Vec<f32>,
}

impl Default for Cells {
    fn default() -> Self {
        Self { offsets: vec![0], others: Vec::new(), confidences: Vec::new() }
    }
}

impl Cells {
    /// Adds a row.
    pub(super) fn push(&mut self, row: impl Iterator<Item = (u32, f32)>) {
        for (other, confidence) in row {
            self.others.push(other);
            self.confidences.push(confidence);
        }
        self.offsets.push(self.others.len());
    }

    fn len(&self, row: usize) -> usize {
        self.offsets[row + 1] - self.offsets[row]
    }
}

/// One side: its cells, penalties and numbers.
#[derive(Clone, Debug)]
pub(super) struct Side {
    cells: Cells,
    penalties: Vec<f32>,
    factors: usize,
    /// Numbers of a row with its padding.
    width: usize,
    /// The mean mass of the rows that have a cell.
    pub(super) mean_mass: f64,
    /// Rows × width.
    numbers: Vec<f32>,
}

impl Side {
    /// A side whose numbers are all 0.
    pub(super) fn new(cells: Cells, others: usize, options: &Options) -> Self {
        let rows = cells.offsets.len() - 1;
        let masses: Vec<f64> = (0..rows).map(|row| options.mass(cells.len(row), others)).collect();
        let filled = (0..rows).filter(|row| cells.len(*row) > 0);
        let (count, total) = filled.fold((0_u32, 0.0), |(n, sum), row| (n + 1, sum + masses[row]));
        let mean_mass = total / f64::from(count.max(1));
        let penalties = masses.iter().map(|mass| options.penalty_of(*mass, mean_mass)).collect();
        let factors = options.factors;
        let width = padded_width(factors);
        Self { cells, penalties, factors, width, mean_mass, numbers: vec![0.0; rows * width] }
    }

    /// The numbers without padding, row by row.
    pub(super) fn into_rows(self) -> Vec<f32> {
        if self.width == self.factors {
            return self.numbers;
        }
        let rows = self.numbers.chunks_exact(self.width);
        rows.flat_map(|row| &row[..self.factors]).copied().collect()
    }

    /// Takes other numbers, row by row.
    #[cfg(test)]
    pub(super) fn place(&mut self, rows: &[f32]) {
        self.numbers = padded(rows, self.factors).into_owned();
    }

    /// Gives every row with a cell small random numbers.
    pub(super) fn start(&mut self, seed: u64) {
        let mut rng = Rng::stream(seed, "ials");
        for (row, numbers) in self.numbers.chunks_exact_mut(self.width).enumerate() {
            if self.cells.len(row) > 0 {
                numbers[..self.factors].fill_with(|| (START * rng.uniform()) as f32);
            }
        }
    }

    /// Moves all rows towards their best numbers for the other side's.
    pub(super) fn improve(&mut self, other: &Self, steps: usize) {
        let gram = Panels::of(&padded_gram(&other.numbers, self.width), self.width);
        let others = &other.numbers;
        let Self { cells, penalties, width, numbers, .. } = self;
        numbers.par_chunks_mut(BATCH * *width).enumerate().for_each(|(batch, numbers)| {
            let first = batch * BATCH;
            let batch = Batch { cells, penalties, gram: &gram, others, width: *width, first };
            widest_of(Descent { batch, numbers, steps });
        });
    }

    /// Whether all numbers are finite.
    pub(super) fn finite(&self) -> bool {
        self.numbers.iter().all(|number| number.is_finite())
    }
}

/// A batch with its numbers and how many steps they are moved.
struct Descent<'a> {
    batch: Batch<'a>,
    numbers: &'a mut [f32],
    steps: usize,
}

impl Work for Descent<'_> {
    type Made = ();

    #[inline(always)]
    fn work(self) {
        self.batch.descend(self.numbers, self.steps);
    }
}

/// Rows whose Gram matrix is added to sums.
struct GramSum<'a> {
    rows: &'a Panels,
    width: usize,
    sums: &'a mut [f64],
}

impl Work for GramSum<'_> {
    type Made = ();

    #[inline(always)]
    fn work(self) {
        add_gram(self.rows, self.width, self.sums);
    }
}

/// Some rows that are improved together.
struct Batch<'a> {
    cells: &'a Cells,
    penalties: &'a [f32],
    gram: &'a Panels,
    others: &'a [f32],
    width: usize,
    first: usize,
}

impl Batch<'_> {
    #[inline(always)]
    fn descend(&self, x: &mut [f32], steps: usize) {
        let width = self.width;
        // r = b − A·x
        let mut residual = vec![0.0; x.len()];
        product(x, self.gram, width, &mut residual);
        let lines = residual.chunks_exact_mut(width).zip(x.chunks_exact(width));
        for (row, (residual, x)) in lines.enumerate() {
            let penalty = self.penalties[self.first + row];
            for place in 0..width.min(x.len()).min(residual.len()) {
                residual[place] = -residual[place] - penalty * x[place];
            }
            // Σ c y − (c − 1) (y·x) y
            self.add_cells(row, x, residual, 1.0, -1.0);
        }
        let mut squares = Vec::with_capacity(BATCH);
        for row in residual.chunks_exact(width) {
            squares.push(dot(row, row));
        }
        let mut direction = residual.clone();
        let mut turned = vec![0.0; x.len()];
        for step in 0..steps {
            product(&direction, self.gram, width, &mut turned);
            for (row, size) in squares.iter_mut().enumerate() {
                let range = row * width..(row + 1) * width;
                if *size <= NOTHING {
                    continue;
                }
                let (p, ap) = (&mut direction[range.clone()], &mut turned[range.clone()]);
                add_scaled(ap, self.penalties[self.first + row], p);
                // Σ (c − 1) (y·p) y: with the penalty what A has beside the Gram matrix.
                self.add_cells(row, p, ap, 0.0, 1.0);
                let length = *size / dot(p, ap);
                add_scaled(&mut x[range.clone()], length, p);
                if step + 1 == steps {
                    continue;
                }
                let residual = &mut residual[range];
                add_scaled(residual, -length, ap);
                let before = std::mem::replace(size, dot(residual, residual));
                let kept = *size / before;
                for place in 0..p.len().min(residual.len()) {
                    p[place] = residual[place] + kept * p[place];
                }
            }
        }
    }

    /// Adds Σ (`own` · c + `turned` · (c − 1) · (y·p)) y over the cells of a row to `sum`.
    #[inline(always)]
    fn add_cells(&self, row: usize, p: &[f32], sum: &mut [f32], own: f32, turned: f32) {
        let range = self.cells.offsets[self.first + row]..self.cells.offsets[self.first + row + 1];
        let others = &self.cells.others[range.clone()];
        let confidences = &self.cells.confidences[range];
        let y = |other: u32| &self.others[other as usize * self.width..][..self.width];
        let scale =
            |confidence: f32, dot: f32| own * confidence + turned * (confidence - 1.0) * dot;
        let (tiles, rest) = others.as_chunks::<TILE>();
        let (sure, sure_rest) = confidences.as_chunks::<TILE>();
        for tile in 0..tiles.len().min(sure.len()) {
            let [a, b, c, d] = tiles[tile];
            let rows = [y(a), y(b), y(c), y(d)];
            let (found, sure) = (dots(p, rows), sure[tile]);
            let scales = [
                scale(sure[0], found[0]),
                scale(sure[1], found[1]),
                scale(sure[2], found[2]),
                scale(sure[3], found[3]),
            ];
            add_all_scaled(sum, scales, rows);
        }
        for place in 0..rest.len().min(sure_rest.len()) {
            let row = y(rest[place]);
            add_scaled(sum, scale(sure_rest[place], dot(row, p)), row);
        }
    }
}

/// How wide a row with its padding is.
fn padded_width(factors: usize) -> usize {
    factors.next_multiple_of(LANES)
}

/// Rows with their padding.
fn padded(rows: &[f32], factors: usize) -> Cow<'_, [f32]> {
    let width = padded_width(factors);
    if width == factors {
        return Cow::Borrowed(rows);
    }
    let mut made = vec![0.0; rows.len() / factors * width];
    for (made, row) in made.chunks_exact_mut(width).zip(rows.chunks_exact(factors)) {
        made[..factors].copy_from_slice(row);
    }
    Cow::Owned(made)
}

/// numbersᵀ · numbers, factors × factors.
pub(super) fn gram(numbers: &[f32], factors: usize) -> Vec<f32> {
    let width = padded_width(factors);
    let made = padded_gram(&padded(numbers, factors), width);
    let rows = made.chunks_exact(width).take(factors);
    rows.flat_map(|row| &row[..factors]).copied().collect()
}

/// numbersᵀ · numbers of padded rows, summed by chunks of rows in their order.
fn padded_gram(numbers: &[f32], width: usize) -> Vec<f32> {
    let rows = numbers.len() / width;
    let chunk = CHUNK_ROWS.max(rows.div_ceil(PARTS_MAX)) * width;
    let parts: Vec<Vec<f64>> = numbers
        .par_chunks(chunk)
        .map(|part| {
            let (mut sums, mut panels) = (vec![0.0; width * width], Panels::default());
            for near in part.chunks(NEAR_ROWS * width) {
                panels.fill(near, width);
                widest_of(GramSum { rows: &panels, width, sums: &mut sums });
            }
            sums
        })
        .collect();
    let sum = |place: usize| parts.iter().map(|part| part[place]).sum::<f64>() as f32;
    let mut made: Vec<f32> = (0..width * width).map(sum).collect();
    mirror(&mut made, width);
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_wide_instructions_finds_the_same_numbers() {
        let options = Options { factors: 33, ..Options::default() };
        let (mut cells, mut of_others) = (Cells::default(), Cells::default());
        for row in 0..17_u32 {
            cells.push((0..row % 7).map(|place| ((row * 7 + place * 3) % 20, 2.0 + place as f32)));
        }
        (0..20).for_each(|_| of_others.push([(0, 1.0)].into_iter()));
        let (mut side, mut other) =
            (Side::new(cells, 20, &options), Side::new(of_others, 17, &options));
        side.start(1);
        other.start(2);
        let gram = Panels::of(&padded_gram(&other.numbers, other.width), other.width);
        let batch = || Batch {
            cells: &side.cells,
            penalties: &side.penalties,
            gram: &gram,
            others: &other.numbers,
            width: side.width,
            first: 0,
        };
        let (mut wide, mut narrow) = (side.numbers.clone(), side.numbers.clone());
        widest_of(Descent { batch: batch(), numbers: &mut wide, steps: 3 });
        Descent { batch: batch(), numbers: &mut narrow, steps: 3 }.work();
        assert_eq!(wide, narrow);
        assert!(wide != side.numbers && wide.iter().all(|number| number.is_finite()));
    }
}
