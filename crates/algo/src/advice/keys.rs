//! What identifies a row.

use std::collections::HashSet;

use super::{ColumnFacts, Facts, Key, Kind, Reference, percent};

/// The score from which a unique column is taken for a key.
const SCORE_MIN: f64 = 3.0;
/// How many columns may make a key together.
const COLUMNS_MAX: usize = 5;
/// How many columns are tried for one.
const CANDIDATES_MAX: usize = 8;
/// Rows below which a combination is unique by chance.
const ROWS_MIN: usize = 5;

/// The key that is declared, or the one column that is unique and called like a key.
pub(super) fn single(table: &Facts<'_>) -> Option<Key> {
    let declared = &table.table.declared_key;
    if !declared.is_empty() {
        return Some(Key {
            columns: declared.clone(),
            confidence: 0.99,
            reasons: vec!["the database declares it".to_owned()],
        });
    }
    let scored = table.columns.iter().enumerate().filter(|(_, column)| column.unique());
    let scored = scored.map(|(place, column)| (score(table, place, column), place, column));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
    let (score, place, column) = best.filter(|(score, ..)| *score >= SCORE_MIN)?;
    let mut reasons = vec![match table.table.partial {
        false => format!("all {} values differ and none is missing", table.rows),
        true => format!("the {} values looked at differ and none is missing", table.rows),
    }];
    if column.name.names_key_of(&table.base) > 0.0 {
        reasons.push("it is called after the table".to_owned());
    } else if column.name.is_key() {
        reasons.push("it is called like a key".to_owned());
    }
    if place == 0 {
        reasons.push("it comes first".to_owned());
    }
    let evidence = (table.rows as f64 / (table.rows as f64 + 2.0))
        * if table.table.partial { 0.95 } else { 1.0 };
    Some(Key {
        columns: vec![column.column.name.clone()],
        confidence: (0.6 + 0.06 * score).min(0.98) * evidence.max(0.5),
        reasons,
    })
}

fn score(table: &Facts<'_>, place: usize, column: &ColumnFacts<'_>) -> f64 {
    let kind = match column.column.kind {
        Kind::Whole | Kind::Text => 0.0,
        Kind::Fraction | Kind::Day | Kind::Moment => -4.0,
        Kind::Flag | Kind::Other => -6.0,
    };
    let after_table = column.name.names_key_of(&table.base);
    let named = if after_table > 0.0 {
        6.0 * after_table
    } else if column.name.is_generic_key() {
        5.5
    } else if column.name.compact() == table.base.compact() {
        4.0
    } else if column.name.is_key() {
        3.0
    } else {
        0.0
    };
    let place = match place {
        0 => 1.0,
        1 => 0.5,
        _ => 0.0,
    };
    kind + named + place
}

/// The fewest columns that together identify a row: references before days before other keys.
pub(super) fn composite(table: &Facts<'_>, references: &[Reference]) -> Option<Key> {
    if table.rows < ROWS_MIN {
        return None;
    }
    let refers = |column: &ColumnFacts<'_>| {
        references
            .iter()
            .any(|reference| reference.columns.as_slice() == [column.column.name.clone()])
    };
    let rank = |column: &ColumnFacts<'_>| {
        if refers(column) {
            Some(0)
        } else if column.name.is_key() && column.column.kind != Kind::Fraction {
            Some(1)
        } else if matches!(column.column.kind, Kind::Day | Kind::Moment)
            || column.name.ends(&["date", "day"])
        {
            Some(2)
        } else {
            None
        }
    };
    let mut candidates: Vec<(usize, &ColumnFacts<'_>)> = table
        .columns
        .iter()
        .filter(|column| column.missing == 0 && column.distinct.len() > 1)
        .filter_map(|column| Some((rank(column)?, column)))
        .collect();
    candidates.sort_by_key(|(rank, _)| *rank);
    candidates.truncate(CANDIDATES_MAX);
    for size in 2..=COLUMNS_MAX.min(candidates.len()) {
        let mut chosen: Vec<usize> = (0..size).collect();
        loop {
            let columns: Vec<&ColumnFacts<'_>> = chosen
                .iter()
                .filter_map(|at| candidates.get(*at))
                .map(|(_, column)| *column)
                .collect();
            if together(&columns, table.rows) {
                return Some(claim(table, &columns, &refers));
            }
            if !next(&mut chosen, candidates.len()) {
                break;
            }
        }
    }
    None
}

fn claim(
    table: &Facts<'_>,
    columns: &[&ColumnFacts<'_>],
    refers: &dyn Fn(&ColumnFacts<'_>) -> bool,
) -> Key {
    let named: Vec<String> = columns.iter().map(|column| column.column.name.clone()).collect();
    let referring = columns.iter().filter(|column| refers(column)).count();
    let possible: f64 = columns.iter().map(|column| column.distinct.len() as f64).product();
    let filled = table.rows as f64 / possible.max(1.0);
    let mut reasons = vec![format!(
        "no combination occurs twice in {} rows, and none of fewer columns is unique",
        table.rows
    )];
    if referring > 0 {
        reasons.push(format!("{referring} of its {} columns refer to other tables", columns.len()));
    }
    // Where most combinations occur, that none occurs twice is no chance.
    reasons.push(format!("{} of the possible combinations occur", percent(filled)));
    let share = referring as f64 / columns.len() as f64;
    Key {
        columns: named,
        confidence: (0.5 + 0.25 * share + 0.2 * filled.min(1.0).sqrt()).min(0.95),
        reasons,
    }
}

/// The next combination in the order of the columns; false after the last.
fn next(chosen: &mut [usize], of: usize) -> bool {
    let size = chosen.len();
    for at in (0..size).rev() {
        let Some(value) = chosen.get(at).copied() else { return false };
        if value < of - (size - at) {
            for (step, place) in chosen.iter_mut().skip(at).enumerate() {
                *place = value + 1 + step;
            }
            return true;
        }
    }
    false
}

/// Whether the columns together differ in every row.
fn together(columns: &[&ColumnFacts<'_>], rows: usize) -> bool {
    let possible: f64 = columns.iter().map(|column| column.distinct.len() as f64).product();
    if possible < rows as f64 {
        return false;
    }
    let mut seen: HashSet<u128> = HashSet::with_capacity(rows);
    (0..rows).all(|row| {
        let mut mixed: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
        for column in columns {
            let value = u128::from(column.column.values.get(row).copied().unwrap_or_default());
            mixed = (mixed ^ value)
                .wrapping_mul(0x0000_0100_0000_0000_0000_0000_0000_013B)
                .rotate_left(41);
        }
        seen.insert(mixed)
    })
}
