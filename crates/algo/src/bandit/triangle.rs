//! Symmetric matrices as their lower triangle, row by row: the arithmetic of beliefs.
//!
//! A decision reads the triangles of all actions, so this is where its time goes: loops over equal
//! indexes become vector code even where iterators are not inlined, and what is inlined into
//! [`crate::wide::widest_of`] gets the widest there is. No product is fused with a sum: all processors
//! find the same bits, with few lanes or many.

/// The numbers that are multiplied side by side.
const LANES: usize = 8;

/// The lines of a triangle that are added up at once.
const BLOCK: usize = 4;

/// The numbers in the lower triangle of a square of this width.
pub(super) fn triangle(width: usize) -> usize {
    width * (width + 1) / 2
}

/// The inverse of a positive definite matrix; `None` if rounding has eaten a pivot.
pub(super) fn inverse(matrix: &[f64], width: usize) -> Option<Vec<f64>> {
    let mut lower = matrix.to_vec();
    for row in 0..width {
        for column in 0..=row {
            let (r, c) = (triangle(row), triangle(column));
            let known = dot(&lower[r..r + column], &lower[c..c + column]);
            let left = lower[r + column] - known;
            lower[r + column] = if row == column {
                if left <= 0.0 || !left.is_finite() {
                    return None;
                }
                left.sqrt()
            } else {
                left / lower[c + column]
            };
        }
    }
    // The inverse of the triangle, column by column, kept as rows of its transpose.
    let mut columns = vec![0.0; width * width];
    for column in 0..width {
        columns[column * width + column] = 1.0 / lower[triangle(column) + column];
        for row in column + 1..width {
            let start = triangle(row);
            let from = column * width;
            let known =
                dot(&lower[start + column..start + row], &columns[from + column..from + row]);
            columns[from + row] = -known / lower[start + row];
        }
    }
    let mut made = Vec::with_capacity(matrix.len());
    for row in 0..width {
        for column in 0..=row {
            let (a, b) = (row * width, column * width);
            made.push(dot(&columns[a + row..a + width], &columns[b + row..b + width]));
        }
    }
    Some(made)
}

/// A symmetric matrix, given as its lower triangle, times `row`.
#[inline(always)]
pub(super) fn product(lower: &[f64], row: &[f64]) -> Vec<f64> {
    let mut made = vec![0.0; row.len()];
    for at in 0..row.len() {
        let line = &lower[triangle(at)..][..=at];
        made[at] += dot(line, &row[..=at]);
        if row[at] != 0.0 {
            add_scaled(&mut made[..at], &line[..at], row[at]);
        }
    }
    made
}

/// `rowᵀ · matrix · row` for a symmetric matrix given as its lower triangle.
///
/// Four lines are added up at once: that keeps the processor's lanes full and the sums in its cache.
#[inline(always)]
pub(super) fn quadratic(lower: &[f64], row: &[f64]) -> f64 {
    let mut sums = vec![0.0; row.len()];
    let mut diagonal = 0.0;
    for start in (0..row.len()).step_by(BLOCK) {
        let end = (start + BLOCK).min(row.len());
        if row[start..end].iter().all(|value| *value == 0.0) {
            continue;
        }
        if end - start == BLOCK && start > 0 {
            let line = |place: usize| &lower[triangle(start + place)..][..start];
            let values = [row[start], row[start + 1], row[start + 2], row[start + 3]];
            add_four(&mut sums[..start], [line(0), line(1), line(2), line(3)], values);
        } else {
            for at in start..end {
                add_scaled(&mut sums[..start], &lower[triangle(at)..][..start], row[at]);
            }
        }
        // What is left of each line after the common part: the triangle at its end.
        for at in start..end {
            let line = &lower[triangle(at)..][..=at];
            for place in start..at {
                sums[place] += row[at] * line[place];
            }
            diagonal += row[at] * row[at] * line[at];
        }
    }
    diagonal + 2.0 * dot(&sums, row)
}

/// Adds four lines, each scaled, to `target`, whose length is a multiple of [`BLOCK`].
#[inline(always)]
fn add_four(target: &mut [f64], [a, b, c, d]: [&[f64]; BLOCK], [w, x, y, z]: [f64; BLOCK]) {
    let (target, _) = target.as_chunks_mut::<BLOCK>();
    let count = target.len();
    let (a, b) = (&a.as_chunks::<BLOCK>().0[..count], &b.as_chunks::<BLOCK>().0[..count]);
    let (c, d) = (&c.as_chunks::<BLOCK>().0[..count], &d.as_chunks::<BLOCK>().0[..count]);
    for at in 0..count {
        for lane in 0..BLOCK {
            target[at][lane] +=
                (w * a[at][lane] + x * b[at][lane]) + (y * c[at][lane] + z * d[at][lane]);
        }
    }
}

/// `target += scale · values`, over as many numbers as the shorter one has.
#[inline(always)]
pub(super) fn add_scaled(target: &mut [f64], values: &[f64], scale: f64) {
    let count = target.len().min(values.len());
    let (target, values) = (&mut target[..count], &values[..count]);
    for at in 0..count {
        target[at] += scale * values[at];
    }
}

/// Adds `scale · values·valuesᵀ` to a lower triangle.
#[inline(always)]
pub(super) fn add_square(lower: &mut [f64], values: &[f64], scale: f64) {
    let mut rest = lower;
    for (at, value) in values.iter().enumerate() {
        let (line, after) = rest.split_at_mut(at + 1);
        rest = after;
        if *value != 0.0 {
            add_scaled(line, values, scale * value);
        }
    }
}

/// The sum of products, over as many numbers as the shorter one has; the order of additions is fixed.
#[inline(always)]
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let count = a.len().min(b.len());
    let (a_parts, a_rest) = a[..count].as_chunks::<LANES>();
    let (b_parts, b_rest) = b[..count].as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for at in 0..a_parts.len() {
        for lane in 0..LANES {
            lanes[lane] += a_parts[at][lane] * b_parts[at][lane];
        }
    }
    let mut rest = 0.0;
    for at in 0..a_rest.len() {
        rest += a_rest[at] * b_rest[at];
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h)) + rest
}

#[cfg(test)]
mod tests {
    use flywheel_base::Rng;

    use super::*;

    #[test]
    fn both_halves_of_a_square_are_found_in_the_triangle() {
        let lower = [2.0, -1.0, 3.0, 0.5, 0.25, 4.0];
        assert_eq!(product(&lower, &[1.0, 2.0, 3.0]), [1.5, 5.75, 13.0]);
        assert_eq!(quadratic(&lower, &[1.0, 2.0, 3.0]), 1.5 + 11.5 + 39.0);
        assert!(inverse(&[1.0, 2.0, 1.0], 2).is_none());
        let mut rng = Rng::new(4);
        for width in 1..=14 {
            let lower: Vec<f64> = (0..triangle(width)).map(|_| rng.normal()).collect();
            for _ in 0..3 {
                let row: Vec<f64> =
                    (0..width).map(|_| if rng.chance(0.4) { 0.0 } else { rng.normal() }).collect();
                let plain = dot(&product(&lower, &row), &row);
                assert!((quadratic(&lower, &row) - plain).abs() < 1e-12, "{width}");
            }
        }
    }
}
