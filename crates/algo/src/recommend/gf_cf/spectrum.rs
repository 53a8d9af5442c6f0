//! The leading directions of the normalised matrix, by a seeded randomised subspace iteration.
//!
//! ```text
//! X random ─► orthonormal ─► P·X ─► orthonormal ─► … ─► XᵀPX = U·Λ·Uᵀ ─► V = X·U
//! ```
//! P = R̃ᵀR̃ is never made: it is applied column block by column block through the sparse cells, so
//! that memory grows with items × width and users × block, not with users × width. Every sum is
//! made in an order that follows from the data alone.
//!
//! Source: Halko, Martinsson & Tropp 2011, algorithm 4.4; orthonormalisation by the eigenvectors of
//! the Gram matrix (Stathopoulos & Wu 2002), which survives dependent columns.

use flywheel_base::{Result, Rng};
use rayon::prelude::*;

use super::super::holders::Holders;
use super::super::interactions::Interactions;
use super::super::vector::dot;
use super::dense::{descending, product, transposed_product};
use crate::wide::{Work, widest};

/// Columns that are applied together; a row of them fits the registers.
const BLOCK: usize = 32;
/// Items whose rows are looked up together; 512 KB of them at 256 directions, which fits the nearer cache.
const TILE: usize = 512;
/// Directions beyond the wanted ones, whose company makes the wanted ones exact sooner.
const OVERSAMPLING: usize = 16;
/// Of a Gram matrix in single precision, the share of the largest eigenvalue that is still a
/// direction and not noise.
const NOISE: f64 = 1e-6;

/// R̃ = diag(users) · presence · diag(items), by cells.
#[derive(Debug)]
pub(super) struct Normalised<'a> {
    /// Which cells are filled.
    pub(super) data: &'a Interactions,
    /// The same turned around.
    pub(super) holders: &'a Holders<'a>,
    /// The square of the factor of each user.
    pub(super) user_squares: &'a [f32],
    /// The factor of each item.
    pub(super) items: &'a [f32],
}

/// Orthonormal directions, the one that carries most first.
#[derive(Clone, Debug)]
pub(super) struct Spectrum {
    /// How many directions there are.
    pub(super) rank: usize,
    /// Items × rank, item by item.
    pub(super) vectors: Vec<f32>,
}

impl Spectrum {
    /// Finds at most `rank` leading directions; fewer if the matrix has no more.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if an eigenvalue problem does not converge.
    pub(super) fn leading(
        matrix: &Normalised<'_>,
        rank: usize,
        sweeps: usize,
        seed: u64,
    ) -> Result<Self> {
        let count = matrix.items.len();
        let width = (rank + OVERSAMPLING).next_multiple_of(BLOCK);
        let mut rng = Rng::stream(seed, "gf-cf");
        let mut x: Vec<f32> =
            (0..count * width).map(|_| (2.0 * rng.uniform() - 1.0) as f32).collect();
        orthonormalise(&mut x, width)?;
        for _ in 0..sweeps {
            x = matrix.apply(&x, width);
            orthonormalise(&mut x, width)?;
        }
        // Once more: after a single pass, columns that were nearly dependent are not orthogonal yet.
        orthonormalise(&mut x, width)?;
        let (values, turn) = descending(&transposed_product(&x, &matrix.apply(&x, width), width))?;
        let largest = values.first().copied().unwrap_or(0.0).max(0.0);
        let real = values.iter().take(rank).take_while(|v| **v > NOISE * largest).count();
        let vectors = product(&x, width, &turn, real);
        Ok(Self { rank: real, vectors })
    }
}

/// Replaces the columns by an orthonormal basis of what they span; columns to spare become 0.
fn orthonormalise(x: &mut Vec<f32>, width: usize) -> Result<()> {
    let (values, mut turn) = descending(&transposed_product(x, x, width))?;
    let largest = values.first().copied().unwrap_or(0.0).max(0.0);
    for (column, value) in values.iter().enumerate() {
        let scale = if *value > NOISE * largest { 1.0 / value.sqrt() } else { 0.0 };
        for row in 0..width {
            turn[(row, column)] *= scale;
        }
    }
    *x = product(x, width, &turn, width);
    Ok(())
}

impl Normalised<'_> {
    /// P · x for x of items × width; `width` is a multiple of [`BLOCK`].
    fn apply(&self, x: &[f32], width: usize) -> Vec<f32> {
        let mut made = vec![0.0; x.len()];
        for from in (0..width).step_by(BLOCK) {
            let mut panel = vec![[0.0_f32; BLOCK]; self.items.len()];
            let rows = panel.iter_mut().zip(x.chunks_exact(width)).zip(self.items);
            for ((row, source), scale) in rows {
                for (value, plain) in row.iter_mut().zip(&source[from..from + BLOCK]) {
                    *value = plain * scale;
                }
            }
            let users: Vec<[f32; BLOCK]> = (0..self.data.user_count())
                .into_par_iter()
                .map(|user| {
                    widest(|| gather(&panel, self.data.items(user), self.user_squares[user]))
                })
                .collect();
            made.par_chunks_exact_mut(width).enumerate().for_each(|(item, target)| {
                let sum = widest(|| gather(&users, self.holders.users(item), self.items[item]));
                target[from..from + BLOCK].copy_from_slice(&sum);
            });
        }
        made
    }
}

/// `scale` times the sum of the named rows.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "plain indexes stay in registers, adaptors are calls"
)]
fn gather(rows: &[[f32; BLOCK]], named: &[u32], scale: f32) -> [f32; BLOCK] {
    let mut sum = [0.0; BLOCK];
    for index in named {
        let row = &rows[*index as usize];
        for place in 0..BLOCK {
            sum[place] += row[place];
        }
    }
    for place in 0..BLOCK {
        sum[place] *= scale;
    }
    sum
}

impl Spectrum {
    /// The row of an item: what each direction is there.
    #[inline(always)]
    pub(super) fn vector(&self, item: usize) -> &[f32] {
        &self.vectors[item * self.rank..(item + 1) * self.rank]
    }
}

/// Adds the low-pass filter to the pairs of items that follow each other, ascending in each row: `weight` · `items`ᵢ ·
/// (VVᵀ)ᵢⱼ · `roots`ⱼ. Tile by tile of the other items, so that each of them comes from memory once for all rows.
pub(super) struct LowPass<'a> {
    /// V.
    pub(super) spectrum: &'a Spectrum,
    /// The item of the first row.
    pub(super) first: usize,
    /// The pairs of each item with what they are worth so far.
    pub(super) rows: &'a mut [Vec<(u32, f32)>],
    /// How much the filter weighs.
    pub(super) weight: f32,
    /// The factor of the item whose row it is.
    pub(super) items: &'a [f32],
    /// The factor of the other item.
    pub(super) roots: &'a [f32],
}

impl Work for LowPass<'_> {
    type Made = ();

    #[inline(always)]
    fn work(self) {
        let Self { spectrum, first, rows, weight, items, roots } = self;
        let mut done = vec![0; rows.len()];
        for end in (TILE..items.len() + TILE).step_by(TILE) {
            for (row, pairs) in rows.iter_mut().enumerate() {
                let item = first + row;
                let from = spectrum.vector(item);
                let mut at = done[row];
                while at < pairs.len() && (pairs[at].0 as usize) < end {
                    let place = pairs[at].0 as usize;
                    let smoothed = dot(from, spectrum.vector(place));
                    pairs[at].1 += weight * items[item] * roots[place] * smoothed;
                    at += 1;
                }
                done[row] = at;
            }
        }
    }
}
