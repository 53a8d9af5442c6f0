//! What a migration would do, without writing anything anywhere.

use std::time::Instant;

use flywheel_base::Result;
use flywheel_connect::DestinationEntry;
use flywheel_connect::destination::{Destination, Estimate, WriteMode};
use flywheel_connect::source::{Source, StreamInfo};
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
    let (written, writing) = open(moving.workspace, moving.to)?;
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
        planned.target_rows = existing.and_then(|info| info.rows);
        let swaps = swaps(stream, written.modes);
        planned.changes = changes(stream, existing, &first, swaps);
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
    columns: &[String],
    swaps: bool,
) -> Vec<String> {
    let Some(existing) = existing else {
        return vec![format!("makes the table with {} columns", columns.len())];
    };
    let mut said = Vec::new();
    let missing: Vec<&str> = columns
        .iter()
        .map(String::as_str)
        .filter(|name| existing.schema.field_with_name(name).is_err())
        .collect();
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
    use arrow::datatypes::{Schema, SchemaRef};
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
}
