//! A sync file to start from: what a connection holds, how each table is best read, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;

use flywheel_base::{Error, ErrorKind, Result, digest, suggest};
use flywheel_connect::DeclaredColumn;
use flywheel_connect::destination::{DestinationEntry, WriteMode};
use flywheel_connect::source::{Source, SourceEntry, StreamInfo};
use flywheel_project::datax::scalar;
use flywheel_project::resource::sync::LAKE;
use flywheel_reconcile::planner::{Choice, Cursor, TableFacts, choose_mode};
use flywheel_warehouse::NAME_FORBIDDEN;
use glob::{MatchOptions, Pattern};
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
    let (tables, except) = (Names::of(&wish.tables)?, Names::of(&wish.except)?);
    for pattern in &tables.0 {
        if !streams.iter().any(|stream| fits(pattern, &stream.name)) {
            let known = streams.iter().map(|stream| stream.name.as_str());
            return Err(Error::not_found(format!("\"{name}\" holds nothing like \"{pattern}\""))
                .hint(suggest::hint(pattern.as_str(), known)));
        }
    }
    streams.retain(|stream| {
        (wish.tables.is_empty() || tables.fit(&stream.name)) && !except.fit(&stream.name)
    });
    if streams.is_empty() {
        return Err(Error::not_found(format!("\"{name}\" holds nothing that is not left out")));
    }
    let target = target(workspace, &wish.destination)?;
    let log = log(entry, source.as_ref(), wish).await?;
    let others =
        workspace.project.syncs.values().filter(|sync| sync.lands() && sync.sync != wish.sync);
    let others: BTreeSet<String> = others
        .flat_map(|sync| &sync.streams)
        .map(flywheel_project::resource::sync::Stream::table)
        .collect();
    let mut text =
        format!("sync: {}\nconnection: {}\n", scalar(&json!(wish.sync)), scalar(&json!(name)));
    if wish.destination != LAKE {
        line(&mut text, format_args!("destination: {}", scalar(&json!(wish.destination))));
    }
    if let Some(why) = &log.unreadable {
        line(&mut text, format_args!("# no stream can be read: cdc: {why}"));
    }
    text.push_str("streams:\n");
    let drafted = names(&streams);
    for (stream, name) in streams.iter().zip(&drafted) {
        let lands = target.is_none() && others.contains(&format!("raw.{name}"));
        let to = lands.then(|| {
            let mut to = beside(&wish.sync, name);
            while others.contains(&format!("raw.{to}")) || drafted.contains(&to) {
                to.push('_');
            }
            format!("raw.{to}")
        });
        one(&mut text, stream, name, to.as_deref(), (&log, target), wish);
    }
    Ok(text)
}

/// What of a system's log can be followed.
struct Log {
    /// Whether there is one.
    readable: bool,
    /// Why it cannot be read, if it is wanted and cannot.
    unreadable: Option<String>,
    /// Why single tables cannot be followed, by their names.
    tables: BTreeMap<String, String>,
}

/// Asks a system about its log, if streams may be read from it.
async fn log(entry: &SourceEntry, source: &dyn Source, wish: &Wish) -> Result<Log> {
    let mut log = Log { readable: entry.cdc, unreadable: None, tables: BTreeMap::new() };
    let wanted = matches!(wish.read, None | Some(Mode::Cdc));
    if !wanted || !matches!(entry.name, "postgres" | "mysql") {
        return Ok(log);
    }
    match source.check_log().await {
        Ok(()) => log.tables = source.unfollowed().await?,
        Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Denied) => {
            let why = [Some(error.message()), error.hint_text()];
            let why: Vec<&str> = why.into_iter().flatten().collect();
            (log.readable, log.unreadable) = (false, Some(why.join(". ").replace('\n', " ")));
        }
        Err(error) => return Err(error),
    }
    Ok(log)
}

/// Writes a draft to `syncs/NAME.yaml`, where nothing may be yet, and says where that is.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the sync's name cannot be a file's or the file is there already, else those
/// of the file system.
pub fn save(workspace: &Workspace, sync: &str, text: &str) -> Result<String> {
    let file = file_of(sync)?;
    let path = workspace.dir().join(&file);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| Error::io("make the folder", folder, e))?;
    }
    let made = File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    made.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::invalid(format!("{} is there already", path.display())).hint(
                "Nothing was written. Give the sync another name: `--name` at the command line.",
            )
        }
        _ => Error::io("write", &path, error),
    })?;
    Ok(file)
}

/// The file of a sync, below the project's folder.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if its name cannot be a file's.
pub fn file_of(sync: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if sync.is_empty() || !sync.chars().all(plain) {
        return Err(Error::invalid(format!("\"{sync}\" cannot be a file's name"))
            .hint("Name the sync with letters, digits, _ and - only."));
    }
    Ok(format!("syncs/{sync}.yaml"))
}

/// A kind of destination that is not the lake.
#[derive(Clone, Copy)]
struct Target {
    /// The key of its settings that names a target.
    key: &'static str,
    /// What comes after the stream's name there.
    ending: &'static str,
    /// Whether rows take the place of others, and go away.
    keyed: bool,
}

/// The kind of a destination; none for the lake.
fn target(workspace: &Workspace, destination: &str) -> Result<Option<Target>> {
    if destination == LAKE {
        return Ok(None);
    }
    let connections = &workspace.project.connections;
    let connection = connections.get(destination).ok_or_else(|| {
        Error::not_found(format!("no connection \"{destination}\""))
            .hint(suggest::hint(destination, connections.keys().map(String::as_str)))
    })?;
    let entry = DestinationEntry::named(&connection.connector)?;
    let (key, ending) = match entry.name {
        "postgres" | "mysql" | "sqlite" => ("table", ""),
        "excel" => ("path", ".xlsx"),
        "csv" => ("path", ".csv"),
        "jsonl" => ("path", ".jsonl"),
        "parquet" => ("path", ".parquet"),
        "avro" => ("path", ".avro"),
        other => {
            return Err(Error::invalid(format!(
                "where rows go in a connection of type \"{other}\" has to be said by hand"
            ))
            .hint("Leave --destination out, and write `destination` and `target` into the file."));
        }
    };
    Ok(Some(Target { key, ending, keyed: entry.modes.contains(&WriteMode::Mirror) }))
}

/// A name in letters, digits and underscores.
fn plain(given: &str) -> String {
    let sign = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = given.chars().take(NAME_CHARS_MAX).map(sign).collect();
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    let name = if starts { name } else { format!("t_{name}") };
    if given.is_ascii() {
        return name;
    }
    // Of letters that are left out nothing would remain to tell one table from another.
    let start: String = name.chars().take(NAME_CHARS_MAX - digest::NAME_DIGITS - 1).collect();
    digest::named(&start, given)
}

/// The name of a table that lands beside another sync's table `name`.
fn beside(sync: &str, name: &str) -> String {
    let whole = format!("{}_{name}", plain(sync));
    if whole.len() <= NAME_CHARS_MAX {
        return whole;
    }
    let start: String = whole.chars().take(NAME_CHARS_MAX - digest::NAME_DIGITS - 1).collect();
    digest::named(&start, &whole)
}

/// The names under which columns land in the lake: their own, unless it has no room for a sign in them, or another
/// column has the same name but for its case.
fn landed(columns: &[DeclaredColumn]) -> Vec<String> {
    let mended = |name: &str| -> String {
        let sign = |c: char| if NAME_FORBIDDEN.contains(&c) { '_' } else { c };
        name.chars().map(sign).collect()
    };
    // Who can keep the name has it before whoever has to take another.
    let mut taken = BTreeSet::new();
    let kept = |column: &DeclaredColumn| {
        mended(&column.name) == column.name && taken.insert(column.name.to_lowercase())
    };
    let kept: Vec<bool> = columns.iter().map(kept).collect();
    let named = |(column, kept): (&DeclaredColumn, bool)| {
        let mut name = mended(&column.name);
        while !kept && !taken.insert(name.to_lowercase()) {
            name.push('_');
        }
        name
    };
    columns.iter().zip(kept).map(named).collect()
}

/// Endings of files whose rows are read.
const ENDINGS: &[&str] =
    &[".avro", ".csv", ".gz", ".json", ".jsonl", ".ndjson", ".parquet", ".tsv", ".txt", ".zst"];

/// What files are called, without their ending: `orders` of `orders-*.csv.gz`, and of `orders/*.csv`.
fn of_files(path: &str) -> Option<&str> {
    let mut parts = path.rsplit('/');
    let file = parts.next()?;
    let mut stem = file;
    while let Some(shorter) = ENDINGS.iter().find_map(|ending| stem.strip_suffix(*ending)) {
        stem = shorter;
    }
    let told = std::iter::once(stem)
        .chain(parts)
        .map(|part| part.trim_matches(|c: char| !c.is_alphanumeric()))
        .find(|part| part.chars().any(char::is_alphabetic));
    told.filter(|_| stem.len() < file.len())
}

/// A name for each stream that a table of the lake can have: what comes after the schema or what files are
/// called, if no two streams have the same.
fn names(streams: &[StreamInfo]) -> Vec<String> {
    let short = |stream: &StreamInfo| {
        let option = |key: &str| stream.stream.get(key);
        let last = match option("table") {
            Some(_) => stream.name.rsplit('.').next(),
            None => option("path").and_then(serde_json::Value::as_str).and_then(of_files),
        };
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
fn one(
    text: &mut String,
    stream: &StreamInfo,
    name: &str,
    to: Option<&str>,
    (log, target): (&Log, Option<Target>),
    wish: &Wish,
) {
    let keyed = target.is_none_or(|target| target.keyed);
    let untold = log.tables.get(&stream.name);
    let choice = choose(stream, log.readable && keyed && untold.is_none(), wish);
    let columns = match target {
        None => landed(&stream.columns),
        Some(_) => stream.columns.iter().map(|column| column.name.clone()).collect(),
    };
    let rows = stream.rows.map_or_else(String::new, |rows| format!("  # about {rows} rows"));
    line(text, format_args!("  - stream: {}{rows}", scalar(&json!(name))));
    if let Some(to) = to {
        line(text, format_args!("    # raw.{name} is the table of another sync"));
        line(text, format_args!("    to: {}", scalar(&json!(to))));
    }
    if let Some(why) = &stream.unread {
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        line(text, format_args!("    # its columns are not known: {why}"));
    }
    line(text, format_args!("    options: {}", stream.stream));
    if let Some(Target { key, ending, .. }) = target {
        line(text, format_args!("    target: {}", json!({ key: format!("{name}{ending}") })));
    }
    if wish.read != Some(choice.mode) {
        line(text, format_args!("    # {}: {}", choice.mode, choice.why));
    }
    if let Some(why) = untold.filter(|_| keyed && !stream.primary_key.is_empty()) {
        line(text, format_args!("    # not cdc: the table {why}"));
    }
    let keyed = keyed && !stream.primary_key.is_empty();
    let write = match choice.mode {
        Mode::Full => "replace",
        Mode::Incremental if keyed => "merge",
        Mode::Incremental => "append",
        Mode::Cdc => "mirror",
    };
    line(text, format_args!("    read: {}\n    write: {write}", choice.mode));
    if let (Mode::Incremental, Some(cursor)) = (choice.mode, stream.cursors.first()) {
        line(text, format_args!("    cursor: {}", scalar(&json!(cursor))));
    } else if !stream.cursors.is_empty() && choice.mode == Mode::Full {
        let cursors = stream.cursors.join(", ");
        line(text, format_args!("    # cursors for read: incremental: {cursors}"));
    }
    if keyed {
        let key: Vec<&String> = stream
            .primary_key
            .iter()
            .map(|name| {
                let place = stream.columns.iter().position(|column| column.name == *name);
                place.and_then(|place| columns.get(place)).unwrap_or(name)
            })
            .collect();
        line(text, format_args!("    key: {}", json!(key)));
    }
    if !stream.columns.is_empty() {
        text.push_str("    columns:\n");
    }
    for (column, name) in stream.columns.iter().zip(&columns) {
        let mut declared = json!({ "name": name, "type": column.kind.to_string() });
        if *name != column.name {
            declared["from"] = column.name.clone().into();
        }
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
    let facts = TableFacts { asked: wish.read, ..facts(stream, log_readable, wish.every_s) };
    choose_mode(&facts).unwrap_or_else(|error| Choice {
        mode: Mode::Full,
        why: error.message().to_owned(),
        why_not: Vec::new(),
    })
}

/// What a source says of a table that matters for how it is read.
pub(crate) fn facts(stream: &StreamInfo, log_readable: bool, every_s: u64) -> TableFacts {
    let cursor = stream.cursors.first();
    TableFacts {
        table: stream.name.clone(),
        rows: stream.rows,
        has_key: !stream.primary_key.is_empty(),
        cursor: cursor.map(|column| Cursor { column: column.clone(), indexed: false }),
        log_readable,
        deletes_matter: true,
        every_s,
        ..TableFacts::default()
    }
}

/// Adds a line; writing to a text cannot fail.
fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").unwrap_or_default();
}

/// Names that fit one of several patterns, upper and lower case alike.
struct Names(Vec<Pattern>);

impl Names {
    fn of(patterns: &[String]) -> Result<Self> {
        let pattern = |text: &String| {
            Pattern::new(text).map_err(|error| {
                Error::invalid(format!("\"{text}\" is no pattern"))
                    .caused_by(error)
                    .hint("Write * for anything and ? for one character.")
            })
        };
        patterns.iter().map(pattern).collect::<Result<_>>().map(Self)
    }

    /// Whether a stream's name, or what comes after its schema, fits.
    fn fit(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| fits(pattern, name))
    }
}

fn fits(pattern: &Pattern, name: &str) -> bool {
    let options = MatchOptions { case_sensitive: false, ..MatchOptions::default() };
    let last = name.rsplit('.').next().unwrap_or(name);
    pattern.matches_with(name, options) || pattern.matches_with(last, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_a_name_or_what_comes_after_its_schema() {
        let fit = |pattern: &str, name| Names::of(&[pattern.to_owned()]).unwrap().fit(name);
        for (pattern, name) in [
            ("*", "x"),
            ("ORDER*", "p.order_b"),
            ("*_log", "app_log"),
            ("p.*", "p.a"),
            ("a", "p.a"),
        ] {
            assert!(fit(pattern, name), "{pattern} {name}");
        }
        assert!(!fit("a", "ab") && !fit("*_log", "logs") && !fit("public", "public.a"));
        assert!(Names::of(&["a**b".to_owned()]).is_err());
    }

    #[test]
    fn a_table_beside_another_one_has_a_name_that_is_not_too_long() {
        assert_eq!(beside("all", "orders"), "all_orders");
        let (a, b) = (beside(&"s".repeat(45), "orders"), beside(&"s".repeat(45), "orders_b"));
        assert!(a.len() <= NAME_CHARS_MAX && b.len() <= NAME_CHARS_MAX && a != b, "{a} {b}");
    }

    #[test]
    fn columns_land_under_names_that_the_lake_can_have() {
        let column = |name: &str| DeclaredColumn::new(name, flywheel_connect::ColumnType::Text);
        let columns = ["订单 号", "a_b", "a b", "Id", "id", "a.b"].map(column);
        assert_eq!(landed(&columns), ["订单_号", "a_b", "a_b_", "Id", "id_", "a.b"]);
    }

    fn named_by(key: &str, name: &str) -> StreamInfo {
        StreamInfo {
            name: name.to_owned(),
            stream: json!({ key: name }),
            schema: std::sync::Arc::new(arrow::datatypes::Schema::empty()),
            columns: Vec::new(),
            primary_key: Vec::new(),
            cursors: Vec::new(),
            rows: None,
            bytes: None,
            unread: None,
        }
    }

    #[test]
    fn streams_of_files_are_named_by_what_the_files_are_called() {
        for (path, name) in [
            ("accounts.csv", "accounts"),
            ("facts/sales_*.csv.gz", "sales"),
            ("orders/*.jsonl", "orders"),
            ("*.csv", "t___csv"),
            ("2024-*.csv", "t_2024___csv"),
            ("v1/things", "v1_things"),
        ] {
            assert_eq!(names(&[named_by("path", path)]), [name], "{path}");
        }
        let alike = ["a.csv", "a.jsonl"].map(|path| named_by("path", path));
        assert_eq!(names(&alike), ["a_csv", "a_jsonl"]);
    }

    #[test]
    fn streams_are_named_by_their_table_unless_two_schemas_have_it() {
        let stream = |name: &str| named_by("table", name);
        let streams = ["public.Orders", "a.x", "b.x", "p.a x", "p.1"].map(stream);
        assert_eq!(names(&streams), ["orders", "a_x", "b_x", "a_x_", "t_1"]);
        let streams = ["public.客户", "public.订单", "public.客户_log"].map(stream);
        let named = names(&streams);
        let shown: Vec<&str> = named.iter().filter_map(|name| name.get(..2)).collect();
        assert_eq!(shown, ["t_"; 3]);
        assert_eq!(named.iter().map(String::len).collect::<Vec<_>>(), [8, 8, 15], "{named:?}");
        assert!(named[0] != named[1] && named[2].starts_with("t____log_"), "{named:?}");
    }
}
