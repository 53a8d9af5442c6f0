//! Which columns refer to which keys.

use super::{ColumnFacts, Facts, Key, Kind, Reference, percent};

/// The share of a column's values that have to be keys of the other table.
const FOUND_MIN: f64 = 0.95;
/// How sure a reference has to be to be proposed.
const CONFIDENCE_MIN: f64 = 0.5;

/// What each column of the table `at` refers to.
pub(super) fn of(at: usize, tables: &[Facts<'_>], singles: &[Option<Key>]) -> Vec<Reference> {
    let Some(table) = tables.get(at) else { return Vec::new() };
    let own = singles.get(at).and_then(Option::as_ref).and_then(one);
    let mut references = Vec::new();
    for column in &table.columns {
        if matches!(column.column.kind, Kind::Fraction | Kind::Flag | Kind::Other)
            || column.distinct.is_empty()
        {
            continue;
        }
        let is_key = own == Some(column.column.name.as_str());
        let mut best: Option<Reference> = None;
        for (to, (other, key)) in tables.iter().zip(singles).enumerate() {
            let Some(key) = key.as_ref().and_then(one).and_then(|key| other.column(key)) else {
                continue;
            };
            let itself = to == at;
            let own_key =
                || column.name.names_key_of(&table.base) >= column.name.names_key_of(&other.base);
            if is_key && (itself || own_key()) {
                continue;
            }
            let Some(reference) = claim(column, other, key, itself) else { continue };
            let better = best.as_ref().is_none_or(|best| reference.confidence > best.confidence);
            if reference.confidence >= CONFIDENCE_MIN && better {
                best = Some(reference);
            }
        }
        references.extend(best);
    }
    references
}

fn one(key: &Key) -> Option<&str> {
    match key.columns.as_slice() {
        [one] => Some(one.as_str()),
        _ => None,
    }
}

fn claim(
    column: &ColumnFacts<'_>,
    other: &Facts<'_>,
    key: &ColumnFacts<'_>,
    itself: bool,
) -> Option<Reference> {
    let (named, why) = column.name.refers_to(&key.name, &other.base, itself)?;
    let found =
        column.distinct.intersection(&key.distinct).count() as f64 / column.distinct.len() as f64;
    if found < FOUND_MIN {
        return None;
    }
    // A few small numbers are found in any table that is numbered from one.
    let chance = match column.distinct.len() {
        1 => 0.85,
        2..=4 => 0.93,
        _ => 1.0,
    };
    let all = if found < 1.0 { format!("{} of", percent(found)) } else { "all".to_owned() };
    let reasons = vec![
        format!("{} {why}", column.column.name),
        format!(
            "{all} its {} different values are keys of {}",
            column.distinct.len(),
            other.table.name
        ),
    ];
    Some(Reference {
        columns: vec![column.column.name.clone()],
        table: other.table.name.clone(),
        key: vec![key.column.name.clone()],
        found,
        confidence: named * found * chance,
        reasons,
    })
}

/// Adds references to keys of several columns, which have to have the same names.
pub(super) fn composite(
    at: usize,
    tables: &[Facts<'_>],
    keys: &[Option<Key>],
    references: &mut Vec<Reference>,
) {
    let Some(table) = tables.get(at) else { return };
    for (to, (other, key)) in tables.iter().zip(keys).enumerate() {
        let Some(key) = key.as_ref().filter(|key| to != at && key.columns.len() > 1) else {
            continue;
        };
        let own = keys.get(at).and_then(Option::as_ref);
        if own.is_some_and(|own| own.columns == key.columns) && table.rows >= other.rows {
            continue;
        }
        let same = |name: &String| {
            let wanted = super::name::Name::of(name);
            table.columns.iter().find(|column| column.name.compact() == wanted.compact())
        };
        let columns: Vec<&ColumnFacts<'_>> = key.columns.iter().filter_map(same).collect();
        if columns.len() != key.columns.len() {
            continue;
        }
        let theirs: Vec<&ColumnFacts<'_>> =
            key.columns.iter().filter_map(|name| other.column(name)).collect();
        let keys_there = combinations(&theirs, other.rows);
        let ours = combinations(&columns, table.rows);
        let found = ours.intersection(&keys_there).count() as f64 / ours.len().max(1) as f64;
        // Pairs of dates and places meet in many tables; only all of them are evidence.
        if ours.is_empty() || found < 1.0 {
            continue;
        }
        references.push(Reference {
            columns: columns.iter().map(|column| column.column.name.clone()).collect(),
            table: other.table.name.clone(),
            key: key.columns.clone(),
            found,
            confidence: 0.8 * key.confidence,
            reasons: vec![
                "the columns have the names of the key's".to_owned(),
                format!(
                    "all its {} different combinations are keys of {}",
                    ours.len(),
                    other.table.name
                ),
            ],
        });
    }
}

fn combinations(columns: &[&ColumnFacts<'_>], rows: usize) -> std::collections::HashSet<Vec<u64>> {
    (0..rows)
        .map(|row| {
            columns
                .iter()
                .map(|column| column.column.values.get(row).copied().unwrap_or_default())
                .collect()
        })
        .filter(|values: &Vec<u64>| !values.contains(&0))
        .collect()
}
