//! A sync file to start from: what a connection holds, how each table is best read, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use flywheel_base::{Error, Result, suggest};
use flywheel_connect::source::StreamInfo;
use flywheel_project::resource::sync::LAKE;
use flywheel_reconcile::planner::{Choice, Cursor, TableFacts, choose_mode};
use serde_json::json;

use crate::Workspace;

pub use flywheel_reconcile::planner::Mode;

/// How much of a name is kept; a table's name has 63 characters at most, and some are added.
const NAME_CHARS_MAX: usize = 48;

/// What a draft is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The sync's name.
    pub sync: String,
    /// Patterns of stream names with `*` for anything; all streams if empty.
    pub tables: Vec<String>,
    /// Patterns of streams that are left out.
    pub except: Vec<String>,
    /// How the streams are read; what suits each best if none.
    pub read: Option<Mode>,
    /// Seconds between two runs, by which the best is chosen.
    pub every_s: u64,
    /// The connection the rows go to, or `lake`.
    pub destination: String,
}

/// Looks into the connection `name` and writes a sync file for what it holds.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if a pattern names nothing, those of the system.
pub async fn draft(workspace: &Workspace, name: &str, wish: &Wish) -> Result<String> {
    let (entry, source) = workspace.source(name)?;
    source.check().await?;
    let mut streams = source.discover().await?;
    for pattern in &wish.tables {
        if !streams.iter().any(|stream| fits(pattern, &stream.name)) {
            let known = streams.iter().map(|stream| stream.name.as_str());
            return Err(Error::not_found(format!("\"{name}\" holds nothing like \"{pattern}\""))
                .hint(suggest::hint(pattern, known)));
        }
    }
    let any = |patterns: &[String], name: &str| patterns.iter().any(|one| fits(one, name));
    streams.retain(|stream| {
        (wish.tables.is_empty() || any(&wish.tables, &stream.name))
            && !any(&wish.except, &stream.name)
    });
    if streams.is_empty() {
        return Err(Error::not_found(format!("\"{name}\" holds nothing that is not left out")));
    }
    let mut text = format!("sync: {}\nconnection: {}\n", word(&wish.sync), word(name));
    if wish.destination != LAKE {
        line(&mut text, format_args!("destination: {}", word(&wish.destination)));
    }
    text.push_str("streams:\n");
    for (stream, name) in streams.iter().zip(names(&streams)) {
        one(&mut text, stream, &name, entry.cdc, wish);
    }
    Ok(text)
}

/// A name for each stream that a table of the lake can have: what comes after the schema, if no two
/// schemas have the same.
fn names(streams: &[StreamInfo]) -> Vec<String> {
    let plain = |name: &str| -> String {
        let sign = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        let name: String = name.chars().take(NAME_CHARS_MAX).map(sign).collect();
        if name.starts_with(|c: char| c.is_ascii_lowercase()) { name } else { format!("t_{name}") }
    };
    let short = |stream: &StreamInfo| {
        let table = stream.stream.get("table").is_some();
        let last = stream.name.rsplit('.').next().filter(|_| table);
        plain(last.unwrap_or(&stream.name))
    };
    let mut taken: BTreeMap<String, u64> = BTreeMap::new();
    streams.iter().for_each(|stream| *taken.entry(short(stream)).or_default() += 1);
    let mut made = BTreeSet::new();
    let mut named = |stream: &StreamInfo| {
        let once = taken.get(&short(stream)) == Some(&1);
        let mut name = if once { short(stream) } else { plain(&stream.name) };
        while !made.insert(name.clone()) {
            name.push('_');
        }
        name
    };
    streams.iter().map(&mut named).collect()
}

/// Writes one stream.
fn one(text: &mut String, stream: &StreamInfo, name: &str, log_readable: bool, wish: &Wish) {
    let choice = choose(stream, log_readable, wish);
    let rows = stream.rows.map_or_else(String::new, |rows| format!("  # about {rows} rows"));
    line(text, format_args!("  - stream: {}{rows}", word(name)));
    line(text, format_args!("    options: {}", stream.stream));
    if wish.destination != LAKE {
        line(text, format_args!("    target: {}", json!({ "table": name })));
    }
    if wish.read != Some(choice.mode) {
        line(text, format_args!("    # {}: {}", choice.mode, choice.why));
    }
    let keyed = !stream.primary_key.is_empty();
    let write = match choice.mode {
        Mode::Full => "replace",
        Mode::Incremental if keyed => "merge",
        Mode::Incremental => "append",
        Mode::Cdc => "mirror",
    };
    line(text, format_args!("    read: {}\n    write: {write}", choice.mode));
    if let (Mode::Incremental, Some(cursor)) = (choice.mode, stream.cursors.first()) {
        line(text, format_args!("    cursor: {}", word(cursor)));
    } else if !stream.cursors.is_empty() && choice.mode == Mode::Full {
        let cursors = stream.cursors.join(", ");
        line(text, format_args!("    # cursors for read: incremental: {cursors}"));
    }
    if keyed {
        line(text, format_args!("    key: {}", json!(stream.primary_key)));
    }
    if !stream.columns.is_empty() {
        text.push_str("    columns:\n");
    }
    for column in &stream.columns {
        let mut declared = json!({ "name": column.name, "type": column.kind.to_string() });
        if column.not_null {
            declared["required"] = true.into();
        }
        line(text, format_args!("      - {declared}"));
    }
}

/// How a stream is read: as asked for if it can be, else in full with the reason.
fn choose(stream: &StreamInfo, log_readable: bool, wish: &Wish) -> Choice {
    // Files are followed by name, size and time; they need no cursor.
    let file = stream.stream.get("path").is_some();
    let incremental = Some(Mode::Incremental);
    if file && (wish.read == incremental || wish.read.is_none()) {
        let why = "new and changed files are read, each once".to_owned();
        return Choice { mode: Mode::Incremental, why, why_not: Vec::new() };
    }
    let cursor = stream.cursors.first();
    let facts = TableFacts {
        table: stream.name.clone(),
        rows: stream.rows,
        has_key: !stream.primary_key.is_empty(),
        cursor: cursor.map(|column| Cursor { column: column.clone(), indexed: false }),
        log_readable,
        deletes_matter: true,
        every_s: wish.every_s,
        asked: wish.read,
        ..TableFacts::default()
    };
    choose_mode(&facts).unwrap_or_else(|error| Choice {
        mode: Mode::Full,
        why: error.message().to_owned(),
        why_not: Vec::new(),
    })
}

/// Adds a line; writing to a text cannot fail.
fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").unwrap_or_default();
}

/// A name as YAML: as it is where it cannot be taken for anything else.
fn word(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let taken = matches!(
        name.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if starts && !taken && name.chars().all(plain) {
        name.to_owned()
    } else {
        json!(name).to_string()
    }
}

/// Whether a stream's name, or what comes after its schema, fits a pattern.
fn fits(pattern: &str, name: &str) -> bool {
    matches(pattern, name) || name.rsplit('.').next().is_some_and(|last| matches(pattern, last))
}

/// Whether a name fits a pattern in which `*` stands for anything, upper and lower case alike.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_lowercase(), name.to_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name) in
            [("*", "x"), ("a*", "A_b"), ("*_log", "app_log"), ("p.*_x*", "p.a_x_x"), ("a", "a")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a*b", "a"), ("*_log", "logs"), ("ab*ba", "aba")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn streams_are_named_by_their_table_unless_two_schemas_have_it() {
        let stream = |name: &str| StreamInfo {
            name: name.to_owned(),
            stream: json!({ "table": name }),
            schema: std::sync::Arc::new(arrow::datatypes::Schema::empty()),
            columns: Vec::new(),
            primary_key: Vec::new(),
            cursors: Vec::new(),
            rows: None,
            bytes: None,
        };
        let streams = ["public.Orders", "a.x", "b.x", "p.a x", "p.1"].map(stream);
        assert_eq!(names(&streams), ["orders", "a_x", "b_x", "a_x_", "t_1"]);
        assert!(fits("orders", "public.orders") && fits("public.*", "public.orders"));
        assert!(!fits("public", "public.orders"));
    }

    #[test]
    fn names_stay_names_in_yaml() {
        assert_eq!(word("public.orders"), "public.orders");
        for name in ["no", "1st", "a b", "", "ключ"] {
            assert_eq!(word(name), json!(name).to_string());
        }
    }
}
