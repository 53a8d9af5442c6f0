//! The equations of one row and their solution by conjugate gradients.

use super::super::vector::{add_scaled, dot};

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
    pub(super) fn right_side(&self) -> Vec<f32> {
        let mut side = vec![0.0; self.gram.len().isqrt()];
        self.cells.iter().for_each(|(confidence, y)| add_scaled(&mut side, *confidence, y));
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
        let rows = self.gram.chunks_exact(p.len());
        let mut made: Vec<f32> = rows.map(|row| dot(row, p)).collect();
        add_scaled(&mut made, self.penalty, p);
        for (confidence, y) in &self.cells {
            add_scaled(&mut made, (confidence - 1.0) * dot(y, p), y);
        }
        made
    }
}
