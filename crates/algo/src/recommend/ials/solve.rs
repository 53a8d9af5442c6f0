//! The equations of one row and their solution by conjugate gradients, or by triangles for many right sides.

use super::super::vector::{add_scaled, dot, each_product};

/// A residual whose square is below this is none: single precision carries no more.
const NOTHING: f32 = 1e-20;

/// A · x = b with A = gram + penalty · I + Σ (c − 1) y yᵀ and b = Σ c y over the cells (c, y).
#[derive(Clone, Debug)]
pub(super) struct Row<'a> {
    /// The Gram matrix of the other side.
    pub(super) gram: &'a [f32],
    /// The penalty of this row.
    pub(super) penalty: f32,
    /// Confidence and numbers of the other side, per filled cell.
    pub(super) cells: Vec<(f32, &'a [f32])>,
}

impl Row<'_> {
    /// b: where the cells pull.
    #[inline(always)]
    pub(super) fn right_side(&self) -> Vec<f32> {
        let mut side = vec![0.0; self.gram.len().isqrt()];
        for (confidence, y) in &self.cells {
            add_scaled(&mut side, *confidence, y);
        }
        side
    }

    /// Moves `x`, which starts at 0, towards A⁻¹ · `right` until the residual is `tolerance` of it.
    #[inline(always)]
    pub(super) fn descend(&self, right: &[f32], x: &mut [f32], steps: usize, tolerance: f32) {
        let mut residual = right.to_vec();
        let mut direction = residual.clone();
        let mut square = dot(&residual, &residual);
        let enough = (square * tolerance * tolerance).max(NOTHING);
        for _ in 0..steps {
            if square <= enough {
                return;
            }
            let turned = self.times(&direction);
            let length = square / dot(&direction, &turned);
            if !length.is_finite() {
                return;
            }
            add_scaled(x, length, &direction);
            add_scaled(&mut residual, -length, &turned);
            let before = std::mem::replace(&mut square, dot(&residual, &residual));
            let kept = square / before;
            for (d, r) in direction.iter_mut().zip(&residual) {
                *d = r + kept * *d;
            }
        }
    }

    /// A · p.
    #[inline(always)]
    fn times(&self, p: &[f32]) -> Vec<f32> {
        let mut made = Vec::with_capacity(p.len());
        each_product(self.gram, p, |_, product| made.push(product));
        add_scaled(&mut made, self.penalty, p);
        for (confidence, y) in &self.cells {
            add_scaled(&mut made, (confidence - 1.0) * dot(y, p), y);
        }
        made
    }
}

impl Row<'_> {
    /// L of A = L · Lᵀ, by Cholesky and Banachiewicz.
    #[inline(always)]
    pub(super) fn factored(&self) -> Triangle {
        let width = self.gram.len().isqrt();
        let mut rows = self.gram.to_vec();
        for (confidence, y) in &self.cells {
            for (line, own) in rows.chunks_exact_mut(width).zip(*y) {
                add_scaled(line, (confidence - 1.0) * own, y);
            }
        }
        for at in 0..width {
            let (done, rest) = rows.split_at_mut(at * width);
            let line = &mut rest[..width];
            for (before, other) in done.chunks_exact(width).enumerate() {
                line[before] =
                    (line[before] - dot(&line[..before], &other[..before])) / other[before];
            }
            // Nothing of A lies below its penalty, whatever single precision makes of it.
            let left = line[at] + self.penalty - dot(&line[..at], &line[..at]);
            line[at] = left.max(self.penalty).sqrt();
        }
        Triangle { width, rows }
    }
}

/// The lower triangle L of A = L · Lᵀ; what is above it means nothing.
#[derive(Clone, Debug)]
pub(super) struct Triangle {
    width: usize,
    rows: Vec<f32>,
}

impl Triangle {
    /// L⁻¹ · y: the product of two such is a product of their y with A⁻¹ between them.
    #[inline(always)]
    pub(super) fn below(&self, y: &[f32]) -> Vec<f32> {
        let mut made = Vec::with_capacity(self.width);
        for (at, (line, y)) in self.rows.chunks_exact(self.width).zip(y).enumerate() {
            made.push((y - dot(&line[..at], &made)) / line[at]);
        }
        made
    }
}
