//! Rows of single-precision numbers, worked on in lanes that the compiler keeps in registers.
//!
//! How many lanes one instruction has is the processor's affair: the order of every sum is written
//! here, and no product is fused with a sum, so that all processors find the same bits. Plain indexes
//! stay in registers where adaptors of iterators were calls.

use faer::traits::pulp::{Arch, Simd, WithSimd};

/// Numbers that are worked on together; rows that [`product`] and [`add_gram`] take are as wide as some of them.
pub(super) const LANES: usize = 16;
/// Rows that are worked on together: their sums fill half of the registers.
const TILE: usize = 4;
const ZERO: [f32; LANES] = [0.0; LANES];

/// Does `work` with the widest instructions there are; what shall use them is inlined into it.
///
/// A large closure is not, and then has the narrowest: give it as [`Work`].
pub(super) fn widest<T>(work: impl FnOnce() -> T) -> T {
    Arch::new().dispatch(work)
}

/// Work for [`widest_of`].
pub(super) trait Work {
    /// What it gives.
    type Made;

    /// Does it. Has to be `#[inline(always)]`, as has all that it calls and no closure of its own may be large.
    fn work(self) -> Self::Made;
}

/// Does work of any size with the widest instructions there are.
pub(super) fn widest_of<W: Work>(work: W) -> W::Made {
    Arch::new().dispatch(Wide(work))
}

/// Work as the dispatch takes it.
struct Wide<W>(W);

impl<W: Work> WithSimd for Wide<W> {
    type Output = W::Made;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> W::Made {
        self.0.work()
    }
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
    let mut total = sum_of(sums);
    for place in 0..a_rest.len().min(b_rest.len()) {
        total += a_rest[place] * b_rest[place];
    }
    total
}

/// The sum of all lanes: halves are added until one number is left.
#[inline(always)]
fn sum_of(mut sums: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

/// `made` = `rows` · `square`, all row by row with `width` numbers a row.
///
/// # Shape
/// `width` is a multiple of [`LANES`]; rows and `made` are equally many, `square` has `width` rows.
#[inline(always)]
pub(super) fn product(rows: &[f32], square: &[f32], width: usize, made: &mut [f32]) {
    let (tile, count) = (TILE * width, rows.len() / width);
    let whole = count - count % TILE;
    let (rows, rows_rest) = rows.split_at(whole * width);
    let (made, made_rest) = made.split_at_mut(whole * width);
    for (rows, made) in rows.chunks_exact(tile).zip(made.chunks_exact_mut(tile)) {
        product_of_tile(rows, square, width, made);
    }
    for (row, made) in rows_rest.chunks_exact(width).zip(made_rest.chunks_exact_mut(width)) {
        made.fill(0.0);
        for (scale, line) in row.iter().zip(square.chunks_exact(width)) {
            add_scaled(made, *scale, line);
        }
    }
}

/// As [`product`], of [`TILE`] rows, whose sums stay in registers.
#[inline(always)]
fn product_of_tile(rows: &[f32], square: &[f32], width: usize, made: &mut [f32]) {
    let row = |at: usize| &rows[at * width..][..width];
    let (first, second, third, fourth) = (row(0), row(1), row(2), row(3));
    for column in (0..width).step_by(LANES) {
        let (mut a, mut b, mut c, mut d) = (ZERO, ZERO, ZERO, ZERO);
        for (place, line) in square.chunks_exact(width).take(width).enumerate() {
            let Some(line) = line[column..].first_chunk::<LANES>() else { continue };
            a = plus(a, first[place], line);
            b = plus(b, second[place], line);
            c = plus(c, third[place], line);
            d = plus(d, fourth[place], line);
        }
        made[column..][..LANES].copy_from_slice(&a);
        made[width + column..][..LANES].copy_from_slice(&b);
        made[2 * width + column..][..LANES].copy_from_slice(&c);
        made[3 * width + column..][..LANES].copy_from_slice(&d);
    }
}

/// `sums` and `scale` · `line`, by value so that all of it stays in registers.
#[inline(always)]
fn plus(sums: [f32; LANES], scale: f32, line: &[f32; LANES]) -> [f32; LANES] {
    let mut made = ZERO;
    for lane in 0..LANES {
        made[lane] = sums[lane] + scale * line[lane];
    }
    made
}

/// Adds rowsᵀ · rows to the upper triangle of `square`, and more of it that [`mirror`] writes over.
///
/// # Shape
/// `width` numbers a row, a multiple of [`LANES`]; `square` has `width` rows.
#[inline(always)]
pub(super) fn add_gram(rows: &[f32], width: usize, square: &mut [f64]) {
    for first in (0..width).step_by(TILE) {
        for column in (first - first % LANES..width).step_by(LANES) {
            let (mut a, mut b, mut c, mut d) = (ZERO, ZERO, ZERO, ZERO);
            for row in rows.chunks_exact(width) {
                let (Some([first, second, third, fourth]), Some(line)) =
                    (row[first..].first_chunk::<TILE>(), row[column..].first_chunk::<LANES>())
                else {
                    continue;
                };
                a = plus(a, *first, line);
                b = plus(b, *second, line);
                c = plus(c, *third, line);
                d = plus(d, *fourth, line);
            }
            for (line, sums) in [a, b, c, d].iter().enumerate() {
                let target = &mut square[(first + line) * width + column..][..LANES];
                for lane in 0..LANES {
                    target[lane] += f64::from(sums[lane]);
                }
            }
        }
    }
}

/// Writes the upper triangle of a square into its lower one.
pub(super) fn mirror(square: &mut [f32], width: usize) {
    for row in 1..width {
        for column in 0..row {
            square[row * width + column] = square[column * width + row];
        }
    }
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

    #[test]
    fn products_of_any_number_of_rows_are_those_of_single_numbers() {
        for (count, width) in [(1, 16), (4, 32), (7, 48), (0, 16)] {
            let number = |place: usize| ((place * 7919) % 23) as f32 - 11.0;
            let rows: Vec<f32> = (0..count * width).map(number).collect();
            let square: Vec<f32> = (0..width * width).map(|place| number(place + 5)).collect();
            let mut made = vec![f32::NAN; rows.len()];
            widest(|| product(&rows, &square, width, &mut made));
            let mut sums = vec![1.0; width * width];
            widest(|| add_gram(&rows, width, &mut sums));
            let mut gram: Vec<f32> = sums.iter().map(|sum| *sum as f32).collect();
            mirror(&mut gram, width);
            for column in 0..width {
                for row in 0..count {
                    let terms = (0..width)
                        .map(|place| rows[row * width + place] * square[place * width + column]);
                    assert_eq!(made[row * width + column], terms.sum::<f32>(), "{row} {column}");
                }
                for other in 0..width {
                    let terms = rows.chunks(width).map(|row| row[column] * row[other]);
                    assert_eq!(gram[column * width + other], 1.0 + terms.sum::<f32>());
                }
            }
        }
    }
}
