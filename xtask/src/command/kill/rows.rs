//! The rows of two projects, compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::binary::Flywheel;
use crate::{Result, process};

/// Queries on what the platform did. Columns that tell how often something was tried are left out,
/// because a killed attempt is an attempt.
const DONE: &[(&str, &str)] = &[
    ("system.decisions", "select * from system.decisions"),
    ("system.outcomes", "select * from system.outcomes"),
    (
        "system.actions",
        "select key, decision_id, policy, turn, action, status, ended_at from system.actions",
    ),
    ("system.lift", "select * from system.lift"),
    ("system.evaluations", "select * from system.evaluations"),
    ("system.quarantine", "select count(*) as bad_rows from system.quarantine"),
    ("turns", "select distinct turn, logical_at from system.runs where turn is not null"),
];

/// A named query.
pub(super) struct Query {
    /// What it asks for, in a word.
    pub(super) name: String,
    /// The query.
    pub(super) sql: String,
}

/// How two lists of rows differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Rows that the second list misses.
    pub(super) lost: usize,
    /// Rows that only the second list has, or has more often.
    pub(super) added: usize,
    /// One of them.
    pub(super) example: Option<String>,
}

/// All queries for a project: what was done, and every landed table and model.
pub(super) fn queries(flywheel: &Flywheel, project: &Path) -> Result<Vec<Query>> {
    let mut queries: Vec<Query> = DONE
        .iter()
        .map(|(name, sql)| Query { name: (*name).to_owned(), sql: (*sql).to_owned() })
        .collect();
    for row in flywheel.sql(project, "select name from system.tables order by name")? {
        let name = row.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
        if !name.starts_with("system.") {
            queries.push(Query { name: name.to_owned(), sql: format!("select * from {name}") });
        }
    }
    Ok(queries)
}

/// The rows of a query, each as the line that `flywheel sql` prints.
pub(super) fn read(flywheel: &Flywheel, project: &Path, sql: &str) -> Result<Vec<String>> {
    let text = process::output(&mut flywheel.on(project, &["sql", sql, "--output", "csv"]))?;
    Ok(text.lines().skip(1).map(str::to_owned).collect())
}

/// The lines of all files below a folder, each with its file; none if there is no folder.
pub(super) fn lines_below(folder: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    if !folder.is_dir() {
        return Ok(lines);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            lines.extend(lines_below(&path)?);
            continue;
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        lines.extend(text.lines().map(|line| format!("{file}: {line}")));
    }
    Ok(lines)
}

/// Compares two lists of rows in any order.
pub(super) fn difference(wanted: &[String], found: &[String]) -> Difference {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for row in wanted {
        *counts.entry(row).or_default() += 1;
    }
    for row in found {
        *counts.entry(row).or_default() -= 1;
    }
    let mut difference = Difference::default();
    for (row, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
        let times = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        let side = if count > 0 { &mut difference.lost } else { &mut difference.added };
        *side = side.saturating_add(times);
        difference.example.get_or_insert_with(|| row.to_owned());
    }
    difference
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn order_does_not_matter_and_repetition_does() {
        assert_eq!(difference(&lines("a b b"), &lines("b a b")), Difference::default());
        let doubled = difference(&lines("a b"), &lines("a b b"));
        assert_eq!((doubled.lost, doubled.added), (0, 1));
        let lost = difference(&lines("a b"), &lines("a"));
        assert_eq!((lost.lost, lost.example.as_deref()), (1, Some("b")));
    }
}
