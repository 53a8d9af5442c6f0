//! What is kept of the rows: digests of keys and references, by table.

use flywheel_base::{Error, Result};

use super::rules::SplitRules;
use crate::record::Side;

/// A digest of a key, or of the key a reference leads to; equal for equal keys and never 0.
pub type Digest = u128;

/// Stands for a reference that is empty.
const NONE: Digest = 0;
/// Rows a table can have: they are numbered with 32 bits while they are sorted.
const ROWS_MAX: usize = u32::MAX as usize;

/// The rows of all tables of one system.
#[derive(Debug)]
pub struct Scan<'a> {
    rules: &'a SplitRules,
    tables: Vec<Table>,
}

/// The rows of one table, by key once it is settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    keys: Vec<Digest>,
    /// By reference, then by row.
    references: Vec<Vec<Digest>>,
    /// For divided tables: whether the row belongs to the right part.
    rights: Vec<bool>,
}

impl Table {
    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys, ascending once settled.
    #[must_use]
    pub fn keys(&self) -> &[Digest] {
        &self.keys
    }

    /// The row with this key; the first if there are several.
    #[must_use]
    pub fn find(&self, key: Digest) -> Option<usize> {
        let at = self.keys.partition_point(|known| *known < key);
        (self.keys.get(at) == Some(&key)).then_some(at)
    }

    /// How many rows have this key.
    pub(super) fn count(&self, key: Digest) -> usize {
        let from = self.keys.partition_point(|known| *known < key);
        self.keys.iter().skip(from).take_while(|known| **known == key).count()
    }

    /// The part the predicate says, of a divided table.
    pub(super) fn side(&self, row: usize) -> Option<Side> {
        self.rights.get(row).map(|right| if *right { Side::Right } else { Side::Left })
    }

    /// Where a reference of a row leads; none if it is empty.
    #[must_use]
    pub fn reference(&self, row: usize, reference: usize) -> Option<Digest> {
        self.references.get(reference)?.get(row).copied().filter(|value| *value != NONE)
    }
}

impl<'a> Scan<'a> {
    /// A scan without rows.
    #[must_use]
    pub fn new(rules: &'a SplitRules) -> Self {
        let table = |rule: &super::SplitTable| Table {
            references: vec![Vec::new(); rule.references.len()],
            ..Table::default()
        };
        Self { rules, tables: rules.tables.iter().map(table).collect() }
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &'a SplitRules {
        self.rules
    }

    /// The rows of a table.
    #[must_use]
    pub fn table(&self, table: usize) -> Option<&Table> {
        self.tables.get(table)
    }

    /// Adds a row: its key, the part the predicate says if the table is divided, and where its references
    /// lead, in the order of the rules.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Exhausted`] beyond 4,294,967,295 rows of one table.
    pub fn add(
        &mut self,
        table: usize,
        key: Digest,
        side: Option<Side>,
        references: impl IntoIterator<Item = Option<Digest>>,
    ) -> Result<()> {
        let Some(rows) = self.tables.get_mut(table) else {
            return Err(Error::internal("a row of a table that is not in the split"));
        };
        if rows.keys.len() >= ROWS_MAX {
            return Err(Error::exhausted(format!("a table has more than {ROWS_MAX} rows"))
                .hint("Split the table's rows in several steps, by narrower queries."));
        }
        rows.keys.push(key);
        for (column, value) in rows.references.iter_mut().zip(references) {
            column.push(value.unwrap_or(NONE));
        }
        if let Some(side) = side {
            rows.rights.push(side == Side::Right);
        }
        Ok(())
    }

    /// Sorts the rows of a table by their keys, after the last one was added; returns a key that occurs
    /// more than once, if there is one.
    pub fn settle(&mut self, table: usize) -> Option<Digest> {
        let rows = self.tables.get_mut(table)?;
        let mut order: Vec<u32> = (0..u32::try_from(rows.keys.len()).ok()?).collect();
        order.sort_unstable_by_key(|row| rows.keys.get(*row as usize).copied());
        sort(&mut rows.keys, &order);
        for column in &mut rows.references {
            sort(column, &order);
        }
        sort(&mut rows.rights, &order);
        rows.keys.windows(2).find(|pair| pair.first() == pair.last())?.first().copied()
    }

    /// The table and row a reference leads to; none if it is empty or leads nowhere.
    pub(super) fn target(
        &self,
        table: usize,
        row: usize,
        reference: usize,
    ) -> Option<(usize, usize)> {
        let value = self.tables.get(table)?.reference(row, reference)?;
        let parent = self.rules.tables.get(table)?.references.get(reference)?.parent;
        self.tables.get(parent)?.find(value).map(|row| (parent, row))
    }
}

/// Brings the values of rows into another order of rows.
fn sort<T: Copy>(values: &mut Vec<T>, order: &[u32]) {
    if values.len() == order.len() {
        *values = order.iter().filter_map(|row| values.get(*row as usize)).copied().collect();
    }
}
