//! Columns of numbers and texts as rows of numbers.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

/// The most texts of a column that are told apart; rarer ones count as one.
const TEXTS_MAX: usize = 64;

/// Rows that a text must occur in to be told apart.
const ROWS_MIN: usize = 5;

/// The values of one column, row by row.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Numbers; NaN is missing.
    Numbers(Vec<f64>),
    /// Texts.
    Texts(Vec<Option<String>>),
}

impl Values {
    fn rows(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }
}

/// How a column is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reading {
    /// As it is.
    Number,
    /// 1 for the text of the place and 0 for the others; a text that was not learned is 0 everywhere.
    Texts(Vec<String>),
}

/// How columns become rows: learned once, used for every row that is scored later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoder {
    columns: Vec<(String, Reading)>,
}

impl Encoder {
    /// Learns which texts there are; they are told apart by a column of 0 and 1 for each, in the order of their names.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if columns have different lengths, naming the first.
    pub fn fit(columns: &[(String, Values)]) -> Result<Self> {
        same_length(columns)?;
        let reading = |values: &Values| match values {
            Values::Numbers(_) => Reading::Number,
            Values::Texts(texts) => {
                let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
                for text in texts.iter().flatten() {
                    *counts.entry(text).or_default() += 1;
                }
                let mut known: Vec<(&str, usize)> =
                    counts.into_iter().filter(|(_, count)| *count >= ROWS_MIN).collect();
                known.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
                known.truncate(TEXTS_MAX);
                known.sort_unstable();
                Reading::Texts(known.into_iter().map(|(text, _)| text.to_owned()).collect())
            }
        };
        let columns = columns.iter().map(|(name, values)| (name.clone(), reading(values)));
        Ok(Self { columns: columns.collect() })
    }

    /// How many numbers a row becomes.
    #[must_use]
    pub fn width(&self) -> usize {
        self.columns.iter().map(|(_, reading)| width(reading)).sum()
    }

    /// Refuses texts out of their order, more of them than are told apart, and columns of the same name: what was read
    /// back is no encoder then.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`].
    pub fn check(&self) -> Result<()> {
        let sorted = |reading: &Reading| match reading {
            Reading::Number => true,
            Reading::Texts(texts) => {
                texts.len() <= TEXTS_MAX && texts.is_sorted_by(|one, next| one < next)
            }
        };
        let mut names: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let sound = self.columns.iter().all(|(_, reading)| sorted(reading))
            && names.is_sorted_by(|one, next| one < next);
        if sound { Ok(()) } else { Err(Error::corrupt("the columns are no encoder's")) }
    }

    /// The columns that are read, and whether as texts.
    pub fn columns(&self) -> impl Iterator<Item = (&str, bool)> {
        self.columns
            .iter()
            .map(|(name, reading)| (name.as_str(), matches!(reading, Reading::Texts(_))))
    }

    /// Which column each number of a row comes from.
    #[must_use]
    pub fn column_of(&self) -> Vec<usize> {
        let columns = self.columns.iter().enumerate();
        columns.flat_map(|(at, (_, reading))| std::iter::repeat_n(at, width(reading))).collect()
    }

    /// What each number of a row is called: `tenure`, `contract = monthly`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let names = self.columns.iter().flat_map(|(name, reading)| match reading {
            Reading::Number => vec![name.clone()],
            Reading::Texts(texts) => texts.iter().map(|text| format!("{name} = {text}")).collect(),
        });
        names.collect()
    }

    /// The rows one after the other; a missing number is NaN.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the columns are not those that were learned.
    pub fn rows(&self, columns: &[(String, Values)]) -> Result<Vec<f64>> {
        let rows = same_length(columns)?;
        let same = columns.len() == self.columns.len()
            && columns.iter().zip(&self.columns).all(|((name, values), (known, reading))| {
                name == known
                    && matches!(values, Values::Texts(_)) == matches!(reading, Reading::Texts(_))
            });
        if !same {
            return Err(Error::invalid("the columns are not those that were learned")
                .hint("Select the same columns with the same types for examples and score."));
        }
        let width = self.width();
        let mut made = vec![0.0; rows * width];
        let mut at = 0;
        for ((_, values), (_, reading)) in columns.iter().zip(&self.columns) {
            match (values, reading) {
                (Values::Numbers(values), Reading::Number) => {
                    let cells = made.iter_mut().skip(at).step_by(width.max(1));
                    cells.zip(values).for_each(|(cell, value)| *cell = *value);
                }
                (Values::Texts(texts), Reading::Texts(known)) => {
                    for (row, text) in texts.iter().enumerate() {
                        let place = text.as_ref().and_then(|text| known.binary_search(text).ok());
                        if let Some(cell) =
                            place.and_then(|place| made.get_mut(row * width + at + place))
                        {
                            *cell = 1.0;
                        }
                    }
                }
                _ => {}
            }
            at += self::width(reading);
        }
        Ok(made)
    }
}

fn width(reading: &Reading) -> usize {
    match reading {
        Reading::Number => 1,
        Reading::Texts(texts) => texts.len(),
    }
}

fn same_length(columns: &[(String, Values)]) -> Result<usize> {
    let rows = columns.first().map_or(0, |(_, values)| values.rows());
    match columns.iter().find(|(_, values)| values.rows() != rows) {
        Some((name, values)) => Err(Error::invalid(format!(
            "column \"{name}\" has {} rows beside {rows}",
            values.rows()
        ))
        .hint("Give every column a value for each row.")),
        None => Ok(rows),
    }
}
