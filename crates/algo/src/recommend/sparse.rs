//! Sparse rows of single-precision numbers: what a top-k item × item matrix is stored as.

use std::cmp::Ordering;

use flywheel_base::{Error, Result};

use super::Scored;
use super::codec::{Reader, Writer, damaged};
use super::history::UserHistory;

/// The most entries that may be asked for per row, so that offsets of 32 bits suffice for
/// [`ROWS_MAX`] rows.
pub const KEPT_PER_ITEM_MAX: usize = 10_000;

/// The most items of a model that keeps entries per item.
pub const ROWS_MAX: usize = 400_000;

/// Refuses to keep nothing, or more per item than [`KEPT_PER_ITEM_MAX`].
pub(super) fn check_kept(kept_per_item: usize) -> Result<()> {
    if (1..=KEPT_PER_ITEM_MAX).contains(&kept_per_item) {
        return Ok(());
    }
    Err(Error::invalid(format!("kept_per_item is {kept_per_item}"))
        .hint(format!("Keep 1 to {KEPT_PER_ITEM_MAX}; 200 to 1000 is usual.")))
}

/// Refuses more than [`ROWS_MAX`] items.
pub(super) fn check_items(count: usize, name: &str) -> Result<()> {
    if count <= ROWS_MAX {
        return Ok(());
    }
    Err(Error::exhausted(format!("{count} items are too many for {name}"))
        .hint(format!("It takes at most {ROWS_MAX}; use popularity or content, or fit on fewer.")))
}

/// Rows of (column, value), each row by ascending column.
///
/// # Shape
/// `row_count` rows over `column_count` columns; 8 bytes an entry.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseRows {
    column_count: usize,
    offsets: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl SparseRows {
    /// Takes rows of (column, value) with distinct columns below `column_count`.
    #[must_use]
    pub fn new(column_count: usize, rows: Vec<Vec<(u32, f32)>>) -> Self {
        let mut made =
            Self { column_count, offsets: vec![0], columns: Vec::new(), values: Vec::new() };
        for mut row in rows {
            row.sort_by_key(|(column, _)| *column);
            made.columns.extend(row.iter().map(|(column, _)| *column));
            made.values.extend(row.iter().map(|(_, value)| *value));
            made.offsets.push(made.columns.len() as u32);
        }
        made
    }

    /// How many rows there are.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.offsets.len() - 1
    }

    /// How many columns there are.
    #[must_use]
    pub fn column_count(&self) -> usize {
        self.column_count
    }

    /// How many entries are stored.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.columns.len()
    }

    /// The entries of `row`, by ascending column; none for an unknown row.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (u32, f32)> {
        let range = self.range(row);
        self.columns[range.clone()].iter().copied().zip(self.values[range].iter().copied())
    }

    fn range(&self, row: usize) -> std::ops::Range<usize> {
        match (self.offsets.get(row), self.offsets.get(row + 1)) {
            (Some(from), Some(to)) => *from as usize..*to as usize,
            _ => 0..0,
        }
    }

    /// The value at a place, 0 if none is stored.
    #[must_use]
    pub fn value(&self, row: usize, column: u32) -> f32 {
        let range = self.range(row);
        let found = self.columns[range.clone()].binary_search(&column);
        found.map_or(0.0, |place| self.values[range.start + place])
    }

    /// Adds `scale` · row `row` to a dense vector of `column_count` numbers.
    pub fn add_row(&self, row: usize, scale: f64, dense: &mut [f64]) {
        let range = self.range(row);
        let (columns, values) = (&self.columns[range.clone()], &self.values[range]);
        for (column, value) in columns.iter().zip(values) {
            if let Some(sum) = dense.get_mut(*column as usize) {
                *sum += scale * f64::from(*value);
            }
        }
    }

    /// The sum of the rows of what somebody has: the scores of a linear recommender.
    #[must_use]
    pub fn sum_of_owned(&self, history: &UserHistory) -> Vec<Scored> {
        let mut dense = vec![0.0; self.column_count()];
        for owned in history.owned() {
            self.add_row(owned.item as usize, 1.0, &mut dense);
        }
        non_zero(&dense)
    }

    /// Writes the matrix as sections of a model.
    pub fn write(&self, writer: &mut Writer) {
        writer.u32s(&[self.column_count as u32]);
        writer.u32s(&self.offsets);
        writer.u32s(&self.columns);
        writer.f32s(&self.values);
    }

    /// Reads what [`SparseRows::write`] wrote.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if the sections do not fit together.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let column_count = reader.u32s()?.first().copied().unwrap_or(0);
        let (offsets, columns, values) = (reader.u32s()?, reader.u32s()?, reader.f32s()?);
        let fits = columns.len() == values.len()
            && offsets.first() == Some(&0)
            && offsets.last().copied() == Some(columns.len() as u32)
            && offsets.is_sorted()
            && columns.iter().all(|column| *column < column_count);
        if !fits {
            return Err(damaged("holds a matrix whose parts do not fit"));
        }
        Ok(Self { column_count: column_count as usize, offsets, columns, values })
    }

    /// Reads a matrix with as many rows as columns.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if it has another shape or its parts do not fit.
    pub fn read_square(reader: &mut Reader<'_>) -> Result<Self> {
        let made = Self::read(reader)?;
        if made.row_count() != made.column_count {
            return Err(damaged("holds a matrix of items that is not square"));
        }
        Ok(made)
    }
}

/// Higher score first, then lower item: the order of every list.
#[must_use]
pub fn by_rank(a: &Scored, b: &Scored) -> Ordering {
    b.score.total_cmp(&a.score).then(a.item.cmp(&b.item))
}

/// The `count` best, in order.
///
/// # Cost
/// O(n + count · log count).
#[must_use]
pub fn best(mut scores: Vec<Scored>, count: usize) -> Vec<Scored> {
    if count == 0 {
        return Vec::new();
    }
    if scores.len() > count {
        scores.select_nth_unstable_by(count - 1, by_rank);
        scores.truncate(count);
    }
    scores.sort_by(by_rank);
    scores
}

/// The `count` best of those that are `allowed`, in order.
///
/// # Cost
/// O(n), and `allowed` is asked only for what could be among the best.
pub(super) fn best_allowed(
    scores: &[Scored],
    count: usize,
    allowed: impl Fn(u32) -> bool,
) -> Vec<Scored> {
    let room = count.saturating_mul(2).min(scores.len());
    let mut kept: Vec<Scored> = Vec::with_capacity(room);
    let mut last: Option<Scored> = None;
    for scored in scores {
        if count == 0 || last.is_some_and(|last| by_rank(scored, &last).is_ge()) {
            continue;
        }
        if !allowed(scored.item) {
            continue;
        }
        if kept.len() >= room {
            // So many are before the last of the first `count` that the others need not be kept.
            kept.select_nth_unstable_by(count - 1, by_rank);
            kept.truncate(count);
            last = kept.last().copied();
            if last.is_some_and(|last| by_rank(scored, &last).is_ge()) {
                continue;
            }
        }
        kept.push(*scored);
    }
    best(kept, count)
}

/// The `count` entries of largest magnitude among `(column, value)`, ties to the lower column.
#[must_use]
pub fn strongest(mut row: Vec<(u32, f32)>, count: usize) -> Vec<(u32, f32)> {
    let order =
        |a: &(u32, f32), b: &(u32, f32)| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0));
    if count == 0 {
        return Vec::new();
    }
    if row.len() > count {
        row.select_nth_unstable_by(count - 1, order);
        row.truncate(count);
    }
    row
}

/// The entries of a dense score vector that are not 0, by ascending item.
#[must_use]
pub fn non_zero(dense: &[f64]) -> Vec<Scored> {
    let mut scores = Vec::with_capacity(dense.len());
    for (item, score) in dense.iter().enumerate() {
        if *score != 0.0 && score.is_finite() {
            scores.push(Scored { item: item as u32, score: *score });
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lower_item_and_the_best_come_in_order() {
        let scores: Vec<Scored> = [3.0, 5.0, 5.0, 1.0, 5.0]
            .iter()
            .enumerate()
            .map(|(item, score)| Scored { item: item as u32, score: *score })
            .collect();
        let items = |count| best(scores.clone(), count).iter().map(|s| s.item).collect::<Vec<_>>();
        assert_eq!(items(4), [1, 2, 4, 0]);
        assert_eq!(items(2), [1, 2]);
        assert_eq!(items(0), [0_u32; 0]);
        assert_eq!(items(9), [1, 2, 4, 0, 3]);
    }

    #[test]
    fn the_best_allowed_are_the_best_of_what_is_left() {
        let mut rng = flywheel_base::Rng::new(8);
        for length in [0, 1, 7, 400] {
            let scores: Vec<Scored> =
                (0..length).map(|item| Scored { item, score: rng.below(50) as f64 }).collect();
            for count in [0, 1, 3, 20, 900] {
                let allowed = |item: u32| item % 3 != 1;
                let mut left = scores.clone();
                left.retain(|scored| allowed(scored.item));
                assert_eq!(best_allowed(&scores, count, allowed), best(left, count));
            }
        }
    }

    #[test]
    fn a_matrix_survives_writing_and_refuses_foreign_columns() {
        let matrix = SparseRows::new(3, vec![vec![(2, -1.5), (0, 1.0)], vec![]]);
        assert_eq!((matrix.value(0, 2), matrix.value(0, 1), matrix.row(9).count()), (-1.5, 0.0, 0));
        let bytes = |matrix: &SparseRows| {
            let mut writer = Writer::new("m");
            matrix.write(&mut writer);
            writer.finish()
        };
        let written = bytes(&matrix);
        let (_, mut reader) = Reader::open(&written).unwrap();
        assert_eq!(SparseRows::read(&mut reader).unwrap(), matrix);
        let wrong = bytes(&SparseRows::new(1, vec![vec![(2, 1.0)]]));
        assert!(SparseRows::read(&mut Reader::open(&wrong).unwrap().1).is_err());
    }
}
