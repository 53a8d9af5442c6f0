//! Taking one system apart into two by a declared predicate, with everything that belongs to a row, and
//! without a row of the other part.
//!
//! Every table is placed by one rule: its rows are divided by the predicate (`divided`), they go with
//! the row one of their references leads to (`with`), or they are common to both parts (`shared`). A
//! reference that leads into the other part is cleared or refused, as declared. [`prove`] checks the
//! result by other means than those that made it.

mod index;
mod prove;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use index::{Index, check};
pub use prove::{Proof, prove};

use crate::order::Relation;
use crate::record::{Pair, Record, Side, canonical, is_blank, value};

/// A table of the system that is taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The field that identifies a row.
    pub key: String,
    /// Its rows.
    pub rows: Vec<Record>,
}

/// Where the rows of a table go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Placement {
    /// The predicate decides each row.
    Divided,
    /// With the row that this reference leads to.
    With {
        /// The field of the reference.
        field: String,
        /// Where a row goes whose reference is empty or leads nowhere.
        otherwise: Side,
    },
    /// They are nobody's own, such as products.
    Shared(Sharing),
}

/// What happens to rows that are nobody's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Sharing {
    /// A copy goes to each part that refers to it; what nobody refers to goes to `otherwise`.
    WhereNeeded {
        /// The part that gets the rest.
        otherwise: Side,
    },
    /// A copy goes to both parts.
    Both,
    /// All go to one part.
    Only {
        /// That part.
        side: Side,
    },
}

/// What happens to a reference that leads to a row of the other part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crossing {
    /// The split is refused.
    #[default]
    Refuse,
    /// The reference is emptied and listed.
    Clear,
}

/// How a system is taken apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitRules {
    /// The placement of each table.
    pub tables: BTreeMap<String, Placement>,
    /// What happens to crossing references, by `table.field`; all others are refused.
    #[serde(default)]
    pub crossings: BTreeMap<String, Crossing>,
}

/// A reference that was emptied because it led into the other part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cleared {
    /// The part that has the row.
    pub part: Side,
    /// The table.
    pub table: String,
    /// The key of the row.
    pub key: String,
    /// The field that was emptied.
    pub field: String,
}

/// The two systems that come out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// The tables of each part, in the given order.
    pub tables: Pair<Vec<Table>>,
    /// The emptied references.
    pub cleared: Vec<Cleared>,
    /// How many references lead to rows that were nowhere to begin with; they are left as they are.
    pub dangling: u64,
}

/// Which parts have a row.
type Home = Pair<bool>;

fn home_of(side: Side) -> Home {
    let mut home = Pair::default();
    *home.of_mut(side) = true;
    home
}

/// Takes `tables` apart. `predicate` tells for a row of a divided table to which part it belongs.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the rules do not fit the tables;
/// [`flywheel_base::ErrorKind::Blocked`] if a reference leads into the other part and may not be
/// cleared; the predicate's own.
pub fn split(
    tables: &[Table],
    relations: &[Relation],
    rules: &SplitRules,
    predicate: &dyn Fn(&str, &Record) -> Result<Side>,
) -> Result<Parts> {
    let index = Index::new(tables, relations)?;
    let order = check(&index, rules)?;
    let mut homes: BTreeMap<&str, Vec<Home>> = BTreeMap::new();
    for table in order {
        let mut placed = Vec::with_capacity(table.rows.len());
        for row in &table.rows {
            placed.push(match rules.tables.get(&table.name) {
                Some(Placement::With { field, otherwise }) => {
                    let owner = index.relations(&table.name).iter().find(|r| r.field == *field);
                    let home = owner.and_then(|relation| {
                        let number = index.target(row, relation)?;
                        homes.get(relation.parent.as_str())?.get(number).cloned()
                    });
                    home.unwrap_or_else(|| home_of(*otherwise))
                }
                Some(Placement::Shared(Sharing::Both)) => Pair { left: true, right: true },
                Some(Placement::Shared(Sharing::Only { side })) => home_of(*side),
                Some(Placement::Shared(Sharing::WhereNeeded { .. })) => Home::default(),
                _ => home_of(predicate(&table.name, row)?),
            });
        }
        homes.insert(&table.name, placed);
    }
    bring_needed(&index, rules, &mut homes);
    emit(&index, rules, &homes)
}

/// Gives each part a copy of the shared rows its rows refer to, and of those these refer to; then places
/// the shared rows nobody refers to, which may refer to others in turn.
fn bring_needed<'a>(
    index: &Index<'a>,
    rules: &SplitRules,
    homes: &mut BTreeMap<&'a str, Vec<Home>>,
) {
    spread(index, rules, homes);
    for (table, placed) in homes.iter_mut() {
        if let Some(otherwise) = where_needed(rules, table) {
            for home in placed.iter_mut().filter(|home| **home == Home::default()) {
                *home.of_mut(otherwise) = true;
            }
        }
    }
    spread(index, rules, homes);
}

/// Where the rows of a table go that nobody needs, if it is one whose rows go where they are needed.
fn where_needed(rules: &SplitRules, table: &str) -> Option<Side> {
    match rules.tables.get(table) {
        Some(Placement::Shared(Sharing::WhereNeeded { otherwise })) => Some(*otherwise),
        _ => None,
    }
}

fn spread<'a>(index: &Index<'a>, rules: &SplitRules, homes: &mut BTreeMap<&'a str, Vec<Home>>) {
    let tables: BTreeMap<&str, &Table> =
        index.tables.iter().map(|t| (t.name.as_str(), t)).collect();
    for side in Side::BOTH {
        let mut next: Vec<(&str, usize)> = Vec::new();
        for (table, placed) in homes.iter() {
            let here = placed.iter().enumerate().filter(|(_, home)| *home.of(side));
            next.extend(here.map(|(number, _)| (*table, number)));
        }
        while let Some((name, number)) = next.pop() {
            let Some(row) = tables.get(name).and_then(|table| table.rows.get(number)) else {
                continue;
            };
            for relation in index.relations(name) {
                if where_needed(rules, &relation.parent).is_none() {
                    continue;
                }
                let Some(target) = index.target(row, relation) else { continue };
                let home = homes.get_mut(relation.parent.as_str()).and_then(|h| h.get_mut(target));
                if let Some(home) = home.filter(|home| !home.of(side)) {
                    *home.of_mut(side) = true;
                    next.push((relation.parent.as_str(), target));
                }
            }
        }
    }
}

/// Copies every row to its homes and clears the references that lead out of a part.
fn emit(index: &Index<'_>, rules: &SplitRules, homes: &BTreeMap<&str, Vec<Home>>) -> Result<Parts> {
    let mut parts = Parts::default();
    let mut dangling = BTreeSet::new();
    for part in Side::BOTH {
        for table in index.tables {
            let placed = homes.get(table.name.as_str()).map_or(&[][..], Vec::as_slice);
            let mut rows = Vec::new();
            for (number, row) in table.rows.iter().enumerate() {
                if !placed.get(number).is_some_and(|home| *home.of(part)) {
                    continue;
                }
                let mut row = row.clone();
                for relation in index.relations(&table.name) {
                    let Some(target) = index.target(&row, relation) else {
                        if !is_blank(value(&row, &relation.field)) {
                            dangling.insert((table.name.as_str(), number, relation.field.as_str()));
                        }
                        continue;
                    };
                    let theirs = homes.get(relation.parent.as_str()).and_then(|h| h.get(target));
                    if theirs.is_some_and(|home| *home.of(part)) {
                        continue;
                    }
                    let key = canonical(value(&row, &table.key));
                    may_clear(rules, relation, part)?;
                    row.insert(relation.field.clone(), Value::Null);
                    parts.cleared.push(Cleared {
                        part,
                        table: table.name.clone(),
                        key,
                        field: relation.field.clone(),
                    });
                }
                rows.push(row);
            }
            let Table { name, key, .. } = table;
            parts.tables.of_mut(part).push(Table { name: name.clone(), key: key.clone(), rows });
        }
    }
    parts.dangling = dangling.len() as u64;
    Ok(parts)
}

fn may_clear(rules: &SplitRules, relation: &Relation, part: Side) -> Result<()> {
    let name = format!("{}.{}", relation.child, relation.field);
    let crossing = rules.crossings.get(&name).copied().unwrap_or_default();
    let hint = match (crossing, relation.required) {
        (Crossing::Clear, false) => return Ok(()),
        (Crossing::Clear, true) => {
            "The reference is required, so it cannot be cleared; place the table \
                                    with this reference, or share the other one."
        }
        (Crossing::Refuse, _) => {
            "Allow it to be cleared (crossings: clear), place the table with this \
                                  reference, or share the table it leads to."
        }
    };
    Err(Error::blocked(format!(
        "\"{name}\" of the {} part leads to a row of \"{}\" in the other part",
        part.name(),
        relation.parent
    ))
    .hint(hint))
}
