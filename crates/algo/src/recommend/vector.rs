//! Rows of single-precision numbers, worked on in lanes that the compiler keeps in registers.
//!
//! How many lanes one instruction has is the processor's affair: the order of every sum is written here, and every
//! product is fused with its sum, rounded once, which IEEE 754 defines to the last bit: all processors find the same
//! numbers. One without such an instruction (x86 before 2013) finds them slowly. Plain indexes stay in registers where
//! adaptors of iterators were calls.

use super::Scored;
use crate::wide::{Work, widest_of};

/// Numbers that are worked on together; rows that [`product`], [`dots`] and [`add_gram`] take are as wide as some of them.
pub(super) const LANES: usize = 16;
/// Rows that are worked on together: their sums fill half of the registers.
pub(super) const TILE: usize = 4;
/// Rows that [`product`] works on together: their sums and one line fill sixteen registers of eight numbers.
pub(super) const PRODUCT_ROWS: usize = 6;
const ZERO: [f32; LANES] = [0.0; LANES];

/// The inner product of two rows of the same length, always summed in the same order.
#[inline(always)]
#[must_use]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0_f32; LANES];
    for chunk in 0..a.len().min(b.len()) {
        let (x, y) = (&a[chunk], &b[chunk]);
        for lane in 0..LANES {
            sums[lane] = x[lane].mul_add(y[lane], sums[lane]);
        }
    }
    let mut total = sum_of(&sums);
    for place in 0..a_rest.len().min(b_rest.len()) {
        total = a_rest[place].mul_add(b_rest[place], total);
    }
    total
}

/// [`dot`] of one row with four others of whole lanes: their sums do not wait for each other.
#[inline(always)]
#[must_use]
pub(super) fn dots(row: &[f32], others: [&[f32]; TILE]) -> [f32; TILE] {
    let row = row.as_chunks::<LANES>().0;
    let [first, second, third, fourth] = chunks_of(others);
    let length = row.len().min(first.len()).min(second.len()).min(third.len()).min(fourth.len());
    let (mut a, mut b, mut c, mut d) = (ZERO, ZERO, ZERO, ZERO);
    for chunk in 0..length {
        a = times(a, &row[chunk], &first[chunk]);
        b = times(b, &row[chunk], &second[chunk]);
        c = times(c, &row[chunk], &third[chunk]);
        d = times(d, &row[chunk], &fourth[chunk]);
    }
    sums_of(&[a, b, c, d])
}

/// Rows by their lanes. Each by its own, since `map` of an array was a call.
#[inline(always)]
fn chunks_of([first, second, third, fourth]: [&[f32]; TILE]) -> [&[[f32; LANES]]; TILE] {
    let first = first.as_chunks::<LANES>().0;
    let second = second.as_chunks::<LANES>().0;
    let third = third.as_chunks::<LANES>().0;
    let fourth = fourth.as_chunks::<LANES>().0;
    [first, second, third, fourth]
}

/// Does `see` with the place and the inner product of each line of `lines` with `row`, in order: the same numbers as
/// [`dot`] finds, four at once where rows are of whole lanes.
#[inline(always)]
pub(super) fn each_product(lines: &[f32], row: &[f32], mut see: impl FnMut(usize, f32)) {
    let width = row.len().max(1);
    let mut place = 0;
    let mut rest = lines;
    if width.is_multiple_of(LANES) {
        let tiles = lines.chunks_exact(TILE * width);
        rest = tiles.remainder();
        for tile in tiles {
            let line = |at: usize| &tile[at * width..][..width];
            for found in dots(row, [line(0), line(1), line(2), line(3)]) {
                see(place, found);
                place += 1;
            }
        }
    }
    for line in rest.chunks_exact(width) {
        see(place, dot(line, row));
        place += 1;
    }
}

/// The scores of all items for a person: the inner products that are not 0.
pub(super) struct Products<'a> {
    /// Items × width, item by item.
    pub(super) items: &'a [f32],
    /// The person's row.
    pub(super) person: &'a [f32],
}

impl Work for Products<'_> {
    type Made = Vec<Scored>;

    #[inline(always)]
    fn work(self) -> Vec<Scored> {
        let mut scores = Vec::with_capacity(self.items.len() / self.person.len().max(1));
        each_product(self.items, self.person, |item, product| {
            let score = f64::from(product);
            if score != 0.0 && score.is_finite() {
                scores.push(Scored { item: item as u32, score });
            }
        });
        scores
    }
}

/// Items that stay near while all people go over them.
const NEAR_ITEMS: usize = 8 * TILE;

/// [`Products`] of several people, each with the same numbers as alone: items are read from memory once for all of them.
struct ProductsOfAll<'a> {
    /// Items × width, item by item.
    items: &'a [f32],
    /// People × width.
    people: &'a [f32],
    width: usize,
}

impl Work for ProductsOfAll<'_> {
    type Made = Vec<Vec<Scored>>;

    #[inline(always)]
    fn work(self) -> Vec<Vec<Scored>> {
        let Self { items, people, width } = self;
        let mut made = Vec::with_capacity(people.len() / width);
        for _ in people.chunks_exact(width) {
            made.push(Vec::with_capacity(items.len() / width));
        }
        for (block, near) in items.chunks(NEAR_ITEMS * width).enumerate() {
            let first = block * NEAR_ITEMS;
            for (person, scores) in people.chunks_exact(width).zip(&mut made) {
                each_product(near, person, |place, product| {
                    let score = f64::from(product);
                    if score != 0.0 && score.is_finite() {
                        scores.push(Scored { item: (first + place) as u32, score });
                    }
                });
            }
        }
        made
    }
}

/// The scores of all items for each of `people`, as [`Products`] finds them; none for who has no numbers.
///
/// # Shape
/// `items` is items × `width`, item by item; each person has `width` numbers.
pub(super) fn products_of_all(
    items: &[f32],
    width: usize,
    people: &[Option<Vec<f32>>],
) -> Vec<Vec<Scored>> {
    let rows: Vec<f32> = people.iter().flatten().flatten().copied().collect();
    let mut made =
        widest_of(ProductsOfAll { items, people: &rows, width: width.max(1) }).into_iter();
    let of = |person: &Option<Vec<f32>>| match person {
        Some(_) => made.next().unwrap_or_default(),
        None => Vec::new(),
    };
    people.iter().map(of).collect()
}

/// Adds the sum of `scales` · `sources`, rows of whole lanes, to `target`.
#[inline(always)]
pub(super) fn add_all_scaled(target: &mut [f32], scales: [f32; TILE], sources: [&[f32]; TILE]) {
    let target = target.as_chunks_mut::<LANES>().0;
    let [first, second, third, fourth] = chunks_of(sources);
    let length = target.len().min(first.len()).min(second.len()).min(third.len()).min(fourth.len());
    for chunk in 0..length {
        let mut sums = target[chunk];
        sums = plus(sums, scales[0], &first[chunk]);
        sums = plus(sums, scales[1], &second[chunk]);
        sums = plus(sums, scales[2], &third[chunk]);
        sums = plus(sums, scales[3], &fourth[chunk]);
        target[chunk] = sums;
    }
}

/// `sums` and `x` · `y`, lane by lane.
#[inline(always)]
fn times(sums: [f32; LANES], x: &[f32; LANES], y: &[f32; LANES]) -> [f32; LANES] {
    let mut made = ZERO;
    for lane in 0..LANES {
        made[lane] = x[lane].mul_add(y[lane], sums[lane]);
    }
    made
}

/// The sum of all lanes: halves are added until one number is left.
///
/// A call, and so [`sums_of`]: where the compiler sees in which order lanes are added, it takes them apart in the loop
/// before already, which costs several times as much as the call.
#[inline(never)]
fn sum_of(sums: &[f32; LANES]) -> f32 {
    folded(sums)
}

/// [`sum_of`] of four, lane by lane of what is left of each.
#[inline(never)]
fn sums_of(sums: &[[f32; LANES]; TILE]) -> [f32; TILE] {
    let [first, second, third, fourth] = sums;
    let left = [quartered(first), quartered(second), quartered(third), quartered(fourth)];
    // Lanes are added where they lie, before they are put side by side: otherwise the compiler moves all of them about first.
    let left = std::hint::black_box(left);
    let mut made = [0.0; TILE];
    for row in 0..TILE {
        made[row] = (left[row][0] + left[row][2]) + (left[row][1] + left[row][3]);
    }
    made
}

#[inline(always)]
fn folded(sums: &[f32; LANES]) -> f32 {
    let left = quartered(sums);
    (left[0] + left[2]) + (left[1] + left[3])
}

/// What is left of the lanes when halves were added twice.
#[inline(always)]
fn quartered(sums: &[f32; LANES]) -> [f32; LANES / 4] {
    let mut left = [0.0; LANES / 4];
    for lane in 0..LANES / 4 {
        left[lane] = (sums[lane] + sums[lane + 8]) + (sums[lane + 4] + sums[lane + 12]);
    }
    left
}

/// Lines of numbers by panels of [`LANES`] columns: what a product walks through lies side by side. Row by row, lines a
/// power of two long would fall on each other in the nearest cache.
#[derive(Clone, Debug, Default)]
pub(super) struct Panels {
    lines: usize,
    numbers: Vec<[f32; LANES]>,
}

impl Panels {
    /// Takes lines of `width` numbers, a multiple of [`LANES`].
    pub(super) fn of(lines: &[f32], width: usize) -> Self {
        let mut panels = Self::default();
        panels.fill(lines, width);
        panels
    }

    /// Takes other lines, in the room there is.
    pub(super) fn fill(&mut self, lines: &[f32], width: usize) {
        self.lines = lines.len() / width;
        self.numbers.clear();
        for column in (0..width).step_by(LANES) {
            let rows = lines.chunks_exact(width);
            self.numbers.extend(rows.filter_map(|row| row[column..].first_chunk::<LANES>()));
        }
    }

    /// The panel that begins at `column`, a line after the other.
    #[inline(always)]
    fn panel(&self, column: usize) -> &[[f32; LANES]] {
        let begin = column / LANES * self.lines;
        self.numbers.get(begin..begin + self.lines).unwrap_or_default()
    }
}

/// `made` = `rows` · `square`, rows and `made` row by row with `width` numbers a row.
///
/// # Shape
/// `width` is a multiple of [`LANES`]; rows and `made` are equally many, `square` has `width` lines.
#[inline(always)]
pub(super) fn product(rows: &[f32], square: &Panels, width: usize, made: &mut [f32]) {
    let (tile, count) = (PRODUCT_ROWS * width, rows.len() / width);
    let whole = count - count % PRODUCT_ROWS;
    let (rows, rows_rest) = rows.split_at(whole * width);
    let (made, made_rest) = made.split_at_mut(whole * width);
    // A panel stays in the nearest cache while all rows go over it.
    for column in (0..width).step_by(LANES) {
        let panel = square.panel(column);
        for (rows, made) in rows.chunks_exact(tile).zip(made.chunks_exact_mut(tile)) {
            product_of_tile(rows, panel, width, &mut made[column..]);
        }
        for (row, made) in rows_rest.chunks_exact(width).zip(made_rest.chunks_exact_mut(width)) {
            let mut sums = ZERO;
            for place in 0..panel.len().min(row.len()) {
                sums = plus(sums, row[place], &panel[place]);
            }
            made[column..][..LANES].copy_from_slice(&sums);
        }
    }
}

/// One panel of columns of [`product`], of [`PRODUCT_ROWS`] rows, whose sums stay in registers.
#[inline(always)]
fn product_of_tile(rows: &[f32], panel: &[[f32; LANES]], width: usize, made: &mut [f32]) {
    let row = |at: usize| &rows[at * width..][..width];
    let (first, second, third, fourth, fifth, sixth) =
        (row(0), row(1), row(2), row(3), row(4), row(5));
    let (mut a, mut b, mut c, mut d, mut e, mut f) = (ZERO, ZERO, ZERO, ZERO, ZERO, ZERO);
    for place in 0..panel.len().min(width) {
        let line = &panel[place];
        a = plus(a, first[place], line);
        b = plus(b, second[place], line);
        c = plus(c, third[place], line);
        d = plus(d, fourth[place], line);
        e = plus(e, fifth[place], line);
        f = plus(f, sixth[place], line);
    }
    for (at, sums) in [a, b, c, d, e, f].iter().enumerate() {
        made[at * width..][..LANES].copy_from_slice(sums);
    }
}

/// `sums` and `scale` · `line`, by value so that all of it stays in registers.
#[inline(always)]
fn plus(sums: [f32; LANES], scale: f32, line: &[f32; LANES]) -> [f32; LANES] {
    let mut made = ZERO;
    for lane in 0..LANES {
        made[lane] = scale.mul_add(line[lane], sums[lane]);
    }
    made
}

/// Adds rowsᵀ · rows to the upper triangle of `square`, and more of it that [`mirror`] writes over.
///
/// # Shape
/// `rows` has `width` columns; `square` has `width` rows of `width` numbers.
#[inline(always)]
pub(super) fn add_gram(rows: &Panels, width: usize, square: &mut [f64]) {
    for first in (0..width).step_by(TILE) {
        let left = rows.panel(first);
        let inside = first % LANES;
        for column in (first - inside..width).step_by(LANES) {
            let (mut a, mut b, mut c, mut d) = (ZERO, ZERO, ZERO, ZERO);
            let right = rows.panel(column);
            for row in 0..left.len().min(right.len()) {
                let Some([first, second, third, fourth]) =
                    left[row][inside..].first_chunk::<TILE>()
                else {
                    continue;
                };
                let line = &right[row];
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
        target_rest[place] = scale.mul_add(source_rest[place], target_rest[place]);
    }
}

/// Adds `scale` · `source` to `target`.
#[inline(always)]
fn add_lanes(target: &mut [f32; LANES], scale: f32, source: &[f32; LANES]) {
    for lane in 0..LANES {
        target[lane] = scale.mul_add(source[lane], target[lane]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wide::widest;

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
    fn four_rows_at_once_are_four_rows() {
        let row =
            |from: usize| (from..from + 48).map(|place| (place % 29) as f32).collect::<Vec<_>>();
        let (p, rows) = (row(3), [row(0), row(5), row(11), row(17)]);
        let others = [&rows[0][..], &rows[1][..], &rows[2][..], &rows[3][..]];
        let found = widest(|| dots(&p, others));
        let mut sum = p.clone();
        widest(|| add_all_scaled(&mut sum, [1.0, 2.0, -3.0, 4.0], others));
        let mut each = p.clone();
        for ((other, scale), found) in others.iter().zip([1.0, 2.0, -3.0, 4.0]).zip(found) {
            assert_eq!(found, dot(&p, other));
            add_scaled(&mut each, scale, other);
        }
        assert_eq!(sum, each);
        for (width, count) in [(48, 9), (47, 9), (48, 3)] {
            let lines: Vec<f32> = (0..width * count).map(|place| (place % 31) as f32).collect();
            let mut found = Vec::new();
            widest(|| {
                each_product(&lines, &p[..width], |place, product| found.push((place, product)));
            });
            let expected = lines.chunks(width).map(|line| dot(line, &p[..width])).enumerate();
            assert_eq!(found, expected.collect::<Vec<_>>(), "{width} {count}");
        }
    }

    #[test]
    fn people_together_get_what_each_gets_alone() {
        for (width, items) in [(16, NEAR_ITEMS * 2 + 7), (33, 5), (48, NEAR_ITEMS), (7, 0)] {
            let number = |place: usize| ((place * 7919) % 23) as f32 / 7.0 - 1.5;
            let all: Vec<f32> = (0..items * width).map(number).collect();
            let row = |from: usize| Some((from..from + width).map(number).collect::<Vec<f32>>());
            let people = [row(3), None, row(11), row(0), None];
            let together = products_of_all(&all, width, &people);
            let alone = people.iter().map(|person| match person {
                Some(person) => widest_of(Products { items: &all, person }),
                None => Vec::new(),
            });
            assert_eq!(together, alone.collect::<Vec<_>>(), "{width} {items}");
        }
        assert!(products_of_all(&[1.0; 16], 16, &[]).is_empty());
    }

    #[test]
    fn products_of_any_number_of_rows_are_those_of_single_numbers() {
        for (count, width) in [(1, 16), (6, 32), (7, 48), (13, 16), (0, 16)] {
            let number = |place: usize| ((place * 7919) % 23) as f32 - 11.0;
            let rows: Vec<f32> = (0..count * width).map(number).collect();
            let square: Vec<f32> = (0..width * width).map(|place| number(place + 5)).collect();
            let mut made = vec![f32::NAN; rows.len()];
            let panels = Panels::of(&square, width);
            widest(|| product(&rows, &panels, width, &mut made));
            let mut sums = vec![1.0; width * width];
            let panels = Panels::of(&rows, width);
            widest(|| add_gram(&panels, width, &mut sums));
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
