//! What stands beside the merged table: the crosswalk, what people decide, and the history.
//!
//! They are tables of the lake like the merged one, so that rules about the sources hold for them, and a backup has them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use flywheel_base::{Error, ErrorKind, Result, Timestamp, suggest};
use flywheel_decision::table::ColumnType::{Flag, Integer, Moment, Number, Text};
use flywheel_decision::table::SystemTable;
use flywheel_project::resource::merge::RECORDS;
use flywheel_reconcile::matching::{Decided, Key};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Merging;
use super::read::{Keys, Lake, broken, quoted};
use crate::Workspace;
use crate::link::objects;

/// What became of every record: one row for each and for each time it became something else.
pub(super) const CROSSWALK: SystemTable = SystemTable {
    name: "crosswalk",
    about: "One row per record of a source and what became of it. Key: source, source_key, since.",
    columns: &[
        ("source", Text, "the source"),
        ("source_key", Text, "the record's key there; none if it has none"),
        ("merged_key", Text, "the key of the record it is part of; none if it was set aside"),
        ("status", Text, "alone, merged or aside"),
        ("why", Text, "why it was merged or set aside"),
        ("since", Moment, "since when"),
        ("until", Moment, "until when; none if it still is so"),
        ("run_id", Text, "the run that found it"),
    ],
};

/// Pairs that a person has to decide, or has decided.
pub(super) const REVIEW: SystemTable = SystemTable {
    name: "review",
    about: "One row per pair that a person has to decide, or has decided. Key: pair_id.",
    columns: &[
        ("pair_id", Text, "names the pair"),
        ("a_source", Text, "the source of the one record"),
        ("a_key", Text, "its key there"),
        ("b_source", Text, "the source of the other record"),
        ("b_key", Text, "its key there"),
        ("score", Number, "how alike they are, 1 for an exact rule"),
        ("why", Text, "why they could be the same, or why they were not merged"),
        ("a", Text, "the one record, as JSON"),
        ("b", Text, "the other record, as JSON"),
        ("asked_at", Moment, "when it was asked first"),
        ("answer", Text, "same or different; none if nobody has decided"),
        ("answered_by", Text, "who decided"),
        ("answered_at", Moment, "when"),
        ("open", Flag, "whether it waits for a person"),
    ],
};

/// What was done.
pub(super) const HISTORY: SystemTable = SystemTable {
    name: "merges",
    about: "One row per thing that was done to a record or said about a pair. Key: event_id.",
    columns: &[
        ("event_id", Text, "names the event"),
        ("at", Moment, "when"),
        ("run_id", Text, "the run; empty for an answer"),
        ("who", Text, "who asked for it"),
        ("action", Text, "merged, changed, taken-apart, or an answer"),
        ("merged_key", Text, "the record"),
        ("records", Text, "the rows it is made of, or the pair"),
        ("before", Text, "what was there, as JSON"),
        ("after", Text, "what is there now, as JSON"),
        ("why", Text, "why"),
        ("on_version", Integer, "the version of the crosswalk that it followed from"),
    ],
};

/// What a record is.
pub(super) const MERGED: &str = "merged";
pub(super) const ALONE: &str = "alone";
pub(super) const ASIDE: &str = "aside";
/// What a person says of a pair.
pub(super) const SAME: &str = "same";
pub(super) const DIFFERENT: &str = "different";

/// A row of the crosswalk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct CrosswalkRow {
    pub(super) source: String,
    pub(super) source_key: Option<String>,
    pub(super) since: Timestamp,
    pub(super) merged_key: Option<String>,
    pub(super) status: String,
    pub(super) why: Option<String>,
    pub(super) until: Option<Timestamp>,
    pub(super) run_id: String,
}

/// A row of the review.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ReviewRow {
    pub(super) pair_id: String,
    pub(super) a_source: String,
    pub(super) a_key: String,
    pub(super) b_source: String,
    pub(super) b_key: String,
    pub(super) score: f64,
    pub(super) why: String,
    pub(super) a: Option<String>,
    pub(super) b: Option<String>,
    pub(super) asked_at: Timestamp,
    pub(super) answer: Option<String>,
    pub(super) answered_by: Option<String>,
    pub(super) answered_at: Option<Timestamp>,
    pub(super) open: bool,
}

impl ReviewRow {
    pub(super) fn pair(&self) -> (Key, Key) {
        let key = |system: &str, id: &str| Key { system: system.to_owned(), id: id.to_owned() };
        (key(&self.a_source, &self.a_key), key(&self.b_source, &self.b_key))
    }
}

/// A row of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HistoryRow {
    pub(super) event_id: String,
    pub(super) at: Timestamp,
    pub(super) run_id: String,
    pub(super) who: String,
    pub(super) action: String,
    pub(super) merged_key: Option<String>,
    pub(super) records: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    pub(super) why: Option<String>,
    pub(super) on_version: Option<i64>,
}

/// What stood before a run.
#[derive(Default)]
pub(super) struct Stands {
    /// The crosswalk, all of its rows.
    pub(super) crosswalk: Vec<CrosswalkRow>,
    /// The version of the crosswalk; none if there is none yet.
    pub(super) version: Option<i64>,
    pub(super) review: Vec<ReviewRow>,
    /// The version of the merged table; none if there is none yet.
    pub(super) target_version: Option<i64>,
    /// Merged records that are made of several rows, by key.
    pub(super) golden: BTreeMap<String, Value>,
    /// Events that this version of the crosswalk led to already.
    pub(super) events: BTreeSet<String>,
}

impl Stands {
    /// What people said about pairs.
    pub(super) fn decided(&self) -> Decided {
        let of = |answer: &str| {
            let rows = self.review.iter();
            let rows = rows.filter(|row| row.answer.as_deref() == Some(answer));
            rows.map(ReviewRow::pair).collect()
        };
        Decided { same: of(SAME), different: of(DIFFERENT) }
    }

    /// What every record is part of.
    pub(super) fn keys(&self) -> BTreeMap<Key, String> {
        let current = self.crosswalk.iter().filter(|row| row.until.is_none());
        let key = |row: &CrosswalkRow| {
            let key = Key { system: row.source.clone(), id: row.source_key.clone()? };
            Some((key, row.merged_key.clone()?))
        };
        current.filter_map(key).collect()
    }

    /// The records that are made of several rows now, by key.
    pub(super) fn groups(&self) -> BTreeMap<String, BTreeSet<Key>> {
        let mut groups: BTreeMap<String, BTreeSet<Key>> = BTreeMap::new();
        for (key, merged) in self.keys() {
            groups.entry(merged).or_default().insert(key);
        }
        groups.retain(|_, members| members.len() > 1);
        groups
    }
}

impl Merging<'_> {
    /// Reads what stands.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if a table is not as this program writes it; those of the lake.
    pub(super) async fn stands(&self, lake: &Lake) -> Result<Stands> {
        let declared = self.declared;
        let mut stands = Stands {
            crosswalk: self.rows_of(lake, &declared.crosswalk(), "").await?,
            review: self.rows_of(lake, &declared.review(), "").await?,
            ..Stands::default()
        };
        let head = self.head(&declared.crosswalk()).await?;
        stands.version = head.map(|head| head.version);
        let version = on_version(stands.version);
        let of_version = format!(" where on_version = {version}");
        let history: Vec<HistoryRow> = self.rows_of(lake, &declared.history(), &of_version).await?;
        stands.events = history.into_iter().map(|row| row.event_id).collect();
        let head = self.head(&declared.target).await?;
        // A table that is not ours is refused before anything is written.
        let Some(head) = head.filter(|head| head.checkpoints.contains_key(&self.app())) else {
            return Ok(stands);
        };
        stands.target_version = Some(head.version);
        let table = quoted(&declared.target)?;
        let batch = lake.select(&format!("select * from {table} where {RECORDS} > 1")).await?;
        for row in objects(&batch)? {
            let key = row.get(&declared.key).and_then(Value::as_str).map(str::to_owned);
            if let Some(key) = key {
                stands.golden.insert(key, Value::Object(row));
            }
        }
        Ok(stands)
    }

    /// As [`rows`], and none if something else wrote the table in a form of its own: a run refuses it, or replaces it if it is
    /// told to.
    pub(super) async fn rows_of<T: DeserializeOwned>(
        &self,
        lake: &Lake,
        table: &str,
        condition: &str,
    ) -> Result<Vec<T>> {
        let head = self.head(table).await?;
        let foreign = head.is_some_and(|head| !head.checkpoints.contains_key(&self.app()));
        match rows(lake, table, condition).await {
            Err(error) if foreign && is_of_form(&error) => Ok(Vec::new()),
            read => read,
        }
    }
}

/// Whether an error says that a table has other columns, or other values in them, than were asked for.
pub(super) fn is_of_form(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::NotFound)
}

/// The version that is kept with an event; what comes before there is a crosswalk has one, too.
pub(super) fn on_version(version: Option<i64>) -> i64 {
    version.unwrap_or(-1)
}

/// The merged keys of a merge, by source and key there.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if that merge has not run.
pub(super) async fn merged_keys(workspace: &Workspace, lake: &Lake, name: &str) -> Result<Keys> {
    let merges = &workspace.project.merges;
    let Some(other) = merges.get(name) else {
        return Err(Error::not_found(format!("no merge \"{name}\""))
            .hint(suggest::hint(name, merges.keys().map(String::as_str))));
    };
    let table = other.value.crosswalk();
    if !lake.has(&table) {
        return Err(Error::blocked(format!(
            "merge \"{name}\" has not run, and its keys are followed"
        ))
        .hint(format!("Run it first: `flywheel merge run {name}`.")));
    }
    let rows: Vec<CrosswalkRow> = rows(lake, &table, " where \"until\" is null").await?;
    let keys = rows.into_iter();
    Ok(keys.filter_map(|row| Some(((row.source, row.source_key?), row.merged_key?))).collect())
}

/// Rows of a table as this program writes it; none if there is no such table.
pub(super) async fn rows<T: DeserializeOwned>(
    lake: &Lake,
    table: &str,
    condition: &str,
) -> Result<Vec<T>> {
    if !lake.has(table) {
        return Ok(Vec::new());
    }
    let batch = lake.select(&format!("select * from {}{condition}", quoted(table)?)).await?;
    let unreadable = |error| {
        Error::corrupt(format!("table {table} is not as a merge writes it"))
            .caused_by(error)
            .hint("It was written by something else: give the merge another `target`.")
    };
    let parsed = objects(&counted(&batch)?)?
        .into_iter()
        .map(|row| serde_json::from_value(Value::Object(row)).map_err(unreadable));
    parsed.collect()
}

/// The batch with moments as numbers.
fn counted(batch: &RecordBatch) -> Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let column = match column.data_type() {
            DataType::Timestamp(..) => cast(column, &DataType::Int64).map_err(broken)?,
            _ => Arc::clone(column),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Schema::new(fields).into(), columns).map_err(broken)
}
