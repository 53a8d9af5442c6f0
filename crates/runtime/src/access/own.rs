//! What is left of our own tables once they tell nothing of what a reader does not see.
//!
//! Where a row says whose rows it tells of, those are shown that tell of something the reader sees: what is told of
//! things that nobody declares any more is not.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_project::graph::NodeKind;
use flywheel_project::quality::check_names;
use flywheel_project::resource::rule::Rule;
use flywheel_project::resource::sync::Stream;
use flywheel_project::{Located, Project};
use flywheel_warehouse::{Catalog, ColumnMask, Expression, Seen};
use serde_json::{Value, json};

use super::made::{Made, Origins, read_by};
use super::said::WITHHELD;
use crate::quality;

/// The connector whose topics `system.events` shows.
const JOURNAL: &str = "journal";
/// Tables with a row for each thing that a policy decided.
const OF_POLICIES: [&str; 8] = [
    "decisions",
    "outcomes",
    "actions",
    "approvals",
    "outbox",
    "lift_sums",
    "reported_outcomes",
    "exposures",
];
/// The one whose rows tell of decisions of two policies.
const OF_TWO_POLICIES: &str = "credits";
/// The others that tell of rows.
const OF_ROWS: [&str; 8] = [
    "profiles",
    "quarantine",
    "quality_results",
    "link_audit",
    "link_questions",
    "events",
    "tables",
    "assets",
];
/// Those that tell what runs and tasks said.
const OF_RUNS: [&str; 7] =
    ["runs", "tasks", "errors", "run_logs", "schedule_runs", "alerts", "followed_syncs"];
/// The one of them that tells all of it, so that a rule that clears it clears the others, too.
const LOGS: &str = "system.run_logs";
/// What of a check's result follows from rows.
const FIGURES: [&str; 7] = ["sample", "value", "rows", "failing", "low", "high", "reason"];

/// What a reader does not see, by which our own tables are narrowed.
pub(super) struct Hiding<'a> {
    pub(super) project: &'a Project,
    pub(super) catalog: &'a Catalog,
    pub(super) made: &'a Made<'a>,
    pub(super) origins: &'a Origins,
    /// Tables and views whose rows and values are not all seen.
    pub(super) hidden: &'a BTreeSet<String>,
    /// Those of which it is not seen how many rows there are.
    pub(super) uncounted: &'a BTreeSet<String>,
}

impl Hiding<'_> {
    /// The policies whose decisions are seen.
    pub(super) fn open_policies(&self) -> BTreeSet<String> {
        let hides = |name: &&String| self.made.node_hides(NodeKind::Policy, name, self.origins);
        self.project.policies.keys().filter(|name| !hides(name)).cloned().collect()
    }

    /// Every stream that lands a table which is not seen as it is: its sync's connection and the stream.
    fn hidden_streams(&self) -> impl Iterator<Item = (&str, &str, &Stream)> {
        let sources = self.project.sources.iter();
        sources.filter(|(relation, _)| self.hidden.contains(*relation)).filter_map(|(_, source)| {
            let landing = source.landed_by.as_ref()?;
            let sync = self.project.syncs.get(&landing.sync)?;
            let stream = sync.streams.iter().find(|stream| stream.stream == landing.stream)?;
            Some((landing.sync.as_str(), sync.connection.as_str(), stream))
        })
    }

    fn hidden_connections(&self) -> BTreeSet<&str> {
        self.hidden_streams().map(|(_, connection, _)| connection).collect()
    }

    /// Streams whose rejected rows are seen, as `sync/stream`.
    fn open_streams(&self) -> BTreeSet<String> {
        let hidden: BTreeSet<(&str, &str)> =
            self.hidden_streams().map(|(sync, _, stream)| (sync, stream.stream.as_str())).collect();
        let mut open = BTreeSet::new();
        for (name, sync) in &self.project.syncs {
            if self.made.node_hides(NodeKind::Sync, name, self.origins) {
                continue;
            }
            let streams = sync.streams.iter().map(|stream| stream.stream.as_str());
            let seen = streams.filter(|stream| !hidden.contains(&(name.as_str(), *stream)));
            open.extend(seen.map(|stream| format!("{name}/{stream}")));
        }
        open
    }

    /// Topics of which a table is made that is not seen as it is.
    fn hidden_topics(&self) -> BTreeSet<String> {
        let connections = &self.project.connections;
        let journal =
            |name: &str| connections.get(name).is_some_and(|one| one.connector == JOURNAL);
        let topic = |stream: &Stream| {
            let resolved = self.project.resolve_settings(&stream.options);
            // What cannot be resolved just now hides what it names all the same.
            let options = resolved.unwrap_or_else(|_| stream.options.clone());
            match options.get("topic") {
                Some(Value::String(topic)) => topic.clone(),
                _ => stream.stream.clone(),
            }
        };
        let streams = self.hidden_streams().filter(|(_, connection, _)| journal(connection));
        streams.map(|(_, _, stream)| topic(stream)).collect()
    }

    /// Rows that were set aside of what is seen: those of streams, and events of topics, which have no sync.
    fn set_aside(&self) -> Seen {
        let of_streams = "concat(sync, '/', stream) in ($open)";
        let topics = self.hidden_topics();
        let events = match topics.is_empty() {
            true => "sync = ''",
            false => "(sync = '' and stream not in ($hidden))",
        };
        let mut open = self.open_streams();
        // A condition without a value would hold for no row; this one is of no stream.
        open.insert(String::new());
        let mut shown = expression(format!("{of_streams} or {events}"), "open", &open);
        if !topics.is_empty() {
            let values = topics.iter().map(|topic| json!(topic)).collect();
            shown.values.insert("hidden".to_owned(), values);
        }
        Seen::Part { rows: vec![shown], masks: BTreeMap::new(), hidden: BTreeSet::new() }
    }

    /// Links of whose records nothing lands in what is not seen.
    fn open_links(&self) -> BTreeSet<String> {
        let connections = self.hidden_connections();
        let links = self.project.links.iter().filter(|(name, link)| {
            let sides = [&link.left.connection, &link.right.connection];
            !sides.into_iter().any(|side| connections.contains(side.as_str()))
                && !self.made.node_hides(NodeKind::Link, name, self.origins)
        });
        links.map(|(name, _)| name.clone()).collect()
    }

    /// Checks whose figures are seen, as `quality/check`.
    fn open_checks(&self) -> BTreeSet<String> {
        let connections = self.hidden_connections();
        let mut open = BTreeSet::new();
        for (name, quality) in &self.project.qualities {
            let dataset = quality::dataset(self.project, quality);
            let seen = match &quality.connection {
                Some(connection) => !connections.contains(connection.as_str()),
                None => !self.hidden.contains(&dataset),
            };
            let checks = check_names(quality).into_iter().zip(&quality.checks);
            let plain = checks.filter(|(_, check)| {
                let query = check.query.as_deref().unwrap_or_default();
                seen && read_by(query, self.hidden).is_empty()
            });
            open.extend(plain.map(|(check, _)| format!("{name}/{check}")));
        }
        open
    }
}

fn expression(sql: impl Into<String>, name: &str, values: &BTreeSet<String>) -> Expression {
    let values: Vec<Value> = values.iter().map(|value| json!(value)).collect();
    Expression { sql: sql.into(), values: BTreeMap::from([(name.to_owned(), values)]) }
}

fn rows(sql: &str, name: &str, values: &BTreeSet<String>) -> Seen {
    Seen::Part {
        rows: vec![expression(sql, name, values)],
        masks: BTreeMap::new(),
        hidden: BTreeSet::new(),
    }
}

fn masks(columns: &[&str], of: impl Fn(&str) -> Expression) -> Seen {
    let mask = |column: &&str| ((*column).to_owned(), ColumnMask::Sql(of(column)));
    Seen::Part {
        rows: Vec::new(),
        masks: columns.iter().map(mask).collect(),
        hidden: BTreeSet::new(),
    }
}

/// All our own tables that may tell of rows which are not seen, by name without schema.
pub(super) fn telling() -> impl Iterator<Item = &'static str> {
    OF_POLICIES.into_iter().chain([OF_TWO_POLICIES]).chain(OF_ROWS).chain(OF_RUNS)
}

/// Our own tables of which a part is seen, by name without schema.
pub(super) fn own_tables(hiding: &Hiding<'_>) -> Vec<(&'static str, Seen)> {
    let tables = hiding.catalog.names().map(ToString::to_string);
    let open: BTreeSet<String> = tables.filter(|table| !hiding.hidden.contains(table)).collect();
    let mut seen = vec![
        ("profiles", rows("\"table\" in ($open)", "open", &open)),
        ("quarantine", hiding.set_aside()),
    ];
    let checks = hiding.open_checks();
    let figure = |column: &str| {
        let of = "concat(quality, '/', \"check\")";
        let sql = format!("case when {of} in ($open) then \"{column}\" else null end");
        expression(sql, "open", &checks)
    };
    seen.push(("quality_results", masks(&FIGURES, figure)));
    let policies = hiding.open_policies();
    seen.extend(OF_POLICIES.map(|table| (table, rows("policy in ($open)", "open", &policies))));
    let both = "policy in ($open) and touched_policy in ($open)";
    seen.push((OF_TWO_POLICIES, rows(both, "open", &policies)));
    let links = hiding.open_links();
    seen.extend(
        ["link_audit", "link_questions"]
            .map(|table| (table, rows("link in ($open)", "open", &links))),
    );
    let topics = hiding.hidden_topics();
    if !topics.is_empty() {
        seen.push(("events", rows("topic not in ($hidden)", "hidden", &topics)));
    }
    if !hiding.uncounted.is_empty() {
        let counted = |column: &str| {
            let sql = format!("case when name in ($hidden) then null else \"{column}\" end");
            expression(sql, "hidden", hiding.uncounted)
        };
        let told_of_tables = ["rows", "files", "size_bytes", "waiting_changes"];
        seen.push(("tables", masks(&told_of_tables, counted)));
        seen.push(("assets", masks(&["rows", "size_bytes"], counted)));
    }
    seen.extend(of_runs());
    seen
}

/// What runs and tasks said may quote any row that they read: what failed, where and when is seen.
fn of_runs() -> [(&'static str, Seen); OF_RUNS.len()] {
    let withheld = BTreeSet::from([WITHHELD.to_owned()]);
    let sql = |sql: &str| ColumnMask::Sql(expression(sql, "withheld", &withheld));
    let error = || ("error", sql("case when \"error\" is null then null else $withheld end"));
    // As `Said::line`.
    let line = "case when \"level\" = 'info' then \"text\" \
                when \"level\" = 'error' and strpos(\"text\", ': ') > 0 \
                then concat(split_part(\"text\", ': ', 1), ': ', $withheld) else $withheld end";
    // What a receiver answers may quote what it was sent.
    let detail = "case when strpos(\"detail\", '\"receipt\"') > 0 then null else \"detail\" end";
    OF_RUNS.map(|table| {
        let masks = match table {
            "tasks" => vec![error(), ("detail", sql(detail))],
            // Who guesses a text knows its digest.
            "errors" => vec![error(), ("fingerprint", ColumnMask::Null)],
            "run_logs" => vec![("text", sql(line))],
            "alerts" => {
                vec![error(), ("receipt", ColumnMask::Null), ("payload", ColumnMask::Null)]
            }
            _ => vec![error()],
        };
        let masks = masks.into_iter().map(|(column, mask)| (column.to_owned(), mask)).collect();
        (table, Seen::Part { rows: Vec::new(), masks, hidden: BTreeSet::new() })
    })
}

/// Whether a rule says that what runs and tasks said tells nothing of what it hides.
pub(super) fn clears_runs(rule: &Rule) -> bool {
    rule.cleared.iter().any(|cleared| cleared == LOGS)
}

/// What both let see.
pub(super) fn both(one: Seen, other: Seen) -> Seen {
    let (
        Seen::Part { mut rows, mut masks, mut hidden },
        Seen::Part { rows: more_rows, masks: more_masks, hidden: more_hidden },
    ) = (one, other)
    else {
        return Seen::Nothing;
    };
    rows.extend(more_rows);
    hidden.extend(more_hidden);
    for (column, mask) in more_masks {
        // Of two masks nobody knows that one hides what the other does.
        let mask = if masks.contains_key(&column) { ColumnMask::Null } else { mask };
        masks.insert(column, mask);
    }
    masks.retain(|column, _| !hidden.contains(column));
    Seen::Part { rows, masks, hidden }
}

/// Whether every rule that hides something says that this table of ours tells nothing of it.
pub(super) fn cleared(project: &Project, origins: &Origins, table: &str) -> bool {
    let mut rules = origins.values().flat_map(|origin| &origin.rules);
    let of_runs = OF_RUNS.iter().any(|one| table.strip_prefix("system.") == Some(*one));
    let clears = |rule: &Located<Rule>| {
        rule.cleared.iter().any(|cleared| cleared == table) || (of_runs && clears_runs(rule))
    };
    rules.all(|rule| project.rules.get(rule).is_some_and(clears))
}
