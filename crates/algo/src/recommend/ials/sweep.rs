//! One side of the factorisation: all rows improved at once, in batches.
//!
//! The steps of [`Row`](super::solve::Row), but the product with the Gram matrix, which is most of
//! the work, is one matrix product per batch. Batches have a fixed size and each row is its own
//! system, so that the result does not depend on the number of threads.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use flywheel_base::Rng;
use rayon::prelude::*;

use super::super::vector::{add_scaled, dot, widest};
use super::Options;

/// Rows of one batch: their cells are read again in each step and should still be near.
const BATCH: usize = 32;
/// Rows whose Gram matrix is one partial sum.
const CHUNK_ROWS: usize = 4096;
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

    fn row(&self, row: usize) -> impl Iterator<Item = (usize, f32)> {
        let range = self.offsets[row]..self.offsets[row + 1];
        let others = self.others[range.clone()].iter().map(|other| *other as usize);
        others.zip(self.confidences[range].iter().copied())
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
    /// The mean mass of the rows that have a cell.
    pub(super) mean_mass: f64,
    /// Rows × factors.
    pub(super) numbers: Vec<f32>,
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
        Self { cells, penalties, factors, mean_mass, numbers: vec![0.0; rows * factors] }
    }

    /// Gives every row with a cell small random numbers.
    pub(super) fn start(&mut self, seed: u64) {
        let mut rng = Rng::stream(seed, "ials");
        for (row, numbers) in self.numbers.chunks_exact_mut(self.factors).enumerate() {
            if self.cells.len(row) > 0 {
                numbers.fill_with(|| (START * rng.uniform()) as f32);
            }
        }
    }

    /// Moves all rows towards their best numbers for the other side's.
    pub(super) fn improve(&mut self, others: &[f32], steps: usize) {
        let gram = gram(others, self.factors);
        let Self { cells, penalties, factors, numbers, .. } = self;
        numbers.par_chunks_mut(BATCH * *factors).enumerate().for_each(|(batch, numbers)| {
            let first = batch * BATCH;
            let batch = Batch { cells, penalties, gram: &gram, others, factors: *factors, first };
            widest(|| batch.descend(numbers, steps));
        });
    }
}

/// Some rows that are improved together.
struct Batch<'a> {
    cells: &'a Cells,
    penalties: &'a [f32],
    gram: &'a [f32],
    others: &'a [f32],
    factors: usize,
    first: usize,
}

impl Batch<'_> {
    #[inline(always)]
    fn descend(&self, x: &mut [f32], steps: usize) {
        let factors = self.factors;
        // r = b − A·x
        let mut residual = vec![0.0; x.len()];
        self.times_gram(x, &mut residual);
        let lines = residual.chunks_exact_mut(factors).zip(x.chunks_exact(factors));
        for (row, (residual, x)) in lines.enumerate() {
            let penalty = self.penalties[self.first + row];
            residual.iter_mut().zip(x).for_each(|(r, x)| *r = -*r - penalty * x);
            for (other, confidence) in self.cells.row(self.first + row) {
                let y = &self.others[other * factors..][..factors];
                add_scaled(residual, confidence - (confidence - 1.0) * dot(y, x), y);
            }
        }
        let square = |row: &[f32]| dot(row, row);
        let mut squares: Vec<f32> = residual.chunks_exact(factors).map(square).collect();
        let mut direction = residual.clone();
        let mut turned = vec![0.0; x.len()];
        for _ in 0..steps {
            self.times_gram(&direction, &mut turned);
            for (row, size) in squares.iter_mut().enumerate() {
                let range = row * factors..(row + 1) * factors;
                if *size <= NOTHING {
                    continue;
                }
                let (p, ap) = (&mut direction[range.clone()], &mut turned[range.clone()]);
                self.add_cells(row, p, ap);
                let length = *size / dot(p, ap);
                add_scaled(&mut x[range.clone()], length, p);
                let residual = &mut residual[range];
                add_scaled(residual, -length, ap);
                let before = std::mem::replace(size, square(residual));
                let kept = *size / before;
                p.iter_mut().zip(&*residual).for_each(|(p, r)| *p = r + kept * *p);
            }
        }
    }

    /// Adds what A has beside the Gram matrix: penalty · p + Σ (c − 1) (y·p) y.
    #[inline(always)]
    fn add_cells(&self, row: usize, p: &[f32], ap: &mut [f32]) {
        add_scaled(ap, self.penalties[self.first + row], p);
        for (other, confidence) in self.cells.row(self.first + row) {
            let y = &self.others[other * self.factors..][..self.factors];
            add_scaled(ap, (confidence - 1.0) * dot(y, p), y);
        }
    }

    /// `made` = x · gram, row by row.
    fn times_gram(&self, x: &[f32], made: &mut [f32]) {
        let (rows, factors) = (x.len() / self.factors, self.factors);
        let x = MatRef::from_row_major_slice(x, rows, factors);
        let gram = MatRef::from_row_major_slice(self.gram, factors, factors);
        let made = MatMut::from_row_major_slice_mut(made, rows, factors);
        matmul(made, Accum::Replace, x, gram, 1.0, Par::Seq);
    }
}

/// numbersᵀ · numbers, summed by chunks of rows in their order.
pub(super) fn gram(numbers: &[f32], factors: usize) -> Vec<f32> {
    let rows = numbers.len() / factors;
    let chunk = CHUNK_ROWS.max(rows.div_ceil(PARTS_MAX)) * factors;
    let parts: Vec<Mat<f32>> = numbers
        .par_chunks(chunk)
        .map(|part| {
            let part = MatRef::from_row_major_slice(part, part.len() / factors, factors);
            let mut made = Mat::zeros(factors, factors);
            matmul(made.as_mut(), Accum::Replace, part.transpose(), part, 1.0, Par::Seq);
            made
        })
        .collect();
    let entry = |place: usize| {
        let (row, column) = (place / factors, place % factors);
        parts.iter().map(|part| f64::from(part[(row, column)])).sum::<f64>() as f32
    };
    (0..factors * factors).map(entry).collect()
}
