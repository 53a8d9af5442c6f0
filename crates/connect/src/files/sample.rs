//! The columns of a stream, found by looking at the first rows of its files.

use std::collections::HashMap;

use arrow::datatypes::DataType;

use crate::column::{Inference, Kind, wider_in_file};
use crate::page::Column;

/// What the first rows of a few files look like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    columns: Vec<Seen>,
    places: HashMap<String, usize>,
    /// Rows looked at.
    pub(crate) rows: usize,
}

#[derive(Clone, Debug)]
struct Seen {
    name: String,
    inference: Inference,
    fixed: Option<DataType>,
}

impl Sample {
    /// The place of a column, which is added if it is new.
    pub(crate) fn place(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.columns.len();
        self.places.insert(name.to_owned(), place);
        let seen = Seen { name: name.to_owned(), inference: Inference::default(), fixed: None };
        self.columns.push(seen);
        place
    }

    /// Takes note of a value.
    pub(crate) fn see(&mut self, place: usize, kind: Kind) {
        if let Some(seen) = self.columns.get_mut(place) {
            seen.inference.see(kind);
        }
    }

    /// Gives a column the type its file declares: of several files the least that holds the numbers of
    /// all, and where there is none, the first file's.
    pub(crate) fn fix(&mut self, name: &str, data_type: DataType) {
        let place = self.place(name);
        let Some(seen) = self.columns.get_mut(place) else { return };
        let fixed = match seen.fixed.take() {
            Some(held) => wider_in_file(&held, &data_type).unwrap_or(held),
            None => data_type,
        };
        seen.fixed = Some(fixed);
    }

    /// The columns in the order they were found.
    pub(crate) fn columns(&self) -> impl Iterator<Item = Column> + '_ {
        self.columns.iter().map(|seen| match &seen.fixed {
            Some(data_type) => Column::arrow(&seen.name, data_type.clone()),
            None => Column::inferred(&seen.name, seen.inference.resolve()),
        })
    }
}
