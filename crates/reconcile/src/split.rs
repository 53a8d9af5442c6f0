//! Taking one system apart into two by a declared predicate, with everything that belongs to a row, and
//! without a row of the other part.
//!
//! Every table is placed by one rule: its rows are divided by the predicate (`divided`), they go with
//! the row one of their references leads to (`with`), or they are common to both parts (`shared`). A
//! reference that leads into the other part is emptied or stops the split, as declared.
//!
//! ```text
//! rows of each table ─► Scan (digests of keys and references) ─► Placement of every row
//!                        │                                          └─► a driver copies the rows
//! rows of both parts ─► Scan ×2 ─► prove: nothing lost, nothing leaked, no reference leads out
//! ```
//! Rows themselves never come here, only digests of their keys and references: 19 bytes for a row and
//! 16 for each of its references. [`prove`] checks the result by other means than those that made it.

mod prove;
mod rules;
mod scan;

#[cfg(test)]
mod tests;

use flywheel_base::{Error, Result};

pub use prove::{Breach, BreachKind, Others, Proof, prove};
pub use rules::{Crossing, Placement, Reference, Sharing, SplitRules, SplitTable};
pub use scan::{Digest, Scan, Table};

use crate::record::{Pair, Side};

/// Which parts have a row.
pub type Home = Pair<bool>;

fn home_of(side: Side) -> Home {
    let mut home = Home::default();
    *home.of_mut(side) = true;
    home
}

/// Where a reference of a row of one part leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// To a row of the same part.
    Here,
    /// To a row that only the other part has.
    Elsewhere,
    /// To a row that was nowhere to begin with.
    Nowhere,
}

/// The rows of one table that come out, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Rows of the table.
    pub rows: u64,
    /// Rows in each part.
    pub parts: Pair<u64>,
    /// Rows in both parts; they are counted in each.
    pub copied: u64,
    /// Rows that go with another row and have none, or one that has no part itself, while no part is
    /// declared for such rows.
    pub homeless: u64,
    /// Rows that go with another row, have none, and go where it is declared.
    pub ownerless: u64,
    /// Of each reference: how many rows of each part refer to a row that only the other part has.
    pub crossing: Vec<Pair<u64>>,
    /// Of each reference: how many rows refer to a row that does not exist.
    pub dangling: Vec<u64>,
}

/// Where every row goes.
#[derive(Debug)]
pub struct Placed<'a> {
    scan: &'a Scan<'a>,
    /// By table, in the order of the scan's keys.
    homes: Vec<Vec<Home>>,
    /// By table.
    counted: Vec<Counted>,
}

/// Places every row of `scan`, all of whose tables are settled.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Internal`] if a row of a divided table came without its part.
pub fn place<'a>(scan: &'a Scan<'a>) -> Result<Placed<'a>> {
    let rules = scan.rules();
    let tables = &rules.tables;
    let mut homes: Vec<Vec<Home>> = vec![Vec::new(); tables.len()];
    let mut counted = vec![Counted::default(); tables.len()];
    for at in rules.order() {
        let (Some(rule), Some(rows)) = (tables.get(*at), scan.table(*at)) else { continue };
        let mut here = Counted { rows: rows.len() as u64, ..Counted::default() };
        let mut placed = Vec::with_capacity(rows.len());
        for row in 0..rows.len() {
            placed.push(match &rule.placement {
                Placement::Divided => home_of(rows.side(row).ok_or_else(|| {
                    Error::internal(format!("a row of \"{}\" has no part", rule.name))
                })?),
                Placement::With { reference, otherwise } => {
                    let owner = scan
                        .target(*at, row, *reference)
                        .and_then(|(parent, number)| homes.get(parent)?.get(number).copied());
                    match (owner, otherwise) {
                        (Some(home), _) => {
                            here.homeless += u64::from(home == Home::default());
                            home
                        }
                        (None, Some(side)) => {
                            here.ownerless += 1;
                            home_of(*side)
                        }
                        (None, None) => {
                            here.homeless += 1;
                            Home::default()
                        }
                    }
                }
                Placement::Shared(Sharing::Both) => Home { left: true, right: true },
                Placement::Shared(Sharing::Only { side }) => home_of(*side),
                Placement::Shared(Sharing::WhereNeeded { .. }) => Home::default(),
            });
        }
        if let Some(homes) = homes.get_mut(*at) {
            *homes = placed;
        }
        if let Some(counted) = counted.get_mut(*at) {
            *counted = here;
        }
    }
    bring_needed(scan, &mut homes);
    let mut placed = Placed { scan, homes, counted };
    placed.count();
    Ok(placed)
}

/// Gives each part a copy of the shared rows its rows refer to, and of those these refer to; then places
/// the shared rows nobody refers to, which may refer to others in turn.
fn bring_needed(scan: &Scan<'_>, homes: &mut [Vec<Home>]) {
    spread(scan, homes);
    for (rule, placed) in scan.rules().tables.iter().zip(homes.iter_mut()) {
        if let Some(otherwise) = rule.where_needed() {
            for home in placed.iter_mut().filter(|home| **home == Home::default()) {
                *home.of_mut(otherwise) = true;
            }
        }
    }
    spread(scan, homes);
}

fn spread(scan: &Scan<'_>, homes: &mut [Vec<Home>]) {
    let tables = &scan.rules().tables;
    let needed = |table: usize| tables.get(table).is_some_and(|rule| rule.where_needed().is_some());
    // Rows that bring others: all of one table at a time, then those that were brought, one by one.
    for side in Side::BOTH {
        for (at, rule) in tables.iter().enumerate() {
            if !rule.references.iter().any(|reference| needed(reference.parent)) {
                continue;
            }
            let rows = homes.get(at).map_or(0, Vec::len);
            for row in 0..rows {
                let mut next = vec![(at, row)];
                while let Some((table, row)) = next.pop() {
                    let here = homes.get(table).and_then(|homes| homes.get(row));
                    if !here.is_some_and(|home| *home.of(side)) {
                        continue;
                    }
                    let references = tables.get(table).map_or(0, |rule| rule.references.len());
                    for reference in 0..references {
                        let Some((parent, number)) = scan.target(table, row, reference) else {
                            continue;
                        };
                        if !needed(parent) {
                            continue;
                        }
                        let home = homes.get_mut(parent).and_then(|h| h.get_mut(number));
                        if let Some(home) = home.filter(|home| !home.of(side)) {
                            *home.of_mut(side) = true;
                            next.push((parent, number));
                        }
                    }
                }
            }
        }
    }
}

impl Placed<'_> {
    /// What comes out of each table, in the order of the rules.
    #[must_use]
    pub fn counted(&self) -> &[Counted] {
        &self.counted
    }

    /// Where the row with this key goes; none if the scan has no such row.
    #[must_use]
    pub fn home(&self, table: usize, key: Digest) -> Option<Home> {
        let row = self.scan.table(table)?.find(key)?;
        self.homes.get(table)?.get(row).copied()
    }

    /// Where a reference with this value leads from a row of `part`.
    #[must_use]
    pub fn lead(&self, table: usize, reference: usize, value: Digest, part: Side) -> Lead {
        let rule = self.scan.rules().tables.get(table).and_then(|t| t.references.get(reference));
        match rule.and_then(|reference| self.home(reference.parent, value)) {
            Some(home) if *home.of(part) => Lead::Here,
            Some(_) => Lead::Elsewhere,
            None => Lead::Nowhere,
        }
    }

    fn count(&mut self) {
        for (at, rule) in self.scan.rules().tables.iter().enumerate() {
            let (Some(rows), Some(homes)) = (self.scan.table(at), self.homes.get(at)) else {
                continue;
            };
            let mut crossing = vec![Pair::<u64>::default(); rule.references.len()];
            let mut dangling = vec![0_u64; rule.references.len()];
            let (mut parts, mut copied) = (Pair::<u64>::default(), 0);
            for (row, home) in homes.iter().enumerate() {
                parts.left += u64::from(home.left);
                parts.right += u64::from(home.right);
                copied += u64::from(home.left && home.right);
                for (number, (crossing, dangling)) in
                    crossing.iter_mut().zip(&mut dangling).enumerate()
                {
                    let Some(value) = rows.reference(row, number) else { continue };
                    let mut nowhere = false;
                    for part in Side::BOTH.into_iter().filter(|part| *home.of(*part)) {
                        match self.lead(at, number, value, part) {
                            Lead::Here => {}
                            Lead::Elsewhere => *crossing.of_mut(part) += 1,
                            Lead::Nowhere => nowhere = true,
                        }
                    }
                    *dangling += u64::from(nowhere);
                }
            }
            if let Some(counted) = self.counted.get_mut(at) {
                let before = std::mem::take(counted);
                *counted = Counted { parts, copied, crossing, dangling, ..before };
            }
        }
    }
}
