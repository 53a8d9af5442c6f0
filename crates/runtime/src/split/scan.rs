//! The scan of a system: every row is read, and digests of its key and references are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use flywheel_base::{Error, Result, suggest, task};
use flywheel_connect::source::{ReadRequest, Source, StreamInfo};
use flywheel_connect::{Evaluate, Page, judge};
use flywheel_project::resource::split::SplitTable;
use flywheel_project::yaml::Step;
use flywheel_reconcile::record::Side;
use flywheel_reconcile::split::{Digest, Scan};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;

use super::Splitting;
use super::rows::{Content, RowKeys, Spec};
use crate::mapping::engine;
use crate::migrate::same;

/// Rows without an answer whose keys are told.
const KEYS_TOLD: usize = 5;

/// The scan of the system that is taken apart.
pub(super) struct Scanned<'a> {
    pub(super) scan: Scan<'a>,
    /// By table.
    pub(super) tables: Vec<ScannedTable>,
}

/// What else is known of a table that was scanned.
#[derive(Default)]
pub(super) struct ScannedTable {
    pub(super) content: Content,
    pub(super) seconds: f64,
}

/// One page, digested.
struct Digested {
    keys: RowKeys,
    content: Content,
    /// Whether each row meets the condition, and the rows for which there is no answer.
    met: Option<(BooleanArray, BTreeMap<usize, String>)>,
    batch: RecordBatch,
}

impl<'a> Splitting<'a> {
    /// Reads every row of every table.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] at its place in the file: a table or column that is not
    /// there, a key that is empty or not unique, a condition that is none or has no answer for a row;
    /// [`flywheel_base::ErrorKind::Blocked`] if a row cannot be decoded; those of the source.
    pub(super) async fn scan<'s>(&'s self) -> Result<Scanned<'s>> {
        let source = self.source()?;
        let mut scanned = Scanned { scan: Scan::new(&self.rules), tables: Vec::new() };
        for (at, table) in self.tables().iter().enumerate() {
            let one = Box::pin(self.scan_table(source.as_ref(), &mut scanned.scan, at, table));
            let one = one.await?;
            scanned.tables.push(one);
        }
        Ok(scanned)
    }

    async fn scan_table(
        &self,
        source: &dyn Source,
        scan: &mut Scan<'_>,
        at: usize,
        table: &SplitTable,
    ) -> Result<ScannedTable> {
        let spec = self.spec(at)?;
        let request = self.request(table)?;
        let watch = Instant::now();
        let mut scanned = ScannedTable::default();
        let mut schema: Option<SchemaRef> = None;
        let mut pages = source.read(&request);
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) => return Err(self.unreadable(source, at, table, error).await),
            };
            refuse_rejected(&page, &table.table)?;
            if page.batch.num_columns() == 0 {
                continue;
            }
            let known = page.batch.schema();
            if let Some(missing) = spec.key.iter().find(|key| known.index_of(key).is_err()) {
                return Err(self.no_column(at, &known, missing, &[Step::Key("key")]));
            }
            schema = Some(known);
            let digested = digest(Arc::clone(spec), engine(self.workspace), page.batch).await;
            let digested = digested.map_err(|error| self.no_condition(at, &error))?;
            self.add(scan, at, &digested)?;
            scanned.content.rows += digested.content.rows;
            scanned.content.sum = scanned.content.sum.wrapping_add(digested.content.sum);
        }
        drop(pages);
        if let Some(schema) = &schema {
            for (number, column) in spec.references.iter().enumerate() {
                if schema.index_of(column).is_err() {
                    let below = [Step::Key("references"), Step::Item(number), Step::Key("column")];
                    return Err(self.no_column(at, schema, column, &below));
                }
            }
        }
        if let Some(twice) = scan.settle(at) {
            let wanted = BTreeSet::from([twice]);
            let named = names(source, &request, spec, &wanted).await?;
            let key = named.into_values().next().unwrap_or_default();
            return Err(self.mistake_of(
                at,
                &[Step::Key("key")],
                format!("several rows of \"{}\" have the key {key}", table.table),
                "Nothing was written. Name the column, or the list of columns, that identifies every row.",
            ));
        }
        scanned.seconds = watch.elapsed().as_secs_f64();
        Ok(scanned)
    }

    /// Adds the rows of a page to the scan.
    fn add(&self, scan: &mut Scan<'_>, at: usize, page: &Digested) -> Result<()> {
        let spec = self.spec(at)?;
        if let Some((met, reasons)) = &page.met
            && met.null_count() > 0
        {
            return Err(self.no_answer(at, page, met, reasons)?);
        }
        for (row, key) in page.keys.keys.iter().enumerate() {
            let Some(key) = key else {
                let before = scan.table(at).map_or(0, |rows| rows.len());
                return Err(self.mistake_of(
                    at,
                    &[Step::Key("key")],
                    format!("row {} of \"{}\" has no key", before + 1, spec.table),
                    "Nothing was written. Name a column that is never empty, or mend the row.",
                ));
            };
            let side = page
                .met
                .as_ref()
                .zip(spec.condition.as_ref())
                .map(|((met, _), (_, to))| if met.value(row) { *to } else { to.other() });
            scan.add(at, *key, side, page.keys.references_of(row))?;
        }
        Ok(())
    }

    /// Reads every row of a part; what the target does not have at all has no rows.
    pub(super) async fn scan_part<'s>(
        &'s self,
        side: Side,
        listed: &[StreamInfo],
    ) -> Result<Scan<'s>> {
        let (_, source) = self.workspace.source(&self.parts.of(side).connection)?;
        let mut scan = Scan::new(&self.rules);
        for (at, table) in self.tables().iter().enumerate() {
            let request = self.part_request(table, side)?;
            if is_there(listed, &request) {
                let spec = self.spec(at)?;
                let pages = source.read(&request);
                let mut take = |keys: &RowKeys, _: &RecordBatch| {
                    for (row, key) in keys.keys.iter().enumerate() {
                        // A row without a key was not there before: it is told as such.
                        scan.add(at, key.unwrap_or(1), None, keys.references_of(row))?;
                    }
                    Ok(())
                };
                let read = read_keys(pages, spec, &mut take);
                let about = |error: Error| {
                    error.context(format!(
                        "table \"{}\" of part \"{}\"",
                        table.table,
                        self.part(side)
                    ))
                };
                Box::pin(read).await.map_err(about)?;
            }
            scan.settle(at);
        }
        Ok(scan)
    }

    /// What the target of a part holds, as far as it tells.
    pub(super) async fn listed(&self, side: Side) -> Result<Vec<StreamInfo>> {
        let connection = &self.parts.of(side).connection;
        // A database file or folder that does not exist yet holds nothing.
        if self.path_of(connection).is_some_and(|path| !path.exists()) {
            return Ok(Vec::new());
        }
        let (_, source) = self.workspace.source(connection)?;
        let about = |error: Error| error.context(format!("part \"{}\"", self.part(side)));
        source.discover().await.map_err(about)
    }

    fn no_column(&self, at: usize, schema: &SchemaRef, name: &str, below: &[Step<'_>]) -> Error {
        let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let table = self.tables().get(at).map_or("", |table| table.table.as_str());
        let message = format!("table \"{table}\" has no column \"{name}\"");
        self.mistake_of(at, below, message, suggest::hint(name, known))
    }

    /// The error of a condition that is none over the table's columns.
    fn no_condition(&self, at: usize, error: &Error) -> Error {
        let cause = std::error::Error::source(error);
        let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
        let hint = error.hint_text().unwrap_or(
            "Write a condition over the table's columns, such as region = 'east'; names with capitals \
             stand in double quotes.",
        );
        self.mistake_of(at, &CONDITION, format!("{}{cause}", error.message()), hint)
    }

    fn no_answer(
        &self,
        at: usize,
        page: &Digested,
        met: &BooleanArray,
        reasons: &BTreeMap<usize, String>,
    ) -> Result<Error> {
        let spec = self.spec(at)?;
        let without = (0..met.len()).filter(|row| met.is_null(*row));
        let keys = without.take(KEYS_TOLD).map(|row| spec.shown(&page.batch, row));
        let keys = keys.collect::<Result<Vec<_>>>()?.join(" · ");
        let why = reasons.values().next().map_or_else(
            || "the condition is neither true nor false".to_owned(),
            |reason| reason.clone(),
        );
        let message = format!(
            "{} rows of \"{}\" cannot be placed, with the keys {keys}: {why}",
            met.null_count(),
            spec.table
        );
        let hint =
            "Nothing was written. Say what holds for them, such as coalesce(region, '') = 'east'.";
        Ok(self.mistake_of(at, &CONDITION, message, hint))
    }

    /// Says that a table is not there, if that is why it cannot be read.
    async fn unreadable(
        &self,
        source: &dyn Source,
        at: usize,
        table: &SplitTable,
        error: Error,
    ) -> Error {
        let options = Value::Object(table.options());
        let listed = match options.get("table") {
            Some(_) => source.discover().await.unwrap_or_default(),
            None => Vec::new(),
        };
        if listed.is_empty() || listed.iter().any(|info| same(&info.stream, &options)) {
            return error.context(format!("table \"{}\"", table.table));
        }
        let asked = options.get("table").and_then(Value::as_str).unwrap_or_default();
        let connection = &self.declared.connection;
        let named = if table.options.is_empty() { "table" } else { "options" };
        self.mistake_of(
            at,
            &[Step::Key(named)],
            format!("connection \"{connection}\" has no table \"{asked}\""),
            suggest::hint(asked, listed.iter().map(|info| info.name.as_str())),
        )
    }
}

/// Where a condition stands below its table.
const CONDITION: [Step<'static>; 3] =
    [Step::Key("place"), Step::Key("divided"), Step::Key("where")];

async fn digest(
    spec: Arc<Spec>,
    engine: Arc<dyn Evaluate>,
    batch: RecordBatch,
) -> Result<Digested> {
    task::compute(move || {
        let condition = spec.condition.as_ref();
        let met = condition.map(|(sql, _)| judge(engine.as_ref(), sql, &batch)).transpose()?;
        let mut content = Content::default();
        content.add(&batch)?;
        Ok(Digested { keys: spec.keys(&batch)?, content, met, batch })
    })
    .await
}

/// Hands the keys of every page to `take`, with the page's rows.
pub(super) async fn read_keys(
    mut pages: BoxStream<'_, Result<Page>>,
    spec: &Arc<Spec>,
    take: &mut (dyn FnMut(&RowKeys, &RecordBatch) -> Result<()> + Send),
) -> Result<()> {
    while let Some(page) = pages.next().await {
        let page = page?;
        refuse_rejected(&page, &spec.table)?;
        if page.batch.num_columns() == 0 {
            continue;
        }
        let (own, batch) = (Arc::clone(spec), page.batch);
        let (keys, batch) = task::compute(move || Ok((own.keys(&batch)?, batch))).await?;
        take(&keys, &batch)?;
    }
    Ok(())
}

/// The keys behind digests, for people.
pub(super) async fn names(
    source: &dyn Source,
    request: &ReadRequest,
    spec: &Arc<Spec>,
    wanted: &BTreeSet<Digest>,
) -> Result<BTreeMap<Digest, String>> {
    let mut found = BTreeMap::new();
    let take = &mut |keys: &RowKeys, batch: &RecordBatch| {
        for (row, key) in keys.keys.iter().enumerate() {
            if let Some(key) = key.filter(|key| wanted.contains(key)) {
                found.insert(key, spec.shown(batch, row)?);
            }
        }
        Ok(())
    };
    read_keys(source.read(request), spec, take).await?;
    Ok(found)
}

/// A row that cannot be decoded has no place, so nothing has.
pub(super) fn refuse_rejected(page: &Page, table: &str) -> Result<()> {
    let Some(bad) = page.rejected.first() else { return Ok(()) };
    let place = bad.line.map_or_else(String::new, |line| format!(", line {line}"));
    let column =
        bad.column.as_ref().map_or_else(String::new, |name| format!(", column \"{name}\""));
    Err(Error::blocked(format!(
        "{} rows of \"{table}\" cannot be read; the first is in {}{place}{column}: {}",
        page.rejected.len(),
        bad.file,
        bad.reason
    ))
    .hint("Nothing was written, as nobody can say where such a row belongs. Mend it, or give the column another type under `types`."))
}

/// Whether what `request` reads is among what a system lists; yes if the system lists nothing of its kind.
pub(super) fn is_there(listed: &[StreamInfo], request: &ReadRequest) -> bool {
    let kinds = ["table", "path", "object"];
    let of_a_kind = kinds.iter().any(|kind| request.stream.get(kind).is_some());
    !of_a_kind || listed.iter().any(|info| same(&info.stream, &request.stream))
}
