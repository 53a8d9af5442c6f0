//! Snapshots: every state a row ever had, with the time it held, in dbt's columns.
//!
//! ```text
//! open row, found again, unchanged ─→ stays open
//! open row, found again, changed   ─→ closed; a new one opens
//! open row, missed                 ─→ as `hard_deletes` says
//! row never seen                   ─→ opens
//! ```
//!
//! The whole table is written in one commit, from its last good version: running it again after a crash
//! or a failed test gives the same. The past is never dropped: not by a changed query, not by a full
//! refresh, not by lost metadata.

use flywheel_base::{Error, Result, statement};
use flywheel_project::{HardDeletes, Snapshot, SnapshotStrategy};
use flywheel_warehouse::Session;

use super::job::{Compiled, Job, Made};
use super::materialize::{good_version, lost, replace};
use crate::catalog::same_rows;
use crate::shelf::Item;
use crate::testing::{quoted, quoted_table};

/// The columns that a snapshot adds.
const OWN: &[&str] =
    &["dbt_scd_id", "dbt_updated_at", "dbt_valid_from", "dbt_valid_to", "dbt_is_deleted"];

/// Takes the snapshot.
pub(super) async fn build(job: &Job<'_>, compiled: &Compiled) -> Result<Made> {
    let Some(snapshot) = &job.model.snapshot else {
        return Err(Error::internal(format!("model \"{}\" is no snapshot", job.model.name)));
    };
    let location = job.location(&compiled.fingerprint)?;
    let good = good_version(job, compiled, &location);
    let head = job.world.lake.head(&location).await?;
    let sql = statement::bare(&compiled.sql);
    let query = job.session.query(sql).await?;
    job.require_declared(&query, false)?;
    let columns: Vec<String> =
        query.schema().fields().iter().map(|field| field.name().clone()).collect();
    check_columns(snapshot, &columns)?;
    require_unique(job.session, sql, snapshot).await?;
    let made = Statement { snapshot, columns: &columns, now: job.world.now.micros() };
    let Some(head) = head else {
        let query = job.session.query(&made.first(sql)).await?;
        let commit = replace(job, &location, &query, good).await?;
        let item = Item::Table { location, version: commit.version };
        return Ok(Made { item, rows: Some(commit.rows_written), batch: None });
    };
    let version = match good {
        Some(good) if good > head.version => {
            return Err(Error::not_found("the snapshot's last good version is gone")
                .hint("Restore the lake from a backup that is as new as the metadata."));
        }
        Some(good) if !same_rows(job.world.lake, &location, good, head.version).await? => good,
        _ => head.version,
    };
    let state = job.world.lake.state_at(&location, version).await.map_err(lost)?;
    let before: Vec<String> =
        state.schema.fields().iter().map(|field| field.name().clone()).collect();
    let session = job.session_with(Item::Table { location: location.clone(), version })?;
    let this = quoted_table(&job.model.relation());
    let query = session.query(&made.next(sql, &this, &before)).await?;
    let commit = replace(job, &location, &query, Some(version)).await?;
    let item = Item::Table { location, version: commit.version };
    Ok(Made { item, rows: Some(commit.rows_written), batch: None })
}

/// The queries of a snapshot over the query `sql` with these columns: that of the first time, and that of every
/// time after, which reads `this`, the snapshot as it was.
pub(crate) fn queries(
    snapshot: &Snapshot,
    columns: &[String],
    sql: &str,
    this: &str,
) -> [String; 2] {
    let (made, sql) = (Statement { snapshot, columns, now: 0 }, statement::bare(sql));
    let own = OWN.iter().filter(|name| made.keeps_deletions() || **name != "dbt_is_deleted");
    let before: Vec<String> =
        columns.iter().cloned().chain(own.map(|name| (*name).to_owned())).collect();
    [made.first(sql), made.next(sql, this, &before)]
}

/// The columns that the snapshot needs are there, and its own are not.
fn check_columns(snapshot: &Snapshot, columns: &[String]) -> Result<()> {
    let wanted = snapshot.unique_key.iter().chain(&snapshot.updated_at);
    for name in wanted.chain(&snapshot.check_columns) {
        if !columns.contains(name) {
            let known = columns.iter().map(String::as_str);
            return Err(Error::invalid(format!("its query has no column \"{name}\""))
                .hint(flywheel_base::suggest::hint(name, known)));
        }
    }
    match columns.iter().find(|name| OWN.contains(&name.as_str())) {
        Some(name) => {
            Err(Error::invalid(format!("its query has the snapshot's own column {name}"))
                .hint("Leave it out of the query, or give it another name."))
        }
        None => Ok(()),
    }
}

/// Each key has one present state.
async fn require_unique(session: &Session, sql: &str, snapshot: &Snapshot) -> Result<()> {
    let keys: Vec<String> = snapshot.unique_key.iter().map(|key| quoted(key)).collect();
    let null: Vec<String> = keys.iter().map(|key| format!("{key} IS NULL")).collect();
    let sql = format!(
        "SELECT 1 FROM (\n{sql}\n) GROUP BY {} HAVING count(*) > 1 OR bool_or({}) LIMIT 1",
        keys.join(", "),
        null.join(" OR ")
    );
    let found = session.query(&sql).await?.collect().await?;
    if found.iter().all(|batch| batch.num_rows() == 0) {
        return Ok(());
    }
    let key = snapshot.unique_key.join(", ");
    Err(Error::invalid(format!("several of its rows have the same unique_key ({key}), or none"))
        .hint("Let the query return one row per key, the present state."))
}

/// The queries that make a snapshot.
struct Statement<'a> {
    snapshot: &'a Snapshot,
    /// The columns of the query.
    columns: &'a [String],
    /// Now, in microseconds.
    now: i64,
}

impl Statement<'_> {
    fn now(&self) -> String {
        format!("CAST(to_timestamp_micros({}) AS timestamp)", self.now)
    }

    /// When the present state of row `n` began.
    fn began(&self) -> String {
        match (self.snapshot.strategy, &self.snapshot.updated_at) {
            (_, Some(column)) => format!("CAST(n.{} AS timestamp)", quoted(column)),
            _ => self.now(),
        }
    }

    /// dbt's identifier of a state: its key and when it began.
    fn id(&self, row: &str, began: &str) -> String {
        let keys = self.snapshot.unique_key.iter();
        let keys = keys.map(|key| format!("coalesce(CAST({row}.{} AS varchar), '')", quoted(key)));
        let keys = keys.collect::<Vec<_>>().join(" || '|' || ");
        format!("md5({keys} || '|' || coalesce(CAST({began} AS varchar), ''))")
    }

    fn keeps_deletions(&self) -> bool {
        self.snapshot.hard_deletes == HardDeletes::NewRecord
    }

    /// What follows the data columns of a state that begins.
    fn opening(&self, row: &str, began: &str, deleted: bool) -> String {
        let deleted = match (self.keeps_deletions(), deleted) {
            (false, _) => "",
            (true, false) => ", 'False' AS dbt_is_deleted",
            (true, true) => ", 'True' AS dbt_is_deleted",
        };
        format!(
            "{} AS dbt_scd_id, {began} AS dbt_updated_at, {began} AS dbt_valid_from, \
             CAST(NULL AS timestamp) AS dbt_valid_to{deleted}",
            self.id(row, began)
        )
    }

    fn first(&self, sql: &str) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|name| format!("n.{}", quoted(name))).collect();
        let (columns, began) = (columns.join(", "), self.began());
        format!("SELECT {columns}, {} FROM (\n{sql}\n) AS n", self.opening("n", &began, false))
    }

    /// Whether the state of row `n` differs from the open one, `o`.
    fn changed(&self, before: &[String]) -> String {
        let differs = match (self.snapshot.strategy, &self.snapshot.updated_at) {
            (SnapshotStrategy::Timestamp, Some(column)) => {
                format!("CAST(n.{} AS timestamp) > o.dbt_valid_from", quoted(column))
            }
            _ => {
                let all = self.snapshot.check_columns.is_empty();
                let checked = if all { self.columns } else { &self.snapshot.check_columns };
                let differ = checked.iter().map(|name| match before.contains(name) {
                    true => format!("n.{0} IS DISTINCT FROM o.{0}", quoted(name)),
                    false => format!("n.{} IS NOT NULL", quoted(name)),
                });
                differ.collect::<Vec<_>>().join(" OR ")
            }
        };
        match before.iter().any(|name| name == "dbt_is_deleted") {
            true => format!("(({differs}) OR o.dbt_is_deleted = 'True')"),
            false => format!("({differs})"),
        }
    }

    fn next(&self, sql: &str, this: &str, before: &[String]) -> String {
        let mut data: Vec<&String> =
            before.iter().filter(|name| !OWN.contains(&name.as_str())).collect();
        data.extend(self.columns.iter().filter(|name| !before.contains(name)));
        let select = |row: &str, own: &[String]| {
            let column = |name: &&String| match own.contains(name) {
                true => format!("{row}.{0} AS {0}", quoted(name)),
                false => format!("NULL AS {}", quoted(name)),
            };
            data.iter().map(column).collect::<Vec<_>>().join(", ")
        };
        let keys = self.snapshot.unique_key.iter();
        let keys: Vec<String> = keys.map(|key| format!("o.{0} = n.{0}", quoted(key))).collect();
        let (keys, now, began) = (keys.join(" AND "), self.now(), self.began());
        let knows = before.iter().any(|name| name == "dbt_is_deleted");
        let alive = if knows { "o.dbt_is_deleted IS DISTINCT FROM 'True'" } else { "true" };
        let missed = match self.snapshot.hard_deletes {
            HardDeletes::Ignore => "CAST(NULL AS timestamp)".to_owned(),
            _ => format!("CASE WHEN {alive} THEN {now} END"),
        };
        let deleted = match (self.keeps_deletions(), knows) {
            (false, _) => "",
            (true, true) => ", o.dbt_is_deleted AS dbt_is_deleted",
            (true, false) => ", 'False' AS dbt_is_deleted",
        };
        let (changed, old, new) =
            (self.changed(before), select("o", before), select("n", self.columns));
        let present = format!("(SELECT *, true AS dbt_found FROM (\n{sql}\n))");
        let open = format!("(SELECT *, true AS dbt_found FROM {this} WHERE dbt_valid_to IS NULL)");
        let mut query = format!(
            "SELECT {old}, o.dbt_scd_id, o.dbt_updated_at, o.dbt_valid_from, \
             CASE WHEN o.dbt_valid_to IS NOT NULL THEN o.dbt_valid_to WHEN n.dbt_found IS NULL THEN {missed} \
             WHEN {changed} THEN {began} END AS dbt_valid_to{deleted} \
             FROM {this} AS o LEFT JOIN {present} AS n ON {keys} AND o.dbt_valid_to IS NULL \
             UNION ALL SELECT {new}, {} FROM {present} AS n LEFT JOIN {open} AS o ON {keys} \
             WHERE o.dbt_found IS NULL OR {changed}",
            self.opening("n", &began, false)
        );
        if self.keeps_deletions() {
            let ended = format!(
                " UNION ALL SELECT {old}, {} FROM {open} AS o LEFT JOIN {present} AS n ON {keys} \
                 WHERE n.dbt_found IS NULL AND {alive}",
                self.opening("o", &now, true)
            );
            query.push_str(&ended);
        }
        query
    }
}
