//! Nearest neighbours by cosine: items liked by the same people, people who like the same items.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::interactions::Interactions;

pub mod items;
pub mod users;

/// What an empty cell means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// Nothing is known: two rows are compared on the cells both have. Right for ratings.
    Unknown,
    /// A zero: two rows are compared on all cells. Right for purchases, where not buying is telling,
    /// and what the common textbook code does to ratings.
    Zero,
}

/// Which number of a cell is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// 1 for every filled cell.
    Presence,
    /// The summed weight: ratings, amounts.
    Weight,
    /// How often.
    Occasions,
}

/// Matrix columns: per item the users that have it, ascending, and the value of the cell.
#[derive(Clone, Debug)]
struct Columns {
    offsets: Vec<usize>,
    users: Vec<u32>,
    values: Vec<f64>,
}

impl Columns {
    fn column(&self, item: usize) -> impl Iterator<Item = (u32, f64)> {
        let range = match (self.offsets.get(item), self.offsets.get(item + 1)) {
            (Some(from), Some(to)) => *from..*to,
            _ => 0..0,
        };
        self.users[range.clone()].iter().copied().zip(self.values[range].iter().copied())
    }
}

/// Turns rows of (item, value) around.
fn columns(rows: &[Vec<(u32, f64)>], item_count: usize) -> Columns {
    let mut offsets = vec![0; item_count + 1];
    for (item, _) in rows.iter().flatten() {
        offsets[*item as usize + 1] += 1;
    }
    for item in 0..item_count {
        offsets[item + 1] += offsets[item];
    }
    let filled = offsets.last().copied().unwrap_or(0);
    let (mut users, mut values) = (vec![0; filled], vec![0.0; filled]);
    let mut next = offsets.clone();
    for (user, row) in rows.iter().enumerate() {
        for (item, value) in row {
            let place = &mut next[*item as usize];
            users[*place] = user as u32;
            values[*place] = *value;
            *place += 1;
        }
    }
    Columns { offsets, users, values }
}

/// The rows of the matrix with the chosen number in each cell.
fn rows(data: &Interactions, value: Value) -> Vec<Vec<(u32, f64)>> {
    (0..data.user_count())
        .map(|user| {
            data.cells(user)
                .map(|cell| match value {
                    Value::Presence => (cell.item, 1.0),
                    Value::Weight => (cell.item, cell.weight),
                    Value::Occasions => (cell.item, f64::from(cell.occasions)),
                })
                .collect()
        })
        .collect()
}

/// Sums over the cells two rows share, from which a cosine is made.
#[derive(Clone, Copy, Debug, Default)]
struct Overlap {
    dot: f64,
    own_square: f64,
    other_square: f64,
    shared: u32,
}

impl Overlap {
    fn add(&mut self, own: f64, other: f64) {
        self.dot += own * other;
        self.own_square += own * own;
        self.other_square += other * other;
        self.shared += 1;
    }

    /// The cosine, pulled to 0 by `shrink` when few cells are shared. `squares` are the squared
    /// lengths of the whole rows, used when an empty cell is a zero.
    fn cosine(self, missing: Missing, squares: (f64, f64), shrink: f64) -> f64 {
        let (own, other) = match missing {
            Missing::Unknown => (self.own_square, self.other_square),
            Missing::Zero => squares,
        };
        let length = (own * other).sqrt();
        if length <= 0.0 {
            return 0.0;
        }
        let shared = f64::from(self.shared);
        self.dot / length * (shared / (shared + shrink))
    }
}

/// Refuses a neighbourhood without neighbours and a shrinkage that is not a number of cells.
fn check(neighbours: usize, shrink: f64) -> Result<()> {
    if neighbours == 0 {
        return Err(Error::invalid("neighbours is 0")
            .hint("Keep at least 1 neighbour; 50 to 200 is usual."));
    }
    if !shrink.is_finite() || shrink < 0.0 {
        return Err(Error::invalid(format!("shrink is {shrink}"))
            .hint("Give the number of shared cells at which a similarity counts half, or 0."));
    }
    Ok(())
}
