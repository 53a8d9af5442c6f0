//! Writing tables: whole ones, and increments on the last good version.
//!
//! A table's newest version need not be good: a build whose tests failed, or that was interrupted,
//! leaves one behind that nobody refers to. Whole tables do not care. An increment first returns the
//! table to its last good version and then writes, so that running it again gives the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use flywheel_base::{Error, Result, Timestamp, statement};
use flywheel_project::{IncrementalStrategy, Model, OnSchemaChange};
use flywheel_warehouse::{
    Catalog, Commit, Duplicates, Location, Query, RowStream, Session, TableName, TableState, Write,
    WriteMode,
};
use futures::{StreamExt, stream};

use super::job::{Compiled, Job, Made};
use crate::catalog::same_rows;
use crate::intervals::{Batches, Interval};
use crate::shelf::Item;
use crate::testing::{quoted, quoted_table};

/// New rows up to this size stay in memory for the tests; beyond, tests read the whole table.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// The schema under which a query finds the rows an increment brings; no model can have it.
const NEW_ROWS_SCHEMA: &str = "_increment";

/// The property of a commit that names the good version before it; readers of the past follow it.
pub(crate) const BEFORE: &str = "before";

/// The rows an increment brought.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) schema: SchemaRef,
    pub(super) rows: Vec<RecordBatch>,
}

/// Builds the whole table.
pub(super) async fn table(job: &Job<'_>, compiled: &Compiled) -> Result<Made> {
    whole(job, compiled, &whole_query(job.model, &compiled.sql)?).await
}

/// The query of a whole build: of a model in batches nothing from before its `begin`, as in dbt.
pub(super) fn whole_query(model: &Model, sql: &str) -> Result<String> {
    let begin = Batches::of(model)?.and_then(|batches| batches.begin);
    let (Some(begin), Some(event_time)) = (begin, &model.config.event_time) else {
        return Ok(sql.to_owned());
    };
    let sql = statement::bare(sql);
    let event_time = quoted(event_time);
    Ok(format!("SELECT * FROM (\n{sql}\n) WHERE {event_time} >= {}", moment(begin)))
}

/// Lets the table be what `sql` gives.
async fn whole(job: &Job<'_>, compiled: &Compiled, sql: &str) -> Result<Made> {
    let location = job.location(&compiled.fingerprint)?;
    let query = job.session.query(sql).await?;
    job.require_declared(&query, false)?;
    let before = good_version(job, compiled, &location);
    let commit = replace(job, &location, &query, before).await?;
    let item = Item::Table { location, version: commit.version };
    Ok(Made { item, rows: Some(commit.rows_written), batch: None })
}

/// Adds what is new to the table, or builds it if there is nothing to add to.
pub(super) async fn incremental(job: &Job<'_>, compiled: &Compiled) -> Result<Made> {
    let location = job.location(&compiled.fingerprint)?;
    let before = good_version(job, compiled, &location);
    let head = job.world.lake.head(&location).await?;
    let anew = job.full_refresh || job.has_no_start(&compiled.fingerprint)?;
    match (before, head) {
        (Some(version), Some(head)) if !anew && head.version >= version => {
            let same = same_rows(job.world.lake, &location, version, head.version).await?;
            let version = if same { head.version } else { version };
            let fingerprint = compiled.fingerprint.clone();
            Increment { job, location, fingerprint, version, head }.run().await
        }
        _ => {
            // Without batches nobody would find out later what lies outside of the interval.
            let made = match job.restated().filter(|_| job.model.config.batch_size.is_some()) {
                Some(interval) => {
                    let sql = statement::bare(&compiled.sql);
                    let rows = within(job, interval)?;
                    whole(job, compiled, &format!("SELECT * FROM (\n{sql}\n) WHERE {rows}")).await?
                }
                None => table(job, compiled).await?,
            };
            require_unique(job, &made.item).await?;
            Ok(made)
        }
    }
}

pub(super) fn good_version(job: &Job<'_>, compiled: &Compiled, location: &Location) -> Option<i64> {
    job.past.good_version(&compiled.fingerprint, location.as_str())
}

/// Replaces the whole table with the query's rows and columns.
pub(super) async fn replace(
    job: &Job<'_>,
    location: &Location,
    query: &Query,
    before: Option<i64>,
) -> Result<Commit> {
    let rows = query.stream_apart();
    let write = Write::new(WriteMode::Replace, rows, "build").add_columns();
    commit(job, location, write, before).await
}

/// Writes, and notes the good version before.
async fn commit(
    job: &Job<'_>,
    location: &Location,
    write: Write,
    before: Option<i64>,
) -> Result<Commit> {
    let write = match before {
        Some(version) => write.property(BEFORE, version.into()),
        None => write,
    };
    // Boxed, as a merge's state is large and would be a part of every future above.
    Box::pin(job.world.lake.write(location, write)).await
}

/// One increment.
struct Increment<'a> {
    job: &'a Job<'a>,
    location: Location,
    /// The variant.
    fingerprint: String,
    /// The last good version.
    version: i64,
    /// What is there.
    head: TableState,
}

impl Increment<'_> {
    async fn run(self) -> Result<Made> {
        let good = match self.head.version == self.version {
            true => self.head.clone(),
            false => {
                self.job.world.lake.state_at(&self.location, self.version).await.map_err(lost)?
            }
        };
        let session = self.session()?;
        let columns = self.job.columns().await?;
        // An interval of the past is asked of the whole query: what it says about increments is about new rows.
        let increment = self.job.restated().is_none();
        let this = self.item(self.version);
        let sql = self.job.render_now(increment, &columns, Some(this)).await?;
        let query = session.query(&sql).await?;
        self.job.require_declared(&query, true)?;
        let (query, removed) = self.fit(&session, &sql, query, &good.schema).await?;
        if let Some(window) = self.window()? {
            return self
                .replace_window(&session, &sql, &window, &good.schema, &query.schema(), &removed)
                .await;
        }
        let (rows, held) = hold(query.stream_apart()).await?;
        if held.as_ref().is_some_and(|batch| batch.rows.iter().all(|b| b.num_rows() == 0)) {
            let item = self.item(self.version);
            return Ok(Made { item, rows: Some(0), batch: held });
        }
        if let Some(batch) = &held
            && let Some(made) = self.delete_insert(&good.schema, &removed, batch).await?
        {
            return Ok(made);
        }
        if self.head.version != self.version || !removed.is_empty() {
            self.restore(&session, &good.schema, &removed).await?;
        }
        let done = commit(self.job, &self.location, self.write(rows), Some(self.version)).await?;
        Ok(Made { item: self.item(done.version), rows: Some(done.rows_written), batch: held })
    }

    fn item(&self, version: i64) -> Item {
        Item::Table { location: self.location.clone(), version }
    }

    /// The job's session if the model's name means the good version there, else one of its own.
    fn session(&self) -> Result<Session> {
        let this = self.item(self.version);
        match self.job.shelf.item(&self.job.model.relation()) {
            Some(item) if *item == this => Ok(self.job.session.clone()),
            _ => self.job.session_with(this),
        }
    }

    fn write(&self, rows: RowStream) -> Write {
        let config = &self.job.model.config;
        let mode = match config.incremental_strategy {
            IncrementalStrategy::Append => WriteMode::Append,
            IncrementalStrategy::Microbatch => WriteMode::Append,
            IncrementalStrategy::Merge | IncrementalStrategy::DeleteInsert => {
                WriteMode::Merge { key: config.unique_key.clone(), duplicates: Duplicates::Refuse }
            }
        };
        Write::new(mode, rows, "build").add_columns()
    }

    /// Fits the query's columns to the table's, as the model's `on_schema_change` says; also returns
    /// the columns to be removed from the table.
    async fn fit(
        &self,
        session: &Session,
        sql: &str,
        query: Query,
        table: &Schema,
    ) -> Result<(Query, BTreeSet<String>)> {
        let added = missing(&query.schema(), table);
        let removed = missing(table, &query.schema());
        if added.is_empty() && removed.is_empty() {
            return Ok((query, BTreeSet::new()));
        }
        match self.job.model.config.on_schema_change {
            OnSchemaChange::Fail => {
                let words = |what: &str, columns: &BTreeSet<String>| match columns.is_empty() {
                    true => String::new(),
                    false => format!(
                        " {what} {}",
                        columns.iter().cloned().collect::<Vec<_>>().join(", ")
                    ),
                };
                let (more, less) = (words("adds", &added), words("lacks", &removed));
                let and = if more.is_empty() || less.is_empty() { "" } else { " and" };
                Err(Error::invalid(format!("its increment{more}{and}{less}"))
                    .hint("Set on_schema_change, or run `flywheel build --full-refresh`."))
            }
            OnSchemaChange::Ignore => {
                let schema = query.schema();
                let kept = schema.fields().iter().map(|field| field.name());
                let kept = kept.filter(|name| !added.contains(*name)).map(|name| quoted(name));
                let kept = kept.collect::<Vec<_>>().join(", ");
                let sql = statement::bare(sql);
                let query = session.query(&format!("SELECT {kept} FROM (\n{sql}\n)")).await?;
                Ok((query, BTreeSet::new()))
            }
            OnSchemaChange::AppendNewColumns => Ok((query, BTreeSet::new())),
            OnSchemaChange::SyncAllColumns => Ok((query, removed)),
        }
    }

    /// Replaces the rows of a window of time: what the table has of them goes, what the query gives for
    /// them comes.
    async fn replace_window(
        &self,
        session: &Session,
        sql: &str,
        window: &str,
        table: &Schema,
        new: &Schema,
        removed: &BTreeSet<String>,
    ) -> Result<Made> {
        let (old, added) = both_sides(table, new, removed);
        let this = quoted_table(&self.job.model.relation());
        let sql = statement::bare(sql);
        let sql = format!(
            "SELECT {old} FROM {this} WHERE ({window}) IS NOT TRUE UNION ALL SELECT {added} FROM (\n{sql}\n) WHERE {window}"
        );
        self.replace_with(session, &sql).await
    }

    /// The condition of a row that is built again, if that is told by time: of the interval that is asked
    /// for, or of the last batches and of those that are missing.
    fn window(&self) -> Result<Option<String>> {
        let config = &self.job.model.config;
        if let Some(interval) = self.job.restated() {
            return within(self.job, interval).map(Some);
        }
        if config.incremental_strategy != IncrementalStrategy::Microbatch {
            return Ok(None);
        }
        let (Some(event_time), Some(batches)) = (&config.event_time, Batches::of(self.job.model)?)
        else {
            return Err(Error::internal("a microbatch model without event_time passed its checks"));
        };
        let built = self.job.built_before(&batches, &self.fingerprint);
        let window = batches.window(&built, self.job.world.now);
        let mut conditions = vec![format!("{} >= {}", quoted(event_time), moment(window.since))];
        conditions.extend(window.gaps.iter().map(|gap| condition(event_time, *gap)));
        Ok(Some(conditions.join(" OR ")))
    }

    /// dbt's `delete+insert` where a merge would not do the same: if a key is missing, or there twice.
    async fn delete_insert(
        &self,
        table: &Schema,
        removed: &BTreeSet<String>,
        batch: &Batch,
    ) -> Result<Option<Made>> {
        let config = &self.job.model.config;
        if config.incremental_strategy != IncrementalStrategy::DeleteInsert {
            return Ok(None);
        }
        let mut shelf = self.job.shelf.clone();
        shelf.put(&self.job.model.relation(), Some(self.item(self.version)));
        let mut catalog = shelf.catalog()?;
        let new_rows = TableName::new(NEW_ROWS_SCHEMA, "rows");
        catalog.memory(&new_rows, Arc::clone(&batch.schema), batch.rows.clone());
        let session = self.job.world.lake.session(catalog)?;
        let new_rows = quoted_table(&new_rows.to_string());
        let keys: Vec<String> = config.unique_key.iter().map(|key| quoted(key)).collect();
        if !has_bad_key(&session, &new_rows, &keys).await? {
            return Ok(None);
        }
        let same: Vec<String> = keys.iter().map(|key| format!("n.{key} = t.{key}")).collect();
        let (old, new) = both_sides(table, &batch.schema, removed);
        let this = quoted_table(&self.job.model.relation());
        let sql = format!(
            "SELECT {old} FROM {this} AS t WHERE NOT EXISTS (SELECT 1 FROM {new_rows} AS n WHERE {}) \
             UNION ALL SELECT {new} FROM {new_rows}",
            same.join(" AND ")
        );
        self.replace_with(&session, &sql).await.map(Some)
    }

    /// Lets the query's rows take the place of all, in one commit.
    async fn replace_with(&self, session: &Session, sql: &str) -> Result<Made> {
        let query = session.query(sql).await?;
        let done = replace(self.job, &self.location, &query, Some(self.version)).await?;
        Ok(Made { item: self.item(done.version), rows: Some(done.rows_written), batch: None })
    }

    /// Returns the table to its good version, without the columns that are `removed`.
    async fn restore(
        &self,
        session: &Session,
        schema: &Schema,
        removed: &BTreeSet<String>,
    ) -> Result<()> {
        let kept = schema.fields().iter().map(|field| field.name());
        let kept = kept.filter(|name| !removed.contains(*name)).map(|name| quoted(name));
        let kept = kept.collect::<Vec<_>>().join(", ");
        let table = quoted_table(&self.job.model.relation());
        let query = session.query(&format!("SELECT {kept} FROM {table}")).await?;
        let rows = query.stream_apart();
        let write = Write::new(WriteMode::Replace, rows, "restore").add_columns();
        commit(self.job, &self.location, write, Some(self.version)).await?;
        Ok(())
    }
}

/// The condition of a row that happened in an interval, in whole batches if there are batches.
fn within(job: &Job<'_>, interval: Interval) -> Result<String> {
    let Some(event_time) = &job.model.config.event_time else {
        return Err(Error::internal("an interval is built of a model without event_time"));
    };
    let batches = Batches::of(job.model)?;
    let interval = batches.map_or(interval, |batches| batches.outward(interval));
    Ok(condition(event_time, interval))
}

fn condition(event_time: &str, interval: Interval) -> String {
    let column = quoted(event_time);
    format!("({column} >= {} AND {column} < {})", moment(interval.from), moment(interval.to))
}

/// A moment in SQL.
fn moment(at: Timestamp) -> String {
    format!("to_timestamp_micros({})", at.micros())
}

/// The columns of a table and of new rows, each as what it selects so that both are alike.
fn both_sides(table: &Schema, new: &Schema, removed: &BTreeSet<String>) -> (String, String) {
    let names = |schema: &Schema| -> Vec<String> {
        schema.fields().iter().map(|field| field.name().clone()).collect()
    };
    let (old, added) = (names(table), names(new));
    let mut all: Vec<&String> = old.iter().filter(|name| !removed.contains(*name)).collect();
    all.extend(added.iter().filter(|name| !old.contains(name)));
    let select = |own: &[String]| {
        let column = |name: &&String| match own.contains(name) {
            true => quoted(name),
            false => format!("NULL AS {}", quoted(name)),
        };
        all.iter().map(column).collect::<Vec<_>>().join(", ")
    };
    (select(&old), select(&added))
}

/// Whether a row has no key, or one that another has.
pub(super) async fn has_bad_key(session: &Session, table: &str, keys: &[String]) -> Result<bool> {
    let null: Vec<String> = keys.iter().map(|key| format!("{key} IS NULL")).collect();
    let (keys, null) = (keys.join(", "), null.join(" OR "));
    let sql = format!(
        "SELECT 1 FROM {table} GROUP BY {keys} HAVING count(*) > 1 OR bool_or({null}) LIMIT 1"
    );
    let found = session.query(&sql).await?.collect().await?;
    Ok(found.iter().any(|batch| batch.num_rows() > 0))
}

pub(super) fn lost(error: Error) -> Error {
    error.hint("The last good version is gone; run `flywheel build --full-refresh` for this model.")
}

/// The columns of `a` that `b` does not have.
fn missing(a: &Schema, b: &Schema) -> BTreeSet<String> {
    let names = a.fields().iter().map(|field| field.name());
    names.filter(|name| b.field_with_name(name).is_err()).cloned().collect()
}

/// Keeps the rows for the tests if they are few; they can be written either way.
async fn hold(mut rows: RowStream) -> Result<(RowStream, Option<Batch>)> {
    let schema = rows.schema();
    let mut held = Vec::new();
    let mut bytes = 0;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        bytes += batch.get_array_memory_size();
        held.push(batch);
        if bytes > BATCH_BYTES_MAX {
            let all = stream::iter(held.into_iter().map(Ok)).chain(rows);
            return Ok((RowStream::new(schema, all), None));
        }
    }
    let batch = Batch { schema: Arc::clone(&schema), rows: held.clone() };
    Ok((RowStream::from_batches(schema, held), Some(batch)))
}

/// A table that later increments are merged into may hold each key once; a merge would see to that,
/// a first or full build does not merge.
async fn require_unique(job: &Job<'_>, item: &Item) -> Result<()> {
    let config = &job.model.config;
    if config.incremental_strategy != IncrementalStrategy::Merge || config.unique_key.is_empty() {
        return Ok(());
    }
    let Item::Table { location, version } = item else { return Ok(()) };
    let mut catalog = Catalog::new();
    catalog.table(&job.own_name(), location.clone(), Some(*version));
    let session = job.world.lake.session(catalog)?;
    let keys: Vec<String> = config.unique_key.iter().map(|key| quoted(key)).collect();
    let table = quoted_table(&job.model.relation());
    if !has_bad_key(&session, &table, &keys).await? {
        return Ok(());
    }
    let key = config.unique_key.join(", ");
    Err(Error::invalid(format!("several of its rows have the same unique_key ({key}), or none"))
        .hint("Let the query return one row per key, for example with GROUP BY or row_number()."))
}
