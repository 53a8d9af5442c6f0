//! How a table is read, and why.

use std::fmt;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

/// Up to how many rows reading everything is cheaper than keeping a position.
pub const FULL_ROWS_MAX: u64 = 100_000;

/// Below how many seconds between two runs only a log can keep up.
pub const CDC_BELOW_S: u64 = 60;

/// From which part of the rows changed between two runs on reading everything is cheaper.
pub const FULL_FROM_CHANGED: f64 = 0.5;

/// A way to read a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// All rows, each time.
    Full,
    /// The rows whose cursor is past the last one.
    Incremental,
    /// The changes from the database's log.
    Cdc,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Cdc => "cdc",
        })
    }
}

/// A column that grows with every new and changed row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Its name.
    pub column: String,
    /// Whether it has an index.
    #[serde(default)]
    pub indexed: bool,
}

/// What is known of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableFacts {
    /// Its name.
    pub table: String,
    /// About how many rows it has, if known.
    pub rows: Option<u64>,
    /// About how many rows change between two runs, if known.
    pub changed_rows: Option<u64>,
    /// Whether it has a primary key.
    pub has_key: bool,
    /// A column that grows with every new **and changed** row, if there is one.
    pub cursor: Option<Cursor>,
    /// Whether the connection can read the database's log.
    pub log_readable: bool,
    /// Whether deleted rows have to disappear at the target.
    pub deletes_matter: bool,
    /// Seconds between two runs.
    pub every_s: u64,
    /// What the user asked for.
    pub asked: Option<Mode>,
}

/// A mode and its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The mode.
    pub mode: Mode,
    /// Why, for a person.
    pub why: String,
    /// Why not the others, for a person.
    pub why_not: Vec<String>,
}

/// Chooses the mode of a table.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the user asked for a mode the table cannot be read in.
pub fn choose_mode(facts: &TableFacts) -> Result<Choice> {
    let impossible: Vec<(Mode, &str)> = [Mode::Cdc, Mode::Incremental]
        .into_iter()
        .filter_map(|mode| Some((mode, obstacle(facts, mode)?)))
        .collect();
    let cannot = |mode| impossible.iter().find(|(other, _)| *other == mode).map(|(_, why)| *why);
    if let Some(mode) = facts.asked {
        if let Some(why) = cannot(mode) {
            return Err(Error::invalid(format!(
                "table \"{}\" cannot be read in mode {mode}: {why}",
                facts.table
            ))
            .hint(hint(mode)));
        }
        let why = "it was asked for".to_owned();
        return Ok(Choice { mode, why, why_not: Vec::new() });
    }
    let (mode, why) = best(facts, &cannot);
    let mut why_not: Vec<String> = impossible
        .iter()
        .filter(|(other, _)| *other != mode)
        .map(|(other, why)| format!("not {other}: {why}"))
        .collect();
    if mode != Mode::Incremental && cannot(Mode::Incremental).is_none() && facts.deletes_matter {
        why_not.push("not incremental: a cursor does not show deleted rows".to_owned());
    }
    Ok(Choice { mode, why, why_not })
}

fn best(facts: &TableFacts, cannot: &dyn Fn(Mode) -> Option<&'static str>) -> (Mode, String) {
    let cdc = cannot(Mode::Cdc).is_none();
    let incremental = cannot(Mode::Incremental).is_none();
    if cdc && facts.every_s < CDC_BELOW_S {
        return (
            Mode::Cdc,
            format!("changes are due within {} s, and the log has them at once", facts.every_s),
        );
    }
    if let Some(rows) = facts.rows.filter(|rows| *rows <= FULL_ROWS_MAX) {
        return (
            Mode::Full,
            format!(
                "reading all {rows} rows is cheaper than keeping a position, and shows deletions"
            ),
        );
    }
    if let (Some(rows), Some(changed)) = (facts.rows, facts.changed_rows)
        && changed as f64 >= rows as f64 * FULL_FROM_CHANGED
    {
        return (Mode::Full, format!("{changed} of {rows} rows change between two runs"));
    }
    let saved = match (facts.rows, facts.changed_rows) {
        (Some(rows), Some(changed)) => format!("about {changed} instead of {rows} rows are read"),
        _ => "only what changed is read".to_owned(),
    };
    let cursor = facts.cursor.as_ref().filter(|_| incremental && !facts.deletes_matter);
    if let Some(cursor) = cursor.filter(|cursor| cursor.indexed || !cdc) {
        let scan = if cursor.indexed { "" } else { "; an index on it would spare a scan" };
        return (Mode::Incremental, format!("{saved} by \"{}\"{scan}", cursor.column));
    }
    if cdc {
        let deletes = if facts.deletes_matter { ", and the log shows deletions" } else { "" };
        return (Mode::Cdc, format!("{saved}{deletes}"));
    }
    let why = if incremental {
        "deleted rows have to disappear, and only a whole read shows them"
    } else {
        "there is neither a readable log nor a cursor"
    };
    (Mode::Full, why.to_owned())
}

fn obstacle(facts: &TableFacts, mode: Mode) -> Option<&'static str> {
    match mode {
        Mode::Full => None,
        Mode::Cdc if !facts.log_readable => Some("the connection cannot read the log"),
        Mode::Incremental if facts.cursor.is_none() => {
            Some("no column grows with every new and changed row")
        }
        _ if !facts.has_key => {
            Some("the table has no primary key, so a change cannot find its row")
        }
        _ => None,
    }
}

fn hint(mode: Mode) -> &'static str {
    match mode {
        Mode::Cdc => {
            "Allow the connection to read the log and give the table a key, or use mode full."
        }
        _ => "Name a cursor column and a key, or use mode full.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large() -> TableFacts {
        TableFacts {
            table: "orders".into(),
            rows: Some(5_000_000),
            changed_rows: Some(20_000),
            has_key: true,
            cursor: Some(Cursor { column: "updated_at".into(), indexed: true }),
            log_readable: true,
            deletes_matter: false,
            every_s: 3_600,
            asked: None,
        }
    }

    fn check(facts: &TableFacts, mode: Mode, part: &str) {
        let choice = choose_mode(facts).unwrap();
        assert_eq!(choice.mode, mode, "{choice:?}");
        assert!(choice.why.contains(part), "{choice:?}");
    }

    #[test]
    fn the_cheapest_mode_that_shows_what_matters_is_chosen() {
        check(
            &large(),
            Mode::Incremental,
            "20000 instead of 5000000 rows are read by \"updated_at\"",
        );
        check(&TableFacts { deletes_matter: true, ..large() }, Mode::Cdc, "shows deletions");
        check(&TableFacts { every_s: 5, ..large() }, Mode::Cdc, "within 5 s");
        check(&TableFacts { rows: Some(900), ..large() }, Mode::Full, "all 900 rows");
        check(
            &TableFacts { changed_rows: Some(4_000_000), ..large() },
            Mode::Full,
            "4000000 of 5000000",
        );
        check(&TableFacts { cursor: None, ..large() }, Mode::Cdc, "instead of");
        let no_log = TableFacts { log_readable: false, ..large() };
        let slow = Some(Cursor { column: "updated_at".into(), indexed: false });
        check(&TableFacts { cursor: slow, ..no_log.clone() }, Mode::Incremental, "an index");
        check(
            &TableFacts { deletes_matter: true, ..no_log.clone() },
            Mode::Full,
            "only a whole read",
        );
        check(
            &TableFacts { cursor: None, ..no_log },
            Mode::Full,
            "neither a readable log nor a cursor",
        );
        check(&TableFacts { rows: None, ..large() }, Mode::Incremental, "only what changed");
    }

    #[test]
    fn the_other_modes_get_a_reason_too() {
        let facts = TableFacts { deletes_matter: true, log_readable: false, ..large() };
        assert_eq!(
            choose_mode(&facts).unwrap().why_not,
            [
                "not cdc: the connection cannot read the log",
                "not incremental: a cursor does not show deleted rows"
            ]
        );
    }

    #[test]
    fn a_mode_that_was_asked_for_is_taken_or_refused_never_replaced() {
        let asked = TableFacts { asked: Some(Mode::Full), ..large() };
        check(&asked, Mode::Full, "asked for");
        let no_key = TableFacts { asked: Some(Mode::Cdc), has_key: false, ..large() };
        let error = choose_mode(&no_key).unwrap_err();
        assert!(error.message().contains("\"orders\"") && error.message().contains("primary key"));
        assert!(error.hint_text().is_some());
    }
}
