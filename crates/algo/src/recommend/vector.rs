//! Rows of single-precision numbers, worked on in lanes that the compiler keeps in registers.
//!
//! How many lanes one instruction has is the processor's affair: the order of every sum is written
//! here, and no product is fused with a sum, so that all processors find the same bits. Plain indexes
//! stay in registers where adaptors of iterators were calls.

use faer::traits::pulp::Arch;

/// Numbers that are worked on together.
const LANES: usize = 16;

/// Does `work` with the widest instructions there are; what shall use them is inlined into it.
pub(super) fn widest<T>(work: impl FnOnce() -> T) -> T {
    Arch::new().dispatch(work)
}

/// The inner product of two rows of the same length, always summed in the same order.
#[inline(always)]
#[must_use]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0_f32; LANES];
    for chunk in 0..a.len().min(b.len()) {
        let (x, y) = (&a[chunk], &b[chunk]);
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let mut total = 0.0;
    for sum in sums {
        total += sum;
    }
    for place in 0..a_rest.len().min(b_rest.len()) {
        total += a_rest[place] * b_rest[place];
    }
    total
}

/// Adds `scale` · `source` to `target`, both of the same length.
#[inline(always)]
pub(super) fn add_scaled(target: &mut [f32], scale: f32, source: &[f32]) {
    let (target, target_rest) = target.as_chunks_mut::<LANES>();
    let (source, source_rest) = source.as_chunks::<LANES>();
    for chunk in 0..target.len().min(source.len()) {
        add_lanes(&mut target[chunk], scale, &source[chunk]);
    }
    for place in 0..target_rest.len().min(source_rest.len()) {
        target_rest[place] += scale * source_rest[place];
    }
}

/// Adds `scale` · `source` to `target`.
#[inline(always)]
fn add_lanes(target: &mut [f32; LANES], scale: f32, source: &[f32; LANES]) {
    for lane in 0..LANES {
        target[lane] += scale * source[lane];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_and_the_rest_are_both_counted() {
        for length in [0, 1, 15, 16, 17, 40] {
            let row: Vec<f32> = (0..length).map(|place| place as f32).collect();
            let square: usize = (0..length).map(|place| place * place).sum();
            assert!((dot(&row, &row) - square as f32).abs() < 1e-2, "{length}");
            let mut sum = vec![1.0; length];
            widest(|| add_scaled(&mut sum, 2.0, &row));
            assert_eq!(widest(|| dot(&row, &sum)), dot(&row, &sum), "the same bits, {length}");
            assert!(sum.iter().zip(&row).all(|(sum, value)| *sum == 1.0 + 2.0 * value));
        }
    }
}
