//! Rows by key, references by table, and whether the rules of a split fit them.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, suggest};

use super::{Placement, SplitRules, Table};
use crate::order::Relation;
use crate::record::{Record, canonical, is_blank, value};

/// The tables by name, with the row numbers by canonical key.
pub(super) struct Index<'a> {
    pub(super) tables: &'a [Table],
    pub(super) rows: BTreeMap<&'a str, BTreeMap<String, usize>>,
    pub(super) relations: BTreeMap<&'a str, Vec<&'a Relation>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(tables: &'a [Table], relations: &'a [Relation]) -> Result<Self> {
        let mut rows = BTreeMap::new();
        for table in tables {
            let mut keys = BTreeMap::new();
            for (number, row) in table.rows.iter().enumerate() {
                let key = value(row, &table.key);
                let problem = if is_blank(key) {
                    "has no key"
                } else if keys.insert(canonical(key), number).is_some() {
                    "has the key of an earlier row"
                } else {
                    continue;
                };
                return Err(Error::invalid(format!(
                    "table \"{}\": row {} {problem} in \"{}\"",
                    table.name,
                    number + 1,
                    table.key
                ))
                .hint("Mend the rows, or name the field that identifies them."));
            }
            if rows.insert(table.name.as_str(), keys).is_some() {
                return Err(Error::invalid(format!("the table \"{}\" is given twice", table.name))
                    .hint("Give every table once."));
            }
        }
        let mut by_child: BTreeMap<&str, Vec<&Relation>> = BTreeMap::new();
        for relation in relations {
            for name in [&relation.child, &relation.parent] {
                if !rows.contains_key(name.as_str()) {
                    return Err(Error::invalid(format!(
                        "the relation {}.{} names the unknown table \"{name}\"",
                        relation.child, relation.field
                    ))
                    .hint(suggest::hint(name, rows.keys().copied())));
                }
            }
            by_child.entry(&relation.child).or_default().push(relation);
        }
        Ok(Self { tables, rows, relations: by_child })
    }

    /// The number of the row a reference leads to; `None` if it is empty or leads nowhere.
    pub(super) fn target(&self, row: &Record, relation: &Relation) -> Option<usize> {
        let reference = value(row, &relation.field);
        if is_blank(reference) {
            return None;
        }
        self.rows.get(relation.parent.as_str())?.get(&canonical(reference)).copied()
    }

    pub(super) fn relations(&self, table: &str) -> &[&'a Relation] {
        self.relations.get(table).map_or(&[], Vec::as_slice)
    }
}

/// Proves that the rules fit the tables; returns the tables so that each comes after the one its rows go
/// with.
pub(super) fn check<'a>(index: &Index<'a>, rules: &SplitRules) -> Result<Vec<&'a Table>> {
    let known = || index.rows.keys().copied().collect::<Vec<_>>();
    for name in rules.tables.keys() {
        if !index.rows.contains_key(name.as_str()) {
            return Err(Error::invalid(format!("the split places the unknown table \"{name}\""))
                .hint(suggest::hint(name, known())));
        }
    }
    for name in rules.crossings.keys() {
        let relations: Vec<String> = index
            .relations
            .values()
            .flatten()
            .map(|r| format!("{}.{}", r.child, r.field))
            .collect();
        if !relations.contains(name) {
            return Err(Error::invalid(format!("crossings name the unknown reference \"{name}\""))
                .hint(suggest::hint(name, relations.iter().map(String::as_str))));
        }
    }
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for table in index.tables {
        let Some(placement) = rules.tables.get(&table.name) else {
            return Err(Error::invalid(format!(
                "the split does not place table \"{}\"",
                table.name
            ))
            .hint("Place it as divided, with a reference of its own, or shared."));
        };
        let Placement::With { field, .. } = placement else { continue };
        let fields = index.relations(&table.name);
        let Some(relation) = fields.iter().find(|relation| relation.field == *field) else {
            return Err(Error::invalid(format!(
                "table \"{}\" is placed with \"{field}\", which is none of its references",
                table.name
            ))
            .hint(suggest::hint(field, fields.iter().map(|relation| relation.field.as_str()))));
        };
        if matches!(rules.tables.get(&relation.parent), Some(Placement::Shared(_))) {
            return Err(Error::invalid(format!(
                "table \"{}\" is placed with rows of \"{}\", which is shared",
                table.name, relation.parent
            ))
            .hint("Rows can only go with rows that are in one part; choose another reference."));
        }
        owners.insert(&table.name, &relation.parent);
    }
    let mut left: Vec<&Table> = index.tables.iter().collect();
    let mut order: Vec<&Table> = Vec::new();
    while !left.is_empty() {
        let done = |name: &str| order.iter().any(|table| table.name == name);
        let free = left.iter().position(|t| owners.get(t.name.as_str()).is_none_or(|o| done(o)));
        let Some(at) = free else {
            let names: Vec<&str> = left.iter().map(|table| table.name.as_str()).collect();
            return Err(Error::invalid(format!(
                "the tables {} go with each other",
                names.join(", ")
            ))
            .hint("One of them has to be divided by the predicate."));
        };
        order.push(left.remove(at));
    }
    Ok(order)
}
