//! What a migration would do, without writing anything anywhere.

use std::collections::BTreeMap;
use std::time::Instant;

use flywheel_base::Result;
use flywheel_connect::DestinationEntry;
use flywheel_connect::destination::{Destination, Estimate, WriteMode};
use flywheel_connect::source::{Filled, Source, StreamInfo};
use flywheel_project::resource::sync::{FirstWrite, Read, Stream, Write};
use flywheel_reconcile::planner::{Mode, Worker, choose_mode};
use futures::StreamExt;
use serde::Serialize;
use serde_json::Value;

use super::Moving;
use crate::Workspace;
use crate::draft::facts;
use crate::mapping::mapping;
use crate::task::deliver::{open, write_request};
use crate::task::share::{Share, packed};
use crate::task::sync::{read_request, resolved};

/// How often changes shall arrive while a migration lasts.
const EVERY_S: u64 = 60;

/// Connectors whose databases take names of columns, and perhaps of tables, that differ only in case for one.
const FOLDS: &[&str] = &["mysql", "sqlite", "odbc"];

/// What would happen to one stream.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PlannedStream {
    /// The stream.
    pub stream: String,
    /// What it writes.
    pub target: String,
    /// About how many rows come, if the source tells.
    pub rows: Option<u64>,
    /// About how many bytes come, if the source tells.
    pub bytes: Option<u64>,
    /// About how many rows are in the target; none if it does not exist or does not tell.
    pub target_rows: Option<u64>,
    /// About how many of the target's rows are removed: all where they are replaced, none where rows are added
    /// or merged; none is said where marks of the rows tell.
    pub deletes: Option<u64>,
    /// About how many requests it takes to read all rows once, where requests of the source are counted.
    pub read_requests: Option<u64>,
    /// About how many requests it takes to write them, where requests of the target are counted.
    pub write_requests: Option<u64>,
    /// What happens to the target's columns and rows, in words.
    pub changes: Vec<String>,
    /// How it is read, and what would be better, if anything.
    pub read: String,
    /// Seconds for reading all rows, from the pace of the first ones.
    pub read_s: Option<f64>,
    /// Which of the streams that are read at once it is part of, from 1, and what each of them may use:
    /// the sync's `limits`.
    pub worker: usize,
    /// The limits in words.
    pub share: String,
    /// What stands in the way, or will.
    pub warnings: Vec<String>,
}

/// Looks at both systems and says what the migration by the sync `name` would do.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the sync is no migration; those of both systems.
pub async fn plan(workspace: &Workspace, name: &str) -> Result<Vec<PlannedStream>> {
    let moving = Moving::named(workspace, name)?;
    let (entry, source) = moving.workspace.source_of(moving.sync)?;
    let share = Share::of(moving.sync)?;
    let (target_entry, target) = moving.workspace.source(moving.to)?;
    source.check().await?;
    target.check().await?;
    // After the cutover changes flow back by the target's log, which is not the time to find out.
    let flows_back = target_entry.cdc && DestinationEntry::named(entry.name).is_ok();
    let shut = if flows_back { target.check_log().await.err() } else { None };
    let (here, there) = (source.discover().await?, target.discover().await?);
    let (made, taken) = (source.fills().await?, target.fills().await?);
    let (written, writing) = open(moving.workspace, moving.to)?;
    let folds = FOLDS.contains(&target_entry.name);
    let mut tables = Vec::new();
    for stream in &moving.sync.streams {
        let of_target = moving.target_now(target_entry, stream)?;
        tables.push((stream.stream.as_str(), label(&of_target)));
    }
    let mut all = Vec::new();
    for stream in &moving.sync.streams {
        let options = resolved(workspace, stream, &stream.options)?;
        let of_target = moving.target_now(target_entry, stream)?;
        let mut planned = PlannedStream {
            stream: stream.stream.clone(),
            target: format!("{}.{}", moving.to, label(&of_target)),
            ..PlannedStream::default()
        };
        let known = here.iter().find(|info| same(&info.stream, &options));
        if let Some(info) = known {
            (planned.rows, planned.bytes) = (info.rows, info.bytes);
        }
        let first = sample(&moving, stream, source.as_ref(), &mut planned).await?;
        let existing = there.iter().find(|info| same(&info.stream, &of_target));
        // SQLite finds a table under its name in any case.
        let existing = existing.or_else(|| {
            let any_case = |info: &&StreamInfo| {
                target_entry.name == "sqlite"
                    && label(&info.stream).eq_ignore_ascii_case(&label(&of_target))
            };
            there.iter().find(any_case)
        });
        planned.target_rows = existing.and_then(|info| info.rows);
        let swaps = swaps(stream, written.modes);
        planned.changes = changes(stream, existing, (&first, folds), swaps);
        let none = Vec::new();
        let of = |info: Option<&StreamInfo>, all: &BTreeMap<String, Vec<Filled>>| {
            info.and_then(|info| all.get(&info.name)).unwrap_or(&none).clone()
        };
        let (source_fills, target_fills) = (of(known, &made), of(existing, &taken));
        planned.changes.extend(match existing {
            None => made_plain(stream, &first, &source_fills),
            Some(_) => filled_there(&first, &target_fills, folds),
        });
        planned.warnings.extend(alike_columns(target_entry.name, existing, &first));
        if folds {
            planned.warnings.extend(alike_tables((&stream.stream, &planned.target), &tables));
        }
        planned.deletes = deletes(stream, existing, swaps);
        requests(&moving, stream, (source.as_ref(), writing.as_ref()), &options, &mut planned)?;
        advise(stream, known, entry.cdc, &mut planned);
        if let Some(error) = &shut {
            let hint = error.hint_text().map_or_else(String::new, |hint| format!(" ({hint})"));
            planned.warnings.push(format!("there is no way back after the cutover: {error}{hint}"));
        }
        all.push(planned);
    }
    // The longest first, so that the whole is not held up by one at its end.
    all.sort_by_key(|planned| std::cmp::Reverse(planned.rows));
    let rows = |planned: &PlannedStream| (planned.stream.clone(), planned.rows.unwrap_or(0));
    let packing = packed(moving.sync, &all.iter().map(rows).collect::<Vec<_>>())?;
    for planned in &mut all {
        let of = |worker: &Worker| worker.chunks.contains(&planned.stream);
        planned.worker = packing.workers.iter().position(of).map_or(0, |at| at + 1);
        planned.share = share.words();
    }
    Ok(all)
}

/// Reads the first page: its columns, its bad rows, and the pace.
async fn sample(
    moving: &Moving<'_>,
    stream: &Stream,
    source: &dyn Source,
    planned: &mut PlannedStream,
) -> Result<Vec<String>> {
    let whole = Stream { read: Read::Full, ..stream.clone() };
    let mapping = mapping(moving.workspace, moving.sync, &whole)?;
    let share = Share::of(moving.sync)?;
    let request = share.limit(read_request(moving.workspace, &whole, &mapping, None)?);
    let watch = Instant::now();
    let mut pages = source.read(&request);
    let (mut columns, mut rows, mut bad) = (Vec::new(), 0_u64, 0_u64);
    while let Some(page) = pages.next().await {
        let page = mapping.apply(page?)?;
        rows += page.batch.num_rows() as u64;
        bad += page.rejected.len() as u64;
        if page.batch.num_columns() > 0 {
            columns = page.batch.schema().fields().iter().map(|f| f.name().clone()).collect();
        }
        if rows > 0 {
            break;
        }
    }
    let seconds = watch.elapsed().as_secs_f64();
    if let Some(all) = planned.rows.filter(|_| rows > 0) {
        planned.read_s = Some(seconds * (all as f64 / rows as f64).max(1.0));
    }
    if bad > 0 {
        planned.warnings.push(format!("{bad} of the first {} rows would be set aside", rows + bad));
    }
    Ok(columns)
}

/// What happens to the target's columns and rows.
fn changes(
    stream: &Stream,
    existing: Option<&StreamInfo>,
    (columns, folds): (&[String], bool),
    swaps: bool,
) -> Vec<String> {
    let Some(existing) = existing else {
        return vec![format!("makes the table with {} columns", columns.len())];
    };
    let mut said = Vec::new();
    let missing: Vec<&str> =
        columns.iter().map(String::as_str).filter(|name| !has(existing, name, folds)).collect();
    if !missing.is_empty() {
        said.push(format!("adds the columns {}", missing.join(", ")));
    }
    said.push(match existing.rows {
        Some(0) => "fills the empty table".to_owned(),
        Some(rows) if swaps => format!("replaces about {rows} rows"),
        None if swaps => "replaces all rows".to_owned(),
        _ if stream.write == Write::Append => "adds rows".to_owned(),
        _ => "merges rows by their key".to_owned(),
    });
    said
}

/// Whether the target's table has a column of that name, in any case if it `folds` names.
fn has(existing: &StreamInfo, name: &str, folds: bool) -> bool {
    let mut fields = existing.schema.fields().iter();
    fields.any(|field| field.name() == name || (folds && field.name().eq_ignore_ascii_case(name)))
}

/// What becomes of columns that the source fills by itself, in a table that is made.
fn made_plain(stream: &Stream, columns: &[String], filled: &[Filled]) -> Vec<String> {
    let lands = |computed: bool| -> Vec<&str> {
        let those = filled.iter().filter(|filled| filled.computed == computed);
        let names = those.flat_map(|filled| {
            let declared = stream.columns.iter().filter(|column| column.value.is_none());
            let mut renamed = declared
                .filter(|column| column.source_name() == filled.column)
                .map(|column| column.name.as_str())
                .peekable();
            let own = renamed.peek().is_none().then_some(filled.column.as_str());
            renamed.chain(own).collect::<Vec<_>>()
        });
        names.filter(|name| columns.iter().any(|column| column == name)).collect()
    };
    let mut said = Vec::new();
    let (computed, numbered) = (lands(true), lands(false));
    if !computed.is_empty() {
        said.push(format!(
            "makes plain columns of {}, which the source computes",
            computed.join(", ")
        ));
    }
    if !numbered.is_empty() {
        said.push(format!(
            "makes plain columns of {}, which the source numbers by itself: nothing numbers new rows there",
            numbered.join(", ")
        ));
    }
    said
}

/// What becomes of rows' columns that a target which exists fills by itself.
fn filled_there(columns: &[String], filled: &[Filled], folds: bool) -> Vec<String> {
    let brought = |computed: bool| -> Vec<&str> {
        let is = |column: &String, name: &str| {
            column == name || (folds && column.eq_ignore_ascii_case(name))
        };
        filled
            .iter()
            .filter(|filled| filled.computed == computed)
            .map(|filled| filled.column.as_str())
            .filter(|name| columns.iter().any(|column| is(column, name)))
            .collect()
    };
    let mut said = Vec::new();
    let (computed, numbered) = (brought(true), brought(false));
    if !computed.is_empty() {
        said.push(format!("leaves out {}, which the target computes", computed.join(", ")));
    }
    if !numbered.is_empty() {
        said.push(format!(
            "keeps the source's numbers in {}, which the target gives by itself: set its counter before rows are added there",
            numbered.join(", ")
        ));
    }
    said
}

/// Columns whose names are alike but for their case, where that matters to the target.
fn alike_columns(
    connector: &str,
    existing: Option<&StreamInfo>,
    columns: &[String],
) -> Vec<String> {
    let rename = |name: &str| format!("rename it under `columns` (`{{name: …, from: {name}}}`)");
    let mut said = Vec::new();
    if FOLDS.contains(&connector) {
        for (at, name) in columns.iter().enumerate() {
            let before = columns.iter().take(at).find(|known| known.eq_ignore_ascii_case(name));
            said.extend(before.map(|before| {
                format!(
                    "its columns \"{before}\" and \"{name}\" differ only in case, which {connector} takes for one: {}",
                    rename(name)
                )
            }));
        }
        return said;
    }
    let Some(existing) = existing.filter(|_| connector == "postgres") else { return said };
    for name in columns.iter().filter(|name| !has(existing, name, false)) {
        let fields = existing.schema.fields().iter().map(|field| field.name());
        let mut fields = fields.filter(|known| known.eq_ignore_ascii_case(name));
        let there = fields.next();
        said.extend(there.map(|there| {
            format!(
                "the target has \"{there}\", and would get \"{name}\" beside it, which differs only in case: {}",
                rename(name)
            )
        }));
    }
    said
}

/// Other streams whose tables are called alike but for the case.
fn alike_tables((stream, target): (&str, &str), tables: &[(&str, String)]) -> Vec<String> {
    let Some((_, own)) = tables.iter().find(|(name, _)| *name == stream) else { return Vec::new() };
    let alike = tables.iter().filter(|(_, table)| table != own && table.eq_ignore_ascii_case(own));
    let text = |(other, table): &(&str, String)| {
        format!(
            "its table {target} and \"{table}\" of the stream \"{other}\" differ only in case, which the target may take for \
             one: name one of them otherwise"
        )
    };
    alike.map(text).collect()
}

/// Whether what is read takes the place of all rows of the target.
fn swaps(stream: &Stream, modes: &[WriteMode]) -> bool {
    let of_log = stream.read == Read::Cdc && stream.first_write == FirstWrite::Replace;
    stream.replaces() || (of_log && modes.contains(&WriteMode::Replace))
}

/// How many rows of the target go.
fn deletes(stream: &Stream, existing: Option<&StreamInfo>, swaps: bool) -> Option<u64> {
    let Some(existing) = existing else { return Some(0) };
    if swaps {
        return existing.rows;
    }
    match stream.write {
        // The first read of a log only puts rows there.
        _ if stream.read == Read::Cdc => Some(0),
        Write::Append | Write::Merge => Some(0),
        // Without marks nothing tells which rows are gone.
        _ if stream.read == Read::Incremental && stream.deleted.is_none() => Some(0),
        Write::Mirror | Write::Replace | Write::History => None,
    }
}

/// How many requests it takes to read and to write, where they are counted.
fn requests(
    moving: &Moving<'_>,
    stream: &Stream,
    (source, target): (&dyn Source, &dyn Destination),
    options: &Value,
    planned: &mut PlannedStream,
) -> Result<()> {
    let per_request = source.rows_per_request(options);
    let request = write_request(moving.workspace, moving.name, moving.sync, stream, moving.to)?;
    let counted = target.requests(&request, Estimate::default())?.is_some();
    let Some(rows) = planned.rows else {
        if let Some(rows) = per_request {
            planned.warnings.push(format!(
                "reading takes a request for each {rows} rows; how many there are the source does not tell"
            ));
        }
        if counted {
            let what = "requests count against the target's limits; how many it takes is not known, as rows are not";
            planned.warnings.push(what.to_owned());
        }
        return Ok(());
    };
    planned.read_requests = per_request.map(|per_request| rows.div_ceil(per_request.max(1)));
    let estimate = Estimate { put: rows, removed: planned.deletes.unwrap_or(0) };
    planned.write_requests = target.requests(&request, estimate)?;
    if counted && planned.deletes.is_none() {
        let what =
            "requests that remove rows are not in the estimate: marks of the rows tell which go";
        planned.warnings.push(what.to_owned());
    }
    Ok(())
}

/// Says how the stream is read, what would be better and what stands in the way.
fn advise(stream: &Stream, known: Option<&StreamInfo>, cdc: bool, planned: &mut PlannedStream) {
    let read = match stream.read {
        Read::Full => Mode::Full,
        Read::Incremental => Mode::Incremental,
        Read::Cdc => Mode::Cdc,
    };
    planned.read = read.to_string();
    if stream.key.is_empty() {
        planned.warnings.push("has no `key`: differences cannot be told row by row".to_owned());
    }
    if read == Mode::Incremental {
        planned.warnings.push("rows that are deleted in the source stay in the target".to_owned());
    }
    let Some(info) = known else {
        let what = "what it reads is not listed by the source, so rows are not estimated";
        planned.warnings.push(what.to_owned());
        return;
    };
    let key: Vec<&str> = stream
        .key
        .iter()
        .map(|key| {
            let declared = stream.columns.iter().find(|column| column.name == *key);
            declared.map_or(key.as_str(), |column| column.source_name())
        })
        .collect();
    if !stream.key.is_empty() && !info.primary_key.is_empty() && info.primary_key != key {
        let there = info.primary_key.join(", ");
        planned.warnings.push(format!("its key is not the source's primary key ({there})"));
    }
    if let Ok(choice) = choose_mode(&facts(info, cdc, EVERY_S))
        && choice.mode != read
    {
        planned.read = format!("{read}; {} is better: {}", choice.mode, choice.why);
    }
}

/// Whether two streams' settings name the same thing.
pub(crate) fn same(known: &Value, asked: &Value) -> bool {
    let last = |settings: &Value| {
        let name = ["table", "path", "object"].iter().find_map(|key| settings.get(*key)?.as_str());
        name.map(str::to_owned)
    };
    let (Some(known), Some(asked)) = (last(known), last(asked)) else { return false };
    known == asked || known.ends_with(&format!(".{asked}")) || asked.ends_with(&format!(".{known}"))
}

/// What settings name.
fn label(settings: &Value) -> String {
    let name = ["table", "path", "object"].iter().find_map(|key| settings.get(*key)?.as_str());
    name.map_or_else(|| settings.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use serde_json::json;

    use super::*;

    fn stream(settings: Value) -> Stream {
        serde_json::from_value(settings).unwrap()
    }

    fn there(rows: Option<u64>) -> StreamInfo {
        StreamInfo {
            name: "t".to_owned(),
            stream: json!({ "table": "t" }),
            schema: SchemaRef::new(Schema::empty()),
            columns: Vec::new(),
            primary_key: Vec::new(),
            cursors: Vec::new(),
            rows,
            bytes: None,
            unread: None,
        }
    }

    #[test]
    fn a_plan_says_how_many_rows_of_the_target_go() {
        let of = |write: &str, read: &str| {
            stream(
                json!({ "stream": "t", "options": {}, "read": read, "write": write, "key": ["id"] }),
            )
        };
        let all: &[WriteMode] = &[WriteMode::Replace, WriteMode::Mirror];
        let go = |stream: Stream, rows: Option<u64>, modes: &[WriteMode]| {
            deletes(&stream, Some(&there(rows)), swaps(&stream, modes))
        };
        assert_eq!(go(of("replace", "full"), Some(7), all), Some(7));
        assert_eq!(go(of("mirror", "cdc"), Some(7), all), Some(7));
        assert_eq!(go(of("mirror", "cdc"), None, all), None);
        assert_eq!(go(of("merge", "incremental"), Some(7), all), Some(0));
        assert_eq!(go(of("mirror", "incremental"), Some(7), all), Some(0));
        // A system without replacement keeps what it has.
        assert_eq!(go(of("mirror", "cdc"), Some(7), &[WriteMode::Mirror]), Some(0));
        let first = of("replace", "full");
        assert_eq!(deletes(&first, None, swaps(&first, all)), Some(0), "there is no table yet");
    }

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    fn with(columns: &[&str]) -> StreamInfo {
        let field = |name: &&str| Field::new(*name, DataType::Utf8, true);
        let fields: Vec<Field> = columns.iter().map(field).collect();
        StreamInfo { schema: SchemaRef::new(Schema::new(fields)), ..there(None) }
    }

    #[test]
    fn a_plan_names_columns_and_tables_that_are_alike_but_for_their_case() {
        let columns = names(&["Id", "name", "ID"]);
        for connector in ["mysql", "sqlite", "odbc"] {
            let said = alike_columns(connector, None, &columns).concat();
            assert!(said.contains("\"Id\" and \"ID\""), "{connector}: {said}");
        }
        assert!(alike_columns("postgres", None, &columns).is_empty(), "it tells them apart");
        let said = alike_columns("postgres", Some(&with(&["id", "name"])), &names(&["Id", "name"]));
        assert!(said.concat().contains("has \"id\""), "{said:?}");
        assert!(alike_columns("mysql", Some(&with(&["id"])), &names(&["Id"])).is_empty());

        let tables =
            [("a", "Orders".to_owned()), ("b", "orders".to_owned()), ("c", "x".to_owned())];
        let said = alike_tables(("a", "new.Orders"), &tables).concat();
        assert!(said.contains("\"orders\" of the stream \"b\""), "{said}");
        assert!(alike_tables(("c", "new.x"), &tables).is_empty());
    }

    #[test]
    fn a_plan_says_what_becomes_of_columns_that_a_system_fills_by_itself() {
        let filled = [
            Filled { column: "id".to_owned(), computed: false },
            Filled { column: "total".to_owned(), computed: true },
        ];
        let moved = stream(json!({
            "stream": "t", "options": {}, "read": "full", "write": "replace",
            "columns": [{ "name": "sum", "from": "total" }],
        }));
        let said = made_plain(&moved, &names(&["id", "sum"]), &filled).join("; ");
        assert!(said.contains("of sum, which the source computes"), "{said}");
        assert!(said.contains("of id, which the source numbers"), "{said}");
        assert!(made_plain(&moved, &names(&["other"]), &filled).is_empty());

        let said = filled_there(&names(&["ID", "total"]), &filled, false).join("; ");
        assert!(said.contains("leaves out total") && !said.contains("counter"), "{said}");
        let said = filled_there(&names(&["ID", "total"]), &filled, true).join("; ");
        assert!(said.contains("numbers in id"), "{said}");
    }

    #[test]
    fn a_target_that_folds_names_has_columns_in_any_case() {
        let merge = stream(
            json!({ "stream": "t", "options": {}, "read": "full", "write": "merge", "key": ["id"] }),
        );
        let (there, columns) = (with(&["id"]), names(&["Id", "new"]));
        let said = |folds| changes(&merge, Some(&there), (&columns, folds), false).join("; ");
        assert!(said(true).contains("adds the columns new"), "{}", said(true));
        assert!(said(false).contains("adds the columns Id, new"), "{}", said(false));
    }
}
