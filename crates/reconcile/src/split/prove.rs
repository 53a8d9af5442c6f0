//! The proof that a split neither lost nor leaked a row, by walking from every row to its owner.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Parts, Placement, SplitRules, Table};
use crate::order::Relation;
use crate::record::{Record, Side, canonical, is_blank, value};

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Rows that went in.
    pub rows_in: u64,
    /// Rows of the left part.
    pub rows_left: u64,
    /// Rows of the right part.
    pub rows_right: u64,
    /// Rows of shared tables that are in both parts.
    pub rows_copied: u64,
    /// References that were followed and lead to a row of the same part.
    pub references: u64,
}

/// Row by canonical key.
type Keyed<'a> = BTreeMap<String, &'a Record>;

/// Proves: every row is in a part; a row that is not shared is in exactly one, the one of its owner; and
/// no reference leads out of its part.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] that names table and key of the first row for which it is not so.
pub fn prove(
    tables: &[Table],
    relations: &[Relation],
    rules: &SplitRules,
    parts: &Parts,
) -> Result<Proof> {
    let keyed = |tables: &[Table]| -> BTreeMap<String, Vec<String>> {
        let keys = |table: &Table| {
            table.rows.iter().map(|row| canonical(value(row, &table.key))).collect()
        };
        tables.iter().map(|table| (table.name.clone(), keys(table))).collect()
    };
    let all = keyed(tables);
    let sides = [keyed(&parts.tables.left), keyed(&parts.tables.right)];
    let mut proof = Proof::default();
    for table in tables {
        let shared = matches!(rules.tables.get(&table.name), Some(Placement::Shared(_)));
        let mut seen: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
        for (at, side) in sides.iter().enumerate() {
            for key in side.get(&table.name).into_iter().flatten() {
                if let Some(count) = seen.entry(key.as_str()).or_default().get_mut(at) {
                    *count += 1;
                }
            }
        }
        for key in all.get(&table.name).into_iter().flatten() {
            proof.rows_in += 1;
            match seen.remove(key.as_str()) {
                Some([1, 0]) => proof.rows_left += 1,
                Some([0, 1]) => proof.rows_right += 1,
                Some([1, 1]) if shared => {
                    proof.rows_left += 1;
                    proof.rows_right += 1;
                    proof.rows_copied += 1;
                }
                Some([1, 1]) => return Err(broken(&table.name, key, "is in both parts")),
                Some(_) => return Err(broken(&table.name, key, "is there more than once")),
                None => return Err(broken(&table.name, key, "is in neither part")),
            }
        }
        if let Some((key, _)) = seen.first_key_value() {
            return Err(broken(&table.name, key, "was not there before"));
        }
    }
    let before = rows(tables);
    for side in Side::BOTH {
        let here = rows(parts.tables.of(side));
        for relation in relations {
            for (key, row) in here.get(relation.child.as_str()).into_iter().flatten() {
                let followed = follow(relation, row, &here, &before);
                match followed {
                    Follow::Nothing => {}
                    Follow::Here => proof.references += 1,
                    Follow::Elsewhere => {
                        return Err(broken(
                            &relation.child,
                            key,
                            "refers to a row of the other part",
                        ));
                    }
                }
            }
        }
        owners(tables, relations, rules, &before, &here)?;
    }
    Ok(proof)
}

/// Proves that a row placed with another one is in the part of that one.
fn owners(
    tables: &[Table],
    relations: &[Relation],
    rules: &SplitRules,
    before: &BTreeMap<&str, Keyed<'_>>,
    here: &BTreeMap<&str, Keyed<'_>>,
) -> Result<()> {
    for table in tables {
        let Some(Placement::With { field, .. }) = rules.tables.get(&table.name) else { continue };
        let owner = relations.iter().find(|r| r.child == table.name && r.field == *field);
        let Some(owner) = owner else { continue };
        for key in here.get(table.name.as_str()).into_iter().flat_map(BTreeMap::keys) {
            let original = before.get(table.name.as_str()).and_then(|rows| rows.get(key));
            let Some(original) = original else { continue };
            if matches!(follow(owner, original, here, before), Follow::Elsewhere) {
                return Err(broken(&table.name, key, "is not in the part of its owner"));
            }
        }
    }
    Ok(())
}

enum Follow {
    Nothing,
    Here,
    Elsewhere,
}

fn follow(
    relation: &Relation,
    row: &Record,
    here: &BTreeMap<&str, Keyed<'_>>,
    before: &BTreeMap<&str, Keyed<'_>>,
) -> Follow {
    let reference = value(row, &relation.field);
    if is_blank(reference) {
        return Follow::Nothing;
    }
    let key = canonical(reference);
    let has = |rows: &BTreeMap<&str, Keyed<'_>>| {
        rows.get(relation.parent.as_str()).is_some_and(|rows| rows.contains_key(&key))
    };
    match (has(here), has(before)) {
        (true, _) => Follow::Here,
        (false, true) => Follow::Elsewhere,
        (false, false) => Follow::Nothing,
    }
}

fn rows(tables: &[Table]) -> BTreeMap<&str, Keyed<'_>> {
    tables
        .iter()
        .map(|table| {
            let keyed = |row| (canonical(value(row, &table.key)), row);
            (table.name.as_str(), table.rows.iter().map(keyed).collect())
        })
        .collect()
}

fn broken(table: &str, key: &str, what: &str) -> Error {
    Error::blocked(format!("the split is wrong: row {key} of \"{table}\" {what}"))
        .hint("Do not use this result; please report it with the rules of the split.")
}
