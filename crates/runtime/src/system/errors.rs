//! `system.errors`: what goes wrong, each kind of thing once, however often it happened.

use std::collections::BTreeMap;

use flywheel_base::{Result, Timestamp, digest};
use flywheel_decision::table::ColumnType::{Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use super::RUNS_MAX;
use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "errors",
    about: "One row per error that tasks and runs ended with, and per mistake of the program that stopped a request or a \
            piece of work, however often: those that differ only in numbers and ids are the same. Of the newest 10,000 \
            of each, last seen first. Key: fingerprint.",
    columns: &[
        ("fingerprint", Text, "what makes errors the same one"),
        ("kind", Text, "the kind of task or run; request or work for a mistake of the program"),
        ("name", Text, "the resource it worked on, the route or the kind of work; empty for a run"),
        ("error", Text, "the error as it was last seen, in a line"),
        ("count", Integer, "how often it was seen"),
        ("first_seen", Moment, "when it was first seen"),
        ("last_seen", Moment, "when it was last seen"),
        ("last_run_id", Text, "the run it was last seen in; its log is in system.run_logs"),
        (
            "last_request_id",
            Text,
            "the id that the answer and the server's log name, of a mistake of the program",
        ),
    ],
};

struct Seen {
    kind: String,
    name: String,
    error: String,
    count: u64,
    first: Timestamp,
    last: Timestamp,
    run_id: String,
    request_id: Option<String>,
}

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let mut told = std::collections::BTreeSet::new();
    for task in workspace.store.tasks(RUNS_MAX)? {
        let Some(error) = &task.outcome.error else { continue };
        told.insert(task.run_id.clone());
        let (kind, name) = (task.kind.as_str(), task.name.as_str());
        note(&mut seen, (kind, name), error, task.started_at, &task.run_id);
    }
    for run in workspace.store.runs(RUNS_MAX)? {
        let Some(error) = &run.error else { continue };
        // An error of a task is that of its run, too; it is counted once.
        if !told.contains(&run.run_id) {
            note(&mut seen, (&run.kind, ""), error, run.started_at, &run.run_id);
        }
    }
    for fault in workspace.store.faults()? {
        let known = (fault.kind.as_str(), fault.name.as_str());
        let one = note(&mut seen, known, &fault.error, fault.at, "");
        if one.last == fault.at {
            one.request_id = Some(fault.id);
        }
    }
    let mut all: Vec<(String, Seen)> = seen.into_iter().collect();
    all.sort_by(|(a, one), (b, other)| (other.last, a).cmp(&(one.last, b)));
    let row = |(fingerprint, seen): (String, Seen)| {
        json!({
            "fingerprint": fingerprint, "kind": seen.kind, "name": seen.name, "error": seen.error,
            "count": seen.count, "first_seen": seen.first, "last_seen": seen.last, "last_run_id": Some(seen.run_id).filter(|id| !id.is_empty()),
            "last_request_id": seen.request_id,
        })
    };
    Ok(all.into_iter().map(row).collect())
}

fn note<'a>(
    seen: &'a mut BTreeMap<String, Seen>,
    (kind, name): (&str, &str),
    error: &str,
    at: Timestamp,
    run_id: &str,
) -> &'a mut Seen {
    let line = first_line(error);
    let print = digest::short(&[kind.as_bytes(), name.as_bytes(), general(line).as_bytes()]);
    let one = seen.entry(print).or_insert_with(|| Seen {
        kind: kind.to_owned(),
        name: name.to_owned(),
        error: line.to_owned(),
        count: 0,
        first: at,
        last: at,
        run_id: run_id.to_owned(),
        request_id: None,
    });
    one.count += 1;
    one.first = one.first.min(at);
    if at >= one.last {
        (one.last, one.run_id, one.error) = (at, run_id.to_owned(), line.to_owned());
    }
    one
}

fn first_line(error: &str) -> &str {
    let error = error.strip_prefix("error: ").unwrap_or(error);
    error.lines().next().unwrap_or_default()
}

/// The error without what differs from one time to the next: words with a digit in them.
fn general(line: &str) -> String {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let (one, after) = rest.split_at(end);
        text.push_str(if one.bytes().any(|byte| byte.is_ascii_digit()) { "#" } else { one });
        let next = after.chars().next().map_or(0, char::len_utf8);
        let (sign, after) = after.split_at(next);
        text.push_str(sign);
        rest = after;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_differ_in_numbers_and_ids_are_the_same_one() {
        let mut seen = BTreeMap::new();
        let at = |day| Timestamp::from_day(day);
        let known = ("sync", "orders");
        note(&mut seen, known, "error: port 5432 of db-1 is closed\nhint: open it", at(2), "r2");
        note(&mut seen, known, "error: port 5433 of db-2 is closed", at(3), "r3");
        note(&mut seen, known, "error: port 5431 of db-1 is closed", at(1), "r1");
        note(&mut seen, ("sync", "people"), "error: port 5432 of db-1 is closed", at(2), "r2");
        note(&mut seen, known, "error: 表 \"a\" is gone", at(2), "r2");
        assert_eq!(seen.len(), 3);
        let most = seen.values().find(|one| one.count == 3).unwrap();
        assert_eq!((most.first, most.last, most.run_id.as_str()), (at(1), at(3), "r3"));
        assert_eq!(most.error, "port 5433 of db-2 is closed");
    }
}
